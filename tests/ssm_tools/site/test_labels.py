"""Names of a graph: no two meet at any zoom, the more important is shown from further away."""

from __future__ import annotations

import random

from ssm_tools.site.labels import LETTER, LINE, ZOOMS, Label, Shown, clip, grown, levels


def cloud(count: int) -> list[Label]:
    rng = random.Random(3)
    return [
        Label(rng.uniform(0, 900), rng.uniform(0, 500), 6, "name " * rng.randint(1, 9))
        for _ in range(count)
    ]


def box(label: Label, shown: Shown, zoom: float) -> tuple[float, float, float, float]:
    half, line = len(clip(label.text)) * LETTER / 2 * zoom, LINE * zoom
    radius = grown(label.radius, zoom)
    top = label.y - radius - line if shown.above else label.y + radius
    return label.x - half, top, label.x + half, top + line


def test_no_two_names_meet_at_any_zoom() -> None:
    labels = cloud(80)
    found = levels(labels)
    for zoom in ZOOMS:
        boxes = [
            box(label, at, zoom) for label, at in zip(labels, found, strict=True) if at.zoom >= zoom
        ]
        for number, (left, top, right, bottom) in enumerate(boxes):
            for other in boxes[number + 1 :]:
                assert (
                    right <= other[0] or other[2] <= left or bottom <= other[1] or other[3] <= top
                )


def test_the_first_name_is_shown_from_furthest() -> None:
    crowd = [Label(0, 0, 6, "first"), Label(1, 1, 6, "second"), Label(0, 2, 6, "third")]
    first, second, third = levels(crowd)
    assert first.zoom == ZOOMS[0]
    assert second.zoom == ZOOMS[0]
    assert second.above
    assert third.zoom < ZOOMS[0]
    assert levels([]) == []


def test_long_names_are_clipped() -> None:
    assert clip("short") == "short"
    assert len(clip("x" * 99)) == 34
    assert clip("x" * 99).endswith("…")
