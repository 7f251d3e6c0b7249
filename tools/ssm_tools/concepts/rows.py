"""Where the measured rows of an operator lie."""

from __future__ import annotations

from pathlib import Path


def rows_path(root: Path, measurement: str) -> Path:
    """Return the file of an operator's measured rows: `op`, or `op` and which of its rows."""
    operator = measurement.partition(" ")[0].partition("#")[0].partition("/")[0]
    return root / "kernels" / "results" / f"{operator}.jsonl"
