"""Flowcharts of the notes (the `mermaid` fences) drawn as SVG when the site is built."""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass, field
from html import escape

_NODE = re.compile(
    r"\s*([\w.-]+?)(?=\s|$|\(|\[|\{|-)\s*(?:\(\((.*?)\)\)|\[\[(.*?)\]\]|\[\((.*?)\)\]|\[(\".*?\"|.*?)\]"
    r"|\((\".*?\"|.*?)\)|\{(\".*?\"|.*?)\})?"
)
_ARROW = re.compile(
    r"\s*(-->|---|-\.->|-\.-|==>|===|--\s+(?P<a>[^-|>]+?)\s+-->|-\.\s+(?P<b>[^-|>]+?)\s+\.->)"
    r"\s*(?:\|(?P<c>[^|]*)\|)?"
)
_GROUP = re.compile(r"subgraph\s+([\w-]+)?\s*(?:\[?\"?(.*?)\"?\]?)?\s*$")
GAP_X, GAP_Y, HEIGHT, LETTER = 46, 20, 38, 7.4


@dataclass(slots=True)
class _Box:
    label: str
    round: bool = False
    group: int = 0
    layer: int = 0
    x: float = 0.0
    y: float = 0.0

    @property
    def width(self) -> float:
        return max(44.0, max(map(len, self.lines)) * LETTER + 22)

    @property
    def lines(self) -> list[str]:
        return re.split(r"<br\s*/?>|\\n", self.label)


@dataclass(slots=True)
class _Chart:
    down: bool = False
    boxes: dict[str, _Box] = field(default_factory=dict)
    edges: list[tuple[str, str, str, str]] = field(default_factory=list)
    groups: list[str] = field(default_factory=lambda: [""])


def flowchart(text: str) -> str | None:
    """Return the SVG of a flowchart, None where the text is no flowchart that can be drawn."""
    lines = [line.strip().rstrip(";") for line in text.splitlines()]
    lines = [line for line in lines if line and not line.startswith("%%")]
    head = lines[0].split() if lines else []
    if not head or head[0] not in ("flowchart", "graph"):
        return None
    chart = _Chart(down=len(head) > 1 and head[1] in ("TD", "TB"))
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
    if not chart.boxes:
        return None
    _layers(chart)
    _places(chart)
    return _draw(chart)


def _statement(chart: _Chart, line: str, group: int) -> bool:
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


def _box(chart: _Chart, match: re.Match[str], group: int) -> None:
    name = match.group(1)
    shape = next((n for n in range(2, 8) if match.group(n) is not None), 0)
    box = chart.boxes.setdefault(name, _Box(name, group=group))
    if shape:
        box.label = match.group(shape).strip().strip('"')
        box.round = shape in (2, 6)


def _layers(chart: _Chart) -> None:
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
            return


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


def _places(chart: _Chart) -> None:
    """Columns by layer, rows by the mean of what leads to a box; groups in bands of their own."""
    rows: dict[str, float] = {}
    top = 0.0
    for group in range(len(chart.groups)):
        columns: dict[int, list[str]] = defaultdict(list)
        for name, box in chart.boxes.items():
            if box.group == group:
                columns[box.layer].append(name)
        if not columns:
            continue
        tallest = max(map(len, columns.values()))
        for layer in sorted(columns):
            names = sorted(columns[layer], key=lambda name: _mean(chart, rows, name))
            spare = (tallest - len(names)) / 2
            for index, name in enumerate(names):
                rows[name] = top + spare + index
        top += tallest + (0.7 if chart.groups[group] or group == 0 else 0.4)
    across: dict[int, float] = defaultdict(float)
    for box in chart.boxes.values():
        size = HEIGHT if chart.down else box.width
        across[box.layer] = max(across[box.layer], size)
    starts, position = {}, 0.0
    for layer in sorted(across):
        starts[layer] = position + across[layer] / 2
        position += across[layer] + (GAP_Y * 1.8 if chart.down else GAP_X)
    step = max(b.width for b in chart.boxes.values()) + 16 if chart.down else HEIGHT + GAP_Y
    for name, box in chart.boxes.items():
        along, aside = starts[box.layer], rows[name] * step
        box.x, box.y = (aside, along) if chart.down else (along, aside)


def _mean(chart: _Chart, rows: dict[str, float], name: str) -> float:
    found = [rows[a] for a, b, _, _ in chart.edges if b == name and a in rows]
    return sum(found) / len(found) if found else 1e9


def _draw(chart: _Chart) -> str:
    boxes = chart.boxes.values()
    left = min(b.x - b.width / 2 for b in boxes) - 14
    right = max(b.x + b.width / 2 for b in boxes) + 14
    top = min(b.y for b in boxes) - HEIGHT / 2 - (26 if len(chart.groups) > 1 else 14)
    bottom = max(b.y for b in boxes) + HEIGHT / 2 + 14
    parts = [_frame(chart, n) for n in range(1, len(chart.groups))]
    parts += [_edge(chart, *edge) for edge in chart.edges]
    parts += [_shape(box) for box in boxes]
    said = "; ".join(
        f"{chart.boxes[a].label} → {chart.boxes[b].label}" for a, b, _, _ in chart.edges
    )
    width = right - left
    return (
        f'<figure class="flowchart" tabindex="0"><svg role="img" aria-label="{escape(said)}" '
        f'viewBox="{left:.0f} {top:.0f} {width:.0f} {bottom - top:.0f}" '
        f'style="width:{width:.0f}px">{"".join(parts)}</svg></figure>\n'
    )


def _shape(box: _Box) -> str:
    radius = HEIGHT / 2 if box.round else 7
    lines = box.lines
    first = box.y + 4.5 - 7 * (len(lines) - 1)
    text = "".join(
        f'<tspan x="{box.x:.0f}" y="{first + 14 * n:.1f}">{escape(line)}</tspan>'
        for n, line in enumerate(lines)
    )
    return (
        f'<rect x="{box.x - box.width / 2:.0f}" y="{box.y - HEIGHT / 2:.0f}" '
        f'width="{box.width:.0f}" height="{HEIGHT}" rx="{radius:.0f}"/><text>{text}</text>'
    )


def _frame(chart: _Chart, group: int) -> str:
    inside = [box for box in chart.boxes.values() if box.group == group]
    if not inside:
        return ""
    left = min(b.x - b.width / 2 for b in inside) - 8
    top = min(b.y for b in inside) - HEIGHT / 2 - 8
    width = max(b.x + b.width / 2 for b in inside) + 8 - left
    height = max(b.y for b in inside) + HEIGHT / 2 + 8 - top
    return (
        f'<rect class="group" x="{left:.0f}" y="{top:.0f}" width="{width:.0f}" '
        f'height="{height:.0f}" rx="8"/><text class="group__name" x="{left + 2:.0f}" '
        f'y="{top - 3:.0f}">{escape(chart.groups[group])}</text>'
    )


def _edge(chart: _Chart, a: str, b: str, arrow: str, said: str) -> str:
    first, last = chart.boxes[a], chart.boxes[b]
    back = last.layer <= first.layer
    if chart.down:
        x1, y1, x2, y2 = first.x, first.y + HEIGHT / 2, last.x, last.y - HEIGHT / 2
        bend = f"{x1:.0f} {(y1 + y2) / 2:.0f} {x2:.0f} {(y1 + y2) / 2:.0f}"
    elif back:
        x1, y1, x2, y2 = first.x, first.y - HEIGHT / 2, last.x, last.y - HEIGHT / 2
        bend = f"{x1:.0f} {y1 - 34:.0f} {x2:.0f} {y2 - 34:.0f}"
    else:
        x1, y1 = first.x + first.width / 2, first.y
        x2, y2 = last.x - last.width / 2, last.y
        bend = f"{(x1 + x2) / 2:.0f} {y1:.0f} {(x1 + x2) / 2:.0f} {y2:.0f}"
    dashed = ' class="dashed"' if "." in arrow else ""
    head = ""
    if arrow.endswith(">"):
        dx, dy = ((-4, -8), (4, -8)) if chart.down or back else ((-8, -4), (-8, 4))
        head = (
            f'<path class="tip" d="M{x2:.0f} {y2:.0f}l{dx[0]} {dx[1]}M{x2:.0f} {y2:.0f}'
            f'l{dy[0]} {dy[1]}"/>'
        )
    name = ""
    if said:
        middle = (x1 + x2) / 2, (y1 + y2) / 2 - 5
        name = f'<text class="said" x="{middle[0]:.0f}" y="{middle[1]:.0f}">{escape(said)}</text>'
    return f'<path{dashed} d="M{x1:.0f} {y1:.0f}C{bend} {x2:.0f} {y2:.0f}"/>{head}{name}'
