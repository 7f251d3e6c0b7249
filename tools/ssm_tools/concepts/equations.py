"""Equation numbers in code: a line that carries Eq. (1) ends in the comment `# (1)`.

Several may stand together, `# (4), (6)`, and words behind or before them, `# (1) each b l d`.
"""

from __future__ import annotations

import io
import re
import tokenize
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

NUMBERS = r"\(\d+\)(?:, ?\(\d+\))*"
NAMED = re.compile(rf"^#\s*({NUMBERS})(?!\S)|({NUMBERS})\s*$")


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
        if token.type == tokenize.COMMENT:
            for named in NAMED.finditer(token.string):
                for number in re.findall(r"\d+", named[0]):
                    found.setdefault(int(number), token.start[0])
    return found
