"""Content tabs (`=== "Title"`) and folded admonitions: markup that works without a script."""

from __future__ import annotations

import re
from collections.abc import Sequence
from hashlib import blake2b
from html import escape
from typing import Any

from markdown_it import MarkdownIt
from markdown_it.rules_block import StateBlock
from markdown_it.rules_core import StateCore
from markdown_it.token import Token

_TAB = re.compile(r"===([!+]?)[ \t]+(?:\"(?P<quoted>[^\"]*)\"|(?P<plain>\S.*?))[ \t]*$")
INDENT = 4  # of what a tab holds


def tabs_plugin(md: MarkdownIt) -> None:
    """Read `=== "Title"` with its indented body, and fold `???` admonitions and `[!note]-`."""
    md.block.ruler.before("code", "tab", _tab, {"alt": ["paragraph", "reference", "blockquote"]})
    md.core.ruler.after("block", "tabs", _sets)
    md.core.ruler.after("block", "folds", _folds)
    renderer: Any = md.renderer
    renderer.rules |= {
        "tabs_open": lambda *_: '<div class="tabs" role="group">\n',
        "tabs_close": lambda *_: "</div>\n",
        "tab_open": _tab_open,
        "tab_body_open": lambda *_: '</label><div class="tabs__body">\n',
        "tab_close": lambda *_: "</div>\n",
    }


def _tab(state: StateBlock, start: int, end: int, silent: bool) -> bool:
    """A tab: its title, and blocks indented by four."""
    begin = state.bMarks[start] + state.tShift[start]
    if not state.src.startswith("===", begin):
        return False
    match = _TAB.match(state.src, begin, state.eMarks[start])
    if match is None:
        return False
    if silent:
        return True
    opener = state.push("tab_open", "", 1)
    opener.meta["sign"] = match.group(1)
    title = state.push("inline", "", 0)
    title.content = match["plain"] if match["quoted"] is None else match["quoted"]
    title.map, title.children = [start, start + 1], []
    state.push("tab_body_open", "", 0)
    indent, line_max, parent = state.blkIndent, state.lineMax, state.parentType
    state.blkIndent = state.sCount[start] + INDENT
    last = line = start + 1
    while line < end and (state.isEmpty(line) or state.sCount[line] >= state.blkIndent):
        line += 1
        last = last if state.isEmpty(line - 1) else line
    state.lineMax, state.parentType = last, "admonition"
    state.md.block.tokenize(state, start + 1, last)
    state.push("tab_close", "", -1)
    state.blkIndent, state.lineMax, state.parentType = indent, line_max, parent
    state.line = last
    return True


def _sets(state: StateCore) -> None:
    """Put tabs that follow each other into one set, in which one is chosen."""
    if not any(token.type == "tab_open" for token in state.tokens):
        return
    found: list[Token] = []
    own = blake2b(state.src.encode("utf-8"), digest_size=3).hexdigest()
    open_sets: list[list[Token]] = []
    number = 0
    for token in state.tokens:
        if token.type == "tab_open":
            if found and found[-1].type == "tabs_close" and token.meta["sign"] != "!":
                open_sets.append(found.pop().meta["tabs"])
            else:
                number += 1
                open_sets.append([])
                found.append(Token("tabs_open", "", 1))
            tabs = open_sets[-1]
            token.meta |= {"set": f"tabs-{own}-{number}", "number": len(tabs) + 1, "shown": False}
            if tabs:
                token.meta["set"] = tabs[0].meta["set"]
            tabs.append(token)
        found.append(token)
        if token.type == "tab_close":
            tabs = open_sets.pop()
            chosen = next((tab for tab in tabs if tab.meta["sign"] == "+"), tabs[0])
            for tab in tabs:
                tab.meta["shown"] = tab is chosen
            found.append(Token("tabs_close", "", -1, meta={"tabs": tabs}))
    state.tokens = found


def _tab_open(tokens: Sequence[Token], index: int, *_: Any) -> str:
    meta = tokens[index].meta
    identity = f"{meta['set']}-{meta['number']}"
    checked = " checked" if meta["shown"] else ""
    return (
        f'<input type="radio" name="{escape(meta["set"])}" id="{escape(identity)}"{checked}>'
        f'<label for="{escape(identity)}">'
    )


def _folds(state: StateCore) -> None:
    """Turn the admonitions that may be folded into elements that a browser folds."""
    inside: list[bool] = []
    for token in state.tokens:
        match token.type:
            case "admonition_open":
                kinds = str(token.attrGet("class") or "")
                inside.append("is-collapsible" in kinds)
                if inside[-1]:
                    token.tag = "details"
                    token.attrSet("class", kinds.partition(" is-collapsible")[0])
                    if "collapsible-open" in kinds:
                        token.attrSet("open", "")
            case "admonition_close":
                token.tag = "details" if inside.pop() else token.tag
            case "admonition_title_open" | "admonition_title_close":
                token.tag = "summary" if inside[-1] else token.tag
            case _:
                pass
