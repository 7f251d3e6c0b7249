"""Ids of headings, and the ladder of spellings by which names are compared."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable

_DROP = re.compile(r"[^\w\s-]", re.UNICODE)
_SPACES = re.compile(r"[\s_-]+")
_UNSEEN = {**dict.fromkeys((0xAD, 0x200B, 0x2060, 0xFEFF)), 0xA0: " ", 0x202F: " "}
_SEPARATORS = re.compile(r"[\s_‐-―-]+")


def slugify(text: str, separator: str = "-") -> str:
    """Return the id of a heading: lower case, letters of any alphabet kept, words joined.

    The signature suits `toc.slugify` of Python-Markdown, so that site and engine agree.
    """
    text = unicodedata.normalize("NFC", text).lower()
    return _SPACES.sub(separator, _DROP.sub("", text)).strip(separator)


def unique_id(wanted: str, taken: dict[str, int]) -> str:
    """Return `wanted`, or `wanted-1`, `wanted-2`: the first that is not in `taken`; take it."""
    wanted = wanted or "section"
    if wanted not in taken:
        taken[wanted] = 0
        return wanted
    count = taken[wanted]
    while True:
        count += 1
        candidate = f"{wanted}-{count}"
        if candidate not in taken:
            taken[wanted] = count
            taken[candidate] = 0
            return candidate


def as_written(name: str) -> str:
    """Return the name itself."""
    return name


def composed(name: str) -> str:
    """Return the name in NFC, й and ё one character each, with plain spaces and nothing unseen."""
    if name.isascii():
        return name
    return unicodedata.normalize("NFC", name).translate(_UNSEEN)


def caseless(name: str) -> str:
    """Return the composed name without regard to case."""
    return composed(name).casefold()


def without_yo(name: str) -> str:
    """Return the caseless name with е for ё."""
    if name.isascii():
        return name.casefold()
    return caseless(name).replace("ё", "е")


def joined(name: str) -> str:
    """Return the name with one hyphen for any run of spaces, hyphens and underscores."""
    return _SEPARATORS.sub("-", without_yo(name))


SPELLINGS: tuple[tuple[str, Callable[[str], str]], ...] = (
    ("unicode", composed),
    ("case", caseless),
    ("yo", without_yo),
    ("separator", joined),
)
