"""The result store: `build/snippets/<page>/<name>/`, several results for each snippet.

A result's file name is its key (text, options, environment) and a digest of its dependencies, so
that results of two branches lie side by side. A result counts only while every project file that
the run read is as it was.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from ssm_tools.run.environment import environment_key
from ssm_tools.run.labels import FILE, Labels, LabelsError, load_labels
from ssm_tools.run.results import Result
from ssm_tools.run.snippets import Snippet

KEPT = 8
ABSENT = "absent"


@dataclass(frozen=True, slots=True)
class Fresh:
    """The result of this very snippet with these very sources."""

    result: Result


@dataclass(frozen=True, slots=True)
class Stale:
    """There are results, but something that they depend on has changed."""

    why: str


@dataclass(frozen=True, slots=True)
class NotRun:
    """There is no result: the snippet never ran here, or its last run failed."""

    why: str = "it has not run"


@dataclass
class Store:
    """Results on disk under one project root; file hashes are remembered while it lives."""

    root: Path
    _digests: dict[str, str] = field(default_factory=dict)
    _labels: Labels | None = None

    def lookup(self, snippet: Snippet) -> Fresh | Stale | NotRun:
        """Return the result to show for a snippet, or why there is none that counts.

        A GPU snippet shows what was recorded on a GPU once its interpreted form has run here.
        """
        found = self._kept(snippet)
        if isinstance(found, Fresh) and snippet.options.device == "cuda":
            return Fresh(self.recorded(snippet) or found.result)
        return found

    def recorded(self, snippet: Snippet) -> Result | None:
        """Return what a GPU recorded, marked stale where its sources moved on; None without it."""
        path = self.recorded_path(snippet)
        if not path.is_file():
            return None
        data, result = _read(path)
        if result is None or result.recorded is None:
            return None
        changed = self.changed(result)
        why = f"{changed} changed" if changed else ""
        if data.get("text") != text_hash(snippet):
            why = "its text changed"
        return replace(result, recorded=replace(result.recorded, stale=why))

    def recorded_path(self, snippet: Snippet) -> Path:
        """Return the committed file that holds a snippet's recorded result."""
        return self.root / "docs" / "snippets" / f"{snippet.id}.recorded.json"

    def _kept(self, snippet: Snippet) -> Fresh | Stale | NotRun:
        key = snippet_key(snippet)
        why = ""
        paths = sorted(self._folder(snippet).glob("*.json"), key=_age, reverse=True)
        for path in paths:
            if not path.name.startswith(key):
                why = why or "its text, options or environment changed"
                continue
            _, result = _read(path)
            if result is None:
                continue
            changed = self.changed(result)
            if not changed:
                return Fresh(result)
            why = f"{changed} changed"
        return Stale(why) if why else NotRun()

    def forget(self, snippet: Snippet) -> None:
        """Drop the result that would be shown: a run has just failed with the same sources."""
        for path in self._folder(snippet).glob(f"{snippet_key(snippet)}*.json"):
            _, result = _read(path)
            if result is None or not self.changed(result):
                path.unlink(missing_ok=True)

    def write(self, snippet: Snippet, result: Result) -> None:
        """Keep a result, whole or not at all, and drop the oldest ones beyond a few."""
        folder = self._folder(snippet)
        folder.mkdir(parents=True, exist_ok=True)
        digest = hashlib.sha256(json.dumps(sorted(result.dependencies.items())).encode())
        path = folder / f"{snippet_key(snippet)}-{digest.hexdigest()[:16]}.json"
        with tempfile.NamedTemporaryFile(
            "w", encoding="utf-8", dir=folder, suffix=".part", delete=False
        ) as file:
            json.dump(result.to_json(), file, ensure_ascii=False)
        os.replace(file.name, path)
        for old in sorted(folder.glob("*.json"), key=_age, reverse=True)[KEPT:]:
            old.unlink(missing_ok=True)

    def hashes(self, paths: Iterable[str]) -> dict[str, str]:
        """Return the hash of each project file, by path relative to the root."""
        root = self.root.resolve()
        names = sorted(Path(path).relative_to(root).as_posix() for path in paths)
        return {name: self.digest(name) for name in names}

    def digest(self, name: str) -> str:
        """Return the hash of one project file's bytes, or `absent`."""
        if name not in self._digests:
            try:
                data = (self.root / name).read_bytes()
            except OSError:
                self._digests[name] = ABSENT
            else:
                self._digests[name] = hashlib.sha256(data).hexdigest()
        return self._digests[name]

    def changed(self, result: Result) -> str:
        """Return the first file that a result depends on and that is no longer as it was."""
        for name, digest in result.dependencies.items():
            if self.digest(name) != digest:
                return name
        said = {k: v for output in result.outputs for k, v in output.labels.items()}
        try:
            same = all(self.labels.said(label) == there for label, there in said.items())
        except LabelsError:  # `check` says what is wrong with the file
            same = False
        return "" if same else FILE.as_posix()

    @property
    def labels(self) -> Labels:
        """The project's words for the labels of figures."""
        if self._labels is None:
            self._labels = load_labels(self.root)
        return self._labels

    def _folder(self, snippet: Snippet) -> Path:
        return self.root / "build" / "snippets" / snippet.id


def snippet_key(snippet: Snippet) -> str:
    """Return the hash of everything that the snippet itself says, and of the environment.

    Lines count: a traceback and a figure's code may name them, and they are cheap to keep.
    """
    return hashlib.sha256(f"{text_hash(snippet)} {environment_key()}".encode()).hexdigest()[:24]


def text_hash(snippet: Snippet) -> str:
    """Return the hash of what a snippet runs, wherever it runs."""
    said = [[asdict(cell) for cell in snippet.cells], asdict(snippet.options)]
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()


def _read(path: Path) -> tuple[dict[str, Any], Result | None]:
    """Return a kept file's data and its result; none where another version or a hand wrote it."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        return data, Result.from_json(data)
    except (ValueError, KeyError, TypeError, AttributeError, FileNotFoundError):
        return {}, None


def _age(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return 0.0
