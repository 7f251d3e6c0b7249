"""What an editor asks of a vault at a place in a note: completions, definition, hover, references.

Plain functions of a `Session`; the language server only translates them into its protocol.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ssm_tools.findings import Fix
from ssm_tools.notes.beside import claims, concepts, papers, snippets, thing_at
from ssm_tools.notes.fragments import obsidian_text
from ssm_tools.notes.link_findings import alternatives
from ssm_tools.notes.model import Block, Heading, Link, Note, NoteId
from ssm_tools.notes.plain import quick_text
from ssm_tools.notes.resolution import Found, resolve_path
from ssm_tools.notes.session import Session
from ssm_tools.notes.spelling import spelt_as
from ssm_tools.notes.targets import without_suffix
from ssm_tools.notes.transclusion import region

_FENCE = re.compile(r"\s*(?:`{3,}|~{3,})snippet\s+(\S*)$")
_CONCEPT = re.compile(r"concept:\s*(\S*)$")
EXCERPT = 600


@dataclass(frozen=True, slots=True)
class Choice:
    """One completion: replace `start:end` by `text`."""

    label: str
    text: str
    detail: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Spot:
    """A place in a file: line and column from 1."""

    path: Path
    line: int = 1
    column: int = 1


def link_at(note: Note, offset: int) -> tuple[int, Link] | None:
    """The innermost link around an offset, with its place in `note.links`."""
    around = [(i, x) for i, x in enumerate(note.links) if x.start <= offset <= x.end]
    return min(around, key=lambda pair: pair[1].end - pair[1].start) if around else None


def heading_at(note: Note, offset: int) -> Heading | None:
    """The heading on whose line an offset lies."""
    line, _ = note.place(offset)
    return next((heading for heading in note.headings if heading.line == line), None)


def block_at(note: Note, offset: int) -> Block | None:
    """The block whose mark, `^id`, lies around an offset."""
    return next((b for b in note.blocks if b.mark_start <= offset <= b.mark_end), None)


def completions(session: Session, note: Note, offset: int) -> list[Choice]:
    """What may stand at an offset: notes, headings, blocks, papers, claims, concepts, snippets."""
    line, column = note.place(offset)
    before = note.line_text(line)[: column - 1]
    if match := _FENCE.match(before):
        return _choices(snippets(session.root), offset - len(match.group(1)), offset, "snippet")
    if offset < note.body_start and (match := _CONCEPT.match(before)):
        names = [path.stem for path in concepts(session.root)]
        return _choices(names, offset - len(match.group(1)), offset, "concept")
    opened = before.rfind("[[")
    if opened < 0 or "]]" in before[opened:] or "|" in before[opened:]:
        return []
    inner = before[opened + 2 :]
    start = offset - len(inner)
    if inner.startswith("@"):
        return _choices(papers(session.root), start + 1, offset, "paper")
    if inner.startswith("claim:"):
        return _choices(claims(session.root, note), start + 6, offset, "claim")
    inner = inner.rpartition("::")[2]
    start = offset - len(inner)
    if "#" in inner:
        return _fragments(session, note, inner, offset)
    return [*_names(session, note, start, offset)]


def _choices(names: list[str], start: int, end: int, detail: str) -> list[Choice]:
    return [Choice(name, name, detail, start, end) for name in names]


def _names(session: Session, note: Note, start: int, end: int) -> Iterator[Choice]:
    for other in session.vault.notes.values():
        if other.language == note.language:
            text = spelt_as("", without_suffix(other.id), session.vault, note)
            yield Choice(text, text, other.title, start, end)
            for alias in other.aliases:
                yield Choice(alias, f"{text}|{alias}", other.title, start, end)


def _fragments(session: Session, note: Note, inner: str, offset: int) -> list[Choice]:
    path, _, written = inner.partition("#")
    answer = resolve_path(session.vault, note, path) if path else None
    target = note
    if path:
        if not isinstance(answer, Found) or answer.target not in session.vault.notes:
            return []
        target = session.vault.notes[NoteId(answer.target)]
    start = offset - len(written.rpartition("#")[2])
    if written.startswith("^"):
        return _choices(["^" + block.id for block in target.blocks], start, offset, "block")
    return [
        Choice(h.text, h.id if h.explicit else obsidian_text(h.text), f"h{h.level}", start, offset)
        for h in target.headings
    ]


def definition(session: Session, note: Note, offset: int) -> Spot | None:
    """Where what stands at an offset is defined: a note, section, block, paper, claim, snippet."""
    if found := link_at(note, offset):
        answer = session.answers[note.id][found[0]]
        if not isinstance(answer, Found):
            return None
        part = region(session.vault, answer)
        if part is None:
            return Spot(session.root / answer.target)
        target = session.vault.notes[part.note]
        line, _ = target.place(part.start) if answer.place else (1, 1)
        return Spot(target.path, line)
    thing = thing_at(session.root, note, offset)
    return Spot(thing.path, thing.line) if thing else None


def hover(session: Session, note: Note, offset: int) -> str | None:
    """The title and the beginning of what stands at an offset, as Markdown."""
    found = link_at(note, offset)
    if found is None:
        thing = thing_at(session.root, note, offset)
        return f"**{thing.name}**\n\n{thing.excerpt}" if thing else None
    answer = session.answers[note.id][found[0]]
    if not isinstance(answer, Found):
        return None
    part = region(session.vault, answer)
    if part is None:
        return f"`{answer.target}`"
    target = session.vault.notes[part.note]
    text = target.text[part.start : min(part.end, part.start + 4 * EXCERPT)].strip()
    paragraphs = [p for p in text.split("\n\n") if not p.lstrip().startswith(("#", "```", "!!!"))]
    excerpt = quick_text(paragraphs[0]).strip()[:EXCERPT] if paragraphs else ""
    return f"**{target.title}** — `{target.id}`\n\n{excerpt}"


def references(session: Session, note: Note, offset: int) -> list[tuple[Note, Link]]:
    """Links to what stands at an offset: a link's target, a heading; else to the note itself."""
    target: str = note.id
    fragment = ""
    if found := link_at(note, offset):
        answer = session.answers[note.id][found[0]]
        if not isinstance(answer, Found):
            return []
        target, fragment = answer.target, answer.fragment
    elif block := block_at(note, offset):
        fragment = "^" + block.id
    elif heading := heading_at(note, offset):
        fragment = heading.id if heading.level > 1 else ""
    return [
        (source, link)
        for source in session.vault.notes.values()
        for link, answer in zip(source.links, session.answers[source.id], strict=True)
        if isinstance(answer, Found)
        and answer.target == target
        and (not fragment or answer.fragment == fragment)
    ]


def renamed(session: Session, note: Note, offset: int) -> str:
    """What a rename at an offset renames, as `plan_rename` takes it: a section, block or note."""
    if found := link_at(note, offset):
        answer = session.answers[note.id][found[0]]
        if isinstance(answer, Found) and answer.note:
            return answer.target + (f"#{answer.fragment}" if answer.fragment else "")
    if block := block_at(note, offset):
        return f"{note.id}#^{block.id}"
    if heading := heading_at(note, offset):
        return f"{note.id}#{heading.text}"
    return note.id


def quick_fixes(session: Session, note: Note, start: int, end: int) -> list[tuple[str, Fix]]:
    """Repairs in a range: what findings carry, and each name that was probably meant."""
    fixes = []
    for finding in session.note_findings(note.id):
        at = note.line_starts[finding.line - 1] + finding.column - 1
        if finding.path == note.id and finding.fix is not None and start <= at + 80 and at <= end:
            fixes.append((f"{finding.code}: write {finding.fix.text}", finding.fix))
    for link, answer in zip(note.links, session.answers[note.id], strict=True):
        if link.start <= end and start <= link.end:
            for fix in alternatives(session.checker, note, link, answer):
                fixes.append((f"Write {fix.text}", fix))
    return fixes
