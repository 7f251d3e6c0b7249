"""The operators of ssd: launches, shapes for the compiler, and gradients."""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from ssm_kernels.backend import check_device
from ssm_kernels.operator import operator
from ssm_kernels.ssd.kernel import (
    ssd_bwd_chunk_kernel,
    ssd_bwd_group_kernel,
    ssd_bwd_state_kernel,
    ssd_fwd_kernel,
    ssd_scores_kernel,
    ssd_walk_kernel,
)
from ssm_kernels.ssd.plan import Plan

# H100, November 2026.
FWD = {"num_warps": 4, "STAGES": 2}
WALK = {"num_warps": 4, "num_stages": 3}
GROUP = {"num_warps": 4, "num_stages": 2}
STATE = {"num_warps": 8, "num_stages": 3}
CHUNK = {"num_warps": 8, "num_stages": 3}
NARROW_STAGES = 1  # float32 tiles fill twice the shared memory


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
    def flags(self) -> dict[str, Any]:
        """Sizes and switches common to the kernels that read dt."""
        switches = {"SOFTPLUS": self.softplus, "BIAS": self.dt_bias is not None}
        return self.plan.constants() | switches


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
    wide_D = None if D is None else (D if D.ndim == 2 else D[:, None].expand(-1, plan.p))
    return Call(
        plan,
        _rows(x),
        _rows(dt),
        A.contiguous(),
        _rows(B),
        _rows(C),
        None if wide_D is None else wide_D.contiguous(),
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
    table, firsts = plan.table(plan.segment, x.device), plan.firsts(x.device)
    segments, per = plan.count(plan.segment), -(-plan.length // plan.segment)
    own, decay = _segments(call, call.x, call.B, call.init, False, table, firsts)
    ssd_fwd_kernel[(plan.slices * segments,)](
        call.x, call.dt, call.A, call.B, call.C, _scores(call), call.D, call.dt_bias, call.init,
        own, decay, y, end, table, firsts, call.x.stride(0), call.dt.stride(0), call.B.stride(0),
        call.C.stride(0), plan.length, plan.segment, per, *call.limits,
        **call.flags, INIT=call.init is not None, SKIP=D is not None,
        SEGMENTED=own is not None, **FWD,
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
    g = dy.to(x.dtype).contiguous()
    enter, _ = _walk(call, call.x, call.B, call.init, False)
    leave, dinit = _walk(
        call, _rows(g), call.C, None if dstate is None else dstate.float().contiguous(), True
    )
    dx, ddt, dA, dD, parts = _chunk_gradients(call, g, enter, leave)
    dB, dC = _group_gradients(call, *parts)
    wide_dt = ddt.view(plan.h, -1, plan.b, plan.length).sum(dim=1).permute(1, 2, 0)  # b l h
    dbias = x.new_empty(0)
    if dt_bias is not None:
        dbias = wide_dt.sum(dim=(0, 1)).to(dt_bias.dtype)
    skip = x.new_empty(0)
    if D is not None:
        summed = dD.sum(dim=0)
        skip = (summed if D.ndim == 2 else summed.sum(dim=1)).to(D.dtype)
    return (
        dx,
        wide_dt.to(dt.dtype).contiguous(),
        dA.sum(dim=0).view(plan.h, -1).sum(dim=1).to(A.dtype),
        dB.to(B.dtype),
        dC.to(C.dtype),
        skip,
        dbias,
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


def _staged(config: dict[str, int], plan: Plan) -> dict[str, int]:
    return config if plan.half else config | {"num_stages": NARROW_STAGES}


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


def _scores(call: Call) -> Tensor:
    """C Bᵀ of every chunk and group, (chunks, g, q, q)."""
    plan, device = call.plan, call.x.device
    chunks = plan.count(plan.q)
    scores = torch.empty(chunks, plan.g, plan.q, plan.q, device=device)
    ssd_scores_kernel[(chunks, plan.g)](
        call.B, call.C, scores, plan.table(plan.q, device), call.B.stride(0), call.C.stride(0),
        plan.length, -(-plan.length // plan.q), **plan.constants_of("G", "N", "Q", "BLOCK_N"),
        **_staged(GROUP, plan),
    )  # fmt: skip
    return scores


def _segments(
    call: Call,
    x: Tensor,
    B: Tensor,
    init: Tensor | None,
    reverse: bool,
    table: Tensor | None,
    firsts: Tensor | None,
) -> tuple[Tensor | None, Tensor | None]:
    """Every segment's own state and decay; nothing where each sequence is one segment."""
    plan = call.plan
    segments = plan.count(plan.segment)
    if segments == plan.rows:
        return None, None
    constants = plan.constants()
    own = torch.empty(segments, plan.slices, plan.block_p, plan.n, device=x.device)
    decay = torch.empty(segments, plan.h, device=x.device)
    ssd_walk_kernel[(plan.slices * segments,)](
        x, call.dt, call.A, B, call.dt_bias, None, own, decay, None, None, table, firsts,
        x.stride(0), call.dt.stride(0), B.stride(0), plan.length, plan.segment,
        -(-plan.length // plan.segment), *call.limits,
        **constants, SOFTPLUS=call.softplus, BIAS=call.dt_bias is not None,
        INIT=False, REVERSE=reverse, STORE=False, SEGMENTED=False, **WALK,
    )  # fmt: skip
    return own, decay


def _walk(
    call: Call, x: Tensor, B: Tensor, init: Tensor | None, reverse: bool
) -> tuple[Tensor, Tensor]:
    """The state (or its gradient) at every chunk's edge, and the one that comes out."""
    plan, device = call.plan, x.device
    table, firsts = plan.table(plan.segment, device), plan.firsts(device)
    own, decay = _segments(call, x, B, init, reverse, table, firsts)
    states = torch.empty(
        plan.count(plan.q), plan.slices, plan.block_p, plan.n, dtype=call.x.dtype, device=device
    )
    end = torch.empty(plan.rows, plan.h, plan.p, plan.n, device=device)
    ssd_walk_kernel[(plan.slices * plan.count(plan.segment),)](
        x, call.dt, call.A, B, call.dt_bias, init, own, decay, states, end, table, firsts,
        x.stride(0), call.dt.stride(0), B.stride(0), plan.length, plan.segment,
        -(-plan.length // plan.segment), *call.limits,
        **call.flags, INIT=init is not None, REVERSE=reverse, STORE=True,
        SEGMENTED=own is not None, **WALK,
    )  # fmt: skip
    return states, end


def _chunk_gradients(
    call: Call, g: Tensor, enter: Tensor, leave: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor, tuple[Tensor, Tensor, Tensor]]:
    """dx, ddt by slice, dA and dD by chunk, and by part what the gradients of B and C need."""
    plan, device = call.plan, g.device
    chunks, parts, tokens = plan.count(plan.q), plan.parts * plan.g, plan.b * plan.length
    dx = torch.empty(g.shape, dtype=call.x.dtype, device=device)
    ddt = torch.empty(plan.slices, tokens, device=device)
    dA = torch.empty(chunks, plan.slices, device=device)
    dD = torch.empty((chunks, plan.h, plan.p) if call.D is not None else (0,), device=device)
    dS = torch.empty(parts, chunks, plan.q, plan.q, device=device)
    dB = torch.empty(parts, chunks, plan.q, plan.n, device=device)
    dC = torch.empty_like(dB)
    keep = torch.empty_like(dA)
    table, per = plan.table(plan.q, device), -(-plan.length // plan.q)
    switches = {"SOFTPLUS": call.softplus, "BIAS": call.dt_bias is not None}
    shared = {"SLICES": plan.slices // parts, "SKIP": call.D is not None}
    ssd_bwd_state_kernel[(chunks, parts)](
        call.x, call.dt, call.A, call.dt_bias, g, enter, leave, keep, dD, dB, dC, table,
        call.x.stride(0), call.dt.stride(0), plan.length, per, *call.limits,
        **plan.constants_of("H", "P", "N", "V", "Q", "BLOCK_P", "BLOCK_N"), **switches, **shared,
        **_staged(STATE, plan),
    )  # fmt: skip
    ssd_bwd_chunk_kernel[(chunks, parts)](
        call.x, call.dt, call.A, call.B, call.C, _scores(call), call.D, call.dt_bias, g, enter,
        leave, keep, dx, ddt, dA, dS, table, call.x.stride(0), call.dt.stride(0),
        call.B.stride(0), call.C.stride(0), plan.length, per, tokens, *call.limits,
        **call.flags, **shared, **_staged(CHUNK, plan),
    )  # fmt: skip
    return dx, ddt, dA, dD, (dS, dB, dC)


def _group_gradients(
    call: Call, dS: Tensor, part_B: Tensor, part_C: Tensor
) -> tuple[Tensor, Tensor]:
    plan = call.plan
    shape = (plan.b, plan.length, plan.g, plan.n)
    dB = torch.empty(shape, dtype=call.B.dtype, device=dS.device)
    dC = torch.empty(shape, dtype=call.C.dtype, device=dS.device)
    ssd_bwd_group_kernel[(plan.count(plan.q), plan.g)](
        call.B, call.C, dS, part_B, part_C, dB, dC, plan.table(plan.q, dS.device),
        call.B.stride(0), call.C.stride(0), plan.length, -(-plan.length // plan.q),
        **plan.constants_of("G", "N", "Q", "BLOCK_N"), PARTS=plan.parts, **GROUP,
    )  # fmt: skip
    return dB, dC
