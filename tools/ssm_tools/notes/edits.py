"""Replace pieces of a text by offsets; everything else stays byte for byte."""

from __future__ import annotations

from collections.abc import Iterable

Edit = tuple[int, int, str]


def rewrite(text: str, edits: Iterable[Edit]) -> str:
    """Return the text with each `start:end` replaced.

    Raises `ValueError` where two edits overlap or one lies outside the text.
    """
    pieces: list[str] = []
    position = 0
    for start, end, replacement in sorted(edits):
        if not position <= start <= end <= len(text):
            raise ValueError(f"edit {start}:{end} overlaps another or leaves 0:{len(text)}")
        pieces += (text[position:start], replacement)
        position = end
    pieces.append(text[position:])
    return "".join(pieces)
