"""Links in the front matter: `up: "[[a]]"`, a quoted value that is one link, as in Obsidian."""

from __future__ import annotations

import re

from ssm_tools.notes.model import Link, LinkKind
from ssm_tools.notes.source import FrontMatter
from ssm_tools.notes.targets import wiki_target

_VALUE = re.compile(
    r"""(?<=[:\[,-])[ \t]*(["'])\[\[([^\[\]\n]+)\]\]\1[ \t]*(?=$|[,\]#])""", re.MULTILINE
)


def property_links(text: str, matter: FrontMatter) -> list[Link]:
    """Return the links of the front matter, none where it cannot be read; claims are no links."""
    if not matter.values or "[[" not in text[: matter.body_start]:
        return []
    links = []
    for match in _VALUE.finditer(text, 0, matter.body_start):
        inner = match.group(2)
        begin = text.rfind("\n", 0, match.start()) + 1
        hidden = text[begin : match.start()].lstrip().startswith("#")
        if hidden or inner.startswith(("@", "claim:")) or not inner.strip():
            continue
        target = wiki_target(inner)
        start, end, inside = match.start(1) + 1, match.end(2) + 2, match.start(2)
        line = text.count("\n", 0, start) + 1
        path = target.path.replace("''", "'") if match.group(1) == "'" else _plain(target.path)
        what = (LinkKind.PROPERTY, path, target.fragment, target.text, target.relation)
        where = (start, end, line, start - begin + 1, inside + target.begin, inside + target.end)
        links.append(Link(*what, *where, start, end))
    return links


def _plain(path: str) -> str:
    """What a double-quoted path says; a backslash of its own became a slash already."""
    return path.replace('/"', '"').replace("//", "/")
