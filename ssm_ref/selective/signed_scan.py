"""Selective scan with eigenvalues of both signs: 2Ā - 1 stands where Ā stood.

    h_t = (2 exp(Δ_t A) - 1) ⊙ h_{t-1} + Δ_t B_t x_t    (1)

The transition lies in (-1, 1) and not in (0, 1), so an input can turn the state round, which parity
asks for. Everything else is `ssm_ref.selective.selective_scan`. Source: Grazzi et al., arXiv
2411.12537, section 4.
"""

from typing import Any, Unpack

import torch
from jaxtyping import Float, Inexact
from torch import Tensor

from ssm_ref.foundations.scan import linear_scan
from ssm_ref.selective.selective_scan import (
    Operands,
    ScanOptions,
    _scan,
    selective_scan_step,
)


def signed_selective_scan(
    x: Float[Tensor, "b l d"],
    dt: Float[Tensor, "b l d"],
    A: Inexact[Tensor, "d n"],
    B: Inexact[Tensor, "b l *g n"],
    C: Inexact[Tensor, "b l *g n"],
    **options: Unpack[ScanOptions],
) -> tuple[Float[Tensor, "b l d"], Inexact[Tensor, "s d n"]]:
    """`selective_scan` with Eq. (1) for its recurrence; all states are in memory at once."""
    return _scan(_signed_core, Operands(x, dt, A, B, C), options)


def signed_selective_scan_step(
    state: Inexact[Tensor, "b d n"], *token: Tensor, **options: Any
) -> tuple[Float[Tensor, "b d"], Inexact[Tensor, "b d n"]]:
    """One token of it, with the contract of `selective_scan_step`."""
    return selective_scan_step(state, *token, scan=signed_selective_scan, **options)


def _signed_core(
    x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, h: Tensor
) -> tuple[Tensor, Tensor]:
    transition = 2 * torch.exp(dt[..., None] * A) - 1  # b l g p n
    written = (dt * x)[..., None] * B[..., None, :]
    states = linear_scan(transition, written, h)  # (1)
    return torch.einsum("blgpn,blgn->blgp", states, C), states[:, -1]
