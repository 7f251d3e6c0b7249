"""Several ranks against one process: the split sequence, its gradients and traffic, the command."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from ssm_ref.__main__ import main
from ssm_ref.training.metrics import read_rows
from ssm_ref.training.ranks import Ranks, state_before

CHECKS = (
    "linear_recurrence",
    "convolution",
    "selective",
    "duality",
    "model",
    "traffic",
    "short_parts",
    "training",
)


@pytest.fixture(scope="module", params=[2, 4])
def ran(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which two or four ranks over gloo left what they found."""
    folder = tmp_path_factory.mktemp(f"ranks{request.param}")
    script = Path(__file__).with_name("ranks_worker.py")
    command = [sys.executable, str(script), str(request.param), str(folder)]
    subprocess.run(command, check=True, timeout=120)
    return folder


@pytest.mark.parametrize("check", CHECKS)
def test_ranks_equal_one_process(ran: Path, check: str) -> None:
    failed = [
        text
        for path in sorted(ran.glob("found-*.json"))
        if (text := json.loads(path.read_text()).get(check))
    ]
    assert list(ran.glob("found-*.json")), "no rank came to an end"
    assert not failed, "\n".join(failed)


@pytest.mark.parametrize("split", ["data", "sequence"])
def test_the_command_learns_the_same_on_ranks(ran: Path, split: str, tmp_path: Path) -> None:
    assert json.loads((ran / "found-0.json").read_text()) == {}
    config = ran / split / "run.toml"
    assert main(["train", str(config), "--out", str(tmp_path)]) == 0
    alone, shared = (read_rows(f / "metrics.jsonl") for f in (tmp_path, ran / split / "out"))
    assert [row["step"] for row in alone] == [row["step"] for row in shared]
    for a, b in zip(alone, shared, strict=True):
        for key in a.keys() & {"loss", "validation_loss", "validation_accuracy", "lr"}:
            assert a[key] == pytest.approx(b[key], rel=1e-4), (key, a["step"])


def test_one_rank_has_nothing_before_it() -> None:
    ranks = Ranks(0, 1)
    end = torch.randn(2, 3, requires_grad=True)
    before = state_before(torch.rand(2, 3), end, ranks)
    assert torch.equal(before, torch.zeros(2, 3))
    assert ranks.traffic.sent == {"forward": 0, "backward": 0}
