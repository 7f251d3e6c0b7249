"""A made project of small snippets for the executor's benchmark: pages, modules, snippets."""

from __future__ import annotations

from pathlib import Path

MODULES = 10

MODULE = '''"""Module {number} of the made project."""

import torch


def step(h, x):
    """Return the next state."""
    return {number} / 10 * h + x
'''

SNIPPET = """# %% setup
import torch

from ssm_ref.made.module_{module} import step

# %% shown
h = torch.zeros(4)
for x in torch.rand(8, 4):
    h = step(h, x)
print("page {page}, snippet {number}")
h
# %% check
assert h.isfinite().all()
"""

FIGURE = """
# %% shown
import matplotlib.pyplot as plt

plt.plot(h)
plt.title("State {page}.{number}")
"""


def write_corpus(root: Path, pages: int = 30, snippets: int = 300) -> None:
    """Write a project: each page uses one of ten modules, one snippet in ten draws a figure."""
    made = root / "ssm_ref" / "made"
    made.mkdir(parents=True)
    for folder in (made.parent, made):
        (folder / "__init__.py").write_text("")
    for number in range(MODULES):
        (made / f"module_{number}.py").write_text(MODULE.format(number=number))
    for index in range(snippets):
        page, number = index % pages, index // pages
        text = SNIPPET.format(page=page, number=number, module=page % MODULES)
        if number == 0:
            text += FIGURE.format(page=page, number=number)
        path = root / "docs" / "snippets" / f"page_{page:02}" / f"snippet_{number}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
