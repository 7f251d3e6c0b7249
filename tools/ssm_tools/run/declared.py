"""Every snippet that a project declares: files under docs/snippets and runnable fences of notes."""

from __future__ import annotations

from pathlib import Path

from ssm_tools.run.snippets import Snippet, parse_file

FOLDER = Path("docs") / "snippets"


def declared(root: Path) -> list[Snippet]:
    """Return all snippets of a project, by id; what is wrong with one is among its `problems`."""
    return declared_files(root)


def declared_files(root: Path) -> list[Snippet]:
    """Return the snippets that are files of their own: `docs/snippets/<page>/<name>.py`."""
    found = []
    for path in sorted((root / FOLDER).glob("*/*.py")):
        page = path.parent.name
        relative = path.relative_to(root).as_posix()
        found.append(parse_file(path, relative, f"{page}/{path.stem}"))
    return found
