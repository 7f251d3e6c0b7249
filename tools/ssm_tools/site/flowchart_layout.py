"""Places for the boxes of a flowchart and ways for its edges, none of them behind a box."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from itertools import pairwise

Point = tuple[float, float]

LETTER, LINE, PADDING = 7.4, 15.0, 22.0
BROAD = 8.5  # a capital, "m", "w" or a Cyrillic letter in the widest of the usual fonts
GAP = 34.0  # between layers
SMALL = 0.9  # the letters of words at edges and groups, by those of boxes
ASIDE = 20.0  # between boxes of a layer
PASSAGE = 12.0  # the room of an edge that passes a layer
BAND = 44.0  # between groups
WIDEST = 700.0  # a chart from left to right that is wider runs from top to bottom
SWEEPS = 12
STILL = 0.5  # pixels; places that move less stand


@dataclass(slots=True)
class Box:
    """A box with its lines of text; `x`, `y` are its middle. A `bare` one is words of an edge."""

    lines: list[str]
    round: bool = False
    bare: bool = False
    group: int = 0
    layer: int = 0
    x: float = 0.0
    y: float = 0.0

    @property
    def width(self) -> float:
        """Pixels from side to side."""
        words = max(map(written, self.lines))
        return SMALL * words + 4.0 if self.bare else max(44.0, words + PADDING)

    @property
    def height(self) -> float:
        """Pixels from top to bottom."""
        return (0.0 if self.bare else 23.0) + LINE * len(self.lines)


@dataclass(slots=True)
class Chart:
    """Boxes by name and edges `(from, to, arrow, words)`; `ways` has the points of each edge.

    Boxes of a layer lie `aside` from each other, an edge that passes them takes `passage` more;
    `stacked` groups follow each other along the chart, others lie side by side.
    """

    down: bool = False
    aside: float = ASIDE
    passage: float = PASSAGE
    stacked: bool = False
    boxes: dict[str, Box] = field(default_factory=dict)
    edges: list[tuple[str, str, str, str]] = field(default_factory=list)
    groups: list[str] = field(default_factory=lambda: [""])
    ways: list[list[Point]] = field(default_factory=list)


@dataclass(slots=True)
class _Spot:
    """A box, or the place where an edge passes a layer; `at` is its middle across the layers."""

    layer: int
    size: float
    at: float = 0.0
    before: list[_Spot] = field(default_factory=list)
    after: list[_Spot] = field(default_factory=list)


def arrange(chart: Chart) -> None:
    """Set the places of the boxes and the ways of the edges; a long chart is turned downwards."""
    layered(chart)
    placed(chart)
    boxes = chart.boxes.values()
    if not chart.down and max(b.x + b.width / 2 for b in boxes) > WIDEST:
        chart.down = True
        placed(chart)


def layered(chart: Chart) -> None:
    """Give each box the length of the longest way to it; edges that close a circle are left out."""
    after: dict[str, list[str]] = defaultdict(list)
    for a, b, _, _ in chart.edges:
        if not _reaches(after, b, a):
            after[a].append(b)
    for _ in chart.boxes:
        moved = False
        for a, others in after.items():
            for b in others:
                if chart.boxes[b].layer <= chart.boxes[a].layer:
                    chart.boxes[b].layer = chart.boxes[a].layer + 1
                    moved = True
        if not moved:
            break
    if chart.stacked:
        _stack(chart)


def _stack(chart: Chart) -> None:
    """Give the boxes of each group layers below those of the group before it."""
    end = 0
    for group in range(len(chart.groups)):
        inside = [box for box in chart.boxes.values() if box.group == group]
        lower = max(0, end - min((box.layer for box in inside), default=end))
        for box in inside:
            box.layer += lower
        end = max([end, *(box.layer + 1 for box in inside)])


def _reaches(after: dict[str, list[str]], start: str, end: str) -> bool:
    seen, stack = set(), [start]
    while stack:
        name = stack.pop()
        if name == end:
            return True
        if name not in seen:
            seen.add(name)
            stack += after.get(name, [])
    return False


def placed(chart: Chart) -> None:
    """Set the places of the boxes and the ways of the edges from the layers."""
    spots = {
        name: _Spot(box.layer, box.width if chart.down else box.height)
        for name, box in chart.boxes.items()
    }
    chains = [_chain(chart, spots, a, b) for a, b, _, _ in chart.edges]
    start = 0.0
    for group in range(len(chart.groups)):
        inside = {id(spots[name]) for name, box in chart.boxes.items() if box.group == group}
        rows = _rows(spots, chains, inside)
        if rows:
            _settle(rows, chart.aside)
            low = min(spot.at - spot.size / 2 for row in rows for spot in row)
            if chart.stacked:
                high = max(spot.at + spot.size / 2 for row in rows for spot in row)
                low, start = (low + high) / 2, 0.0
            for row in rows:
                for spot in row:
                    spot.at += start - low
            start = max(s.at + s.size / 2 for row in rows for s in row) + BAND
    spans = _spans(chart)
    for name, box in chart.boxes.items():
        first, last = spans[box.layer]
        along, aside = (first + last) / 2, spots[name].at
        box.x, box.y = (aside, along) if chart.down else (along, aside)
    _route(chart, spots, chains, spans)


def _chain(chart: Chart, spots: dict[str, _Spot], a: str, b: str) -> list[_Spot]:
    """The spots of an edge from its upper layer to its lower one, tied to each other."""
    if spots[a].layer > spots[b].layer:
        a, b = b, a
    passed = range(spots[a].layer + 1, spots[b].layer)
    if chart.boxes[a].group != chart.boxes[b].group:
        passed = range(0)
    chain = [spots[a], *(_Spot(layer, chart.passage) for layer in passed), spots[b]]
    if chart.boxes[a].group == chart.boxes[b].group and a != b:
        for one, two in pairwise(chain):
            one.after.append(two)
            two.before.append(one)
    return chain


def _rows(
    spots: dict[str, _Spot], chains: list[list[_Spot]], inside: set[int]
) -> list[list[_Spot]]:
    """The spots of a group by layer: its boxes, and the passages of the edges between them."""
    rows: dict[int, list[_Spot]] = defaultdict(list)
    for spot in spots.values():
        if id(spot) in inside:
            rows[spot.layer].append(spot)
    for chain in chains:
        if id(chain[0]) in inside:
            for spot in chain[1:-1]:
                rows[spot.layer].append(spot)
    return [rows[layer] for layer in sorted(rows)]


def _settle(rows: list[list[_Spot]], aside: float) -> None:
    """Order each layer by its neighbours and bring every spot as near to them as it can be."""
    for row in rows:
        for place, spot in enumerate(row):
            spot.at = float(place)
    for sweep in range(SWEEPS):
        for row in rows if sweep % 2 == 0 else reversed(rows):
            wanted = {id(s): _mean(s.before if sweep % 2 == 0 else s.after, s.at) for s in row}
            row.sort(key=lambda spot: wanted[id(spot)])
            for place, spot in enumerate(row):
                spot.at = place - (len(row) - 1) / 2
    for row in rows:
        _spread(row, [spot.at * (spot.size + aside) for spot in row], aside)
    before: list[float] = []
    for sweep in range(4 * SWEEPS):
        if sweep % 2 == 0:
            now = [spot.at for row in rows for spot in row]
            if before and max(abs(a - b) for a, b in zip(before, now, strict=True)) < STILL:
                break
            before = now
        for row in rows if sweep % 2 == 0 else reversed(rows):
            _spread(row, [_mean(spot.before + spot.after, spot.at) for spot in row], aside)


def _mean(others: list[_Spot], otherwise: float) -> float:
    return sum(other.at for other in others) / len(others) if others else otherwise


def _spread(row: list[_Spot], wanted: list[float], aside: float) -> None:
    """Put the spots as near as can be to where they are wanted, in order and not over each other.

    The least squares of the distances: neighbours that push each other move as one block.
    """
    offset, offsets = 0.0, []
    for one, two in zip([None, *row], row, strict=False):
        offset += (one.size / 2 + two.size / 2 + aside) if one else 0.0
        offsets.append(offset)
    blocks: list[tuple[float, int]] = []
    for value, room in zip(wanted, offsets, strict=True):
        total, count = value - room, 1
        while blocks and blocks[-1][0] / blocks[-1][1] > total / count:
            before, several = blocks.pop()
            total, count = total + before, count + several
        blocks.append((total, count))
    levels = [total / count for total, count in blocks for _ in range(count)]
    for spot, level, room in zip(row, levels, offsets, strict=True):
        spot.at = level + room


def written(line: str) -> float:
    """About the pixels that a line takes; what a font adds is left of `PADDING`."""
    broad = sum(letter > "\u0400" or letter.isupper() or letter in "mw" for letter in line)
    return LETTER * len(line) + (BROAD - LETTER) * broad


def _spans(chart: Chart) -> dict[int, tuple[float, float]]:
    """Where each layer begins and ends along the chart."""
    depth: dict[int, float] = defaultdict(float)
    words: dict[int, int] = defaultdict(int)
    for box in chart.boxes.values():
        depth[box.layer] = max(depth[box.layer], box.height if chart.down else box.width)
    for a, b, _, said in chart.edges:
        upper = min(chart.boxes[a].layer, chart.boxes[b].layer)
        words[upper] = max(words[upper], len(said))
    firsts = {
        min((box.layer for box in chart.boxes.values() if box.group == group), default=0)
        for group in range(len(chart.groups))
    }
    spans, start = {}, 0.0
    for layer in sorted(depth):
        if chart.stacked and layer and layer in firsts:
            start += BAND - GAP / 2
        spans[layer] = start, start + depth[layer]
        start += depth[layer] + GAP
        if words[layer]:
            start += 10.0 if chart.down else words[layer] * LETTER - 10.0
    return spans


def _route(
    chart: Chart,
    spots: dict[str, _Spot],
    chains: list[list[_Spot]],
    spans: dict[int, tuple[float, float]],
) -> None:
    """Lead each edge through its passages, from a port of its own to a port of its own."""
    leaving, entering = _ports(chains, lower=False), _ports(chains, lower=True)
    names = {id(spot): name for name, spot in spots.items()}
    chart.ways = []
    for number, (a, b, _, _) in enumerate(chart.edges):
        chain = chains[number]
        if a == b:
            chart.ways.append(_loop(chart.boxes[a]))
            continue
        way = [(_side(chart, names[id(chain[0])], lower=True), leaving[number])]
        for spot in chain[1:-1]:
            first, last = spans[spot.layer]
            way += [(first, spot.at), (last, spot.at)]
        way.append((_side(chart, names[id(chain[-1])], lower=False), entering[number]))
        if spots[a] is not chain[0]:
            way.reverse()
        chart.ways.append([(y, x) if chart.down else (x, y) for x, y in way])


def _side(chart: Chart, name: str, *, lower: bool) -> float:
    box = chart.boxes[name]
    middle, half = (box.y, box.height / 2) if chart.down else (box.x, box.width / 2)
    return middle + half if lower else middle - half


def _ports(chains: list[list[_Spot]], *, lower: bool) -> list[float]:
    """Where each edge leaves its upper box, or enters its lower one: side by side, uncrossed."""
    found = [0.0] * len(chains)
    edges: dict[int, list[int]] = defaultdict(list)
    for number, chain in enumerate(chains):
        edges[id(chain[-1 if lower else 0])].append(number)
    for numbers in edges.values():
        numbers.sort(key=lambda n: (chains[n][-2 if lower else 1].at, n))
        spot = chains[numbers[0]][-1 if lower else 0]
        step = min(16.0, (spot.size - 14) / max(len(numbers) - 1, 1))
        for place, number in enumerate(numbers):
            found[number] = spot.at + step * (place - (len(numbers) - 1) / 2)
    return found


def _loop(box: Box) -> list[Point]:
    """The way of an edge from a box to itself."""
    right, y = box.x + box.width / 2, box.y
    return [(right, y - 7), (right + 18, y - 7), (right + 18, y + 7), (right, y + 7)]
