"""What a parsed note holds: links, headings, blocks, fences, each with its exact place.

Every record carries `start` and `end`, offsets into `Note.text` (the decoded file, unchanged), and
`line` and `column` of its first character, both counted from 1.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from pathlib import Path
from typing import Any, NewType, Protocol

from ssm_tools.findings import Finding
from ssm_tools.notes.targets import without_suffix

_LINE_END = re.compile(r"\r\n?|\n")

NoteId = NewType("NoteId", str)  # posix path relative to the vault root: ru/ssm/selective/mamba.md


class Named(Protocol):
    """What finding a note by its names needs to know of it; a `Note` has it."""

    @property
    def id(self) -> NoteId:
        """The note's path in the vault."""

    @property
    def language(self) -> str:
        """The folder of its language."""

    @property
    def title(self) -> str:
        """Its title."""

    @property
    def aliases(self) -> tuple[str, ...]:
        """Its aliases."""

    @property
    def permalink(self) -> str:
        """The address that it asks for."""


def shared_path(named: Named) -> str:
    """The path inside the language, which translations share: ssm/selective/mamba.md."""
    return named.id[len(named.language) + 1 :] if named.language else named.id


def slug_of(named: Named) -> str:
    """The file's name without folder and suffix."""
    return without_suffix(named.id.rpartition("/")[2])


class LinkKind(StrEnum):
    """How a link is written."""

    WIKI = "wiki"  # [[a]]
    EMBED = "embed"  # ![[a]]
    MARKDOWN = "markdown"  # [text](a.md)
    IMAGE = "image"  # ![alt](a.png)
    PROPERTY = "property"  # "[[a]]" as a value of the front matter


@dataclass(frozen=True, slots=True)
class Link:
    """One link as written. `target_start:target_end` is what a fix or a rename replaces."""

    kind: LinkKind
    path: str  # what names the note or file, decoded: "../x/a.md"; empty for [[#here]]
    fragment: tuple[str, ...]  # the headings after '#', outermost first; the last may be "^block"
    text: str | None  # what is shown, where the author says so
    relation: str  # "contrast" in [[contrast::s4d]]
    start: int
    end: int
    line: int
    column: int
    target_start: int  # of path and fragment together
    target_end: int
    context_start: int  # of the paragraph, heading or table cell around it
    context_end: int

    @property
    def block(self) -> str:
        """The block id asked for, without '^', or the empty string."""
        if self.fragment and self.fragment[-1].startswith("^"):
            return self.fragment[-1][1:]
        return ""


@dataclass(frozen=True, slots=True)
class Heading:
    """One heading; `id` is unique in its note. `section_end` is where its section stops."""

    level: int
    text: str
    id: str
    explicit: bool  # the author wrote {#id}
    parent: int  # index of the enclosing heading in `Note.headings`, -1 for none
    start: int
    end: int
    line: int
    column: int
    section_end: int


@dataclass(frozen=True, slots=True)
class Block:
    """A block that carries `^id`; `start:end` covers its lines, the mark included."""

    id: str
    start: int
    end: int
    line: int
    column: int
    mark_start: int
    mark_end: int


@dataclass(frozen=True, slots=True)
class Fence:
    """A fenced block: `info` as written, `content` without its indentation."""

    info: str
    content: str
    start: int
    end: int
    line: int
    column: int


@dataclass(frozen=True, slots=True)
class Citation:
    """`[[@key]]` or `[[@key|text]]`."""

    key: str
    text: str | None
    start: int
    end: int
    line: int
    column: int


@dataclass(frozen=True, slots=True)
class ClaimMark:
    """`[[claim:id]]` (concept empty: the note's own) or `[[claim:concept/id]]`."""

    concept: str
    claim: str
    start: int
    end: int
    line: int
    column: int


@dataclass(frozen=True, slots=True)
class Equation:
    """A displayed formula that carries `\\tag{...}`."""

    tag: str
    start: int
    end: int
    line: int
    column: int


@dataclass(frozen=True)
class Note:
    """One note, parsed once. `text` is the decoded file, byte for byte but for the encoding."""

    id: NoteId
    language: str  # "" in a vault of one language
    path: Path
    text: str
    digest: str
    title: str
    front_matter: Mapping[str, Any]
    aliases: tuple[str, ...]
    body_start: int  # where the text after the front matter begins
    headings: tuple[Heading, ...] = ()
    blocks: tuple[Block, ...] = ()
    links: tuple[Link, ...] = ()
    fences: tuple[Fence, ...] = ()
    citations: tuple[Citation, ...] = ()
    claims: tuple[ClaimMark, ...] = ()
    equations: tuple[Equation, ...] = ()
    comments: tuple[tuple[int, int], ...] = ()  # %% ... %%, hidden from readers
    findings: tuple[Finding, ...] = field(default=(), repr=False)  # of the file itself

    @property
    def key(self) -> str:
        """The path inside its language, which its translations share: ssm/selective/mamba.md."""
        return shared_path(self)

    @property
    def slug(self) -> str:
        """The file's name without folder and suffix."""
        return slug_of(self)

    @property
    def concept(self) -> str:
        """The concept that the front matter names, or the empty string."""
        value = self.front_matter.get("concept", "")
        return value if isinstance(value, str) else ""

    @property
    def permalink(self) -> str:
        """The address that the front matter gives the page, or the empty string."""
        value = self.front_matter.get("permalink", "")
        return value.strip("/") or value if isinstance(value, str) else ""

    @cached_property
    def line_starts(self) -> list[int]:
        """Offsets at which lines begin; \\n, \\r\\n and \\r end a line."""
        return line_starts(self.text)

    def place(self, offset: int) -> tuple[int, int]:
        """Line and column of an offset, both from 1."""
        line = bisect_right(self.line_starts, offset)
        return line, offset - self.line_starts[line - 1] + 1

    def line_text(self, line: int) -> str:
        """The text of a line (from 1) without its end."""
        return line_text(self.text, self.line_starts, line)

    def section_at(self, offset: int) -> Heading | None:
        """The innermost heading whose section holds the offset."""
        index = bisect_right(self.headings, offset, key=lambda heading: heading.start)
        return self.headings[index - 1] if index else None


def line_starts(text: str) -> list[int]:
    """Offsets at which the lines of a text begin."""
    if "\r" in text:
        return [0, *(match.end() for match in _LINE_END.finditer(text))]
    starts, position = [0], 0
    find = text.find
    while (position := find("\n", position) + 1) > 0:
        starts.append(position)
    return starts


def line_text(text: str, starts: list[int], line: int) -> str:
    """The text of a line (from 1) without its end, given where lines begin."""
    if not 0 < line <= len(starts):
        return ""
    end = starts[line] if line < len(starts) else len(text)
    return text[starts[line - 1] : end].rstrip("\r\n")
