"""Whether a test exists, read from its file: `path`, `path::test` or `path::Class::test[id]`."""

from __future__ import annotations

import ast
from functools import lru_cache
from pathlib import Path


def locate_test(root: Path, node_id: str) -> int | None:
    """Return the line of a test (1 for a whole file), or None if there is no such test."""
    name, *parts = node_id.partition("[")[0].split("::")
    path = root / name
    if not path.is_file() or path.suffix != ".py":
        return None
    if not parts:
        return 1
    return _tests(path, path.stat().st_mtime_ns).get("::".join(parts))


@lru_cache(maxsize=512)
def _tests(path: Path, stamp: int) -> dict[str, int]:
    """Return the lines of a file's tests and test classes; `stamp` makes an edit read it anew."""
    del stamp
    found: dict[str, int] = {}

    def visit(body: list[ast.stmt], prefix: str) -> None:
        for node in body:
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                if node.name.startswith("test"):
                    found[prefix + node.name] = node.lineno
            elif isinstance(node, ast.ClassDef) and node.name.startswith("Test"):
                found[prefix + node.name] = node.lineno
                visit(node.body, f"{prefix}{node.name}::")

    visit(ast.parse(path.read_text(encoding="utf-8")).body, "")
    return found
