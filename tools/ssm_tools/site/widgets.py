"""Pictures with sliders: their controls as HTML; the scripts in `assets` compute and draw.

Each stands on a still picture drawn by a snippet, which is what shows without scripts and in print.
The scripts are no ES modules, since a browser loads none of those from files.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from html import escape

from ssm_tools.site.widget_strings import Words, widget_words


@dataclass(frozen=True, kw_only=True, slots=True)
class Slider:
    """A slider; with `log` it moves the decimal logarithm of the value."""

    low: float
    high: float
    step: float
    value: float
    log: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Choice:
    """One of several named options."""

    options: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Marks:
    """A row of boxes to check."""

    count: int
    checked: frozenset[int]


@dataclass(frozen=True, kw_only=True, slots=True)
class Widget:
    """A picture: the snippet that draws it still, and its controls by name."""

    snippet: str
    controls: Mapping[str, Slider | Choice | Marks]


WIDGETS: Mapping[str, Widget] = {
    "memory": Widget(
        snippet="discretization/memory",
        controls={
            "dt": Slider(low=-2, high=0.5, step=0.05, value=-1, log=True),
            "decay": Slider(low=-1.5, high=1, step=0.05, value=-0.3, log=True),
            "turn": Slider(low=0, high=20, step=0.5, value=5),
            "rule": Choice(
                options=("bilinear", "forward_euler", "backward_euler", "exponential_euler")
            ),
        },
    ),
    "selectivity": Widget(
        snippet="selective_scan/selectivity",
        controls={
            "marked": Slider(low=-2, high=0.5, step=0.05, value=0, log=True),
            "rest": Slider(low=-3, high=0.5, step=0.05, value=-2, log=True),
            "fixed": Slider(low=-3, high=0.5, step=0.05, value=-0.5, log=True),
            "marks": Marks(count=16, checked=frozenset({3, 8})),
        },
    ),
    "chunk_walk": Widget(
        snippet="ssd/chunk_walk",
        controls={
            "size": Slider(low=1, high=16, step=1, value=4),
            "step": Slider(low=0, high=10, step=1, value=10),
            "decay": Slider(low=-2, high=0, step=0.1, value=-0.8, log=True),
        },
    ),
}


def widget_scripts(name: str) -> list[str]:
    """Return the addresses of the scripts that a picture needs, in order."""
    return ["assets/widgets.js", f"assets/widget-{name}.js"]


def widget_html(name: str, tongue: str, still: str, to: Callable[[str], str]) -> str:
    """Return a picture: controls that wait for the script, and the still picture `still`.

    `to` writes an address as the page does.
    """
    words = widget_words(name, tongue)
    data = escape(json.dumps(dict(words), ensure_ascii=False, separators=(",", ":")))
    controls = "".join(
        _control(key, control, words) for key, control in WIDGETS[name].controls.items()
    )
    return (
        f'<figure class="widget" data-widget="{name}" data-lang="{tongue}" data-words="{data}">'
        f'<link rel="stylesheet" href="{escape(to("assets/widgets.css"))}">'
        f'<p class="widget__title">{escape(words["title"])}</p>'
        f'<form class="widget__live" hidden>{controls}</form>'
        '<div class="widget__live widget__picture" hidden></div>'
        '<p class="widget__live widget__says" aria-live="polite" hidden></p>'
        f'<div class="widget__still">{still}</div>'
    )


def _control(name: str, control: Slider | Choice | Marks, words: Words) -> str:
    label = escape(words[name])
    match control:
        case Slider():
            log = " data-log" if control.log else ""
            return (
                f'<label>{label} <input type="range" name="{name}" min="{control.low}" '
                f'max="{control.high}" step="{control.step}" value="{control.value}"{log}>'
                "<output></output></label>"
            )
        case Choice():
            options = "".join(
                f'<option value="{option}">{escape(words[option])}</option>'
                for option in control.options
            )
            return f'<label>{label} <select name="{name}">{options}</select></label>'
        case Marks():
            boxes = "".join(
                f'<input type="checkbox" name="{name}" value="{n}" '
                f'aria-label="{escape(words["token"].format(n=n + 1))}"'
                f"{' checked' if n in control.checked else ''}>"
                for n in range(control.count)
            )
            return f"<fieldset><legend>{label}</legend>{boxes}</fieldset>"
