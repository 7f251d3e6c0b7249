"""Our block rules for markdown-it-py: displayed maths, hidden comments, admonitions and tabs."""

from __future__ import annotations

import re

from markdown_it import MarkdownIt
from markdown_it.ruler import RuleOptionsType
from markdown_it.rules_block import StateBlock
from mdit_py_plugins.deflist import deflist_plugin
from mdit_py_plugins.footnote.index import footnote_def

from ssm_tools.notes.inline_rules import Quiet

_TITLE = re.compile(r"(?:!!!|\?\?\?\+?|===[!+]?)[ \t]+\S")
_NOTHING = re.compile(r"\s*$")
BODY_INDENT = 4  # of what an admonition or a tab holds
_AFTER_MATHS = re.compile(r"\s*(?:\([^()$]+\)|\{[^{}$]*\}|\^[\w-]+)?\s*$")


def math_block(state: StateBlock, start_line: int, end_line: int, silent: bool) -> bool:
    """`$$` at the head of a line to the next `$$` that ends one; blank lines may lie between."""
    start = state.bMarks[start_line] + state.tShift[start_line]
    end = state.eMarks[start_line]
    if not state.src.startswith("$$", start) or start + 2 > end:
        return False
    close = state.src.find("$$", start + 2, end)
    if close >= 0:
        if close == start + 2 or not _AFTER_MATHS.match(state.src, close + 2, end):
            return False
        return silent or _push(state, "math_block", start_line, start_line + 1)
    last = _line_with(state, "$$", start_line + 1, end_line)
    if last < 0:
        return False
    if _goes_on(state, "$$", start_line, last, _AFTER_MATHS):
        return False
    return silent or _push(state, "math_block", start_line, last + 1)


def comment_block(state: StateBlock, start_line: int, end_line: int, silent: bool) -> bool:
    """`%%` at the head of a line to the line of the next `%%`."""
    start = state.bMarks[start_line] + state.tShift[start_line]
    end = state.eMarks[start_line]
    if not state.src.startswith("%%", start) or state.src.find("%%", start + 2, end) >= 0:
        return False
    last = _line_with(state, "%%", start_line + 1, end_line)
    if last < 0 or _goes_on(state, "%%", start_line, last, _NOTHING):
        return False
    return silent or _push(state, "comment_block", start_line, last + 1)


def admonition(state: StateBlock, start_line: int, end_line: int, silent: bool) -> bool:
    """An admonition, a foldable one or a tab: its title, and blocks indented by four."""
    if state.is_code_block(start_line):
        return False
    start = state.bMarks[start_line] + state.tShift[start_line]
    end = state.eMarks[start_line]
    if state.src[start : start + 1] not in ("!", "?", "="):
        return False
    if not _TITLE.match(state.src, start, end):
        return False
    if silent:
        return True
    state.push("paragraph_open", "p", 1).map = [start_line, start_line + 1]
    token = state.push("inline", "", 0)
    token.content = state.src[start:end].strip()
    token.map = [start_line, start_line + 1]
    token.children = []
    state.push("paragraph_close", "p", -1)
    indent, line_max, parent = state.blkIndent, state.lineMax, state.parentType
    state.blkIndent = state.sCount[start_line] + BODY_INDENT
    last = line = start_line + 1
    while line < end_line and (state.isEmpty(line) or state.sCount[line] >= state.blkIndent):
        line += 1
        last = last if state.isEmpty(line - 1) else line
    state.lineMax, state.parentType = last, "admonition"
    state.level += 1  # the body counts as nested
    state.md.block.tokenize(state, start_line + 1, last)
    state.level -= 1
    state.blkIndent, state.lineMax, state.parentType = indent, line_max, parent
    state.line = last
    return True


def _line_with(state: StateBlock, marker: str, first: int, end_line: int) -> int:
    """The first line with the marker, -1 where the block ends before it; a failure is kept."""
    hopeless: dict[str, int] = state.env.setdefault("hopeless", {})
    if first >= hopeless.get(marker, state.lineMax + 1):
        return -1
    src, begins, ends = state.src, state.bMarks, state.eMarks
    for line in range(first, end_line):
        if state.sCount[line] < state.blkIndent and not state.isEmpty(line):
            return -1
        if src.find(marker, begins[line], ends[line]) >= 0:
            return line
    if end_line == len(state.bMarks) - 1:  # the whole note was searched, not a quote
        hopeless[marker] = first
    return -1


def _goes_on(state: StateBlock, marker: str, first: int, last: int, after: re.Pattern[str]) -> bool:
    """Whether the paragraph goes on after what the marker ends: it is no block then."""
    end = state.eMarks[last]
    close = state.src.find(marker, state.bMarks[last], end)
    if after.match(state.src, close + 2, end):
        return False
    return not any(map(state.isEmpty, range(first, last)))


def _push(state: StateBlock, kind: str, start_line: int, end_line: int) -> bool:
    state.line = end_line
    token = state.push(kind, "", 0)
    token.map = [start_line, end_line]
    return True


def block_parser() -> MarkdownIt:
    """Return a parser of blocks: CommonMark, tables, footnotes, definitions, admonitions, maths."""
    md = Quiet("commonmark", {"maxNesting": 100})
    md.enable("table")
    rules = md.block.ruler
    interrupts: RuleOptionsType = {"alt": ["paragraph", "reference", "blockquote", "list"]}
    rules.before("fence", "math_block", math_block, interrupts)
    rules.before("fence", "comment_block", comment_block, interrupts)
    rules.before(
        "code", "admonition", admonition, {"alt": ["paragraph", "reference", "blockquote"]}
    )
    rules.before("reference", "footnote_def", footnote_def, {"alt": ["paragraph", "reference"]})
    deflist_plugin(md)
    return md
