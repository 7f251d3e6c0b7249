"""One walk over the block tokens of a note: its headings, blocks, fences, formulas and links."""

from __future__ import annotations

import re
from bisect import bisect_right
from dataclasses import replace
from functools import cache
from typing import Any

from markdown_it import MarkdownIt
from markdown_it.common.utils import normalizeReference
from markdown_it.rules_inline import StateInline
from markdown_it.token import Token

from ssm_tools.findings import Finding, Fix, Severity
from ssm_tools.notes.block_rules import block_parser
from ssm_tools.notes.inline_rules import Scan, inline_parser
from ssm_tools.notes.link_records import Records, add_link
from ssm_tools.notes.model import Block, Equation, Fence, Heading, line_starts
from ssm_tools.notes.places import CellPlaces, Places, TextPlaces
from ssm_tools.notes.plain import plain_text
from ssm_tools.notes.slug import slugify, unique_id

_EXPLICIT_ID = re.compile(r"\{:?[^{}]*?#([\w:.-]+)[^{}]*\}$")
_BLOCK_ID = re.compile(r"(?:^|(?<=\s)|(?<=\]\]))\^([\w-]+)$")
_MATHS_ID = re.compile(r"\$\$[ \t]+\^([\w-]+)$")
_TAG = re.compile(r"\\tag\*?\{([^{}]+)\}")
_SPLIT_LINK = re.compile(r"\|[^\[\]|\n]*\]\]")
_NEWLINE = re.compile(r"\r\n?")
MAX_NESTING = 100


@cache
def _parsers() -> tuple[MarkdownIt, MarkdownIt]:
    return block_parser(), inline_parser()


class Reader:
    """Walks the block tokens of one note once and collects what it meets."""

    def __init__(self, name: str, text: str, body_start: int) -> None:
        self.name = name
        self.text = text
        self.starts = line_starts(text)
        self.first_line = bisect_right(self.starts, body_start) - 1
        self.body_start = body_start
        self.headings: list[Heading] = []
        self.blocks: list[Block] = []
        self.records = Records()
        self.fences: list[Fence] = []
        self.equations: list[Equation] = []
        self.comments: list[tuple[int, int]] = []
        self.faults: list[Finding] = []
        self.taken: dict[str, int] = {}
        self.env: dict[str, Any] = {}
        self.too_deep = False
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
                if token.level >= MAX_NESTING - 2 and not self.too_deep:
                    self.too_deep = True
                    line, column = self._first_mark(self._lines(token)[0])
                    message = f"nested deeper than {MAX_NESTING} blocks; the rest is not read"
                    where = (self.name, line, column, "F009", message, "", Severity.WARNING)
                    self.faults.append(Finding(*where))
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
            if match := _MATHS_ID.search(self.text[start:end]):
                mark = start + match.start(1) - 1
                row, column = lines[1], mark - self.starts[lines[1] - 1] + 1
                self.blocks.append(Block(match.group(1), start, end, row, column, mark, end))
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
            if token.content.rfind("[[") > token.content.rfind("]]"):
                self._split_link(bar, lines[0])
        if match := _BLOCK_ID.fullmatch(token.content):
            self._add_block(match, token.content, places, self.before.get(token.level - 4))
        return places

    def _split_link(self, bar: int, line: int) -> None:
        if not _SPLIT_LINK.match(self.text, bar):
            return
        column = bar - self.starts[line] + 1
        message = "this pipe ends the table cell inside a link"
        fix = Fix(bar, bar, "\\")
        finding = Finding(
            self.name, line + 1, column, "L013", message, "write \\|", Severity.WARNING, fix=fix
        )
        self.faults.append(finding)

    def _heading(self, content: str, level: int, places: Places) -> None:
        brace = content.rfind("{") if content.endswith("}") else -1
        explicit = _EXPLICIT_ID.match(content, brace) if brace >= 0 else None
        shown = content[:brace].rstrip() if explicit else content
        block = _BLOCK_ID.search(shown)
        if block:
            shown = shown[: block.start()].rstrip()
        text = plain_text(shown)
        if explicit:
            identity = explicit.group(1)
            if identity in self.taken:
                line, column = places.line_column(explicit.start(1))
                message = f"id {identity!r} is taken in this note"
                self.faults.append(Finding(self.name, line, column, "H002", message))
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
            closed.append(replace(heading, section_end=stop))
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
        references = self.env.get("references", {})
        if references:
            env["references"] = references
        state = StateInline(content, md, env, [])
        md.inline.tokenize(state)
        for begin, end in scan.comments:
            self.comments.append((places.offset(begin), places.offset(end)))
        for seen in scan.seen:
            add_link(self.records, seen, content, places, self._definition(seen.label))

    def _definition(self, label: str) -> tuple[str, int, int] | None:
        """The destination that a reference link's label stands for, and where it is written."""
        if not label:
            return None
        reference = self.env.get("references", {}).get(normalizeReference(label))
        if reference is None:
            return None
        href = reference["href"]
        first, last = (line + self.first_line for line in reference["map"])
        low, high = self._range((first, last))
        begin = self.text.find(href, self.text.find("]:", low, high), high)
        return href, begin, begin + len(href) if begin >= 0 else -1
