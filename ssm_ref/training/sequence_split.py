"""One sequence over several ranks: every rank computes its part, states pass between them.

With R ranks, rank r holds tokens r L/R … (r+1) L/R of every row. A part of a linear recurrence maps
the state before it, h, to the state after it,

    h ↦ P_r h + S_r,   P_r = Π_t a_t,   S_r = the part's last state from zero    (1)

so the ranks need each other only through (P, S):

    h_r = S_{r-1} + P_{r-1} S_{r-2} + P_{r-1} P_{r-2} S_{r-3} + …                (2)

which `ssm_ref.training.ranks.state_before` finds in ⌈log₂ R⌉ + 1 rounds. A convolution with k taps
needs the k - 1 inputs before its part, one shift. The functions here have the contracts of
`linear_scan`, `selective_scan`, `ssd` and `causal_conv1d`, on one rank's part; run on R ranks they
give each rank its part of what one process computes, gradients included. The state that they return
is the one after this rank's part. Every rank walks its part twice, once for S and once from h; for
`ssd` S is one product of matrices instead.

What a rank sends in one forward pass of a Mamba layer (float32, K = ⌈log₂ R⌉):

    4 b (k - 1) d + K · 4 b d n + (K - 1) · 4 b d n + 4 b d n    bytes at most    (3)

for the convolution, the ends, the decays and the last shift; the backward pass sends as much the
other way. In Mamba-2 a decay is one number a head. Nothing in Eq. (3) depends on the length.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad, softplus

from ssm_ref.expect import state_dtype
from ssm_ref.foundations.scan import linear_scan
from ssm_ref.precision import without_autocast
from ssm_ref.selective.causal_conv1d import causal_conv1d
from ssm_ref.selective.selective_scan import selective_scan_chunked
from ssm_ref.selective.ssd import ssd_chunked
from ssm_ref.training.ranks import Ranks, state_before

Operator = Callable[..., tuple[Tensor, Tensor]]


def split_linear_scan(a: Tensor, u: Tensor, ranks: Ranks) -> Tensor:
    """All h_t = a_t ⊙ h_{t-1} + u_t of this rank's part; a and u are (b, l, …) of one shape."""
    end = linear_scan(a, u)[:, -1]
    return linear_scan(a, u, state_before(a.prod(dim=1), end, ranks))  # (1), (2)


def split_selective_scan(
    x: Tensor,
    dt: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    *,
    ranks: Ranks,
    scan: Operator = selective_scan_chunked,
    **options: Any,
) -> tuple[Tensor, Tensor]:
    """`selective_scan` on this rank's part, by `scan`; options as in `split_ssd`."""
    _refuse_states(options)
    delta = _steps(dt, options)
    decay = torch.exp(delta.sum(dim=1)[..., None] * A)  # b d n
    parts: Any = {key: options[key] for key in ("dt_bias", "dt_softplus") if key in options}
    _, end = scan(x, dt, A, B, C, **parts)  # (1)
    before = state_before(decay.to(end.dtype), end, ranks)  # (2)
    return scan(x, dt, A, B, C, **options | {"initial_state": before})


def split_ssd(
    x: Tensor,
    dt: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    *,
    ranks: Ranks,
    scan: Operator = ssd_chunked,
    **options: Any,
) -> tuple[Tensor, Tensor]:
    """`ssd` on this rank's part, by `scan`; neither `initial_state` nor `cu_seqlens` is taken."""
    _refuse_states(options)
    delta = _steps(dt, options).clamp(*options.get("dt_limit", (0.0, torch.inf)))
    decay = torch.exp(delta.sum(dim=1) * A)  # b h
    end = _end_of_ssd(x, delta, A, B)
    before = state_before(
        decay.to(end.dtype), end, ranks, spread=lambda decay: decay[..., None, None]
    )
    return scan(x, dt, A, B, C, **options | {"initial_state": before})


def split_causal_conv1d(
    x: Tensor, weight: Tensor, bias: Tensor | None = None, *, ranks: Ranks, **options: Any
) -> tuple[Tensor, Tensor]:
    """`causal_conv1d` on this rank's part: its first taps read the end of the part before."""
    _refuse_states(options)
    width = weight.shape[1] - 1
    if x.shape[1] < width:
        raise ValueError(
            f"a rank's part must hold at least the {width} inputs that the next rank reads; "
            f"got {x.shape[1]}: use fewer ranks or longer sequences"
        )
    before = ranks.shift(x[:, x.shape[1] - width :]) if width else x[:, :0]
    return causal_conv1d(x, weight, bias, **options | {"initial_state": before})


def mamba_operators(ranks: Ranks) -> dict[str, Operator]:
    """Operators for `Mamba` and its language model that split the sequence."""
    return {
        "scan": partial(split_selective_scan, ranks=ranks),
        "conv": partial(split_causal_conv1d, ranks=ranks),
    }


def mamba2_operators(ranks: Ranks) -> dict[str, Operator]:
    """Operators for `Mamba2` and its language model that split the sequence."""
    return {
        "scan": partial(split_ssd, ranks=ranks),
        "conv": partial(split_causal_conv1d, ranks=ranks),
    }


def bytes_sent(ranks: Ranks, *, halo: int, state: int, decay: int) -> int:
    """Bytes that this rank sends in one forward pass of a layer, after Eq. (3).

    `halo`, `state` and `decay` are bytes of the convolution's overlap, of S and of P. A round over
    distance d is sent only by ranks below R - d.
    """
    sent, distance = 0, 1
    while distance < ranks.size:
        if ranks.rank + distance < ranks.size:
            sent += state + (decay if 2 * distance < ranks.size else 0)
        distance *= 2
    return sent + (halo + state if ranks.rank + 1 < ranks.size else 0)  # (3)


def _end_of_ssd(x: Tensor, delta: Tensor, A: Tensor, B: Tensor) -> Tensor:
    """S of Eq. (1) = Σ_t e^{A (Δ_{t+1} + …)} Δ_t x_t B_tᵀ: one product, no outputs on the way."""
    with without_autocast(delta):
        later = pad(delta[:, 1:], (0, 0, 0, 1))
        after = later.flip(1).cumsum(dim=1).flip(1)  # b l h
        weighted = (delta * torch.exp(A * after))[..., None] * x  # b l h p
        of_group = weighted.unflatten(2, (B.shape[2], -1))  # b l g k p: B is not repeated per head
        end = torch.einsum("blgkp,blgn->bgkpn", of_group, B.to(delta.dtype))
        return end.flatten(1, 2)  # b h p n


def _steps(dt: Tensor, options: dict[str, Any]) -> Tensor:
    delta = dt.to(state_dtype(dt))
    if (bias := options.get("dt_bias")) is not None:
        delta = delta + bias
    return softplus(delta) if options.get("dt_softplus", False) else delta


def _refuse_states(options: dict[str, Any]) -> None:
    for key in ("initial_state", "cu_seqlens"):
        if options.pop(key, None) is not None:
            raise ValueError(f"a sequence split over ranks takes no {key}")
