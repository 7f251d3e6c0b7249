"""The training command on Triton operators: the command of the references, its runs and records."""

from pathlib import Path

import pytest
import torch

from ssm_kernels import train as on_kernels
from ssm_ref.__main__ import main
from ssm_ref.training.config import load_config
from ssm_ref.training.loop import Trainer
from ssm_ref.training.metrics import read_rows
from ssm_ref.training.models import build_model
from ssm_ref.training.ranks import Ranks


def test_the_command_of_the_kernels_goes_on_with_a_run_of_the_references(config: Path) -> None:
    out, record = config.parent / "out", config.parent / "record.jsonl"
    options = [str(config), "--out", str(out), "--record", str(record)]
    assert main(["train", *options, "--seconds", "1e-6"]) == 0
    assert on_kernels.main(options) == 0
    first, second = read_rows(record)
    assert second["steps"] == 6
    assert second["command"].startswith("python -m ssm_kernels.train ")
    assert first["source_hash"] != second["source_hash"], "the kernels' files count too"


def test_the_command_of_the_kernels_wants_something_to_speed_up(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = 'name = "rwkv4"\nd_model = 8\nn_blocks = 1\n'
    config.write_text(config.read_text().partition('name = "pattern"')[0] + model)
    assert on_kernels.main([str(config), "--out", str(config.parent / "out")]) == 2
    assert "error: the model must contain one of Mamba" in capsys.readouterr().err


@pytest.mark.gpu
def test_a_captured_run_learns_what_one_launched_kernel_by_kernel_learns(config: Path) -> None:
    torch.use_deterministic_algorithms(False)  # embeddings have no deterministic backward to record
    config.write_text('precision = "float32"\nlog_every = 1\n' + config.read_text())
    losses = []
    for name, options in {"eager": [], "captured": ["--captured", "--workers", "2"]}.items():
        out = config.parent / name
        assert on_kernels.main([str(config), "--out", str(out), *options]) == 0
        rows = read_rows(out / "metrics.jsonl")
        losses.append([row["loss"] for row in rows if "loss" in row])
    assert losses[1] == pytest.approx(losses[0], rel=1e-3)
    resumed = Trainer(load_config(config), config.parent / "captured", Ranks(0, 1))
    assert resumed.step == 6
    assert resumed.validate(resumed.source).loss > 0


@pytest.mark.parametrize("name", ["mamba", "mamba2"])
def test_a_part_of_a_sequence_is_walked_by_our_scan(name: str) -> None:
    table = {"name": name, "n_layers": 2, "d_model": 16}
    if name == "mamba2":
        table["d_head"] = 8
    models = []
    for ranks in (None, Ranks(0, 1)):
        torch.manual_seed(0)
        models.append(build_model(table, "model", {"vocab_size": 7}, ranks))
    whole, split = models
    on_kernels.accelerate_parts(split)
    scans = [layer.branch.scan for layer in split.blocks]
    assert [scan.keywords["scan"].__module__.split(".")[0] for scan in scans] == ["ssm_kernels"] * 2
    ids = torch.randint(7, (2, 9))
    a, b = whole(ids), split(ids)
    torch.testing.assert_close(b, a, rtol=1e-4, atol=1e-5)
    for y in (a, b):
        y.square().sum().backward()
    for p, q in zip(whole.parameters(), split.parameters(), strict=True):
        torch.testing.assert_close(q.grad, p.grad, rtol=1e-3, atol=1e-4)
