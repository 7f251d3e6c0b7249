"""The operators of ssd: launches, shapes for the compiler, and gradients."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ssm_kernels.backend import check_device
from ssm_kernels.launcher import kept
from ssm_kernels.operator import operator
from ssm_kernels.ssd import settings
from ssm_kernels.ssd.backward_kernel import SUMS
from ssm_kernels.ssd.call import Call, call_of, rows_of
from ssm_kernels.ssd.gradients import (
    decay_gradients,
    group_gradients,
    score_gradients,
    state_gradients,
    value_gradients,
)
from ssm_kernels.ssd.kernel import ssd_decay_kernel, ssd_fwd_kernel
from ssm_kernels.ssd.settings import fitting
from ssm_kernels.ssd.settings import parts as parts_of
from ssm_kernels.ssd.walk_kernel import ssd_bwd_walk_kernel, ssd_walk_kernel
from ssm_kernels.tiling import ceil_div, power_of_2

launch_decays = kept(ssd_decay_kernel)
launch_walk = kept(ssd_walk_kernel)
launch_walks = kept(ssd_bwd_walk_kernel)
launch_outputs = kept(ssd_fwd_kernel)


@operator("ssd")
def forward(
    x: Tensor,
    dt: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    dt_bias: Tensor | None,
    initial_state: Tensor | None,
    cu_seqlens: Tensor | None,
    softplus: bool,
    limits: list[float],
    wide: bool,
) -> tuple[Tensor, Tensor]:
    """y (float32 if `wide`, else like x) and the last states."""
    check_device(x)
    call = call_of(x, dt, A, B, C, D, dt_bias, initial_state, cu_seqlens, softplus, limits)
    plan = call.plan
    y = torch.empty(x.shape, dtype=torch.float32 if wide else x.dtype, device=x.device)
    end = torch.empty(plan.rows, plan.h, plan.p, plan.n, dtype=torch.float32, device=x.device)
    if not x.numel():
        return y, end
    pairs, *decays = _decays(call)
    states = _walk(call, decays, end)
    parts = parts_of(plan, settings.FWD_SLICES)
    launch_outputs[(plan.count(plan.q), parts)](
        call.x, call.B, call.C, call.D, pairs, *decays, states, y,
        plan.table(plan.q, x.device),
        call.x.stride(0), call.B.stride(0), call.C.stride(0), plan.length,
        plan.chunks, SLICES=plan.slices // parts, SKIP=call.skip, **plan.sizes,
        **fitting(settings.FWD, plan),
    )  # fmt: skip
    return y, end


@forward.register_fake
def _(
    x: Tensor,
    dt: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    dt_bias: Tensor | None,
    initial_state: Tensor | None,
    cu_seqlens: Tensor | None,
    softplus: bool,
    limits: list[float],
    wide: bool,
) -> tuple[Tensor, Tensor]:
    rows = x.shape[0] if cu_seqlens is None else cu_seqlens.shape[0] - 1
    y = x.new_empty(x.shape, dtype=torch.float32 if wide else x.dtype)
    return y, x.new_empty(rows, *x.shape[2:], B.shape[3], dtype=torch.float32)


@operator("ssd_backward")
def backward(
    dy: Tensor,
    dstate: Tensor | None,
    x: Tensor,
    dt: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    dt_bias: Tensor | None,
    initial_state: Tensor | None,
    cu_seqlens: Tensor | None,
    softplus: bool,
    limits: list[float],
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Gradients in the order of the inputs; empty for those that are absent."""
    call = call_of(x, dt, A, B, C, D, dt_bias, initial_state, cu_seqlens, softplus, limits)
    plan = call.plan
    if not x.numel():
        zeros = (x, dt, A, B, C, D, dt_bias, initial_state)
        return tuple(x.new_empty(0) if t is None else torch.zeros_like(t) for t in zeros)  # type: ignore[return-value]
    g = rows_of(dy.to(x.dtype).contiguous())
    pairs, *decays = _decays(call)
    sums = torch.empty(
        plan.count(plan.q), plan.slices, SUMS.value, plan.q, dtype=torch.float32, device=x.device
    )
    keep = torch.empty(sums.shape[:2], dtype=torch.float32, device=x.device)
    dinit = torch.empty(plan.rows, plan.h, plan.p, plan.n, dtype=torch.float32, device=x.device)
    dend = None if dstate is None else dstate.float().contiguous()
    enter, leave = _walks(call, decays, g, dend, dinit)
    part_B = state_gradients(call, decays, call.x, leave, enter, sums, keep, reverse=True)
    part_C = state_gradients(call, decays, g, enter, None, sums, keep, reverse=False)
    del enter
    dS = score_gradients(call, decays, g, sums)
    dx, gx = value_gradients(call, pairs, decays[0], g, leave, sums)
    del leave
    dB, dC = group_gradients(call, dS, part_B, part_C)
    ddt, dA, dbias, dD = decay_gradients(call, sums, keep)
    if D is not None:
        dD = (gx.sum(dim=0) if D.ndim == 2 else dD).to(D.dtype)
    return (
        dx.view(x.shape),
        ddt,
        dA.to(A.dtype),
        dB.to(B.dtype),
        dC.to(C.dtype),
        x.new_empty(0) if D is None else dD,
        x.new_empty(0) if dt_bias is None else dbias.to(dt_bias.dtype),
        x.new_empty(0) if initial_state is None else dinit.to(initial_state.dtype),
    )


@backward.register_fake
def _(
    dy: Tensor,
    dstate: Tensor | None,
    x: Tensor,
    dt: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    dt_bias: Tensor | None,
    initial_state: Tensor | None,
    cu_seqlens: Tensor | None,
    softplus: bool,
    limits: list[float],
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    inputs = (x, dt, A, B, C, D, dt_bias, initial_state)
    return tuple(x.new_empty(0) if t is None else t.new_empty(t.shape) for t in inputs)  # type: ignore[return-value]


def _save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    *tensors, ctx.softplus, ctx.limits, _ = inputs
    ctx.save_for_backward(*tensors)
    ctx.set_materialize_grads(False)


def _gradients(ctx: Any, dy: Tensor | None, dstate: Tensor | None) -> tuple[Any, ...]:
    tensors = ctx.saved_tensors
    dy = torch.zeros_like(tensors[0]) if dy is None else dy
    grads = backward(dy, dstate, *tensors, ctx.softplus, ctx.limits)
    kept = (None if t is None else d for t, d in zip(tensors, grads, strict=False))
    return (*kept, None, None, None, None)


forward.register_autograd(_gradients, setup_context=_save)


def _decays(call: Call) -> tuple[Tensor, Tensor, Tensor]:
    """The decays since each chunk began, paired with Δ and alone, and the keys of its tokens, each
    (chunks, h, q)."""
    plan, device = call.plan, call.x.device
    chunks = plan.count(plan.q)
    cum, key = (
        torch.empty(chunks, plan.h, plan.q, dtype=torch.float32, device=device) for _ in range(2)
    )
    pairs = torch.empty(chunks, plan.h, plan.q, dtype=torch.int64, device=device)
    block = min(16, power_of_2(plan.h))
    launch_decays[(chunks, ceil_div(plan.h, block))](
        call.dt, call.A, call.dt_bias, pairs, cum, key, plan.table(plan.q, device),
        call.dt.stride(0), plan.length, plan.chunks, *call.limits, H=plan.h,
        Q=plan.q, BLOCK_H=block, **call.gate, PACKED=plan.bounds is not None,
    )  # fmt: skip
    return pairs, cum, key


def _segments(
    call: Call, decays: Sequence[Tensor], x: Tensor, B: Tensor, reverse: bool
) -> tuple[Tensor | None, Tensor | None]:
    """Every segment's own state and decay; nothing where each sequence is one segment."""
    plan = call.plan
    segments = plan.count(plan.segment)
    if segments == plan.rows:
        return None, None
    own = torch.empty(
        segments, plan.slices, plan.block_p, plan.n, dtype=torch.float32, device=x.device
    )
    decay = torch.empty(segments, plan.h, dtype=torch.float32, device=x.device)
    launch_walk[(plan.slices * segments,)](
        x, B, *decays, None, own, decay, None, None,
        plan.table(plan.segment, x.device), plan.firsts(x.device), x.stride(0), B.stride(0),
        plan.length, plan.segment, plan.segments, **plan.sizes,
        INIT=False, REVERSE=reverse, STORE=False, SEGMENTED=False, **fitting(settings.WALK, plan),
    )  # fmt: skip
    return own, decay


def _walk(call: Call, decays: Sequence[Tensor], end: Tensor) -> Tensor:
    """The state that enters every chunk; the last one goes to `end`."""
    plan, device = call.plan, end.device
    own, decay = _segments(call, decays, call.x, call.B, False)
    states = _states(call)
    launch_walk[(plan.slices * plan.count(plan.segment),)](
        call.x, call.B, *decays, call.init, own, decay, states, end,
        plan.table(plan.segment, device), plan.firsts(device), call.x.stride(0), call.B.stride(0),
        plan.length, plan.segment, plan.segments, **plan.sizes,
        INIT=call.init is not None, REVERSE=False, STORE=True,
        SEGMENTED=own is not None, **fitting(settings.WALK, plan),
    )  # fmt: skip
    return states


def _walks(
    call: Call, decays: Sequence[Tensor], g: Tensor, dend: Tensor | None, dinit: Tensor
) -> tuple[Tensor, Tensor]:
    """The state that enters every chunk, and the gradient of the one that leaves it; that of the
    first state goes to `dinit`."""
    plan, device = call.plan, g.device
    enter, leave = _states(call), _states(call)
    own = _segments(call, decays, call.x, call.B, False)
    back = _segments(call, decays, g, call.C, True)
    launch_walks[(2 * plan.slices * plan.count(plan.segment),)](
        call.x, call.B, call.init, *own, enter, g, call.C, dend, *back, leave, dinit, *decays,
        plan.table(plan.segment, device), plan.firsts(device),
        call.x.stride(0), call.B.stride(0), call.C.stride(0),
        plan.length, plan.segment, plan.segments, **plan.sizes,
        INIT=call.init is not None, DEND=dend is not None,
        SEGMENTED=own[0] is not None, **fitting(settings.WALK, plan),
    )  # fmt: skip
    return enter, leave


def _states(call: Call) -> Tensor:
    """Room for a state at every chunk's edge."""
    plan = call.plan
    shape = plan.count(plan.q), plan.slices, plan.block_p, plan.n
    return torch.empty(shape, dtype=call.x.dtype, device=call.x.device)
