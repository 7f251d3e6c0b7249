"""One edited note made into its page, and the pages that quote it, without building the site."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path

from ssm_tools.findings import Finding
from ssm_tools.notes import (
    Backlink,
    Found,
    LinkKind,
    Note,
    NoteId,
    backlinks,
    build_graph,
    resolve,
)
from ssm_tools.notes.vault import read_note
from ssm_tools.run.declared import run_words
from ssm_tools.site.assemble import Assembly
from ssm_tools.site.build import generate
from ssm_tools.site.config import SiteConfig
from ssm_tools.site.model import Page, Sources
from ssm_tools.site.notes_pages import NotePages
from ssm_tools.site.sources import read_sources
from ssm_tools.site.stage import stage


class LiveSite:
    """The sources of a built site, kept to make single pages anew.

    What an edit changes elsewhere (lists, search, previews) is left to the next whole build.
    """

    def __init__(self, config: SiteConfig) -> None:
        self.config = config
        self.sources: Sources = read_sources(config)[0]

    def update(self, changed: set[str]) -> list[str] | None:
        """Put the pages of edited notes in place; return them, None where only a build will do."""
        found: dict[NoteId, Note] = {}
        for name in changed:
            note = self._reread(Path(name))
            if note is None:
                return None
            found[note.id] = note
        notes = {note_id: found.get(note_id, note) for note_id, note in self._notes.items()}
        vault = replace(self.sources.vault, notes=notes)
        answers = dict(self.sources.answers)
        for note in found.values():
            answers[note.id] = tuple(resolve(vault, note, link) for link in note.links)
            if not all(isinstance(answer, Found) for answer in _inner(note, answers[note.id])):
                return None
        quoted = backlinks(vault, answers)
        touched = self._touched(set(found), quoted)
        self.sources = replace(
            self.sources,
            vault=vault,
            answers=answers,
            backlinks=quoted,
            graph=build_graph(vault, answers),
        )
        return self._write(touched)

    @property
    def _notes(self) -> dict[NoteId, Note]:
        return dict(self.sources.vault.notes)

    def _reread(self, path: Path) -> Note | None:
        """The note as it is now, None where more than its text may have changed."""
        vault = self.sources.vault
        try:
            note_id = NoteId(path.resolve().relative_to(vault.root.resolve()).as_posix())
        except ValueError:
            return None
        old = vault.notes.get(note_id)
        new = read_note(vault.root, note_id, vault.languages) if old and path.is_file() else None
        if old is None or new is None or isinstance(new, Finding):
            return None
        same = new.front_matter == old.front_matter and new.title == old.title
        return new if same and _run(new) == _run(old) else None

    def _touched(self, edited: set[NoteId], quoted: dict[NoteId, list[Backlink]]) -> list[NoteId]:
        """The edited notes, those that hold a piece of them, and those that quote another text."""
        found = set(edited)
        for note in self.sources.vault.notes.values():
            for link, answer in zip(note.links, self.sources.answers[note.id], strict=True):
                held = link.kind is LinkKind.EMBED and isinstance(answer, Found)
                if held and getattr(answer, "note", None) in edited:
                    found.add(note.id)
        before = self.sources.backlinks
        for note_id in before.keys() | quoted.keys():
            if _shown(before.get(note_id, []), edited) != _shown(quoted.get(note_id, []), edited):
                found.add(note_id)
        return sorted(found)

    def _write(self, notes: list[NoteId]) -> list[str] | None:
        """Make the pages and move each in the place of the one that was there."""
        writer = NotePages(self.sources)
        pages: dict[str, list[Page]] = {}
        for note_id in notes:
            note = self.sources.vault.notes[note_id]
            pages.setdefault(self.sources.home(note), []).append(writer.page(note))
        if writer.findings:
            return None
        made = Assembly(self.sources, pages=pages)
        staged, new = self.config.work / "live-stage", self.config.work / "live-site"
        shutil.rmtree(new, ignore_errors=True)
        stage(made, staged)
        generate(made, staged, new)
        files = dict(writer.files)
        for page in (page for group in pages.values() for page in group):
            files[page.address] = (new / page.address).read_bytes()
            files[page.address.removesuffix(".html") + ".md"] = page.markdown.encode("utf-8")
        for address, data in files.items():
            put(self.config.out / address, data)
        return [page.address for group in pages.values() for page in group]


def put(path: Path, data: bytes) -> None:
    """Write a file whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    half = path.with_name(f".{path.name}.half")
    half.write_bytes(data)
    os.replace(half, path)


def _inner(note: Note, answers: tuple[object, ...]) -> list[object]:
    """The answers to links that name a note or a file."""
    kinds = (LinkKind.WIKI, LinkKind.EMBED)
    return [answer for link, answer in zip(note.links, answers, strict=True) if link.kind in kinds]


def _run(note: Note) -> list[tuple[str, str]]:
    return [(fence.info, fence.content) for fence in note.fences if run_words(fence) is not None]


def _shown(links: list[Backlink], sources: set[NoteId]) -> list[tuple[str, ...]]:
    """What a page shows of the links from some notes."""
    return [
        (
            link.source, link.before, link.shown, link.after, link.relation,
            link.heading.id if link.heading else "", link.heading.text if link.heading else "",
        )
        for link in links
        if link.source in sources
    ]  # fmt: skip
