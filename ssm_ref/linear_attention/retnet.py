"""RetNet: linear attention that forgets at fixed rates, one a head, and rotates by position.

With q and k turned by the angle tθ in pairs of channels, θ_i = 10000^{-i / (n/2 - 1)},

    γ_h = 1 - 2^{-5-h}    (1)
    S_t = γ S_{t-1} + k_t v_tᵀ    (2)
    o_t = n^{-1/2} S_tᵀ q_t    (3)
    O = n^{-1/2} (Q Kᵀ ∘ D) V,  D_ts = γ^{t-s} for t ≥ s    (4)
    y = W_o (SiLU(W_g u) ⊙ RMSNorm(o))    the norm over each head, without weights    (5)

Turning q and k is the same as a complex decay γ e^{iθ} of the state. The norm makes the layer blind
to the scale of a head. Source: Sun et al., Retentive Network, arXiv 2307.08621, and its code.
"""

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from ssm_ref.expect import expect_axes
from ssm_ref.linear_attention.mixer import Mixer, Projected, Scan, draw_projections, split_heads
from ssm_ref.linear_attention.recurrence import Case, chunked
from ssm_ref.norm import rms_norm


def retention_log_decay(n_heads: int) -> Float[Tensor, " h"]:
    """log γ of every head, in float64.    (1)"""
    return torch.log1p(-torch.exp2(-5 - torch.arange(n_heads, dtype=torch.float64)))  # (1)


def retention_recurrent(
    q: Float[Tensor, "b l h n"], k: Float[Tensor, "b l h n"], v: Float[Tensor, "b l h p"]
) -> Float[Tensor, "b l h p"]:
    """Eqs. (2) and (3) token by token: the definition."""
    expect_axes("q blhn, k blhn, v blhp", q, k, v)
    gamma = retention_log_decay(q.shape[2]).exp().to(v)[:, None, None]
    S, o = v.new_zeros(*k[:, 0].shape, v.shape[-1]), []
    for t in range(q.shape[1]):
        S = gamma * S + k[:, t, :, :, None] * v[:, t, :, None, :]  # (2)
        o.append(torch.einsum("bhnp,bhn->bhp", S, q[:, t]) / math.sqrt(q.shape[-1]))  # (3)
    return torch.stack(o, dim=1)


def retention_parallel(
    q: Float[Tensor, "b l h n"], k: Float[Tensor, "b l h n"], v: Float[Tensor, "b l h p"]
) -> Float[Tensor, "b l h p"]:
    """The same as attention under a mask of powers, Eq. (4)."""
    expect_axes("q blhn, k blhn, v blhp", q, k, v)
    t = torch.arange(q.shape[1], device=q.device)
    apart = (t[:, None] - t).clamp(min=0)
    D = (retention_log_decay(q.shape[2]).to(v)[:, None, None] * apart).exp().tril()
    scores = torch.einsum("bthn,bshn->bhts", q, k) / math.sqrt(q.shape[-1])
    return torch.einsum("bhts,bshp->bthp", scores * D, v)  # (4)


def retention_case(
    q: Float[Tensor, "b l h n"], k: Float[Tensor, "b l h n"], v: Float[Tensor, "b l h p"]
) -> Case:
    """Eqs. (2) and (3) in the common recurrence: one constant decay a head."""
    g = retention_log_decay(q.shape[2]).to(v)[:, None].expand(*q.shape[:3], 1)
    return Case(q / math.sqrt(q.shape[-1]), k, v, g)


def rotate(
    x: Float[Tensor, "b l h n"], position: Int[Tensor, "#b l"], base: float = 10_000.0
) -> Float[Tensor, "b l h n"]:
    """x with its channels 2i and 2i + 1 turned by position · θ_i; n is even."""
    half = x.shape[-1] // 2
    theta = base ** -torch.linspace(0, 1, half, dtype=torch.float64, device=x.device)
    angle = (position[..., None, None] * theta)[..., None]  # b l 1 n/2 1
    even, odd = x.unflatten(-1, (half, 2)).split(1, dim=-1)
    cos, sin = angle.cos().to(x.dtype), angle.sin().to(x.dtype)
    return torch.cat([even * cos - odd * sin, even * sin + odd * cos], dim=-1).flatten(-2)


class RetNet(Mixer):
    """The multi-scale retention layer, Eqs. (1) to (5); its state also counts the tokens."""

    def __init__(
        self,
        d_model: int,
        n_heads: int = 8,
        *,
        expand_v: int = 2,
        norm_eps: float = 1e-5,
        scan: Scan = chunked,
    ) -> None:
        width = split_heads("d_model", d_model, n_heads)
        if width % 2:
            raise ValueError(f"heads must be even to be turned in pairs; got width {width}")
        super().__init__(d_model, (n_heads, width, expand_v * width), (), scan=scan)
        self.norm_eps = norm_eps
        self.q_proj = nn.Linear(d_model, d_model, bias=False)
        self.k_proj = nn.Linear(d_model, d_model, bias=False)
        self.v_proj = nn.Linear(d_model, expand_v * d_model, bias=False)
        self.g_proj = nn.Linear(d_model, expand_v * d_model, bias=False)
        self.o_proj = nn.Linear(expand_v * d_model, d_model, bias=False)
        draw_projections(self)
        nn.init.xavier_uniform_(self.o_proj.weight, gain=0.5)

    def empty_past(self, batch: int) -> Int[Tensor, " b"]:
        """How many tokens went before: none."""
        return torch.zeros(batch, dtype=torch.int64, device=self.o_proj.weight.device)

    def project(self, u: Float[Tensor, "b l d"], past: Tensor) -> Projected:
        """Turned queries and keys, values, and the gate."""
        position = past[:, None] + torch.arange(u.shape[1], device=u.device)
        q, k = (rotate(self.heads(part(u)), position) for part in (self.q_proj, self.k_proj))
        case = retention_case(q, k, self.heads(self.v_proj(u)))
        return Projected(case, past + u.shape[1], (self.g_proj(u),))

    def output(self, o: Float[Tensor, "b l h p"], *rest: Tensor) -> Float[Tensor, "b l d"]:
        """Normalised by heads, gated, mixed.    (5)"""
        (gate,) = rest
        return self.o_proj(F.silu(gate) * rms_norm(o, eps=self.norm_eps).flatten(-2))  # (5)
