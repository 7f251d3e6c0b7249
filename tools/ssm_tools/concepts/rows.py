"""The measured rows of an operator: where they lie, and whether its sources are still those."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

OURS = "ssm_kernels"
DIGITS = 16  # of the hash, as the benchmarks write them
NO_SOURCES = hashlib.sha256().hexdigest()[:DIGITS]  # what a rival measured alone stands on


def rows_path(root: Path, measurement: str) -> Path:
    """Return the file of an operator's measured rows: `op`, or `op` and which of its rows."""
    operator = measurement.partition(" ")[0].partition("#")[0].partition("/")[0]
    return root / "kernels" / "results" / f"{operator}.jsonl"


def operator_hash(root: Path, operator: str) -> str:
    """Return SHA-256 over the names and bytes of its Python files, as rows record it.

    What is measured and has no folder of its own, such as whole models, stands on all operators.
    """
    package = root / "kernels" / "ssm_kernels"
    if (package / operator).is_dir():
        return _folder_hash(package / operator)
    digest = hashlib.sha256()
    for path in sorted(package.glob("*/kernel.py")):
        digest.update(_folder_hash(path.parent).encode())
    return digest.hexdigest()[:DIGITS]


def _folder_hash(folder: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(folder.glob("*.py")):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:DIGITS]


def rows_are_stale(root: Path, measurement: str) -> bool:
    """Whether the newest row of our kernel was measured on other sources; False without rows."""
    path = rows_path(root, measurement)
    if not path.is_file():
        return False
    hashes = [
        row["source_hash"]
        for line in path.read_text(encoding="utf-8").splitlines()
        if f'"{OURS}"' in line and (row := _row(line)).get("impl") == OURS
        if row.get("source_hash")
    ]
    return bool(hashes) and hashes[-1] != operator_hash(root, path.stem)


def _row(line: str) -> dict[str, Any]:
    """Return one line's row, an empty one where the line is none."""
    try:
        row = json.loads(line)
    except ValueError:
        return {}
    return row if isinstance(row, dict) else {}
