"""What a link means: the first tier with one answer wins, two answers are named, none is said.

Tiers: the exact path; the link's own folder; the nearest folder above with one such name below it;
the whole language. Then the same with looser spelling (NFC, case, ё as е, space–hyphen–underscore),
front-matter aliases, and last the other languages.
"""

from __future__ import annotations

import posixpath
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from ssm_tools.notes.fragments import Place, find_place
from ssm_tools.notes.model import Link, LinkKind, Note, NoteId
from ssm_tools.notes.names import ALL_SPELLINGS, Names, Pool
from ssm_tools.notes.targets import is_external, without_suffix
from ssm_tools.notes.vault import Vault


class Tier(StrEnum):
    """How an answer was found, from the best to the worst."""

    EXACT = "exact"
    FOLDER = "folder"
    NEAREST = "nearest"
    LANGUAGE = "language"
    UNICODE = "unicode"
    CASE = "case"
    YO = "yo"
    SEPARATOR = "separator"
    ALIAS = "alias"
    OTHER_LANGUAGE = "other-language"

    @property
    def plain(self) -> bool:
        """Whether the author spelt the name as it is: nothing to repair."""
        return self in (Tier.EXACT, Tier.FOLDER, Tier.NEAREST, Tier.LANGUAGE)


@dataclass(frozen=True, slots=True)
class Found:
    """The one answer: a note or file by its path in the vault, and the id in its page."""

    target: str
    tier: Tier
    fragment: str = ""  # id of the heading, or the block's id with '^'
    place: Place | None = None

    @property
    def note(self) -> NoteId | None:
        """The note's id, or None for another file."""
        return NoteId(self.target) if self.target.lower().endswith(".md") else None


@dataclass(frozen=True, slots=True)
class Missing:
    """No answer. `why` is one of: name, heading, block, outside, empty."""

    name: str
    why: str = "name"
    target: str = ""  # the note that lacks the heading or block


@dataclass(frozen=True, slots=True)
class Ambiguous:
    """Several answers in one tier; nothing is guessed."""

    targets: tuple[str, ...]
    tier: Tier


@dataclass(frozen=True, slots=True)
class External:
    """A destination with a scheme or a host: no affair of the vault."""

    url: str


Answer = Found | Missing | Ambiguous | External


def resolve(vault: Vault, note: Note, link: Link) -> Answer:
    """Return what the link of that note means."""
    if link.kind in (LinkKind.MARKDOWN, LinkKind.IMAGE) and is_external(link.path):
        return External(link.path)
    if not link.path:
        if not link.fragment:
            return Missing("", "empty")
        answer: Answer = Found(note.id, Tier.EXACT)
    else:
        is_markdown = link.kind in (LinkKind.MARKDOWN, LinkKind.IMAGE)
        answer = resolve_path(vault, note, link.path, markdown=is_markdown)
    if not isinstance(answer, Found) or not link.fragment:
        return answer
    target = vault.notes.get(NoteId(answer.target))
    if target is None:
        return replace(answer, fragment="#".join(link.fragment))
    place = find_place(target, link.fragment)
    if place is None:
        return Missing("#".join(link.fragment), "block" if link.block else "heading", target.id)
    return replace(answer, fragment=place.id, place=place)


def resolve_path(vault: Vault, note: Note, path: str, *, markdown: bool = False) -> Answer:
    """Return the note or file that a path means in a note, fragments aside."""
    names, language = vault.names, note.language
    folder = note.id.rpartition("/")[0]
    asked = without_suffix(path.strip()).rstrip("/")
    if asked.startswith(("./", "../")) or asked in (".", ".."):
        return _relative(names, folder, asked) or Missing(path)
    exact = _exact(names, folder, asked, language, markdown)
    if exact is not None:
        return exact
    asked = _tail(asked)
    if not asked:
        return Missing(path)
    for own in (True, False):
        for each in [language] if own else [x for x in names.languages if x != language]:
            answer = _in_language(names, each, folder if own else "", asked)
            if isinstance(answer, Ambiguous) or (own and answer is not None):
                return answer
            if isinstance(answer, Found):
                return replace(answer, tier=Tier.OTHER_LANGUAGE)
    return Missing(path)


def _tail(asked: str) -> str:
    """The path without the marks of where it starts: `/x/./a` is `x/a`."""
    parts = [part for part in asked.split("/") if part not in ("", ".", "..")]
    return "/".join(parts)


def _relative(names: Names, folder: str, asked: str) -> Found | Ambiguous | Missing | None:
    """The file where `./` or `../` leads, however it is spelt; never one that lies elsewhere."""
    joined = posixpath.normpath(posixpath.join(folder, asked))
    if joined == ".." or joined.startswith("../"):
        return Missing(asked, "outside")
    for spelling, key in ALL_SPELLINGS:
        for pool in _pools(names, joined):
            bare = pool.candidates(spelling, key, joined)
            found = sorted(pool.paths[each] for each in bare if key(each) == key(joined))
            if len(found) == 1:
                return Found(found[0], _TIERS.get(spelling, Tier.EXACT))
            if found:
                return Ambiguous(tuple(found), _TIERS.get(spelling, Tier.EXACT))
    return None


def _exact(
    names: Names, folder: str, asked: str, language: str, markdown: bool
) -> Found | Missing | None:
    """The file at the very path, from a root; where Markdown says so, from the link's folder."""
    bare = posixpath.normpath(asked.lstrip("/"))
    if bare.startswith("../") or bare == "..":
        return Missing(asked, "outside")
    tries = [f"{language}/{bare}", bare] if language else [bare]
    if markdown and not asked.startswith("/"):
        tries.insert(0, posixpath.normpath(posixpath.join(folder, asked)))
    for bare in tries:
        for pool in _pools(names, bare):
            if bare in pool.paths:
                return Found(pool.paths[bare], Tier.EXACT)
    return None


def _pools(names: Names, bare: str) -> Sequence[Pool]:
    first = bare.partition("/")[0]
    language = first if first in names.languages else ""
    return names.pools[language], names.folders[language]


_TIERS = {
    "unicode": Tier.UNICODE,
    "case": Tier.CASE,
    "yo": Tier.YO,
    "separator": Tier.SEPARATOR,
}


def _in_language(names: Names, language: str, folder: str, asked: str) -> Found | Ambiguous | None:
    pool, folders = names.pools[language], names.folders[language]
    for spelling, key in ALL_SPELLINGS:
        for each in (pool, folders):
            bare = each.candidates(spelling, key, asked)
            if bare:
                tier = _TIERS.get(spelling)
                return _nearest(each, bare, folder, language, tier)
    if "/" in asked:
        return None
    return _aliased(names, language, asked)


def _aliased(names: Names, language: str, asked: str) -> Found | Ambiguous | None:
    for spelling, key in ALL_SPELLINGS:
        targets = names.aliased(language, spelling, key, asked)
        if len(targets) == 1:
            return Found(targets[0], Tier.ALIAS)
        if targets:
            return Ambiguous(tuple(targets), Tier.ALIAS)
    return None


def _nearest(
    pool: Pool, bare: list[str], folder: str, language: str, tier: Tier | None
) -> Found | Ambiguous:
    """Walk up from the link's folder to the first that holds a candidate; there one must be."""
    if len(bare) == 1:
        return Found(pool.paths[bare[0]], tier or _plain_tier(bare[0], folder, language))
    above = folder
    while True:
        inside = [b for b in bare if not above or b.startswith(above + "/")]
        if inside:
            break
        above = above.rpartition("/")[0]
    if len(inside) > 1:
        depth = above.count("/") + 1 if above else 0
        direct = [b for b in inside if b.count("/") == depth]
        if len(direct) == 1:
            inside = direct
    if len(inside) == 1:
        return Found(pool.paths[inside[0]], tier or _plain_tier(inside[0], folder, language))
    return Ambiguous(tuple(sorted(pool.paths[b] for b in inside)), tier or Tier.NEAREST)


def _plain_tier(bare: str, folder: str, language: str) -> Tier:
    """Whether an answer by name lies in the link's folder, near it, or anywhere in the language."""
    home = bare.rpartition("/")[0]
    if home == folder:
        return Tier.FOLDER
    shared = posixpath.commonpath([home, folder]) if home and folder else ""
    return Tier.NEAREST if shared not in ("", language) else Tier.LANGUAGE
