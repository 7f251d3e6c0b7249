"""The operators of ssd: launches, shapes for the compiler, and gradients."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
import triton
from torch import Tensor

from ssm_kernels.backend import check_device
from ssm_kernels.launcher import kept
from ssm_kernels.operator import operator
from ssm_kernels.ssd.kernel import (
    ssd_bwd_decay_kernel,
    ssd_bwd_dx_kernel,
    ssd_bwd_group_kernel,
    ssd_bwd_scores_kernel,
    ssd_bwd_state_kernel,
    ssd_decay_kernel,
    ssd_fwd_kernel,
    ssd_walk_kernel,
)
from ssm_kernels.ssd.plan import Plan

# H200, November 2026.
FWD = {"num_warps": 4, "STAGES": 2, "maxnreg": 168}
WALK = {"num_warps": 8, "STAGES": 3}
# slices of a program at most, and programs that fill the chip
FWD_SLICES, STATE_SLICES, DX_SLICES, SCORES_SLICES, PROGRAMS = 8, 40, 8, 20, 512
GROUP = {"num_warps": 4, "num_stages": 2}
GROUP_SIZES = ("G", "N", "T", "BLOCK_N", "PACKED", "PRECISION")
STATE = {"num_warps": 8, "STAGES": 2, "maxnreg": 128}
DX = {"num_warps": 4, "STAGES": 2}
SCORES = {"num_warps": 4, "STAGES": 3, "maxnreg": 168}

launch_decays = kept(ssd_decay_kernel)
launch_walk = kept(ssd_walk_kernel)
launch_tiles = kept(ssd_fwd_kernel)
launch_state_gradients = kept(ssd_bwd_state_kernel)
launch_value_gradients = kept(ssd_bwd_dx_kernel)
launch_score_gradients = kept(ssd_bwd_scores_kernel)
launch_group_gradients = kept(ssd_bwd_group_kernel)
launch_decay_gradients = kept(ssd_bwd_decay_kernel)


class Call(NamedTuple):
    """The tensors of one call as kernels read them: rows of tokens, each with its stride."""

    plan: Plan
    x: Tensor
    dt: Tensor
    A: Tensor
    B: Tensor
    C: Tensor
    D: Tensor | None
    dt_bias: Tensor | None
    init: Tensor | None
    softplus: bool
    limits: tuple[float, float]

    @property
    def skip(self) -> int:
        """0 without D, 1 with one number a head, 2 with one a value."""
        return 0 if self.D is None else self.D.ndim


def _call(
    x: Tensor,
    dt: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    dt_bias: Tensor | None,
    init: Tensor | None,
    cu_seqlens: Tensor | None,
    softplus: bool,
    limits: list[float],
) -> Call:
    plan = Plan.of(x, B, cu_seqlens)
    return Call(
        plan,
        _rows(x),
        _rows(dt),
        A.contiguous(),
        _rows(B),
        _rows(C),
        None if D is None else D.contiguous(),
        None if dt_bias is None else dt_bias.contiguous(),
        None if init is None else init.float().contiguous(),
        softplus,
        (limits[0], limits[1]),
    )


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
    call = _call(x, dt, A, B, C, D, dt_bias, initial_state, cu_seqlens, softplus, limits)
    plan = call.plan
    y = torch.empty(x.shape, dtype=torch.float32 if wide else x.dtype, device=x.device)
    end = torch.empty(plan.rows, plan.h, plan.p, plan.n, device=x.device)
    if not x.numel():
        return y, end
    _delta, *decays = _decays(call)
    states = _walk(call, decays, call.x, call.B, call.init, end)
    parts = plan.g * plan.parts(PROGRAMS, FWD_SLICES)
    launch_tiles[(2 * plan.count(plan.q), parts)](
        call.x, call.B, call.C, call.D, *decays, states, y, plan.table(plan.q, x.device),
        call.x.stride(0), call.B.stride(0), call.C.stride(0), plan.length,
        -(-plan.length // plan.q), SLICES=plan.slices // parts, SKIP=call.skip, **plan.sizes,
        **_fitting(FWD, plan),
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
    call = _call(x, dt, A, B, C, D, dt_bias, initial_state, cu_seqlens, softplus, limits)
    plan = call.plan
    if not x.numel():
        zeros = (x, dt, A, B, C, D, dt_bias, initial_state)
        return tuple(x.new_empty(0) if t is None else torch.zeros_like(t) for t in zeros)  # type: ignore[return-value]
    g = _rows(dy.to(x.dtype).contiguous())
    delta, *decays = _decays(call)
    read = torch.empty(plan.count(plan.q), plan.slices, plan.q, device=x.device)
    keep = torch.empty(read.shape[:2], device=x.device)
    dinit = torch.empty(plan.rows, plan.h, plan.p, plan.n, device=x.device)
    enter = _walk(call, decays, call.x, call.B, call.init, dinit)
    dend = None if dstate is None else dstate.float().contiguous()
    leave = _walk(call, decays, g, call.C, dend, dinit, reverse=True)
    part_B = _state_gradients(call, decays, call.x, leave, enter, keep, reverse=True)
    part_C = _state_gradients(call, decays, g, enter, None, read, reverse=False)
    del enter
    sums = torch.empty(6, *read.shape, device=x.device)
    dS = _score_gradients(call, decays, g, sums)
    dx, gx = _value_gradients(call, delta, decays[0], g, leave, sums)
    del leave
    dB, dC = _group_gradients(call, dS, part_B, part_C)
    ddt, dA, dbias, dD = _decay_gradients(call, read, sums, keep)
    if D is not None:
        dD = (gx if D.ndim == 2 else dD).sum(dim=0).to(D.dtype)
    return (
        dx.view(x.shape),
        ddt,
        dA.sum(dim=0).to(A.dtype),
        dB.to(B.dtype),
        dC.to(C.dtype),
        x.new_empty(0) if D is None else dD,
        x.new_empty(0) if dt_bias is None else dbias.sum(dim=0).to(dt_bias.dtype),
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


def _fitting(config: dict[str, int], plan: Plan) -> dict[str, int]:
    """The settings, measured on large tiles, or for small ones those that fit any size."""
    return config if plan.wide else {"num_warps": 4, "STAGES": 1}


def _rows(t: Tensor) -> Tensor:
    """(b · l, …) with everything but the token's stride contiguous: a view where it can be."""
    inner = t.shape[2:]
    stride = 1
    for size, have in zip(reversed(inner), reversed(t.stride()[2:]), strict=True):
        if size > 1 and have != stride:
            t = t.contiguous()
            break
        stride *= size
    if t.shape[0] > 1 and t.stride(0) != t.shape[1] * t.stride(1):
        t = t.contiguous()
    return t.flatten(0, 1)


def _decays(call: Call) -> tuple[Tensor, Tensor, Tensor]:
    """Δ, the decays since each chunk began and the keys of its tokens, each (chunks, h, q)."""
    plan, device = call.plan, call.x.device
    chunks = plan.count(plan.q)
    delta, cum, key = (torch.empty(chunks, plan.h, plan.q, device=device) for _ in range(3))
    block = min(16, triton.next_power_of_2(plan.h))
    launch_decays[(chunks, triton.cdiv(plan.h, block))](
        call.dt, call.A, call.dt_bias, delta, cum, key, plan.table(plan.q, device),
        call.dt.stride(0), plan.length, -(-plan.length // plan.q), *call.limits, H=plan.h,
        Q=plan.q, BLOCK_H=block, SOFTPLUS=call.softplus, BIAS=call.dt_bias is not None,
        PACKED=plan.bounds is not None,
    )  # fmt: skip
    return delta, cum, key


def _segments(
    call: Call, decays: Sequence[Tensor], x: Tensor, B: Tensor, reverse: bool
) -> tuple[Tensor | None, Tensor | None]:
    """Every segment's own state and decay; nothing where each sequence is one segment."""
    plan = call.plan
    segments = plan.count(plan.segment)
    if segments == plan.rows:
        return None, None
    own = torch.empty(segments, plan.slices, plan.block_p, plan.n, device=x.device)
    decay = torch.empty(segments, plan.h, device=x.device)
    launch_walk[(plan.slices * segments,)](
        x, B, *decays, None, own, decay, None, None,
        plan.table(plan.segment, x.device), plan.firsts(x.device), x.stride(0), B.stride(0),
        plan.length, plan.segment, -(-plan.length // plan.segment), **plan.sizes,
        INIT=False, REVERSE=reverse, STORE=False, SEGMENTED=False, **_fitting(WALK, plan),
    )  # fmt: skip
    return own, decay


def _walk(
    call: Call,
    decays: Sequence[Tensor],
    x: Tensor,
    B: Tensor,
    init: Tensor | None,
    end: Tensor,
    *,
    reverse: bool = False,
) -> Tensor:
    """The state (or its gradient) at every chunk's edge; the one that comes out goes to `end`."""
    plan, device = call.plan, x.device
    own, decay = _segments(call, decays, x, B, reverse)
    states = torch.empty(
        plan.count(plan.q), plan.slices, plan.block_p, plan.n, dtype=call.x.dtype, device=device
    )
    launch_walk[(plan.slices * plan.count(plan.segment),)](
        x, B, *decays, init, own, decay, states, end,
        plan.table(plan.segment, device), plan.firsts(device), x.stride(0), B.stride(0),
        plan.length, plan.segment, -(-plan.length // plan.segment), **plan.sizes,
        INIT=init is not None, REVERSE=reverse, STORE=True,
        SEGMENTED=own is not None, **_fitting(WALK, plan),
    )  # fmt: skip
    return states


def _state_gradients(
    call: Call,
    decays: Sequence[Tensor],
    x: Tensor,
    states: Tensor,
    other: Tensor | None,
    numbers: Tensor,
    *,
    reverse: bool,
) -> Tensor:
    """The gradient of C through states by part, and `read`; in reverse that of B, and `keep`."""
    plan = call.plan
    chunks, parts = plan.count(plan.q), plan.g * plan.parts(PROGRAMS, STATE_SLICES)
    gradient = torch.empty(parts, chunks, plan.q, plan.n, device=x.device)
    launch_state_gradients[(chunks, parts)](
        x, call.C, *decays, states, other, gradient, numbers, plan.table(plan.q, x.device),
        x.stride(0), call.C.stride(0), plan.length, -(-plan.length // plan.q), **plan.sizes,
        SLICES=plan.slices // parts, REVERSE=reverse, **_fitting(STATE, plan),
    )  # fmt: skip
    return gradient


def _score_gradients(call: Call, decays: Sequence[Tensor], g: Tensor, sums: Tensor) -> Tensor:
    """The gradient of C Bᵀ by part, (parts, chunks, 3, t, s)."""
    plan = call.plan
    chunks, parts = plan.count(plan.q), plan.g * plan.parts(PROGRAMS, SCORES_SLICES)
    dS = torch.empty(parts, chunks, 3, plan.tile, plan.tile, device=g.device)
    launch_score_gradients[(3 * chunks, parts)](
        call.x, call.B, call.C, g, *decays, dS, sums, plan.table(plan.q, g.device),
        call.x.stride(0), call.B.stride(0), call.C.stride(0), plan.length,
        -(-plan.length // plan.q), sums[0].numel(), **plan.sizes,
        SLICES=plan.slices // parts, SKIP=call.skip, **_fitting(SCORES, plan),
    )  # fmt: skip
    return dS


def _value_gradients(
    call: Call, delta: Tensor, cum: Tensor, g: Tensor, leave: Tensor, sums: Tensor
) -> tuple[Tensor, Tensor]:
    """dx, and where D has a number a value, its gradient by tile."""
    plan, device = call.plan, g.device
    chunks, parts = plan.count(plan.q), plan.g * plan.parts(PROGRAMS, DX_SLICES)
    dx = torch.empty_like(g)
    gx = torch.empty((2 * chunks, plan.h, plan.p) if call.skip == 2 else (0,), device=device)
    launch_value_gradients[(2 * chunks, parts)](
        call.x, call.B, call.C, call.D, g, leave, delta, cum, dx, gx, sums,
        plan.table(plan.q, device), call.x.stride(0), call.B.stride(0), call.C.stride(0),
        plan.length, -(-plan.length // plan.q), sums[0].numel(), **plan.sizes,
        SLICES=plan.slices // parts, SKIP=call.skip, **_fitting(DX, plan),
    )  # fmt: skip
    return dx, gx


def _group_gradients(
    call: Call, dS: Tensor, part_B: Tensor, part_C: Tensor
) -> tuple[Tensor, Tensor]:
    plan = call.plan
    shape = (plan.b, plan.length, plan.g, plan.n)
    dB = torch.empty(shape, dtype=call.B.dtype, device=dS.device)
    dC = torch.empty(shape, dtype=call.C.dtype, device=dS.device)
    launch_group_gradients[(2 * plan.count(plan.q), plan.g, 2)](
        call.B, call.C, dS, part_B, part_C, dB, dC, plan.table(plan.q, dS.device),
        call.B.stride(0), call.C.stride(0), plan.length, -(-plan.length // plan.q),
        **{k: v for k, v in plan.sizes.items() if k in GROUP_SIZES}, PARTS=dS.shape[0] // plan.g,
        STATE_PARTS=part_B.shape[0] // plan.g, **GROUP,
    )  # fmt: skip
    return dB, dC


def _decay_gradients(
    call: Call, read: Tensor, sums: Tensor, keep: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The gradient of dt, and by chunk those of A, the bias and D (where it is one a head)."""
    plan, device = call.plan, read.device
    chunks = plan.count(plan.q)
    ddt = torch.empty(plan.b, plan.length, plan.h, dtype=call.dt.dtype, device=device)
    dA, dbias, dD = (torch.empty(chunks, plan.h, device=device) for _ in range(3))
    block = min(8, triton.next_power_of_2(plan.h))
    launch_decay_gradients[(chunks, triton.cdiv(plan.h, block))](
        call.dt, call.A, call.dt_bias, read, sums, keep, ddt, dA, dbias, dD,
        plan.table(plan.q, device), call.dt.stride(0), plan.length, -(-plan.length // plan.q),
        sums[0].numel(), *call.limits, H=plan.h, V=plan.slices, T=plan.tile, BLOCK_H=block,
        SOFTPLUS=call.softplus, BIAS=call.dt_bias is not None, PACKED=plan.bounds is not None,
        SKIP=call.skip,
    )  # fmt: skip
    return ddt, dA, dbias, dD
