"""The source hash of a tree: what the outcome of its tests depends on."""

from __future__ import annotations

import hashlib
from pathlib import Path

FOLDERS = ("ssm_ref", "kernels/ssm_kernels", "tools/ssm_tools", "tests", "docs/snippets")
FILES = ("pyproject.toml", "constraints.txt")
SUFFIXES = frozenset({".py", ".toml", ".txt", ".json", ".yml", ".js", ".css", ".html"})


def source_hash(root: Path) -> str:
    """Return one hash of every source file of a project, by path and content."""
    digest = hashlib.sha256()
    for path in source_files(root):
        digest.update(path.relative_to(root).as_posix().encode() + b"\0")
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def source_files(root: Path) -> list[Path]:
    """Return the files that count, in a fixed order."""
    found = [root / name for name in FILES if (root / name).is_file()]
    for folder in FOLDERS:
        for path in (root / folder).rglob("*"):
            if path.suffix in SUFFIXES and "__pycache__" not in path.parts and path.is_file():
                found.append(path)
    return sorted(found, key=lambda path: path.relative_to(root).as_posix())
