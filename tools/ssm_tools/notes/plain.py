"""What a line of Markdown shows to a reader."""

from __future__ import annotations

import re
from functools import cache

from markdown_it import MarkdownIt

from ssm_tools.notes.targets import wiki_target

_MARKUP = re.compile(r"[*_`\[<&\\~]")
_WIKI = re.compile(r"!?\[\[([^\[\]\n]+)\]\]")


@cache
def _full_inline() -> MarkdownIt:
    return MarkdownIt("js-default", {"linkify": False, "html": True})


def plain_text(markdown: str) -> str:
    """Return the text that a line of Markdown shows: no emphasis, no brackets, maths as written."""
    if not _MARKUP.search(markdown):
        return markdown.strip()
    markdown = _WIKI.sub(_shown, markdown)
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
