"""Ranks of a run: who shares the rows, who shares the time, and tensors passed between them.

The ranks of a run form a grid, rows × time: rank r = i · S + j has part j of the time of group i's
rows, so that the S ranks of one sequence are neighbours, as they stand in one machine. `shift` is
the one primitive: rank r receives what rank r - distance gave, and in the backward pass gradients
travel the other way. All that the sequence split needs is built from it.
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
    """The ranks that share something, such as one sequence: rank 0 has its beginning."""

    rank: int
    size: int
    traffic: Traffic = field(default_factory=Traffic)
    first: int = 0  # the number in the world of rank 0 here; the others follow it
    group: Any = None  # their process group; None is that of the world

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
            pending.append(dist.P2POp(dist.isend, x.contiguous(), self.first + to, self.group))
        if 0 <= source < self.size:
            pending.append(dist.P2POp(dist.irecv, received, self.first + source, self.group))
        for work in dist.batch_isend_irecv(pending) if pending else ():
            work.wait()
        return received


@dataclass(frozen=True, slots=True)
class Grid:
    """The place of one rank: among those that share rows, and among those that share time."""

    rows: Ranks
    time: Ranks

    @classmethod
    def of(cls, world: Ranks, sequence_ranks: int) -> "Grid":
        """The grid of all ranks with `sequence_ranks` a sequence.

        Every rank of an initialised world must call it, for it makes the groups. Raises
        `ValueError` where the sequences do not share the ranks evenly.
        """
        s = sequence_ranks
        if s < 1 or world.size % s:
            raise ValueError(
                f"the ranks of a sequence must divide the {world.size} rank(s) of the run; got {s}"
            )
        i, j = divmod(world.rank, s)
        group = None
        if 1 < s < world.size and dist.is_initialized():
            groups = [dist.new_group(range(a, a + s)) for a in range(0, world.size, s)]
            group = groups[i]
        time = Ranks(j, s, first=i * s, group=group)
        return cls(rows=Ranks(i, world.size // s), time=time)


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
