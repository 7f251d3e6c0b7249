"""Expected output in comments: `#>` lines after a statement, compared with a tolerance for numbers.

A block of `#>` lines states what was printed since the block before it (or the cell's start), and
the value shown by the cell's last expression. `...` stands for anything. Numbers with a point or
an exponent agree within one part in a thousand; whole numbers must be equal.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from ssm_tools.run.snippets import EXPECTED, Snippet

NUMBER = re.compile(r"[-+]?(?:\d+\.\d*|\.\d+|\d+)(?:[eE][-+]?\d+)?")
RELATIVE, ABSOLUTE = 1e-3, 2e-4


@dataclass(frozen=True, slots=True)
class Expectation:
    """What the file says at lines `line` to `end` (inclusive), and what came instead."""

    line: int
    end: int
    wanted: str
    got: str

    @property
    def holds(self) -> bool:
        """Whether what came is what was wanted."""
        return agrees(self.wanted, self.got)

    def diff(self) -> str:
        """Return the difference as lines that start with - (wanted) and + (came)."""
        rows = difflib.ndiff(self.wanted.splitlines(), self.got.splitlines())
        return "\n".join(row for row in rows if not row.startswith("?"))


def expectations(snippet: Snippet, spoken: Sequence[tuple[int, str]]) -> list[Expectation]:
    """Pair every block of `#>` lines with the output of the statements before it."""
    found: list[Expectation] = []
    for cell in snippet.cells:
        since = cell.line
        rows = cell.code.split("\n")
        number = 0
        while number < len(rows):
            start = number
            while number < len(rows) and rows[number].startswith(EXPECTED):
                number += 1
            if number == start:
                number += 1
                continue
            line = cell.line + start
            wanted = "\n".join(row[len(EXPECTED) :].removeprefix(" ") for row in rows[start:number])
            got = "".join(text for where, text in spoken if since <= where < line)
            found.append(Expectation(line, cell.line + number - 1, wanted, got.rstrip("\n")))
            since = line
    return found


def agrees(wanted: str, got: str) -> bool:
    """Return whether two outputs say the same, apart from spacing and rounding."""
    parts = wanted.split("...")
    if len(parts) > 1:
        pattern = r"[\s\S]*".join(re.escape(part.strip()).replace(r"\ ", r"\s+") for part in parts)
        return re.fullmatch(pattern, got.strip()) is not None
    words = NUMBER.sub(" 0 ", wanted).split(), NUMBER.sub(" 0 ", got).split()
    numbers = NUMBER.findall(wanted), NUMBER.findall(got)
    return (
        words[0] == words[1]
        and len(numbers[0]) == len(numbers[1])
        and all(_close(a, b) for a, b in zip(*numbers, strict=True))
    )


def _close(wanted: str, got: str) -> bool:
    if wanted.lstrip("+-").isdecimal() and got.lstrip("+-").isdecimal():
        return int(wanted) == int(got)
    return math.isclose(float(wanted), float(got), rel_tol=RELATIVE, abs_tol=ABSOLUTE)


def rewrite(text: str, wrong: Sequence[Expectation]) -> str:
    """Return a file's text with what came in place of what was expected."""
    lines = text.split("\n")
    for item in sorted(wrong, key=lambda item: item.line, reverse=True):
        rows = [f"{EXPECTED} {row}".rstrip() for row in item.got.split("\n")]
        lines[item.line - 1 : item.end] = rows
    return "\n".join(lines)
