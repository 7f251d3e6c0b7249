"""Flowcharts of the notes (the `mermaid` fences) drawn as SVG when the site is built."""

from __future__ import annotations

import re
from html import escape
from itertools import pairwise

from ssm_tools.site.flowchart_layout import LINE, SMALL, Box, Chart, Point, arrange, written
from ssm_tools.site.flowchart_narrow import FOLDS, ROOM, arrange_narrow

_NODE = re.compile(
    r"\s*([\w.-]+?)(?=\s|$|\(|\[|\{|-)\s*(?:\(\((.*?)\)\)|\[\[(.*?)\]\]|\[\((.*?)\)\]|\[(\".*?\"|.*?)\]"
    r"|\((\".*?\"|.*?)\)|\{(\".*?\"|.*?)\})?"
)
_ARROW = re.compile(
    r"\s*(-->|---|-\.->|-\.-|==>|===|--\s+(?P<a>[^-|>]+?)\s+-->|-\.\s+(?P<b>[^-|>]+?)\s+\.->)"
    r"\s*(?:\|(?P<c>[^|]*)\|)?"
)
_GROUP = re.compile(r"subgraph\s+([\w-]+)?\s*(?:\[?\"?(.*?)\"?\]?)?\s*$")
LONG = 26  # letters of a line that is broken
MARGIN = 14
SHORTER = (26, 20, 16)  # the same where little room is
SHORT = 4  # letters at an edge that need no place of their own
READABLE = 0.85  # of its size: 11.5 px letters; where less room is, the chart scrolls


def flowchart(text: str) -> str | None:
    """Return the SVG of a flowchart, None where the text is no flowchart that can be drawn.

    A chart too wide for a phone is drawn a second time, from top to bottom; the style sheet shows
    the one for which there is room.
    """
    chart = _read(text, LONG)
    if chart is None:
        return None
    said = "; ".join(
        f"{' '.join(chart.boxes[a].lines)} → {' '.join(chart.boxes[b].lines)}"
        + (f" ({name})" if name else "")
        for a, b, _, name in chart.edges
    )
    arrange(chart)
    if chart.down and any(len(words) > SHORT for *_, words in chart.edges):
        _words_apart(chart, LONG)
        for box in chart.boxes.values():
            box.layer = 0
        arrange(chart)
    width = _frame_of(chart)[2]
    if width <= ROOM + 2 * MARGIN:
        return f'<figure class="flowchart" tabindex="0">{_draw(chart, said)}</figure>\n'
    narrow = _narrow(text)
    if _frame_of(narrow)[2] >= width:
        return f'<figure class="flowchart" tabindex="0">{_draw(chart, said)}</figure>\n'
    return (
        f'<figure class="flowchart" tabindex="0">{_draw(chart, said, "flowchart__wide")}'
        f"{_draw(narrow, said, 'flowchart__narrow')}</figure>\n"
    )


def _narrow(text: str) -> Chart:
    """The chart from top to bottom, with the longest lines that find room, or else the shortest."""
    for letters in SHORTER:
        chart = _read(text, letters) or Chart()
        _words_apart(chart, letters)
        last = letters == SHORTER[-1]
        arrange_narrow(chart, folds=FOLDS if last else 0)
        if last or _frame_of(chart)[2] <= ROOM + 2 * MARGIN:
            break
    return chart


def _words_apart(chart: Chart, letters: int) -> None:
    """Give the words of edges places of their own, where they do not fit beside each other."""
    edges = []
    for a, b, arrow, said in chart.edges:
        if len(said) <= SHORT:
            edges.append((a, b, arrow, said))
            continue
        place = f"{a} {b} {said}"
        words = wrapped(said, letters)
        chart.boxes[place] = Box(words, bare=True, group=chart.boxes[a].group)
        edges += [(a, place, arrow.removesuffix(">"), ""), (place, b, arrow, "")]
    chart.edges = edges


def _read(text: str, letters: int) -> Chart | None:
    """The boxes, edges and groups of a text, long labels broken; None where it is no flowchart."""
    lines = [line.strip().rstrip(";") for line in text.splitlines()]
    lines = [line for line in lines if line and not line.startswith("%%")]
    head = lines[0].split() if lines else []
    if not head or head[0] not in ("flowchart", "graph"):
        return None
    chart = Chart(down=len(head) > 1 and head[1] in ("TD", "TB"))
    current = 0
    for line in lines[1:]:
        if match := _GROUP.match(line):
            chart.groups.append(match.group(2) or match.group(1) or "")
            current = len(chart.groups) - 1
        elif line == "end":
            current = 0
        elif not line.startswith(
            ("classDef", "class ", "style ", "direction", "linkStyle", "click")
        ) and not _statement(chart, line, current):
            return None
    for box in chart.boxes.values():
        box.lines = [part for line in box.lines for part in wrapped(line, letters)]
    return chart if chart.boxes else None


def _statement(chart: Chart, line: str, group: int) -> bool:
    position, previous, arrow = 0, [""], ("", "")
    while True:
        names = []
        while True:
            match = _NODE.match(line, position)
            if match is None or not match.group(1):
                return False
            names.append(match.group(1))
            _box(chart, match, group)
            position = match.end()
            rest = line[position:].lstrip()
            if not rest.startswith("&"):
                break
            position = line.index("&", position) + 1
        if previous != [""]:
            chart.edges += [(a, b, *arrow) for a in previous for b in names]
        if not line[position:].strip():
            return True
        match = _ARROW.match(line, position)
        if match is None:
            return False
        said = match.group("a") or match.group("b") or match.group("c") or ""
        arrow = (match.group(1), said.strip('"'))
        previous, position = names, match.end()


def _box(chart: Chart, match: re.Match[str], group: int) -> None:
    name = match.group(1)
    shape = next((n for n in range(2, 8) if match.group(n) is not None), 0)
    box = chart.boxes.setdefault(name, Box([name], group=group))
    if shape:
        box.lines = [match.group(shape).strip().strip('"')]
        box.round = shape in (2, 6)


def wrapped(label: str, letters: int = LONG) -> list[str]:
    """Return the lines of a label: as written, long ones broken at a space near their middle."""
    found = []
    for line in re.split(r"<br\s*/?>|\\n", label):
        spaces = [match.start() for match in re.finditer(" ", line)]
        if len(line) > letters and spaces:
            middle = min(spaces, key=lambda at: abs(at - len(line) / 2))
            found += [line[:middle], line[middle + 1 :]]
        else:
            found.append(line)
    return found


def _draw(chart: Chart, said: str, kind: str = "") -> str:
    shown = [_frame(chart, number) for number in range(1, len(chart.groups))]
    shown += [_edge(chart, number) for number in range(len(chart.edges))]
    shown += [_words(chart, number) for number in range(len(chart.edges))]
    shown += [_shape(box) for box in chart.boxes.values()]
    left, top, width, height = _frame_of(chart)
    name = f' class="{kind}"' if kind else ""
    return (
        f'<svg{name} role="img" aria-label="{escape(said)}" '
        f'viewBox="{left:.0f} {top:.0f} {width:.0f} {height:.0f}" '
        f'style="width:{width:.0f}px;min-width:{width * READABLE:.0f}px">{"".join(shown)}</svg>'
    )


def _frame_of(chart: Chart) -> tuple[float, float, float, float]:
    """Left, top, width and height of the drawing."""
    boxes = list(chart.boxes.values())
    bends = [point for way in chart.ways for point in way]
    left = min([b.x - b.width / 2 for b in boxes] + [x for x, _ in bends]) - MARGIN
    right = max([b.x + b.width / 2 for b in boxes] + [x for x, _ in bends]) + MARGIN
    for group, name in enumerate(chart.groups):
        inside = [b.x - b.width / 2 for b in boxes if b.group == group and name]
        right = max(right, min(inside, default=left) + SMALL * written(name))
    top = min([b.y - b.height / 2 for b in boxes] + [y for _, y in bends]) - MARGIN
    top -= 14 if len(chart.groups) > 1 else 0
    bottom = max([b.y + b.height / 2 for b in boxes] + [y for _, y in bends]) + MARGIN
    return left, top, right - left, bottom - top


def _shape(box: Box) -> str:
    radius = box.height / 2 if box.round else 7
    first = box.y + 4.5 - LINE / 2 * (len(box.lines) - 1)
    text = "".join(
        f'<tspan x="{box.x:.0f}" y="{first + LINE * n:.1f}">{escape(line)}</tspan>'
        for n, line in enumerate(box.lines)
    )
    if box.bare:
        return f'<text class="said">{text}</text>'
    return (
        f'<rect x="{box.x - box.width / 2:.0f}" y="{box.y - box.height / 2:.0f}" '
        f'width="{box.width:.0f}" height="{box.height:.0f}" rx="{radius:.0f}"/>'
        f"<text>{text}</text>"
    )


def _frame(chart: Chart, group: int) -> str:
    inside = [box for box in chart.boxes.values() if box.group == group]
    if not inside:
        return ""
    left = min(b.x - b.width / 2 for b in inside) - 8
    top = min(b.y - b.height / 2 for b in inside) - 8
    width = max(b.x + b.width / 2 for b in inside) + 8 - left
    height = max(b.y + b.height / 2 for b in inside) + 8 - top
    return (
        f'<rect class="group" x="{left:.0f}" y="{top:.0f}" width="{width:.0f}" '
        f'height="{height:.0f}" rx="8"/><text class="group__name" x="{left + 2:.0f}" '
        f'y="{top - 3:.0f}">{escape(chart.groups[group])}</text>'
    )


def _edge(chart: Chart, number: int) -> str:
    arrow = chart.edges[number][2]
    way = chart.ways[number]
    path = f"M{_at(way[0])}"
    for before, after in pairwise(way):
        path += _bend(before, after, down=chart.down)
    dashed = ' class="dashed"' if "." in arrow else ""
    head = _tip(way, chart) if arrow.endswith(">") else ""
    return f'<path{dashed} d="{path}"/>{head}'


def _words(chart: Chart, number: int) -> str:
    """What is said at an edge, on a ground that hides the line behind it."""
    said, way = chart.edges[number][3], chart.ways[number]
    if not said:
        return ""
    x, y = (way[0][0] + way[1][0]) / 2, (way[0][1] + way[1][1]) / 2
    width = SMALL * written(said)
    return (
        f'<rect class="ground" x="{x - width / 2:.0f}" y="{y - LINE / 2:.0f}" '
        f'width="{width:.0f}" height="{LINE:.0f}"/>'
        f'<text class="said" x="{x:.0f}" y="{y + 4:.0f}">{escape(said)}</text>'
    )


def _at(point: Point) -> str:
    return f"{point[0]:.0f} {point[1]:.0f}"


def _bend(before: Point, after: Point, *, down: bool) -> str:
    """A curve that leaves and arrives along the direction of the chart; a straight line as such."""
    if before[0] == after[0] or before[1] == after[1]:
        return f"L{_at(after)}"
    if down:
        middle = (before[1] + after[1]) / 2
        return f"C{before[0]:.0f} {middle:.0f} {after[0]:.0f} {middle:.0f} {_at(after)}"
    middle = (before[0] + after[0]) / 2
    return f"C{middle:.0f} {before[1]:.0f} {middle:.0f} {after[1]:.0f} {_at(after)}"


def _tip(way: list[Point], chart: Chart) -> str:
    """The head of an arrow: along the last stretch of its way."""
    (x0, y0), (x, y) = way[-2], way[-1]
    along = 1 if chart.down else 0
    sign = -1 if (y0 < y if chart.down else x0 < x) else 1
    if (y0 == y) if chart.down else (x0 == x):
        along, sign = 1 - along, -1 if (x0 < x if chart.down else y0 < y) else 1
    one, two = ((-4, 8 * sign), (4, 8 * sign)) if along else ((8 * sign, -4), (8 * sign, 4))
    start = f"M{x:.0f} {y:.0f}"
    return f'<path class="tip" d="{start}l{one[0]} {one[1]}{start}l{two[0]} {two[1]}"/>'
