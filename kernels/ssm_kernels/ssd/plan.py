"""How one call of ssd is cut into programs: sizes, segments, chunks, and the tables of packing."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
import triton
from torch import Tensor

from ssm_ref.packing import sequence_bounds

MAX_STATE = 256
# H100, November 2026: programs that keep its 132 multiprocessors busy in a walk, and in backward.
WALK_PROGRAMS, CHUNK_PROGRAMS = 264, 1024
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

    @property
    def rows(self) -> int:
        """Sequences."""
        return self.b if self.bounds is None else len(self.bounds)

    @property
    def longest(self) -> int:
        """Tokens of the longest sequence."""
        return self.length if self.bounds is None else max(e - s for s, e in self.bounds)

    @cached_property
    def q(self) -> int:
        """Tokens of a chunk."""
        most = 64 if self.half and self.n <= 128 else 32
        return min(most, max(16, triton.next_power_of_2(self.longest)))

    @property
    def block_p(self) -> int:
        """Values of one slice of a head."""
        return min(64, max(16, triton.next_power_of_2(self.p)))

    @property
    def slices(self) -> int:
        """Slices of all heads."""
        return self.h * triton.cdiv(self.p, self.block_p)

    @cached_property
    def segment(self) -> int:
        """Tokens of a segment: the longest sequence where the batch alone fills the chip."""
        chunks = triton.cdiv(self.longest, self.q)
        wanted = triton.cdiv(2 * WALK_PROGRAMS, max(1, self.rows * self.slices))
        if self.rows * self.slices >= WALK_PROGRAMS // 2:
            wanted = 1
        return self.q * max(MIN_SEGMENT_CHUNKS, triton.cdiv(chunks, wanted))

    @cached_property
    def parts(self) -> int:
        """Programs that share one chunk and group in backward: a divisor of its slices."""
        per_group = self.slices // self.g
        wanted = triton.cdiv(CHUNK_PROGRAMS, max(1, self.count(self.q) * self.g))
        return (
            next(k for k in range(1, per_group + 1) if k >= wanted and per_group % k == 0)
            if (wanted <= per_group)
            else per_group
        )

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

    def constants(self) -> dict[str, Any]:
        """The sizes that every kernel is compiled for."""
        return {
            "H": self.h,
            "G": self.g,
            "P": self.p,
            "N": self.n,
            "V": self.slices,
            "Q": self.q,
            "BLOCK_P": self.block_p,
            "BLOCK_N": max(16, triton.next_power_of_2(self.n)),
            "PACKED": self.bounds is not None,
            "PRECISION": "ieee" if self.half else "tf32x3",
        }

    def constants_of(self, *names: str) -> dict[str, Any]:
        """Those of `constants` that a kernel takes, besides what all take."""
        return {k: v for k, v in self.constants().items() if k in (*names, "PACKED", "PRECISION")}
