"""Mark a translation as up to date: `translation: {of, synced: {section: hash}}`."""

from __future__ import annotations

import re

from ssm_tools.notes.model import Note
from ssm_tools.notes.parity import section_hashes

_LINE = re.compile(r"^translation:.*(?:\n[ \t]+.*)*\n", re.MULTILINE)


def synced_text(note: Note, source: Note) -> str:
    """Return the note's text whose front matter says which state of the source it translates."""
    shared = {heading.id for heading in note.headings}
    pairs = (f"{k}: {v!r}" for k, v in section_hashes(source).items() if k in shared)
    line = f"translation: {{of: {source.language}, synced: {{{', '.join(pairs)}}}}}\n"
    head, body = note.text[: note.body_start], note.text[note.body_start :]
    if not head.strip("\ufeff"):
        return f"{head}---\n{line}---\n{body}"
    head = _LINE.sub("", head)
    close = head.rstrip().rfind("\n") + 1
    return head[:close] + line + head[close:] + body
