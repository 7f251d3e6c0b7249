"""The training command on Triton operators: the command of the references, its runs and records."""

from pathlib import Path

import pytest

from ssm_kernels import train as on_kernels
from ssm_ref.__main__ import main
from ssm_ref.training.metrics import read_rows

CONFIG = """
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


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "run.toml"
    path.write_text(CONFIG)
    return path


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
    config.write_text(CONFIG.replace('"M-"', '"-"'))
    assert on_kernels.main([str(config), "--out", str(config.parent / "out")]) == 2
    assert "error: the model must contain one of Mamba" in capsys.readouterr().err
