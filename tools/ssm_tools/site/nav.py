"""The site's own contents beside each page: its families, the current one open, and its lists."""

from __future__ import annotations

from collections import defaultdict
from functools import lru_cache
from html import escape

from ssm_tools.concepts.paths import reading_paths
from ssm_tools.notes import Note
from ssm_tools.site.families import family_of, family_rank
from ssm_tools.site.model import Page, Sources
from ssm_tools.site.strings import family_title, strings
from ssm_tools.site.urls import relative

LATE = 9999  # after every year, and after every path
WHOLE = 150  # notes: above this only the current family is listed on each page
LISTS = ("graph", "topics", "references", "glossary", "claims", "engine", "api/index")
NAMES = {"claims": "ledger", "api/index": "api"}


def lists_of(sources: Sources) -> tuple[str, ...]:
    """The generated lists that a site has."""
    return LISTS if sources.config.project else ("graph", "topics")


class Navigation:
    """Writes the navigation of one language; its parts are made once for each folder."""

    def __init__(self, sources: Sources, language: str) -> None:
        self.sources = sources
        self.language = language
        self.words = strings(sources.tongue(language))
        self.families: dict[str, list[Note]] = defaultdict(list)
        for note in sources.vault.notes.values():
            if sources.home(note) == language and note.key != "index.md":
                self.families[family_of(sources, note)].append(note)
        # the path and the step at which a note is read, on the first path that has it
        self.places: dict[str, tuple[int, int]] = {}
        for number, path in enumerate(reading_paths(sources.vault, language)):
            for step in path.steps:
                self.places.setdefault(step.note, (number, step.number))
        for notes in self.families.values():
            notes.sort(key=self._order)
        self._group = lru_cache(maxsize=None)(self._make_group)
        self._top = lru_cache(maxsize=None)(self._make_top)
        self.count = sum(map(len, self.families.values()))

    def _order(self, note: Note) -> tuple[tuple[int, int], int, str]:
        """The order of the learning paths; what is on none comes after, by year and title."""
        concept = self.sources.concepts.get(note.concept)
        year = (concept.year or LATE) if concept else LATE
        return self.places.get(note.id, (LATE, 0)), year, note.title.casefold()

    def html(self, page: Page) -> str:
        """Return the navigation as it stands on a page."""
        folder = page.address.rpartition("/")[0]
        parts = [self._top(folder)]
        for family in sorted(self.families, key=family_rank):
            if self.count <= WHOLE or family == page.family:
                is_open = family == page.family or self.count <= 12
                parts.append(f"<details{' open' if is_open else ''}>{self._group(family, folder)}")
        here = f'href="{escape(relative(page.address, page.address))}"'
        return "".join(parts).replace(here, f'{here} aria-current="page"', 1)

    def _make_group(self, family: str, folder: str) -> str:
        title = family_title(family, self.sources.tongue(self.language)) or self.words["other"]
        rows = "".join(
            f'<li><a href="{escape(relative(self.sources.addresses[note.id], folder + "/x"))}">'
            f"{escape(note.title)}</a></li>"
            for note in self.families[family][:WHOLE]
        )
        if len(self.families[family]) > WHOLE:
            topics = relative(self.sources.generated("topics", self.language), folder + "/x")
            rows = f'<li><a href="{escape(topics)}#{escape(family)}">{self.words["all"]}</a></li>'
        return f"<summary>{escape(title)}</summary><ul>{rows}</ul></details>"

    def _make_top(self, folder: str) -> str:
        rows = [(self.words["home"], self.sources.generated_home(self.language))]
        rows += [
            (self.words[NAMES.get(name, name)], self.sources.generated(name, self.language))
            for name in lists_of(self.sources)
        ]
        shown = "".join(
            f'<li><a href="{escape(relative(address, folder + "/x"))}">{name}</a></li>'
            for name, address in rows
        )
        return f'<ul class="sitenav__top">{shown}</ul>'
