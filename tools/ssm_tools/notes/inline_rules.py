"""Our inline rules for markdown-it-py: wiki-links, maths, comments, and where Markdown links stand.

A rule appends what it sees to the `Scan` in `state.env`; no token is needed. Each rule is linear:
what cannot be closed is looked for once in a text, not once for each opening.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from markdown_it import MarkdownIt
from markdown_it.rules_inline import StateInline
from markdown_it.rules_inline.image import image as image_rule
from markdown_it.rules_inline.link import link as link_rule

_OPAQUE = re.compile(
    r"<(code|pre|kbd|samp|tt|script|style|textarea|svg|math)(?:\s[^<>]*)?>", re.IGNORECASE
)
_TERMINATORS = re.compile(r"[\[\]!<`\\$%]")


@dataclass(slots=True)
class Seen:
    """One thing found in a block's text: positions count in that text."""

    kind: str  # wiki, embed, markdown, image
    start: int
    end: int
    inner_start: int  # wiki: between the brackets; Markdown: the destination
    inner_end: int
    href: str = ""
    label: str = ""  # of a reference link: where its destination stands


@dataclass(slots=True)
class Scan:
    """What the rules saw in one block's text, and what they know cannot be found there."""

    src: str
    seen: list[Seen] = field(default_factory=list)
    comments: list[tuple[int, int]] = field(default_factory=list)
    close: int = -1  # the last ']]' looked up, and the last '[[' before it
    last_open: int = -1
    found: dict[str, tuple[int, int]] = field(default_factory=dict)  # needle → (from, place)

    def find(self, needle: str, position: int) -> int:
        """Like `str.find`; what was found, or found to be missing, is not looked for again."""
        known = self.found.get(needle)
        if known is not None and known[0] <= position and (position <= known[1] or known[1] < 0):
            return known[1]
        place = self.src.find(needle, position)
        self.found[needle] = (position, place)
        return place


def wiki(state: StateInline, silent: bool) -> bool:
    """`[[...]]` and `![[...]]`: on one line, the innermost pair of brackets."""
    src, pos = state.src, state.pos
    embed = src[pos] == "!"
    start = pos + 1 if embed else pos
    if not src.startswith("[[", start):
        return False
    scan = _scan(state)
    inner = start + 2
    if scan.close < inner:
        scan.close = scan.find("]]", inner)
        if scan.close < 0:
            return False
        scan.last_open = src.rfind("[[", start, scan.close)
    close = scan.close
    if scan.last_open > start or close + 2 > state.posMax or not src[inner:close].strip():
        return False
    if "\n" in src[inner:close]:
        return False
    if not silent:
        kind = "embed" if embed else "wiki"
        scan.seen.append(Seen(kind, pos, close + 2, inner, close))
    state.pos = close + 2
    return True


def maths(state: StateInline, silent: bool) -> bool:
    r"""`$...$`, `$$...$$`, `\(...\)`, and `\[...\]` at the head of a block."""
    src, pos = state.src, state.pos
    if src[pos] == "\\":
        opener = src[pos : pos + 2]
        if opener == "\\(":
            end = _scan(state).find("\\)", pos + 2)
        elif opener == "\\[" and pos == 0:
            end = _scan(state).find("\\]", pos + 2)
        else:
            return False
        if end < 0:
            return False
        state.pos = end + 2
        return True
    if src[pos] != "$":
        return False
    width = 2 if src.startswith("$$", pos) else 1
    end = _closing_dollar(_scan(state), pos, width)
    if end < 0 or end + width > state.posMax:
        if width == 2:  # not "$" and then a formula
            state.pos += 2
            return True
        return False
    state.pos = end + width
    return True


def _closing_dollar(scan: Scan, pos: int, width: int) -> int:
    """Position of the closing dollars, -1 where these dollars are an amount of money."""
    src, marker = scan.src, "$" * width
    if width == 1 and src[pos + 1 : pos + 2].isspace():
        return -1
    position = pos + width
    while (end := scan.find(marker, position)) >= 0:
        slash = end
        while slash > pos + width and src[slash - 1] == "\\":
            slash -= 1
        if (end - slash) % 2:
            position = end + 1
            continue
        if width == 2:
            return end if end > pos + 2 else -1
        if end == pos + 1 or src[end - 1].isspace() or src[end + 1 : end + 2].isdigit():
            return -1
        return end
    return -1


def comment(state: StateInline, silent: bool) -> bool:
    """Obsidian's `%% hidden %%`."""
    if not state.src.startswith("%%", state.pos):
        return False
    scan = _scan(state)
    end = scan.find("%%", state.pos + 2)
    if end < 0 or end + 2 > state.posMax:
        return False
    if not silent:
        scan.comments.append((state.pos, end + 2))
    state.pos = end + 2
    return True


def opaque_html(state: StateInline, silent: bool) -> bool:
    """`<code>...</code>` and its like: nothing inside is text of ours."""
    if state.src[state.pos] != "<" or not (match := _OPAQUE.match(state.src, state.pos)):
        return False
    end = _scan(state).find(f"</{match.group(1)}>", match.end())
    if end < 0 or end >= state.posMax:
        return False
    state.pos = end + len(match.group(1)) + 3
    return True


def link(state: StateInline, silent: bool) -> bool:
    """Markdown-it's own link rule; where it matches, note the destination's place."""
    if state.src[state.pos] != "[" or not may_link(state):
        return False
    start = state.pos
    scan = _scan(state)
    before = len(scan.seen)
    if not link_rule(state, silent):
        return False
    if not silent:
        _record(state, "markdown", start, start, before)
    return True


def image(state: StateInline, silent: bool) -> bool:
    """Markdown-it's own image rule; where it matches, note the destination's place."""
    if not state.src.startswith("![", state.pos) or not may_link(state):
        return False
    start = state.pos
    scan = _scan(state)
    before = len(scan.seen)
    if not image_rule(state, True):
        return False
    if not silent:
        _record(state, "image", start, start + 1, before)
    return True


def may_link(state: StateInline) -> bool:
    """Whether a bracket can begin a link: what would close it follows somewhere."""
    scan = _scan(state)
    return scan.find("](", state.pos) >= 0 or (
        "references" in state.env and scan.find("]", state.pos) >= 0
    )


def _record(state: StateInline, kind: str, start: int, bracket: int, before: int) -> None:
    end, src, helpers = state.pos, state.src, state.md.helpers
    label_end = helpers.parseLinkLabel(state, bracket, kind == "markdown")
    scan = _scan(state)
    if src.startswith("(", label_end + 1) and end > label_end + 1:
        position = label_end + 2
        while position < end and src[position] in " \t\n":
            position += 1
        result = helpers.parseLinkDestination(src, position, end)
        stop = result.pos if result.ok else position  # [text]() has no destination
        if result.ok or src.startswith(")", position):
            scan.seen.insert(before, Seen(kind, start, end, position, stop, href=result.str))
            return
    label = src[bracket + 1 : label_end]
    if src.startswith("[", label_end + 1) and end > label_end + 2:
        label = src[label_end + 2 : end - 1] or label
    scan.seen.insert(before, Seen(kind, start, end, -1, -1, label=label))


def _scan(state: StateInline) -> Scan:
    scan: Scan = state.env["scan"]
    return scan


class Quiet(MarkdownIt):
    """MarkdownIt that takes a destination as it is written: judging it is the checker's work."""

    def normalizeLink(self, url: str) -> str:
        """Return the destination unchanged."""
        return url

    def validateLink(self, url: str) -> bool:
        """Accept any destination."""
        return True


def inline_parser() -> MarkdownIt:
    """Return a parser whose inline rules see links, code, maths, HTML and escapes, and no more."""
    md = Quiet("commonmark")
    md.disable(["newline", "emphasis", "entity"])
    rules = md.inline.ruler
    rules.before("escape", "maths", maths)
    rules.before("link", "wiki", wiki)
    rules.at("link", link)
    rules.at("image", image)
    rules.before("html_inline", "opaque_html", opaque_html)
    rules.before("html_inline", "comment", comment)
    md.inline.terminator_re = _TERMINATORS
    return md
