"""The link engine: files in; notes, links, graph and findings out. It needs no site generator.

    vault = load_vault(Path("docs"))
    note = vault.notes[NoteId("ru/ssm/selective/mamba.md")]
    for link in note.links:
        match resolve(vault, note, link):
            case Found(target=path, fragment=id): ...
            case Missing() | Ambiguous() | External(): ...
    staged = rewrite(note.text, [(link.start, link.end, "[Mamba](mamba.md#why)")])

Names are loaded when they are first asked for, so importing this package costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ssm_tools.notes.check import check_vault
    from ssm_tools.notes.edits import rewrite
    from ssm_tools.notes.graph import build_graph, resolve_all
    from ssm_tools.notes.mentions import Backlink, backlinks
    from ssm_tools.notes.model import (
        Block,
        Citation,
        ClaimMark,
        Equation,
        Fence,
        Heading,
        Link,
        LinkKind,
        Note,
        NoteId,
    )
    from ssm_tools.notes.parse import parse_note, plain_text
    from ssm_tools.notes.resolution import (
        Ambiguous,
        Answer,
        External,
        Found,
        Missing,
        Tier,
        resolve,
        resolve_path,
    )
    from ssm_tools.notes.slug import slugify
    from ssm_tools.notes.transclusion import expand_embeds
    from ssm_tools.notes.vault import Vault, load_vault

__all__ = [
    "Ambiguous",
    "Answer",
    "Backlink",
    "Block",
    "Citation",
    "ClaimMark",
    "Equation",
    "External",
    "Fence",
    "Found",
    "Heading",
    "Link",
    "LinkKind",
    "Missing",
    "Note",
    "NoteId",
    "Tier",
    "Vault",
    "backlinks",
    "build_graph",
    "check_vault",
    "expand_embeds",
    "load_vault",
    "parse_note",
    "plain_text",
    "resolve",
    "resolve_all",
    "resolve_path",
    "rewrite",
    "slugify",
]

_HOMES = {
    "mentions": ("Backlink", "backlinks"),
    "check": ("check_vault",),
    "graph": ("build_graph", "resolve_all"),
    "model": (
        *("Block", "Citation", "ClaimMark", "Equation", "Fence", "Heading", "Link", "LinkKind"),
        *("Note", "NoteId"),
    ),
    "parse": ("parse_note", "plain_text"),
    "resolution": (
        *("Ambiguous", "Answer", "External", "Found", "Missing", "Tier"),
        *("resolve", "resolve_path"),
    ),
    "edits": ("rewrite",),
    "slug": ("slugify",),
    "transclusion": ("expand_embeds",),
    "vault": ("Vault", "load_vault"),
}


def __getattr__(name: str) -> Any:
    for home, names in _HOMES.items():
        if name in names:
            return getattr(import_module(f"ssm_tools.notes.{home}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
