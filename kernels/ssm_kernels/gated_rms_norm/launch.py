"""The operators of gated_rms_norm: launches, shapes for the compiler, and gradients."""

import functools
from typing import Any

import torch
import triton
from torch import Tensor

from ssm_kernels.backend import check_device
from ssm_kernels.gated_rms_norm.kernel import (
    gated_rms_norm_bwd_kernel,
    gated_rms_norm_fwd_kernel,
)
from ssm_kernels.launcher import kept
from ssm_kernels.operator import operator
from ssm_kernels.tiling import power_of_2

# Programs that share the rows in backward: 132 multiprocessors, H200, November 2026.
PROGRAMS_BWD = 264
# While programs are fewer, as in generation, a warp has so many channels: little else hides waits.
FEW, FEW_SHARE = 1024, 256
AHEAD_BYTES = 90112  # of shared memory at most, for the next row: small cards have 101,376
MAX_WIDTH = 65536

launch_forward, launch_backward = kept(gated_rms_norm_fwd_kernel), kept(gated_rms_norm_bwd_kernel)


@operator("gated_rms_norm")
def norm(
    x: Tensor, weight: Tensor, z: Tensor | None, eps: float, groups: int, norm_before_gate: bool
) -> tuple[Tensor, Tensor]:
    """y, and 1 / rms of every row and group for the backward pass."""
    check_device(x)
    rows_x, rows_z = _rows(x), None if z is None else _rows(z)
    rows, d = rows_x.shape
    y = x.new_empty(x.shape)
    rstd = torch.empty(rows, groups, dtype=torch.float32, device=x.device)
    if rows:
        share = FEW_SHARE if rows * groups < FEW else 512 if norm_before_gate else 1024
        blocks, warps = _blocks(d // groups, share)
        launch_forward[(rows, groups)](
            rows_x, weight.contiguous(), rows_z, y, rstd, rows_x.stride(0),
            0 if rows_z is None else rows_z.stride(0), eps,
            D=d, WIDTH=d // groups, HAS_Z=z is not None, NORM_FIRST=norm_before_gate,
            FAST=not triton.knobs.runtime.interpret, **blocks, num_warps=warps,
        )  # fmt: skip
    return y, rstd


@norm.register_fake
def _(
    x: Tensor, weight: Tensor, z: Tensor | None, eps: float, groups: int, norm_before_gate: bool
) -> tuple[Tensor, Tensor]:
    rows = x.numel() // x.shape[-1]
    return x.new_empty(x.shape), x.new_empty(rows, groups, dtype=torch.float32)


@operator("gated_rms_norm_backward")
def norm_backward(
    dy: Tensor,
    x: Tensor,
    weight: Tensor,
    z: Tensor | None,
    rstd: Tensor,
    norm_before_gate: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of x, weight and z (empty without z)."""
    rows_x, rows_z = _rows(x), None if z is None else _rows(z)
    (rows, d), groups = rows_x.shape, rstd.shape[1]
    dx = torch.empty(x.shape, dtype=x.dtype, device=x.device)
    dz = x.new_empty(0) if z is None else torch.empty(z.shape, dtype=z.dtype, device=z.device)
    if not rows:
        return dx, torch.zeros_like(weight), dz
    programs = min(rows, PROGRAMS_BWD)
    part = torch.empty(programs, d, dtype=torch.float32, device=x.device)
    blocks, warps = _blocks(d // groups, 1024)
    ahead = sum(blocks.values()) * (3 * x.element_size() + weight.element_size())
    launch_backward[(programs, groups)](
        rows_x, weight.contiguous(), rows_z, dy.contiguous(), rstd, dx, dz, part,
        rows_x.stride(0), 0 if rows_z is None else rows_z.stride(0), rows,
        D=d, WIDTH=d // groups, HAS_Z=z is not None, NORM_FIRST=norm_before_gate,
        FAST=not triton.knobs.runtime.interpret, STAGES=2 if ahead <= AHEAD_BYTES else 1,
        **blocks, num_warps=warps,
    )  # fmt: skip
    return dx, part.sum(dim=0).to(weight.dtype), dz


@norm_backward.register_fake
def _(
    dy: Tensor,
    x: Tensor,
    weight: Tensor,
    z: Tensor | None,
    rstd: Tensor,
    norm_before_gate: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    dz = x.new_empty(0) if z is None else z.new_empty(z.shape)
    return x.new_empty(x.shape), weight.new_empty(weight.shape), dz


def _save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    x, weight, z, _, _, ctx.norm_before_gate = inputs
    ctx.save_for_backward(x, weight, z, output[1])
    ctx.mark_non_differentiable(output[1])


def _gradients(ctx: Any, dy: Tensor, _: Tensor | None) -> tuple[Tensor | None, ...]:
    x, weight, z, rstd = ctx.saved_tensors
    dx, dw, dz = norm_backward(dy, x, weight, z, rstd, ctx.norm_before_gate)
    return dx, dw, None if z is None else dz, None, None, None


norm.register_autograd(_gradients, setup_context=_save)


def _rows(x: Tensor) -> Tensor:
    """x as (rows, d) with neighbouring channels neighbours in memory; a view where it can be."""
    d = x.shape[-1]
    if x.numel() == 0:
        return x.new_empty(0, d)
    try:
        rows = x.view(-1, d)
    except RuntimeError:  # strides that no view can merge
        rows = x.reshape(-1, d)
    return rows if rows.stride(1) == 1 else rows.contiguous()


@functools.cache
def _blocks(width: int, channels: int) -> tuple[dict[str, int], int]:
    """The two blocks that hold a group, and the warps of one program, of so many channels each.

    Twice as many warps where the norm comes first: 0.247 ms forward instead of 0.261 (H200, 32,768
    rows of 5120, November 2026); the other order and backward need their registers.
    """
    first = 1 << (width.bit_length() - 1)
    rest = width - first
    if first < 64:  # too little for one warp to split
        first, rest = power_of_2(width), 0
    second = power_of_2(rest) if rest else 0
    return {"BLOCK_1": first, "BLOCK_2": second}, min(16, max(1, first // channels))
