"""What the site is made from, read once, and the pages that it becomes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import networkx as nx
import yaml

from ssm_tools.concepts import Concept, LedgerEntry, Paper, TestReport
from ssm_tools.notes import Backlink, Note, NoteId, Vault
from ssm_tools.notes.graph import Answers
from ssm_tools.run import Snippet, Store
from ssm_tools.site.config import SiteConfig
from ssm_tools.site.markdown import TocItem
from ssm_tools.site.urls import page_path, relative


@dataclass(frozen=True)
class Sources:
    """Notes with their answers, and what ties them to code; empty maps in a stranger's vault."""

    config: SiteConfig
    vault: Vault
    answers: Answers
    backlinks: Mapping[NoteId, list[Backlink]]
    graph: nx.MultiDiGraph
    concepts: Mapping[str, Concept] = field(default_factory=dict)
    papers: Mapping[str, Paper] = field(default_factory=dict)
    ledger: tuple[LedgerEntry, ...] = ()
    report: TestReport | None = None
    snippets: Mapping[str, Snippet] = field(default_factory=dict)
    glossary: tuple[Mapping[str, Any], ...] = ()

    @cached_property
    def store(self) -> Store:
        """Where the results of snippets lie."""
        return Store(self.config.root)

    @cached_property
    def languages(self) -> tuple[str, ...]:
        """Folders of the site, one a language; the empty name where notes lie in one folder."""
        return self.vault.languages or ("",)

    def tongue(self, language: str) -> str:
        """The language in which the site speaks in a folder."""
        if language:
            return language
        if self.config.default_language:
            return self.config.default_language
        return self._spoken

    @cached_property
    def _spoken(self) -> str:
        return _tongue_of("".join(n.text[:400] for n in list(self.vault.notes.values())[:200]))

    def home(self, note: Note) -> str:
        """The language whose site a note's page belongs to: its own, or the one it is written in.

        A note beside the folders of several languages has one page, which all of them link to.
        """
        if note.language or not self.vault.languages:
            return note.language
        if note.id not in self._homes:
            tongue = self.config.default_language or _tongue_of(note.text[:2000])
            self._homes[note.id] = tongue if tongue in self.languages else self.languages[0]
        return self._homes[note.id]

    @cached_property
    def _homes(self) -> dict[NoteId, str]:
        return {}

    @cached_property
    def addresses(self) -> Mapping[NoteId, str]:
        """The address of each note's page from the root of the site."""
        found: dict[NoteId, str] = {}
        taken: set[str] = set()
        for note in sorted(self.vault.notes.values(), key=lambda note: not note.language):
            address = f"{self.home(note)}/{page_path(note.key)}".lstrip("/")
            while address.casefold() in taken:
                address = address.removesuffix(".html") + "_.html"
            taken.add(address.casefold())
            found[note.id] = address
        return found

    @cached_property
    def concept_notes(self) -> Mapping[tuple[str, str], Note]:
        """Notes by concept and language."""
        return {
            (note.concept, note.language): note
            for note in self.vault.notes.values()
            if note.concept in self.concepts
        }

    def generated(self, name: str, language: str) -> str:
        """The address of a page that no note stands for: `graph`, `references`, `api/selective`."""
        address = f"{language}/{name}.html".lstrip("/")
        return address if address not in self._taken else f"{language}/site/{name}.html".lstrip("/")

    def generated_home(self, language: str) -> str:
        """The address of a language's first page."""
        return f"{language}/index.html".lstrip("/")

    @cached_property
    def _taken(self) -> frozenset[str]:
        return frozenset(self.addresses.values())

    def file_address(self, path: str) -> str:
        """The address of a file of the vault, such as a picture."""
        return f"files/vault/{path}"


@dataclass(slots=True)
class Page:
    """One page of the site. `address` counts from the site's root; so do all addresses here."""

    address: str
    language: str
    title: str
    html: str
    kind: str = "note"  # note, list, graph, api
    description: str = ""
    toc: list[TocItem] = field(default_factory=list)
    card: str = ""
    foot: str = ""
    markdown: str = ""
    note: Note | None = None
    family: str = ""
    alternates: dict[str, str] = field(default_factory=dict)  # language → address
    sections: list[tuple[str, str, str]] = field(default_factory=list)  # see search.sections
    scripts: list[str] = field(default_factory=list)

    def to(self, address: str) -> str:
        """An address as this page writes it."""
        return relative(address, self.address)

    @property
    def stage_path(self) -> str:
        """The page's Markdown file in its language's stage."""
        inside = self.address.removeprefix(f"{self.language}/") if self.language else self.address
        return inside.removesuffix(".html") + ".md"


def _tongue_of(sample: str) -> str:
    letters = [c for c in sample if c.isalpha()]
    return "ru" if sum("а" <= c.lower() <= "я" for c in letters) * 2 > len(letters) else "en"


def read_glossary(root: Path) -> tuple[Mapping[str, Any], ...]:
    """Return docs/glossary.yml: terms in both languages with their other forms."""
    path = root / "docs" / "glossary.yml"
    if not path.is_file():
        return ()
    entries = yaml.safe_load(path.read_text(encoding="utf-8")) or []
    return tuple(entry for entry in entries if isinstance(entry, dict))
