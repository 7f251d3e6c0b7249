"""Runs that are killed, resumed and measured: the curve is the same, bit for bit."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from ssm_ref.__main__ import main
from ssm_ref.training.config import load_config
from ssm_ref.training.loop import Trainer
from ssm_ref.training.metrics import Metrics, Progress, read_rows
from ssm_ref.training.ranks import Ranks
from ssm_ref.training.saving import newest_checkpoint, write_atomically

CONFIG = """
steps = 24
batch_size = 4
log_every = 1
validate_every = 8
validation_batches = 2
checkpoint_every = 5
[data]
name = "digits"
[model]
name = "vision_mamba"
patch = [4, 4]
d_model = 8
n_layer = 2
drop_path = 0.5
[optimizer]
warmup = 5
"""
pytest.importorskip("sklearn")


def start(folder: Path, text: str = CONFIG) -> Trainer:
    path = folder.parent / "run.toml"
    path.write_text(text)
    return Trainer(load_config(path), folder, Ranks(0, 1))


def curve(folder: Path) -> list[dict[str, float]]:
    rows = read_rows(folder / "metrics.jsonl")
    return [{k: v for k, v in row.items() if k != "seconds"} for row in rows]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Trainer:
    """A run from start to end without a stop."""
    trainer = start(tmp_path_factory.mktemp("whole") / "out")
    trainer.run(Progress(24, 0))
    return trainer


def test_a_killed_run_goes_on_to_the_same_curve(whole: Trainer, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    (tmp_path / "run.toml").write_text(CONFIG)
    command = [sys.executable, "-m", "ssm_ref", "train", str(tmp_path / "run.toml")]
    process = subprocess.Popen(
        [*command, "--out", str(folder)], stderr=subprocess.DEVNULL, env={**os.environ}
    )
    for _ in range(6000):
        if len(read_rows(folder / "metrics.jsonl")) >= 9 or process.poll() is not None:
            break
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL, "the run was over before it could be killed"
    reached = read_rows(folder / "metrics.jsonl")[-1]["step"]
    resumed = start(folder)
    assert reached - 5 <= resumed.step < 24
    resumed.run(Progress(24, resumed.step))
    assert curve(folder) == curve(whole.folder)
    for a, b in zip(resumed.model.parameters(), whole.model.parameters(), strict=True):
        assert torch.equal(a, b)


def test_a_resumed_optimiser_is_the_one_that_stopped(whole: Trainer) -> None:
    again = start(whole.folder)
    assert again.step == 24
    mine, other = (trainer.optimizer.state_dict()["state"] for trainer in (again, whole))
    assert mine.keys() == other.keys()
    for i, state in mine.items():
        assert state.keys() == other[i].keys()
        assert all(torch.equal(state[key], other[i][key]) for key in state)


def test_a_checkpoint_cut_short_leaves_the_one_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = start(tmp_path / "out")
    trainer.save()

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Path, "replace", stop)
        trainer.step = 5
        with pytest.raises(KeyboardInterrupt):
            trainer.save()
    found = newest_checkpoint(tmp_path / "out")
    assert found is not None
    assert found.step == 0
    trainer.save()
    assert start(tmp_path / "out").step == 5


def test_two_checkpoints_are_kept(whole: Trainer) -> None:
    names = sorted(path.name for path in whole.folder.glob("*.safetensors"))
    assert names == ["checkpoint-00000020.safetensors", "checkpoint-00000024.safetensors"]
    assert not list(whole.folder.glob(".*"))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_step_and_saves(
    number: signal.Signals, whole: Trainer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = start(tmp_path / "out")
    update = trainer.update

    def interrupted(*operands: torch.Tensor) -> torch.Tensor:
        if trainer.step == 2:
            os.kill(os.getpid(), number)  # in the middle of the third step
        return update(*operands)

    monkeypatch.setattr(trainer, "update", interrupted)
    with pytest.raises(KeyboardInterrupt, match=str(int(number))):
        trainer.run(Progress(24, 0))
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    resumed = start(tmp_path / "out")
    assert resumed.step == 3
    resumed.run(Progress(24, 3))
    assert curve(tmp_path / "out") == curve(whole.folder)


def test_refuses_a_checkpoint_of_another_config_and_a_broken_one(
    whole: Trainer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ValueError, match=r"was made by another config \(model differ\)"):
        start(whole.folder, CONFIG.replace("n_layer = 2", "n_layer = 1"))
    (tmp_path / "checkpoint-00000001.safetensors").write_bytes(b"no tensors")
    with pytest.raises(ValueError, match="is no checkpoint"):
        start(tmp_path)
    fresh = CONFIG.replace("steps = 24", "steps = 1")
    path = tmp_path.parent / "run.toml"
    path.write_text(fresh)
    assert main(["train", str(path), "--out", str(tmp_path), "--fresh"]) == 0
    assert "from the start" in capsys.readouterr().err


def test_refuses_a_loss_that_is_no_number(tmp_path: Path) -> None:
    trainer = start(tmp_path / "out")
    with torch.no_grad():
        trainer.model.get_parameter("head.bias").fill_(torch.nan)
    with pytest.raises(ValueError, match=r"the loss is nan at step 1: lower optimizer.lr"):
        trainer.run(Progress(24, 0))


def test_rows_after_the_checkpoint_and_a_torn_line_are_dropped(tmp_path: Path) -> None:
    write_atomically(tmp_path / "metrics.jsonl", b'{"step": 1}\n{"step": 2}\n{"st')
    assert read_rows(tmp_path / "metrics.jsonl") == [{"step": 1}, {"step": 2}]
    assert Metrics(tmp_path, 1).rows == [{"step": 1}]
