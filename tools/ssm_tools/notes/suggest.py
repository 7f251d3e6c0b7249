"""What was probably meant: names, titles, aliases and headings near to what was written.

Near means few edits, in either alphabet: also typed in the wrong keyboard layout (ьфьиф → mamba)
or transliterated (мамба → mamba).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache

from ssm_tools.notes.model import Named, Note, slug_of
from ssm_tools.notes.slug import joined

MAX_MEASURED = 20_000  # pairs of words: about a second
MAX_ALIKE = 10  # longer names looked at for one
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
_ALIKE = str.maketrans("асеорухквмнт", "aceopyxkbmht")  # letters that look the same
_ALIKE_BACK = str.maketrans("aceopyxkbmht", "асеорухквмнт")
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
    """The name as it may have been meant: in the other layout, transliterated, in its look."""
    low = joined(name)
    typed = (low, joined(low.translate(_KEYS)), joined(low.translate(_KEYS_BACK)))
    alike = (low.translate(_ALIKE), low.translate(_ALIKE_BACK))
    return tuple(dict.fromkeys((*typed, low.translate(_TRANSLITERATED), *alike)))


class Suggester:
    """Finds the nearest of many names.

    Measuring edits costs time for each name there is, so at most `MAX_MEASURED` are measured in a
    run; after those a name is still found in the other alphabet or as the start or end of one.
    """

    def __init__(self, names: Iterable[tuple[str, str]]) -> None:
        """`names` are pairs of what may be written and what to suggest for it."""
        self.by_length: dict[int, dict[str, list[str]]] = defaultdict(dict)
        self.known: dict[str, list[str]] = {}
        self.measured = 0
        for name, suggestion in names:
            low = joined(name)
            latin = low if low.isascii() else low.translate(_TRANSLITERATED)
            for form in (low,) if low == latin else (low, latin):
                suggestions = self.by_length[len(form)].setdefault(form, [])
                if suggestion not in suggestions:
                    suggestions.append(suggestion)
        self.lines = "\n".join(
            ("", *(form for same in self.by_length.values() for form in same), "")
        )

    def nearest(self, wanted: str, count: int = 3) -> list[str]:
        """Up to `count` suggestions, the nearest first."""
        if wanted not in self.known:
            found: dict[str, tuple[int, int]] = {}
            for order, form in enumerate(variants(wanted)):
                self._measure(form, order, found)
                if len(form) > 3:
                    for suggestion in self._longer(form):
                        found.setdefault(suggestion, (len(form), order))
            self.known[wanted] = sorted(found, key=lambda name: (found[name], name))
        return self.known[wanted][:count]

    def _longer(self, form: str) -> Iterator[str]:
        """Some of what to suggest for the names that begin or end with these words."""
        count = 0
        for part in (f"\n{form}-", f"-{form}\n"):
            at = self.lines.find(part)
            while at >= 0 and count < MAX_ALIKE:
                start = self.lines.rfind("\n", 0, at + 1) + 1
                name = self.lines[start : self.lines.find("\n", start)]
                yield from self.by_length[len(name)][name]
                count += 1
                at = self.lines.find(part, at + 1)

    def _measure(self, form: str, order: int, found: dict[str, tuple[int, int]]) -> None:
        limit = max(1, len(form) // 4) if len(form) > 2 else 0
        if self.measured >= MAX_MEASURED:
            limit = 0
        letters = frozenset(form)
        for length in range(len(form) - limit, len(form) + limit + 1):
            names = self.by_length.get(length, {})
            if limit == 0:
                names = {form: names[form]} if form in names else {}
            for name, suggestions in names.items():
                if len(letters.difference(name)) > limit:
                    continue
                self.measured += 1
                edits = distance(form, name, limit)
                if edits <= limit:
                    for suggestion in suggestions:
                        rank = (edits, order)
                        found[suggestion] = min(rank, found.get(suggestion, rank))


def note_names(notes: Iterable[Named]) -> Iterable[tuple[str, str]]:
    """Pairs of (name, alias or title of a note, the note's id) for a `Suggester`."""
    for note in notes:
        yield slug_of(note), note.id
        yield note.title, note.id
        for alias in note.aliases:
            yield alias, note.id


def heading_names(note: Note) -> Sequence[tuple[str, str]]:
    """Pairs of (heading's text or id, its id)."""
    pairs = [(heading.text, heading.id) for heading in note.headings]
    return [*pairs, *((heading.id, heading.id) for heading in note.headings)]
