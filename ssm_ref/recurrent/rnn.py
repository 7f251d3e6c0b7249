"""The Elman network: a recurrence that is nonlinear in its state.

With input u_t ∈ R^{d_in} and hidden state h_t ∈ R^d,

    h_t = tanh(W u_t + U h_{t-1} + b)    (1)

The tanh between two steps forbids composing them into one, so training takes L steps one after
another; the gradient from step t back to step s is the product of the Jacobians

    ∂h_t / ∂h_{t-1} = diag(1 - h_t²) U    (2)

which shrinks or grows geometrically. Source: Elman, "Finding Structure in Time", 1990; parameters
are laid out as in `torch.nn.RNNCell`.
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


def elman_recurrence(
    u: Float[Tensor, "b l m"],
    h: Float[Tensor, "b d"],
    W: Float[Tensor, "d m"],
    U: Float[Tensor, "d d"],
    b: Float[Tensor, " d"],
) -> Float[Tensor, "b l d"]:
    """All hidden states of Eq. (1), from the state `h` before the first step: the definition."""
    expect_axes("u blm, h bd, W dm, U dd, b d", u, h, W, U, b)
    hs = []
    for t in range(u.shape[1]):
        h = torch.tanh(u[:, t] @ W.T + h @ U.T + b)  # (1)
        hs.append(h)
    return torch.stack(hs, dim=1)


def elman_jacobian(h: Float[Tensor, "... d"], U: Float[Tensor, "d d"]) -> Float[Tensor, "... d d"]:
    """∂h_t/∂h_{t-1} of Eq. (2), from the new state h_t."""
    return (1 - h.square())[..., None] * U  # (2)


class RNN(nn.Module):
    """One Elman layer, d_in → d_model, that hands its state in and out.

    Parameters have the names and the shapes of `torch.nn.RNNCell`, so a state dict of the one
    loads into the other. The input projection of all steps is one matrix product; only U h_{t-1}
    waits for the loop.
    """

    def __init__(self, d_in: int, d_model: int) -> None:
        super().__init__()
        if d_in < 1 or d_model < 1:
            raise ValueError(f"d_in and d_model must be positive; got {d_in} and {d_model}")
        self.d_in, self.d_model = d_in, d_model
        self.weight_ih = nn.Parameter(torch.empty(d_model, d_in))
        self.weight_hh = nn.Parameter(torch.empty(d_model, d_model))
        self.bias_ih = nn.Parameter(torch.empty(d_model))
        self.bias_hh = nn.Parameter(torch.empty(d_model))
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
        Wu = F.linear(u, self.weight_ih, self.bias_ih)  # b l d
        hs = []
        for Wu_t in Wu.unbind(dim=1):
            h = self._next(Wu_t, h)
            hs.append(h)
        return torch.stack(hs, dim=1).to(Wu.dtype), h

    def step(
        self, u_t: Float[Tensor, "b m"], state: Float[Tensor, "b d"]
    ) -> tuple[Float[Tensor, "b d"], Float[Tensor, "b d"]]:
        """One step of Eq. (1): output and new state (the same numbers)."""
        expect_token("u_t", u_t, self.d_in, self.weight_ih)
        Wu_t = F.linear(u_t, self.weight_ih, self.bias_ih)
        h = self._next(Wu_t, self._checked(state, u_t.shape[0]))
        return h.to(Wu_t.dtype), h

    def _next(self, Wu_t: Tensor, h: Tensor) -> Tensor:
        Uh = F.linear(h.to(Wu_t.dtype), self.weight_hh, self.bias_hh)
        return torch.tanh((Wu_t + Uh).to(h.dtype))

    def _checked(self, state: Tensor, batch: int) -> Tensor:
        expect_shape("state", state, (batch, self.d_model))
        return state
