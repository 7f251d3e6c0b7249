"""Recorded runs of training: `docs/experiments/NAME.jsonl`, a row a variant."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def trained_row(root: Path, tie: str) -> Mapping[str, Any] | None:
    """Return the newest row of `NAME/VARIANT`, or of `NAME` that has no variants; None without."""
    name, _, variant = tie.partition("/")
    path = root / "docs" / "experiments" / f"{name}.jsonl"
    if not path.is_file():
        return None
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line]
    return next((row for row in reversed(rows) if row.get("variant", "") == variant), None)
