"""DeltaNet: before it writes under a key, it takes away what the key already answers.

    S_t = (I - β_t k_t k_tᵀ) S_{t-1} + β_t k_t v_tᵀ,  o_t = S_tᵀ q_t    (1)

With the layer's q, k = SiLU(conv(W u)) scaled to unit length, q then by n^{-1/2}, and v without:

    β_t = σ(W_β u_t), doubled where eigenvalues may be negative    (6)
    y = W_o RMSNorm(o)    the norm over each head    (7)

Eq. (1) is one step of gradient descent with the rate β on ½‖Sᵀk - v‖². Along k the transition has
the eigenvalue 1 - β: at β = 1 it overwrites, at β = 2 it reflects. Sources: Schlag et al., arXiv
2102.11174; Yang et al., arXiv 2406.06484, and its published code. Equations are numbered with
those of `gated_deltanet` and `kda`.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ssm_ref.expect import expect_axes, expect_counts, readable
from ssm_ref.linear_attention.mixer import Mixer, Projected, Scan, draw_projections
from ssm_ref.linear_attention.recurrence import Case, _widen, chunked
from ssm_ref.norm import RMSNorm
from ssm_ref.precision import without_autocast
from ssm_ref.selective.causal_conv1d import causal_conv1d

EPS = 1e-6


def delta_rule_recurrent(
    q: Float[Tensor, "b l h n"],
    k: Float[Tensor, "b l h n"],
    v: Float[Tensor, "b l h p"],
    beta: Float[Tensor, "b l h"],
) -> Float[Tensor, "b l h p"]:
    """Eq. (1) token by token: the definition."""
    expect_axes("q blhn, k blhn, v blhp, beta blh", q, k, v, beta)
    S, o = v.new_zeros(*k[:, 0].shape, v.shape[-1]), []
    for t in range(q.shape[1]):
        error = v[:, t] - torch.einsum("bhnp,bhn->bhp", S, k[:, t])
        S = S + beta[:, t, :, None, None] * k[:, t, :, :, None] * error[:, :, None, :]  # (1)
        o.append(torch.einsum("bhnp,bhn->bhp", S, q[:, t]))  # (1)
    return torch.stack(o, dim=1)


def delta_rule_case(
    q: Float[Tensor, "b l h n"],
    k: Float[Tensor, "b l h n"],
    v: Float[Tensor, "b l h p"],
    beta: Float[Tensor, "b l h"],
) -> Case:
    """Eq. (1) in the common recurrence: no decay, a = k, and b = βk, which also writes."""
    rate = beta[..., None]
    written = rate * k
    return Case(q, written, v, torch.zeros_like(rate), k, written)


def delta_rule_chunked(
    case: Case, S: Float[Tensor, "b h n p"] | None = None, *, chunk_size: int = 64
) -> tuple[Float[Tensor, "b l h p"], Float[Tensor, "b h n p"]]:
    """Eq. (1) by chunks, `chunked` without its exponents: a sixth of the operations.

    What is written, u_t = v_t - S_{t-1}ᵀ a_t, solves (I + tril(a kᵀ, -1)) u = v - a S_0 in a chunk,
    and o = q S_0 + tril(q kᵀ) u. Raises `ValueError` as `chunked` does, for a case that erases
    elsewhere than it writes, and on a CPU for one that decays.
    """
    if case.b is not case.k or case.read_before or (readable(case.g) and bool(case.g.any())):
        raise ValueError(
            "the delta rule neither decays nor reads first, and erases where it writes"
        )
    if chunk_size < 1:
        raise ValueError(f"chunk_size must be at least 1; got {chunk_size}")
    wide, S = _widen(case, S)
    assert wide.a is not None
    operands, o = (wide.q, wide.k, wide.v, wide.a), []
    with without_autocast(S):
        for at in range(0, wide.q.shape[1], chunk_size):
            q, k, v, a = (x[:, at : at + chunk_size].transpose(1, 2) for x in operands)  # b h q n
            u = torch.linalg.solve_triangular(
                (a @ k.mT).tril(-1), v - a @ S, upper=False, unitriangular=True
            )
            o.append(q @ S + (q @ k.mT).tril() @ u)
            S = S + k.mT @ u
    return torch.cat(o, dim=2).transpose(1, 2).to(case.v.dtype), S


def unit(x: Float[Tensor, "*b n"]) -> Float[Tensor, "*b n"]:
    """x / √(‖x‖² + ε): of unit length over its last axis, in float32 at least, in x's dtype."""
    wide = x.to(torch.promote_types(x.dtype, torch.float32))
    return (wide * torch.rsqrt(wide.square().sum(dim=-1, keepdim=True) + EPS)).to(x.dtype)


@dataclass(frozen=True, kw_only=True, slots=True)
class DeltaNetConfig:
    """Sizes and options of a DeltaNet layer; heads share the width evenly when not given."""

    d_model: int
    n_heads: int = 4
    d_key: int | None = None  # of one head; d_model / n_heads when not given
    d_value: int | None = None
    d_conv: int = 4
    negative_eigenvalues: bool = False  # β in (0, 2)
    norm_eps: float = 1e-5

    def __post_init__(self) -> None:
        expect_counts(self, "d_model", "n_heads", "d_key", "d_value", "d_conv")
        if self.d_model % self.n_heads:
            raise ValueError(f"n_heads={self.n_heads} must divide d_model={self.d_model}")

    @property
    def state_shape(self) -> tuple[int, int, int]:
        """Heads, key width and value width."""
        width = self.d_model // self.n_heads
        return self.n_heads, self.d_key or width, self.d_value or width


class DeltaNet(Mixer):
    """The layer: projections, short convolution, unit keys, Eq. (1), norm and projection."""

    def __init__(self, cfg: DeltaNetConfig, *, scan: Scan = chunked) -> None:
        h, n, p = cfg.state_shape
        self.widths = [h * n, h * n, h * p]
        super().__init__(cfg.d_model, (h, n, p), (cfg.d_conv - 1, sum(self.widths)), scan=scan)
        self.cfg = cfg
        self.q_proj = nn.Linear(cfg.d_model, h * n, bias=False)
        self.k_proj = nn.Linear(cfg.d_model, h * n, bias=False)
        self.v_proj = nn.Linear(cfg.d_model, h * p, bias=False)
        self.b_proj = nn.Linear(cfg.d_model, h, bias=False)
        self.conv_weight = nn.Parameter(torch.empty(sum(self.widths), cfg.d_conv))
        self.norm = RMSNorm(p, eps=cfg.norm_eps)
        self.o_proj = nn.Linear(h * p, cfg.d_model, bias=False)
        draw_projections(self)
        nn.init.uniform_(self.conv_weight, -(cfg.d_conv**-0.5), cfg.d_conv**-0.5)

    def project(self, u: Float[Tensor, "b l d"], past: Tensor) -> Projected:
        """Unit queries and keys, values, and the rate β."""
        qkv = torch.cat([self.q_proj(u), self.k_proj(u), self.v_proj(u)], dim=-1)
        qkv, past = causal_conv1d(qkv, self.conv_weight, activation="silu", initial_state=past)
        q, k, v = (self.heads(part) for part in qkv.split(self.widths, dim=-1))
        beta = torch.sigmoid(self.b_proj(u)) * (2 if self.cfg.negative_eigenvalues else 1)  # (6)
        return Projected(delta_rule_case(unit(q) * k.shape[-1] ** -0.5, unit(k), v, beta), past)

    def output(self, o: Float[Tensor, "b l h p"], *rest: Tensor) -> Float[Tensor, "b l d"]:
        """Normalised by heads, mixed.    (7)"""
        return self.o_proj(self.norm(o).flatten(-2))  # (7)
