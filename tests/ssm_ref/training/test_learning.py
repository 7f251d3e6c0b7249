"""Learning at the smallest size: what one model solves in seconds and another does not.

The runs are deterministic: data and weights follow from the seed.
"""

import io
from functools import cache
from pathlib import Path

import pytest

from ssm_ref.training.config import load_config
from ssm_ref.training.loop import Scores, Trainer
from ssm_ref.training.metrics import Progress
from ssm_ref.training.ranks import Ranks

COPYING = """
steps = 300
batch_size = 16
validate_every = 1000
checkpoint_every = 1000
[data]
name = "selective_copying"
length = 24
items = 2
vocab = 6
[[evaluate]]
length = 96
[model]
d_state = 8
{model}
[optimizer]
lr = 2e-2
warmup = 20
weight_decay = 0.0
"""
MAMBA2 = 'name = "pattern"\npattern = "22"\nd_model = 16\nd_head = 8'
S4D = 'name = "s4d"\nn_layers = 2\nd_model = 32'
PARITY = """
steps = 150
batch_size = 16
validate_every = 1000
checkpoint_every = 1000
[data]
name = "parity"
length = 12
[[evaluate]]
length = 96
[model]
name = "pattern"
d_model = 16
{model}
[optimizer]
lr = 2e-2
warmup = 20
weight_decay = 0.0
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("learning")


@cache
def learnt(folder: Path, text: str, model: str) -> tuple[Trainer, Scores, Scores]:
    path = folder / f"{len(list(folder.glob('*.toml')))}.toml"
    path.write_text(text.format(model=model))
    trainer = Trainer(load_config(path), folder / path.stem, Ranks(0, 1))
    final = trainer.run(Progress(trainer.cfg.settings.steps, 0, io.StringIO()))
    return trainer, final, trainer.validate(trainer.changed[0][1])


def test_a_selective_model_copies_what_stands_among_noise(folder: Path) -> None:
    _, final, longer = learnt(folder, COPYING, MAMBA2)
    assert final.exact > 0.99
    assert longer.exact > 0.95, "four times as much noise changes nothing"


def test_a_nonlinear_state_keeps_parity_at_any_length(folder: Path) -> None:
    _, final, longer = learnt(folder, PARITY, 'pattern = "L"')
    assert final.exact == longer.exact == 1.0


def test_a_positive_diagonal_transition_does_not(folder: Path) -> None:
    _, final, longer = learnt(folder, PARITY, 'pattern = "M"')
    assert final.exact < 0.5
    assert longer.exact == 0.0
