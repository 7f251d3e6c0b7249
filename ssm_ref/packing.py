"""Batches of unequal sequences: packed end to end in one row, or padded to one length.

`cu_seqlens` holds the cumulative lengths 0 = c₀ < c₁ < … < c_s = L: sequence i is the slice
c_i … c_{i+1} of the time axis. `mask` (b, l) is True on real tokens and False on padding. Either
way nothing passes from one sequence to the next, and a causal layer needs no mask at all once every
sequence stands at the left of a row of its own, from an empty past: padding then comes after all
that it could disturb.
"""

import itertools
from collections.abc import Callable

import torch
from jaxtyping import Bool, Int, Shaped
from torch import Tensor

from ssm_ref.expect import readable


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


def check_mask(mask: Tensor, shape: tuple[int, ...]) -> None:
    """Raise `ValueError` unless `mask` is a boolean tensor of `shape`, the (b, l) of the batch."""
    if mask.dtype != torch.bool or tuple(mask.shape) != tuple(shape):
        raise ValueError(
            f"mask must be torch.bool of shape {tuple(shape)}, True on real tokens; "
            f"got {mask.dtype} of shape {tuple(mask.shape)}"
        )


def check_left_padding(mask: Tensor, shape: tuple[int, ...], past: Tensor) -> None:
    """Raise `ValueError` unless padding stands on the left and `past`, part of a state, is zero."""
    check_mask(mask, shape)
    if not readable(mask) or not readable(past):
        return
    if bool((mask[:, :-1] & ~mask[:, 1:]).any()):
        raise ValueError("prefill takes padding on the left alone; mask is False after True")
    if bool(past.any()) and not bool(mask.all()):
        raise ValueError("prefill takes a mask from an empty past alone; state holds a past")


def run_apart(
    run: Callable[[Tensor], Tensor],
    x: Shaped[Tensor, "b l *any"],
    *,
    mask: Bool[Tensor, "b l"] | None = None,
    cu_seqlens: Int[Tensor, " s1"] | None = None,
) -> Shaped[Tensor, "b l *out"]:
    """`run` on a batch after giving every sequence a row of its own; zero on padding.

    `run` maps (s, m, …) to (s, m, …) causally, from an empty past. Raises `ValueError` unless
    exactly one of `mask` and `cu_seqlens` is given and fits the batch.
    """
    if (mask is None) == (cu_seqlens is None):
        raise ValueError("a batch is either padded (mask) or packed (cu_seqlens); give one of them")
    b, l = x.shape[:2]
    if mask is not None:
        check_mask(mask, (b, l))
        place = _places_of_mask(mask)
    elif cu_seqlens is not None:
        bounds = sequence_bounds(cu_seqlens, b, l)
        place = _places_of_lengths(cu_seqlens.to(x.device), max(t - s for s, t in bounds), l)
    # Place b · l, one behind the batch, stands for "nothing": zero when read, dropped when written.
    tokens = torch.cat([x.flatten(0, 1), x.new_zeros(1, *x.shape[2:])])
    y = run(tokens[place])
    out = y.new_zeros(b * l + 1, *y.shape[2:])
    return out.index_put((place.flatten(),), y.flatten(0, 1))[:-1].unflatten(0, (b, l))


def _places_of_mask(mask: Tensor) -> Tensor:
    """Where in the batch, rows end to end, the tokens of each row stand, real ones first."""
    b, l = mask.shape
    order = (~mask).to(torch.uint8).argsort(dim=1, stable=True)
    first = l * torch.arange(b, device=mask.device)[:, None]
    return torch.where(mask.gather(1, order), first + order, b * l)


def _places_of_lengths(cu_seqlens: Tensor, longest: int, l: int) -> Tensor:
    place = cu_seqlens[:-1, None] + torch.arange(longest, device=cu_seqlens.device)
    return torch.where(place < cu_seqlens[1:, None], place, l)
