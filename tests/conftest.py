"""For all tests: the same random numbers in any order, the references' shape annotations checked,
kernels interpreted where there is no GPU, and torch on one thread."""

from __future__ import annotations

import os
import random
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from textwrap import dedent

import pytest

from ssm_tools import annotations

# Before anything imports torch or a kernel: both read these once.
os.environ.setdefault("OMP_NUM_THREADS", "1")
if not Path("/dev/nvidiactl").exists():
    os.environ.setdefault("TRITON_INTERPRET", "1")
annotations.install("ssm_ref")

TINY_RUN = """
steps = 6
batch_size = 4
validation_batches = 2
[data]
name = "copying"
shortest = 2
longest = 3
[model]
name = "pattern"
d_model = 8
d_head = 4
pattern = "M-"
"""
MakeProject = Callable[[Mapping[str, str]], Path]


@pytest.fixture(autouse=True)
def _seed() -> None:
    """Start every test from one seed: what it draws does not hang on the tests before it."""
    random.seed(0)
    if numpy := sys.modules.get("numpy"):
        numpy.random.seed(0)
    if torch := sys.modules.get("torch"):
        torch.manual_seed(0)


@pytest.fixture
def make_project(tmp_path: Path) -> MakeProject:
    """Return a function that writes files (path to text, dedented) into a project of their own."""

    def make(files: Mapping[str, str]) -> Path:
        for name, text in files.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(dedent(text).lstrip("\n"), encoding="utf-8")
        return tmp_path

    return make


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """The config of a training run that takes a moment; options go before it, tables behind it."""
    path = tmp_path / "run.toml"
    path.write_text(TINY_RUN)
    return path
