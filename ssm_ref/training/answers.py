"""A language model's head where an answer is wanted and nowhere else.

A task that asks at 25 of 256 places wastes nine tenths of the head, and with 8192 tokens to choose
from the head is most of a step.
"""

from typing import TypeGuard

from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ssm_ref.language_model import LanguageModel
from ssm_ref.training.batch import Batch
from ssm_ref.training.scores import asked_places


def answers_of(batch: Batch) -> tuple[Batch, Tensor]:
    """The batch with its wanted answers alone, and their places when rows are joined end to end."""
    places = asked_places(batch.targets).flatten().nonzero().squeeze(1)
    return Batch(batch.inputs, batch.targets.flatten()[places]), places


def has_answers(model: nn.Module) -> TypeGuard[LanguageModel]:
    """Whether `logits_at` computes what the model does: it is the shell, with nothing changed."""
    return isinstance(model, LanguageModel) and type(model).forward is LanguageModel.forward


def logits_at(model: LanguageModel, ids: Tensor, places: Tensor) -> Tensor:
    """The logits (answers, vocab) that `model(ids)` has at `places` of its rows joined."""
    dtype, x = model._embed(ids, ndim=2)
    for layer in model.blocks:
        if model.cfg.checkpoint_layers and model.training:
            x = checkpoint(layer, x, dtype, use_reentrant=False)
        else:
            x = layer(x, dtype)
    return model._logits(x.flatten(0, 1).index_select(0, places), dtype)
