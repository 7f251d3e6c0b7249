"""What lies beside the notes and can be named in them: papers, concepts, claims, snippets.

Read anew each time, as text: an editor asks while these files are being written.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from ssm_tools.notes.model import Note

_KEY = re.compile(r"^([\w-]+):", re.MULTILINE)
_CLAIM = re.compile(r"^[ \t]*-[ \t]*id:[ \t]*(\S+)", re.MULTILINE)
_CONCEPT_LINE = re.compile(r"^concept:[ \t]*(\S+)", re.MULTILINE)
EXCERPT_LINES = 12


@dataclass(frozen=True, slots=True)
class Thing:
    """A paper, claim, concept or snippet: its name, where it is written, how it begins."""

    name: str
    path: Path
    line: int
    excerpt: str


def papers(root: Path) -> list[str]:
    """Keys of the works in `papers.yml`."""
    return [match.group(1) for match in _KEY.finditer(_read(root / "papers.yml"))]


def concepts(root: Path) -> list[Path]:
    """Files of the concepts."""
    return sorted((root / "concepts").glob("*.yml"))


def claims(root: Path, note: Note) -> list[str]:
    """Claims as a note would write them: its own concept's by their id alone."""
    names = []
    for path in concepts(root):
        own = path.stem == note.concept
        for match in _CLAIM.finditer(_read(path)):
            names.append(match.group(1) if own else f"{path.stem}/{match.group(1)}")
    return names


def snippets(root: Path) -> list[str]:
    """Snippets as fences name them: concept/name."""
    folder = root / "snippets"
    return sorted(p.relative_to(folder).with_suffix("").as_posix() for p in folder.glob("*/*.py"))


def thing_at(root: Path, note: Note, offset: int) -> Thing | None:
    """The paper, claim, concept or snippet that is named at an offset."""
    for citation in note.citations:
        if citation.start <= offset <= citation.end:
            return _entry(root / "papers.yml", citation.key, rf"^{re.escape(citation.key)}:")
    for mark in note.claims:
        if mark.start <= offset <= mark.end:
            path = root / "concepts" / f"{mark.concept or note.concept}.yml"
            return _entry(
                path, mark.claim, rf"^[ \t]*-[ \t]*id:[ \t]*{re.escape(mark.claim)}[ \t]*$"
            )
    for fence in note.fences:
        kind, _, name = fence.info.partition(" ")
        if kind == "snippet" and fence.start <= offset <= fence.end:
            path = root / "snippets" / f"{name.strip()}.py"
            code = "\n".join(_read(path).splitlines()[:EXCERPT_LINES])
            shown = f"```python\n{code}\n```"
            return Thing(name.strip(), path, 1, shown) if path.is_file() else None
    for match in _CONCEPT_LINE.finditer(note.text, 0, note.body_start):
        if match.start() <= offset <= match.end():
            return _entry(root / "concepts" / f"{match.group(1)}.yml", match.group(1), r"\A")
    return None


def _entry(path: Path, name: str, pattern: str) -> Thing | None:
    """An entry of a YAML file: from its first line to the next one indented as little."""
    if not path.is_file():
        return None
    text = _read(path)
    match = re.search(pattern, text, re.MULTILINE)
    if match is None:
        return None
    first, *rest = text[match.start() :].splitlines() or [""]
    lines = [first]
    for line in rest[: EXCERPT_LINES - 1]:
        if pattern != r"\A" and len(line) - len(line.lstrip()) <= len(first) - len(first.lstrip()):
            break
        lines.append(line)
    shown = "```yaml\n" + "\n".join(lines) + "\n```"
    return Thing(name, path, text.count("\n", 0, match.start()) + 1, shown)


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
