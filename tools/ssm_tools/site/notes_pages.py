"""Pages of notes: the text rendered, with its card, its local graph and its backlinks."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache

from ssm_tools.concepts.paths import ReadingPath, reading_paths
from ssm_tools.findings import Finding
from ssm_tools.notes import Heading, Note, NoteId, rewrite
from ssm_tools.notes.check import shown_prefix
from ssm_tools.notes.parse import plain_text
from ssm_tools.site.card import CardWriter
from ssm_tools.site.families import family_of
from ssm_tools.site.fences import Fences
from ssm_tools.site.foot import backlinks_html, local_graph
from ssm_tools.site.links import LinkWriter
from ssm_tools.site.markdown import Context, Rendered, render
from ssm_tools.site.model import Page, Sources
from ssm_tools.site.path_nav import paths_html
from ssm_tools.site.plain import plain_markdown
from ssm_tools.site.strings import strings

EMBED_DEPTH = 4
_FIRST_HEADING = re.compile(r"\s*#\s[^\n]*\n")


class NotePages:
    """Renders notes to pages; collects files that they need and findings in their formulas."""

    def __init__(self, sources: Sources) -> None:
        self.sources = sources
        self.files: dict[str, bytes] = {}
        self.findings: list[Finding] = []
        self.reading: dict[str, tuple[ReadingPath, ...]] = {}

    def pages(self, language: str) -> Iterator[Page]:
        """Yield the page of each note of a language."""
        for note in self.sources.vault.notes.values():
            if self.sources.home(note) == language:
                yield self.page(note)

    def page(self, note: Note) -> Page:
        """Return the page of one note."""
        address, language = self.sources.addresses[note.id], self.sources.home(note)
        rendered, fences = self._render(note, address)
        self.files |= fences.files
        self._faults(note, rendered)
        concept = self.sources.concepts.get(note.concept)
        card = CardWriter(self.sources, concept, language, address).html() if concept else ""
        alternates = {
            other.language: self.sources.addresses[other.id]
            for other in self.sources.vault.translations(note).values()
        }
        return Page(
            address=address,
            language=language,
            title=note.title,
            html=rendered.html,
            description=description_of(note),
            toc=[item for item in rendered.toc if item.level > 1],
            card=card,
            foot=self._paths(note, address)
            + local_graph(self.sources, note)
            + backlinks_html(self.sources, note),
            markdown=plain_markdown(self.sources, note),
            note=note,
            family=family_of(self.sources, note),
            alternates=alternates,
            scripts=fences.scripts,
        )

    def _paths(self, note: Note, address: str) -> str:
        """The note's place on the learning paths."""
        if not self.sources.config.project:
            return ""
        if note.language not in self.reading:
            self.reading[note.language] = reading_paths(self.sources.vault, note.language)
        writer = LinkWriter(self.sources, address, note.language)

        def link(target: NoteId, fragment: str) -> tuple[str, str]:
            return writer.url(target, fragment), self.sources.vault.notes[target].title

        words = strings(self.sources.tongue(note.language))
        return paths_html(self.reading[note.language], note.id, words, link)

    def _render(self, note: Note, address: str) -> tuple[Rendered, Fences]:
        writer = LinkWriter(self.sources, address, self.sources.home(note))
        fences = Fences(self.sources, note, address)
        handlers = dict(fences.handlers) if self.sources.config.project else {}
        handlers["ssm-embed"] = lambda info, _: self._embed(info, address, note, (f"{note.id}#",))
        edits = [*writer.edits(note)]
        text = rewrite(note.text, edits)
        body = text[len(note.text[: note.body_start]) :]
        context = Context(handlers, fences.equation if self.sources.config.project else None)
        rendered = render(without_title(body, note), context)
        return rendered, fences

    def _embed(self, info: str, address: str, home: Note, above: tuple[str, ...]) -> str:
        """A note, or a section or block of it, as a quotation with its origin.

        `above` are the embeds around it; one that stands inside itself is left out.
        """
        target, _, fragment = info.partition("#")
        note = self.sources.vault.notes.get(NoteId(target))
        if note is None or len(above) > EMBED_DEPTH or info in above:
            return ""
        start, end = _extent(note, fragment)
        writer = LinkWriter(self.sources, address, self.sources.home(home))
        edits = [edit for edit in writer.edits(note) if edit[0] >= start and edit[1] <= end]
        piece = rewrite(note.text[start:end], [(a - start, b - start, t) for a, b, t in edits])
        fences = Fences(self.sources, note, address)
        handlers = dict(fences.handlers) if self.sources.config.project else {}
        handlers["ssm-embed"] = lambda inner, _: self._embed(inner, address, home, (*above, info))
        html = render(piece, Context(handlers, ids=False)).html
        self.files |= fences.files
        url = writer.url(note.id, fragment)
        return (
            f'<blockquote class="embed" cite="{url}">{html}'
            f'<footer><a href="{url}">{plain_text(note.title)}</a></footer></blockquote>\n'
        )

    def _faults(self, note: Note, rendered: Rendered) -> None:
        path = f"{shown_prefix(self.sources.vault)}{note.id}"
        for tex, error in rendered.faults:
            at = max(note.text.find(tex), 0)
            line, column = note.place(at + min(error.position, len(tex)))
            message = f"formula cannot be read: {error}"
            self.findings.append(Finding(path, line, column, "B002", message))


def _extent(note: Note, fragment: str) -> tuple[int, int]:
    """Offsets of the section or block with an id, of the whole text without one."""
    if fragment.startswith("^"):
        block = next((b for b in note.blocks if b.id == fragment[1:]), None)
        return (block.start, block.end) if block else (note.body_start, len(note.text))
    heading: Heading | None = next((h for h in note.headings if h.id == fragment), None)
    if heading is not None:
        return note.line_starts[heading.line - 1], heading.section_end
    return note.body_start, len(note.text)


def without_title(body: str, note: Note) -> str:
    """Return the text without its first heading where that is the page's title."""
    if note.headings and note.headings[0].level == 1:
        return _FIRST_HEADING.sub("\n", body, count=1) if _FIRST_HEADING.match(body) else body
    return body


def description_of(note: Note) -> str:
    """Return the front matter's description, else the first sentence of the text."""
    given = note.front_matter.get("description")
    if isinstance(given, str) and given.strip():
        return given.strip()
    body = note.text[note.body_start :]
    start = found.end() if (found := _FIRST_HEADING.match(body)) else 0
    while start < len(body):
        end = body.find("\n\n", start)
        end = len(body) if end < 0 else end
        words = body[start:end].strip()
        if words and words[0] not in "#`$|>!-*<:{":
            return _shown(words)[:200]
        start = end + 2
    return ""


_shown = lru_cache(maxsize=1 << 14)(plain_text)  # a first sentence is asked for by several pages
