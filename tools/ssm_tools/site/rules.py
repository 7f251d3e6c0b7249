"""Markdown as the site reads it: the engine's grammar of maths and comments, and Obsidian's."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Any

from markdown_it import MarkdownIt
from markdown_it.rules_block import StateBlock
from markdown_it.rules_core import StateCore
from markdown_it.rules_inline import StateInline
from markdown_it.rules_inline.image import image as image_rule
from markdown_it.rules_inline.link import link as link_rule
from markdown_it.token import Token
from mdit_py_plugins.admon import admon_plugin
from mdit_py_plugins.deflist import deflist_plugin
from mdit_py_plugins.footnote import footnote_plugin

from ssm_tools.notes.block_rules import comment_block, math_block
from ssm_tools.notes.inline_rules import Scan, comment, maths, may_link
from ssm_tools.notes.parse import plain_text
from ssm_tools.notes.slug import slugify, unique_id
from ssm_tools.site.tabs import tabs_plugin

_EXPLICIT_ID = re.compile(r"\{:?[^{}]*?#([\w:.-]+)[^{}]*\}\s*$")
_TASK = re.compile(r"\[([ xX])\][ \t]")
_CALLOUT = re.compile(r"\[!(\w+)\]([+-]?)[ \t]*(.*)")


def _with_scan(state: StateInline) -> None:
    scan = state.env.get("scan")
    if scan is None or scan.src is not state.src:
        state.env["scan"] = Scan(state.src)


def _math_inline(state: StateInline, silent: bool) -> bool:
    if state.src[state.pos] not in "$\\":
        return False
    _with_scan(state)
    begin = state.pos
    if not maths(state, silent):
        return False
    if not silent:
        written = state.src[begin : state.pos]
        if set(written) == {"$"}:
            state.push("text", "", 0).content = written
            return True
        width = 1 if written.startswith("$") and not written.startswith("$$") else 2
        display = written.startswith(("$$", "\\["))
        token = state.push("math_display" if display else "math_inline", "math", 0)
        token.content = written[width:-width]
    return True


def _comment_inline(state: StateInline, silent: bool) -> bool:
    if state.src[state.pos] != "%":
        return False
    _with_scan(state)
    return comment(state, silent)


def _link(state: StateInline, silent: bool) -> bool:
    if state.src[state.pos] != "[":
        return False
    _with_scan(state)
    return may_link(state) and link_rule(state, silent)


def _image(state: StateInline, silent: bool) -> bool:
    if not state.src.startswith("![", state.pos):
        return False
    _with_scan(state)
    return may_link(state) and image_rule(state, silent)


def _math_block(state: StateBlock, start: int, end: int, silent: bool) -> bool:
    if not math_block(state, start, end, silent):
        return False
    if not silent:
        token = state.tokens[-1]
        first, last = token.map or [start, start + 1]
        lines = state.getLines(first, last, state.blkIndent, False).strip()
        close = lines.rfind("$$")
        token.content = lines[2:close]
    return True


def _highlight(state: StateInline, silent: bool) -> bool:
    if not state.src.startswith("==", state.pos):
        return False
    close = state.src.find("==", state.pos + 2, state.posMax)
    if close <= state.pos + 2 or state.src[state.pos + 2].isspace():
        return False
    if not silent:
        state.push("mark_open", "mark", 1)
        state.push("text", "", 0).content = state.src[state.pos + 2 : close]
        state.push("mark_close", "mark", -1)
    state.pos = close + 2
    return True


def _heading_ids(state: StateCore) -> None:
    """Give each heading the id that the engine gives it."""
    taken: dict[str, int] = {}
    for opener, inline in pairwise(state.tokens):
        if opener.type != "heading_open" or inline.type != "inline":
            continue
        shown = inline.content
        brace = shown.rfind("{")
        if brace >= 0 and (match := _EXPLICIT_ID.match(shown, brace)):
            inline.content = shown[:brace].rstrip()
            identity = match.group(1)
            taken.setdefault(identity, 0)
        else:
            identity = unique_id(slugify(plain_text(re.sub(r"<a id=[^>]*></a>", "", shown))), taken)
        opener.attrSet("id", identity)
        opener.meta["text"] = inline.content


def _callouts(state: StateCore) -> None:
    """Turn Obsidian's `> [!note] Title` into the markup of an admonition."""
    stack: list[Token | None] = []
    tokens = state.tokens
    for index, token in enumerate(tokens):
        if token.type == "blockquote_open":
            inline = tokens[index + 2] if index + 2 < len(tokens) else None
            match = _CALLOUT.match(inline.content) if inline and inline.type == "inline" else None
            stack.append(token if match else None)
            if match and inline:
                _first, _, rest = inline.content.partition("\n")
                kind, title = match.group(1).lower(), match.group(3).strip()
                token.tag = "details" if match.group(2) else "div"
                token.attrSet("class", f"admonition {kind}")
                token.meta |= {"title": title or kind.capitalize(), "fold": match.group(2)}
                inline.content = rest
        elif token.type == "blockquote_close" and stack and (opener := stack.pop()):
            token.tag = opener.tag


def _tasks(state: StateCore) -> None:
    """Give list items that begin with `[ ]` or `[x]` their boxes."""
    lists: list[Token] = []
    tokens = state.tokens
    for index, token in enumerate(tokens):
        if token.type in ("bullet_list_open", "ordered_list_open"):
            lists.append(token)
        elif token.type in ("bullet_list_close", "ordered_list_close"):
            lists.pop()
        elif token.type == "inline" and token.children and index > 1:
            first, item = token.children[0], tokens[index - 2]
            if item.type != "list_item_open" or first.type != "text":
                continue
            if match := _TASK.match(first.content):
                done = "" if match.group(1) == " " else " checked"
                box = Token("html_inline", "", 0)
                box.content = (
                    f'<input class="task-list-item-checkbox" disabled{done} type="checkbox">'
                )
                first.content = first.content[3:]
                token.children.insert(0, box)
                item.attrSet("class", "task-list-item")
                lists[-1].attrSet("class", "contains-task-list")


def parser() -> MarkdownIt:
    """Return the parser of pages."""
    md = MarkdownIt("commonmark", {"html": True, "maxNesting": 100})
    md.enable(["table", "strikethrough"])
    interrupts: Any = {"alt": ["paragraph", "reference", "blockquote", "list"]}
    md.block.ruler.before("fence", "math_block", _math_block, interrupts)
    md.block.ruler.before("fence", "comment_block", comment_block, interrupts)
    md.inline.ruler.before("escape", "maths", _math_inline)
    md.inline.ruler.before("html_inline", "comment", _comment_inline)
    md.inline.ruler.before("emphasis", "highlight", _highlight)
    md.inline.ruler.at("link", _link)
    md.inline.ruler.at("image", _image)
    md.inline.terminator_re = re.compile(r"[\n!#$%&*+\-:<=>@\[\\\]^_`{}~]")
    tabs_plugin(md)
    admon_plugin(md)
    footnote_plugin(md)
    deflist_plugin(md)
    md.core.ruler.before("inline", "heading_ids", _heading_ids)
    md.core.ruler.before("inline", "callouts", _callouts)
    md.core.ruler.after("inline", "tasks", _tasks)
    return md
