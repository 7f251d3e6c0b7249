"""What a data set hands to training: batches that depend on the step alone.

A batch is a function of (seed, step), so a run that resumes at step s sees what it would have seen,
and ranks that draw the same batch can each take their own part of it.
"""

import hashlib
from collections.abc import Iterator
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

IGNORED = -100  # a target that no loss counts, as in PyTorch's cross entropy


class Batch(NamedTuple):
    """Inputs of a model and what is wanted of its outputs.

    Integers are the class wanted at every place, `IGNORED` where none is: the loss is the cross
    entropy. Floating-point targets are the numbers wanted: the loss is the squared error.
    """

    inputs: Tensor
    targets: Tensor


class Source(Protocol):
    """Data for training and for validation, and the sizes that it gives to a model."""

    @property
    def sizes(self) -> dict[str, Any]:
        """Fields of a model's config that follow from the data, such as `vocab_size`."""

    def training(self, step: int, size: int) -> Batch:
        """The `size` examples of step `step`."""

    def validation(self, count: int, size: int) -> Iterator[Batch]:
        """At most `count` batches that training never sees, the same every time."""

    @property
    def fingerprint(self) -> str:
        """A hash of what was read, empty where everything is drawn from the seed."""


def generator(seed: int, stream: int, step: int) -> torch.Generator:
    """The generator of one batch; stream 0 (training) and 1 (validation) never meet."""
    # PyTorch's CPU generator reads only the lowest 32 bits of a seed: 31 of them are a hash.
    mixed = hashlib.blake2b(f"{seed} {step}".encode(), digest_size=4).digest()
    low = int.from_bytes(mixed, "big") & 0x7FFFFFFF
    return torch.Generator().manual_seed(2 * low + stream)
