"""The hash of an operator's sources, by which measured rows are known to be fresh or stale."""

from __future__ import annotations

import hashlib
from pathlib import Path


def operator_hash(root: Path, operator: str) -> str:
    """Return the SHA-256 of the operator's Python files, by name and content."""
    digest = hashlib.sha256()
    for path in sorted((root / "kernels" / "ssm_kernels" / operator).glob("*.py")):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()
