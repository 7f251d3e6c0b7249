"""The hash of an operator's sources, by which measured rows are known to be fresh or stale."""

from __future__ import annotations

import hashlib
from pathlib import Path

DIGITS = 16  # of the hash, as the benchmarks write them


def operator_hash(root: Path, operator: str) -> str:
    """Return SHA-256 over the names and bytes of its Python files, as rows record it."""
    digest = hashlib.sha256()
    for path in sorted((root / "kernels" / "ssm_kernels" / operator).glob("*.py")):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:DIGITS]
