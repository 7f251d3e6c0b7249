"""Fences of notes that run: what they are divided into."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from ssm_tools.run.declared import declared

MakeProject = Callable[[Mapping[str, str]], Path]

PLAIN = "x = 1\nprint(x)\n"
DIVIDED = "# %% setup\nx = 1\n# %% shown\nprint(x)\n# %% check\nassert x\n"


@pytest.mark.parametrize(
    ("code", "cells"),
    [
        (PLAIN, [("shown", 4, "x = 1\nprint(x)")]),
        (DIVIDED, [("setup", 5, "x = 1"), ("shown", 7, "print(x)"), ("check", 9, "assert x")]),
    ],
)
def test_marks_divide_a_fence_as_they_divide_a_file(
    make_project: MakeProject, code: str, cells: list[tuple[str, int, str]]
) -> None:
    root = make_project({"docs/en/note.md": f"# Note\n\n```python run id=x\n{code}```\n"})
    (snippet,) = declared(root)
    assert [(cell.kind, cell.line, cell.code) for cell in snippet.cells] == cells


def test_a_wrong_mark_is_found_at_its_line(make_project: MakeProject) -> None:
    text = "# Note\n\n```python run id=x\n# %% setup\nx = 1\n# %% sideways\nprint(x)\n```\n"
    (snippet,) = declared(make_project({"docs/en/note.md": text}))
    assert [(problem.code, problem.line) for problem in snippet.problems] == [("S010", 6)]
