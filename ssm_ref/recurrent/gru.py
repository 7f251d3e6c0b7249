"""The GRU: one gate decides how much of the state is kept, the same gate how much is written.

With input u_t ∈ R^{d_in} and hidden state h_t ∈ R^d,

    r, z = σ(W u_t + U h_{t-1} + b)    (1)
    n = tanh(W_n u_t + b_n + r ⊙ (U_n h_{t-1} + b_hn))    (2)
    h_t = (1 - z) ⊙ n + z ⊙ h_{t-1}    (3)

Eq. (3) is a convex mixture, so |h_t| ≤ max(|h_{t-1}|, 1) in every channel. Here, as in PyTorch, z
*keeps*; some texts swap z and 1 - z. Source: Cho et al. 2014 (arXiv 1406.1078), which resets h
before multiplying it by U_n; Eq. (2) resets after, as PyTorch does. Parameters are laid out
as in `torch.nn.GRUCell`, gates in the order r, z, n.
"""

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from ssm_ref.expect import (
    expect_axes,
    expect_batch,
    expect_sequence,
    expect_shape,
    expect_token,
    state_dtype,
)


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


class GRU(nn.Module):
    """One GRU layer, d_in → d_model, that hands its state in and out.

    Parameters have the names and the shapes of `torch.nn.GRUCell`.
    """

    def __init__(self, d_in: int, d_model: int) -> None:
        super().__init__()
        if d_in < 1 or d_model < 1:
            raise ValueError(f"d_in and d_model must be positive; got {d_in} and {d_model}")
        self.d_in, self.d_model = d_in, d_model
        self.weight_ih = nn.Parameter(torch.empty(3 * d_model, d_in))
        self.weight_hh = nn.Parameter(torch.empty(3 * d_model, d_model))
        self.bias_ih = nn.Parameter(torch.empty(3 * d_model))
        self.bias_hh = nn.Parameter(torch.empty(3 * d_model))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw every parameter from U(±1/√d), as PyTorch does."""
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -1 / math.sqrt(self.d_model), 1 / math.sqrt(self.d_model))

    def allocate_state(self, batch: int) -> Float[Tensor, "b d"]:
        """h_{-1} = 0, in float32 or wider."""
        expect_batch(batch)
        return self.weight_hh.new_zeros(batch, self.d_model, dtype=state_dtype(self.weight_hh))

    def forward(self, u: Float[Tensor, "b l m"]) -> Float[Tensor, "b l d"]:
        """Hidden states of every step, from an empty past."""
        return self.prefill(u, self.allocate_state(u.shape[0]))[0]

    def prefill(
        self, u: Float[Tensor, "b l m"], state: Float[Tensor, "b d"]
    ) -> tuple[Float[Tensor, "b l d"], Float[Tensor, "b d"]]:
        """Hidden states of every step after `state`, and the state after the last one."""
        expect_sequence("u", u, self.d_in, self.weight_ih)
        h = self._checked(state, u.shape[0])
        Wu = F.linear(u, self.weight_ih, self.bias_ih)  # b l 3d
        hs = []
        for Wu_t in Wu.unbind(dim=1):
            h = self._next(Wu_t, h)
            hs.append(h)
        return torch.stack(hs, dim=1).to(Wu.dtype), h

    def step(
        self, u_t: Float[Tensor, "b m"], state: Float[Tensor, "b d"]
    ) -> tuple[Float[Tensor, "b d"], Float[Tensor, "b d"]]:
        """One step: output and new state (the same numbers)."""
        expect_token("u_t", u_t, self.d_in, self.weight_ih)
        Wu_t = F.linear(u_t, self.weight_ih, self.bias_ih)
        h = self._next(Wu_t, self._checked(state, u_t.shape[0]))
        return h.to(Wu_t.dtype), h

    def _next(self, Wu_t: Tensor, h: Tensor) -> Tensor:
        Uh = F.linear(h.to(Wu_t.dtype), self.weight_hh, self.bias_hh)
        return gru_cell(Wu_t.to(h.dtype), Uh.to(h.dtype), h)

    def _checked(self, state: Tensor, batch: int) -> Tensor:
        expect_shape("state", state, (batch, self.d_model))
        return state
