"""The Elman network: a recurrence that is nonlinear in its state.

With input u_t ∈ R^{d_in} and hidden state h_t ∈ R^d,

    h_t = tanh(W u_t + U h_{t-1} + b)    (1)

The tanh between two steps forbids composing them into one, so training takes L steps one after
another; the gradient from step t back to step s is the product of the Jacobians

    ∂h_t / ∂h_{t-1} = diag(1 - h_t²) U    (2)

which shrinks or grows geometrically. Source: Elman, "Finding Structure in Time", 1990; parameters
are laid out as in `torch.nn.RNNCell`.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from ssm_ref.expect import expect_axes
from ssm_ref.recurrent.stepwise import TorchCell


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


class RNN(TorchCell):
    """One Elman layer, d_in → d_model, with the parameters of `torch.nn.RNNCell`."""

    n_gates = 1

    def _next(self, Wu_t: Tensor, h: Tensor) -> Tensor:
        return torch.tanh((Wu_t + self.from_past(h, Wu_t.dtype)).to(h.dtype))  # (1)
