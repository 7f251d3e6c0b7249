"""Do two languages tell the same: notes, sections, links, and whether a translation fell behind."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping

from ssm_tools.findings import Finding
from ssm_tools.notes.codes import CODES
from ssm_tools.notes.graph import Answers
from ssm_tools.notes.model import Heading, Link, Note, NoteId
from ssm_tools.notes.resolution import Ambiguous, Found, Missing
from ssm_tools.notes.vault import Vault


def parity_findings(vault: Vault, note: Note, answers: Answers) -> Iterator[Finding]:
    """Findings of one note against its translations."""
    if vault.languages and not note.language:
        return  # a note of no language
    others = vault.translations(note)
    for language in vault.languages:
        if language != note.language and language not in others:
            message = f"no translation {language}/{note.key}"
            yield _finding(note, 1, 1, "T001", message, "write it in both languages")
    mine = edges(vault, note, answers) if others else {}
    for other in others.values():
        yield from _sections(note, other)
        yield from _edges(vault, note, other, mine, answers)
    yield from _behind(note, others)


def same_outline(note: Note, other: Note) -> bool:
    """Whether two notes have headings of the same levels in the same order."""
    return [h.level for h in note.headings] == [h.level for h in other.headings]


def _outline(note: Note, other: Note) -> Iterator[Finding]:
    """The first heading at which two notes without ids part, said in the one that has it."""
    theirs = [heading.level for heading in other.headings]
    for index, heading in enumerate(note.headings):
        if index >= len(theirs) or theirs[index] != heading.level:
            if len(note.headings) >= len(theirs):
                message = f"{other.id} has no section in the place of {heading.text!r}"
                yield _finding(note, heading.line, heading.column, "T002", message)
            return


def _sections(note: Note, other: Note) -> Iterator[Finding]:
    """Sections with an id of their own that the other note lacks; without ids, by the outline."""
    mine = [heading for heading in note.headings if heading.level > 1]
    if not any(h.explicit for h in (*note.headings, *other.headings)):
        yield from _outline(note, other)
        return
    if not mine:
        return
    if not any(heading.explicit for heading in mine):
        first = mine[0]
        message = f"no heading has an {{#id}} to share with {other.id}"
        yield _finding(note, first.line, first.column, "H003", message)
        return
    theirs = {heading.id for heading in other.headings}
    shares = any(heading.explicit for heading in other.headings)
    for heading in mine:
        if heading.id in theirs:
            continue
        if not heading.explicit:
            message = f"heading {heading.text!r} has no {{#id}} to share with {other.id}"
            yield _finding(note, heading.line, heading.column, "H003", message)
        elif shares:
            message = f"{other.id} has no section #{heading.id}"
            yield _finding(note, heading.line, heading.column, "T002", message)


def _edges(
    vault: Vault,
    note: Note,
    other: Note,
    mine: Mapping[str, tuple[Link, Note]],
    answers: Answers,
) -> Iterator[Finding]:
    theirs = set(_meant(vault, other, answers))
    for key, (link, target) in mine.items():
        twin = vault.translations(target).get(other.language)
        if twin is None and target.language == other.language:
            twin = target
        if key not in theirs and twin is not None:
            message = f"{other.id} does not link to {twin.key}"
            yield _finding(note, link.line, link.column, "T003", message)


def edges(vault: Vault, note: Note, answers: Answers) -> dict[str, tuple[Link, Note]]:
    """What a note links to, by what its translations share, with the first such link."""
    found: dict[str, tuple[Link, Note]] = {}
    own = vault.shared_key(note)
    for link, answer in zip(note.links, answers[note.id], strict=True):
        if isinstance(answer, Found) and answer.target in vault.notes:
            target = vault.notes[NoteId(answer.target)]
            key = vault.shared_key(target)
            if key != own:
                found.setdefault(key, (link, target))
    return found


def _meant(vault: Vault, note: Note, answers: Answers) -> Iterator[str]:
    """Notes that links name, those included that miss the heading or have several answers."""
    for answer in answers[note.id]:
        targets = answer.targets if isinstance(answer, Ambiguous) else ()
        if isinstance(answer, (Found, Missing)):
            targets = (answer.target,)
        for target in targets:
            if (known := vault.notes.get(NoteId(target))) is not None:
                yield vault.shared_key(known)


def section_hashes(note: Note) -> dict[str, str]:
    """A short hash of each section's own text, without its subsections and without blanks."""
    hashes = {}
    for index, heading in enumerate(note.headings):
        following = note.headings[index + 1 :]
        end = min([heading.section_end, *(h.start for h in following[:1])])
        hashes[heading.id] = _hash(note, heading, end)
    return hashes


def _hash(note: Note, heading: Heading, end: int) -> str:
    words = " ".join(note.text[heading.end : end].rstrip("# \n").split())
    return hashlib.blake2b(words.encode(), digest_size=3).hexdigest()


def _behind(note: Note, others: Mapping[str, Note]) -> Iterator[Finding]:
    """Sections whose source changed since `translation: {of, synced}` was written."""
    translation = note.front_matter.get("translation")
    if not isinstance(translation, dict):
        return
    source = others.get(str(translation.get("of")))
    synced = translation.get("synced")
    if source is None or not isinstance(synced, dict):
        return
    now = section_hashes(source)
    places = {heading.id: heading for heading in note.headings}
    for section, known in synced.items():
        place = places.get(str(section))
        if str(section) in now and now[str(section)] != str(known):
            line, column = (place.line, place.column) if place else (1, 1)
            message = f"section #{section} of {source.id} changed after this was translated"
            hint = "bring it up to date, then: ssm-notes sync"
            yield _finding(note, line, column, "T004", message, hint)


def _finding(
    note: Note, line: int, column: int, code: str, message: str, hint: str = ""
) -> Finding:
    return Finding(note.id, line, column, code, message, hint, CODES[code].severity)
