"""State space duality (SSD): the operator of Mamba-2, as a recurrence, a matrix and both at once.

Each head h has one scalar decay rate A_h < 0 and a state H of shape (p, n). With Δ from `dt`:

    Δ_t = clamp(softplus(dt_t + dt_bias))                                   (1)
    H_t = exp(Δ_t A) H_{t-1} + Δ_t x_t B_tᵀ                                 (2)
    y_t = H_t C_t + D x_t                                                   (3)
    y_t = y_t · SiLU(z_t)                              when z is given      (4)

Unrolled over time, Eq. (2)-(3) is one lower-triangular matrix a head, attention without softmax:

    Y = (L ∘ C Bᵀ) (Δ X),   L_ts = exp(Δ_{s+1} A + … + Δ_t A) for t ≥ s     (5)

Cut into chunks of q places, the diagonal blocks are Eq. (5) and the rest passes through a state:

    S_c = Σ_t exp(a_{t+1} + … + a_end) Δ_t x_t B_tᵀ    one chunk alone      (6)
    H_c = exp(a_first + … + a_end) H_{c-1} + S_c       chunk to chunk       (7)
    Y_c = (L ∘ C Bᵀ)(Δ X) + exp(a_first + … + a_t) H_{c-1} C_t              (8)

where a_t = Δ_t A. `ssd` is the definition, a loop; `ssd_quadratic` and `ssd_chunked` are algorithms
for it and `ssd_step` is one place of it. The state is float32 or wider whatever the dtype of x.
Source: Dao and Gu, Transformers are SSMs, arXiv 2405.21060, sections 5 and 6.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import NamedTuple, TypedDict, Unpack

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import pad, silu, softplus

from ssm_ref.packing import sequence_bounds


class SSDOptions(TypedDict, total=False):
    """What SSD may be given beside x, dt, A, B and C."""

    D: Float[Tensor, " h"] | Float[Tensor, "h p"] | None
    z: Float[Tensor, "b l h p"] | None
    dt_bias: Float[Tensor, " h"] | None
    dt_softplus: bool
    dt_limit: tuple[float, float]
    initial_state: Float[Tensor, "s h p n"] | None
    cu_seqlens: Int[Tensor, " s1"] | None


class Operands(NamedTuple):
    """The five operands of SSD, in the order of its signature."""

    x: Tensor
    dt: Tensor
    A: Tensor
    B: Tensor
    C: Tensor


Core = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]


def ssd(
    x: Float[Tensor, "b l h p"],
    dt: Float[Tensor, "b l h"],
    A: Float[Tensor, " h"],
    B: Float[Tensor, "b l g n"],
    C: Float[Tensor, "b l g n"],
    **options: Unpack[SSDOptions],
) -> tuple[Float[Tensor, "b l h p"], Float[Tensor, "s h p n"]]:
    """Eqs. (1) to (4), place by place: the definition. Returns the output and the last state.

    The h heads are split evenly over the g groups of B and C: head i reads group i // (h / g).
    Options: `D` and `z` switch on their terms of (3) and (4); `dt_bias`, `dt_softplus` (default
    False) and `dt_limit` (default 0 to infinity) those of (1); `initial_state` is H before the
    first place (default zero); with `cu_seqlens` the batch is 1 and the states have one row a
    packed sequence.

    State and sums are float32 at least; the output has the dtype of `x`.
    Raises `ValueError` for operands that do not fit or an empty sequence.
    """
    return _run(_loop_core, Operands(x, dt, A, B, C), options)


def ssd_quadratic(
    x: Float[Tensor, "b l h p"],
    dt: Float[Tensor, "b l h"],
    A: Float[Tensor, " h"],
    B: Float[Tensor, "b l g n"],
    C: Float[Tensor, "b l g n"],
    **options: Unpack[SSDOptions],
) -> tuple[Float[Tensor, "b l h p"], Float[Tensor, "s h p n"]]:
    """`ssd` as one matrix, Eq. (5): no loop, O(l²) time and memory."""

    def core(x: Tensor, a: Tensor, B: Tensor, C: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        return _chunked_core(x, a, B, C, state, chunk_size=x.shape[1])

    return _run(core, Operands(x, dt, A, B, C), options)


def ssd_chunked(
    x: Float[Tensor, "b l h p"],
    dt: Float[Tensor, "b l h"],
    A: Float[Tensor, " h"],
    B: Float[Tensor, "b l g n"],
    C: Float[Tensor, "b l g n"],
    *,
    chunk_size: int = 64,
    **options: Unpack[SSDOptions],
) -> tuple[Float[Tensor, "b l h p"], Float[Tensor, "s h p n"]]:
    """`ssd` by chunks of `chunk_size` places, Eqs. (5) to (8): O(l q) time in matrix products.

    The chunk size changes cost and rounding, never the answer; it need not divide the length.
    As in any matrix product, a NaN spreads over its own chunk, earlier places included.
    """
    if chunk_size < 1:
        raise ValueError(f"chunk_size must be at least 1; got {chunk_size}")
    core = partial(_chunked_core, chunk_size=chunk_size)
    return _run(core, Operands(x, dt, A, B, C), options)


def ssd_step(
    state: Float[Tensor, "b h p n"],
    x: Float[Tensor, "b h p"],
    dt: Float[Tensor, "b h"],
    A: Float[Tensor, " h"],
    B: Float[Tensor, "b g n"],
    C: Float[Tensor, "b g n"],
    *,
    D: Float[Tensor, " h"] | Float[Tensor, "h p"] | None = None,
    z: Float[Tensor, "b h p"] | None = None,
    dt_bias: Float[Tensor, " h"] | None = None,
    dt_softplus: bool = False,
    dt_limit: tuple[float, float] = (0.0, math.inf),
) -> tuple[Float[Tensor, "b h p"], Float[Tensor, "b h p n"]]:
    """Eqs. (1) to (4) for one place: its output and the new state; `state` is left as it was."""
    if x.ndim != 3:
        raise ValueError(f"a step takes x of shape (b, h, p); got {tuple(x.shape)}")
    y, state = ssd(
        x[:, None],
        dt[:, None],
        A,
        B[:, None],
        C[:, None],
        D=D,
        z=None if z is None else z[:, None],
        dt_bias=dt_bias,
        dt_softplus=dt_softplus,
        dt_limit=dt_limit,
        initial_state=state,
    )
    return y[:, 0], state


def segsum(a: Float[Tensor, "*batch q"]) -> Float[Tensor, "*batch q q"]:
    """S[t, s] = a_{s+1} + … + a_t for t ≥ s and -inf above: the logarithm of L in Eq. (5).

    Every entry is a sum of its own terms. The difference of two cumulative sums is equal on paper
    and loses all digits once the sums are large.
    """
    q = a.shape[-1]
    kept = torch.ones(q, q, dtype=torch.bool, device=a.device).tril()
    terms = a[..., :, None].expand(*a.shape, q).masked_fill(~kept.tril(-1), 0)
    return terms.cumsum(dim=-2).masked_fill(~kept, -math.inf)


def _loop_core(
    x: Float[Tensor, "b l h p"],
    a: Float[Tensor, "b l h"],
    B: Float[Tensor, "b l g n"],
    C: Float[Tensor, "b l g n"],
    state: Float[Tensor, "b h p n"],
) -> tuple[Float[Tensor, "b l h p"], Float[Tensor, "b h p n"]]:
    """Eqs. (2) and (3) without the skip, for Δx in the place of x and a = ΔA."""
    repeat = x.shape[2] // B.shape[2]
    B, C = B.repeat_interleave(repeat, dim=2), C.repeat_interleave(repeat, dim=2)  # b l h n
    ys = []
    for t in range(x.shape[1]):
        decay = a[:, t].exp()[..., None, None]
        state = decay * state + x[:, t, :, :, None] * B[:, t, :, None, :]  # (2)
        ys.append((state * C[:, t, :, None, :]).sum(dim=-1))  # (3)
    return torch.stack(ys, dim=1), state


def _chunked_core(
    x: Float[Tensor, "b l h p"],
    a: Float[Tensor, "b l h"],
    B: Float[Tensor, "b l g n"],
    C: Float[Tensor, "b l g n"],
    state: Float[Tensor, "b h p n"],
    *,
    chunk_size: int,
) -> tuple[Float[Tensor, "b l h p"], Float[Tensor, "b h p n"]]:
    """The same by Eqs. (5) to (8)."""
    (b, length, h, p), (g, n) = x.shape, B.shape[2:]
    q, r = min(chunk_size, length), h // g
    c = -(-length // q)
    short = c * q - length  # padding places neither decay the state (a = 0) nor write to it (x = 0)
    x = pad(x, (0, 0, 0, 0, 0, short)).reshape(b, c, q, g, r, p)
    a = pad(a, (0, 0, 0, short)).reshape(b, c, q, g, r).permute(0, 1, 3, 4, 2)  # b c g r q
    B, C = (pad(m, (0, 0, 0, 0, 0, short)).reshape(b, c, q, g, n) for m in (B, C))
    L = segsum(a).exp()  # b c g r t s

    scores = torch.einsum("bctgn,bcsgn->bcgts", C, B)[:, :, :, None] * L
    y = torch.einsum("bcgrts,bcsgrp->bctgrp", scores, x)  # (5)
    to_end = L[..., -1, :].permute(0, 1, 4, 2, 3)  # b c s g r
    written = torch.einsum("bcsgrp,bcsgn->bcgrpn", x * to_end[..., None], B)  # (6)
    from_start = a.cumsum(dim=-1).exp()  # b c g r t
    state = state.reshape(b, g, r, p, n)
    entering = []
    for i in range(c):
        entering.append(state)
        state = from_start[:, i, ..., -1, None, None] * state + written[:, i]  # (7)
    read = torch.einsum("bctgn,bcgrpn->bctgrp", C, torch.stack(entering, dim=1))
    y = y + read * from_start.permute(0, 1, 4, 2, 3)[..., None]  # (8)
    return y.reshape(b, c * q, h, p)[:, :length], state.reshape(b, h, p, n)


def check_ssd(operands: Operands, options: SSDOptions) -> None:
    """Raise `ValueError` unless operands and options fit together."""
    x, dt, A, B, C = operands
    if x.ndim != 4 or B.ndim != 4:
        raise ValueError(
            "x must have shape (b, l, h, p) and B (b, l, groups, n); "
            f"got {tuple(x.shape)} and {tuple(B.shape)}"
        )
    (b, length, h, p), (g, n) = x.shape, B.shape[2:]
    if min(length, h, p, g, n) < 1:
        raise ValueError(
            f"no axis but the batch may be empty; got x {tuple(x.shape)} and B {tuple(B.shape)}"
        )
    if h % g:
        raise ValueError(f"the groups of B and C must divide h={h}; got {g}")
    cu_seqlens, low_high = options.get("cu_seqlens"), options.get("dt_limit", (0.0, math.inf))
    rows = b if cu_seqlens is None else cu_seqlens.numel() - 1
    wanted: dict[str, tuple[Tensor | None, list[tuple[int, ...]]]] = {
        "x": (x, [(b, length, h, p)]),
        "dt": (dt, [(b, length, h)]),
        "A": (A, [(h,)]),
        "B": (B, [(b, length, g, n)]),
        "C": (C, [(b, length, g, n)]),
        "D": (options.get("D"), [(h,), (h, p)]),
        "z": (options.get("z"), [(b, length, h, p)]),
        "dt_bias": (options.get("dt_bias"), [(h,)]),
        "initial_state": (options.get("initial_state"), [(rows, h, p, n)]),
    }
    for name, (tensor, shapes) in wanted.items():
        if tensor is None:
            continue
        if tuple(tensor.shape) not in shapes:
            expected = " or ".join(map(str, shapes))
            raise ValueError(f"{name} must have shape {expected}; got {tuple(tensor.shape)}")
        if not tensor.is_floating_point():
            raise ValueError(f"{name} must be floating point; got {tensor.dtype}")
        if tensor.device != x.device:
            raise ValueError(f"{name} must be on {x.device} like x; got {tensor.device}")
    if not 0 <= low_high[0] <= low_high[1]:
        raise ValueError(f"dt_limit must be (low, high) with 0 <= low <= high; got {low_high}")


def _run(core: Core, operands: Operands, options: SSDOptions) -> tuple[Tensor, Tensor]:
    """Do for any core what Eqs. (1), (3) and (4) add to the recurrence itself."""
    unknown = options.keys() - SSDOptions.__annotations__.keys()
    if unknown:
        raise TypeError(f"unknown options {sorted(unknown)}")
    check_ssd(operands, options)
    x = operands.x
    real = torch.promote_types(x.dtype, torch.float32)
    wide_x, delta, A, B, C = (t.to(real) for t in operands)
    if (dt_bias := options.get("dt_bias")) is not None:
        delta = delta + dt_bias.to(real)
    delta = softplus(delta) if options.get("dt_softplus", False) else delta
    delta = delta.clamp(*options.get("dt_limit", (0.0, math.inf)))  # (1)
    state, cu_seqlens = options.get("initial_state"), options.get("cu_seqlens")
    if state is None:
        rows = x.shape[0] if cu_seqlens is None else cu_seqlens.numel() - 1
        state = torch.zeros(rows, *x.shape[2:], B.shape[3], dtype=real, device=x.device)
    places = (wide_x * delta[..., None], delta * A, B, C)
    y, state = _over_sequences(core, places, state.to(real), cu_seqlens)
    if (D := options.get("D")) is not None:
        y = y + wide_x * (D if D.ndim == 2 else D[:, None]).to(real)  # (3)
    if (z := options.get("z")) is not None:
        y = y * silu(z.to(real))  # (4)
    return y.to(x.dtype), state


def _over_sequences(
    core: Core,
    places: tuple[Tensor, Tensor, Tensor, Tensor],
    state: Tensor,
    cu_seqlens: Tensor | None,
) -> tuple[Tensor, Tensor]:
    """Run the core on the batch, or on each packed sequence from its own state."""
    if cu_seqlens is None:
        return core(*places, state)
    bounds = sequence_bounds(cu_seqlens, *places[0].shape[:2])
    parts = []
    for i, (start, end) in enumerate(bounds):
        x, a, B, C = (t[:, start:end] for t in places)
        parts.append(core(x, a, B, C, state[i : i + 1]))
    ys, states = zip(*parts, strict=True)
    return torch.cat(ys, dim=1), torch.cat(states, dim=0)
