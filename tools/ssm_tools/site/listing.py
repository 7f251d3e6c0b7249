"""Code on pages: stretches of source with line numbers, and whole files as pages of their own."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from html import escape
from pathlib import Path
from textwrap import dedent

from ssm_tools.concepts import equation_lines
from ssm_tools.site.markdown import highlighted

_EQUATION = re.compile(r'<span class="c1"># \((\d+)\)</span>\s*$')


@dataclass(frozen=True, slots=True)
class Stretch:
    """Lines `first` to `last` of a file; `path` is relative to the project."""

    path: str
    first: int
    last: int

    def holds(self, path: str, line: int) -> bool:
        """Whether a line of a file is among them."""
        return path == self.path and self.first <= line <= self.last


def line_id(path: str, line: int) -> str:
    """Return the id of a line in a listing on a page."""
    return f"{re.sub(r'[^A-Za-z0-9]+', '-', path.removesuffix('.py'))}-L{line}"


def code_address(path: str) -> str:
    """Return the address of the page that shows a whole file."""
    return f"code/{path.removesuffix('.py')}.html"


def equations_of(root: Path, paths: list[str]) -> Mapping[int, tuple[str, int]]:
    """Return where each equation number stands in code: the first of the files that has it."""
    found: dict[int, tuple[str, int]] = {}
    for path in paths:
        if path.endswith(".py") and (root / path).is_file():
            for number, line in equation_lines(root / path).items():
                found.setdefault(number, (path, line))
    return found


def listing(
    text: str, stretch: Stretch, *, whole: str = "", back: Callable[[str], str] | None = None
) -> str:
    """Return the rows of a listing: each line with its number, linked to the whole file.

    `whole` is the address of the whole file's page (empty: this is it); `back` gives the address
    of the equation with a number, where the page has one.
    """
    lines = text.split("\n")[stretch.first - 1 : stretch.last]
    rows = highlighted(dedent("\n".join(lines)), "python").split("\n")
    shown = []
    for number, row in enumerate(rows, stretch.first):
        identity = line_id(stretch.path, number) if whole else f"L{number}"
        if back is not None:
            row = _EQUATION.sub(lambda match: _to_equation(match, back), row)
        shown.append(
            f'<span class="row" id="{identity}">'
            f'<a class="row__number" href="#{identity}" data-n="{number}" '
            f'aria-hidden="true" tabindex="-1"></a>{row}\n</span>'
        )
    return "".join(shown)


def _to_equation(match: re.Match[str], back: Callable[[str], str]) -> str:
    href = back(match.group(1))
    if not href:
        return match.group()
    return f'<a class="to-equation" href="{escape(href)}">{match.group().rstrip()}</a>'
