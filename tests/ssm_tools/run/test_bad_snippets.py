"""Everything a snippet can do wrong ends in one finding at its line, and the next one runs."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from pathlib import Path

import pytest

from ssm_tools.run import Outcome, Store, declared, landlock
from ssm_tools.run.client import Client
from ssm_tools.run.executor import run_with

RunText = Callable[[str | bytes], Outcome]

# name: code of the finding, its line, and the snippet
BAD: dict[str, tuple[str, int, str]] = {
    "raises": ("S001", 2, "x = 1\nx / 0\n"),
    "raises in a function": ("S001", 2, "def f():\n    return [][1]\n\n\nf()\n"),
    "raises in a check": ("S001", 5, "# %% shown\nx = 1\n# %% check\n\nassert x == 2\n"),
    "sys.exit(0)": ("S002", 2, "import sys\nsys.exit(0)\n"),
    "exit": ("S002", 1, "exit()\n"),
    "os._exit": ("S002", 3, "import os\n\nos._exit(0)\n"),
    "keyboard interrupt": ("S001", 1, "raise KeyboardInterrupt\n"),
    "crash": ("S003", 2, "import ctypes\nctypes.string_at(0)\n"),
    "killed": ("S003", 2, "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)\n"),
    "hang": ("S004", 3, "# snippet: timeout=1\nimport time\ntime.sleep(99)\n"),
    "busy loop": ("S004", 2, "# snippet: timeout=1\nwhile True:\n    pass\n"),
    "memory": ("S005", 3, "# snippet: memory=200\nimport numpy\nx = numpy.ones(10**9)\n"),
    "torch memory": ("S005", 3, "# snippet: memory=200\nimport torch\nx = torch.ones(10**9)\n"),
    "prints 2 MB": ("S006", 1, "for _ in range(20):\n    print('x' * 100_000)\n"),
    "prints 100 MB": ("S006", 1, "print('x' * 100_000_000)\n"),
    "prints from below": ("S006", 2, "import os\nfor _ in range(999): os.write(1, b'x' * 9999)\n"),
    "shows 100 MB": ("S006", 2, "x = 'x' * 100_000_000\nx\n"),
    "warning": ("S007", 3, "import warnings\n\nwarnings.warn('old')\n"),
    "other warning": (
        "S007",
        3,
        "# snippet: warns=FutureWarning\nimport warnings\nwarnings.warn('old', UserWarning)\n",
    ),
    "no warning": ("S008", 2, "# snippet: warns=UserWarning\nx = 1\n"),
    "no error": ("S008", 2, "# snippet: raises=ValueError\nx = 1\n"),
    "no error in its cell": ("S008", 4, "x = 1\n# %% shown raises=KeyError\ny = {}\nz = y\n"),
    "other error": ("S001", 2, "# snippet: raises=KeyError\n1 / 0\n"),
    "other output": ("S009", 3, "x = 1\nprint(x)\n#> 2\n"),
    "other number": ("S009", 2, "print(0.5)\n#> 0.51\n"),
    "syntax": ("S010", 2, "x = 1\ny = = 2\n"),
    "option": ("S010", 1, "# snippet: speed=9\nx = 1\n"),
    "option value": ("S010", 1, "# snippet: timeout=soon\nx = 1\n"),
    "cell": ("S010", 2, "x = 1\n# %% hidden\ny = 2\n"),
    "empty": ("S010", 1, "# snippet: timeout=9\n"),
    "NUL": ("S010", 2, "x = 1\ny = '\0'\n"),
    "thread": (
        "S011",
        3,
        "import threading, time\n\nthreading.Thread(target=time.sleep, args=(9,)).start()\nx = 1\n",
    ),
    "fork": ("S012", 2, "import os\nos.fork()\n"),
    "fork from below": ("S012", 3, "import ctypes\n\nctypes.CDLL(None).fork()\n"),
    "process": ("S012", 2, "import subprocess\nsubprocess.run(['true'])\n"),
    "shell": ("S012", 2, "import os\nos.system('true')\n"),
    "multiprocessing": (
        "S012",
        2,
        "import multiprocessing as m\nm.get_context('fork').Process(target=print).start()\n",
    ),
    "socket": ("S012", 2, "import socket\nsocket.create_connection(('127.0.0.1', 9))\n"),
    "download": ("S012", 2, "import urllib.request\nurllib.request.urlopen('http://127.0.0.1')\n"),
    "writes above": ("S012", 1, "open('../../x.txt', 'w')\n"),
    "writes beside itself": ("S012", 2, "import pathlib\npathlib.Path(__file__).write_text('')\n"),
    "removes itself": ("S012", 2, "import os\nos.remove(__file__)\n"),
    "renames itself": ("S012", 2, "import os\nos.rename(__file__, 'x')\n"),
    "makes a directory": ("S012", 2, "import os\nos.makedirs('/tmp/ssm-snippet/x')\n"),
    "memory address": ("S013", 2, "x = 1\nobject()\n"),
    "figure of the moment": (
        "S013",
        3,
        "import time\nimport matplotlib.pyplot as plt\nplt.plot([0, time.time_ns() % 1_000_003])\n",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_ends_in_one_finding_at_its_line(name: str, run_text: RunText) -> None:
    code, line, text = BAD[name]
    outcome = run_text(text)
    assert outcome.result is None
    assert [(one.code, one.line) for one in outcome.findings] == [(code, line)], outcome.findings
    assert outcome.findings[0].path == outcome.snippet.path
    assert code == "S010" or f">{line:5} | " in outcome.excerpt
    assert run_text("print('next')\n").result is not None


def test_writes_from_below(run_text: RunText, tmp_path: Path) -> None:
    if ctypes.CDLL(None).syscall(landlock.CREATE, None, 0, landlock.VERSION) < 1:
        pytest.skip("the kernel has no Landlock")
    for name, write in {
        "x.pt": "import torch\ntorch.save(torch.ones(2), {!r})\n",
        "x.db": "import sqlite3\n_ = sqlite3.connect({!r}).execute('create table t (x)')\n",
    }.items():
        outcome = run_text(write.format(str(tmp_path / name)))
        assert [(one.code, one.line) for one in outcome.findings] == [("S001", 2)]
        assert not (tmp_path / name).exists()
        assert run_text(write.format(name)).result is not None, "in its own directory it may"


def test_lost_files_are_found(client: Client) -> None:
    folder = client.root / "docs" / "snippets"
    names = (Path("lost.py"), Path("page/deep/lost.py"))
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("x = 1\n")
    problems = [problem for one in declared(client.root) for problem in one.problems]
    assert [(one.code, one.path) for one in problems] == [
        ("S010", f"docs/snippets/{name}") for name in names
    ]
    for name in names:
        (folder / name).unlink()


def test_not_utf8(run_text: RunText) -> None:
    outcome = run_text("x = 1\ny = 'да'\n".encode("cp1251"))
    assert [(one.code, one.line, one.column) for one in outcome.findings] == [("S010", 2, 6)]


def test_project_module_that_loops_on_import(client: Client, run_text: RunText) -> None:
    (client.root / "ssm_ref" / "endless.py").write_text("while True:\n    pass\n")
    outcome = run_text("# snippet: timeout=1\nx = 1\nimport ssm_ref.endless\n")
    assert [(one.code, one.line) for one in outcome.findings] == [("S004", 3)]


def test_error_in_a_project_module_is_named(client: Client, run_text: RunText) -> None:
    (client.root / "ssm_ref" / "broken.py").write_text("def f():\n    raise ValueError('no')\n")
    outcome = run_text("from ssm_ref.broken import f\n\nf()\n")
    assert [(one.code, one.line) for one in outcome.findings] == [("S001", 3)]
    assert "raised at ssm_ref/broken.py:2" in outcome.findings[0].message


def test_state_does_not_leak(run_text: RunText) -> None:
    first = """
        import os, sys, warnings, torch
        torch.set_default_dtype(torch.float64)
        torch.set_printoptions(precision=1)
        warnings.simplefilter("ignore")
        os.environ["LEAK"] = sys.modules["leak"] = "x"
    """
    second = """
        import os, sys, torch
        assert torch.get_default_dtype() == torch.float32
        assert "LEAK" not in os.environ and "leak" not in sys.modules
        print(torch.rand(2), os.listdir())
        #> tensor([0.4963, 0.7682]) []
    """
    assert run_text(first).findings == ()
    assert run_text(second).findings == ()


def test_server_that_dies_is_replaced(client: Client) -> None:
    folder = client.root / "docs" / "snippets" / "death"
    folder.mkdir(parents=True)
    (folder / "a.py").write_text("import os, signal\nos.kill(os.getppid(), signal.SIGKILL)\n")
    (folder / "b.py").write_text("print(1)\n")
    snippets = [one for one in declared(client.root) if one.page == "death"]
    found = {one.snippet.name: one for one in run_with(client, snippets, Store(client.root))}
    assert [finding.code for finding in found["a"].findings] == ["S003"]
    assert found["b"].result is not None
    for path in (folder / "a.py", folder / "b.py"):
        Path(path).unlink()
