"""Where in a note `#heading`, `#h1#h2` and `#^block` point."""

from __future__ import annotations

from collections.abc import Callable, Sequence
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
    last = fragment[-1]
    if last.startswith("^"):
        return _block(note, last[1:])
    for spelling, key in _LADDER:
        found = [
            (index, heading)
            for index, heading in enumerate(note.headings)
            if _answers(note, heading, last, key) and _under(note, heading, fragment[:-1], key)
        ]
        if found:
            by_id = [one for one in found if key(one[1].id) == key(last)]
            index, best = by_id[0] if by_id else found[0]
            twins = 0 if by_id else len(found) - 1
            return Place(best.id, index, best, spelling, twins)
    return None


def _block(note: Note, wanted: str) -> Place | None:
    for spelling, key in (("exact", as_written), ("case", str.casefold)):
        for index, block in enumerate(note.blocks):
            if key(block.id) == key(wanted):
                return Place("^" + block.id, index, block, spelling)
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
    if want in (key(heading.text), heading.id if key is as_written else key(heading.id)):
        return want != ""
    source = note.text[heading.start : heading.end]  # with its marks of emphasis, code and links
    return len(source) != len(heading.text) and want != "" and want == key(source)


def _under(note: Note, heading: Heading, above: Sequence[str], key: Callable[[str], str]) -> bool:
    """Whether the headings around it include those asked for, in their order."""
    wanted = list(above)
    parent = heading.parent
    while wanted and parent >= 0:
        if _answers(note, note.headings[parent], wanted[-1], key):
            wanted.pop()
        parent = note.headings[parent].parent
    return not wanted
