"""What was probably meant: names, titles, aliases and headings near to what was written.

Near means few edits, in either alphabet: also typed in the wrong keyboard layout (ьфьиф → mamba)
or transliterated (мамба → mamba).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from functools import lru_cache

from ssm_tools.notes.model import Note
from ssm_tools.notes.slug import joined

_KEYS = str.maketrans(
    "йцукенгшщзхъфывапролджэячсмитьбюё",
    "qwertyuiop[]asdfghjkl;'zxcvbnm,.`",
)
_KEYS_BACK = str.maketrans(
    "qwertyuiop[]asdfghjkl;'zxcvbnm,.`",
    "йцукенгшщзхъфывапролджэячсмитьбюе",
)
_LATIN = {
    **dict(zip("абвгдезийклмнопрстуфхцыэ", "abvgdeziyklmnoprstufhcye", strict=True)),
    **{"ж": "zh", "ч": "ch", "ш": "sh", "щ": "sch", "ю": "yu", "я": "ya", "ъ": "", "ь": ""},
}
_TRANSLITERATED = str.maketrans(_LATIN)


def distance(a: str, b: str, limit: int) -> int:
    """Edits (insert, delete, replace, swap of neighbours) from a to b; more than limit: limit+1."""
    if abs(len(a) - len(b)) > limit:
        return limit + 1
    before: list[int] = []
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        earlier, before, row = before, row, [i]
        for j, y in enumerate(b, 1):
            cost = min(before[j] + 1, row[-1] + 1, before[j - 1] + (x != y))
            if i > 1 and j > 1 and x == b[j - 2] and a[i - 2] == y:
                cost = min(cost, earlier[j - 2] + 1)
            row.append(cost)
        if min(row) > limit:
            return limit + 1
    return row[-1]


@lru_cache(maxsize=4096)
def variants(name: str) -> tuple[str, ...]:
    """The name as it may have been meant: as typed, in the other layout, transliterated."""
    low = joined(name)
    typed = (low, joined(low.translate(_KEYS)), joined(low.translate(_KEYS_BACK)))
    return tuple(dict.fromkeys((*typed, low.translate(_TRANSLITERATED))))


class Suggester:
    """Finds the nearest of many names. Names are sorted by length, so few are measured."""

    def __init__(self, names: Iterable[tuple[str, str]]) -> None:
        """`names` are pairs of what may be written and what to suggest for it."""
        self.by_length: dict[int, dict[str, list[str]]] = defaultdict(dict)
        for name, suggestion in names:
            for form in dict.fromkeys((joined(name), joined(name).translate(_TRANSLITERATED))):
                known = self.by_length[len(form)].setdefault(form, [])
                if suggestion not in known:
                    known.append(suggestion)

    def nearest(self, wanted: str, count: int = 3) -> list[str]:
        """Up to `count` suggestions, the nearest first."""
        found: dict[str, tuple[int, int]] = {}
        for order, form in enumerate(variants(wanted)):
            limit = max(1, len(form) // 4) if len(form) > 2 else 0
            letters = frozenset(form)
            for length in range(len(form) - limit, len(form) + limit + 1):
                for name, suggestions in self.by_length.get(length, {}).items():
                    if len(letters.difference(name)) > limit:
                        continue
                    edits = distance(form, name, limit)
                    if edits <= limit:
                        for suggestion in suggestions:
                            rank = (edits, order)
                            found[suggestion] = min(rank, found.get(suggestion, rank))
            if len(form) > 3:
                self._parts(form, order, found)
        ranked = sorted(found, key=lambda name: (found[name], name))
        return ranked[:count]

    def _parts(self, form: str, order: int, found: dict[str, tuple[int, int]]) -> None:
        """Names that begin with what was written, or the other way about."""
        for length, names in self.by_length.items():
            if 3 < length <= 3 * len(form) and length != len(form):
                for name, suggestions in names.items():
                    if name.startswith(form + "-") or name.endswith("-" + form):
                        for suggestion in suggestions:
                            found.setdefault(suggestion, (len(form), order))


def note_names(notes: Iterable[Note]) -> Iterable[tuple[str, str]]:
    """Pairs of (name, alias or title of a note, the note's id) for a `Suggester`."""
    for note in notes:
        yield note.slug, note.id
        yield note.title, note.id
        for alias in note.aliases:
            yield alias, note.id


def heading_names(note: Note) -> Sequence[tuple[str, str]]:
    """Pairs of (heading's text or id, its id)."""
    pairs = [(heading.text, heading.id) for heading in note.headings]
    return [*pairs, *((heading.id, heading.id) for heading in note.headings)]
