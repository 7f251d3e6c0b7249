"""Gated DeltaNet: first everything fades a little, then the key is overwritten.

    S_t = α_t (I - β_t k_t k_tᵀ) S_{t-1} + β_t k_t v_tᵀ,  o_t = S_tᵀ q_t    (2)

One number α a head and token, as in Mamba-2. With g = log α, s its sums from the start of a chunk
and Γ_ij = e^{s_i - s_j} for i ≥ j, the chunk as the paper writes it, from the state S_0:

    T = (I + tril₋₁(diag(β) K Kᵀ ∘ Γ))⁻¹    (4)
    V' = T diag(β) (V - diag(e^s) K S_0),  O = diag(e^s) Q S_0 + (Q Kᵀ ∘ Γ) V'    (5)

The layer, with q, k and β as in DeltaNet and more heads of values than of keys if asked:

    g = -exp(A_log) softplus(W_a u + b)    (8)
    y = W_o (RMSNorm(o) ⊙ SiLU(W_g u))    the norm over each head    (9)

Source: Yang, Kautz and Hatamizadeh, Gated Delta Networks, arXiv 2412.06464, and its code.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from ssm_ref.expect import expect_axes, expect_counts, state_dtype
from ssm_ref.linear_attention.deltanet import unit
from ssm_ref.linear_attention.mixer import Mixer, Projected, Scan, draw_projections
from ssm_ref.linear_attention.recurrence import Case, chunked
from ssm_ref.selective.causal_conv1d import causal_conv1d
from ssm_ref.selective.gated_rms_norm import GatedRMSNorm
from ssm_ref.selective.ssd import segsum
from ssm_ref.selective.step_size import draw_dt_bias

FASTEST = 16.0  # A starts uniform up to this


def gated_delta_recurrent(
    q: Float[Tensor, "b l h n"],
    k: Float[Tensor, "b l h n"],
    v: Float[Tensor, "b l h p"],
    g: Float[Tensor, "b l h"],
    beta: Float[Tensor, "b l h"],
) -> Float[Tensor, "b l h p"]:
    """Eq. (2) token by token, with g = log α: the definition. The error is that of the faded S."""
    expect_axes("q blhn, k blhn, v blhp, g blh, beta blh", q, k, v, g, beta)
    S, o = v.new_zeros(*k[:, 0].shape, v.shape[-1]), []
    for t in range(q.shape[1]):
        S = g[:, t, :, None, None].exp() * S
        error = v[:, t] - torch.einsum("bhnp,bhn->bhp", S, k[:, t])
        S = S + beta[:, t, :, None, None] * k[:, t, :, :, None] * error[:, :, None, :]  # (2)
        o.append(torch.einsum("bhnp,bhn->bhp", S, q[:, t]))  # (2)
    return torch.stack(o, dim=1)


def gated_delta_parallel(
    q: Float[Tensor, "b l h n"],
    k: Float[Tensor, "b l h n"],
    v: Float[Tensor, "b l h p"],
    g: Float[Tensor, "b l h"],
    beta: Float[Tensor, "b l h"],
) -> Float[Tensor, "b l h p"]:
    """The same as one chunk from an empty state, Eqs. (4) and (5) with S_0 = 0."""
    expect_axes("q blhn, k blhn, v blhp, g blh, beta blh", q, k, v, g, beta)
    q, k, v = (x.transpose(1, 2) for x in (q, k, v))  # b h l n
    rate = beta.transpose(1, 2)[..., None]
    gamma = segsum(g.transpose(1, 2)).exp()
    system = (rate * (k @ k.mT) * gamma).tril(-1)
    new = torch.linalg.solve_triangular(system, rate * v, upper=False, unitriangular=True)  # (4)
    return ((q @ k.mT * gamma) @ new).transpose(1, 2)  # (5)


def gated_delta_case(
    q: Float[Tensor, "b l h n"],
    k: Float[Tensor, "b l h n"],
    v: Float[Tensor, "b l h p"],
    g: Float[Tensor, "b l h"],
    beta: Float[Tensor, "b l h"],
) -> Case:
    """Eq. (2) in the common recurrence: a = αk, since the error is that of the faded state."""
    g, written = g[..., None], beta[..., None] * k
    return Case(q, written, v, g, g.exp() * k, written)


@dataclass(frozen=True, kw_only=True, slots=True)
class GatedDeltaNetConfig:
    """Sizes and options of a Gated DeltaNet layer; as published, n_heads · d_head = ¾ d_model."""

    d_model: int
    n_heads: int = 6  # of queries and keys
    d_head: int = 256
    expand_v: float = 2.0  # width of a value over that of a key
    n_value_heads: int | None = None  # as many as keys when not given
    d_conv: int = 4
    negative_eigenvalues: bool = False  # β in (0, 2)
    norm_eps: float = 1e-5

    def __post_init__(self) -> None:
        expect_counts(self, "d_model", "n_heads", "d_head", "n_value_heads", "d_conv")
        if self.state_shape[0] % self.n_heads:
            raise ValueError(
                f"n_heads={self.n_heads} must divide n_value_heads={self.n_value_heads}"
            )

    @property
    def state_shape(self) -> tuple[int, int, int]:
        """Heads of values, key width and value width."""
        heads = self.n_heads if self.n_value_heads is None else self.n_value_heads
        return heads, self.d_head, round(self.d_head * self.expand_v)

    @property
    def widths(self) -> list[int]:
        """Channels of q, k and v in the convolution."""
        h, n, p = self.state_shape
        return [self.n_heads * n, self.n_heads * n, h * p]


class GatedDeltaNet(Mixer):
    """The layer: as DeltaNet, with the decay of Eq. (8) and the gated norm of Eq. (9)."""

    def __init__(self, cfg: GatedDeltaNetConfig, *, scan: Scan = chunked) -> None:
        h, n, p = cfg.state_shape
        super().__init__(cfg.d_model, (h, n, p), (cfg.d_conv - 1, sum(cfg.widths)), scan=scan)
        self.cfg = cfg
        self.q_proj = nn.Linear(cfg.d_model, cfg.n_heads * n, bias=False)
        self.k_proj = nn.Linear(cfg.d_model, cfg.n_heads * n, bias=False)
        self.v_proj = nn.Linear(cfg.d_model, h * p, bias=False)
        self.a_proj = nn.Linear(cfg.d_model, h, bias=False)
        self.b_proj = nn.Linear(cfg.d_model, h, bias=False)
        self.g_proj = nn.Linear(cfg.d_model, h * p, bias=False)
        self.A_log = nn.Parameter(torch.empty(h))
        self.dt_bias = nn.Parameter(torch.empty(h))
        self.conv_weight = nn.Parameter(torch.empty(sum(cfg.widths), cfg.d_conv))
        self.norm = GatedRMSNorm(p, eps=cfg.norm_eps, norm_before_gate=True)
        self.o_proj = nn.Linear(h * p, cfg.d_model, bias=False)
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """The published start: A uniform in (0, 16), the bias of the step as Mamba's."""
        draw_projections(self)
        bound = self.cfg.d_conv**-0.5
        nn.init.uniform_(self.conv_weight, -bound, bound)
        # Not from 0 itself, whose logarithm would make a head that never fades and never learns to.
        self.A_log.copy_(torch.empty_like(self.A_log).uniform_(0.01, FASTEST).log())
        draw_dt_bias(self.dt_bias)

    def project(self, u: Float[Tensor, "b l d"], past: Tensor) -> Projected:
        """Unit queries and keys repeated to the heads of values, values, g, β and the gate."""
        qkv = torch.cat([self.q_proj(u), self.k_proj(u), self.v_proj(u)], dim=-1)
        qkv, past = causal_conv1d(qkv, self.conv_weight, activation="silu", initial_state=past)
        q, k, v = qkv.split(self.cfg.widths, dim=-1)
        h, n, _ = self.state_shape
        q, k = (
            unit(x.unflatten(-1, (-1, n))).repeat_interleave(h // self.cfg.n_heads, dim=2)
            for x in (q, k)
        )
        wide = state_dtype(u)
        a = self.a_proj(u).to(wide) + self.dt_bias.to(wide)
        g = -self.A_log.to(wide).exp() * F.softplus(a)  # (8)
        beta = torch.sigmoid(self.b_proj(u)) * (2 if self.cfg.negative_eigenvalues else 1)
        case = gated_delta_case(q * n**-0.5, k, self.heads(v), g, beta)
        return Projected(case, past, (self.heads(self.g_proj(u)),))

    def output(self, o: Float[Tensor, "b l h p"], *rest: Tensor) -> Float[Tensor, "b l d"]:
        """Normalised by heads, gated, mixed.    (9)"""
        return self.o_proj(self.norm(o, rest[0]).flatten(-2))  # (9)
