"""A branch's output added to the residual and the sum normalised, in one launch.

Between two layers of a model stand an addition, a norm and a change of dtype. Together they read
and write the residual once. Operators `ssm_kernels::add_rms_norm` and its backward carry it.
"""

from typing import Any

import torch
from torch import Tensor

from ssm_kernels.backend import check_device
from ssm_kernels.gated_rms_norm.residual_kernel import (
    add_rms_norm_bwd_kernel,
    add_rms_norm_fwd_kernel,
)
from ssm_kernels.launcher import kept
from ssm_kernels.operator import operator
from ssm_kernels.tiling import power_of_2

PROGRAMS_BWD = 528  # that share the rows in backward: four for each of 132 multiprocessors
MAX_WIDTH = 16384

launch_forward, launch_backward = kept(add_rms_norm_fwd_kernel), kept(add_rms_norm_bwd_kernel)


@operator("add_rms_norm")
def add_norm(
    x: Tensor, y: Tensor | None, weight: Tensor, eps: float, dtype: torch.dtype, save: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """x + y (empty without y), its norm in `dtype`, and with `save` 1 / rms of every row."""
    check_device(x)
    d = x.shape[-1]
    out = torch.empty(x.shape, dtype=dtype, device=x.device)
    rows = out.numel() // d
    total = x.new_empty(0) if y is None else torch.empty(x.shape, dtype=x.dtype, device=x.device)
    rstd = torch.empty(rows if save else 0, dtype=torch.float32, device=x.device)
    if rows:
        block = power_of_2(d)
        launch_forward[(rows,)](
            x.contiguous(), None if y is None else y.contiguous(), weight.contiguous(),
            total, out, rstd, eps,
            D=d, HAS_Y=y is not None, SAVE=save, BLOCK=block, num_warps=warps_of(block),
        )  # fmt: skip
    return total, out, rstd


@add_norm.register_fake
def _(
    x: Tensor, y: Tensor | None, weight: Tensor, eps: float, dtype: torch.dtype, save: bool
) -> tuple[Tensor, Tensor, Tensor]:
    rows = x.numel() // x.shape[-1] if save else 0
    return (
        x.new_empty(0 if y is None else x.shape),
        x.new_empty(x.shape, dtype=dtype),
        x.new_empty(rows, dtype=torch.float32),
    )


@operator("add_rms_norm_backward")
def add_norm_backward(
    dout: Tensor, dtotal: Tensor | None, total: Tensor, weight: Tensor, rstd: Tensor,
    y_dtype: torch.dtype | None,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """Gradients of x, y (empty without `y_dtype`) and weight."""
    d, rows = total.shape[-1], rstd.numel()
    dx = torch.empty(total.shape, dtype=total.dtype, device=total.device)
    shape = (0,) if y_dtype is None else total.shape
    dy = torch.empty(shape, dtype=y_dtype or total.dtype, device=total.device)
    if not rows:
        return dx, dy, torch.zeros_like(weight)
    programs = min(rows, PROGRAMS_BWD)
    part = torch.empty(programs, d, dtype=torch.float32, device=total.device)
    block = power_of_2(d)
    launch_backward[(programs,)](
        total.contiguous(), weight.contiguous(), rstd,
        None if dtotal is None else dtotal.contiguous(), dout.contiguous(), dx, dy, part, rows,
        D=d, HAS_GS=dtotal is not None, HAS_Y=y_dtype is not None, BLOCK=block,
        num_warps=warps_of(block),
    )  # fmt: skip
    return dx, dy, part.sum(dim=0).to(weight.dtype)


@add_norm_backward.register_fake
def _(
    dout: Tensor, dtotal: Tensor | None, total: Tensor, weight: Tensor, rstd: Tensor,
    y_dtype: torch.dtype | None,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    shape = (0,) if y_dtype is None else total.shape
    return (
        total.new_empty(total.shape),
        total.new_empty(shape, dtype=y_dtype or total.dtype),
        weight.new_empty(weight.shape),
    )


def _save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor, Tensor]) -> None:
    x, y, weight, *_ = inputs
    ctx.y_dtype = None if y is None else y.dtype
    ctx.save_for_backward(x if y is None else output[0], weight, output[2])
    ctx.mark_non_differentiable(output[2])
    ctx.set_materialize_grads(False)


def _gradients(
    ctx: Any, dtotal: Tensor | None, dout: Tensor | None, _: Tensor | None
) -> tuple[Tensor | None, ...]:
    total, weight, rstd = ctx.saved_tensors
    if ctx.y_dtype is None:
        dtotal = None
    if dout is None:
        dy = None if ctx.y_dtype is None or dtotal is None else dtotal.to(ctx.y_dtype)
        return dtotal, dy, None, None, None, None
    dx, dy, dw = add_norm_backward(dout, dtotal, total, weight, rstd, ctx.y_dtype)
    return dx, None if ctx.y_dtype is None else dy, dw, None, None, None


add_norm.register_autograd(_gradients, setup_context=_save)


def warps_of(block: int) -> int:
    """Warps of one program: 512 channels each."""
    return min(16, max(1, block // 512))


def add_rms_norm(
    x: Tensor, y: Tensor | None, weight: Tensor, *, eps: float, dtype: torch.dtype
) -> tuple[Tensor, Tensor]:
    """x + y (x itself without y) and its RMS norm in `dtype`, differentiable in all three.

    x and y have one shape (…, d) and weight is (d). Raises `ValueError` where they do not fit.
    """
    d = x.shape[-1] if x.ndim else 0
    if weight.shape != (d,) or (y is not None and y.shape != x.shape) or not 0 < d <= MAX_WIDTH:
        raise ValueError(
            f"x and y must have one shape (..., d), d in 1 ... {MAX_WIDTH}, and weight (d,); got "
            f"{tuple(x.shape)}, {None if y is None else tuple(y.shape)} and {tuple(weight.shape)}"
        )
    for name, tensor in (("x", x), ("y", y), ("weight", weight)):
        if tensor is not None and not (tensor.is_floating_point() and tensor.device == x.device):
            raise ValueError(
                f"{name} must be floating point on {x.device}; "
                f"got {tensor.dtype} on {tensor.device}"
            )
    save = torch.is_grad_enabled() and any(
        t is not None and t.requires_grad for t in (x, y, weight)
    )
    total, out, _ = add_norm(x, y, weight, eps, dtype, save)
    return (x if y is None else total), out
