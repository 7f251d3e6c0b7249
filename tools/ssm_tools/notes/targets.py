"""From the text between the brackets, or a Markdown destination, to what is asked for."""

from __future__ import annotations

import re
from typing import NamedTuple
from urllib.parse import unquote

_RELATION = re.compile(r"([A-Za-z][\w-]*)::")
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")
_EXTERNAL = re.compile(r"(?:[a-zA-Z][a-zA-Z0-9+.-]*:|//)")


class Target(NamedTuple):
    """A path, the headings after it, the shown text, the relation; where path and fragment stand.

    `begin:end` counts in the text that was given.
    """

    path: str
    fragment: tuple[str, ...]
    text: str | None
    relation: str
    begin: int
    end: int


def wiki_target(inner: str) -> Target:
    """Split `relation::path#heading#sub|text`; a pipe may be escaped, as tables want it."""
    begin, relation = 0, ""
    if match := _RELATION.match(inner):
        relation, begin = match.group(1), match.end()
    written, bar, shown = inner[begin:].partition("|")
    if bar and written.endswith("\\"):
        written = written[:-1]
    begin += len(written) - len(written.lstrip())
    written = written.strip()
    path, fragment = split_fragment(written)
    end = begin + len(written)
    text = shown.strip() if bar else None
    return Target(path.replace("\\", "/"), fragment, text, relation, begin, end)


def split_fragment(written: str) -> tuple[str, tuple[str, ...]]:
    """Split at '#': `a#h1#h2` is the path `a` and the headings h1, h2."""
    if "#" not in written:
        return written, ()
    path, *parts = written.split("#")
    return path.strip(), tuple(part.strip() for part in parts if part.strip())


def markdown_target(href: str) -> tuple[str, tuple[str, ...]]:
    """Return the decoded path and fragment of a destination inside the vault."""
    path, _, fragment = href.partition("#")
    path = unquote(path.partition("?")[0]).replace("\\", "/")
    return path, tuple(part for part in unquote(fragment).split("#") if part)


def without_suffix(path: str) -> str:
    """The path of a note without `.md`, in whatever case it is written; other paths unchanged."""
    return path[:-3] if path.lower().endswith(".md") else path


def is_external(href: str) -> bool:
    """Whether a destination names a place outside any vault: it has a scheme or a host."""
    return _EXTERNAL.match(href) is not None


def scheme(href: str) -> str:
    """The scheme of a destination in lower case, or the empty string."""
    match = _SCHEME.match(re.sub(r"[\x00-\x20]", "", href))
    return match.group(0)[:-1].lower() if match else ""
