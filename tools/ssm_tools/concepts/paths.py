"""Learning paths: the tables of `ssm/topics/learning_paths.md`, held to the prerequisites.

Each section with a numbered table is a path; the links of a row's second cell are what it reads.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from ssm_tools.concepts.model import Concept
from ssm_tools.findings import Finding
from ssm_tools.notes import Found, Note, NoteId, Vault, resolve

KEY = "ssm/topics/learning_paths.md"
FROM_SCRATCH = "student"  # the path that takes nothing for granted but its own steps
_ROW = re.compile(r"\|\s*(\d+)\s*\|")
_BAR = re.compile(r"(?<!\\)\|")


@dataclass(frozen=True, slots=True)
class Step:
    """One page of a path: the number of its row, and where the link stands."""

    number: int
    note: NoteId
    line: int
    column: int


@dataclass(frozen=True, slots=True)
class ReadingPath:
    """A path: the id and text of its heading, its pages in order, how many rows it has."""

    id: str
    title: str
    steps: tuple[Step, ...]
    rows: int


def reading_paths(vault: Vault, language: str) -> tuple[ReadingPath, ...]:
    """Return the paths of a language, none without the note; a page stands at its first step."""
    note = vault.notes.get(NoteId(f"{language}/{KEY}"))
    return tuple(_paths(vault, note)) if note else ()


def _paths(vault: Vault, note: Note) -> Iterator[ReadingPath]:
    for heading in note.headings:
        if heading.level < 2:
            continue
        last = note.place(heading.section_end - 1)[0]
        lines = {line: note.line_text(line) for line in range(heading.line, last + 1)}
        numbers = {line: int(m[1]) for line, text in lines.items() if (m := _ROW.match(text))}
        steps: dict[NoteId, Step] = {}
        for link in note.links:
            if link.line not in numbers:
                continue
            before = lines[link.line][: link.column - 1]
            answer = resolve(vault, note, link)
            if len(_BAR.findall(before)) == 2 and isinstance(answer, Found) and answer.note:
                step = Step(numbers[link.line], answer.note, link.line, link.column)
                steps.setdefault(answer.note, step)
        if steps:
            yield ReadingPath(heading.id, heading.text, tuple(steps.values()), len(numbers))


def path_findings(root: Path, vault: Vault, concepts: Mapping[str, Concept]) -> Iterator[Finding]:
    """Yield steps that come before what they require, and paths that differ by language."""
    by_language = {
        language: reading_paths(vault, language)
        for language in vault.languages
        if f"{language}/{KEY}" in vault.notes
    }
    first: list[tuple[str, list[tuple[int, str]]]] | None = None
    for language, paths in by_language.items():
        note = vault.notes[NoteId(f"{language}/{KEY}")]
        where = note.path.relative_to(root).as_posix()
        for path in paths:
            yield from _too_early(where, vault, path, concepts)
        shape = [
            (path.id, [(step.number, vault.notes[step.note].key) for step in path.steps])
            for path in paths
        ]
        if first is not None and shape != first:
            yield Finding(where, 1, 1, "C023", "the paths are not those of the other language")
        first = first or shape


def _too_early(
    where: str, vault: Vault, path: ReadingPath, concepts: Mapping[str, Concept]
) -> Iterator[Finding]:
    order = [vault.notes[step.note].concept for step in path.steps]
    for index, (slug, step) in enumerate(zip(order, path.steps, strict=True)):
        for wanted in concepts[slug].requires if slug in concepts else ():
            if wanted in order[:index] or (wanted not in order and path.id != FROM_SCRATCH):
                continue
            late = "reads only later" if wanted in order else "does not read"
            message = f"{slug} requires {wanted}, which the path {path.id} {late}"
            yield Finding(where, step.line, step.column, "C023", message)
