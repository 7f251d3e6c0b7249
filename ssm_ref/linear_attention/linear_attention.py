"""Linear attention: attention with a kernel in the place of exp(qᵀk), summed into a matrix.

    φ(x) = elu(x) + 1 > 0    (7)
    S_t = S_{t-1} + φ(k_t) v_tᵀ,  z_t = z_{t-1} + φ(k_t)    (8)
    o_t = S_tᵀ φ(q_t) / (z_tᵀ φ(q_t))    (9)
    O = (tril(φ(Q) φ(K)ᵀ) V) / rows' sums    (10)

Eq. (10) is the same without a loop. As a case of the common recurrence the decay is zero, and z is
one more column of S, written with the value 1. Source: Katharopoulos et al., Transformers are
RNNs, arXiv 2006.16236, and its published code.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from ssm_ref.expect import expect_axes
from ssm_ref.linear_attention.mixer import Mixer, Projected, Scan, split_heads
from ssm_ref.linear_attention.recurrence import Case, chunked

EPS = 1e-6


def feature_map(x: Float[Tensor, "*b n"]) -> Float[Tensor, "*b n"]:
    """A positive map of queries and keys.    (7)"""
    return F.elu(x) + 1  # (7)


def linear_attention_recurrent(
    q: Float[Tensor, "b l h n"], k: Float[Tensor, "b l h n"], v: Float[Tensor, "b l h p"]
) -> Float[Tensor, "b l h p"]:
    """Eqs. (8) and (9) token by token, for q and k past φ: the definition."""
    expect_axes("q blhn, k blhn, v blhp", q, k, v)
    S, z, o = v.new_zeros(*k[:, 0].shape, v.shape[-1]), torch.zeros_like(k[:, 0]), []
    for t in range(q.shape[1]):
        S = S + k[:, t, :, :, None] * v[:, t, :, None, :]  # (8)
        z = z + k[:, t]  # (8)
        weight = (z * q[:, t]).sum(dim=-1, keepdim=True)
        o.append(torch.einsum("bhnp,bhn->bhp", S, q[:, t]) / (weight + EPS))  # (9)
    return torch.stack(o, dim=1)


def linear_attention_parallel(
    q: Float[Tensor, "b l h n"], k: Float[Tensor, "b l h n"], v: Float[Tensor, "b l h p"]
) -> Float[Tensor, "b l h p"]:
    """The same as a masked matrix, Eq. (10)."""
    expect_axes("q blhn, k blhn, v blhp", q, k, v)
    scores = torch.einsum("bthn,bshn->bhts", q, k).tril()
    scores = scores / (scores.sum(dim=-1, keepdim=True) + EPS)
    return torch.einsum("bhts,bshp->bthp", scores, v)  # (10)


def linear_attention_case(
    q: Float[Tensor, "b l h n"], k: Float[Tensor, "b l h n"], v: Float[Tensor, "b l h p"]
) -> Case:
    """Eq. (8) in the common recurrence: no decay, and z as the last column of the state."""
    one = torch.ones_like(v[..., :1])
    return Case(q, k, torch.cat([v, one], dim=-1), torch.zeros_like(one))


def normalised(o: Float[Tensor, "*b p1"]) -> Float[Tensor, "*b p"]:
    """What was read, divided by its last column.    (9)"""
    return o[..., :-1] / (o[..., -1:] + EPS)  # (9)


class LinearAttention(Mixer):
    """The layer: projections with biases, heads, Eqs. (7) to (9), an output projection."""

    def __init__(self, d_model: int, n_heads: int = 8, *, scan: Scan = chunked) -> None:
        width = split_heads("d_model", d_model, n_heads)
        super().__init__(d_model, (n_heads, width, width + 1), scan=scan)
        self.q_proj = nn.Linear(d_model, d_model)
        self.k_proj = nn.Linear(d_model, d_model)
        self.v_proj = nn.Linear(d_model, d_model)
        self.o_proj = nn.Linear(d_model, d_model)

    def project(self, u: Float[Tensor, "b l d"], past: Tensor) -> Projected:
        """Queries and keys past φ, and values with a one."""
        q, k = feature_map(self.heads(self.q_proj(u))), feature_map(self.heads(self.k_proj(u)))
        return Projected(linear_attention_case(q, k, self.heads(self.v_proj(u))), past)

    def output(self, o: Float[Tensor, "b l h p"], *rest: Tensor) -> Float[Tensor, "b l d"]:
        """The normalised heads, mixed."""
        return self.o_proj(normalised(o).flatten(-2))
