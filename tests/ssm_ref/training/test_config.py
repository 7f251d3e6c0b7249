"""Configs: what is read, and the error for everything that does not fit."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from ssm_ref.__main__ import main
from ssm_ref.training.batch import Source
from ssm_ref.training.config import RunConfig, load_config, variants
from ssm_ref.training.execution import Execution
from ssm_ref.training.loop import Trainer
from ssm_ref.training.models import build_model
from ssm_ref.training.ranks import Ranks
from ssm_ref.training.scores import sum_loss

GOOD = """
steps = 2
batch_size = 2
[model]
name = "mamba"
d_model = 8
n_layers = 1
[data]
name = "parity"
length = 4
[optimizer]
lr = 1
betas = [0.8, 0.9]
"""
ROOT = Path(__file__).parents[3]


def write(folder: Path, text: str) -> Path:
    path = folder / "run.toml"
    path.write_text(text)
    return path


def test_reads_types_and_defaults(tmp_path: Path) -> None:
    cfg = load_config(write(tmp_path, GOOD))
    assert (cfg.settings.steps, cfg.settings.seed) == (2, 0)
    assert (cfg.optimizer.lr, cfg.optimizer.betas) == (1.0, (0.8, 0.9))
    assert cfg.optimizer.weight_decay == 0.1
    assert cfg.name == "run"


def test_a_variant_changes_leaves_and_the_fingerprint(tmp_path: Path) -> None:
    text = GOOD + "[variants.wide.model]\nd_model = 16\n[variants.other]\nseed = 3\n"
    path = write(tmp_path, text)
    assert variants(path) == ["wide", "other"]
    wide, other = load_config(path, "wide"), load_config(path, "other")
    assert wide.model == {"name": "mamba", "d_model": 16, "n_layers": 1}
    assert (other.settings.seed, other.model["d_model"]) == (3, 8)
    assert len({wide.fingerprint, other.fingerprint, load_config(path).fingerprint}) == 3
    commented = write(tmp_path, "# a comment\n" + text)
    assert load_config(commented, "wide").fingerprint == wide.fingerprint


WRONG = {
    "step = 3\n": r"top.step = 3: no such key; did you mean steps\?",
    'steps = "many"\n': "top.steps = 'many': it must be a whole number",
    "steps = true\n": "top.steps = True: it must be a whole number",
    "steps = 0\n": "steps and batch_size must be at least 1",
    'device = "tpu"\n': "top.device = 'tpu': it must be one of 'auto', 'cpu', 'cuda'",
    "[model]\nd_modle = 8\n": r"model.d_modle = 8: no such key; did you mean d_model\?",
    "[model]\nd_model = 8.5\n": "model.d_model = 8.5: it must be a whole number",
    "[model]\nd_model = 0\n": "model: d_model must be at least 1; got 0",
    '[model]\nname = "mamba4"\n': r"model.name = 'mamba4': no such model; did you mean mamba\w*\?",
    '[model]\nname = "vision_mamba"\n': "data give vocab_size, and this model has no",
    '[model]\nname = "pattern"\nd_model = 8\n': "model.pattern = None: it must be text",
    '[model]\nname = "pattern"\nd_model = 8\npattern = "M?"\n': r"model: pattern must be made of",
    '[data]\nname = "paritty"\n': r"data.name = 'paritty': no such data; did you mean parity\?",
    '[data]\nname = "parity"\nlength = "4"\n': "data.length = '4': it must be a whole number",
    '[data]\nname = "parity"\nlength = 0\n': "data: length must be at least 1; got 0",
    '[data]\nname = "text"\n': "data.files is missing; it must be a list of several, each text",
    '[data]\nname = "text"\nfiles = ["*.nothing"]\n': r"files = '\*.nothing': no file of .* fits",
    '[data]\nname = "text"\nfiles = ["run.toml"]\nlength = 9999\n': "windows of length 9999 need",
    "[optimizer]\nbetas = [0.9]\n": "optimizer.betas = .* it must be a list of 2, each a number",
    "[optimizer]\nlr = -1\n": "lr and clip must be positive",
    "[[evaluate]]\nlengthh = 8\n": r"data.lengthh = 8: no such key; did you mean length\?",
}


@pytest.mark.parametrize("change", WRONG)
def test_refuses(change: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    header, _, _ = change.partition("\n")
    kept = [part for part in GOOD.split("\n[") if not part.startswith(header.strip("[]") + "]")]
    key = header.split(" =")[0]
    text = "\n[".join(kept)
    text = "\n".join(line for line in text.splitlines() if not line.startswith(f"{key} ="))
    if header.startswith("["):
        text = f"{text}\n{change}"
        if header == "[model]" and "name" not in change:
            text += 'name = "mamba"\nn_layers = 1\n'
    else:
        text = change + text
    path = write(tmp_path, text)
    assert main(["train", str(path), "--out", str(tmp_path / "out")]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"error: {path}")
    with pytest.raises(ValueError, match=WRONG[change]):
        raise ValueError(said)
    assert not (tmp_path / "out").exists()


def test_refuses_files_and_variants(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="there is no such file; a TOML file is wanted"):
        load_config(tmp_path / "none.toml")
    with pytest.raises(ValueError, match="it is a folder; a TOML file is wanted"):
        load_config(tmp_path)
    with pytest.raises(ValueError, match="no variant 'wide'; it declares none"):
        load_config(write(tmp_path, GOOD), "wide")
    with pytest.raises(ValueError, match="is no TOML"):
        load_config(write(tmp_path, "steps ="))
    with pytest.raises(ValueError, match=r"the table \[model\] is missing"):
        load_config(write(tmp_path, "steps = 1\nbatch_size = 1\n"))
    path = write(tmp_path, GOOD + "[variants.wide.model]\nd_model = 16\n")
    with pytest.raises(ValueError, match="no variant 'wild'; did you mean wide"):
        load_config(path, "wild")


def test_ranks_must_share_a_batch_evenly(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="batch_size = 2: it must be a multiple of the 3 ranks"):
        Trainer(load_config(write(tmp_path, GOOD)), tmp_path / "out", Ranks(0, 3))
    cfg = load_config(write(tmp_path, GOOD))
    with pytest.raises(ValueError, match="cannot be cut into 3 equal parts along time"):
        Trainer(cfg, tmp_path / "out", Ranks(0, 3), Execution(sequence_ranks=3))
    with pytest.raises(ValueError, match=r"must divide the 3 rank\(s\) of the run; got 2"):
        Trainer(cfg, tmp_path / "out", Ranks(0, 3), Execution(sequence_ranks=2))
    other = GOOD.replace('"mamba"', '"rwkv4"').replace("n_layers", "n_blocks")
    cfg = load_config(write(tmp_path, other))
    with pytest.raises(ValueError, match="can be split over ranks for mamba, mamba2 and patterns"):
        Trainer(cfg, tmp_path / "out", Ranks(0, 2), Execution(sequence_ranks=2))


EXPERIMENTS = sorted((ROOT / "docs" / "experiments").glob("*.toml"))
RUNS = [(path, name) for path in EXPERIMENTS for name in variants(path) or [""]]
LARGE = {  # a CPU builds these and does not run them
    ("brain_slices_large", "vm_unet"),
    ("bytes_large", "english"),
    ("bytes_large", "russian"),
    ("copying_paper", "attention"),
    ("copying_paper", "mamba"),
}
EVERY = pytest.mark.parametrize(
    ("path", "variant"), RUNS, ids=lambda part: getattr(part, "stem", part)
)
SMALL = pytest.mark.parametrize(
    ("path", "variant"),
    [run for run in RUNS if (run[0].stem, run[1]) not in LARGE],
    ids=lambda part: getattr(part, "stem", part),
)


@EVERY
def test_every_experiment_of_the_project_is_built(
    path: Path, variant: str, data_of: Callable[[RunConfig], Source]
) -> None:
    cfg = load_config(path, variant)
    source = data_of(cfg)
    with torch.device("meta"):
        model = build_model(cfg.model, cfg.where("model"), source.sizes)
    parameters = sum(p.numel() for p in model.parameters())
    assert (parameters > 20_000_000) == ((path.stem, variant) in LARGE)


@SMALL
def test_every_small_experiment_of_the_project_can_start(
    path: Path, variant: str, data_of: Callable[[RunConfig], Source]
) -> None:
    cfg = load_config(path, variant)
    source = data_of(cfg)
    model = build_model(cfg.model, cfg.where("model"), source.sizes)
    batch = source.training(0, 2)
    assert torch.isfinite(sum_loss(model, model(batch.inputs), batch.targets))
