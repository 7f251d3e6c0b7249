"""What goes wrong around a run: full disks, folders that cannot be written, time that runs out."""

import errno
import os
from pathlib import Path
from typing import Any

import pytest
import torch

from ssm_ref.__main__ import main
from ssm_ref.training.config import load_config
from ssm_ref.training.execution import Ahead, Execution
from ssm_ref.training.loop import Trainer
from ssm_ref.training.metrics import Progress, read_rows
from ssm_ref.training.ranks import Ranks
from ssm_ref.training.saving import newest_checkpoint


@pytest.fixture
def config(config: Path) -> Path:
    """The tiny run, that reports, validates and saves as it goes."""
    options = "log_every = 2\nvalidate_every = 3\ncheckpoint_every = 3\n"
    config.write_text(options + config.read_text())
    return config


def test_a_full_disk_is_an_error_and_leaves_the_checkpoint_before(
    config: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = config.parent / "out"
    Trainer(load_config(config), out, Ranks(0, 1)).save()

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        assert main(["train", str(config), "--out", str(out)]) == 2
    assert "error: [Errno 28] No space left on device" in capsys.readouterr().err
    assert not [path.name for path in out.iterdir() if path.name.endswith(".part")]
    found = newest_checkpoint(out)
    assert found is not None
    assert found.step == 0
    assert main(["train", str(config), "--out", str(out)]) == 0


@pytest.mark.parametrize("option", ["--out", "--record"])
def test_what_cannot_be_written_is_known_before_training(
    option: str, config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    below_a_file = config / "below"
    options = {"--out": str(config.parent / "out"), "--record": str(config.parent / "r.jsonl")}
    options[option] = str(below_a_file)
    assert main(["train", str(config), *(part for pair in options.items() for part in pair)]) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert str(below_a_file) in said
    assert "step" not in said


def test_a_loss_that_is_no_number_is_never_saved(config: Path) -> None:
    config.write_text(config.read_text().replace("log_every = 2", "log_every = 50"))
    trainer = Trainer(load_config(config), config.parent / "out", Ranks(0, 1))
    trainer.save()
    update = trainer.update

    def overflowing(*operands: torch.Tensor) -> torch.Tensor:
        total = update(*operands)
        return total * torch.inf if trainer.step == 2 else total

    trainer.update = overflowing
    with pytest.raises(ValueError, match="the loss is inf at step 3"):
        trainer.run(Progress(6, 0))
    found = newest_checkpoint(config.parent / "out")
    assert found is not None
    assert found.step == 0


def test_empty_files_are_no_data(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (config.parent / "empty.txt").touch()
    text = config.read_text().replace(
        'name = "copying"\nshortest = 2\nlongest = 3', 'name = "text"\nfiles = ["*.txt"]'
    )
    config.write_text(text)
    assert main(["train", str(config), "--out", str(config.parent / "out")]) == 2
    assert "hold 0 bytes for training; windows of length 256 need" in capsys.readouterr().err


def test_time_that_runs_out_ends_a_run_as_its_last_step_would(config: Path) -> None:
    out, record = config.parent / "out", config.parent / "record.jsonl"
    options = ["--out", str(out), "--record", str(record), "--seconds", "1e-6"]
    assert main(["train", str(config), *options]) == 0
    (row,) = read_rows(record)
    assert (row["steps"], row["planned"]) == (1, 6)
    assert row["command"].endswith("run.toml --seconds 1e-06")
    assert row["final"]["loss"] > 0
    assert main(["train", str(config), "--out", str(out), "--record", str(record)]) == 0
    assert [row["steps"] for row in read_rows(record)] == [1, 6]


def test_threads_that_draw_ahead_change_nothing(config: Path) -> None:
    curves = []
    for workers in (0, 3):
        out = config.parent / str(workers)
        assert main(["train", str(config), "--out", str(out), "--workers", str(workers)]) == 0
        curves.append([row.get("loss") for row in read_rows(out / "metrics.jsonl")])
    assert curves[0] == curves[1]


def test_drawing_ahead_keeps_the_order_of_steps() -> None:
    ahead = Ahead(lambda step: step * step, 2)
    assert [ahead.take(step) for step in range(3, 9)] == [9, 16, 25, 36, 49, 64]
    ahead.stop()


def test_bfloat16_learns_what_float32_learns(config: Path) -> None:
    losses, text = {}, config.read_text()
    for precision in ("float32", "bfloat16"):
        config.write_text(f'precision = "{precision}"\n' + text)
        trainer = Trainer(load_config(config), config.parent / precision, Ranks(0, 1))
        assert trainer.run(Progress(6, 0)).loss > 0
        assert all(p.dtype == torch.float32 for p in trainer.model.parameters())
        losses[precision] = [
            row["loss"] for row in read_rows(trainer.folder / "metrics.jsonl") if "loss" in row
        ]
    assert losses["bfloat16"] == pytest.approx(losses["float32"], rel=0.02)
    assert losses["bfloat16"] != losses["float32"]


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"captured": True}, "a captured step takes one CUDA device; got cpu"),
    ({"sharded": True}, "sharded parameters want the ranks of torchrun"),
    ({"workers": -1}, "workers must not be negative"),
    ({"seconds": 0.0}, "seconds must be positive"),
    ({"sequence_ranks": 2}, "must divide the 1 rank"),
]


@pytest.mark.parametrize(("options", "message"), REFUSED)
def test_refuses(options: dict[str, Any], message: str, config: Path) -> None:
    with pytest.raises(ValueError, match=message):
        Trainer(load_config(config), config.parent / "out", Ranks(0, 1), Execution(**options))
    assert not (config.parent / "out").exists()
