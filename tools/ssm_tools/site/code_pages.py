"""Whole source files as pages, shared by the languages: what cards, equations and listings open."""

from __future__ import annotations

from html import escape

from ssm_tools.concepts import Concept, locate_symbol
from ssm_tools.site.listing import Stretch, code_address, listing
from ssm_tools.site.model import Sources
from ssm_tools.site.urls import relative

THEME = (
    'try{var t=localStorage.getItem("ssm-theme");if(t)document.documentElement.dataset.theme=t}'
    "catch(e){}"
)
FOLDERS = ("ssm_ref", "kernels/ssm_kernels", "tests/ssm_ref", "tests/ssm_kernels")


def code_pages(sources: Sources) -> dict[str, bytes]:
    """Return a page for each file of the reference, the kernels and their tests."""
    if not sources.config.project:
        return {}
    root = sources.config.root
    found = {}
    owners = _owners(sources)
    for folder in FOLDERS:
        for path in sorted((root / folder).rglob("*.py")):
            text = path.read_text(encoding="utf-8").rstrip("\n")
            if text and "__pycache__" not in path.parts:
                name = path.relative_to(root).as_posix()
                found[code_address(name)] = _page(sources, name, text, owners).encode("utf-8")
    return found


def _owners(sources: Sources) -> dict[str, Concept]:
    """Return the concept that a file belongs to, by path."""
    found: dict[str, Concept] = {}
    root = sources.config.root
    for concept in sources.concepts.values():
        kernels = [kernel.symbol for kernel in concept.kernels]
        for name in (*concept.implementation, *concept.symbols, *kernels):
            if place := locate_symbol(root, name):
                found.setdefault(place.path, concept)
        for test in concept.tests:
            found.setdefault(test.partition("::")[0], concept)
    return found


def _page(sources: Sources, name: str, text: str, owners: dict[str, Concept]) -> str:
    address = code_address(name)
    concept = owners.get(name)
    rows = listing(text, Stretch(name, 1, text.count("\n") + 1))
    style, site = relative("assets/ssm.css", address), relative("assets", address)
    notes = [
        sources.concept_notes[key]
        for language in sources.languages
        if concept and (key := (concept.slug, language)) in sources.concept_notes
    ]
    links = " · ".join(
        f'<a href="{escape(relative(sources.addresses[note.id], address))}" '
        f'lang="{note.language}">{escape(note.title)} ({note.language})</a>'
        for note in notes
    )
    home = relative("index.html", address)
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{escape(name)}</title>
<meta name="viewport" content="width=device-width,initial-scale=1">
<meta name="color-scheme" content="light dark">
<link rel="icon" type="image/svg+xml" href="{site}/icon.svg">
<link rel="stylesheet" href="{relative("assets/code.css", address)}">
<link rel="stylesheet" href="{style}">
<script>{THEME}</script>
</head><body><header class="codehead"><a href="{home}">⌂</a>
<h1>{escape(name)}</h1><nav aria-label="Notes">{links}</nav></header>
<main class="md-typeset"><div class="code highlight whole">
<pre tabindex="0"><code>{rows}</code></pre>
</div></main></body></html>
"""
