"""Tensors passed from rank to rank, with their gradients, and every byte counted.

`shift` is the one primitive: rank r receives what rank r - distance gave, and in the backward pass
gradients travel the other way. All that the sequence split needs is built from it.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.autograd.function import once_differentiable


@dataclass(slots=True)
class Traffic:
    """What one rank sent: messages and bytes, forward and backward apart."""

    messages: dict[str, int] = field(default_factory=lambda: {"forward": 0, "backward": 0})
    sent: dict[str, int] = field(default_factory=lambda: {"forward": 0, "backward": 0})

    def count(self, direction: str, tensor: Tensor) -> None:
        """Add one message."""
        self.messages[direction] += 1
        self.sent[direction] += tensor.numel() * tensor.element_size()


@dataclass(frozen=True, slots=True)
class Ranks:
    """The ranks that share one sequence, in the order of time: rank 0 has its beginning."""

    rank: int
    size: int
    traffic: Traffic = field(default_factory=Traffic)

    @classmethod
    def of_world(cls) -> "Ranks":
        """All ranks of the initialised process group."""
        return cls(dist.get_rank(), dist.get_world_size())

    def shift(self, x: Tensor, distance: int = 1, *, fill: float = 0.0) -> Tensor:
        """What rank - distance gave as `x`; `fill` where there is no such rank."""
        shifted: Tensor = _Shift.apply(x, self, distance, fill)
        return shifted

    def _exchange(self, x: Tensor, distance: int, fill: float, direction: str) -> Tensor:
        """Send to rank + distance and receive from rank - distance (which may be negative)."""
        to, source = self.rank + distance, self.rank - distance
        received, pending = torch.full_like(x, fill), []
        if 0 <= to < self.size:
            self.traffic.count(direction, x)
            pending.append(dist.P2POp(dist.isend, x.contiguous(), to))
        if 0 <= source < self.size:
            pending.append(dist.P2POp(dist.irecv, received, source))
        for work in dist.batch_isend_irecv(pending) if pending else ():
            work.wait()
        return received


class _Shift(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, ranks: Ranks, distance: int, fill: float) -> Tensor:
        ctx.ranks, ctx.distance = ranks, distance
        return ranks._exchange(x.contiguous(), distance, fill, "forward")

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None]:
        back = ctx.ranks._exchange(grad.contiguous(), -ctx.distance, 0.0, "backward")
        return back, None, None, None


def state_before(
    decay: Tensor,
    end: Tensor,
    ranks: Ranks,
    *,
    spread: Callable[[Tensor], Tensor] = lambda decay: decay,
) -> Tensor:
    """The state before this rank's part of a linear recurrence, from every part's own end.

    A part maps the state h before it to decay · h + end. Parts compose as (a₂, u₂) ∘ (a₁, u₁) =
    (a₂ a₁, a₂ u₁ + u₂), so ⌈log₂ R⌉ rounds give all prefixes and one more shift excludes the part
    itself. `spread` broadcasts a decay to the shape of a state; only the small one is sent.
    """
    distance = 1
    while distance < ranks.size:
        earlier_end = ranks.shift(end, distance)
        end = spread(decay) * earlier_end + end
        if 2 * distance < ranks.size:  # nobody asks for the decays of the last round
            decay = decay * ranks.shift(decay, distance, fill=1.0)
        distance *= 2
    return ranks.shift(end)
