"""A value as a page shows it: a table, a figure, markup, or its representation with its shape."""

from __future__ import annotations

import dataclasses
import json
import re
import sys
from collections.abc import Mapping
from functools import partial
from typing import Any

from ssm_tools.run import style
from ssm_tools.run.labels import Labels, has_letters

ADDRESS = re.compile(r" at 0x[0-9a-f]{6,}>")


def display(value: object, labels: Labels) -> dict[str, Any]:
    """Return the fields of the output for a value; figures say their `labels` in each language."""
    if (rows := _rows(value)) is not None:
        columns = list(dict.fromkeys(key for row in rows for key in row))
        cells = [[_cell(row.get(column, "")) for column in columns] for row in rows]
        data = json.dumps({"columns": columns, "rows": cells}, ensure_ascii=False)
        return {"kind": "table", "data": data, "name": f"{len(cells)} × {len(columns)}"}
    if _is_figure(value):
        return figure(value, labels)
    if markup := _markup(value, "_repr_html_"):
        return {"kind": "html", "data": markup, "name": type(value).__name__}
    if markup := _markup(value, "_repr_svg_"):
        return {"kind": "svg", "data": markup, "data_dark": markup, "name": type(value).__name__}
    return {"kind": "repr", "data": repr(value), "name": describe(value)}


def figure(value: Any, labels: Labels) -> dict[str, Any]:
    """Return the output for a matplotlib figure, in both colour schemes and in all languages."""
    said: dict[str, dict[str, str]] = {}  # label → language → what it says there

    def listen(label: str) -> str:
        if label not in said and has_letters(label):
            said[label] = labels.said(label)
        return label

    with style.saying(listen):
        light, dark, name = style.draw(value)
        cut = style.cut(value)
    translated = {}
    for language in labels.entries:
        with style.saying(partial(_in_language, language=language, labels=labels)):
            drawn = zip(("data", "data_dark", "name"), style.draw(value), strict=True)
            translated[language] = dict(drawn)
            cut = cut or style.cut(value)
    output = {"kind": "svg", "data": light, "data_dark": dark, "name": name}
    return output | {"labels": said, "translated": translated, "cut": cut}


def _in_language(label: str, language: str, labels: Labels) -> str:
    return labels.said(label)[language] or label


def open_figures() -> list[Any]:
    """Return the figures that pyplot holds, in the order in which they were opened."""
    pyplot = sys.modules.get("matplotlib.pyplot")
    return [pyplot.figure(number) for number in pyplot.get_fignums()] if pyplot else []


def close_figures() -> None:
    """Let pyplot forget all figures."""
    if pyplot := sys.modules.get("matplotlib.pyplot"):
        pyplot.close("all")


def describe(value: object) -> str:
    """Return the type of a value, with shape and dtype where it has them."""
    name = type(value).__name__
    shape, dtype = getattr(value, "shape", None), getattr(value, "dtype", None)
    if shape is None or dtype is None:
        return name
    return f"{name} {tuple(shape)} {str(dtype).removeprefix('torch.')}"


def _is_figure(value: object) -> bool:
    module = sys.modules.get("matplotlib.figure")
    return module is not None and isinstance(value, module.Figure)


def _markup(value: object, method: str) -> str:
    make = getattr(type(value), method, None)
    found = make(value) if callable(make) else None
    return found if isinstance(found, str) else ""


def _rows(value: object) -> list[Mapping[str, object]] | None:
    """Return a value as rows of a table when it is a list of mappings or of dataclasses."""
    if not isinstance(value, list | tuple) or not value:
        return None
    if all(isinstance(row, Mapping) and all(isinstance(k, str) for k in row) for row in value):
        return list(value)
    if all(dataclasses.is_dataclass(row) and not isinstance(row, type) for row in value):
        return [
            {item.name: getattr(row, item.name) for item in dataclasses.fields(row)}
            for row in value
        ]
    return None


def _cell(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
