"""Examples with a class each, some of them held out: what sound, series and windows of DNA become.

A batch is the part of an endless row of shuffled epochs that belongs to its step.
"""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ssm_ref.training.batch import Batch, generator


@dataclass(frozen=True, slots=True)
class LabelledSource:
    """Inputs (n, …) and labels (n), the rows to train on and the rows held out."""

    task: object  # what read them
    inputs: Tensor
    labels: Tensor
    kept: Tensor  # rows for training
    held: Tensor  # rows for validation
    sizes: dict[str, Any]
    seed: int
    augment: Callable[[Tensor, torch.Generator], Tensor] | None = None  # of inputs for training

    @property
    def fingerprint(self) -> str:
        """A hash of inputs, labels and the split."""
        digest = hashlib.sha256()
        for part in (self.inputs, self.labels, self.kept, self.held):
            digest.update(part.contiguous().numpy().tobytes())
        return digest.hexdigest()[:16]

    def training(self, step: int, size: int) -> Batch:
        """Places step·size … of shuffled epochs, one after another."""
        places = torch.arange(step * size, (step + 1) * size)
        epochs, within = places // len(self.kept), places % len(self.kept)
        order = {e: self._order(e) for e in epochs.unique().tolist()}
        pairs = zip(epochs.tolist(), within.tolist(), strict=True)
        rows = self.kept[torch.stack([order[e][i] for e, i in pairs])]
        inputs = self.inputs[rows]
        if self.augment is not None:
            inputs = self.augment(inputs, generator(self.seed, 0, step))
        return Batch(inputs, self.labels[rows])

    def validation(self, count: int, size: int) -> Iterator[Batch]:
        """The held-out rows, spread evenly where there are too many."""
        wanted = min(len(self.held), count * size)
        spread = torch.linspace(0, len(self.held) - 1, wanted).round().long()
        for rows in self.held[spread].split(size):
            yield Batch(self.inputs[rows], self.labels[rows])

    def _order(self, epoch: int) -> Tensor:
        return torch.randperm(len(self.kept), generator=generator(self.seed, 0, epoch))
