"""Where in a note `#heading`, `#h1#h2` and `#^block` point."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from ssm_tools.notes.model import Block, Heading, Note
from ssm_tools.notes.slug import SPELLINGS, as_written, slugify


@dataclass(frozen=True, slots=True)
class Place:
    """The heading or block, its id in the page, and how it was found.

    `spelling` is "exact" where the author wrote the id or the heading as it stands; `twins` counts
    the other headings that answer as well (the first one is meant, as in Obsidian). `index` is the
    place in the note's headings or blocks; offsets in `target` are those of the parse it is from.
    """

    id: str
    index: int
    target: Heading | Block = field(compare=False, repr=False)
    spelling: str = "exact"
    twins: int = 0


def find_place(note: Note, fragment: Sequence[str]) -> Place | None:
    """Return the place that a fragment means in a note, None where there is none."""
    known: dict[tuple[str, ...], Place | None] = note.__dict__.setdefault("places", {})
    asked = tuple(fragment)
    if asked not in known:
        known[asked] = _find(note, asked)
    return known[asked]


def _find(note: Note, fragment: tuple[str, ...]) -> Place | None:
    last = fragment[-1]
    if last.startswith("^"):
        return _block(note, last[1:])
    for step, (spelling, key) in enumerate(_LADDER):
        want = key(last)
        above = fragment[:-1]
        answering = _headings_by(note, step).get(want, ()) if want else ()
        found = [index for index in answering if _under(note, note.headings[index], above, key)]
        if found:
            by_id = [index for index in found if key(note.headings[index].id) == want]
            index = by_id[0] if by_id else found[0]
            best = note.headings[index]
            return Place(best.id, index, best, spelling, 0 if by_id else len(found) - 1)
    return None


def _headings_by(note: Note, step: int) -> dict[str, list[int]]:
    """Which headings answer to a name that is spelt as in a step of the ladder."""
    tables: dict[int, dict[str, list[int]]] = note.__dict__.setdefault("headings_by", {})
    if step not in tables:
        table: dict[str, list[int]] = {}
        for index, heading in enumerate(note.headings):
            for name in dict.fromkeys(_names(note, heading, _LADDER[step][1])):
                table.setdefault(name, []).append(index)
        tables[step] = table
    return tables[step]


def _block(note: Note, wanted: str) -> Place | None:
    tables: dict[str, dict[str, int]] = note.__dict__.setdefault("blocks_by", {})
    for spelling, key in (("exact", as_written), ("case", str.casefold)):
        if spelling not in tables:
            table = tables[spelling] = {}
            for index, block in enumerate(note.blocks):
                table.setdefault(key(block.id), index)
        found = tables[spelling].get(key(wanted))
        if found is not None:
            block = note.blocks[found]
            return Place("^" + block.id, found, block, spelling)
    return None


def obsidian_text(text: str) -> str:
    """Return a heading as Obsidian writes it into a link: no `#^|[]:\\`, single spaces."""
    return " ".join(text.translate(_SPACED).split())


def bare_words(text: str) -> str:
    """Return a heading as Obsidian compares it: punctuation counts as a space."""
    return " ".join(text.translate(_STRIPPED).split())


_SPACED = {ord(c): " " for c in "#^|[]:\\"}
_STRIPPED = {ord(c): " " for c in '!"#$%&()*+,.:;<=>?@^`{|}~/[]\\'}
_LADDER: tuple[tuple[str, Callable[[str], str]], ...] = (
    ("exact", as_written),
    ("exact", obsidian_text),
    ("exact", bare_words),
    *((name, lambda text, key=key: key(bare_words(text))) for name, key in SPELLINGS),
    ("slug", slugify),
)


def answers_to(note: Note, heading: Heading, wanted: str) -> bool:
    """Whether a part of a fragment can mean the heading, in any spelling."""
    return any(_answers(note, heading, wanted, key) for _, key in _LADDER)


def _answers(note: Note, heading: Heading, wanted: str, key: Callable[[str], str]) -> bool:
    want = key(wanted)
    return want != "" and want in _names(note, heading, key)


def _names(note: Note, heading: Heading, key: Callable[[str], str]) -> Iterator[str]:
    """What a heading can be called: its text, its id, its source with the marks of emphasis."""
    yield key(heading.text)
    yield key(heading.id)
    if heading.end - heading.start != len(heading.text):
        yield key(note.text[heading.start : heading.end])


def _under(note: Note, heading: Heading, above: Sequence[str], key: Callable[[str], str]) -> bool:
    """Whether the headings around it include those asked for, in their order."""
    wanted = list(above)
    parent = heading.parent
    while wanted and parent >= 0:
        if _answers(note, note.headings[parent], wanted[-1], key):
            wanted.pop()
        parent = note.headings[parent].parent
    return not wanted
