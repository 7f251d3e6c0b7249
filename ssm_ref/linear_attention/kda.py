"""Kimi Delta Attention (KDA): every channel fades at its own rate, then the key is overwritten.

    S_t = (I - β_t k_t k_tᵀ) diag(α_t) S_{t-1} + β_t k_t v_tᵀ,  o_t = S_tᵀ q_t    (3)

The order matters: (I - β k kᵀ) diag(α) is not diag(α) (I - β k kᵀ). The layer, with q, k and β as
in DeltaNet and both f and the gate through as many channels as a head has:

    g = -exp(A_log) softplus(W_f2 W_f1 u + b) = log α    (10)
    y = W_o (RMSNorm(o) ⊙ σ(W_g2 W_g1 u))    the norm over each head    (11)

With α equal over channels it is Gated DeltaNet; without the erasing term, gated linear attention.
Source: Kimi Team, Kimi Linear, arXiv 2510.26692, and its published code.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from ssm_ref.expect import expect_axes, expect_counts, state_dtype
from ssm_ref.linear_attention.deltanet import unit
from ssm_ref.linear_attention.mixer import Mixer, Projected, Scan
from ssm_ref.linear_attention.recurrence import Case, chunked
from ssm_ref.norm import RMSNorm
from ssm_ref.selective.causal_conv1d import causal_conv1d
from ssm_ref.selective.step_size import draw_dt_bias


def kda_recurrent(
    q: Float[Tensor, "b l h n"],
    k: Float[Tensor, "b l h n"],
    v: Float[Tensor, "b l h p"],
    g: Float[Tensor, "b l h n"],
    beta: Float[Tensor, "b l h"],
) -> Float[Tensor, "b l h p"]:
    """Eq. (3) token by token, with g = log α: the definition."""
    expect_axes("q blhn, k blhn, v blhp, g blhn, beta blh", q, k, v, g, beta)
    S, o = v.new_zeros(*k[:, 0].shape, v.shape[-1]), []
    for t in range(q.shape[1]):
        S = g[:, t, :, :, None].exp() * S
        error = v[:, t] - torch.einsum("bhnp,bhn->bhp", S, k[:, t])
        S = S + beta[:, t, :, None, None] * k[:, t, :, :, None] * error[:, :, None, :]  # (3)
        o.append(torch.einsum("bhnp,bhn->bhp", S, q[:, t]))  # (3)
    return torch.stack(o, dim=1)


def kda_case(
    q: Float[Tensor, "b l h n"],
    k: Float[Tensor, "b l h n"],
    v: Float[Tensor, "b l h p"],
    g: Float[Tensor, "b l h n"],
    beta: Float[Tensor, "b l h"],
) -> Case:
    """Eq. (3) in the common recurrence: a = α ⊙ k, since the error is that of the faded state."""
    written = beta[..., None] * k
    return Case(q, written, v, g, g.exp() * k, written)


@dataclass(frozen=True, kw_only=True, slots=True)
class KDAConfig:
    """Sizes and options of a KDA layer."""

    d_model: int
    n_heads: int = 16
    d_head: int = 128  # of queries, keys and values
    d_conv: int = 4
    negative_eigenvalues: bool = False  # β in (0, 2)
    norm_eps: float = 1e-5

    def __post_init__(self) -> None:
        expect_counts(self, "d_model", "n_heads", "d_head", "d_conv")

    @property
    def d_inner(self) -> int:
        """Channels of all heads."""
        return self.n_heads * self.d_head


class KimiDeltaAttention(Mixer):
    """The layer: as Gated DeltaNet, with Eq. (10) for its decay and Eq. (11) for its output."""

    def __init__(self, cfg: KDAConfig, *, scan: Scan = chunked) -> None:
        d, c, n = cfg.d_model, cfg.d_inner, cfg.d_head
        super().__init__(d, (cfg.n_heads, n, n), (cfg.d_conv - 1, 3 * c), scan=scan)
        self.cfg = cfg
        self.q_proj = nn.Linear(d, c, bias=False)
        self.k_proj = nn.Linear(d, c, bias=False)
        self.v_proj = nn.Linear(d, c, bias=False)
        self.b_proj = nn.Linear(d, cfg.n_heads, bias=False)
        self.f_proj = nn.Sequential(nn.Linear(d, n, bias=False), nn.Linear(n, c, bias=False))
        self.g_proj = nn.Sequential(nn.Linear(d, n, bias=False), nn.Linear(n, c, bias=False))
        self.A_log = nn.Parameter(torch.empty(cfg.n_heads))
        self.dt_bias = nn.Parameter(torch.empty(c))
        self.conv_weight = nn.Parameter(torch.empty(3 * c, cfg.d_conv))
        self.norm = RMSNorm(n, eps=cfg.norm_eps)
        self.o_proj = nn.Linear(c, d, bias=False)
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """The published start: weights of deviation 0.02, A uniform in (1, 16)."""
        for part in self.modules():
            if isinstance(part, nn.Linear):
                nn.init.normal_(part.weight, std=0.02)
        bound = self.cfg.d_conv**-0.5
        nn.init.uniform_(self.conv_weight, -bound, bound)
        self.A_log.copy_(torch.empty_like(self.A_log).uniform_(1, 16).log())
        draw_dt_bias(self.dt_bias)

    def project(self, u: Float[Tensor, "b l d"], past: Tensor) -> Projected:
        """Unit queries and keys, values, g of every channel, β and the gate."""
        qkv = torch.cat([self.q_proj(u), self.k_proj(u), self.v_proj(u)], dim=-1)
        qkv, past = causal_conv1d(qkv, self.conv_weight, activation="silu", initial_state=past)
        q, k, v = (self.heads(part) for part in qkv.chunk(3, dim=-1))
        wide = state_dtype(u)
        f = self.heads(self.f_proj(u).to(wide) + self.dt_bias.to(wide))
        g = -self.A_log.to(wide).exp()[:, None] * F.softplus(f)  # (10)
        beta = torch.sigmoid(self.b_proj(u)) * (2 if self.cfg.negative_eigenvalues else 1)
        case = kda_case(unit(q) * self.cfg.d_head**-0.5, unit(k), v, g, beta)
        return Projected(case, past, (self.heads(self.g_proj(u)),))

    def output(self, o: Float[Tensor, "b l h p"], *rest: Tensor) -> Float[Tensor, "b l d"]:
        """Normalised by heads, gated, mixed.    (11)"""
        return self.o_proj((self.norm(o) * torch.sigmoid(rest[0])).flatten(-2))  # (11)
