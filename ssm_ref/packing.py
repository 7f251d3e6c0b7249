"""Packed batches: sequences laid end to end in one row, told apart by `cu_seqlens`.

`cu_seqlens` holds the cumulative lengths 0 = c₀ < c₁ < … < c_s = L: sequence i is the slice
c_i … c_{i+1} of the time axis. Nothing passes from one sequence to the next.
"""

import itertools

import torch
from jaxtyping import Int
from torch import Tensor


def sequence_bounds(cu_seqlens: Int[Tensor, " s1"], b: int, l: int) -> list[tuple[int, int]]:
    """(start, end) of every packed sequence.

    Raises `ValueError` unless `cu_seqlens` is a strictly increasing integer vector from 0 to `l`
    and the batch is 1.
    """
    if cu_seqlens.ndim != 1 or cu_seqlens.dtype not in (torch.int32, torch.int64):
        raise ValueError(
            "cu_seqlens must be a vector of int32 or int64; "
            f"got shape {tuple(cu_seqlens.shape)} and {cu_seqlens.dtype}"
        )
    if b != 1:
        raise ValueError(f"cu_seqlens packs sequences into one row, so batch must be 1; got {b}")
    ends = cu_seqlens.tolist()
    bounds = list(itertools.pairwise(ends))
    if not bounds or ends[0] != 0 or ends[-1] != l or any(start >= end for start, end in bounds):
        raise ValueError(f"cu_seqlens must increase strictly from 0 to the length {l}; got {ends}")
    return bounds
