"""What the rest of a vault has to know of a note, so that the note itself need not be kept."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import NamedTuple

from ssm_tools.notes.model import LinkKind, Note, NoteId
from ssm_tools.notes.resolution import Answer, Found, Missing, Tier
from ssm_tools.notes.slug import caseless, joined


class Trace(NamedTuple):
    """One note, seen from outside: plain values that can be written to a file and compared."""

    id: NoteId
    language: str
    title: str
    aliases: tuple[str, ...]
    permalink: str
    digest: str
    places: str  # a hash of what fragments can name
    asks: tuple[str, ...]  # folded names that its links ask for
    targets: tuple[str, ...]  # notes and files that links lead to, or would but for the heading
    found: tuple[str, ...]  # those that they do lead to
    called: tuple[tuple[str, str], ...]  # what links call their targets, folded
    requires: tuple[
        tuple[str, int, int, int], ...
    ]  # prerequisite, line, column, length of its link
    embeds: tuple[str, ...]  # notes that it shows
    links: int


def trace_of(note: Note, answers: Sequence[Answer]) -> Trace:
    """Return the trace of a note whose links have these answers."""
    asks: dict[str, None] = {}
    targets: dict[str, None] = {}
    found: dict[str, None] = {}
    called: dict[tuple[str, str], None] = {}
    requires = []
    embeds: dict[str, None] = {}
    for link, answer in zip(note.links, answers, strict=True):
        asks[asked_name(link.path)] = None
        if isinstance(answer, (Found, Missing)) and answer.target:
            targets[answer.target] = None
        if not isinstance(answer, Found):
            continue
        found[answer.target] = None
        if link.text:
            called[answer.target, caseless(link.text)] = None
        if answer.tier is Tier.ALIAS:
            called[answer.target, caseless(link.path)] = None
        if link.relation == "requires":
            length = max(1, min(link.end - link.start, 80))
            requires.append((answer.target, link.line, link.column, length))
        if link.kind is LinkKind.EMBED and answer.note is not None:
            embeds[answer.target] = None
    return Trace(
        note.id,
        note.language,
        note.title,
        note.aliases,
        note.permalink,
        note.digest,
        places_of(note),
        tuple(asks),
        tuple(targets),
        tuple(found),
        tuple(called),
        tuple(requires),
        tuple(embeds),
        len(note.links),
    )


def asked_name(path: str) -> str:
    """The name that a link's path ends in, as far as spelling can differ."""
    name = path.replace("\\", "/").rstrip("/").rpartition("/")[2]
    return joined(name[:-3] if name.lower().endswith(".md") else name)


def places_of(note: Note) -> str:
    """A hash of the headings and blocks that links can name."""
    if not note.headings and not note.blocks:
        return ""
    headings = [(heading.id, heading.text, heading.parent) for heading in note.headings]
    written = repr((headings, [block.id for block in note.blocks]))
    return hashlib.blake2b(written.encode("utf-8", "replace"), digest_size=12).hexdigest()
