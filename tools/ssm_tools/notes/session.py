"""A vault kept in memory: after an edit only what asked for it is resolved and checked again."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path

from ssm_tools.findings import Finding
from ssm_tools.notes.check import in_order, located, note_findings
from ssm_tools.notes.graph import Answers
from ssm_tools.notes.link_findings import LinkChecker
from ssm_tools.notes.model import Note, NoteId
from ssm_tools.notes.names import FOLDER_NOTES
from ssm_tools.notes.parity import parity_findings
from ssm_tools.notes.parse import parse_note
from ssm_tools.notes.resolution import Found, Missing, resolve
from ssm_tools.notes.slug import joined
from ssm_tools.notes.source import digest
from ssm_tools.notes.vault import Listing, Vault, list_vault, no_collection, read_note
from ssm_tools.notes.vault_findings import vault_findings

Stamp = tuple[int, int, int]  # what tells that a file may have changed: time, size, inode


class Session:
    """Notes, answers and findings of a vault, brought up to date by `refresh`.

    `parsed` and `resolved` are the notes of the last refresh that were parsed and resolved anew.
    """

    def __init__(self, root: Path, languages: tuple[str, ...] | None = None) -> None:
        if not root.is_dir():
            raise NotADirectoryError(f"no vault at {root}: not a folder")
        self.root = root
        self.languages = languages
        self.answers: Answers = {}
        self.overlays: dict[NoteId, str] = {}  # texts of an editor, not yet saved
        self.parsed: set[NoteId] = set()
        self.resolved: set[NoteId] = set()
        self._stamps: dict[NoteId, Stamp] = {}
        self._unread: dict[NoteId, Finding] = {}
        self._asked: dict[str, set[NoteId]] = defaultdict(set)  # folded name → who asks for it
        self._linked: dict[str, set[NoteId]] = defaultdict(set)  # target → who links to it
        self._link_findings: dict[NoteId, list[Finding]] = {}
        self._parity: dict[NoteId, list[Finding]] = {}
        self.vault = Vault(root, (), {}, frozenset())
        self.checker = LinkChecker(self.vault)
        self.refresh()

    def refresh(self) -> set[NoteId]:
        """Read what changed on disk or in overlays; return the notes whose answers may differ."""
        with no_collection():
            listing = list_vault(self.root, self.languages)
            notes, changed, gone = self._read(listing)
            old = self.vault
            files = listing.files
            names = _changed_names(old, notes, changed | gone) | _file_names(old.files ^ files)
            if not (changed or gone or names) and listing.findings == old.findings and old.notes:
                self.parsed, self.resolved = set(), set()
                return set()
            findings = (*listing.findings, *self._unread.values())
            self.vault = Vault(self.root, listing.languages, notes, files, findings)
            if not names and old.languages == listing.languages and old.notes:
                self.vault.__dict__["names"] = old.names  # no name came or went
            else:
                self.checker = LinkChecker(self.vault)
            self.checker.vault = self.vault
            self.checker.renew()
            self.parsed = changed
            self.resolved = self._affected(names, changed, gone, old)
            for note_id in gone:
                self._forget(note_id, old)
            for note_id in self.resolved:
                self._resolve(note_id, old)
            self._compare(self.resolved | gone, old)
            return self.resolved | gone

    def findings(self) -> list[Finding]:
        """Every finding of the vault, as `check_vault` returns them."""
        with no_collection():
            found = [*self.vault.findings]
            for note_id in self.vault.notes:
                found += self._link_findings[note_id]
                found += self._parity[note_id]
            found += vault_findings(self.vault, self.answers)
            return in_order(located(self.vault, found))

    def note_findings(self, note_id: NoteId) -> list[Finding]:
        """The findings of one note and of its translations; paths as in the vault."""
        return [*self._link_findings.get(note_id, ()), *self._parity.get(note_id, ())]

    def _read(self, listing: Listing) -> tuple[dict[NoteId, Note], set[NoteId], set[NoteId]]:
        notes: dict[NoteId, Note] = {}
        changed: set[NoteId] = set()
        stamps: dict[NoteId, Stamp] = {}
        for note_id, stat in listing.notes.items():
            stamp = (stat.st_mtime_ns, stat.st_size, stat.st_ino)
            known = self.vault.notes.get(note_id)
            overlay = self.overlays.get(note_id)
            if overlay is not None:
                stamp = (-1, -1, hash(overlay))
            stamps[note_id] = stamp
            if self._stamps.get(note_id) == stamp and (known or note_id in self._unread):
                if known:
                    notes[note_id] = known
                continue
            note = self._parse(note_id, overlay, listing.languages)
            if isinstance(note, Finding):
                self._unread[note_id] = note
                continue
            self._unread.pop(note_id, None)
            if known is not None and known.digest == note.digest:
                note = known
            else:
                changed.add(note_id)
            notes[note_id] = note
        self._stamps = stamps
        for note_id in set(self._unread) - set(listing.notes):
            del self._unread[note_id]
        return notes, changed, set(self.vault.notes) - set(notes)

    def _parse(
        self, note_id: NoteId, overlay: str | None, languages: tuple[str, ...]
    ) -> Note | Finding:
        if overlay is None:
            return read_note(self.root, note_id, languages)
        data = overlay.encode("utf-8", "replace")
        first = note_id.partition("/")[0]
        language = first if first in languages else ""
        known = self.vault.notes.get(note_id)
        if known is not None and known.digest == digest(data):
            return known
        return parse_note(data, note_id, language, self.root / note_id)

    def _affected(
        self, names: set[str], changed: set[NoteId], gone: set[NoteId], old: Vault
    ) -> set[NoteId]:
        affected = set(changed)
        for name in names:
            affected |= self._asked.get(name, set())
        for note_id in changed | gone:
            before, now = old.notes.get(note_id), self.vault.notes.get(note_id)
            if before is None or now is None or _places(before) != _places(now):
                affected |= self._linked.get(note_id, set())
        if old.languages != self.vault.languages:
            affected |= set(self.vault.notes)
        return {note_id for note_id in affected if note_id in self.vault.notes}

    def _forget(self, note_id: NoteId, old: Vault) -> None:
        note = old.notes.get(note_id)
        if note is None or note_id not in self.answers:
            return
        for link in note.links:
            self._asked[_asked_name(link.path)].discard(note_id)
        for answer in self.answers.pop(note_id):
            if isinstance(answer, (Found, Missing)):
                self._linked[answer.target].discard(note_id)
        self._link_findings.pop(note_id, None)

    def _compare(self, touched: set[NoteId], old: Vault) -> None:
        """Hold what was touched, and its translations, against each other anew."""
        stale = set(touched)
        for note_id in touched:
            note = self.vault.notes.get(note_id) or old.notes[note_id]
            stale.update(other.id for other in self.vault.translations(note).values())
        for note_id in stale:
            known = self.vault.notes.get(note_id)
            if known is None:
                self._parity.pop(note_id, None)
            else:
                self._parity[note_id] = [*parity_findings(self.vault, known, self.answers)]

    def _resolve(self, note_id: NoteId, old: Vault) -> None:
        self._forget(note_id, old)
        note = self.vault.notes[note_id]
        answers = tuple(resolve(self.vault, note, link) for link in note.links)
        self.answers[note_id] = answers
        for link, answer in zip(note.links, answers, strict=True):
            self._asked[_asked_name(link.path)].add(note_id)
            if isinstance(answer, (Found, Missing)) and answer.target:
                self._linked[answer.target].add(note_id)
        found = [*note_findings(note), *self.checker.findings(note, answers)]
        self._link_findings[note_id] = found


def _asked_name(path: str) -> str:
    name = path.replace("\\", "/").rstrip("/").rpartition("/")[2]
    return joined(name[:-3] if name.lower().endswith(".md") else name)


def _places(note: Note) -> object:
    headings = [(heading.id, heading.text, heading.parent) for heading in note.headings]
    return headings, [block.id for block in note.blocks]


def _names_of(note_id: NoteId, note: Note | None) -> set[str]:
    if note is None:
        return set()
    folder, _, name = note_id.rpartition("/")
    names = {_asked_name(name), *(joined(alias) for alias in note.aliases)}
    if name in FOLDER_NOTES and folder:
        names.add(_asked_name(folder))
    return names


def _changed_names(old: Vault, notes: Mapping[NoteId, Note], changed: Iterable[NoteId]) -> set[str]:
    """Names that came, went, or mean something else now."""
    names: set[str] = set()
    for note_id in changed:
        names |= _names_of(note_id, old.notes.get(note_id)) ^ _names_of(note_id, notes.get(note_id))
    return names


def _file_names(paths: Iterable[str]) -> set[str]:
    return {_asked_name(path) for path in paths}
