"""What hovering a link shows: titles and first sentences of all pages, in one script."""

from __future__ import annotations

from ssm_tools.site.context import script_json
from ssm_tools.site.model import Page, Sources
from ssm_tools.site.search import sections

LENGTH = 220


def preview_file(sources: Sources, language: str, pages: list[Page]) -> dict[str, bytes]:
    """Return the previews of a language: address → title, description, first words of sections."""
    found: dict[str, list[object]] = {}
    for page in pages:
        if page.kind != "note":
            continue
        path = page.address.removeprefix(f"{language}/") if language else page.address
        parts = sections(page)
        about = page.description or parts[0][2][:LENGTH]
        heads = {identity: [title, text[:LENGTH]] for identity, title, text in parts[1:]}
        found[path] = [page.title, about, heads]
    address = f"{language}/previews.js".lstrip("/")
    return {address: f"window.SSM_PREVIEWS={script_json(found)};".encode()}
