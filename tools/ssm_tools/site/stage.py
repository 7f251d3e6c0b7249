"""The stage: plain Markdown, a folder per language, which any site generator could build."""

from __future__ import annotations

import json
from pathlib import Path

from ssm_tools.site.assemble import Assembly
from ssm_tools.site.model import Page


def stage(made: Assembly, folder: Path) -> int:
    """Write what changed of the stage, remove what is gone; return how many files were written."""
    written = 0
    for language, pages in made.pages.items():
        root = folder / (language or "all")
        wanted: set[Path] = set()
        for page in pages:
            path = root / page.stage_path
            wanted.add(path)
            written += _write(path, _text(page))
        for path in root.rglob("*.md") if root.is_dir() else ():
            if path not in wanted:
                path.unlink()
    return written


def _text(page: Page) -> str:
    head = f"---\ntitle: {json.dumps(page.title, ensure_ascii=False)}\n---\n\n"
    return head + page.markdown


def _write(path: Path, text: str) -> bool:
    data = text.encode("utf-8")
    if path.is_file() and path.read_bytes() == data:
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return True
