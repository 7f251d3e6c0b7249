"""The pytest plugin: every outcome in build/tests.json, from workers too, added to run by run."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from ssm_tools.concepts import TieState, current_report

MakeProject = Callable[[Mapping[str, str]], Path]

TESTS = """
import pytest


@pytest.mark.parametrize("x", [1, 2])
def test_good(x):
    assert x


def test_bad():
    assert 0


@pytest.mark.skip
def test_skipped():
    pass


@pytest.mark.xfail
def test_expected():
    assert 0


@pytest.fixture
def broken():
    yield 1
    raise ValueError


def test_breaks_after(broken):
    pass
"""


@pytest.mark.parametrize("workers", [[], ["-n", "2"]], ids=["alone", "workers"])
def test_outcomes(workers: list[str], make_project: MakeProject) -> None:
    root = make_project(
        {"docs/index.md": "", "tests/test_a.py": TESTS, "tests/test_b.py": "def test_b(): pass\n"}
    )
    plain = [sys.executable, "-m", "pytest", "-q", "--rootdir", str(root)]
    plain += ["-p", "ssm_tools.pytest_plugin"]
    for selection in ([*workers, "tests/test_a.py"], ["tests/test_b.py"]):
        subprocess.run([*plain, *selection], cwd=root, check=False, stdout=subprocess.DEVNULL)
    report = current_report(root)
    assert report is not None
    counts = {
        name: (state.passed, state.failed, state.skipped)
        for name in ("good", "bad", "skipped", "expected", "breaks_after")
        for state in [report.state(f"tests/test_a.py::test_{name}")]
    }
    assert counts == {
        "good": (2, 0, 0),
        "bad": (0, 1, 0),
        "skipped": (0, 0, 1),
        "expected": (0, 0, 1),
        "breaks_after": (0, 1, 0),
    }
    assert report.state("tests/test_b.py").holds
    assert report.state("tests/test_c.py") == TieState()
    (root / "tests" / "test_b.py").write_text("")
    assert current_report(root) is None


def test_only_a_whole_run_can_tell_what_did_not_run(make_project: MakeProject) -> None:
    root = make_project(
        {"docs/index.md": "", "tests/test_a.py": "def test_a(): pass\n", "tests/test_b.py": ""}
    )
    plain = [sys.executable, "-m", "pytest", "-q", "--rootdir", str(root)]
    plain += ["-p", "ssm_tools.pytest_plugin"]
    for selection, whole in (
        (["tests/test_a.py"], False),
        (["tests", "-k", "a"], False),
        (["tests"], True),
        (["tests/test_a.py"], True),
    ):
        subprocess.run([*plain, *selection], cwd=root, check=True, stdout=subprocess.DEVNULL)
        report = current_report(root)
        assert report is not None
        assert report.whole is whole


ITEMS = """
import pytest


class Item(pytest.Item):
    def runtest(self):
        pass


class Module(pytest.Module):
    def collect(self):
        for name in ("page/a", "page/c"):
            yield Item.from_parent(self, name=name)


def pytest_pycollect_makemodule(module_path, parent):
    return Module.from_parent(parent, path=module_path)
"""


def test_a_whole_run_fails_unless_it_ran_what_is_declared(make_project: MakeProject) -> None:
    root = make_project(
        {
            "docs/snippets/page/a.py": "x = 1\n",
            "docs/snippets/page/b.py": "x = 1\n",
            "tests/snippets/conftest.py": ITEMS,
            "tests/snippets/test_snippets.py": "",
            "tests/test_a.py": "def test_a(): pass\n",
        }
    )
    plain = [sys.executable, "-m", "pytest", "-q", "--rootdir", str(root)]
    plain += ["-p", "ssm_tools.pytest_plugin"]
    part = subprocess.run([*plain, "tests/snippets"], cwd=root, check=False, capture_output=True)
    assert part.returncode == 0, "a part of the tests can say nothing"
    done = subprocess.run([*plain, "tests"], cwd=root, check=False, capture_output=True, text=True)
    assert done.returncode == 1
    said = [line for line in done.stdout.splitlines() if line.startswith("S019")]
    assert [line.rpartition(" ")[2] for line in said] == ["page/b", "page/c"]
    (root / "docs/snippets/page/b.py").rename(root / "docs/snippets/page/c.py")
    assert subprocess.run([*plain, "tests"], cwd=root, check=False).returncode == 0
