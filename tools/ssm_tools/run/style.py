"""How figures look, and how the one drawn for a light page becomes the one for a dark page."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

# Each ink is used for nothing else, so that replacing it in the SVG recolours exactly what it drew.
INK, PALE, PAPER = "#1b1b1c", "#cfcfd1", "#fefeff"
CYCLE = ("#0072b2", "#d55e00", "#009e73", "#b8579a", "#8c6d1f", "#3a86c8", "#6b6b6d")
DARK = {
    INK: "#e6e6e8",
    PALE: "#4a4a4e",
    PAPER: "#1e1e21",
    "#0072b2": "#56b4e9",
    "#d55e00": "#ff9f5a",
    "#009e73": "#3ed6a8",
    "#b8579a": "#e79bd0",
    "#8c6d1f": "#e3c25b",
    "#3a86c8": "#8cc4f5",
    "#6b6b6d": "#a9a9ad",
}
SETTINGS: dict[str, Any] = {
    "svg.hashsalt": "ssm",
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans", "Verdana", "sans-serif"],
    "font.size": 10.0,
    "figure.figsize": (6.4, 3.6),
    "figure.facecolor": "none",
    "figure.autolayout": True,
    "axes.facecolor": "none",
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "grid.color": PALE,
    "grid.linewidth": 0.6,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "legend.facecolor": PAPER,
    "legend.edgecolor": PALE,
    "savefig.facecolor": "none",
    "savefig.edgecolor": "none",
}


def apply(matplotlib: Any, cycler: Any) -> None:
    """Set the style in a loaded matplotlib."""
    matplotlib.rcParams.update(SETTINGS)
    matplotlib.rcParams["axes.prop_cycle"] = cycler(color=CYCLE)


def draw(figure: Any) -> tuple[str, str, str]:
    """Return a figure's SVG for a light page, for a dark page, and its title."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    light = text[text.index("<svg") :]
    dark = light
    for ink, other in DARK.items():
        dark = dark.replace(ink, other)
    return light, dark, title(figure)


@contextmanager
def saying(say: Callable[[str], str]) -> Iterator[None]:
    """Let every text that shows say something else while figures are laid out and drawn.

    Ticks and legends make their texts anew for each drawing, so it is the asking that changes.
    """
    kind = sys.modules["matplotlib.text"].Text
    plain = kind.get_text

    def get_text(text: Any) -> str:
        words: str = plain(text)
        return say(words) if text.get_visible() else words

    kind.get_text = get_text
    try:
        yield
    finally:
        kind.get_text = plain


def cut(figure: Any) -> str:
    """Return the first title or label of a drawn figure that leaves it or runs into the next."""
    kept: list[Any] = []
    dpi = 72  # of SVG, by whose renderer the texts were measured
    width, height = (dpi * inches for inches in figure.get_size_inches())
    for text in _words_of(figure):
        box = text.get_window_extent(dpi=dpi)
        inside = min(box.x0, box.y0) > -1 and box.x1 < width + 1 and box.y1 < height + 1
        if not inside or any(box.overlaps(other) for other in kept):
            return str(text.get_text())
        kept.append(box)
    return ""


def _words_of(figure: Any) -> Iterator[Any]:
    for axes in figure.get_axes():
        if axes.get_visible():
            loose = [child for child in axes.get_children() if child in _titles(axes)]
            shown = [axes.xaxis.label, axes.yaxis.label] if axes.axison else []
            yield from (text for text in (*loose, *shown) if text.get_visible() and text.get_text())


def _titles(axes: Any) -> tuple[Any, ...]:
    return axes.title, axes._left_title, axes._right_title


def title(figure: Any) -> str:
    """Return the figure's own words for itself: its title, or the titles of its axes."""
    words = [figure.get_suptitle(), figure.get_label()]
    words += [axes.get_title() or axes.get_title(loc="left") for axes in figure.get_axes()]
    words += [f"{a.get_ylabel()} / {a.get_xlabel()}".strip(" /") for a in figure.get_axes()]
    return next((word for word in words if word), "")
