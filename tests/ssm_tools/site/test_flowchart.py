"""Flowcharts: every box and edge is drawn, no edge runs behind a box, long charts run downwards."""

from __future__ import annotations

import re
from itertools import combinations

import pytest

from ssm_tools.site.flowchart import flowchart, wrapped
from ssm_tools.site.flowchart_layout import Box, Chart, arrange

GRAPHS = [
    "a b; b c; a c; a d; d c; c e; a e",
    "a b; b a; b c; c a",
    "a a; a b",
    "a d; b d; c d; d e; d f; a f; b e",
    "a b; b c; c d; d e; a e; a d; b e; e f; a f",
]


def chart(text: str, *, down: bool) -> Chart:
    edges = [(*pair.split(), "-->", "") for pair in text.split("; ")]
    names = dict.fromkeys(name for a, b, _, _ in edges for name in (a, b))
    made = Chart(down=down, boxes={name: Box([name * 6]) for name in names}, edges=edges)
    arrange(made)
    return made


@pytest.mark.parametrize("down", [True, False])
@pytest.mark.parametrize("text", GRAPHS)
def test_boxes_lie_apart(text: str, down: bool) -> None:
    for one, two in combinations(chart(text, down=down).boxes.values(), 2):
        beside = abs(one.x - two.x) >= (one.width + two.width) / 2
        assert beside or abs(one.y - two.y) >= (one.height + two.height) / 2


@pytest.mark.parametrize("down", [True, False])
@pytest.mark.parametrize("text", GRAPHS)
def test_no_edge_runs_behind_a_box(text: str, down: bool) -> None:
    made = chart(text, down=down)
    for (a, b, _, _), way in zip(made.edges, made.ways, strict=True):
        for name, box in made.boxes.items():
            if name in (a, b):
                continue
            for x, y in way:
                inside = abs(x - box.x) < box.width / 2 - 1 and abs(y - box.y) < box.height / 2 - 1
                assert not inside, (a, b, name)


def test_a_chart_wider_than_a_page_runs_downwards() -> None:
    short = chart("a b; b c", down=False)
    long = chart("; ".join(f"n{i} n{i + 1}" for i in range(9)), down=False)
    assert not short.down
    assert long.down


def test_everything_is_drawn_and_said() -> None:
    svg = flowchart(
        'flowchart LR\n a["x < y"] -->|"yes"| b((+)) -.-> c\n a & b --> d\n subgraph g["G"]\n'
        " e --- f\n end"
    )
    assert svg is not None
    assert svg.count("<rect") == 7
    assert svg.count('class="tip"') == 4
    assert "x &lt; y → + (yes)" in svg
    assert ">G</text>" in svg
    assert float(re.findall(r"min-width:(\d+)px", svg)[0]) > 100


def test_long_lines_are_broken() -> None:
    assert wrapped("a short one") == ["a short one"]
    assert wrapped("one<br>two") == ["one", "two"]
    assert wrapped("a label that is far too long here") == ["a label that is", "far too long here"]


@pytest.mark.parametrize("text", ["", "sequenceDiagram\n a->>b: x", "flowchart LR\n ]["])
def test_other_charts_stay_text(text: str) -> None:
    assert flowchart(text) is None
