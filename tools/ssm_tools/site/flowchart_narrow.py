"""The places of a flowchart where little room is: from top to bottom, wide layers in several."""

from __future__ import annotations

from itertools import combinations, pairwise

from ssm_tools.site.flowchart_layout import Box, Chart, layered, placed

ROOM = 356.0  # with its margins what a phone of 360 pixels shows at the smallest readable size
ASIDE, PASSAGE = 10.0, 6.0  # closer than where room is
FOLDS = 14


def arrange_narrow(chart: Chart, *, folds: int = FOLDS) -> None:
    """Set the places of the boxes and the ways of the edges within `ROOM`, or as near as can be.

    Groups stand below each other. While the chart is too wide, one box is moved a layer down, into
    the next layer or into one of its own: that one which takes most of the width, then the one
    that crosses the fewest edges.
    """
    chart.down, chart.stacked, chart.aside, chart.passage = True, True, ASIDE, PASSAGE
    layered(chart)
    placed(chart)
    for _ in range(folds):
        now = _cost(chart)
        if now[0] <= ROOM:
            return
        before = _layers(chart)
        tried = []
        for name in chart.boxes:
            for alone in (False, True):
                _set(chart, before)
                _lower(chart, name, alone=alone)
                placed(chart)
                tried.append((_cost(chart), _layers(chart)))
        best, layers = min(tried, key=lambda found: found[0])
        _set(chart, layers if best < now else before)
        placed(chart)
        if best >= now:
            return


def _layers(chart: Chart) -> dict[str, int]:
    return {name: box.layer for name, box in chart.boxes.items()}


def _set(chart: Chart, layers: dict[str, int]) -> None:
    for name, layer in layers.items():
        chart.boxes[name].layer = layer


def _lower(chart: Chart, name: str, *, alone: bool) -> None:
    """Move a box a layer down, `alone` into a new layer; what follows it keeps below it."""
    lowered = chart.boxes[name]
    if alone:
        for box in chart.boxes.values():
            box.layer += box.layer > lowered.layer
    lowered.layer += 1
    layered(chart)
    ranks = {layer: rank for rank, layer in enumerate(sorted(set(_layers(chart).values())))}
    _set(chart, {name: ranks[layer] for name, layer in _layers(chart).items()})


def _cost(chart: Chart) -> tuple[float, int, float]:
    """The width beyond `ROOM`, the crossings of edges, the height and the length of the edges."""
    boxes = list(chart.boxes.values())
    places = [point for way in chart.ways for point in way]
    left = min([box.x - box.width / 2 for box in boxes] + [x for x, _ in places])
    right = max([box.x + box.width / 2 for box in boxes] + [x for x, _ in places])
    strokes = [stroke for way in chart.ways for stroke in pairwise(way)]
    crossed = sum(_cross(*one, *two) for one, two in combinations(strokes, 2))
    length = sum(abs(x - u) + abs(y - v) for (x, y), (u, v) in strokes)
    return max(ROOM, right - left), crossed, max(map(_bottom, boxes)) + length / 10


def _bottom(box: Box) -> float:
    return box.y + box.height / 2


def _cross(
    a: tuple[float, float], b: tuple[float, float], c: tuple[float, float], d: tuple[float, float]
) -> bool:
    """Whether the stretches `ab` and `cd` have an inner point in common."""

    def turn(p: tuple[float, float], q: tuple[float, float], r: tuple[float, float]) -> float:
        return (q[0] - p[0]) * (r[1] - p[1]) - (q[1] - p[1]) * (r[0] - p[0])

    return turn(a, b, c) * turn(a, b, d) < 0 and turn(c, d, a) * turn(c, d, b) < 0
