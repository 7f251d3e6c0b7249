"""Snippets as declared: percent-format files, their options and their cells."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, cast

from ssm_tools.findings import Finding

CellKind = Literal["setup", "shown", "check"]
KINDS = ("setup", "shown", "check")
HEADER = "# snippet:"
MARK = "# %%"
EXPECTED = "#>"


@dataclass(frozen=True, slots=True)
class Options:
    """How a snippet runs: seconds of wall clock, MiB of memory, and what it may or must do."""

    raises: str = ""
    warns: str = ""
    device: str = "cpu"
    timeout: float = 60.0
    memory: int = 4096


@dataclass(frozen=True, slots=True)
class Cell:
    """A stretch of code; `line` is the line of its first line of code in the file."""

    kind: CellKind
    line: int
    code: str
    raises: str = ""

    @property
    def display(self) -> str:
        """The code as a page shows it: without expected output and outer blank lines."""
        lines = [row for row in self.code.splitlines() if not row.startswith(EXPECTED)]
        return "\n".join(lines).strip("\n")


@dataclass(frozen=True, slots=True)
class Snippet:
    """One unit of execution: a file, or a fence of a note, named `page/name`."""

    id: str
    path: str
    line: int
    cells: tuple[Cell, ...]
    options: Options = field(default_factory=Options)
    text: str = ""
    problems: tuple[Finding, ...] = ()

    @property
    def page(self) -> str:
        """The concept or note that the snippet belongs to."""
        return self.id.rpartition("/")[0]

    @property
    def name(self) -> str:
        """The snippet's name on its page."""
        return self.id.rpartition("/")[2]

    def code(self, kind: CellKind) -> str:
        """Return the displayed code of all cells of one kind, joined by blank lines."""
        return "\n\n".join(cell.display for cell in self.cells if cell.kind == kind)


class OptionError(ValueError):
    """An option that does not exist or has a value of the wrong type."""


def parse_options(words: str, start: Options | None = None) -> Options:
    """Read `name=value` words into options.

    Raises:
        OptionError: a word is no option or its value does not fit.
    """
    options = start or Options()
    for word in shlex.split(words):
        name, equals, value = word.partition("=")
        if not equals or name not in Options.__dataclass_fields__:
            known = ", ".join(f"{known}=" for known in Options.__dataclass_fields__)
            raise OptionError(f"unknown option {word!r}; there are {known}")
        options = replace(options, **{name: _convert(name, value)})  # type: ignore[arg-type]
    return options


def _convert(name: str, value: str) -> str | float | int:
    if name == "device" and value not in ("cpu", "cuda"):
        raise OptionError(f"device must be cpu or cuda; got {value!r}")
    if name in ("timeout", "memory"):
        if not value.isdecimal() or int(value) == 0:
            raise OptionError(f"{name} must be a whole positive number; got {value!r}")
        return float(value) if name == "timeout" else int(value)
    return value


def parse_file(path: Path, relative: str, snippet_id: str) -> Snippet:
    """Read one percent-format file; what is wrong with it becomes its `problems`."""
    data = path.read_bytes()
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        column = error.start - data.rfind(b"\n", 0, error.start)
        problem = Finding(
            relative, line, column, "S010", "the file is not UTF-8", "save it as UTF-8"
        )
        return Snippet(snippet_id, relative, line, (), problems=(problem,))
    if (place := text.find("\0")) >= 0:
        problem = Finding(
            relative, text.count("\n", 0, place) + 1, 1, "S010", "it holds a NUL byte"
        )
        return Snippet(snippet_id, relative, problem.line, (), problems=(problem,))
    return parse_text(text.replace("\r\n", "\n"), relative, snippet_id)


def parse_text(text: str, relative: str, snippet_id: str) -> Snippet:
    """Split percent-format text into cells, each with its line in the file."""
    problems: list[Finding] = []
    lines = text.split("\n")
    options = Options()
    if lines[0].startswith(HEADER):
        try:
            options = parse_options(lines[0][len(HEADER) :])
        except ValueError as error:
            problems.append(Finding(relative, 1, len(HEADER) + 2, "S010", str(error)))
        lines[0] = ""
    marks = [number for number, row in enumerate(lines) if row.startswith(MARK)]
    cells = [Cell("setup", 1, "\n".join(lines[: marks[0] if marks else 0]))] if marks else []
    if not marks:
        cells = [Cell("shown", 1, "\n".join(lines))]
    for number, end in zip(marks, [*marks[1:], len(lines)], strict=False):
        kind, raises, problem = _parse_mark(lines[number])
        if problem:
            problems.append(Finding(relative, number + 1, 1, "S010", problem))
        cells.append(Cell(kind, number + 2, "\n".join(lines[number + 1 : end]), raises))
    kept = tuple(cell for cell in cells if cell.code.strip())
    if not kept and not problems:
        problems.append(Finding(relative, 1, 1, "S010", "the snippet is empty"))
    first = next((cell.line for cell in kept if cell.kind == "shown"), 1)
    return Snippet(snippet_id, relative, first, kept, options, text, tuple(problems))


def _parse_mark(row: str) -> tuple[CellKind, str, str]:
    """Return the kind of a cell, the error that it must raise, and what is wrong with its mark."""
    kind, _, rest = row[len(MARK) :].strip().partition(" ")
    if kind not in KINDS:
        return "shown", "", f"a cell is {', '.join(KINDS)}; got {kind!r}"
    try:
        options = parse_options(rest)
    except ValueError as error:
        return cast("CellKind", kind), "", str(error)
    if options != Options(raises=options.raises):
        return cast("CellKind", kind), "", "a cell takes only raises=; others go in `# snippet:`"
    return cast("CellKind", kind), options.raises, ""
