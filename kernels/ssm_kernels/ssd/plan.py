"""How one call of ssd is cut into programs: sizes, segments, chunks, and the tables of packing."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from ssm_kernels.tiling import ceil_div, power_of_2
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

        Such products go to Hopper's wgmma. In narrower ones ptxas (of Triton 3.6) was seen to
        repeat one of its descriptors, and gradients were wrong; so smaller sizes take tiles of 16
        tokens and the older instructions. So does float32: larger tiles of it were never measured.
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
        return 64 if self.wide else min(32, max(16, power_of_2(self.p)))

    @cached_property
    def slices(self) -> int:
        """Slices of all heads."""
        return self.h * ceil_div(self.p, self.block_p)

    @cached_property
    def segment(self) -> int:
        """Tokens of a segment: the longest sequence where the batch alone fills the chip.

        Else as many segments as leave the fewest steps in turn: programs go in rounds.
        """
        chunks = ceil_div(self.longest, self.q)
        programs = max(1, self.rows * self.slices)
        wanted = 1
        if programs < WALK_PROGRAMS // 2:
            most = max(2, ceil_div(WALK_PROGRAMS, programs))
            wanted = min(
                range(1, most + 1), key=lambda k: ceil_div(k * programs, WALK_PROGRAMS) / k
            )
        return self.q * max(MIN_SEGMENT_CHUNKS, ceil_div(chunks, wanted))

    def parts(self, programs: int, most: int) -> int:
        """Programs that share one chunk and group: a divisor of its slices, of `most` at most each,
        and enough of them for `programs` in all."""
        per_group = self.slices // self.g
        wanted = ceil_div(programs, max(1, self.count(self.q) * self.g))
        wanted = min(per_group, max(wanted, ceil_div(per_group, most)))
        return next(k for k in range(wanted, per_group + 1) if per_group % k == 0)

    def count(self, size: int) -> int:
        """Pieces of `size` tokens, none of which crosses sequences."""
        if self.bounds is None:
            return self.b * ceil_div(self.length, size)
        return sum(ceil_div(e - s, size) for s, e in self.bounds)

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
            rows.append((chunk, ceil_div(e - s, self.segment)))
            chunk += ceil_div(e - s, self.q)
        return torch.tensor(rows, dtype=torch.int64, device=device)

    @cached_property
    def chunks(self) -> int:
        """Chunks of a sequence, where nothing is packed."""
        return ceil_div(self.length, self.q)

    @cached_property
    def segments(self) -> int:
        """Segments of a sequence, where nothing is packed."""
        return ceil_div(self.length, self.segment)

    @cached_property
    def even(self) -> bool:
        """Whether every chunk is full."""
        return self.bounds is None and self.length % self.q == 0

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
            "BLOCK_N": max(16, power_of_2(self.n)),
            "PACKED": self.bounds is not None,
            "EVEN": self.even,
            "PRECISION": "ieee" if self.half else "tf32x3",
        }
