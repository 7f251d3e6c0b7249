"""From a note's bytes to a `Note`: one pass, every fault a finding."""

from __future__ import annotations

from pathlib import Path

from ssm_tools.notes.model import Note, NoteId
from ssm_tools.notes.plain import plain_text
from ssm_tools.notes.properties import property_links
from ssm_tools.notes.reader import Reader
from ssm_tools.notes.source import decode, digest, front_matter, string_list, string_value
from ssm_tools.notes.targets import without_suffix

__all__ = ["parse_note", "plain_text"]


def parse_note(data: bytes, note_id: NoteId, language: str, path: Path) -> Note:
    """Parse one note. Faults of the file are `Note.findings`; nothing is raised for bad input."""
    text, faults = decode(data, note_id)
    matter = front_matter(text, note_id)
    title, title_faults = string_value(matter.values, "title", note_id)
    key = "aliases" if "aliases" in matter.values else "alias"
    aliases, alias_faults = string_list(matter.values, key, note_id)
    reader = Reader(note_id, text, matter.body_start)
    reader.read()
    if not title:
        title = next((h.text for h in reader.headings if h.level == 1), "")
    return Note(
        id=note_id,
        language=language,
        path=path,
        text=text,
        digest=digest(data),
        title=title or without_suffix(note_id.rpartition("/")[2]),
        front_matter=matter.values,
        aliases=aliases,
        body_start=matter.body_start,
        headings=tuple(reader.headings),
        blocks=tuple(reader.blocks),
        links=(*property_links(text, matter), *reader.records.links),
        fences=tuple(reader.fences),
        citations=tuple(reader.records.citations),
        claims=tuple(reader.records.claims),
        equations=tuple(reader.equations),
        comments=tuple(reader.comments),
        findings=(
            *faults,
            *matter.findings,
            *title_faults,
            *alias_faults,
            *reader.faults,
        ),
    )
