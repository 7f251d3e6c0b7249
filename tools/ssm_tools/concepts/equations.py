"""Equation numbers in code: a line that carries Eq. (1) ends in the comment `# (1)`."""

from __future__ import annotations

import io
import re
import tokenize
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

NUMBER = re.compile(r"\((\d+)\)\s*$")


def equation_lines(path: Path) -> Mapping[int, int]:
    """Return the first line of code that carries each equation number, by number."""
    return _numbers(path, path.stat().st_mtime_ns)


@lru_cache(maxsize=512)
def _numbers(path: Path, stamp: int) -> Mapping[int, int]:
    """Read the numbers of a file; `stamp` makes an edit read it anew."""
    del stamp
    found: dict[int, int] = {}
    source = path.read_text(encoding="utf-8")
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT and (match := NUMBER.search(token.string)):
            found.setdefault(int(match[1]), token.start[0])
    return found
