"""A vault of which only traces need be kept: after an edit what asked for it is resolved anew.

The state can live in memory, as for an editor, or between runs in a file (`kept`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from ssm_tools.findings import Finding
from ssm_tools.notes.check import in_order, located, note_findings
from ssm_tools.notes.lazy import LazyAnswers, LazyNotes
from ssm_tools.notes.link_findings import LinkChecker
from ssm_tools.notes.model import Named, Note, NoteId
from ssm_tools.notes.names import FOLDER_NOTES
from ssm_tools.notes.parity import parity_findings
from ssm_tools.notes.parse import parse_note
from ssm_tools.notes.slug import joined
from ssm_tools.notes.source import digest
from ssm_tools.notes.trace import Trace, asked_name, places_of, trace_of
from ssm_tools.notes.vault import (
    Listing,
    Vault,
    language_of,
    list_vault,
    no_collection,
    read_bytes,
)
from ssm_tools.notes.vault_findings import vault_findings

Stamp = tuple[int, int, int]  # what tells that a file may have changed: time, size, inode


@dataclass(slots=True)
class State:
    """What one refresh leaves for the next: plain values, no note."""

    languages: tuple[str, ...] = ()
    files: frozenset[str] = frozenset()
    listed: tuple[Finding, ...] = ()  # what the listing of the folder found
    stamps: dict[NoteId, Stamp] = field(default_factory=dict)
    traces: dict[NoteId, Trace] = field(default_factory=dict)
    of_links: dict[NoteId, list[Finding]] = field(default_factory=dict)  # none where none
    of_parity: dict[NoteId, list[Finding]] = field(default_factory=dict)


class Session:
    """Answers and findings of a vault, brought up to date by `refresh`.

    `parsed` and `resolved` are the notes of the last refresh that were parsed and resolved anew.
    """

    def __init__(
        self, root: Path, languages: tuple[str, ...] | None = None, state: State | None = None
    ) -> None:
        if not root.is_dir():
            raise NotADirectoryError(f"no vault at {root}: not a folder")
        self.root = root
        self.languages = languages
        self.state = state or State()
        self.answers = LazyAnswers()
        self.overlays: dict[NoteId, str] = {}  # texts of an editor, not yet saved
        self.parsed: set[NoteId] = set()
        self.resolved: set[NoteId] = set()
        self.changed = state is None  # whether the state is worth writing again
        self.parsed_notes: dict[NoteId, Note] = {}
        self._unread: dict[NoteId, Finding] = {}
        self.vault = self.answers.vault = self._vault(self.state.traces, self.state)
        self.checker = LinkChecker(self.vault)
        self._started = state is not None
        self.refresh()

    def _vault(self, named: Mapping[NoteId, Named], state: State) -> Vault:
        read = partial(self._read_now, languages=state.languages)
        notes = LazyNotes(named, self.parsed_notes, read)
        findings = (*state.listed, *self._unread.values())
        return Vault(self.root, state.languages, notes, state.files, findings, named)

    def refresh(self) -> set[NoteId]:
        """Read what changed on disk or in overlays; return the notes whose answers may differ."""
        with no_collection():
            listing = list_vault(self.root, self.languages)
            old, before = self.vault, self.state
            named, changed = self._read(listing)
            gone = set(before.traces) - set(named)
            files = before.files ^ listing.files
            names = self._changed_names(named, changed | gone) | {asked_name(p) for p in files}
            same = (
                listing.findings == before.listed
                and tuple(self._unread.values()) == (old.findings[len(before.listed) :])
            )
            if self._started and same and not (changed or gone or names):
                self.parsed, self.resolved = set(), set()
                return set()
            self._started = self.changed = True
            before.languages, before.files = listing.languages, listing.files
            before.listed = listing.findings
            self.vault = self._vault(named, before)
            if not names and old.languages == listing.languages and "names" in old.__dict__:
                self.vault.__dict__["names"] = old.names  # no name came or went
            else:
                self.checker = LinkChecker(self.vault)
            self.checker.vault = self.answers.vault = self.vault
            self.checker.renew()
            self.parsed = changed
            self.resolved = self._affected(names, changed, gone)
            doubtful = {*self._in_doubt(names, changed | gone, old)} & set(named)
            self._renew(self.resolved, gone, old)
            for note_id in doubtful - self.resolved:
                self._judge(self.vault.notes[note_id])
            return self.resolved | gone | doubtful

    def findings(self) -> list[Finding]:
        """Every finding of the vault, as `check_vault` returns them."""
        with no_collection():
            state, found = self.state, [*self.vault.findings]
            for kept in (state.of_links, state.of_parity):
                for some in kept.values():
                    found += some
            found += vault_findings(self.vault, state.traces, self.answers)
            return in_order(located(self.vault, found))

    def note_findings(self, note_id: NoteId) -> list[Finding]:
        """The findings of one note and of its translations; paths as in the vault."""
        state = self.state
        return [*state.of_links.get(note_id, ()), *state.of_parity.get(note_id, ())]

    def _read_now(self, note_id: NoteId, languages: tuple[str, ...]) -> Note:
        data = self.data(note_id)
        if isinstance(data, Finding):  # it was there when the folder was listed
            data = b""
        return self.parse(data, note_id, languages)

    def data(self, note_id: NoteId) -> bytes | Finding:
        """A note's bytes, from the editor's overlay or from its file."""
        overlay = self.overlays.get(note_id)
        if overlay is None:
            return read_bytes(self.root, note_id)
        return overlay.encode("utf-8", "replace")

    def parse(self, data: bytes, note_id: NoteId, languages: tuple[str, ...]) -> Note:
        """Parse a note, and keep it."""
        language = language_of(note_id, languages)
        note = parse_note(data, note_id, language, self.root / note_id)
        self.parsed_notes[note_id] = note
        return note

    def _read(self, listing: Listing) -> tuple[dict[NoteId, Named], set[NoteId]]:
        """What there is, by id, as a trace where it is unchanged; and what changed."""
        state = self.state
        named: dict[NoteId, Named] = {}
        changed: set[NoteId] = set()
        stamps: dict[NoteId, Stamp] = {}
        for note_id, stat in listing.notes.items():
            overlay = self.overlays.get(note_id)
            stamp = (stat.st_mtime_ns, stat.st_size, stat.st_ino)
            if overlay is not None:
                stamp = (-1, -1, hash(overlay))
            stamps[note_id] = stamp
            known = state.traces.get(note_id) if listing.languages == state.languages else None
            if state.stamps.get(note_id) == stamp and (known or note_id in self._unread):
                if known:
                    named[note_id] = known
                continue
            self.changed = True
            data = self.data(note_id)
            if isinstance(data, Finding):
                self._unread[note_id] = data
                continue
            self._unread.pop(note_id, None)
            if known is not None and known.digest == digest(data):
                named[note_id] = known
            else:
                changed.add(note_id)
                named[note_id] = self.parse(data, note_id, listing.languages)
        state.stamps = stamps
        for note_id in set(self._unread) - set(listing.notes):
            del self._unread[note_id]
        return named, changed

    def _changed_names(self, named: Mapping[NoteId, Named], touched: Iterable[NoteId]) -> set[str]:
        """Names that came, went, or mean something else now."""
        names: set[str] = set()
        for note_id in touched:
            names |= _names_of(self.state.traces.get(note_id)) ^ _names_of(named.get(note_id))
        return names

    def _affected(self, names: set[str], changed: set[NoteId], gone: set[NoteId]) -> set[NoteId]:
        """What changed, what asked for a name that changed, what leads to a place that did."""
        traces, affected = self.state.traces, set(changed)
        moved: set[str] = set(gone)
        for note_id in changed & set(traces):
            if traces[note_id].places != places_of(self.vault.notes[note_id]):
                moved.add(note_id)
        for note_id, trace in traces.items() if names or moved else ():
            if not names.isdisjoint(trace.asks) or not moved.isdisjoint(trace.targets):
                affected.add(note_id)
        return {note_id for note_id in affected if note_id in self.vault.notes}

    def _in_doubt(self, names: set[str], touched: set[NoteId], old: Vault) -> Iterator[NoteId]:
        """Notes for whose faulty links something else may now be meant, or a name be unique."""
        state, named = self.state, self.vault.named or {}
        renamed = bool(names)
        for note_id in touched:
            before, now = state.traces.get(note_id), named.get(note_id)
            renamed = renamed or not before or not now or before.title != now.title
        for note_id, found in state.of_links.items():
            codes = {finding.code for finding in found}
            spelt = {asked_name(target) for target in state.traces[note_id].targets}
            if (renamed and "L001" in codes) or not names.isdisjoint(spelt):
                yield note_id
            elif "L003" in codes:
                traces = (state.traces.get(NoteId(t)) for t in state.traces[note_id].targets)
                for trace in (state.traces[note_id], *traces):
                    kin = (
                        {*old.kin(trace).values(), *self.vault.kin(trace).values()} if trace else ()
                    )
                    if not touched.isdisjoint(kin):
                        yield note_id
                        break

    def _renew(self, resolved: set[NoteId], gone: set[NoteId], old: Vault) -> None:
        """Resolve notes, and hold them and their translations against each other anew."""
        state, vault = self.state, self.vault
        stale = self._compared(resolved | gone, old)
        for note_id in gone:
            for kept in (state.traces, state.of_links, self.answers, self.parsed_notes):
                kept.pop(note_id, None)
        for note_id in resolved:
            note = vault.notes[note_id]
            self.answers.pop(note_id, None)
            state.traces[note_id] = trace_of(note, self.answers[note_id])
            self._judge(note)
        if list(state.traces) != list(vault.notes):
            state.traces = {note_id: state.traces[note_id] for note_id in vault.notes}
        vault.__dict__["named"] = state.traces
        for note_id in stale:
            note_or_none = vault.notes.get(note_id) if vault.languages else None
            found = parity_findings(vault, note_or_none, self.answers) if note_or_none else ()
            _keep(state.of_parity, note_id, [*found])

    def _judge(self, note: Note) -> None:
        """Find anew what a note and its links have wrong."""
        found = [*note_findings(note), *self.checker.findings(note, self.answers[note.id])]
        _keep(self.state.of_links, note.id, found)

    def _compared(self, touched: set[NoteId], old: Vault) -> set[NoteId]:
        """Notes whose parity may differ: those touched, their kin, and who links to new kin."""
        traces, stale = self.state.traces, set(touched)
        shifted: set[str] = set()
        for vault in (old, self.vault):
            named = vault.named or {}
            for note_id in touched:
                if (note := named.get(note_id)) is None or not vault.languages:
                    continue
                kin = vault.kin(note).values()
                stale.update(kin)
                known = traces.get(note_id)
                now = self.vault.named or {}
                if known is None or note_id not in now or known.permalink != now[note_id].permalink:
                    shifted.update((note_id, *kin))
        for note_id, trace in traces.items() if shifted else ():
            if not shifted.isdisjoint(trace.targets):
                stale.update((note_id, *self.vault.kin(trace).values()))
        return stale


def _keep(kept: dict[NoteId, list[Finding]], note_id: NoteId, found: list[Finding]) -> None:
    if found:
        kept[note_id] = found
    else:
        kept.pop(note_id, None)


def _names_of(note: Named | None) -> set[str]:
    if note is None:
        return set()
    folder, _, name = note.id.rpartition("/")
    names = {asked_name(name), *(joined(alias) for alias in note.aliases)}
    if name in FOLDER_NOTES and folder:
        names.add(asked_name(folder))
    return names
