"""How a model did: the loss that is minimised, and what is counted beside it."""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from ssm_ref.training.batch import IGNORED, Batch
from ssm_ref.training.metrics import Row
from ssm_ref.training.ranks import Ranks


@dataclass(frozen=True, slots=True)
class Scores:
    """How a model did on some batches."""

    loss: float  # nats a target, or squared error a number
    accuracy: float | None  # of targets; None where numbers are wanted and not classes
    exact: float | None  # of rows, all targets right

    def as_row(self, prefix: str = "") -> Row:
        """Rounded, under names that start with `prefix`; what is None is left out."""
        named = {"loss": self.loss, "accuracy": self.accuracy, "exact": self.exact}
        return {f"{prefix}{k}": round(v, 6) for k, v in named.items() if v is not None}


@runtime_checkable
class HasLoss(Protocol):
    """A model that is trained by a loss of its own, not for classes or numbers at places."""

    def asked(self, batch: Batch) -> int:
        """What the loss of a whole batch is divided by."""

    def total_loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """The loss of some rows, summed."""


def count_asked(model: nn.Module, batch: Batch) -> int:
    """What the summed loss of a whole batch is divided by: the answers wanted, if not `HasLoss`."""
    return (
        model.asked(batch) if isinstance(model, HasLoss) else int(asked_places(batch.targets).sum())
    )


def sum_loss(model: nn.Module, outputs: Tensor, targets: Tensor) -> Tensor:
    """The loss that `model` is trained by, summed: `total_loss` or its own."""
    if isinstance(model, HasLoss):
        return model.total_loss(outputs, targets)
    return total_loss(outputs, targets)


def sums_of(model: nn.Module, outputs: Tensor, batch: Batch, time: Ranks) -> Tensor:
    """`tally`, or loss and count alone where the loss is the model's own."""
    if not isinstance(model, HasLoss):
        return tally(outputs, batch.targets, time)
    loss, asked = float(model.total_loss(outputs, batch.targets)), float(model.asked(batch))
    return torch.tensor([loss, 0.0, asked, 0.0, 0.0], dtype=torch.float64)


def asked_places(targets: Tensor) -> Tensor:
    """Where an answer is wanted: everywhere, if numbers are."""
    return (
        torch.ones_like(targets, dtype=torch.bool) if wants_numbers(targets) else targets != IGNORED
    )


def wants_numbers(targets: Tensor) -> bool:
    """Whether targets are numbers and not classes."""
    return targets.is_floating_point()


def total_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Cross entropy of classes, or the squared error of numbers, summed."""
    if wants_numbers(targets):
        return (logits - targets).square().sum()
    flat = logits.reshape(-1, logits.shape[-1])
    return cross_entropy(flat, targets.reshape(-1), ignore_index=IGNORED, reduction="sum")


def tally(logits: Tensor, targets: Tensor, time: Ranks) -> Tensor:
    """Sums over this part: loss, right, asked, rows all right, rows.

    A row is right when all its parts are, so the ranks of `time`, which share rows, ask each other
    and the first of them counts.
    """
    asked = asked_places(targets)
    answers = logits if wants_numbers(targets) else logits.argmax(dim=-1)
    right = (answers == targets) & asked
    wrong = (asked & ~right).reshape(len(targets), -1).sum(dim=1)
    if time.size > 1:
        dist.all_reduce(wrong, group=time.group)
    counted = time.rank == 0
    sums = [total_loss(logits, targets), right.sum(), asked.sum()]
    sums += [(wrong == 0).sum() * counted, torch.tensor(len(targets) * counted)]
    return torch.stack([value.double().cpu() for value in sums])


def scores_of(sums: Tensor, *, numbers: bool) -> Scores:
    """The scores from the sums of all parts."""
    loss, right, asked, rows_right, rows = sums.tolist()
    if numbers:
        return Scores(loss / asked, None, None)
    return Scores(loss / asked, right / asked, rows_right / rows)
