"""A note's links as the site writes them: HTML anchors for pages, plain Markdown for copies."""

from __future__ import annotations

import re
from dataclasses import dataclass
from html import escape

from ssm_tools.notes import Ambiguous, External, Found, Link, LinkKind, Missing, Note, NoteId
from ssm_tools.notes.edits import Edit
from ssm_tools.site.markdown import sized
from ssm_tools.site.model import Sources
from ssm_tools.site.strings import relation_title, strings
from ssm_tools.site.urls import relative, with_fragment

_ALONE = re.compile(r"[\s>]*(?:(?:[-*+]|\d+[.)])\s+(?:\[.\]\s+)?)*")  # no heading, no table
_PICTURES = (".png", ".jpg", ".jpeg", ".gif", ".svg", ".webp", ".avif")
BODIES = frozenset({"AI", "Research", "Team", "University"})  # last words of no person's name
PARTICLES = frozenset({"de", "van", "von"})  # first words of a family name


@dataclass(frozen=True, slots=True)
class LinkWriter:
    """Writes the links of notes as they stand on the page at `address`.

    With `plain`, as Markdown that leads to the Markdown copies of pages.
    """

    sources: Sources
    address: str
    language: str
    plain: bool = False

    def edits(self, note: Note) -> list[Edit]:
        """Return what to replace in a note's text: links, citations, claims, block marks."""
        answers = self.sources.answers[note.id]
        edits = [
            edit
            for link, answer in zip(note.links, answers, strict=True)
            if link.kind is not LinkKind.PROPERTY
            for edit in self._link(note, link, answer)
        ]
        edits += [(c.start, c.end, self._citation(c.key, c.text)) for c in note.citations]
        edits += [
            (c.start, c.end, self._claim(c.concept or note.concept, c.claim)) for c in note.claims
        ]
        edits += [(start, end, "") for start, end in note.comments]
        for block in note.blocks:
            anchor = "" if self.plain else f'<a id="^{escape(block.id)}"></a>'
            edits.append((block.mark_start, block.mark_end, anchor))
        return _apart(edits)

    def _link(
        self, note: Note, link: Link, answer: Found | Missing | Ambiguous | External
    ) -> list[Edit]:
        if link.kind is LinkKind.EMBED:
            return [(link.start, link.end, self._embed(note, link, answer))]
        if link.kind is LinkKind.WIKI:
            return [(link.start, link.end, self._wiki(note, link, answer))]
        if isinstance(answer, Found) and link.target_start >= 0:
            url = self.url(answer.target, answer.fragment)
            return [(link.target_start, link.target_end, url)]
        if isinstance(answer, Missing) and answer.target and link.target_start >= 0:
            return [(link.target_start, link.target_end, self.url(answer.target, ""))]
        if not isinstance(answer, External) and link.start < link.target_start < link.end:
            return self._without_link(note, link)
        return []

    def _without_link(self, note: Note, link: Link) -> list[Edit]:
        """The text of a Markdown link that leads nowhere, as it stands, marked as a ghost."""
        opening = note.text.index("[", link.start) + 1
        close = note.text.rfind("](", opening, link.target_start + 1)
        if close < 0:
            return []
        name = link.path.rpartition("/")[2] if close == opening else ""
        if self.plain:
            return [(link.start, opening, name), (close, link.end, "")]
        mark = f'<span class="ghost" title="{escape(link.path)}">{escape(name)}'
        return [(link.start, opening, mark), (close, link.end, "</span>")]

    def _wiki(self, note: Note, link: Link, answer: Found | Missing | Ambiguous | External) -> str:
        if not isinstance(answer, Found):
            text = link.text or link.path or "#".join(link.fragment)
            if isinstance(answer, Missing) and answer.target:  # the note is there, the place not
                return self._anchor(answer.target, "", _inline(text), ' class="wiki ghost"')
            if self.plain:
                return text
            return f'<span class="ghost" title="{escape(link.path)}">{_inline(text)}</span>'
        text = _inline(link.text or self._title(note, link, answer))
        attributes = self._attributes(link, answer)
        return self._anchor(answer.target, answer.fragment, text, attributes)

    def _anchor(self, target: str, fragment: str, text: str, attributes: str) -> str:
        url = self.url(target, fragment)
        if self.plain:
            return f"[{text}]({url})"
        return f'<a href="{escape(url)}"{attributes}>{text}</a>'

    def _attributes(self, link: Link, answer: Found) -> str:
        target = self.sources.vault.notes.get(answer.note) if answer.note else None
        attributes = ' class="wiki"'
        if link.relation:
            title = relation_title(link.relation, self.sources.tongue(self.language))
            attributes += f' data-relation="{escape(link.relation)}" title="{escape(title)}"'
        if target is not None and (home := self.sources.home(target)) != self.language:
            attributes += f' hreflang="{escape(home)}" lang="{escape(home)}"'
        return attributes

    def _title(self, note: Note, link: Link, answer: Found) -> str:
        target = self.sources.vault.notes.get(answer.note) if answer.note else None
        heading = getattr(answer.place.target, "text", "") if answer.place else ""
        if target is None:
            return link.path.rpartition("/")[2]
        if target.id == note.id and heading:
            return heading
        return f"{target.title} › {heading}" if heading else target.title

    def _embed(self, note: Note, link: Link, answer: Found | Missing | Ambiguous | External) -> str:
        if not isinstance(answer, Found):
            return escape(link.path)
        if answer.note is None:
            return self._picture(link, answer)
        line = note.line_text(link.line)
        alone = (
            _ALONE.fullmatch(line[: link.column - 1]) is not None
            and not note.text[link.context_start : link.start].strip()
            and not (note.text[link.end : link.context_end].strip())
        )
        if self.plain or not alone:
            return self._wiki(note, link, answer)
        return f"```ssm-embed {answer.target}#{answer.fragment}\n```"

    def _picture(self, link: Link, answer: Found) -> str:
        url = self.url(answer.target, "")
        said, size = sized(link.text or "")
        alt = escape(said or ("" if size else link.path.rpartition("/")[2]))
        if not answer.target.lower().endswith(_PICTURES) or self.plain:
            return f"[{alt or escape(link.path)}]({url})"
        shape = "".join(f' {name}="{value}"' for name, value in size.items())
        return f'<img src="{escape(url)}" alt="{alt}"{shape} loading="lazy">'

    def url(self, target: str, fragment: str) -> str:
        """Return the address of a note or file of the vault, as this page writes it."""
        note_id = NoteId(target)
        if note_id in self.sources.vault.notes:
            address = self.sources.addresses[note_id]
            if self.plain:
                address = address.removesuffix(".html") + ".md"
            if address == self.address and fragment:
                return with_fragment("", fragment)
        else:
            address = self.sources.file_address(target)
        return with_fragment(relative(address, self.address), fragment)

    def _citation(self, key: str, text: str | None) -> str:
        paper = self.sources.papers.get(key)
        shown = text or (short_reference(paper.authors, paper.year, self._tongue) if paper else key)
        page = self.sources.generated("references", self.language)
        if self.plain:
            return f"[{shown}]({relative(page.removesuffix('.html') + '.md', self.address)}#{key})"
        title = _in_attribute(paper.title) if paper else ""
        url = with_fragment(relative(page, self.address), key)
        return f'<a class="cite" href="{escape(url)}" title="{title}">{escape(shown)}</a>'

    def _claim(self, concept: str, claim: str) -> str:
        key = f"{concept}/{claim}"
        page = self.sources.generated("claims", self.language)
        if self.plain:
            return ""
        entry = next((e for e in self.sources.ledger if e.key == key), None)
        words = strings(self._tongue)
        state = entry.state if entry else "open"
        text = entry.claim.texts.get(self._tongue, "") if entry else key
        label = _in_attribute(f"{words['claim']}: {text} — {claim_state(state, self._tongue)}")
        url = with_fragment(relative(page, self.address), key)
        mark = {"held": "✓", "cited": "❞", "failed": "✗"}.get(state, "○")
        return (
            f'<a class="claim claim--{state}" href="{escape(url)}" title="{label}" '
            f'aria-label="{label}">{mark}</a>'
        )

    @property
    def _tongue(self) -> str:
        return self.sources.tongue(self.language)


def short_reference(authors: tuple[str, ...], year: int, language: str) -> str:
    """Return the authors' family names and the year: `Gu & Dao, 2023`, `Kimi Team, 2025`."""
    names = [family_name(author) for author in authors]
    if len(names) > 2 or "et al." in authors:
        return f"{names[0]} {'и др.' if language == 'ru' else 'et al.'}, {year}"
    return f"{(' и ' if language == 'ru' else ' & ').join(names)}, {year}" if names else str(year)


def family_name(author: str) -> str:
    """Return a person's family name, and a body's name in full."""
    name = author.split()
    if name[-1] in BODIES:
        return author
    return " ".join(name[-2:] if len(name) > 1 and name[-2] in PARTICLES else name[-1:])


def claim_state(state: str, language: str) -> str:
    """Return what the state of a claim is called."""
    russian = {
        "held": "подтверждено",
        "cited": "по публикации",
        "stale": "устарело: код с тех пор изменился",
        "failed": "опровергнуто",
    }
    english = {
        "held": "held",
        "cited": "from a publication",
        "stale": "stale: the code has moved on",
        "failed": "failed",
    }
    if language == "ru":
        return russian.get(state, "ждёт проверки")
    return english.get(state, "open")


def _inline(text: str) -> str:
    """The shown text of a link: Markdown stays, brackets and HTML are made harmless."""
    text = text.replace("<", "&lt;").replace(">", "&gt;").replace("\n", " ")
    return text.replace("[", "&#91;").replace("]", "&#93;").replace("|", "&#124;")


def _apart(edits: list[Edit]) -> list[Edit]:
    """Edits without those that lie inside another: a picture in a link's text, a comment's link."""
    kept: list[Edit] = []
    position = 0
    for edit in sorted(edits, key=lambda e: (e[0], -e[1])):
        if edit[0] >= position:
            kept.append(edit)
            position = edit[1]
    return kept


def _in_attribute(text: str) -> str:
    """The text for an attribute, harmless in a cell of a table too, which a bar would end."""
    return escape(text).replace("|", "&#124;")
