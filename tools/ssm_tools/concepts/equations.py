"""Equation numbers in code: a line that carries Eq. (1) ends in the comment `# (1)`."""

from __future__ import annotations

import io
import re
import tokenize
from pathlib import Path

NUMBER = re.compile(r"\((\d+)\)\s*$")


def equation_lines(path: Path) -> dict[int, int]:
    """Return the first line of code that carries each equation number, by number."""
    found: dict[int, int] = {}
    source = path.read_text(encoding="utf-8")
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT and (match := NUMBER.search(token.string)):
            found.setdefault(int(match[1]), token.start[0])
    return found
