"""Logits where an answer is wanted alone: the same loss, gradients and run."""

from pathlib import Path

import pytest
import torch

from ssm_ref.training.answers import answers_of, has_answers, logits_at
from ssm_ref.training.batch import IGNORED, generator
from ssm_ref.training.config import load_config
from ssm_ref.training.execution import Execution
from ssm_ref.training.loop import Trainer
from ssm_ref.training.metrics import Progress
from ssm_ref.training.models import build_model
from ssm_ref.training.ranks import Ranks
from ssm_ref.training.scores import total_loss
from ssm_ref.training.tasks import AssociativeRecall

MODELS = Path(__file__).parents[3] / "docs" / "experiments" / "models.toml"
CONFIG = """
steps = 4
batch_size = 6
log_every = 1
[data]
name = "associative_recall"
length = 24
pairs = 4
fewest = 2
vocab = 32
[model]
name = "{name}"
n_layers = 2
d_model = 16
"""


@pytest.mark.parametrize("pattern", ["M2", "W-"])
def test_loss_and_gradients_are_those_of_all_logits(pattern: str) -> None:
    torch.manual_seed(0)
    table = {"name": "pattern", "pattern": pattern, "d_model": 16, "d_head": 8}
    model = build_model(table, "model", {"vocab_size": 32}).double()
    batch = AssociativeRecall(length=24, pairs=4, vocab=32).draw(5, generator(0, 0, 0))
    whole = total_loss(model(batch.inputs), batch.targets)
    wanted = torch.autograd.grad(whole, list(model.parameters()))
    few, places = answers_of(batch)
    assert few.targets.shape == places.shape == (20,)
    assert IGNORED not in few.targets
    assert has_answers(model)
    logits = logits_at(model, few.inputs, places)
    assert logits.shape == (20, 32)
    got = total_loss(logits, few.targets)
    torch.testing.assert_close(got, whole)
    for a, b in zip(torch.autograd.grad(got, list(model.parameters())), wanted, strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize(("recompute", "walks"), [(False, 1), (True, 2)])
def test_layers_are_recomputed_where_the_model_says_so(recompute: bool, walks: int) -> None:
    table = {"name": "mamba", "n_layers": 2, "d_model": 16, "checkpoint_layers": recompute}
    model = build_model(table, "model", {"vocab_size": 32})
    assert has_answers(model)
    walked = []
    for layer in model.blocks:
        layer.branch.register_forward_pre_hook(lambda branch, _: walked.append(branch))
    few, places = answers_of(
        AssociativeRecall(length=24, pairs=4, vocab=32).draw(2, generator(0, 0, 0))
    )
    loss = total_loss(logits_at(model, few.inputs, places), few.targets)
    torch.autograd.grad(loss, list(model.parameters()))
    assert len(walked) == walks * len(model.blocks)


def test_a_run_is_the_same(tmp_path: Path) -> None:
    path = tmp_path / "run.toml"
    path.write_text(CONFIG.format(name="mamba"))
    runs = []
    for only in (False, True):
        how = Execution(answers_only=only)
        trainer = Trainer(load_config(path), tmp_path / f"{only}", Ranks(0, 1), how)
        scores = trainer.run(Progress(4, 0))
        runs.append((trainer, scores))
    (a, before), (b, after) = runs
    assert after.loss == pytest.approx(before.loss, rel=1e-5)
    for p, q in zip(a.model.parameters(), b.model.parameters(), strict=True):
        torch.testing.assert_close(p, q, rtol=1e-4, atol=1e-5)


def test_refuses_a_model_that_is_not_the_shell_alone_and_several_ranks(tmp_path: Path) -> None:
    how = Execution(answers_only=True)
    hymba = load_config(MODELS, "hymba")
    with pytest.raises(ValueError, match=r"answers only are for a language model.*got Hymba"):
        Trainer(hymba, tmp_path / "out", Ranks(0, 1), how)
    path = tmp_path / "run.toml"
    path.write_text(CONFIG.format(name="mamba"))
    with pytest.raises(ValueError, match="by one process; got 2"):
        Trainer(load_config(path), tmp_path / "out", Ranks(0, 2), how)
