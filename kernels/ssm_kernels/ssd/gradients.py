"""Launches of the backward pass of ssd, from the states at the edges of chunks on."""

from collections.abc import Sequence

import torch
from torch import Tensor

from ssm_kernels.launcher import kept
from ssm_kernels.ssd import settings
from ssm_kernels.ssd.backward_kernel import (
    ssd_bwd_dx_kernel,
    ssd_bwd_scores_kernel,
    ssd_bwd_state_kernel,
)
from ssm_kernels.ssd.call import Call
from ssm_kernels.ssd.reduction_kernel import ssd_bwd_decay_kernel, ssd_bwd_group_kernel
from ssm_kernels.ssd.settings import fitting
from ssm_kernels.ssd.settings import parts as parts_of
from ssm_kernels.tiling import ceil_div, power_of_2

launch_state_gradients = kept(ssd_bwd_state_kernel)
launch_value_gradients = kept(ssd_bwd_dx_kernel)
launch_score_gradients = kept(ssd_bwd_scores_kernel)
launch_group_gradients = kept(ssd_bwd_group_kernel)
launch_decay_gradients = kept(ssd_bwd_decay_kernel)


def state_gradients(
    call: Call,
    decays: Sequence[Tensor],
    x: Tensor,
    states: Tensor,
    other: Tensor | None,
    sums: Tensor,
    keep: Tensor,
    *,
    reverse: bool,
) -> Tensor:
    """The gradient of C through states by part; in reverse that of B, and `keep`."""
    plan = call.plan
    chunks, parts = plan.count(plan.q), parts_of(plan, settings.STATE_SLICES)
    gradient = torch.empty(parts, chunks, plan.q, plan.n, dtype=torch.float32, device=x.device)
    launch_state_gradients[(chunks, parts)](
        x, call.C, *decays, states, other, gradient, sums, keep, plan.table(plan.q, x.device),
        x.stride(0), call.C.stride(0), plan.length, plan.chunks, **plan.sizes,
        SLICES=plan.slices // parts, REVERSE=reverse, **fitting(settings.STATE, plan),
    )  # fmt: skip
    return gradient


def score_gradients(call: Call, decays: Sequence[Tensor], g: Tensor, sums: Tensor) -> Tensor:
    """The gradient of C Bᵀ by part, (parts, chunks, 3, t, s)."""
    plan = call.plan
    chunks, parts = plan.count(plan.q), parts_of(plan, settings.SCORES_SLICES)
    dS = torch.empty(parts, chunks, 3, plan.tile, plan.tile, dtype=torch.float32, device=g.device)
    launch_score_gradients[(3 * chunks, parts)](
        call.x, call.B, call.C, g, *decays, dS, sums, plan.table(plan.q, g.device),
        call.x.stride(0), call.B.stride(0), call.C.stride(0), plan.length,
        plan.chunks, **plan.sizes,
        SLICES=plan.slices // parts, SKIP=call.skip, **fitting(settings.SCORES, plan),
    )  # fmt: skip
    return dS


def value_gradients(
    call: Call, pairs: Tensor, cum: Tensor, g: Tensor, leave: Tensor, sums: Tensor
) -> tuple[Tensor, Tensor]:
    """dx, and where D has a number a value, its gradient by tile."""
    plan, device = call.plan, g.device
    chunks, parts = plan.count(plan.q), parts_of(plan, settings.DX_SLICES)
    dx = torch.empty_like(g)
    gx = torch.empty(
        (2 * chunks, plan.h, plan.p) if call.skip == 2 else (0,), dtype=torch.float32, device=device
    )
    launch_value_gradients[(2 * chunks, parts)](
        call.x, call.B, call.C, call.D, g, leave, pairs, cum, dx, gx, sums,
        plan.table(plan.q, device), call.x.stride(0), call.B.stride(0), call.C.stride(0),
        plan.length, plan.chunks, **plan.sizes,
        SLICES=plan.slices // parts, SKIP=call.skip, **fitting(settings.DX, plan),
    )  # fmt: skip
    return dx, gx


def group_gradients(
    call: Call, dS: Tensor, part_B: Tensor, part_C: Tensor
) -> tuple[Tensor, Tensor]:
    """The gradients of B and C, from their parts through states and that of C Bᵀ."""
    plan = call.plan
    shape = (plan.b, plan.length, plan.g, plan.n)
    dB = torch.empty(shape, dtype=call.B.dtype, device=dS.device)
    dC = torch.empty(shape, dtype=call.C.dtype, device=dS.device)
    launch_group_gradients[(2 * plan.count(plan.q), plan.g, 2)](
        call.B, call.C, dS, part_B, part_C, dB, dC, plan.table(plan.q, dS.device),
        call.B.stride(0), call.C.stride(0), plan.length, plan.chunks,
        **{k: v for k, v in plan.sizes.items() if k in settings.GROUP_SIZES},
        PARTS=dS.shape[0] // plan.g, STATE_PARTS=part_B.shape[0] // plan.g, **settings.GROUP,
    )  # fmt: skip
    return dB, dC


def decay_gradients(
    call: Call, sums: Tensor, keep: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The gradients of dt, of A, of the bias and of D (where it is one a head)."""
    plan, device = call.plan, sums.device
    chunks = plan.count(plan.q)
    ddt = torch.empty(plan.b, plan.length, plan.h, dtype=call.dt.dtype, device=device)
    dA, dbias, dD = (
        torch.empty(chunks, plan.h, dtype=torch.float32, device=device) for _ in range(3)
    )
    block = min(8, power_of_2(plan.h))
    launch_decay_gradients[(chunks, ceil_div(plan.h, block))](
        call.dt, call.A, call.dt_bias, sums, keep, ddt, dA, dbias, dD,
        plan.table(plan.q, device), call.dt.stride(0), plan.length, plan.chunks,
        *call.limits, H=plan.h, V=plan.slices, T=plan.tile, BLOCK_H=block,
        **call.gate, PACKED=plan.bounds is not None, SKIP=call.skip,
    )  # fmt: skip
    return ddt, dA.sum(dim=0), dbias.sum(dim=0), dD.sum(dim=0)
