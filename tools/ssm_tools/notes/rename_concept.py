"""What goes with the note of a concept when it is renamed, and what is left to be renamed by hand.

A concept's file, its snippets, and every mention of its slug in notes and other concepts follow the
note. Its Python module and test do not: imports are an editor's work, and ties name them by path.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ssm_tools.notes.edits import Edit
from ssm_tools.notes.model import Note, NoteId, slug_of
from ssm_tools.notes.vault import Vault

_SLUG = re.compile(r"[a-z][a-z0-9_]*")
_REQUIRES = re.compile(r"^requires:(?:[^\n]*\n)(?:[ \t]+[^\n]*\n|-[^\n]*\n)*", re.MULTILINE)
_FAMILY = re.compile(r"^family:[ \t]*([\w-]+)", re.MULTILINE)
_FENCE = re.compile(r"snippet[ \t]+")


@dataclass(slots=True)
class Following:
    """Further changes of a rename: edits of notes, texts of other files, moves, what is left."""

    edits: dict[NoteId, list[Edit]] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)
    moves: dict[str, str] = field(default_factory=dict)
    left: list[str] = field(default_factory=list)


def following(vault: Vault, moves: Mapping[str, str]) -> Following:
    """Return what follows the notes of concepts among `moves`; nothing in a vault without any.

    Raises `ValueError` where a concept's new name is no slug, or is another concept's.
    """
    made = Following()
    for old, new, note in _concepts(vault, moves):
        _family(vault, made, old, note, moves[note.id])
        if old == new:
            continue
        if not _SLUG.fullmatch(new):
            raise ValueError(f"{new!r} is no slug of a concept: lower-case letters, digits and _")
        if f"concepts/{new}.yml" in vault.files:
            raise ValueError(f"there is a concept {new} already")
        made.moves[f"concepts/{old}.yml"] = f"concepts/{new}.yml"
        folder = f"snippets/{old}/"
        for path in vault.files:
            if path.startswith(folder):
                made.moves[path] = f"snippets/{new}/{path.removeprefix(folder)}"
        _mentions(vault, made, old, new)
        made.left += _code(vault.root.parent, old)
    return made


def _concepts(vault: Vault, moves: Mapping[str, str]) -> Iterator[tuple[str, str, Note]]:
    """Old and new slug of each concept whose note is moved, with one of its notes."""
    seen: set[str] = set()
    for old, new in moves.items():
        note = vault.notes.get(NoteId(old))
        if note is None or note.concept != slug_of(note) or note.concept in seen:
            continue
        if f"concepts/{note.concept}.yml" in vault.files:
            seen.add(note.concept)
            yield note.concept, new.rpartition("/")[2].removesuffix(".md"), note


def _family(vault: Vault, made: Following, slug: str, note: Note, target: str) -> None:
    """A note moved to another family's folder takes its concept with it."""
    before, now = (path.rpartition("/")[0].rpartition("/")[2] for path in (note.id, target))
    path = f"concepts/{slug}.yml"
    text = _text(vault, made, path)
    match = _FAMILY.search(text)
    if match and match.group(1) == before and now != before:
        made.files[path] = f"{text[: match.start(1)]}{now}{text[match.end(1) :]}"


def _mentions(vault: Vault, made: Following, old: str, new: str) -> None:
    """The slug in front matter, marks of claims, fences of snippets, and other concepts' files."""
    for note in vault.notes.values():
        edits = [*_edits(note, old, new)]
        if edits:
            made.edits.setdefault(note.id, []).extend(edits)
    word = re.compile(rf"(?<![\w.]){old}(?![\w./])")
    place = re.compile(rf"(?<=[ :\[,]){old}(?=/)")
    for path in sorted(vault.files):
        if path.startswith("concepts/") and path.endswith(".yml"):
            text = _text(vault, made, path)
            changed = _REQUIRES.sub(lambda match: word.sub(new, match.group()), text)
            changed = re.sub(
                r"(?m)^([ \t-]*snippet:.*)$", lambda match: place.sub(new, match.group()), changed
            )
            if changed != text:
                made.files[path] = changed


def _edits(note: Note, old: str, new: str) -> Iterator[Edit]:
    head = note.text[: note.body_start]
    if match := re.search(rf"^concept:[ \t]*['\"]?({old})\b", head, re.MULTILINE):
        yield match.start(1), match.end(1), new
    for mark in note.claims:
        if mark.concept == old:
            begin = note.text.index(old, mark.start, mark.end)
            yield begin, begin + len(old), new
    for fence in note.fences:
        if fence.info.startswith(("snippet ", "snippet\t")) and (
            found := _FENCE.search(note.text, fence.start, fence.end)
        ):
            begin, end = found.end(), found.end() + len(old)
            if note.text[begin : end + 1] == f"{old}/":
                yield begin, end, new


def _text(vault: Vault, made: Following, path: str) -> str:
    if path in made.files:
        return made.files[path]
    return (vault.root / path).read_bytes().decode("utf-8", "replace")


def _code(project: Path, slug: str) -> Iterator[str]:
    """Files of code and tests that bear the slug."""
    for folder in ("ssm_ref", "tests/ssm_ref"):
        for name in (f"{slug}.py", f"test_{slug}.py"):
            for path in sorted((project / folder).rglob(name)):
                yield path.relative_to(project).as_posix()
