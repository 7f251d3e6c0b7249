"""What a snippet produced, as values that the store writes and the site reads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal, cast

Kind = Literal["text", "table", "html", "svg", "repr", "error"]


@dataclass(frozen=True, slots=True)
class Output:
    """One thing to show under a cell, in the order in which it appeared.

    `data` is what to show: text for `text`, `repr` and `error`; markup for `html` and `svg`; for
    `table` a JSON object `{"columns": [...], "rows": [[...]]}`. `data_dark` is the same figure for
    a dark page. `name` is a short description: the alternative text of a figure, the type, shape
    and dtype of a value, `stderr` for what went to the error stream, the warning's category.
    `translated` has, for each language that says it in other words, the `data`, `data_dark` and
    `name` of a figure there, drawn with what its `labels` say in each language; `cut` is the first
    title or label that found no room.
    `cell` counts the snippet's cells from 0; `line` is the line of the statement that made it.
    """

    kind: Kind
    data: str
    data_dark: str | None = None
    name: str = ""
    cell: int = 0
    line: int = 0
    translated: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    labels: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    cut: str = ""

    def in_language(self, language: str) -> Output:
        """Return the output as pages of a language show it."""
        if (there := self.translated.get(language)) is None:
            return self
        dark = there["data_dark"]
        return replace(self, data=there["data"], data_dark=dark, name=there["name"])


@dataclass(frozen=True, slots=True)
class Recorded:
    """Where a result recorded on a GPU comes from, and whether its sources moved on since."""

    commit: str
    device: str
    driver: str
    versions: Mapping[str, str]
    seed: int
    date: str
    command: str
    stale: str = ""


@dataclass(frozen=True, slots=True)
class Result:
    """One successful run: what to show, and every project file that it read."""

    snippet: str
    outputs: tuple[Output, ...]
    seconds: float
    dependencies: Mapping[str, str] = field(default_factory=dict)
    environment: str = ""
    recorded: Recorded | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the result as plain data."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Result:
        """Read back what `to_json` wrote."""
        recorded = data.get("recorded")
        return cls(
            snippet=str(data["snippet"]),
            outputs=tuple(Output(**output) for output in data["outputs"]),
            seconds=float(data["seconds"]),
            dependencies=cast("dict[str, str]", data["dependencies"]),
            environment=str(data["environment"]),
            recorded=Recorded(**recorded) if recorded else None,
        )
