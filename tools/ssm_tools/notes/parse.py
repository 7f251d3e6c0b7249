"""From a note's text to its links, headings, blocks and fences: one pass of markdown-it-py."""

from __future__ import annotations

import re
from bisect import bisect_right
from functools import cache
from pathlib import Path
from typing import Any

from markdown_it import MarkdownIt
from markdown_it.common.utils import normalizeReference
from markdown_it.rules_inline import StateInline
from markdown_it.token import Token

from ssm_tools.findings import Finding
from ssm_tools.notes.block_rules import block_parser
from ssm_tools.notes.inline_rules import Scan, Seen, inline_parser
from ssm_tools.notes.model import (
    Block,
    Citation,
    ClaimMark,
    Equation,
    Fence,
    Heading,
    Link,
    LinkKind,
    Note,
    NoteId,
    line_starts,
)
from ssm_tools.notes.places import CellPlaces, Places, TextPlaces
from ssm_tools.notes.slug import slugify, unique_id
from ssm_tools.notes.source import decode, digest, front_matter, string_list, string_value
from ssm_tools.notes.targets import is_external, markdown_target, wiki_target

_EXPLICIT_ID = re.compile(r"\s*\{:?[^{}]*?#([\w:.-]+)[^{}]*\}\s*$")
_BLOCK_ID = re.compile(r"(?:^|(?<=\s))\^([\w-]+)$")
_TAG = re.compile(r"\\tag\*?\{([^{}]+)\}")
_NEWLINE = re.compile(r"\r\n?")


@cache
def _parsers() -> tuple[MarkdownIt, MarkdownIt]:
    return block_parser(), inline_parser()


@cache
def _full_inline() -> MarkdownIt:
    return MarkdownIt("js-default", {"linkify": False, "html": True})


def parse_note(data: bytes, note_id: NoteId, language: str, path: Path) -> Note:
    """Parse one note. Faults of the file are `Note.findings`; nothing is raised for bad input."""
    text, faults = decode(data, note_id)
    matter = front_matter(text, note_id)
    title, title_faults = string_value(matter.values, "title", note_id)
    aliases, alias_faults = string_list(matter.values, "aliases", note_id)
    reader = _Reader(text, matter.body_start)
    reader.read()
    if not title:
        title = next((h.text for h in reader.headings if h.level == 1), "")
    return Note(
        id=note_id,
        language=language,
        path=path,
        text=text,
        digest=digest(data),
        title=title or note_id.rpartition("/")[2].removesuffix(".md"),
        front_matter=matter.values,
        aliases=aliases,
        body_start=matter.body_start,
        headings=tuple(reader.headings),
        blocks=tuple(reader.blocks),
        links=tuple(reader.links),
        fences=tuple(reader.fences),
        citations=tuple(reader.citations),
        claims=tuple(reader.claims),
        equations=tuple(reader.equations),
        comments=tuple(reader.comments),
        findings=(
            *faults,
            *matter.findings,
            *title_faults,
            *alias_faults,
            *(Finding(note_id, *where) for where in reader.faults),
        ),
    )


class _Reader:
    """Walks the block tokens of one note once and collects what it meets."""

    def __init__(self, text: str, body_start: int) -> None:
        self.text = text
        self.starts = line_starts(text)
        self.first_line = bisect_right(self.starts, body_start) - 1
        self.body_start = body_start
        self.headings: list[Heading] = []
        self.blocks: list[Block] = []
        self.links: list[Link] = []
        self.fences: list[Fence] = []
        self.citations: list[Citation] = []
        self.claims: list[ClaimMark] = []
        self.equations: list[Equation] = []
        self.comments: list[tuple[int, int]] = []
        self.faults: list[tuple[int, int, str, str]] = []
        self.taken: dict[str, int] = {}
        self.env: dict[str, Any] = {}
        self.cell_cursor = 0  # in the current table row's line
        self.items: list[tuple[int, int]] = []  # line ranges of the list items around
        self.before: dict[int, tuple[int, int]] = {}  # level → lines of the last block there

    def read(self) -> None:
        """Parse the body and fill the lists."""
        source = self.text[self.body_start :]
        if "\r" in source:
            source = _NEWLINE.sub("\n", source)
        if "\0" in source:
            source = source.replace("\0", "\ufffd")
        tokens: list[Token] = []
        md = _parsers()[0]
        md.block.parse(source, md, self.env, tokens)
        previous = None
        for token in tokens:
            kind = token.type
            if kind == "inline":
                self._inline(token, previous)
            elif token.map is not None:
                self._block(kind, token)
            elif kind == "list_item_close":
                self.items.pop()
            previous = token
        self._close_sections()

    def _block(self, kind: str, token: Token) -> None:
        lines = self._lines(token)
        if kind == "tr_open":
            self.cell_cursor = self.starts[lines[0]]
        elif kind == "list_item_open":
            self.items.append(lines)
        elif kind == "fence":
            line = self._first_mark(lines[0])
            start, end = self._range(lines)
            self.fences.append(Fence(token.info.strip(), token.content, start, end, *line))
        elif kind == "math_block":
            start, end = self._range(lines)
            if match := _TAG.search(self.text, start, end):
                place = self._first_mark(lines[0])
                self.equations.append(Equation(match.group(1), start, end, *place))
        elif kind == "comment_block":
            self.comments.append(self._range(lines))
        if kind != "paragraph_open":
            self.before[token.level] = lines

    def _lines(self, token: Token) -> tuple[int, int]:
        first, last = token.map or (0, 0)
        return first + self.first_line, last + self.first_line

    def _range(self, lines: tuple[int, int]) -> tuple[int, int]:
        """Offsets of the first character of the lines and of the end of the last, without \\n."""
        end = self.starts[lines[1]] if lines[1] < len(self.starts) else len(self.text)
        start = self.starts[lines[0]]
        return start, start + len(self.text[start:end].rstrip("\r\n"))

    def _first_mark(self, line: int) -> tuple[int, int]:
        start, end = self._range((line, line + 1))
        text = self.text[start:end]
        return line + 1, len(text) - len(text.lstrip()) + 1

    def _inline(self, token: Token, opener: Token | None) -> None:
        content = token.content
        kind = opener.type if opener else ""
        if kind in ("th_open", "td_open"):
            places: Places = self._cell(token)
        elif kind == "heading_open":
            places = self._text_places(token)
            self._heading(content, int((opener or token).tag[1:]), places)
        else:
            if "^" in content:
                self._block_id(token, self._text_places(token))
            self.before[token.level - 1] = self._lines(token)
            if "[" not in content and "%%" not in content:
                return
            places = self._text_places(token)
        if "[[" in content or "](" in content or "%%" in content or self._has_reference(content):
            self._links(content, places)

    def _has_reference(self, content: str) -> bool:
        return "references" in self.env and "[" in content

    def _text_places(self, token: Token) -> Places:
        lines = self._lines(token)
        return TextPlaces(self.text, self.starts, lines, token.content)

    def _cell(self, token: Token) -> Places:
        lines = self._lines(token)
        places = CellPlaces(self.text, lines[0], self.starts[lines[0]], self.cell_cursor, token)
        bar = self.text.find("|", places.end)
        if bar >= 0:
            self.cell_cursor = bar + 1
        if match := _BLOCK_ID.fullmatch(token.content):
            self._add_block(match, token.content, places, self.before.get(token.level - 4))
        return places

    def _heading(self, content: str, level: int, places: Places) -> None:
        explicit = _EXPLICIT_ID.search(content)
        shown = content[: explicit.start()] if explicit else content
        block = _BLOCK_ID.search(shown)
        if block:
            shown = shown[: block.start()].rstrip()
        text = plain_text(shown)
        if explicit:
            identity = explicit.group(1)
            if identity in self.taken:
                line, column = places.line_column(explicit.start(1))
                self.faults.append((line, column, "H002", f"id {identity!r} is taken"))
            self.taken.setdefault(identity, 0)
        else:
            identity = unique_id(slugify(text), self.taken)
        parent = len(self.headings) - 1
        while parent >= 0 and self.headings[parent].level >= level:
            parent = self.headings[parent].parent
        start, end = places.offset(0), places.offset(len(content))
        line, column = places.line_column(0)
        heading = Heading(
            level, text, identity, explicit is not None, parent, start, end, line, column, 0
        )
        self.headings.append(heading)
        if block:
            self._add_block(block, content, places, None)

    def _close_sections(self) -> None:
        ends = [len(self.text)] * 7
        closed: list[Heading] = []
        for heading in reversed(self.headings):
            stop = min(ends[: heading.level + 1])
            begin = self.starts[heading.line - 1]
            closed.append(
                Heading(
                    heading.level,
                    heading.text,
                    heading.id,
                    heading.explicit,
                    heading.parent,
                    heading.start,
                    heading.end,
                    heading.line,
                    heading.column,
                    stop,
                )
            )
            ends[heading.level] = begin
            for deeper in range(heading.level + 1, 7):
                ends[deeper] = begin
        self.headings = closed[::-1]

    def _block_id(self, token: Token, places: Places) -> None:
        match = _BLOCK_ID.search(token.content)
        if match is None:
            return
        alone = match.start() == 0
        lines = self.before.get(token.level - 1) if alone else None
        if lines is None:
            lines = self.items[-1] if self.items else self._lines(token)
        self._add_block(match, token.content, places, lines)

    def _add_block(
        self,
        match: re.Match[str],
        content: str,
        places: Places,
        lines: tuple[int, int] | None,
    ) -> None:
        mark_start, mark_end = places.offset(match.start()), places.offset(match.end())
        line, column = places.line_column(match.start())
        if lines is None:
            lines = (line - 1, line)
        start, end = self._range((lines[0], max(lines[1], line)))
        self.blocks.append(Block(match.group(1), start, end, line, column, mark_start, mark_end))

    def _links(self, content: str, places: Places) -> None:
        scan = Scan(content)
        md = _parsers()[1]
        env: dict[str, Any] = {"scan": scan}
        if "references" in self.env:
            env["references"] = self.env["references"]
        state = StateInline(content, md, env, [])
        md.inline.tokenize(state)
        for begin, end in scan.comments:
            self.comments.append((places.offset(begin), places.offset(end)))
        for seen in scan.seen:
            if seen.kind in ("wiki", "embed"):
                self._wiki(seen, content, places)
            else:
                self._markdown(seen, content, places)

    def _wiki(self, seen: Seen, content: str, places: Places) -> None:
        inner = content[seen.inner_start : seen.inner_end]
        start, end = places.offset(seen.start), places.offset(seen.end)
        line, column = places.line_column(seen.start)
        name = inner.strip()
        if seen.kind == "wiki" and name.startswith("@"):
            key, bar, shown = name[1:].partition("|")
            key = key.rstrip("\\").strip()
            text = shown.strip() if bar else None
            self.citations.append(Citation(key, text, start, end, line, column))
            return
        if seen.kind == "wiki" and name.startswith("claim:"):
            concept, _, claim = name[6:].partition("|")[0].strip().rpartition("/")
            self.claims.append(ClaimMark(concept, claim, start, end, line, column))
            return
        target = wiki_target(inner)
        self.links.append(
            Link(
                LinkKind(seen.kind),
                target.path,
                target.fragment,
                target.text,
                target.relation,
                start,
                end,
                line,
                column,
                places.offset(seen.inner_start + target.begin),
                places.offset(seen.inner_start + target.end),
                places.start,
                places.end,
            )
        )

    def _markdown(self, seen: Seen, content: str, places: Places) -> None:
        href, begin, end = seen.href, -1, -1
        if seen.inner_start >= 0:
            begin, end = places.offset(seen.inner_start), places.offset(seen.inner_end)
        else:
            reference = self.env.get("references", {}).get(normalizeReference(seen.label))
            if reference is None:
                return
            href = reference["href"]
            first, last = (line + self.first_line for line in reference["map"])
            low, high = self._range((first, last))
            begin = self.text.find(href, self.text.find("]:", low, high), high)
            end = begin + len(href) if begin >= 0 else -1
        path, fragment = (href, ()) if is_external(href) else markdown_target(href)
        shown = content[seen.start + (2 if seen.kind == "image" else 1) : seen.end]
        line, column = places.line_column(seen.start)
        self.links.append(
            Link(
                LinkKind(seen.kind),
                path,
                fragment,
                shown.partition("](")[0].partition("]")[0],
                "",
                places.offset(seen.start),
                places.offset(seen.end),
                line,
                column,
                begin,
                end,
                places.start,
                places.end,
            )
        )


def plain_text(markdown: str) -> str:
    """Return the text that a line of Markdown shows: no emphasis, no brackets, maths as written."""
    if not re.search(r"[*_`\[<&\\~]", markdown):
        return markdown.strip()
    markdown = re.sub(r"!?\[\[([^\[\]\n]+)\]\]", _shown, markdown)
    tokens = _full_inline().parseInline(markdown)[0].children or []
    shown = ("text", "code_inline", "softbreak", "hardbreak", "image", "text_special")
    return "".join(
        " " if token.type.endswith("break") else token.content
        for token in tokens
        if token.type in shown
    ).strip()


def _shown(match: re.Match[str]) -> str:
    target = wiki_target(match.group(1))
    name = target.path.rpartition("/")[2].removesuffix(".md") or " › ".join(target.fragment)
    return target.text or name.lstrip("@")
