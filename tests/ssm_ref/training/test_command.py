"""What a run leaves and says: lines, plot, record; real data; step sizes and groups."""

import io
import json
import math
from pathlib import Path

import pytest
import torch

from ssm_ref.__main__ import main
from ssm_ref.selective.mamba import parameter_groups
from ssm_ref.structured.s4d import S4D, S4DConfig
from ssm_ref.training.files import Digits, Text
from ssm_ref.training.metrics import Progress, duration
from ssm_ref.training.optimizer import Optimizer, learning_rate
from ssm_ref.vision.vision_mamba import VisionMamba, VisionMambaConfig

TABLES = """
[[evaluate]]
shortest = 5
longest = 5
[variants.one]
seed = 1
[variants.two]
seed = 2
"""


@pytest.fixture
def config(config: Path) -> Path:
    """The tiny run in two variants, four steps each, judged by a longer text as well."""
    text = config.read_text().replace("steps = 6", "steps = 4")
    config.write_text("log_every = 2\n" + text + TABLES)
    return config


def test_runs_every_variant_and_records_them(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record = tmp_path / "record.jsonl"
    options = ["--out", str(tmp_path / "out"), "--plot", "svg", "--record", str(record)]
    assert main(["train", str(config), *options]) == 0
    rows = [json.loads(line) for line in record.read_text().splitlines()]
    assert [row["variant"] for row in rows] == ["one", "two"]
    row = rows[0]
    assert row["command"].endswith("run.toml --variant one")
    assert row["evaluate"][0]["changed"] == {"shortest": 5, "longest": 5}
    assert {"loss", "accuracy", "exact"} == row["final"].keys()
    assert [step for step, _ in row["curve"]] == [2, 4]
    assert len(row["source_hash"]) == len(row["config_hash"]) == 16
    said = capsys.readouterr().err.splitlines()
    assert said[0].startswith("run-one: ")
    assert said[1].startswith("step 2/4  loss ")
    assert said[1].endswith(" left")
    assert "<svg" in (tmp_path / "out" / "one" / "curve.svg").read_text()


def test_the_record_names_a_commit_that_is_given(config: Path, tmp_path: Path) -> None:
    record, given = tmp_path / "record.jsonl", "0123456789" * 4
    options = ["--variant", "one", "--out", str(tmp_path / "out"), "--record", str(record)]
    command = ["train", str(config), *options]
    assert main([*command, "--commit", given]) == 0
    row = json.loads(record.read_text())
    assert row["commit"] == given
    assert row["command"].endswith("run.toml --variant one")


def test_refuses_what_is_no_commit(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["train", str(config), "--out", str(tmp_path / "out")]
    assert main([*command, "--commit", "main"]) == 2
    assert "--commit must be 40 hexadecimal digits; got 'main'" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_gets_one_line_that_rewrites_itself() -> None:
    terminal = Terminal()
    progress = Progress(4, 0, terminal)
    progress.show(1, 2.0, 10)
    progress.show(2, 1.0, 10)
    progress.say("done")
    lines = terminal.getvalue().split("\n")
    assert lines[0].count("\r") == 2
    assert lines[1] == "done"


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "0 s"), (41.2, "42 s"), (185, "3 min 05 s"), (7800, "2 h 10 min")],
)
def test_duration(seconds: float, words: str) -> None:
    assert duration(seconds) == words


def test_text_keeps_the_end_of_every_file_for_validation(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / f"{name}.txt").write_text(name * 90 + name.upper() * 10)
    source = Text(files=("*.txt",), length=8).open(tmp_path, 0, "data")
    train = torch.cat([source.training(step, 8).inputs for step in range(20)])
    assert set(train.unique().tolist()) == {ord("a"), ord("b")}
    held = list(source.validation(9, 1))
    assert {int(t) for batch in held for t in batch.inputs.unique()} == {ord("A"), ord("B")}
    inputs, targets = source.training(0, 2)
    assert torch.equal(inputs[:, 1:], targets[:, :-1])
    assert torch.equal(source.training(5, 2).inputs, source.training(5, 2).inputs)


def test_an_epoch_of_digits_shows_every_training_image_once() -> None:
    pytest.importorskip("sklearn")
    source = Digits().open(Path(), 0, "data")
    kept = 1797 - 359
    seen = torch.cat([source.training(step, 2).inputs for step in range(kept // 2)])
    training = torch.stack([image for i, image in enumerate(source.images) if i % 5 != 4])
    assert torch.equal(seen.flatten(1).unique(dim=0), training.flatten(1).unique(dim=0))
    held = torch.cat([batch.inputs for batch in source.validation(99, 50)])
    assert torch.equal(held, source.images[4::5])


def test_step_size_rises_then_falls_along_a_cosine() -> None:
    cfg = Optimizer(lr=2.0, warmup=4, floor=0.1)
    assert [learning_rate(cfg, step, 12) for step in (1, 2, 4)] == [0.5, 1.0, 2.0]
    assert learning_rate(cfg, 8, 12) == pytest.approx(2.0 * (0.1 + 0.9 * 0.5))
    assert learning_rate(cfg, 12, 12) == pytest.approx(0.2)
    assert learning_rate(Optimizer(lr=2.0, schedule="constant"), 9, 12) == 2.0
    assert math.isfinite(learning_rate(Optimizer(warmup=0), 1, 1))


def test_no_decay_on_what_sets_the_dynamics() -> None:
    s4d, vim = (
        S4D(S4DConfig(d_model=4, d_state=4)),
        VisionMamba(
            VisionMambaConfig(image=(4, 4), patch=(2, 2), d_model=8, n_layer=1, n_classes=2)
        ),
    )
    decayed, kept = parameter_groups(s4d, weight_decay=0.1)
    names = {id(p): name for name, p in s4d.named_parameters()}
    assert {names[id(p)] for p in decayed["params"]} == {"C", "mix.weight"}
    assert (decayed["weight_decay"], kept["weight_decay"]) == (0.1, 0.0)
    spared = {id(p) for p in parameter_groups(vim, weight_decay=0.1)[1]["params"] if p.ndim > 1}
    assert {n.rsplit(".", 1)[-1] for n, p in vim.named_parameters() if id(p) in spared} == {
        "A_log",
        "A_b_log",
        "cls_token",
        "pos_embed",
    }
