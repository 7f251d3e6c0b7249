"""HGRN2: a gated recurrence whose key is what it forgets.

    f_t = γ + (1 - γ) σ(W_f u_t)    (6)
    S_t = diag(f_t) S_{t-1} + (1 - f_t) i_tᵀ,  o_t = S_tᵀ q_t    (7)
    γ^(j) = Σ_{i<=j} softmax(Γ)_i - softmax(Γ)_1    over the layers, so 0 in the first    (8)
    y = W_o RMSNorm(o),  q = SiLU(W_q u),  i = W_i u    the norm over all channels    (9)

Writing 1 - f ties the key to the gate: each row of S is an average of the inputs, and no parameters
are spent on keys. Deeper layers may not forget faster than γ allows. Equations are numbered with
those of `gla`. Source: Qin et al., HGRN2, arXiv 2404.07904, and its published code.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from ssm_ref.expect import expect_axes, expect_sizes, state_dtype
from ssm_ref.linear_attention.mixer import Mixer, Projected, Scan, draw_projections
from ssm_ref.linear_attention.recurrence import Case, chunked
from ssm_ref.norm import RMSNorm


def hgrn2_recurrent(
    q: Float[Tensor, "b l h n"], f: Float[Tensor, "b l h n"], i: Float[Tensor, "b l h p"]
) -> Float[Tensor, "b l h p"]:
    """Eq. (7) token by token: the definition."""
    expect_axes("q blhn, f blhn, i blhp", q, f, i)
    S, o = i.new_zeros(*f[:, 0].shape, i.shape[-1]), []
    for t in range(q.shape[1]):
        keep = f[:, t, :, :, None]
        S = keep * S + (1 - keep) * i[:, t, :, None, :]  # (7)
        o.append(torch.einsum("bhnp,bhn->bhp", S, q[:, t]))  # (7)
    return torch.stack(o, dim=1)


def hgrn2_case(
    q: Float[Tensor, "b l h n"], f: Float[Tensor, "b l h n"], i: Float[Tensor, "b l h p"]
) -> Case:
    """Eq. (7) in the common recurrence: a decay f for every channel, and the key 1 - f."""
    # A gate that underflows to 0 forgets everything; its logarithm has no gradient to give.
    return Case(q, 1 - f, i, f.clamp(min=torch.finfo(f.dtype).tiny).log())


class LowerBounds(nn.Module):
    """γ of every layer from one learned table, shared by the layers of a model.    (8)"""

    def __init__(self, n_layers: int, d_model: int) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.zeros(n_layers, d_model))

    def forward(self, layer: int) -> Float[Tensor, " d"]:
        """γ of one layer: zero in the first, and never falling from layer to layer."""
        share = self.logits.softmax(dim=0)
        return share[1 : layer + 1].sum(dim=0)  # (8)


class HGRN2(Mixer):
    """The layer, Eqs. (6) to (9); it forgets at any rate where it is given no bounds."""

    def __init__(
        self,
        d_model: int,
        d_head: int = 128,
        *,
        bounds: LowerBounds | None = None,
        layer: int = 0,
        norm_eps: float = 1e-5,
        scan: Scan = chunked,
    ) -> None:
        expect_sizes(d_model=d_model, d_head=d_head)
        if d_model % d_head:
            raise ValueError(f"d_head={d_head} must divide d_model={d_model}")
        n_heads = d_model // d_head
        super().__init__(d_model, (n_heads, d_head, d_head), scan=scan)
        self.bounds, self.layer = bounds, layer
        self.q_proj = nn.Linear(d_model, d_model, bias=False)
        self.f_proj = nn.Linear(d_model, d_model, bias=False)
        self.i_proj = nn.Linear(d_model, d_model, bias=False)
        self.norm = RMSNorm(d_model, eps=norm_eps)
        self.o_proj = nn.Linear(d_model, d_model, bias=False)
        draw_projections(self)

    def project(self, u: Float[Tensor, "b l d"], past: Tensor) -> Projected:
        """Queries, the gate that is also the key, and the input."""
        f = torch.sigmoid(self.f_proj(u).to(state_dtype(u)))
        if self.bounds is not None:
            gamma = self.bounds(self.layer).to(f)
            f = gamma + (1 - gamma) * f  # (6)
        q, f, i = (self.heads(x) for x in (F.silu(self.q_proj(u)), f, self.i_proj(u)))
        return Projected(hgrn2_case(q, f, i), past)

    def output(self, o: Float[Tensor, "b l h p"], *rest: Tensor) -> Float[Tensor, "b l d"]:
        """Normalised over all channels, mixed.    (9)"""
        return self.o_proj(self.norm(o.flatten(-2)))  # (9)
