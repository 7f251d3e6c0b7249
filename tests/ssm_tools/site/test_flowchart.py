"""Flowcharts: every box and edge is drawn, no edge runs behind a box, long charts run downwards.

Where little room is, a wide chart is drawn once more, in narrow layers.
"""

from __future__ import annotations

import re
from itertools import combinations

import pytest

from ssm_tools.site.flowchart import flowchart, wrapped
from ssm_tools.site.flowchart_layout import Box, Chart, arrange
from ssm_tools.site.flowchart_narrow import ROOM, arrange_narrow

GRAPHS = [
    "a b; b c; a c; a d; d c; c e; a e",
    "a b; b a; b c; c a",
    "a a; a b",
    "a d; b d; c d; d e; d f; a f; b e",
    "a b; b c; c d; d e; a e; a d; b e; e f; a f",
]


FANS = [
    "a b; a c; a d; a e; b f; c f; d f; e f",
    "a b; c b; d b; e b; b f; a f",
    "a b; b c; d b; e c; f c; d f; a f; e g; g h; d h",
]


def chart(text: str, *, down: bool, narrow: bool = False) -> Chart:
    edges = [(*pair.split(), "-->", "") for pair in text.split("; ")]
    names = dict.fromkeys(name for a, b, _, _ in edges for name in (a, b))
    made = Chart(down=down, boxes={name: Box([name * 6]) for name in names}, edges=edges)
    if narrow:
        arrange_narrow(made)
    else:
        arrange(made)
    return made


@pytest.mark.parametrize(("down", "narrow"), [(True, False), (False, False), (False, True)])
@pytest.mark.parametrize("text", GRAPHS + FANS)
def test_boxes_lie_apart(text: str, down: bool, narrow: bool) -> None:
    for one, two in combinations(chart(text, down=down, narrow=narrow).boxes.values(), 2):
        beside = abs(one.x - two.x) >= (one.width + two.width) / 2
        assert beside or abs(one.y - two.y) >= (one.height + two.height) / 2


@pytest.mark.parametrize(("down", "narrow"), [(True, False), (False, False), (False, True)])
@pytest.mark.parametrize("text", GRAPHS + FANS)
def test_no_edge_runs_behind_a_box(text: str, down: bool, narrow: bool) -> None:
    made = chart(text, down=down, narrow=narrow)
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


@pytest.mark.parametrize("text", FANS)
def test_wide_layers_are_folded_where_little_room_is(text: str) -> None:
    def width(made: Chart) -> float:
        boxes = made.boxes.values()
        return max(b.x + b.width / 2 for b in boxes) - min(b.x - b.width / 2 for b in boxes)

    longer = re.sub("[a-h]", lambda letter: letter.group() * 2, text)
    made = chart(longer, down=False, narrow=True)
    assert width(chart(longer, down=True)) > ROOM
    assert width(made) <= ROOM
    for a, b, _, _ in made.edges:
        assert made.boxes[a].y < made.boxes[b].y


def test_a_wide_chart_is_drawn_twice_and_said_alike() -> None:
    text = "flowchart LR\n " + " --> ".join(f'n{i}["step {i}"]' for i in range(6))
    both, one = flowchart(text), flowchart("flowchart LR\n a --> b")
    assert both is not None
    assert one is not None
    assert one.count("<svg") == 1
    said = re.findall(r'<svg class="flowchart__(\w+)" role="img" aria-label="(.*?)"', both)
    assert [kind for kind, _ in said] == ["wide", "narrow"]
    assert said[0][1] == said[1][1]


def test_words_of_edges_have_places_of_their_own_where_little_room_is() -> None:
    text = "flowchart LR\n " + "\n ".join(
        f'a["from"] -- "a long word {i}" --> b{i}["to this box"] --> c{i}["and on"]'
        for i in range(5)
    )
    drawn = flowchart(text)
    assert drawn is not None
    narrow = drawn[drawn.index("flowchart__narrow") :]
    places = re.findall(r'<text class="said"><tspan x="(-?\d+)" y="([\d.]+)">', narrow)
    assert len(places) == 5
    for (x, y), (u, v) in combinations(places, 2):
        assert abs(int(x) - int(u)) > 60 or y != v


def test_groups_stand_below_each_other_where_little_room_is() -> None:
    first, second = ("\n ".join(f"{g}{i} --> {g}{i + 1}" for i in range(5)) for g in "ab")
    drawn = flowchart(
        f'flowchart LR\n subgraph one["first"]\n {first}\n end\n'
        f' subgraph two["second"]\n {second}\n end'
    )
    assert drawn is not None
    narrow = drawn[drawn.index("flowchart__narrow") :]
    frames = re.findall(r'class="group" x="-?\d+" y="(-?\d+)" width="\d+" height="(\d+)"', narrow)
    (top, height), (below, _) = ((int(y), int(h)) for y, h in frames)
    assert top + height < below


def test_everything_is_drawn_and_said() -> None:
    svg = flowchart(
        'flowchart LR\n a["x < y"] -->|"yes"| b((+)) -.-> c\n a & b --> d\n subgraph g["G"]\n'
        " e --- f\n end"
    )
    assert svg is not None
    assert svg.count("<rect") == 8  # six boxes, a group and the ground of "yes"
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
