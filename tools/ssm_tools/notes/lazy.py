"""Notes and answers that are made when they are first asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

from ssm_tools.notes.model import Note, NoteId
from ssm_tools.notes.resolution import Answer, resolve
from ssm_tools.notes.vault import Vault


class LazyNotes(Mapping[NoteId, Note]):
    """Notes by id: those in `known`, and those that `read` makes and enters there."""

    def __init__(
        self, ids: Iterable[NoteId], known: dict[NoteId, Note], read: Callable[[NoteId], Note]
    ) -> None:
        self.ids, self.known, self.read = dict.fromkeys(ids), known, read

    def __getitem__(self, note_id: NoteId) -> Note:
        if note_id not in self.ids:
            raise KeyError(note_id)
        return self.known.get(note_id) or self.read(note_id)

    def __iter__(self) -> Iterator[NoteId]:
        return iter(self.ids)

    def __len__(self) -> int:
        return len(self.ids)

    def __contains__(self, note_id: object) -> bool:
        return note_id in self.ids


class LazyAnswers(dict[str, tuple[Answer, ...]]):
    """Answers to the links of a vault's notes, each note's found when they are asked for."""

    vault: Vault

    def __missing__(self, note_id: str) -> tuple[Answer, ...]:
        note = self.vault.notes[NoteId(note_id)]
        answers = self[note_id] = tuple(resolve(self.vault, note, link) for link in note.links)
        return answers
