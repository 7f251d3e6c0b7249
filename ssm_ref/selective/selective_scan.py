"""Selective scan: a diagonal state space whose step, input and output depend on the input.

    Δ_t = softplus(dt_t + b)                    (1)
    Ā_t = exp(Δ_t A)                            (2)
    B̄_t x_t = Δ_t B_t x_t                       (3)
    h_t = Ā_t ⊙ h_{t−1} + B̄_t x_t               (4)
    y_t = C_t · h_t + D ⊙ x_t                   (5)
    o_t = y_t ⊙ SiLU(z_t)                       (6)

Channel d has a state of n numbers; A (d, n) and D (d) are fixed, while Δ (b, l, d), B and C
(b, l, n), shared by the channels of a group, change with every token. Eq. (3) is the
exponential-Euler rule of the published code; the Mamba paper prints zero-order hold.

`selective_scan` is the definition, a loop. Two algorithms compute the same: pairs combined in a
tree, since Eq. (4) composes associatively,

    (a₂, u₂) ∘ (a₁, u₁) = (a₂ a₁, a₂ u₁ + u₂),  (7)

and chunks walked side by side, which run the adjoint recurrence for gradients:

    g_t = C_t ȳ_t + Ā_{t+1} ⊙ g_{t+1}.          (8)

Source: Gu and Dao, Mamba, arXiv 2312.00752, Algorithm 2 and section 3.3.
"""

from collections.abc import Callable
from typing import NamedTuple, TypedDict, Unpack

import torch
from jaxtyping import Float, Inexact, Int
from torch import Tensor
from torch.nn import functional

from ssm_ref.packing import sequence_bounds
from ssm_ref.selective.scan_algorithms import associative_scan_core, chunked_scan_core


class ScanOptions(TypedDict, total=False):
    """What a selective scan may be given beside x, dt, A, B and C."""

    D: Float[Tensor, " d"] | None
    z: Float[Tensor, "b l d"] | None
    dt_bias: Float[Tensor, " d"] | None
    dt_softplus: bool
    initial_state: Inexact[Tensor, "s d n"] | None
    cu_seqlens: Int[Tensor, " s1"] | None


Core = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]


def selective_scan(
    x: Float[Tensor, "b l d"],
    dt: Float[Tensor, "b l d"],
    A: Inexact[Tensor, "d n"],
    B: Inexact[Tensor, "b l *g n"],
    C: Inexact[Tensor, "b l *g n"],
    **options: Unpack[ScanOptions],
) -> tuple[Float[Tensor, "b l d"], Inexact[Tensor, "s d n"]]:
    """Eqs. (1) to (6), token by token: the definition. Returns the output and the last state.

    B and C have one row for all channels, (b, l, n), or one a group, (b, l, g, n): channel i
    reads group i // (d / g). Options: `D` and `z` switch on their terms of (5) and (6),
    `dt_bias` and `dt_softplus` (default False) those of (1); `initial_state` is h before the first
    token (default zero); with `cu_seqlens` the batch is 1 and the states have one row a packed
    sequence. With complex A, which stores one of each conjugate pair, y is 2·Re(C·h) + D ⊙ x.

    State and sums are float32 at least; the output has the dtype of `x`.
    Raises `ValueError` for operands that do not fit or an empty sequence.
    """
    return _scan(_loop_core, Operands(x, dt, A, B, C), options)


def selective_scan_associative(
    x: Float[Tensor, "b l d"],
    dt: Float[Tensor, "b l d"],
    A: Inexact[Tensor, "d n"],
    B: Inexact[Tensor, "b l *g n"],
    C: Inexact[Tensor, "b l *g n"],
    **options: Unpack[ScanOptions],
) -> tuple[Float[Tensor, "b l d"], Inexact[Tensor, "s d n"]]:
    """`selective_scan` as a tree of pairs (7): depth 2·log₂ l, all states in memory at once."""
    return _scan(associative_scan_core, Operands(x, dt, A, B, C), options)


def selective_scan_chunked(
    x: Float[Tensor, "b l d"],
    dt: Float[Tensor, "b l d"],
    A: Inexact[Tensor, "d n"],
    B: Inexact[Tensor, "b l *g n"],
    C: Inexact[Tensor, "b l *g n"],
    *,
    chunk_size: int | None = None,
    **options: Unpack[ScanOptions],
) -> tuple[Float[Tensor, "b l d"], Inexact[Tensor, "s d n"]]:
    """`selective_scan` with chunks of `chunk_size` tokens walked side by side.

    The chunk size changes cost and rounding, never the answer; without one it is chosen to fill
    a cache. Keeps only the state at each chunk's start for the gradients.
    """
    if chunk_size is not None and chunk_size < 1:
        raise ValueError(f"chunk_size must be at least 1; got {chunk_size}")

    def core(*operands: Tensor) -> tuple[Tensor, Tensor]:
        return chunked_scan_core(*operands, chunk_size=chunk_size)

    return _scan(core, Operands(x, dt, A, B, C), options)


def selective_scan_step(
    state: Inexact[Tensor, "b d n"],
    x: Float[Tensor, "b d"],
    dt: Float[Tensor, "b d"],
    A: Inexact[Tensor, "d n"],
    B: Inexact[Tensor, "b *g n"],
    C: Inexact[Tensor, "b *g n"],
    *,
    D: Float[Tensor, " d"] | None = None,
    z: Float[Tensor, "b d"] | None = None,
    dt_bias: Float[Tensor, " d"] | None = None,
    dt_softplus: bool = False,
    scan: Callable[..., tuple[Tensor, Tensor]] = selective_scan,
) -> tuple[Float[Tensor, "b d"], Inexact[Tensor, "b d n"]]:
    """Eqs. (1) to (6) for one token: its output and the new state; `state` is left as it was.

    `scan` is what runs over the one token, with the contract of `selective_scan`.
    """
    if x.ndim != 2:
        raise ValueError(f"a step takes x of shape (b, d); got {tuple(x.shape)}")
    y, state = scan(
        x[:, None],
        dt[:, None],
        A,
        B[:, None],
        C[:, None],
        D=D,
        z=None if z is None else z[:, None],
        dt_bias=dt_bias,
        dt_softplus=dt_softplus,
        initial_state=state,
    )
    return y[:, 0], state


class Operands(NamedTuple):
    """The five operands of a selective scan, in the order of its signature."""

    x: Tensor
    dt: Tensor
    A: Tensor
    B: Tensor
    C: Tensor


def check_selective_scan(operands: Operands, options: ScanOptions) -> None:
    """Raise `ValueError` unless operands and options fit together."""
    x, dt, A, B, C = operands
    if x.ndim != 3 or x.shape[1] == 0 or not x.is_floating_point():
        raise ValueError(
            f"x must be floating point of shape (b, l, d), l > 0; got {x.dtype} {tuple(x.shape)}"
        )
    b, l, d = x.shape
    if A.ndim != 2 or A.shape[0] != d or A.shape[1] == 0:
        raise ValueError(f"A must have shape (d={d}, n); got {tuple(A.shape)}")
    n = A.shape[1]
    for name, value in (("B", B), ("C", C)):
        if value.ndim not in (3, 4) or (*value.shape[:2], value.shape[-1]) != (b, l, n):
            raise ValueError(
                f"{name} must have shape ({b}, {l}, {n}) or ({b}, {l}, groups, {n}); "
                f"got {tuple(value.shape)}"
            )
    if B.shape != C.shape or (B.ndim == 4 and (B.shape[2] == 0 or d % B.shape[2])):
        raise ValueError(
            f"B and C must share a number of groups that divides d={d}; "
            f"got {tuple(B.shape)} and {tuple(C.shape)}"
        )
    initial_state = options.get("initial_state")
    wanted = {
        "dt": (dt, (b, l, d)),
        "D": (options.get("D"), (d,)),
        "z": (options.get("z"), (b, l, d)),
        "dt_bias": (options.get("dt_bias"), (d,)),
        "initial_state": (initial_state, _state_shape(operands, options)),
    }
    for name, (tensor, shape) in wanted.items():
        if tensor is not None and tensor.shape != shape:
            raise ValueError(f"{name} must have shape {shape}; got {tuple(tensor.shape)}")
        if tensor is not None and name != "initial_state" and not tensor.is_floating_point():
            raise ValueError(f"{name} must be floating point; got {tensor.dtype}")
    for tensor in (*operands, *(tensor for tensor, _ in wanted.values())):
        if tensor is not None and tensor.device != x.device:
            raise ValueError(f"all operands must be on {x.device} like x; got {tensor.device}")
    if initial_state is not None and initial_state.is_complex() and not A.is_complex():
        raise ValueError("initial_state must be real when A is real; got a complex tensor")


def _state_shape(operands: Operands, options: ScanOptions) -> tuple[int, int, int]:
    cu_seqlens = options.get("cu_seqlens")
    rows = operands.x.shape[0] if cu_seqlens is None else cu_seqlens.numel() - 1
    return rows, *operands.A.shape


def _scan(core: Core, operands: Operands, options: ScanOptions) -> tuple[Tensor, Tensor]:
    """Do for any core what Eqs. (1), (5) and (6) add to the recurrence itself."""
    unknown = options.keys() - ScanOptions.__annotations__.keys()
    if unknown:
        raise TypeError(f"unknown options {sorted(unknown)}")
    check_selective_scan(operands, options)
    x, dt, A, B, C = operands
    real = torch.promote_types(torch.promote_types(x.dtype, A.real.dtype), torch.float32)
    stored = torch.promote_types(real, torch.complex64) if A.is_complex() else real
    g = B.shape[2] if B.ndim == 4 else 1
    wide_x, dt, B, C = x.to(real), dt.to(real), B.to(stored), C.to(stored)
    if (dt_bias := options.get("dt_bias")) is not None:
        dt = dt + dt_bias
    if options.get("dt_softplus", False):
        dt = functional.softplus(dt)  # (1)
    h = options.get("initial_state")
    if h is None:
        h = torch.zeros(_state_shape(operands, options), dtype=stored, device=x.device)
    y, h = _scan_sequences(
        core,
        wide_x.unflatten(2, (g, -1)),
        dt.unflatten(2, (g, -1)),
        A.to(stored).unflatten(0, (g, -1)),
        B if B.ndim == 4 else B.unsqueeze(2),
        C if C.ndim == 4 else C.unsqueeze(2),
        h.to(stored).unflatten(1, (g, -1)),
        cu_seqlens=options.get("cu_seqlens"),
    )
    y = 2 * y.real if y.is_complex() else y
    y = y.flatten(2)
    if (D := options.get("D")) is not None:
        y = y + D * wide_x  # (5)
    if (z := options.get("z")) is not None:
        y = y * functional.silu(z.to(real))  # (6)
    return y.to(x.dtype), h.flatten(1, 2)


def _scan_sequences(
    core: Core, x: Tensor, dt: Tensor, A: Tensor, *BCh: Tensor, cu_seqlens: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Run the core on the batch, or on each packed sequence by itself."""
    B, C, h = BCh
    if cu_seqlens is None:
        return core(x, dt, A, B, C, h)
    parts = []
    for i, (start, end) in enumerate(sequence_bounds(cu_seqlens, x.shape[0], x.shape[1])):
        x_i, dt_i, B_i, C_i = (t[:, start:end] for t in (x, dt, B, C))
        parts.append(core(x_i, dt_i, A, B_i, C_i, h[i : i + 1]))
    ys, states = zip(*parts, strict=True)
    return torch.cat(ys, dim=1), torch.cat(states, dim=0)


def _loop_core(
    x: Float[Tensor, "b l g p"],
    dt: Float[Tensor, "b l g p"],
    A: Inexact[Tensor, "g p n"],
    B: Inexact[Tensor, "b l g n"],
    C: Inexact[Tensor, "b l g n"],
    h: Inexact[Tensor, "b g p n"],
) -> tuple[Inexact[Tensor, "b l g p"], Inexact[Tensor, "b g p n"]]:
    """Eqs. (2) to (5) without the skip, for p channels in each of g groups."""
    y = []
    for t in range(x.shape[1]):
        A_bar = torch.exp(dt[:, t, ..., None] * A)  # (2)
        B_bar_x = (dt[:, t] * x[:, t])[..., None] * B[:, t, :, None]  # (3)
        h = A_bar * h + B_bar_x  # (4)
        y.append(torch.einsum("bgpn,bgn->bgp", h, C[:, t]))  # (5)
    return torch.stack(y, dim=1), h
