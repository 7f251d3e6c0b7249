"""One decode step of Mamba and Mamba-2 in Triton, in place or into a new state.

`state_update` and `state_step` compute what `selective_scan_step` and `ssd_step` of `ssm_ref`
define, the first in place and for rows of a larger table of states if asked to. An operator of the
same name carries each. They never synchronise and can be captured in a CUDA graph.
"""

import functools
import math
from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ssm_kernels.backend import check_device, once_a_kind, uses_triton
from ssm_kernels.launcher import kept
from ssm_kernels.operator import operator
from ssm_kernels.state_update.kernel import state_update_kernel
from ssm_kernels.tiling import ceil_div, power_of_2
from ssm_ref.selective.selective_scan import selective_scan_step
from ssm_ref.selective.ssd import ssd_step

# State values and warps of one program while there are few, and once there are ten such programs
# a multiprocessor: H200, November 2026.
FEW, MANY, MANY_PROGRAMS = (512, 1), (2048, 8), 1320

launch = kept(state_update_kernel)


def state_update(
    state: Float[Tensor, "s d n"] | Float[Tensor, "s h p n"],
    x: Float[Tensor, "b ..."],
    dt: Float[Tensor, "b h"],
    A: Float[Tensor, "d n"] | Float[Tensor, " h"],
    B: Float[Tensor, "b *g n"],
    C: Float[Tensor, "b *g n"],
    *,
    D: Float[Tensor, "..."] | None = None,
    z: Float[Tensor, "b ..."] | None = None,
    dt_bias: Float[Tensor, " h"] | None = None,
    dt_softplus: bool = False,
    dt_limit: tuple[float, float] = (0.0, math.inf),
    state_indices: Int[Tensor, " b"] | None = None,
    backend: str = "auto",
) -> Float[Tensor, "b ..."]:
    """The output of one step, in the dtype of x; `state` holds the next state afterwards.

    Mamba: state (s, d, n), x and dt (b, d), A (d, n). Mamba-2: state (s, h, p, n), x (b, h, p),
    dt (b, h), A (h), D (h) or (h, p). B and C are (b, n) or (b, g, n). Row i of the batch uses
    state `state_indices[i]`, or i; a negative index is padding, whose output is 0. No index but a
    negative one may stand twice. Not differentiable. Raises `ValueError` where shapes, dtypes or
    devices do not fit.
    """
    B, C = (B.unsqueeze(1), C.unsqueeze(1)) if B.ndim == C.ndim == 2 else (B, C)
    _check(state, x, dt, A, B, C, D, z, dt_bias, (*dt_limit,), state_indices)
    call: Callable[..., Tensor] = update if uses_triton(backend, x) else _reference
    return call(
        state, x, dt, A, B, C, D, z, dt_bias, dt_softplus, list(dt_limit), state_indices
    )  # fmt: skip


def state_step(
    state: Float[Tensor, "b d n"] | Float[Tensor, "b h p n"],
    x: Float[Tensor, "b ..."],
    dt: Float[Tensor, "b h"],
    A: Float[Tensor, "d n"] | Float[Tensor, " h"],
    B: Float[Tensor, "b *g n"],
    C: Float[Tensor, "b *g n"],
    *,
    D: Float[Tensor, "..."] | None = None,
    z: Float[Tensor, "b ..."] | None = None,
    dt_bias: Float[Tensor, " h"] | None = None,
    dt_softplus: bool = False,
    dt_limit: tuple[float, float] = (0.0, math.inf),
    backend: str = "auto",
) -> tuple[Float[Tensor, "b ..."], Float[Tensor, "b d n"] | Float[Tensor, "b h p n"]]:
    """The output of one step and the next state, in memory of its own; the rest as above."""
    B, C = (B.unsqueeze(1), C.unsqueeze(1)) if B.ndim == C.ndim == 2 else (B, C)
    _check(state, x, dt, A, B, C, D, z, dt_bias, (*dt_limit,), None)
    operands = (x, dt, A, B, C, D, z, dt_bias, dt_softplus, list(dt_limit))
    if uses_triton(backend, x):
        y, after = step(state, *operands)
        return y, after
    after = state.clone()
    return _reference(after, *operands, None), after


@operator("state_update", mutates_args=("state",))
def update(
    state: Tensor,
    x: Tensor,
    dt: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    z: Tensor | None,
    dt_bias: Tensor | None,
    softplus: bool,
    limits: list[float],
    state_indices: Tensor | None,
) -> Tensor:
    """The launch, in place."""
    return _launch(state, state, x, dt, A, B, C, D, z, dt_bias, softplus, limits, state_indices)


@update.register_fake
def _(
    state: Tensor,
    x: Tensor,
    dt: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    z: Tensor | None,
    dt_bias: Tensor | None,
    softplus: bool,
    limits: list[float],
    state_indices: Tensor | None,
) -> Tensor:
    return x.new_empty(x.shape)


@operator("state_step")
def step(
    state: Tensor,
    x: Tensor,
    dt: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    z: Tensor | None,
    dt_bias: Tensor | None,
    softplus: bool,
    limits: list[float],
) -> tuple[Tensor, Tensor]:
    """The launch, from one state into another."""
    after = torch.empty_like(state)
    return _launch(state, after, x, dt, A, B, C, D, z, dt_bias, softplus, limits, None), after


@step.register_fake
def _(
    state: Tensor,
    x: Tensor,
    dt: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    z: Tensor | None,
    dt_bias: Tensor | None,
    softplus: bool,
    limits: list[float],
) -> tuple[Tensor, Tensor]:
    return x.new_empty(x.shape), state.new_empty(state.shape)


def _launch(
    state: Tensor,
    after: Tensor,
    x: Tensor,
    dt: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    z: Tensor | None,
    dt_bias: Tensor | None,
    softplus: bool,
    limits: list[float],
    state_indices: Tensor | None,
) -> Tensor:
    """One program a block of rows, Mamba as one head a group of channels, Mamba-2 as it is."""
    check_device(x)
    y = x.new_empty(x.shape)
    if not y.numel():
        return y
    tied, b = state.ndim == 4, x.shape[0]
    programs, tile = _tile(state.shape[1:], B.shape[1], b)
    x, dt, B, C = _row(x), _row(dt), _row(B), _row(C)
    gate = None if z is None else _row(z)
    launch[(programs,)](
        state, after, x, dt, A.contiguous(), B, C, None if D is None else D.contiguous(), gate,
        None if dt_bias is None else dt_bias.contiguous(), state_indices, y,
        x.stride(0), dt.stride(0), B.stride(0), C.stride(0), 0 if gate is None else gate.stride(0),
        limits[0], limits[1], TIED=tied, SOFTPLUS=softplus, HAS_D=D is not None,
        D_BY_HEAD=D is not None and D.ndim < x.ndim - 1, HAS_Z=z is not None,
        HAS_BIAS=dt_bias is not None, HAS_INDEX=state_indices is not None, **tile,
    )  # fmt: skip
    return y


@functools.lru_cache(maxsize=256)
def _tile(row: tuple[int, ...], groups: int, b: int) -> tuple[int, dict[str, Any]]:
    """How many programs there are for b rows of the state, and what each of them does."""
    n = row[-1]
    heads, p = row[:2] if len(row) == 3 else (groups, row[0] // groups)
    block_n = power_of_2(n)
    many = b * heads * p * block_n >= MANY_PROGRAMS * MANY[0]
    tile, warps = MANY if many else FEW
    block_p = min(power_of_2(p), max(1, tile // block_n))
    return heads * ceil_div(p, block_p) * b, {
        "H": heads, "G": groups, "P": p, "N": n, "BLOCK_P": block_p, "BLOCK_N": block_n,
        "num_warps": min(warps, max(1, block_p * block_n // 256)),
    }  # fmt: skip


def _reference(
    state: Tensor,
    x: Tensor,
    dt: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    z: Tensor | None,
    dt_bias: Tensor | None,
    softplus: bool,
    limits: list[float],
    state_indices: Tensor | None,
) -> Tensor:
    """The steps of the definitions, on the rows that the indices name."""
    index = torch.arange(x.shape[0], device=x.device) if state_indices is None else state_indices
    live = index >= 0
    kept = index[live].long()
    rows = [t[live] for t in (x, dt)] + [A] + [t[live] for t in (B, C)]
    gate = None if z is None else z[live]
    if state.ndim == 4:
        out, after = ssd_step(
            state[kept], *rows, D=D, z=gate, dt_bias=dt_bias, dt_softplus=softplus,
            dt_limit=(limits[0], limits[1]),
        )  # fmt: skip
    else:
        if limits[0] > 0 or limits[1] < math.inf:
            raise ValueError(f"Mamba's step has no dt_limit; got {tuple(limits)}")
        out, after = selective_scan_step(
            state[kept], *rows, D=D, z=gate, dt_bias=dt_bias, dt_softplus=softplus
        )
    state[kept] = after.to(state.dtype)
    y = x.new_zeros(x.shape)
    y[live] = out
    return y


def _row(t: Tensor) -> Tensor:
    """t with everything but the batch's stride contiguous: itself where it can be."""
    if t.is_contiguous():
        return t
    inside = 1
    for size, stride in zip(t.shape[:0:-1], t.stride()[:0:-1], strict=True):
        if size != 1 and stride != inside:
            return t.contiguous()
        inside *= size
    return t


@once_a_kind
def _check(
    state: Tensor,
    x: Tensor,
    dt: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    z: Tensor | None,
    dt_bias: Tensor | None,
    dt_limit: tuple[float, float],
    state_indices: Tensor | None,
) -> None:
    if state.ndim not in (3, 4) or not state.is_contiguous() or B.ndim != 3:
        raise ValueError(
            "state must be contiguous, (s, d, n) or (s, h, p, n), and B (b, n) or (b, g, n); "
            f"got {tuple(state.shape)} with strides {state.stride()}, and {tuple(B.shape)}"
        )
    b, (channels, n), g = x.shape[0], (tuple(state.shape[1:-1]), state.shape[-1]), B.shape[1]
    if g < 1 or channels[0] % g:
        raise ValueError(f"the groups of B and C must divide {channels[0]}; got {g}")
    mamba = state.ndim == 3
    wanted: dict[str, tuple[Tensor | None, list[tuple[int, ...]]]] = {
        "x": (x, [(b, *channels)]),
        "dt": (dt, [(b, channels[0])]),
        "A": (A, [(channels[0], n) if mamba else (channels[0],)]),
        "B": (B, [(b, g, n)]),
        "C": (C, [(b, g, n)]),
        "D": (D, [channels, channels[:1]]),
        "z": (z, [(b, *channels)]),
        "dt_bias": (dt_bias, [channels[:1]]),
        "state_indices": (state_indices, [(b,)]),
    }
    for name, (tensor, shapes) in wanted.items():
        if tensor is None:
            continue
        if tuple(tensor.shape) not in shapes:
            expected = " or ".join(map(str, dict.fromkeys(shapes)))
            raise ValueError(f"{name} must have shape {expected}; got {tuple(tensor.shape)}")
        if tensor.is_floating_point() == (name == "state_indices"):
            raise ValueError(f"{name} has the wrong kind of dtype: {tensor.dtype}")
        if tensor.device != state.device:
            raise ValueError(f"{name} must be on {state.device} like state; got {tensor.device}")
    if state_indices is None and state.shape[0] != b:
        raise ValueError(f"state must have {b} rows like x; got {state.shape[0]}")
    if not 0 <= dt_limit[0] <= dt_limit[1]:
        raise ValueError(f"dt_limit must be (low, high) with 0 <= low <= high; got {dt_limit}")
