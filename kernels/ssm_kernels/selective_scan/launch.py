"""The operators of the selective scan: launches, shapes for the compiler, and gradients."""

import functools
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import torch
import triton
from torch import Tensor

from ssm_kernels.launcher import kept
from ssm_kernels.operator import operator
from ssm_kernels.selective_scan.backward_kernel import scan_bwd_kernel, unpack_dbc_kernel
from ssm_kernels.selective_scan.forward_kernel import scan_fwd_kernel
from ssm_kernels.selective_scan.kernel import LANES, pack_bc_kernel
from ssm_kernels.selective_scan.segments_kernel import carry_kernel, ends_kernel
from ssm_ref.packing import sequence_bounds

LOG2E = 1.4426950408889634
TILE = 16
# Tokens that the forward pass holds in registers, by the lanes that share the states of a channel
# and the channels that a lane holds.
TOKENS = {(1, 1): 4, (2, 1): 8, (4, 1): 16, (2, 2): 8, (4, 2): 16}
# How many blocks of 32 channels are enough for so many lanes a channel, the cheapest first: a block
# makes as many warps as a channel has lanes. With fewer blocks than any of these, sequences are cut
# into segments, which costs a second look at the tokens. H200, November 2026.
FORWARD = {1: 960, 2: 480, 4: 240}
BACKWARD = {1: 960, 2: 480}
# A sequence of so many tiles is not cut: two launches more would take longer on the host.
SHORT = 32
# Warps that fill the device, and states that the registers of one lane hold.
FULL, STATES = 1000, 16

launch_pack = kept(pack_bc_kernel)
launch_carry = kept(carry_kernel)
launch_forward = kept(scan_fwd_kernel)
launch_ends = kept(ends_kernel)
launch_backward = kept(scan_bwd_kernel)
launch_unpack = kept(unpack_dbc_kernel)


@dataclass(frozen=True, slots=True)
class Geometry:
    """How tokens and channels are cut up for one launch."""

    sequences: int
    length: int  # of each sequence, or of all packed ones together
    d: int
    groups: int
    n: int
    packed: bool
    segments: int
    lanes: int  # that share the states of a channel
    held: int = 1  # channels that a lane holds

    @property
    def tiles(self) -> int:
        """Tiles of the longest sequence there may be."""
        return -(-self.length // TILE)

    @property
    def slots(self) -> int:
        """Tile slots of all sequences; packed ones may waste one each."""
        if self.packed:
            return self.length // TILE + self.sequences + 1
        return self.sequences * self.tiles

    @property
    def blocks(self) -> int:
        """Channel blocks of one group."""
        return -(-(self.d // self.groups) // LANES.value)

    @property
    def tiles_per_segment(self) -> int:
        """Tiles that one program walks."""
        return -(-self.tiles // self.segments)

    @property
    def passes(self) -> list[tuple[int, int]]:
        """First state and number of states of each pass."""
        return [(n, min(STATES, self.n - n)) for n in range(0, self.n, STATES)]

    @property
    def even(self) -> bool:
        """Whether the lanes of a channel have equally many states in every pass."""
        return all(count % self.lanes == 0 for _, count in self.passes)

    @property
    def warps(self) -> int:
        """Warps of a program, which walks 32 channels."""
        return self.lanes // self.held

    @property
    def grid(self) -> tuple[int, int, int]:
        """Programs of a scan over tokens."""
        return self.groups * self.blocks, self.segments, self.sequences


def geometry(x: Tensor, B: Tensor, cu_seqlens: Tensor | None, *, forward: bool) -> Geometry:
    """Cut the work of `x` so that it fills the device."""
    b, length, d = x.shape
    _, _, groups, n = B.shape
    sequences = b if cu_seqlens is None else cu_seqlens.numel() - 1
    return _cut(sequences, length, d, groups, n, cu_seqlens is not None, forward)


@functools.lru_cache(maxsize=256)
def _cut(
    sequences: int, length: int, d: int, groups: int, n: int, packed: bool, forward: bool
) -> Geometry:
    one = Geometry(sequences, length, d, groups, n, packed, 1, 1)
    blocks = max(1, one.groups * one.blocks * sequences)
    for lanes, enough in (FORWARD if forward else BACKWARD).items():
        if blocks >= enough and (cut := replace(one, lanes=lanes)).even:
            return cut
    if forward and one.tiles <= SHORT and (cut := replace(one, lanes=4)).even:
        return cut
    # A segment shorter than 8 tiles would spend its time on starting.
    segments = min(max(1, one.tiles // 8), -(-FULL // blocks))
    return replace(one, segments=-(-one.tiles // -(-one.tiles // segments)))


def paired(cut: Geometry, *, with_states: bool) -> Geometry:
    """`cut` with twice the lanes a channel and two channels a lane, where that is faster forward.

    It is with two lanes a channel, and with one if the launch starts from states or stores them;
    otherwise it costs 5 %, and with four lanes 20 %. H200, November 2026.
    """
    pairs = replace(cut, lanes=2 * cut.lanes, held=2)
    faster = cut.lanes == 2 or (cut.lanes == 1 and with_states)
    return pairs if faster and pairs.even else cut


def _scaled(A: Tensor) -> Tensor:
    """A as (n, d), so that its exponential is one of base 2."""
    out = A.new_empty(A.shape[::-1], dtype=torch.float32)
    return torch.mul(A.detach().float().t(), LOG2E, out=out)


def _by_state(h: Tensor | None) -> Tensor | None:
    """A copy of (s, d, n) as (s, n, d) in float32: channels innermost."""
    if h is None:
        return None
    out = h.new_empty(h.shape[0], h.shape[2], h.shape[1], dtype=torch.float32)
    return out.copy_(h.transpose(1, 2))


def _rows(z: Tensor) -> tuple[Tensor, int]:
    """z with contiguous channels and one stride a token, copied only if it must be."""
    if z.stride(2) != 1 or z.stride(0) != z.shape[1] * z.stride(1) or z.stride(1) < z.shape[2]:
        z = z.contiguous()
    return z, z.stride(1)


def _pack(B: Tensor, C: Tensor, cu: Tensor | None, cut: Geometry, states: int) -> Tensor:
    bc = B.new_empty(cut.slots, cut.groups, cut.n, 2, TILE, dtype=torch.float32)
    launch_pack[(cut.tiles, cut.sequences)](
        B.contiguous(), C.contiguous(), bc, cu, cut.length, cut.groups, cut.n, states,
        T=TILE, S=cut.lanes, BLOCK_N=16, PACKED=cut.packed,
    )  # fmt: skip
    return bc


@functools.lru_cache(maxsize=256)
def _flags(bias: bool, z: bool, softplus: bool, packed: bool) -> dict[str, Any]:
    return {
        "PACKED": packed,
        "HAS_Z": z,
        "HAS_BIAS": bias,
        "SOFTPLUS": softplus,
        "FAST": not triton.knobs.runtime.interpret,
    }


def _join(
    v: Tensor, dt: Tensor, a: Tensor, bc: Tensor, gate: Tensor | None, bias: Tensor | None,
    cu_seqlens: Tensor | None, edge: Tensor | None, cut: Geometry, sizes: dict[str, int],
    flags: dict[str, Any], *, adjoint: bool,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """What enters every segment, and what leaves the last; from the end on with `adjoint`."""
    parts = cut.sequences * cut.segments
    local, sums = _state(v, parts, cut), v.new_empty(parts, cut.d, dtype=torch.float32)
    for state, count in cut.passes:
        launch_ends[cut.grid](
            v, dt, a, bc, gate, bias, local, sums, cu_seqlens, cut.length, cut.tiles_per_segment,
            N0=state, PASS=count, T=TILE, S=cut.lanes, ADJOINT=adjoint,
            maxnreg=255, num_warps=cut.lanes, num_stages=1, **sizes, **flags,
        )  # fmt: skip
    out, last = torch.empty_like(local), _state(v, cut.sequences, cut)
    launch_carry[(-(-cut.d // 128), cut.n, cut.sequences)](
        a, sums, local, edge, out, last, cut.d, cut.n, cut.segments,
        BLOCK_D=128, REVERSE=adjoint, HAS_EDGE=edge is not None, FAST=flags["FAST"],
    )  # fmt: skip
    return out, last


@operator("selective_scan")
def scan(
    x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor,
    D: Tensor | None, z: Tensor | None, dt_bias: Tensor | None,
    initial_state: Tensor | None, cu_seqlens: Tensor | None, softplus: bool, save: bool,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """Output, last state, and with `save` the states before every tile for the backward pass."""
    if cu_seqlens is not None:
        sequence_bounds(cu_seqlens, x.shape[0], x.shape[1])
    cut = geometry(x, B, cu_seqlens, forward=True)
    with_states = save or cut.segments > 1 or initial_state is not None
    walk = paired(cut, with_states=with_states)
    y = x.new_empty(x.shape)
    states = _state(x, cut.slots if save else 0, cut)
    if not y.numel():
        return y, _state(x, cut.sequences, cut).zero_().transpose(1, 2).contiguous(), states
    x, dt, a, bc = (
        x.contiguous(),
        dt.contiguous(),
        _scaled(A),
        _pack(B, C, cu_seqlens, walk, STATES),
    )
    gate, z_stride = (None, 0) if z is None else _rows(z)
    start = _by_state(initial_state)
    ends = _state(x, cut.sequences * cut.segments, cut)
    flags = _flags(dt_bias is not None, z is not None, softplus, cut.packed)
    sizes = {"D": cut.d, "G": cut.groups, "N": cut.n, "ZS": z_stride}
    acc = x.new_empty(x.shape, dtype=torch.float32) if cut.n > STATES else None
    last = ends
    if cut.segments > 1:
        single = bc if walk == cut else _pack(B, C, cu_seqlens, cut, STATES)
        start, last = _join(
            x, dt, a, single, None, dt_bias, cu_seqlens, start, cut, sizes, flags, adjoint=False
        )  # fmt: skip
    for state, count in cut.passes:
        launch_forward[cut.grid](
            x, dt, a, bc, D, gate, dt_bias, y, acc, start, states, ends, cu_seqlens,
            cut.length, cut.tiles_per_segment, N0=state, PASS=count, HAS_D=D is not None,
            HAS_START=start is not None, SAVE=save, TILE=TILE, T=TOKENS[walk.lanes, walk.held],
            S=walk.lanes, K=walk.held, maxnreg=255, num_warps=walk.warps, num_stages=1,
            **sizes, **flags,
        )  # fmt: skip
    return y, last.transpose(1, 2).contiguous(), states


@scan.register_fake
def _(
    x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor,
    D: Tensor | None, z: Tensor | None, dt_bias: Tensor | None,
    initial_state: Tensor | None, cu_seqlens: Tensor | None, softplus: bool, save: bool,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    (b, length, d), n = x.shape, A.shape[1]
    sequences = b if cu_seqlens is None else cu_seqlens.shape[0] - 1
    tiles = (length + TILE - 1) // TILE
    slots = b * tiles if cu_seqlens is None else length // TILE + sequences + 1
    wide = torch.float32
    return (
        x.new_empty(b, length, d),
        x.new_empty(sequences, d, n, dtype=wide),
        x.new_empty(slots if save else 0, n, d, dtype=wide),
    )


@operator("selective_scan_backward")
def scan_backward(
    dy: Tensor, dh: Tensor | None, x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor,
    D: Tensor | None, z: Tensor | None, dt_bias: Tensor | None,
    cu_seqlens: Tensor | None, states: Tensor, softplus: bool,
) -> list[Tensor]:  # fmt: skip
    """Gradients of x, dt, A, B, C, D, z, dt_bias and the initial state; empty where absent."""
    cut = geometry(x, B, cu_seqlens, forward=False)
    like = (x, dt, A, B, C, D, z, dt_bias)
    out = [x.new_empty(0) if t is None else torch.empty(t.shape, dtype=t.dtype, device=t.device)
           for t in like]  # fmt: skip
    if not x.numel():
        return [
            *(t.zero_() for t in out),
            _state(x, cut.sequences, cut).transpose(1, 2).contiguous(),
        ]
    x, dt, dy, a, bc = (
        x.contiguous(),
        dt.contiguous(),
        dy.contiguous(),
        _scaled(A),
        _pack(B, C, cu_seqlens, cut, cut.n),
    )
    gate, z_stride = (None, 0) if z is None else _rows(z)
    parts = cut.sequences * cut.segments
    r = _by_state(dh)
    flags = _flags(dt_bias is not None, z is not None, softplus, cut.packed)
    sizes = {"D": cut.d, "G": cut.groups, "N": cut.n, "ZS": z_stride}
    if cut.segments > 1:
        passes = bc if cut.n <= STATES else _pack(B, C, cu_seqlens, cut, STATES)
        r, dh0 = _join(
            dy, dt, a, passes, gate, dt_bias, cu_seqlens, r, cut, sizes, flags, adjoint=True
        )  # fmt: skip
    else:
        r = dh0 = _state(x, parts, cut).zero_() if r is None else r
    shares = cut.blocks * cut.lanes
    dbc = x.new_empty(cut.slots, cut.groups, shares, cut.n, 2, TILE, dtype=torch.float32)
    dA = _state(x, parts, cut)
    dD, dbias = (x.new_empty(parts, cut.d, dtype=torch.float32) for _ in range(2))
    # Wider dtypes need more than 10 bits of every summand of dB and dC.
    split = x.dtype != torch.bfloat16 or triton.knobs.runtime.interpret
    launch_backward[cut.grid](
        x, dt, a, bc, D, gate, dt_bias, dy, states, out[0], out[1], out[6], dbc, r, dA, dD, dbias,
        cu_seqlens, cut.length, cut.tiles_per_segment, HAS_D=D is not None,
        T=TILE, S=cut.lanes, SPLIT=split, num_warps=cut.lanes, num_stages=1, **sizes, **flags,
    )  # fmt: skip
    launch_unpack[(cut.tiles, cut.groups, cut.sequences)](
        dbc, out[3], out[4], cu_seqlens, cut.length, cut.groups, cut.n, shares,
        T=TILE, COLUMNS=256, SHARES=8, PACKED=cut.packed, SPLIT=split,
    )  # fmt: skip
    out[2] = dA.sum(dim=0).t().to(A.dtype).contiguous()
    if D is not None:
        out[5] = dD.sum(dim=0).to(D.dtype)
    if dt_bias is not None:
        out[7] = dbias.sum(dim=0).to(dt_bias.dtype)
    return [*out, dh0.transpose(1, 2).contiguous()]


@scan_backward.register_fake
def _(
    dy: Tensor, dh: Tensor | None, x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor,
    D: Tensor | None, z: Tensor | None, dt_bias: Tensor | None,
    cu_seqlens: Tensor | None, states: Tensor, softplus: bool,
) -> list[Tensor]:  # fmt: skip
    sequences = x.shape[0] if cu_seqlens is None else cu_seqlens.shape[0] - 1
    like = (x, dt, A, B, C, D, z, dt_bias)
    out = [x.new_empty(0) if t is None else t.new_empty(t.shape) for t in like]
    return [*out, x.new_empty(sequences, *A.shape, dtype=torch.float32)]


def _state(x: Tensor, rows: int, cut: Geometry) -> Tensor:
    return x.new_empty(rows, cut.n, cut.d, dtype=torch.float32)


def _setup(ctx: Any, inputs: Iterable[Any], output: tuple[Tensor, Tensor, Tensor]) -> None:
    *tensors, ctx.softplus, _ = inputs
    ctx.has_state = tensors[8] is not None
    ctx.save_for_backward(*tensors[:8], tensors[9], output[2])
    ctx.mark_non_differentiable(output[2])
    ctx.set_materialize_grads(False)


def _gradients(ctx: Any, dy: Tensor | None, dh: Tensor | None, _: Tensor | None) -> tuple[Any, ...]:
    *operands, cu_seqlens, states = ctx.saved_tensors
    if dy is None:
        dy = torch.zeros_like(operands[0])
    out = scan_backward(dy, dh, *operands, cu_seqlens, states, ctx.softplus)
    given = [grad if t is not None else None for t, grad in zip(operands, out[:8], strict=True)]
    return (*given, out[8] if ctx.has_state else None, None, None, None)


scan.register_autograd(_gradients, setup_context=_setup)
