"""How one call of ssd is cut into programs: sizes, segments, chunks, and the tables of packing."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
import triton
from torch import Tensor

from ssm_ref.packing import sequence_bounds

MAX_STATE = 256
# H200, November 2026: programs of a walk that its 132 multiprocessors hold at once.
WALK_PROGRAMS = 264
MIN_SEGMENT_CHUNKS = 4


@dataclass(frozen=True)
class Plan:
    """Sizes of one call; heads wider than a block are cut into slices."""

    b: int
    length: int
    h: int
    p: int
    g: int
    n: int
    half: bool
    bounds: tuple[tuple[int, int], ...] | None

    @classmethod
    def of(cls, x: Tensor, B: Tensor, cu_seqlens: Tensor | None) -> "Plan":
        """The plan for x (b, l, h, p) and B (b, l, g, n)."""
        (b, length, h, p), (g, n) = x.shape, B.shape[2:]
        bounds = None
        if cu_seqlens is not None:
            bounds = tuple(sequence_bounds(cu_seqlens, b, length))
        return cls(b, length, h, p, g, n, x.dtype != torch.float32, bounds)

    @cached_property
    def rows(self) -> int:
        """Sequences."""
        return self.b if self.bounds is None else len(self.bounds)

    @cached_property
    def longest(self) -> int:
        """Tokens of the longest sequence."""
        return self.length if self.bounds is None else max(e - s for s, e in self.bounds)

    @cached_property
    def wide(self) -> bool:
        """Whether tiles are large: 64 tokens, and 64 values of a head.

        Such products go to Hopper's wgmma; smaller ones to the older instructions. In between, and
        in float32, ptxas (of Triton 3.6) was seen to repeat one of wgmma's descriptors, and
        gradients were wrong.
        """
        return self.half and self.p > 32 and 32 < self.n <= 128 and self.longest > 32

    @cached_property
    def tile(self) -> int:
        """Tokens that one program holds at a time: half a chunk."""
        return 64 if self.wide else 16

    @cached_property
    def q(self) -> int:
        """Tokens of a chunk."""
        return 2 * self.tile

    @cached_property
    def block_p(self) -> int:
        """Values of one slice of a head."""
        return 64 if self.wide else min(32, max(16, triton.next_power_of_2(self.p)))

    @cached_property
    def slices(self) -> int:
        """Slices of all heads."""
        return self.h * triton.cdiv(self.p, self.block_p)

    @cached_property
    def segment(self) -> int:
        """Tokens of a segment: the longest sequence where the batch alone fills the chip.

        Else as many segments as leave the fewest steps in turn: programs go in rounds.
        """
        chunks = triton.cdiv(self.longest, self.q)
        programs = max(1, self.rows * self.slices)
        wanted = 1
        if programs < WALK_PROGRAMS // 2:
            most = max(2, triton.cdiv(WALK_PROGRAMS, programs))
            wanted = min(
                range(1, most + 1), key=lambda k: triton.cdiv(k * programs, WALK_PROGRAMS) / k
            )
        return self.q * max(MIN_SEGMENT_CHUNKS, triton.cdiv(chunks, wanted))

    def parts(self, programs: int, most: int) -> int:
        """Programs that share one chunk and group: a divisor of its slices, of `most` at most each,
        and enough of them for `programs` in all."""
        per_group = self.slices // self.g
        wanted = triton.cdiv(programs, max(1, self.count(self.q) * self.g))
        wanted = min(per_group, max(wanted, triton.cdiv(per_group, most)))
        return next(k for k in range(wanted, per_group + 1) if per_group % k == 0)

    def count(self, size: int) -> int:
        """Pieces of `size` tokens, none of which crosses sequences."""
        if self.bounds is None:
            return self.b * triton.cdiv(self.length, size)
        return sum(triton.cdiv(e - s, size) for s, e in self.bounds)

    def table(self, size: int, device: torch.device) -> Tensor | None:
        """Packed: (sequence, start, end, number in the sequence) of every piece."""
        if self.bounds is None:
            return None
        rows = [
            (i, start, min(start + size, e), k)
            for i, (s, e) in enumerate(self.bounds)
            for k, start in enumerate(range(s, e, size))
        ]
        return torch.tensor(rows, dtype=torch.int64, device=device)

    def firsts(self, device: torch.device) -> Tensor | None:
        """Packed: (first chunk, segments) of every sequence."""
        if self.bounds is None:
            return None
        rows, chunk = [], 0
        for s, e in self.bounds:
            rows.append((chunk, triton.cdiv(e - s, self.segment)))
            chunk += triton.cdiv(e - s, self.q)
        return torch.tensor(rows, dtype=torch.int64, device=device)

    @cached_property
    def sizes(self) -> dict[str, Any]:
        """The sizes that most kernels are compiled for."""
        return {
            "H": self.h,
            "G": self.g,
            "P": self.p,
            "N": self.n,
            "V": self.slices,
            "T": self.tile,
            "BLOCK_P": self.block_p,
            "BLOCK_N": max(16, triton.next_power_of_2(self.n)),
            "PACKED": self.bounds is not None,
            "PRECISION": "ieee" if self.half else "tf32x3",
        }
