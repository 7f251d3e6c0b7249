"""Gated linear attention (GLA): every channel of the state forgets at a rate the input sets.

    α_t = σ(W_2 W_1 u_t + b)^{1/τ},  τ = 16    (1)
    S_t = diag(α_t) S_{t-1} + k_t v_tᵀ    (2)
    o_t = n^{-1/2} S_tᵀ q_t    (3)
    O = n^{-1/2} tril((Q ∘ Λ) (K / Λ)ᵀ) V,  Λ_t = α_1 ⋯ α_t    (4)
    y = W_o (RMSNorm(o) ⊙ SiLU(W_g u))    the norm over each head    (5)

W_1 has 16 rows and the root presses α towards one. Eq. (4) shows the form but divides by products
that vanish: the chunks of `ssm_ref.linear_attention.recurrence` never do. Source: Yang et al.,
Gated Linear Attention Transformers, arXiv 2312.06635, and its published code.
"""

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from ssm_ref.expect import expect_axes, state_dtype
from ssm_ref.linear_attention.mixer import Mixer, Projected, Scan, draw_projections, split_heads
from ssm_ref.linear_attention.recurrence import Case, chunked
from ssm_ref.selective.gated_rms_norm import GatedRMSNorm


def gla_recurrent(
    q: Float[Tensor, "b l h n"],
    k: Float[Tensor, "b l h n"],
    v: Float[Tensor, "b l h p"],
    g: Float[Tensor, "b l h n"],
) -> Float[Tensor, "b l h p"]:
    """Eqs. (2) and (3) token by token, with g = log α: the definition."""
    expect_axes("q blhn, k blhn, v blhp, g blhn", q, k, v, g)
    S, o = v.new_zeros(*k[:, 0].shape, v.shape[-1]), []
    for t in range(q.shape[1]):
        S = g[:, t, :, :, None].exp() * S + k[:, t, :, :, None] * v[:, t, :, None, :]  # (2)
        o.append(torch.einsum("bhnp,bhn->bhp", S, q[:, t]) / math.sqrt(q.shape[-1]))  # (3)
    return torch.stack(o, dim=1)


def gla_parallel(
    q: Float[Tensor, "b l h n"],
    k: Float[Tensor, "b l h n"],
    v: Float[Tensor, "b l h p"],
    g: Float[Tensor, "b l h n"],
) -> Float[Tensor, "b l h p"]:
    """The same as a matrix, Eq. (4): exact on paper, and in numbers while Λ stays far from zero."""
    expect_axes("q blhn, k blhn, v blhp, g blhn", q, k, v, g)
    log_decay = g.cumsum(dim=1)
    q, k = q * log_decay.exp() / math.sqrt(q.shape[-1]), k * (-log_decay).exp()
    return torch.einsum("bhts,bshp->bthp", torch.einsum("bthn,bshn->bhts", q, k).tril(), v)  # (4)


def gla_case(
    q: Float[Tensor, "b l h n"],
    k: Float[Tensor, "b l h n"],
    v: Float[Tensor, "b l h p"],
    g: Float[Tensor, "b l h n"],
) -> Case:
    """Eqs. (2) and (3) in the common recurrence: a decay for every channel of the key."""
    return Case(q / math.sqrt(q.shape[-1]), k, v, g)


class GatedLinearAttention(Mixer):
    """The layer, Eqs. (1) to (5): keys of half the width, values of the whole."""

    def __init__(
        self,
        d_model: int,
        n_heads: int = 4,
        *,
        gate_rank: int = 16,
        temperature: float = 16.0,
        norm_eps: float = 1e-5,
        scan: Scan = chunked,
    ) -> None:
        d_key = d_model // 2
        widths = (
            split_heads("d_model / 2", d_key, n_heads),
            split_heads("d_model", d_model, n_heads),
        )
        super().__init__(d_model, (n_heads, *widths), scan=scan)
        self.temperature = temperature
        self.q_proj = nn.Linear(d_model, d_key, bias=False)
        self.k_proj = nn.Linear(d_model, d_key, bias=False)
        self.v_proj = nn.Linear(d_model, d_model, bias=False)
        self.gk_proj = nn.Sequential(
            nn.Linear(d_model, gate_rank, bias=False), nn.Linear(gate_rank, d_key)
        )
        self.g_proj = nn.Linear(d_model, d_model, bias=False)
        self.norm = GatedRMSNorm(widths[1], eps=norm_eps, norm_before_gate=True)
        self.o_proj = nn.Linear(d_model, d_model, bias=False)
        draw_projections(self)

    def project(self, u: Float[Tensor, "b l d"], past: Tensor) -> Projected:
        """Queries, keys, values, the log of α, and the output gate."""
        gate = self.heads(self.gk_proj(u))
        g = F.logsigmoid(gate.to(state_dtype(u))) / self.temperature  # (1)
        q, k, v = (self.heads(part(u)) for part in (self.q_proj, self.k_proj, self.v_proj))
        return Projected(gla_case(q, k, v, g), past, (self.heads(self.g_proj(u)),))

    def output(self, o: Float[Tensor, "b l h p"], *rest: Tensor) -> Float[Tensor, "b l d"]:
        """Normalised by heads, gated, mixed.    (5)"""
        return self.o_proj(self.norm(o, rest[0]).flatten(-2))  # (5)
