"""A note as plain Markdown: for readers that are programs, and for any other site generator."""

from __future__ import annotations

import json
import re
from html import unescape

from ssm_tools.concepts import locate_symbol
from ssm_tools.notes import Fence, Note, rewrite
from ssm_tools.run import Fresh
from ssm_tools.run.declared import run_words
from ssm_tools.site.fences import recording
from ssm_tools.site.links import LinkWriter
from ssm_tools.site.measured import measured_markdown
from ssm_tools.site.model import Sources
from ssm_tools.site.strings import strings
from ssm_tools.site.widgets import WIDGETS


def plain_markdown(sources: Sources, note: Note) -> str:
    """Return the note's Markdown: links relative, listings, snippets and outputs written out."""
    address = sources.addresses[note.id].removesuffix(".html") + ".md"
    writer = LinkWriter(sources, address, sources.home(note), plain=True)
    edits = writer.edits(note)
    if sources.config.project:
        for fence in note.fences:
            if (text := _written_out(sources, note, fence)) is not None:
                edits.append((fence.start, fence.end, text))
    text = rewrite(note.text, _outermost(edits))
    head = note.text[: note.body_start]
    body = text[len(head) :].lstrip("\n")
    title = "" if note.headings and note.headings[0].level == 1 else f"# {note.title}\n\n"
    return title + body


def _outermost(edits: list[tuple[int, int, str]]) -> list[tuple[int, int, str]]:
    kept: list[tuple[int, int, str]] = []
    position = 0
    for edit in sorted(edits, key=lambda e: (e[0], -e[1])):
        if edit[0] >= position:
            kept.append(edit)
            position = edit[1]
    return kept


def _written_out(sources: Sources, note: Note, fence: Fence) -> str | None:
    word, _, info = fence.info.partition(" ")
    root = sources.config.root
    if word == "source" and (place := locate_symbol(root, info.strip())):
        lines = (root / place.path).read_text(encoding="utf-8").split("\n")
        code = "\n".join(lines[place.line - 1 : place.end_line])
        return f"`{place.path}`, {place.line}–{place.end_line}:\n\n```python\n{code}\n```"
    if word == "snippet":
        return _snippet(sources, info.strip(), note.language)
    if word == "widget" and info.strip() in WIDGETS:
        return _snippet(sources, WIDGETS[info.strip()].snippet, note.language)
    if word == "measurements":
        return measured_markdown(root, info.strip(), strings(sources.tongue(note.language)))
    if (words := run_words(fence)) is not None:
        name = next((w.partition("=")[2] for w in words if w.startswith("id=")), "")
        return _snippet(sources, f"{note.concept or note.slug}/{name}", note.language)
    return None


def _snippet(sources: Sources, name: str, language: str) -> str | None:
    snippet = sources.snippets.get(name)
    if snippet is None:
        return None
    code = "\n\n".join(cell.display for cell in snippet.cells if cell.kind != "check")
    parts = [f"```python\n{code}\n```"]
    found = sources.store.lookup(snippet)
    if isinstance(found, Fresh):
        for output in (one.in_language(language) for one in found.result.outputs):
            if output.kind in ("text", "repr", "error"):
                parts.append(f"```text\n{output.data.rstrip()}\n```")
            elif output.kind == "table":
                data = json.loads(output.data)
                rows = [data["columns"], ["---"] * len(data["columns"]), *data["rows"]]
                parts.append("\n".join(f"| {' | '.join(map(str, row))} |" for row in rows))
            elif output.name:
                parts.append(f"*{output.name}*")
        if snippet.options.device == "cuda":
            said = recording(found.result, strings(sources.tongue(language)))
            parts.append(unescape(re.sub(r"<[^>]+>", "", said)))
    return "\n\n".join(parts)
