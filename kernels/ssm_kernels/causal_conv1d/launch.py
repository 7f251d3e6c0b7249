"""The operators of causal_conv1d: launches, shapes for the compiler, and gradients."""

import functools
from typing import Any, NamedTuple

import torch
import triton
from torch import Tensor

from ssm_kernels.backend import check_device
from ssm_kernels.causal_conv1d.kernel import (
    causal_conv1d_bwd_kernel,
    causal_conv1d_fwd_kernel,
    causal_conv1d_step_kernel,
    state_grad_kernel,
    sum_parts_kernel,
)
from ssm_kernels.causal_conv1d.wide_kernel import wide_conv1d_bwd_kernel, wide_conv1d_kernel
from ssm_kernels.launcher import kept
from ssm_kernels.operator import operator
from ssm_kernels.tiling import ceil_div, power_of_2
from ssm_ref.packing import sequence_bounds

ROLLED_TAPS = 4
LANE = 4  # channels of one lane


class Settings(NamedTuple):
    """Of one launch: rows and warps of a program, steps under way, registers of a lane at most."""

    rows: int
    warps: int
    stages: int
    registers: int | None


# The fastest of those tried at 8 x 4096 tokens of 4096 channels: H200, November 2026.
FORWARD = Settings(rows=32, warps=4, stages=3, registers=None)
BACKWARD = Settings(rows=256, warps=2, stages=3, registers=128)
WIDE_TILE = {"BLOCK_T": 32, "BLOCK_D": 64}
SUM_TILE = {"BLOCK_R": 64, "BLOCK_D": 128}

launch_forward, launch_backward = kept(causal_conv1d_fwd_kernel), kept(causal_conv1d_bwd_kernel)
launch_sum, launch_state = kept(sum_parts_kernel), kept(state_grad_kernel)
launch_step = kept(causal_conv1d_step_kernel)
launch_wide, launch_wide_backward = kept(wide_conv1d_kernel), kept(wide_conv1d_bwd_kernel)


@operator("causal_conv1d")
def conv(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    initial_state: Tensor | None,
    cu_seqlens: Tensor | None,
    silu: bool,
) -> tuple[Tensor, Tensor]:
    """y and the state after it: the forward launch."""
    check_device(x)
    if cu_seqlens is not None:
        sequence_bounds(cu_seqlens, x.shape[0], x.shape[1])
    x, weight = _by_channel(x), weight.contiguous()
    (b, length, d), k = x.shape, weight.shape[1]
    y = x.new_empty((b, length, d))
    rolled = k <= ROLLED_TAPS and y.numel() > 0
    writes_last = rolled and cu_seqlens is None and length >= k - 1
    if writes_last:
        last = x.new_empty((b, k - 1, d))
    else:
        last = _last_inputs(x, k, initial_state, cu_seqlens)
    place, sequence = _places(cu_seqlens, length)
    init = None if initial_state is None or k == 1 else initial_state.contiguous()
    flags = _flags(k, silu, bias is not None, init is not None, cu_seqlens is not None)
    stride_b, stride_t, _ = x.stride()
    if rolled:
        programs, tile = _forward_tile(b, length, d)
        launch_forward[(programs,)](
            x, weight, _row(bias), init, place, sequence, y, last, stride_b, length,
            STRIDE_T=stride_t, D=d, **flags, LAST=writes_last, **tile,
        )  # fmt: skip
    elif y.numel():
        launch_wide[_wide_grid(x)](
            x, weight, _row(bias), init, place, sequence, x, y, stride_b, stride_t, length, d,
            **flags, BACKWARD=False, **WIDE_TILE,
        )  # fmt: skip
    return y, last


@conv.register_fake
def _(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    initial_state: Tensor | None,
    cu_seqlens: Tensor | None,
    silu: bool,
) -> tuple[Tensor, Tensor]:
    rows = x.shape[0] if cu_seqlens is None else cu_seqlens.shape[0] - 1
    return x.new_empty(x.shape), x.new_empty(rows, weight.shape[1] - 1, x.shape[2])


@operator("causal_conv1d_backward")
def conv_backward(
    dy: Tensor,
    dstate: Tensor | None,
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    initial_state: Tensor | None,
    cu_seqlens: Tensor | None,
    silu: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Gradients of x, weight, bias and the initial state; empty where there is no such input."""
    x, weight, dy = _by_channel(x), weight.contiguous(), dy.contiguous()
    (b, length, d), k = x.shape, weight.shape[1]
    dx = torch.empty(b, length, d, dtype=x.dtype, device=x.device)
    place, sequence = _places(cu_seqlens, length)
    init = None if initial_state is None or k == 1 else initial_state.contiguous()
    flags = _flags(k, silu, bias is not None, init is not None, cu_seqlens is not None)
    sizes = (x.stride(0), x.stride(1), length, d)
    if not x.numel():
        part = torch.zeros(1, k + 1, d, dtype=torch.float32, device=x.device)
    elif k <= ROLLED_TAPS:
        block_d, warps = _channels(d, BACKWARD.warps)
        block_t = _tokens(length, BACKWARD.rows)
        blocks = ceil_div(length, block_t)
        part = torch.empty(b * blocks, k + 1, d, dtype=torch.float32, device=x.device)
        launch_backward[(ceil_div(d, block_d) * blocks * b,)](
            x, weight, _row(bias), init, place, sequence, dy, dx, part, x.stride(0), length,
            STRIDE_T=x.stride(1), D=d, **flags,
            STAGES=BACKWARD.stages, BLOCK_T=block_t, BLOCK_D=block_d,
            num_warps=warps, maxnreg=BACKWARD.registers,
        )  # fmt: skip
    else:
        part, dx = _wide_backward(dy, x, weight, _row(bias), init, place, sequence, flags)
    dw = torch.empty(d, k, dtype=weight.dtype, device=x.device)
    db = x.new_empty(0) if bias is None else torch.empty(d, dtype=bias.dtype, device=x.device)
    launch_sum[(ceil_div(d, SUM_TILE["BLOCK_D"]), k + (bias is not None))](
        part, dw, db, part.shape[0], d, K=k, **SUM_TILE
    )
    dinit = x.new_empty(0) if initial_state is None else torch.zeros_like(initial_state)
    if init is not None and init.numel():
        block_d, warps = _channels(d, FORWARD.warps)
        state_flags = {key: flags[key] for key in ("K", "SILU", "HAS_BIAS", "PACKED", "FAST")}
        launch_state[(ceil_div(d, block_d) * init.shape[0],)](
            x, weight, _row(bias), init, cu_seqlens, dy, dinit, *sizes, **state_flags,
            BLOCK_D=block_d, num_warps=warps,
        )  # fmt: skip
    if dstate is not None and k > 1:
        _add_state_gradient(dstate, dx, dinit, cu_seqlens)
    return dx, dw, db, dinit


@conv_backward.register_fake
def _(
    dy: Tensor,
    dstate: Tensor | None,
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    initial_state: Tensor | None,
    cu_seqlens: Tensor | None,
    silu: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    return (
        x.new_empty(x.shape),
        weight.new_empty(weight.shape),
        x.new_empty(0) if bias is None else bias.new_empty(bias.shape),
        x.new_empty(0) if initial_state is None else initial_state.new_empty(initial_state.shape),
    )


def _save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    *tensors, ctx.silu = inputs
    ctx.save_for_backward(*tensors)
    ctx.set_materialize_grads(False)


def _gradients(ctx: Any, dy: Tensor | None, dstate: Tensor | None) -> tuple[Tensor | None, ...]:
    x, weight, bias, initial_state, cu_seqlens = ctx.saved_tensors
    dy = torch.zeros_like(x) if dy is None else dy
    dx, dw, db, dinit = conv_backward(
        dy, dstate, x, weight, bias, initial_state, cu_seqlens, ctx.silu
    )
    none = initial_state is None
    return dx, dw, None if bias is None else db, None if none else dinit, None, None


conv.register_autograd(_gradients, setup_context=_save)


@operator("causal_conv1d_step")
def conv_step(
    x: Tensor, state: Tensor, weight: Tensor, bias: Tensor | None, silu: bool
) -> tuple[Tensor, Tensor]:
    """One output and the next state."""
    check_device(x)
    x = x if x.stride(-1) == 1 else x.contiguous()
    state, weight = state.contiguous(), weight.contiguous()
    (b, d), k = x.shape, weight.shape[1]
    y, last = x.new_empty(x.shape), torch.empty_like(state)
    if b:
        block_d = min(256, power_of_2(d))
        launch_step[(ceil_div(d, block_d) * b,)](
            x, state, weight, _row(bias), y, last, x.stride(0), d,
            K=k, SILU=silu, HAS_BIAS=bias is not None, BLOCK_D=block_d, num_warps=2,
        )  # fmt: skip
    return y, last


@conv_step.register_fake
def _(
    x: Tensor, state: Tensor, weight: Tensor, bias: Tensor | None, silu: bool
) -> tuple[Tensor, Tensor]:
    return x.new_empty(x.shape), state.new_empty(state.shape)


def _wide_backward(
    dy: Tensor,
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    init: Tensor | None,
    place: Tensor | None,
    sequence: Tensor | None,
    flags: dict[str, Any],
) -> tuple[Tensor, Tensor]:
    """Shares of the gradients of taps and bias, and dx, for more than four taps: two passes."""
    (b, length, d), k = x.shape, weight.shape[1]
    sizes = (x.stride(0), x.stride(1), length, d)
    g = torch.empty(b, length, d, dtype=torch.float32, device=x.device)
    launch_wide[_wide_grid(x)](
        x, weight, bias, init, place, sequence, dy, g, *sizes, **flags, BACKWARD=True, **WIDE_TILE
    )
    dx = torch.empty(b, length, d, dtype=x.dtype, device=x.device)
    blocks = ceil_div(length, WIDE_TILE["BLOCK_T"])
    part = torch.empty(b * blocks, k + 1, d, dtype=torch.float32, device=x.device)
    launch_wide_backward[_wide_grid(x)](
        x, weight, init, place, sequence, g, dx, part, *sizes,
        K=k, HAS_INIT=flags["HAS_INIT"], PACKED=flags["PACKED"], **WIDE_TILE,
    )  # fmt: skip
    return part, dx


def _by_channel(x: Tensor) -> Tensor:
    """x itself where neighbouring channels are neighbours in memory, otherwise a copy."""
    return x if x.stride(-1) == 1 else x.contiguous()


def _row(bias: Tensor | None) -> Tensor | None:
    return None if bias is None else bias.contiguous()


def _channels(d: int, most: int) -> tuple[int, int]:
    """Channels and warps of one program: at most so many warps, LANE channels a lane."""
    block_d = min(32 * LANE * most, max(32, power_of_2(d)))
    return block_d, max(1, block_d // (32 * LANE))


def _tokens(length: int, most: int) -> int:
    """Rows of one program: a power of two from 4 to `most`."""
    return min(most, max(4, power_of_2(length)))


def _wide_grid(x: Tensor) -> tuple[int]:
    b, length, d = x.shape
    return (b * ceil_div(length, WIDE_TILE["BLOCK_T"]) * ceil_div(d, WIDE_TILE["BLOCK_D"]),)


@functools.cache
def _flags(k: int, silu: bool, bias: bool, init: bool, packed: bool) -> dict[str, Any]:
    return {
        "K": k,
        "SILU": silu,
        "HAS_BIAS": bias,
        "HAS_INIT": init,
        "PACKED": packed,
        "FAST": not triton.knobs.runtime.interpret,
    }


@functools.lru_cache(maxsize=256)
def _forward_tile(b: int, length: int, d: int) -> tuple[int, dict[str, Any]]:
    """How many programs the forward launch has, and what each of them does."""
    block_d, warps = _channels(d, FORWARD.warps)
    block_t = _tokens(length, FORWARD.rows)
    tile = {
        "STAGES": FORWARD.stages, "BLOCK_T": block_t, "BLOCK_D": block_d,
        "num_warps": warps, "maxnreg": FORWARD.registers,
    }  # fmt: skip
    return ceil_div(d, block_d) * ceil_div(length, block_t) * b, tile


def _places(cu_seqlens: Tensor | None, length: int) -> tuple[Tensor | None, Tensor | None]:
    """Each token's distance from the start of its sequence, and the sequence's number."""
    if cu_seqlens is None:
        return None, None
    p_t = torch.arange(length, device=cu_seqlens.device)
    cu_seqlens = cu_seqlens.long()
    sequence = torch.searchsorted(cu_seqlens[1:].contiguous(), p_t, right=True)
    return p_t - cu_seqlens[sequence], sequence


def _ends(length: int, k: int, cu_seqlens: Tensor) -> tuple[Tensor, Tensor]:
    """Positions of the last k − 1 inputs of each sequence, and those before its start."""
    back = torch.arange(1 - k, 0, device=cu_seqlens.device)
    p = cu_seqlens[1:, None].long() + back  # s k-1
    return p, p - cu_seqlens[:-1, None].long()


def _last_inputs(
    x: Tensor, k: int, initial_state: Tensor | None, cu_seqlens: Tensor | None
) -> Tensor:
    """The last k − 1 inputs of each sequence, from its initial state where it is shorter."""
    b, length, d = x.shape
    if cu_seqlens is None:
        if length >= k - 1:
            return x[:, length - (k - 1) :].clone(memory_format=torch.contiguous_format)
        past = x.new_zeros(b, k - 1, d) if initial_state is None else initial_state
        return torch.cat([past[:, length:], x], dim=1)
    p, place = _ends(length, k, cu_seqlens)
    inside = (place >= 0)[..., None]
    past = x.new_zeros(()) if initial_state is None else _shifted(initial_state, place)
    return torch.where(inside, x[0, p.clamp(min=0)], past)


def _shifted(state: Tensor, place: Tensor) -> Tensor:
    """Rows of the state that lie at `place`, counted from the start of the sequence."""
    k_minus_1 = state.shape[1]
    row = (place + k_minus_1).clamp(0, k_minus_1 - 1) if k_minus_1 else place
    return state.gather(1, row[..., None].expand(-1, -1, state.shape[2]))


def _add_state_gradient(
    dstate: Tensor, dx: Tensor, dinit: Tensor, cu_seqlens: Tensor | None
) -> None:
    """Send the gradient of the last inputs to dx, and to dinit where a sequence is shorter."""
    length, k = dx.shape[1], dstate.shape[1] + 1
    if cu_seqlens is None:
        kept = min(length, k - 1)
        dx[:, length - kept :] += dstate[:, k - 1 - kept :]
        if dinit.numel() and kept < k - 1:
            dinit[:, kept:] += dstate[:, : k - 1 - kept]
        return
    p, place = _ends(length, k, cu_seqlens)
    inside = place >= 0
    dx[0, p[inside]] += dstate[inside]  # no position twice, so no race
    if dinit.numel():
        s, _ = torch.where(~inside)
        dinit[s, (place + k - 1)[~inside]] += dstate[~inside]
