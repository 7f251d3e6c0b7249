"""Measured rows over the length as a picture: time per token, a line an implementation and pass."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

Row = Mapping[str, Any]
Points = list[tuple[int, float]]  # length, nanoseconds a token

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 640, 290, 44, 190, 14, 42
FEWEST = 3  # lengths that make a line
GAP = 15.0  # between labels


def length_plot(rows: Sequence[Row], words: Mapping[str, str]) -> str:
    """Return an SVG of time per token against length, empty where the lengths are too few.

    Both axes are logarithmic; lines of the backward pass are dashed.
    """
    lines = _lines(rows)
    if not lines:
        return ""
    lengths = sorted({length for points in lines.values() for length, _ in points})
    times = [time for points in lines.values() for _, time in points]
    low, high = min(times) / 1.25, max(times) * 1.25

    def x(length: int) -> float:
        share = math.log(length / lengths[0]) / math.log(lengths[-1] / lengths[0])
        return LEFT + share * (WIDTH - LEFT - RIGHT)

    def y(time: float) -> float:
        share = math.log(time / low) / math.log(high / low)
        return HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM)

    parts = []
    for length in lengths:
        parts.append(_text(x(length), HEIGHT - BOTTOM + 16, f"{length:,}".replace(",", "\u202f")))
    for tick in _ticks(low, high):
        parts.append(
            f'<line class="axis" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y(tick):.1f}" '
            f'y2="{y(tick):.1f}"/>' + _text(LEFT - 6, y(tick) + 4, f"{tick:g}", "end")
        )
    parts.append(_text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 6, words["plot_length"]))
    colours = {impl: n % 3 for n, impl in enumerate(dict.fromkeys(impl for impl, _ in lines))}
    ends = _apart({key: y(points[-1][1]) for key, points in lines.items()})
    for (impl, pass_), points in lines.items():
        path = " ".join(f"{x(length):.1f},{y(time):.1f}" for length, time in points)
        dashed = ' stroke-dasharray="5 4"' if pass_ != "fwd" else ""
        kind = f"line-{colours[impl]}"
        label = f"{impl}, {pass_}"
        parts.append(f'<polyline class="{kind}" points="{path}"{dashed}/>')
        at = ends[impl, pass_] + 4
        parts.append(_text(x(points[-1][0]) + 8, at, label, "start", f"{kind} label"))
    said = "; ".join(
        f"{impl}, {pass_}: " + ", ".join(f"{length}: {time:.3g}" for length, time in points)
        for (impl, pass_), points in lines.items()
    )
    name = words["plot_time"]
    return (
        f'<p class="plot__title">{escape(name)}</p><div class="scroll" tabindex="0">'
        f'<svg class="plot" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'aria-label="{escape(f"{name}. {said}")}">{"".join(parts)}</svg></div>'
    )


def _lines(rows: Sequence[Row]) -> dict[tuple[str, str], Points]:
    """Lines of the largest batch of each length and, where that is another, of one sequence."""
    found: dict[tuple[str, str], dict[int, dict[int, float]]] = defaultdict(dict)
    for row in rows:
        shape = row.get("shape")
        if row.get("pass") in ("fwd", "fwd_bwd") and isinstance(shape, dict) and shape.get("l"):
            b = shape.get("b", 1)
            times = found[str(row["impl"]), str(row["pass"])].setdefault(shape["l"], {})
            times[b] = 1e6 * row["ms"] / (shape["l"] * b)
    lines: dict[tuple[str, str], Points] = {}
    for (impl, pass_), by_length in found.items():
        lines[impl, pass_] = [(l, by_length[l][max(by_length[l])]) for l in sorted(by_length)]
        single = [(l, by_length[l][1]) for l in sorted(by_length) if 1 in by_length[l]]
        if any(len(times) > 1 for times in by_length.values()):
            lines[f"{impl}, b 1", pass_] = single
    return {key: points for key, points in lines.items() if len(points) >= FEWEST}


def _ticks(low: float, high: float) -> list[float]:
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    return [n * 10.0**d for d in decades for n in (1, 2, 5) if low <= n * 10.0**d <= high]


def _apart(places: Mapping[tuple[str, str], float]) -> dict[tuple[str, str], float]:
    """Places of labels from top to bottom, none nearer to the one above than it is high."""
    found: dict[tuple[str, str], float] = {}
    last = -math.inf
    for key, place in sorted(places.items(), key=lambda item: item[1]):
        last = found[key] = max(place, last + GAP)
    return found


def _text(x: float, y: float, text: str, anchor: str = "middle", kind: str = "") -> str:
    name = f' class="{kind}"' if kind else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{name}>{escape(text)}</text>'
