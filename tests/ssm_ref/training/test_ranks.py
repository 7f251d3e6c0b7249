"""Several ranks against one process: the split sequence, its gradients and traffic, the command."""

import io
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from ssm_ref.__main__ import main
from ssm_ref.training.config import load_config
from ssm_ref.training.loop import Trainer
from ssm_ref.training.metrics import Progress, read_rows
from ssm_ref.training.ranks import Ranks, state_before

CHECKS = (
    "linear_recurrence",
    "convolution",
    "selective",
    "duality",
    "model",
    "traffic",
    "short_parts",
    "bytes_of_a_step",
    "training",
    "relay",
    "stopping",
)

LAYOUTS = ("rows", "time", "grid", "sharded", "sharded_time", "sharded_grid")


@pytest.fixture(
    scope="module", params=[("gloo", 2), ("gloo", 4), ("nccl", 2), ("nccl", 4)], ids=str
)
def ran(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which ranks on CPUs, or on as many GPUs, left what they found."""
    backend, size = request.param
    if backend == "nccl" and torch.cuda.device_count() < size:
        pytest.skip(f"NCCL wants {size} GPUs")
    folder = tmp_path_factory.mktemp(f"{backend}{size}")
    script = Path(__file__).with_name("ranks_worker.py")
    command = [sys.executable, str(script), str(size), str(folder), backend]
    subprocess.run(command, check=True, timeout=240)
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


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Path], Trainer]:
    """The run of a config by one process, to its end."""
    folder = tmp_path_factory.mktemp("alone")

    def run(config: Path) -> Trainer:
        assert main(["train", str(config), "--out", str(folder)]) == 0
        return Trainer(load_config(config), folder, Ranks(0, 1))

    return run


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_command_learns_the_same_on_ranks(
    ran: Path, layout: str, alone: Callable[[Path], Trainer]
) -> None:
    assert json.loads((ran / "found-0.json").read_text()) == {}
    if not (ran / layout).is_dir():
        pytest.skip("a grid takes four ranks")
    trainer = alone(ran / "run.toml")
    mine, theirs = (read_rows(f / "metrics.jsonl") for f in (trainer.folder, ran / layout))
    assert [row["step"] for row in mine] == [row["step"] for row in theirs]
    for a, b in zip(mine, theirs, strict=True):
        for key in a.keys() & {"loss", "validation_loss", "validation_accuracy", "lr"}:
            assert a[key] == pytest.approx(b[key], rel=1e-4), (key, a["step"])
    close(trainer, Trainer(trainer.cfg, ran / layout, Ranks(0, 1)))


def test_a_checkpoint_of_one_layout_goes_on_in_another(
    ran: Path, alone: Callable[[Path], Trainer], tmp_path: Path
) -> None:
    shutil.copytree(ran / "relay", tmp_path / "out")
    trainer = alone(ran / "run.toml")
    resumed = Trainer(trainer.cfg, tmp_path / "out", Ranks(0, 1))
    assert resumed.step >= 4, "one step in each layout"
    resumed.run(Progress(6, resumed.step, io.StringIO()))
    close(trainer, resumed)


def close(a: Trainer, b: Trainer) -> None:
    """Weights and moments of two runs at their end."""
    assert a.step == b.step == 6
    for p, q in zip(a.model.parameters(), b.model.parameters(), strict=True):
        torch.testing.assert_close(p, q, rtol=1e-3, atol=1e-5)
        torch.testing.assert_close(
            a.optimizer.state[p]["exp_avg"], b.optimizer.state[q]["exp_avg"], rtol=1e-3, atol=1e-6
        )


def test_one_rank_has_nothing_before_it() -> None:
    ranks = Ranks(0, 1)
    end = torch.randn(2, 3, requires_grad=True)
    before = state_before(torch.rand(2, 3), end, ranks)
    assert torch.equal(before, torch.zeros(2, 3))
    assert ranks.traffic.sent == {"forward": 0, "backward": 0}
