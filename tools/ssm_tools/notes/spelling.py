"""How to write a link to a note: as it was written before, or as short as it can be."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator

from ssm_tools.notes.model import Link, LinkKind, Note
from ssm_tools.notes.names import FOLDER_NOTES
from ssm_tools.notes.resolution import Found, resolve_path
from ssm_tools.notes.targets import without_suffix
from ssm_tools.notes.vault import Vault


def spelt_as(written: str, bare: str, vault: Vault, note: Note, shown: str = "") -> str:
    """Return the shortest way to write `bare` (a path without .md) that means it and no other.

    `written` sets the manner: its suffix is kept, and at least as many folders as it names.
    `shown` is what to write of it, where that is the folder of a folder's note.
    """
    relative = _in_language(shown or bare, note)
    suffix = ".md" if written.lower().endswith(".md") else ""
    parts = relative.split("/")
    first = min(written.strip("/").count("/") + 1, len(parts))
    for count in range(first, len(parts) + 1):
        name = "/".join(parts[-count:])
        if means(vault, note, name, bare):
            return name + suffix
    if means(vault, note, "/" + bare, bare):
        return "/" + bare + suffix
    # A note beside the languages, called as one of a language is: only the way to it tells.
    way = posixpath.relpath(bare, note.id.rpartition("/")[0] or ".")
    return (way if way.startswith("../") else "./" + way) + suffix


def respelt(link: Link, target: str, vault: Vault, note: Note, *, full: bool = False) -> str:
    """Return the link's path for a target that moved, in the manner it was written.

    `full` says that the path as written was a whole one, from the root of the vault or language.
    """
    suffix = ".md" if link.path.lower().endswith(".md") else ""
    is_note = target.lower().endswith(".md")
    bare = target[:-3] if is_note else target
    markdown = link.kind in (LinkKind.MARKDOWN, LinkKind.IMAGE)
    folder, _, name = target.rpartition("/")
    asked = without_suffix(link.path.rstrip("/")).rpartition("/")[2]
    by_folder = name in FOLDER_NOTES and folder and asked != without_suffix(name)
    shown = folder if by_folder else bare
    manners = [*_manners(link, shown, note, markdown)]
    if full and "/" in link.path.rstrip("/"):
        manners.append(_in_language(shown, note))
    end = "/" if by_folder and link.path.endswith("/") else suffix if is_note else ""
    for manner in manners:
        if means(vault, note, manner, bare, markdown=markdown):
            return manner + end
    if by_folder:
        return spelt_as(link.path.rstrip("/"), bare, vault, note, folder) + end
    return spelt_as(link.path, bare, vault, note)


def _manners(link: Link, bare: str, note: Note, markdown: bool) -> Iterator[str]:
    written = link.path
    folder = note.id.rpartition("/")[0]
    relative = posixpath.relpath(bare, folder or ".")
    if written.startswith("."):
        yield relative if relative.startswith("../") else "./" + relative
    elif markdown and not written.startswith("/"):
        yield relative
    if written.startswith("/"):
        yield "/" + _in_language(bare, note)
        yield "/" + bare
    elif note.language and written.startswith(f"{note.language}/"):
        yield bare


def means(vault: Vault, note: Note, name: str, bare: str, *, markdown: bool = False) -> bool:
    """Whether a name, as written in the note, means the note or file `bare` in a plain tier."""
    answer = resolve_path(vault, note, name, markdown=markdown)
    if not isinstance(answer, Found) or not answer.tier.plain:
        return False
    return answer.target in (bare, bare + ".md")


def _in_language(bare: str, note: Note) -> str:
    prefix = f"{note.language}/"
    return bare[len(prefix) :] if note.language and bare.startswith(prefix) else bare
