"""Embedding: `![[note]]`, `![[note#section]]` and `![[note#^block]]` replaced by what they name."""

from __future__ import annotations

import re
from bisect import bisect_left, insort
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from ssm_tools.notes.edits import rewrite
from ssm_tools.notes.fragments import Place
from ssm_tools.notes.graph import Answers
from ssm_tools.notes.model import Block, Heading, Link, LinkKind, Note, NoteId
from ssm_tools.notes.resolution import Found, resolve
from ssm_tools.notes.targets import without_suffix
from ssm_tools.notes.vault import Vault

MAX_DEPTH = 16
MAX_CHARACTERS = 2**20
_LIST_MARK = re.compile(r"(?:[-*+]|\d+[.)])[ \t]+$")
_NO_ID = re.compile(r"\s*\{:?[^{}\n]*?#[\w:.-]+[^{}\n]*\}[ \t]*$", re.MULTILINE)
_NO_BLOCK = re.compile(r"(?:^|(?<=\s))\^[\w-]+[ \t]*$", re.MULTILINE)


class Region(NamedTuple):
    """A part of a note that an embed shows."""

    note: NoteId
    start: int
    end: int


def region(vault: Vault, answer: Found) -> Region | None:
    """The part of a note that an answer names, None where it names another file."""
    target = vault.notes.get(NoteId(answer.target))
    if target is None:
        return None
    match answer.place:
        case Place(index=index, target=Heading()):
            heading = target.headings[index]
            return Region(target.id, target.line_starts[heading.line - 1], heading.section_end)
        case Place(index=index, target=Block()):
            block = target.blocks[index]
            return Region(target.id, block.start, block.end)
    return Region(target.id, target.body_start, len(target.text))


def circular_embeds(
    vault: Vault, holders: Iterable[NoteId], answers: Answers
) -> Iterator[tuple[Note, Link, tuple[str, ...]]]:
    """Embeds that lead back to what they stand in, each with the circle of notes.

    `holders` are the notes with embeds, in the order in which circles are looked for.
    """
    inside: dict[NoteId, list[tuple[Link, Region]]] = {}
    for note in map(vault.notes.__getitem__, holders):
        for link, answer in zip(note.links, answers[note.id], strict=True):
            if link.kind is LinkKind.EMBED and isinstance(answer, Found):
                shown = region(vault, answer)
                if shown is not None:
                    inside.setdefault(note.id, []).append((link, shown))
    for embeds in inside.values():
        embeds.sort(key=lambda embed: embed[0].start)
    starts = {note_id: [link.start for link, _ in embeds] for note_id, embeds in inside.items()}
    done: set[Region] = set()
    reported: set[tuple[NoteId, int]] = set()
    for note_id in inside:
        whole = Region(note_id, 0, len(vault.notes[note_id].text))
        for where, link, circle in _circles(whole, inside, starts, done):
            if (where, link.start) not in reported:
                reported.add((where, link.start))
                yield vault.notes[where], link, circle


Embeds = dict[NoteId, list[tuple[Link, Region]]]  # of each note, in the order of the text


def _circles(
    first: Region, inside: Embeds, starts: dict[NoteId, list[int]], done: set[Region]
) -> Iterator[tuple[NoteId, Link, tuple[str, ...]]]:
    """Walk the embeds depth first, without recursion: a chain of them may be long."""
    path = [first]
    open_now = _Open()
    open_now.add(first)
    steps = [_within(first, inside, starts)]
    while path:
        step = next(steps[-1], None)
        if step is None:
            done.add(path[-1])
            open_now.remove(path.pop())
            steps.pop()
            continue
        link, shown = step
        back = open_now.inside(shown)
        if back is not None:
            names = [str(r.note) for r in path[path.index(back) :]]
            yield path[-1].note, link, (*names, str(shown.note))
        elif shown not in done:
            path.append(shown)
            open_now.add(shown)
            steps.append(_within(shown, inside, starts))


class _Open:
    """The regions that are being shown: two of a note lie apart or one inside the other."""

    def __init__(self) -> None:
        self.spans: dict[NoteId, list[tuple[int, int]]] = {}  # (start, -end): outer before inner

    def add(self, part: Region) -> None:
        """Enter a region."""
        insort(self.spans.setdefault(part.note, []), (part.start, -part.end))

    def remove(self, part: Region) -> None:
        """Take one out again."""
        spans = self.spans[part.note]
        del spans[bisect_left(spans, (part.start, -part.end))]

    def inside(self, part: Region) -> Region | None:
        """An open region that the part holds, or is."""
        spans = self.spans.get(part.note, [])
        index = bisect_left(spans, (part.start, -part.end))
        if index < len(spans) and -spans[index][1] <= part.end:
            return Region(part.note, spans[index][0], -spans[index][1])
        return None


def _within(
    part: Region, inside: Embeds, starts: dict[NoteId, list[int]]
) -> Iterator[tuple[Link, Region]]:
    """The embeds that stand in a region."""
    begins = starts.get(part.note, [])
    for index in range(bisect_left(begins, part.start), bisect_left(begins, part.end)):
        link, shown = inside[part.note][index]
        if link.end <= part.end:
            yield link, shown


def _holds(shown: Region, open_region: Region) -> bool:
    """Whether the embedded region is, or has in it, one that is open."""
    return shown.start <= open_region.start and open_region.end <= shown.end


Wrap = Callable[[Found, str], str]


def expand_embeds(vault: Vault, note: Note, wrap: Wrap | None = None) -> str:
    """Return the note's text with embedded notes, sections and blocks in their place.

    Links of an embedded text are written from the vault's root, so that they mean the same from
    here; its heading and block ids are dropped. `wrap` may put something around each piece. An
    embed that leads back to itself, that lies deeper than `MAX_DEPTH`, or that would make the text
    longer than `MAX_CHARACTERS`, becomes a plain link. Files (images) stay as they are.
    """
    whole = Region(note.id, 0, len(note.text))
    return _Expansion(vault, wrap).text(whole, (whole,))


class _Expansion:
    """One expansion, with the count of characters that it may still add."""

    def __init__(self, vault: Vault, wrap: Wrap | None) -> None:
        self.vault = vault
        self.wrap = wrap
        self.left = MAX_CHARACTERS

    def text(self, part: Region, path: tuple[Region, ...]) -> str:
        """The text of a region with its embeds expanded."""
        note = self.vault.notes[part.note]
        embedded = len(path) > 1
        edits = []
        for link in note.links:
            if not (part.start <= link.start and link.end <= part.end):
                continue
            answer = resolve(self.vault, note, link)
            if not isinstance(answer, Found):
                continue
            shown = region(self.vault, answer) if link.kind is LinkKind.EMBED else None
            if shown is not None:
                text = self._embed(note, link, answer, shown, path)
            elif embedded and link.target_start >= link.start:
                text = _from_root(note, link, answer)
            else:
                continue
            edits.append((link.start - part.start, link.end - part.start, text))
        source = note.text[part.start : part.end]
        if not embedded:
            return rewrite(source, edits)
        return _NO_BLOCK.sub("", _NO_ID.sub("", rewrite(source, edits)))

    def _embed(
        self, note: Note, link: Link, answer: Found, shown: Region, path: tuple[Region, ...]
    ) -> str:
        circular = any(r.note == shown.note and _holds(shown, r) for r in path)
        size = shown.end - shown.start
        if circular or len(path) > MAX_DEPTH or size > self.left:
            return _as_link(answer)
        self.left -= size
        text = self.text(shown, (*path, shown)).strip("\r\n")
        text = self.wrap(answer, text) if self.wrap else text
        alone = (link.context_start, link.context_end) == (link.start, link.end)
        if "\n" not in text:
            return text if alone or not text.startswith("#") else text.lstrip("# ")
        if not alone:
            return _as_link(answer)
        line_start = note.line_starts[link.line - 1]
        prefix = note.text[line_start : link.start]
        prefix = _LIST_MARK.sub(lambda match: " " * len(match.group()), prefix)
        return text.replace("\n", "\n" + prefix)


def _as_link(answer: Found) -> str:
    """A plain link in the place of an embed."""
    fragment = f"#{answer.fragment}" if answer.fragment else ""
    path = without_suffix(answer.target)
    return f"[[/{path}{fragment}|{path.rpartition('/')[2]}]]"


def _from_root(note: Note, link: Link, answer: Found) -> str:
    """The link written so that it means the same from any note."""
    raw = note.text[link.start : link.end]
    begin, end = link.target_start - link.start, link.target_end - link.start
    if link.kind in (LinkKind.MARKDOWN, LinkKind.IMAGE):
        fragment = f"#{answer.fragment}" if answer.fragment else ""
        return f"{raw[:begin]}</{answer.target}{fragment}>{raw[end:]}"
    fragment = f"#{answer.fragment}" if answer.fragment else ""
    path = without_suffix(answer.target) if answer.note else answer.target
    name = without_suffix(answer.target.rpartition("/")[2])
    shown = "" if link.text is not None or link.kind is LinkKind.EMBED else f"|{name}"
    return f"{raw[:begin]}/{path}{fragment}{shown}{raw[end:]}"
