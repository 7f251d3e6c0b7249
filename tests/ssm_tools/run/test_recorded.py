"""GPU snippets: recorded where there is a GPU, with its provenance, and shown for what they are."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from ssm_tools.run import Recorded, Result, Store, declared
from ssm_tools.run.client import Client
from ssm_tools.run.declared import declared_for_gpu
from ssm_tools.run.environment import server_variables
from ssm_tools.run.executor import judge_on_gpu
from ssm_tools.run.recorded import record
from ssm_tools.site.fences import recording
from ssm_tools.site.strings import strings

MakeProject = Callable[[Mapping[str, str]], Path]

ON_GPU = "# snippet: device=cuda\nimport torch\n\nprint(torch.ones(2).sum().item())\n"
FENCE = "```python run id=fence device=cuda\nprint(1)\n```\n"
BLIND = """
import sys

for name in ("markdown_it", "mdit_py_plugins", "networkx", "griffe", "yaml"):
    sys.modules[name] = None
from pathlib import Path
from ssm_tools.cli import build_parser
from ssm_tools.run import server
from ssm_tools.run.declared import declared_for_gpu

build_parser()
print([snippet.id for snippet in declared_for_gpu(Path(sys.argv[1]))])
"""


def test_files_for_a_gpu_are_found_without_the_tools_for_notes(make_project: MakeProject) -> None:
    root = make_project(
        {
            "docs/snippets/page/fast.py": ON_GPU,
            "docs/snippets/page/slow.py": "print(1)\n",
            "docs/en/note.md": "On device=cuda.\n\n```python run id=x\n```\n",
        }
    )
    done = subprocess.run(
        [sys.executable, "-c", BLIND, str(root)], capture_output=True, text=True, check=False
    )
    assert (done.stdout.strip(), done.stderr) == ("['page/fast']", "")


def test_fences_for_a_gpu_are_found(make_project: MakeProject) -> None:
    root = make_project({"docs/en/note.md": f"# Note\n\n{FENCE}", "docs/ru/note.md": FENCE})
    assert [snippet.id for snippet in declared_for_gpu(root)] == ["note/fence"]


def test_a_run_that_left_the_gpu_alone_is_not_recorded(client: Client) -> None:
    folder = client.root / "docs" / "snippets" / "gpu"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "fast.py").write_text(ON_GPU)
    (snippet,) = (one for one in declared(client.root) if one.id == "gpu/fast")
    ((_, reply),) = client.run([snippet])
    store = Store(client.root)
    outcome = judge_on_gpu(client.root, snippet, reply, store)
    assert [(one.code, one.line) for one in outcome.findings] == [("S018", 1)]
    outcome = judge_on_gpu(client.root, snippet, reply | {"on_gpu": True}, store)
    assert outcome.result is not None
    path = record(client.root, snippet, outcome.result, commit="c0ffee")
    assert json.loads(path.read_text())["recorded"]["commit"] == "c0ffee"
    (folder / "fast.py").unlink()
    path.unlink()


def test_the_caller_s_variables_reach_a_gpu_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CC", "/opt/cc")
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    monkeypatch.setenv("PYTHONPATH", "/opt/more")
    on_gpu = server_variables(Path("/p"), Path("/w"), "cuda")
    assert on_gpu["CC"] == "/opt/cc"
    assert "TRITON_INTERPRET" not in on_gpu
    assert on_gpu["PYTHONPATH"].endswith("/opt/more")
    on_cpu = server_variables(Path("/p"), Path("/w"), "cpu")
    assert (on_cpu["TRITON_INTERPRET"], on_cpu["CUDA_VISIBLE_DEVICES"]) == ("1", "")
    assert "CC" not in on_cpu


def test_a_page_says_where_a_recording_comes_from() -> None:
    words = strings("en")
    there = Recorded("c0ffee", "H100", "580", {"torch": "2.11"}, 0, "2026-11-24", "ssm-notes run")
    result = Result("page/fast", (), 1.0)
    assert words["not_recorded"] in recording(result, words)
    shown = recording(replace(result, recorded=there), words)
    for fact in ("c0ffee", "H100", "driver 580", "torch 2.11", "2026-11-24", "ssm-notes run"):
        assert fact in shown
    assert words["stale"] not in shown
    stale = replace(there, stale="its text changed")
    assert words["stale"] in recording(replace(result, recorded=stale), words)
