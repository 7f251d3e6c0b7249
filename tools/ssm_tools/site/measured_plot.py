"""Measured rows over the length as pictures: a line an implementation, one picture a question."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise
from typing import Any

Row = Mapping[str, Any]
Key = tuple[str, str]  # implementation and pass
Points = list[tuple[int, float]]  # length and what is drawn

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 640, 290, 52, 190, 14, 42
FEWEST = 3  # lengths that make a line
GAP = 15.0  # between labels
COLOURS = 4
DASHES = ("", ' stroke-dasharray="6 4"', ' stroke-dasharray="1.5 3.5"')


@dataclass(frozen=True, slots=True)
class Picture:
    """What one picture shows: of which passes, which number of a row, under which title."""

    title: str
    passes: tuple[str, ...]
    value: Callable[[Row], float | None]
    alone: bool = False  # one pass, so lines differ by implementation alone


def _per_token(row: Row) -> float:
    shape = row["shape"]
    return 1e6 * float(row["ms"]) / float(shape["l"] * shape.get("b", 1))


def _number(key: str, factor: float = 1.0) -> Callable[[Row], float | None]:
    return lambda row: factor * float(row[key]) if row.get(key) else None


OPERATOR = [Picture("plot_time", ("fwd", "fwd_bwd"), _per_token)]
LAYER = [
    Picture("plot_training", ("fwd_bwd",), _per_token, alone=True),
    Picture("plot_prefill", ("prefill",), _per_token, alone=True),
    Picture("plot_decode", ("decode",), _number("ms", 1e3), alone=True),
    Picture("plot_peak", ("fwd_bwd",), _number("peak_mib"), alone=True),
    Picture("plot_kept", ("decode",), _number("state_mib"), alone=True),
]


def length_plot(rows: Sequence[Row], words: Mapping[str, str]) -> str:
    """Return the pictures of an operator, or of layers, where there are lengths enough.

    Both axes are logarithmic. Of an operator, lines of the backward pass are dashed.
    """
    of_layers = any(row.get("op") == "layer" for row in rows)
    return "".join(_drawn(rows, picture, words) for picture in (LAYER if of_layers else OPERATOR))


def _drawn(rows: Sequence[Row], picture: Picture, words: Mapping[str, str]) -> str:
    """One picture as SVG, empty where the lengths are too few."""
    lines = _lines(rows, picture)
    if not lines:
        return ""
    lengths = sorted({length for points in lines.values() for length, _ in points})
    values = [value for points in lines.values() for _, value in points]
    low, high = min(values) / 1.25, max(values) * 1.25

    def x(length: int) -> float:
        share = math.log(length / lengths[0]) / math.log(lengths[-1] / lengths[0])
        return LEFT + share * (WIDTH - LEFT - RIGHT)

    def y(value: float) -> float:
        share = math.log(value / low) / math.log(high / low)
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
    numbers = {impl: n for n, impl in enumerate(dict.fromkeys(impl for impl, _ in lines))}
    ends: dict[Key, float] = {}
    for last in lengths:  # labels of lines that end elsewhere do not meet
        ends |= _apart(
            {k: y(points[-1][1]) for k, points in lines.items() if points[-1][0] == last}
        )
    for key, points in lines.items():
        path = " ".join(f"{x(length):.1f},{y(value):.1f}" for length, value in points)
        kind = f"line-{numbers[key[0]] % COLOURS}"
        later = numbers[key[0]] // COLOURS if picture.alone else int(key[1] != picture.passes[0])
        parts.append(f'<polyline class="{kind}" points="{path}"{DASHES[later % len(DASHES)]}/>')
        label, place = _label(key, picture, words), ends[key] + 4
        parts.append(_text(x(points[-1][0]) + 8, place, label, "start", f"{kind} label"))
    said = "; ".join(
        f"{_label(key, picture, words)}: "
        + ", ".join(f"{length}: {value:.3g}" for length, value in points)
        for key, points in lines.items()
    )
    name = words[picture.title]
    return (
        f'<p class="plot__title">{escape(name)}</p><div class="scroll" tabindex="0">'
        f'<svg class="plot" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'aria-label="{escape(f"{name}. {said}")}">{"".join(parts)}</svg></div>'
    )


def _label(key: Key, picture: Picture, words: Mapping[str, str]) -> str:
    impl = words.get(f"impl_{key[0]}", key[0])
    return impl if picture.alone else f"{impl}, {key[1]}"


def _lines(rows: Sequence[Row], picture: Picture) -> dict[Key, Points]:
    """Lines of the largest batch of each length and, where that is another, of one sequence."""
    found: dict[Key, dict[int, dict[int, float]]] = defaultdict(dict)
    for row in rows:
        shape = row.get("shape")
        if row.get("pass") in picture.passes and isinstance(shape, dict) and shape.get("l"):
            value = picture.value(row)
            if value is not None:
                by_batch = found[str(row["impl"]), str(row["pass"])].setdefault(shape["l"], {})
                by_batch[shape.get("b", 1)] = value
    lines: dict[Key, Points] = {}
    for (impl, pass_), by_length in found.items():
        lines[impl, pass_] = [(l, by_length[l][max(by_length[l])]) for l in sorted(by_length)]
        single = [(l, by_length[l][1]) for l in sorted(by_length) if 1 in by_length[l]]
        if any(len(values) > 1 for values in by_length.values()):
            lines[f"{impl}, b 1", pass_] = single
    return {key: points for key, points in lines.items() if len(points) >= FEWEST}


def _ticks(low: float, high: float) -> list[float]:
    """Round numbers between the two: 1, 2 and 5 of each decade, only 1 where decades are many."""
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    steps = (1, 2, 5) if high / low < 2e3 else (1,)
    return [n * 10.0**d for d in decades for n in steps if low <= n * 10.0**d <= high]


def _apart(places: Mapping[Key, float]) -> dict[Key, float]:
    """Places of labels from top to bottom, none nearer to the one above than it is high.

    Those that would stand below the picture move up, and push others before them.
    """
    order = sorted(places, key=lambda key: places[key])
    found: dict[Key, float] = {}
    last = -math.inf
    for key in order:
        last = found[key] = max(places[key], last + GAP)
    if found:
        found[order[-1]] = min(last, HEIGHT - BOTTOM)
    for below, key in pairwise(reversed(order)):
        found[key] = min(found[key], found[below] - GAP)
    return found


def _text(x: float, y: float, text: str, anchor: str = "middle", kind: str = "") -> str:
    name = f' class="{kind}"' if kind else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{name}>{escape(text)}</text>'
