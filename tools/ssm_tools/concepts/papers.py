"""docs/papers.yml: the works that notes and concepts cite."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml

PATH = Path("docs") / "papers.yml"


@dataclass(frozen=True, slots=True)
class Paper:
    """One entry of the bibliography; identifiers that it lacks are empty."""

    key: str
    title: str
    authors: tuple[str, ...]
    venue: str
    year: int
    arxiv: str = ""
    doi: str = ""
    url: str = ""

    @property
    def link(self) -> str:
        """Where to read it."""
        if self.arxiv:
            return f"https://arxiv.org/abs/{self.arxiv}"
        return f"https://doi.org/{self.doi}" if self.doi else self.url


def load_papers(root: Path) -> dict[str, Paper]:
    """Return the bibliography by key.

    Raises:
        ValueError: the file is no mapping of keys to entries with a title and a year.
    """
    path = root / PATH
    if not path.is_file():
        return {}
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except yaml.YAMLError as error:
        raise ValueError(f"{PATH.as_posix()} is not YAML: {error}") from error
    if not isinstance(data, Mapping):
        raise ValueError(f"{PATH.as_posix()} must map keys to entries")
    return {str(key): _paper(str(key), entry) for key, entry in data.items()}


def _paper(key: str, entry: object) -> Paper:
    if not isinstance(entry, Mapping) or not entry.get("title") or not entry.get("year"):
        raise ValueError(f"{PATH.as_posix()}: {key} must have a title and a year")
    words = {name: str(entry.get(name, "")) for name in ("title", "venue", "arxiv", "doi", "url")}
    listed, year = entry.get("authors", ()), entry["year"]
    if not isinstance(listed, list | tuple) or not isinstance(year, int):
        raise ValueError(f"{PATH.as_posix()}: {key} must have a list of authors and a whole year")
    authors = tuple(str(author) for author in listed)
    return Paper(key=key, authors=authors, year=year, **words)
