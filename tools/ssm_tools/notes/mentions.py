"""What links to a note: the sentence around each link, its section, and the kind of relation."""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass

from ssm_tools.notes.graph import Answers, resolve_all
from ssm_tools.notes.model import Heading, Link, Note, NoteId
from ssm_tools.notes.plain import quick_text
from ssm_tools.notes.resolution import Found
from ssm_tools.notes.targets import without_suffix
from ssm_tools.notes.vault import Vault

_SENTENCE_END = re.compile(r"(?<=[.!?…])[»\")\]]*\s+(?=[\[«\"(*_]*[^\W\d_a-zа-яё]|\[\[|\d|$)")
_NOT_AN_END = re.compile(
    r"(?:\b[A-ZА-ЯЁ]|\b(?:e\.g|i\.e|et al|cf|vs|fig|eq|т\.е|т\.д|т\.п|др|см|рис|гл|напр|стр))\.$",
    re.IGNORECASE,
)
MAX_SENTENCE = 1000  # characters on either side of the link
_LINE_MARKS = re.compile(r"\n[ \t]*(?:>[ \t]?)*")
_BLANKS = re.compile(r"\s+")
_LEAD = re.compile(r"^(?:[-*+]|\d+[.)]|#{1,6})\s+|\s*\{#[^}]*\}|(?:^|\s)\^[\w-]+$")


@dataclass(frozen=True, slots=True)
class Backlink:
    """One link to a note. `sentence` is plain text; `before`, `shown`, `after` are its parts."""

    source: NoteId
    link: Link
    heading: Heading | None
    relation: str
    fragment: str
    before: str
    shown: str
    after: str

    @property
    def sentence(self) -> str:
        """The sentence as a reader sees it."""
        return f"{self.before}{self.shown}{self.after}"


def backlinks(vault: Vault, answers: Answers | None = None) -> dict[NoteId, list[Backlink]]:
    """Return, for each note that is linked to, the links of other notes in the order of paths."""
    answers = resolve_all(vault) if answers is None else answers
    found: dict[NoteId, list[Backlink]] = defaultdict(list)
    for note in vault.notes.values():
        for link, answer in zip(note.links, answers[note.id], strict=True):
            if isinstance(answer, Found) and answer.note and answer.target != note.id:
                found[answer.note].append(_backlink(note, link, answer))
    return dict(found)


def _backlink(note: Note, link: Link, answer: Found) -> Backlink:
    start, end = sentence_span(note.text, link)
    before = _shown(note.text[start : link.start])
    after = _shown(note.text[link.end : end])
    name = without_suffix(answer.target.rpartition("/")[2])
    shown = link.text or name
    section = note.section_at(link.start)
    return Backlink(note.id, link, section, link.relation, answer.fragment, before, shown, after)


def sentence_of(note: Note, link: Link) -> str:
    """The sentence around a link as a reader sees it."""
    start, end = sentence_span(note.text, link)
    shown = link.text or without_suffix(link.path.rpartition("/")[2])
    return f"{_shown(note.text[start : link.start])}{shown}{_shown(note.text[link.end : end])}"


def sentence_span(text: str, link: Link) -> tuple[int, int]:
    """Offsets of the sentence around a link, inside its paragraph, heading or cell."""
    start = max(link.context_start, link.start - MAX_SENTENCE)
    end = min(link.context_end, link.end + MAX_SENTENCE)
    first = start
    before = text[start : link.start]
    for match in _SENTENCE_END.finditer(before + "X"):
        if match.end() <= len(before) and not _abbreviated(before, match.start()):
            start = first + match.end()
    after = text[link.end : end]
    for match in _SENTENCE_END.finditer(after):
        if not _abbreviated(after, match.start()):
            end = link.end + match.start()
            break
    return start, end


def _abbreviated(text: str, position: int) -> bool:
    """Whether the full stop before the position belongs to an abbreviation."""
    return _NOT_AN_END.search(text[max(0, position - 12) : position]) is not None


def _shown(piece: str) -> str:
    """A piece of a paragraph as a reader sees it, on one line."""
    text = _LEAD.sub("", _LINE_MARKS.sub(" ", piece))
    return _BLANKS.sub(" ", quick_text(text))
