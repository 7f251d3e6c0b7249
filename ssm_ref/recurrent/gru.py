"""The GRU: one gate decides how much of the state is kept, the same gate how much is written.

With input u_t ∈ R^{d_in} and hidden state h_t ∈ R^d,

    r, z = σ(W u_t + U h_{t-1} + b)    (1)
    n = tanh(W_n u_t + b_n + r ⊙ (U_n h_{t-1} + b_hn))    (2)
    h_t = (1 - z) ⊙ n + z ⊙ h_{t-1}    (3)

Once z and n are known, Eq. (3) is a case of `ssm_ref.linear_attention.recurrence`, but they read
h_{t-1}. It is a convex mixture, so |h_t| ≤ max(|h_{t-1}|, 1) in every channel. Here, as in PyTorch,
z *keeps*; some texts swap z and 1 - z. Source: Cho et al. 2014 (arXiv 1406.1078), which resets h
before multiplying it by U_n; Eq. (2) resets after, as PyTorch does. Parameters are laid out as in
`torch.nn.GRUCell`, gates in the order r, z, n.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from ssm_ref.expect import expect_axes, expect_shape
from ssm_ref.recurrent.stepwise import TorchCell


def gru_cell(
    Wu_t: Float[Tensor, "b three_d"], Uh: Float[Tensor, "b three_d"], h: Float[Tensor, "b d"]
) -> Float[Tensor, "b d"]:
    """The new state from W u_t + b and U h_{t-1} + b_h, both in the order r, z, n."""
    (wr, wz, wn), (ur, uz, un) = Wu_t.chunk(3, dim=-1), Uh.chunk(3, dim=-1)
    r, z = torch.sigmoid(wr + ur), torch.sigmoid(wz + uz)  # (1)
    n = torch.tanh(wn + r * un)  # (2)
    return (1 - z) * n + z * h  # (3)


def gru_recurrence(
    u: Float[Tensor, "b l m"],
    h: Float[Tensor, "b d"],
    weights: tuple[Float[Tensor, "three_d m"], Float[Tensor, "three_d d"]],
    biases: tuple[Float[Tensor, " three_d"], Float[Tensor, " three_d"]],
) -> Float[Tensor, "b l d"]:
    """All hidden states of Eqs. (1) to (3), from the state `h`: the definition."""
    (W, U), (b_W, b_U), hs = weights, biases, []
    expect_axes("u blm, h bd, W fm, U fd, b_W f, b_U f", u, h, W, U, b_W, b_U)
    expect_shape("b_W", b_W, (3 * h.shape[1],))
    for t in range(u.shape[1]):
        h = gru_cell(u[:, t] @ W.T + b_W, h @ U.T + b_U, h)
        hs.append(h)
    return torch.stack(hs, dim=1)


class GRU(TorchCell):
    """One GRU layer, d_in → d_model, with the parameters of `torch.nn.GRUCell`."""

    n_gates = 3

    def _next(self, Wu_t: Tensor, h: Tensor) -> Tensor:
        return gru_cell(Wu_t.to(h.dtype), self.from_past(h, Wu_t.dtype).to(h.dtype), h)
