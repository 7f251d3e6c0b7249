"""Which names of a graph are shown at which zoom: the important first, none over another."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

SIZE, LETTER, LINE = 12.5, 7.4, 15.0  # a name on the screen, in pixels: its font, letter and line
LONGEST = 34  # letters of a name that the drawing shows
ZOOMS = (8.0, 5.6, 4.0, 2.8, 2.0, 1.4, 1.0, 0.7, 0.5, 0.35, 0.25, 0.18, 0.12)
FAR = 2.0  # from further away circles touch each other, and names may lie over them
CELL = 160.0  # pixels: the side of a cell of the grid in which boxes are looked up


@dataclass(frozen=True, slots=True)
class Label:
    """A node's name: where the node lies and its radius, in units of the drawing."""

    x: float
    y: float
    radius: float
    text: str


@dataclass(frozen=True, slots=True)
class _Box:
    left: float
    top: float
    right: float
    bottom: float
    owner: int

    def meets(self, other: _Box) -> bool:
        return (
            self.left < other.right
            and other.left < self.right
            and self.top < other.bottom
            and other.top < self.bottom
        )


def clip(text: str) -> str:
    """Return a name as the drawing shows it."""
    return text if len(text) <= LONGEST else text[: LONGEST - 1].rstrip() + "…"


def grown(radius: float, zoom: float) -> float:
    """Return a radius at a zoom: circles grow a little when the drawing is seen from far."""
    return radius * max(1.0, zoom / 1.6)


@dataclass(slots=True)
class Shown:
    """Where a name is shown: at zooms up to `zoom` (0: never), under its node or above it."""

    zoom: float = 0.0
    above: bool = False


def levels(labels: Sequence[Label]) -> list[Shown]:
    """Return for each label, the most important first, the widest zoom that shows it.

    A zoom is how many units of the drawing one pixel of the screen holds. Names keep their size on
    the screen, so that the closer the zoom, the more of them fit.
    """
    found = [Shown() for _ in labels]
    for zoom in ZOOMS:
        grid: dict[tuple[int, int], list[_Box]] = defaultdict(list)
        for number, label in enumerate(labels):
            if found[number].zoom:
                box = _name(label, zoom, number, above=found[number].above)
                if any(box.meets(other) for other in _near(grid, zoom, box)):
                    found[number] = Shown()  # nodes drew apart, and names between them met
                else:
                    _put(grid, zoom, box)
        for number, label in enumerate(labels) if zoom <= FAR else ():
            _put(grid, zoom, _circle(label, zoom, number))
        for number, label in enumerate(labels):
            for above in (False, True) if not found[number].zoom else ():
                box = _name(label, zoom, number, above=above)
                if not any(box.meets(other) for other in _near(grid, zoom, box)):
                    found[number] = Shown(zoom, above)
                    _put(grid, zoom, box)
                    break
    return found


def _circle(label: Label, zoom: float, owner: int) -> _Box:
    side = 0.7 * grown(label.radius, zoom)  # a circle leaves the corners of its square free
    return _Box(label.x - side, label.y - side, label.x + side, label.y + side, owner)


def _name(label: Label, zoom: float, owner: int, *, above: bool) -> _Box:
    half = max(10.0, len(clip(label.text)) * LETTER / 2) * zoom
    radius, line = grown(label.radius, zoom), LINE * zoom
    top = label.y - radius - line if above else label.y + radius
    return _Box(label.x - half, top, label.x + half, top + line, owner)


def _cells(zoom: float, box: _Box) -> Iterator[tuple[int, int]]:
    side = CELL * zoom
    for column in range(int(box.left // side), int(box.right // side) + 1):
        for row in range(int(box.top // side), int(box.bottom // side) + 1):
            yield column, row


def _put(grid: dict[tuple[int, int], list[_Box]], zoom: float, box: _Box) -> None:
    for cell in _cells(zoom, box):
        grid[cell].append(box)


def _near(grid: dict[tuple[int, int], list[_Box]], zoom: float, box: _Box) -> Iterator[_Box]:
    for cell in _cells(zoom, box):
        yield from (other for other in grid.get(cell, ()) if other.owner != box.owner)
