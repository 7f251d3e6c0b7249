"""mLSTM of xLSTM: an LSTM with a matrix for a cell, an exponential input gate and a normaliser.

With gates ĩ and f̃ of one number a head, and a running maximum m that keeps exponents from growing,

    m_t = max(log σ(f̃_t) + m_{t-1}, ĩ_t)    (1)
    i_t = exp(ĩ_t - m_t),  f_t = exp(log σ(f̃_t) + m_{t-1} - m_t)    (2)
    C_t = f_t C_{t-1} + i_t k_t v_tᵀ,  n_t = f_t n_{t-1} + i_t k_t    (3)
    h_t = C_tᵀ q_t / max(|n_tᵀ q_t|, e^{-m_t})    with q already over √n    (4)
    H = (Q Kᵀ ∘ D) V / max(|rows' sums|, e^{-m}),  D_ts = exp(F_t - F_s + ĩ_s - m_t)    (5)

where F sums log σ(f̃). Any m gives the same h: it only moves a factor between C, n and the floor. So
all of m is known before the recurrence: it is F plus a running maximum of ĩ - F, and Eq. (3) with
n as one more column is a case of the common recurrence. The layer of xLSTM 7B:

    y = W_o (σ(W_og u) ⊙ LayerNorm(h)),  gates 15 tanh(W u / 15)    the norm over each head    (6)

Sources: Beck et al., arXiv 2405.04517 and 2503.13427, and their published code.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from ssm_ref.expect import expect_axes, expect_counts, state_dtype
from ssm_ref.linear_attention.mixer import Mixer, Projected, Scan
from ssm_ref.linear_attention.recurrence import Case, chunked

EPS = 1e-6


def mlstm_recurrent(
    q: Float[Tensor, "b l h n"],
    k: Float[Tensor, "b l h n"],
    v: Float[Tensor, "b l h p"],
    i: Float[Tensor, "b l h"],
    f: Float[Tensor, "b l h"],
) -> Float[Tensor, "b l h p"]:
    """Eqs. (1) to (4) token by token, for q over √n and gates before σ and exp: the definition."""
    expect_axes("q blhn, k blhn, v blhp, i blh, f blh", q, k, v, i, f)
    C, n = v.new_zeros(*k[:, 0].shape, v.shape[-1]), torch.zeros_like(k[:, 0])
    m, h = torch.zeros_like(i[:, 0]), []
    for t in range(q.shape[1]):
        fading = F.logsigmoid(f[:, t]) + m
        m = torch.maximum(fading, i[:, t])  # (1)
        forget, write = (fading - m).exp()[..., None], (i[:, t] - m).exp()[..., None]  # (2)
        C = forget[..., None] * C + (write * k[:, t])[..., None] * v[:, t, :, None]  # (3)
        n = forget * n + write * k[:, t]  # (3)
        weight = (n * q[:, t]).sum(dim=-1).abs()
        read = torch.einsum("bhnp,bhn->bhp", C, q[:, t])
        h.append(read / (torch.maximum(weight, (-m).exp()) + EPS)[..., None])  # (4)
    return torch.stack(h, dim=1)


def mlstm_parallel(
    q: Float[Tensor, "b l h n"],
    k: Float[Tensor, "b l h n"],
    v: Float[Tensor, "b l h p"],
    i: Float[Tensor, "b l h"],
    f: Float[Tensor, "b l h"],
) -> Float[Tensor, "b l h p"]:
    """The same as a matrix, Eq. (5)."""
    expect_axes("q blhn, k blhn, v blhp, i blh, f blh", q, k, v, i, f)
    sums = F.logsigmoid(f).cumsum(dim=1).transpose(1, 2)  # b h l
    m = stabiliser(i, f, torch.zeros_like(i[:, 0])).transpose(1, 2)
    log_D = (sums - m)[..., None] + (i.transpose(1, 2) - sums)[..., None, :]
    future = torch.ones(log_D.shape[-2:], dtype=torch.bool, device=v.device).triu(1)
    scores = torch.einsum("bthn,bshn->bhts", q, k) * log_D.masked_fill(future, -torch.inf).exp()
    weight = torch.maximum(scores.sum(dim=-1).abs(), (-m).exp()) + EPS
    return torch.einsum("bhts,bshp->bthp", scores / weight[..., None], v)  # (5)


def stabiliser(
    i: Float[Tensor, "b l h"], f: Float[Tensor, "b l h"], m: Float[Tensor, "b h"]
) -> Float[Tensor, "b l h"]:
    """m of every token after the one given, Eq. (1) without a loop: F + max(m, max (ĩ - F))."""
    sums = F.logsigmoid(f).cumsum(dim=1)
    highest = (i - sums).cummax(dim=1).values
    return sums + torch.maximum(m[:, None], highest)  # (1)


def mlstm_case(
    q: Float[Tensor, "b l h n"],
    k: Float[Tensor, "b l h n"],
    v: Float[Tensor, "b l h p"],
    i: Float[Tensor, "b l h"],
    f: Float[Tensor, "b l h"],
    m: Float[Tensor, "b h"],
) -> tuple[Case, Float[Tensor, "b l h"]]:
    """Eq. (3) in the common recurrence, with n as the last column of the state, and all of m."""
    after = stabiliser(i, f, m)
    before = torch.cat([m[:, None], after[:, :-1]], dim=1)
    g = F.logsigmoid(f) + before - after  # (2)
    write = (i - after).exp()[..., None]  # (2)
    return Case(
        q, write * k, torch.cat([v, torch.ones_like(v[..., :1])], dim=-1), g[..., None]
    ), after


def normalised(o: Float[Tensor, "b l h p1"], m: Float[Tensor, "b l h"]) -> Float[Tensor, "b l h p"]:
    """What was read, over its last column or the floor e^{-m}, whichever is larger.    (4)"""
    return o[..., :-1] / (torch.maximum(o[..., -1].abs(), (-m).exp()) + EPS)[..., None]  # (4)


@dataclass(frozen=True, kw_only=True, slots=True)
class MLSTMConfig:
    """Sizes of an mLSTM layer as in xLSTM 7B; `n_layers` sets the start of the last projection."""

    d_model: int
    n_heads: int = 8
    qk_factor: float = 0.5  # width of queries and keys over that of the model
    gate_cap: float = 15.0
    n_layers: int = 1
    norm_eps: float = 1e-6

    def __post_init__(self) -> None:
        expect_counts(self, "d_model", "n_heads", "n_layers")
        if self.d_model % self.n_heads or self.d_qk % self.n_heads:
            raise ValueError(
                f"n_heads={self.n_heads} must divide d_model={self.d_model} and d_qk={self.d_qk}"
            )

    @property
    def d_qk(self) -> int:
        """Channels of all queries."""
        return int(self.d_model * self.qk_factor)


class MLSTM(Mixer):
    """The mLSTM layer of xLSTM 7B, Eqs. (1) to (6)."""

    def __init__(self, cfg: MLSTMConfig, *, scan: Scan = chunked) -> None:
        d, h = cfg.d_model, cfg.n_heads
        super().__init__(d, (h, cfg.d_qk // h, d // h + 1), (h,), scan=scan)
        self.cfg = cfg
        self.q_proj = nn.Linear(d, cfg.d_qk, bias=False)
        self.k_proj = nn.Linear(d, cfg.d_qk, bias=False)
        self.v_proj = nn.Linear(d, d, bias=False)
        self.og_proj = nn.Linear(d, d, bias=False)
        self.i_proj = nn.Linear(d, h)
        self.f_proj = nn.Linear(d, h)
        self.norm_weight = nn.Parameter(torch.ones(d))
        self.o_proj = nn.Linear(d, d, bias=False)
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """The published start: gates that ignore the input, closed to it and slow to forget."""
        d = self.cfg.d_model
        for part in (self.q_proj, self.k_proj, self.v_proj, self.og_proj):
            nn.init.normal_(part.weight, std=math.sqrt(2 / (5 * d)))
        nn.init.normal_(self.o_proj.weight, std=2 / (self.cfg.n_layers * math.sqrt(d)))
        nn.init.zeros_(self.i_proj.weight)
        nn.init.zeros_(self.f_proj.weight)
        nn.init.constant_(self.i_proj.bias, -10.0)
        self.f_proj.bias.copy_(torch.linspace(3, 6, self.cfg.n_heads))

    def empty_past(self, batch: int) -> Float[Tensor, "b h"]:
        """m of an empty past: zero, in float32 at least."""
        weight = self.o_proj.weight
        return weight.new_zeros(batch, *self.past_shape, dtype=state_dtype(weight))

    def project(self, u: Float[Tensor, "b l d"], past: Tensor) -> Projected:
        """The stabilised case, m of every token, and the output gate."""
        cap = self.cfg.gate_cap
        i, f = (
            cap * torch.tanh(part(u).to(state_dtype(u)) / cap)
            for part in (self.i_proj, self.f_proj)
        )  # (6)
        q, k, v = (self.heads(part(u)) for part in (self.q_proj, self.k_proj, self.v_proj))
        case, m = mlstm_case(q * q.shape[-1] ** -0.5, k, v, i, f, past)
        return Projected(case, m[:, -1], (m, self.og_proj(u)))

    def output(self, o: Float[Tensor, "b l h p"], *rest: Tensor) -> Float[Tensor, "b l d"]:
        """Normalised twice, gated, mixed.    (6)"""
        m, gate = rest
        h = normalised(o.to(m.dtype), m)
        h = F.layer_norm(h, h.shape[-1:], eps=self.cfg.norm_eps).flatten(-2).to(gate.dtype)
        return self.o_proj(torch.sigmoid(gate) * h * self.norm_weight)  # (6)
