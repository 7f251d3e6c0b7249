"""From a position in a block's text, as markdown-it hands it over, to the place in the file.

Markdown-it strips quote marks, list indents and blanks from a block's lines, and the backslash
before a pipe from a table cell. What it keeps of a line is always its tail, so ends are aligned.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import Protocol

from markdown_it.token import Token


class Places(Protocol):
    """Turns positions in a block's text into offsets, lines and columns of the file."""

    start: int
    end: int

    def offset(self, position: int) -> int:
        """Offset in the file."""

    def line_column(self, position: int) -> tuple[int, int]:
        """Line and column in the file, from 1."""


class TextPlaces:
    """Places in a paragraph or heading that covers the lines `lines[0]:lines[1]` (from 0)."""

    def __init__(self, text: str, starts: list[int], lines: tuple[int, int], content: str) -> None:
        self.first = lines[0]
        self.starts = starts
        pieces = content.split("\n")
        self.piece_starts = [0]
        self.bases = []
        for index, piece in enumerate(pieces):
            line = self.first + index
            begin = starts[line]
            stop = starts[line + 1] if line + 1 < len(starts) else len(text)
            raw = text[begin:stop].rstrip("\r\n")
            trimmed = piece.rstrip()
            at = raw.rfind(trimmed) if "#" in raw else len(raw.rstrip()) - len(trimmed)
            if at < 0:  # a tab that stands for part of an indent became spaces
                at = len(raw.rstrip()) - len(trimmed)
            self.bases.append(begin + at)
            self.piece_starts.append(self.piece_starts[-1] + len(piece) + 1)
        self.start = self.bases[0]
        self.end = self.bases[-1] + len(trimmed)

    def offset(self, position: int) -> int:
        """Offset in the file."""
        index = bisect_right(self.piece_starts, position) - 1
        index = min(index, len(self.bases) - 1)
        return self.bases[index] + position - self.piece_starts[index]

    def line_column(self, position: int) -> tuple[int, int]:
        """Line and column in the file, from 1."""
        index = min(bisect_right(self.piece_starts, position) - 1, len(self.bases) - 1)
        line = self.first + index
        offset = self.bases[index] + position - self.piece_starts[index]
        return line + 1, offset - self.starts[line] + 1


class CellPlaces:
    """Places in a table cell: one line, where each pipe of the text is `\\|` in the file."""

    def __init__(self, text: str, line: int, line_start: int, cursor: int, token: Token) -> None:
        self.content = token.content
        self.line = line
        self.line_start = line_start
        raw = self.content.replace("|", "\\|")
        stop = text.find("\n", cursor)
        found = text.find(raw, cursor, len(text) if stop < 0 else stop)
        self.start = found if found >= 0 else cursor
        self.end = self.start + len(raw)

    def offset(self, position: int) -> int:
        """Offset in the file."""
        return self.start + position + self.content.count("|", 0, position)

    def line_column(self, position: int) -> tuple[int, int]:
        """Line and column in the file, from 1."""
        return self.line + 1, self.offset(position) - self.line_start + 1
