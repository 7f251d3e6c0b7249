"""sLSTM: the LSTM with an exponential input gate and a normaliser, its gates still fed by h.

    i, f, z, o = W u_t + R h_{t−1} + b    pre-activations; R block-diagonal, a block a head   (1)
    c_t = σ(f) ⊙ c_{t−1} + e^i ⊙ tanh(z)                                                      (2)
    n_t = σ(f) ⊙ n_{t−1} + e^i                                                                (3)
    h_t = σ(o) ⊙ c_t / n_t                                                                    (4)

c/n is a weighted mean of tanh(z), so |h| < 1, and a token with a large i outweighs all before it.
e^i overflows, the ratio does not: divide c and n by e^m with the running maximum

    m_t = max(log σ(f) + m_{t−1}, i),   m_{−1} = −∞                                           (5)
    c_t = e^{log σ(f) + m_{t−1} − m_t} ⊙ c_{t−1} + e^{i − m_t} ⊙ tanh(z),   n_t likewise      (6)

Because of R h the recurrence is not linear in h and runs step by step; once the gates are known,
c and n are a case of `ssm_ref.linear_attention.recurrence`. Source: Beck et al. 2024,
arXiv 2405.04517.
"""

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from ssm_ref.expect import expect_axes, expect_shape, is_integer
from ssm_ref.recurrent.stepwise import StepwiseLayer


class SLSTMState(NamedTuple):
    """Hidden state, cell and normaliser over e^m, and the running maximum m."""

    h: Float[Tensor, "b d"]
    c: Float[Tensor, "b d"]
    n: Float[Tensor, "b d"]
    m: Float[Tensor, "b d"]


def slstm_cell(gates: Float[Tensor, "b four_d"], state: SLSTMState) -> SLSTMState:
    """The next state by Eqs. (5), (6) and (4), from pre-activations in the order i, f, z, o."""
    i, f, z, o = gates.chunk(4, dim=-1)
    kept = F.logsigmoid(f) + state.m
    m = torch.maximum(kept, i)  # (5)
    keep, write = (kept - m).exp(), (i - m).exp()
    c = keep * state.c + write * torch.tanh(z)  # (6)
    n = keep * state.n + write  # (6)
    return SLSTMState(torch.sigmoid(o) * c / n, c, n, m)


def slstm_recurrence(
    Wu: Float[Tensor, "b l four_d"], R: Float[Tensor, "four_d d"]
) -> Float[Tensor, "b l d"]:
    """Hidden states by Eqs. (1) to (4) as they stand, from an empty past: the definition.

    Overflows where i is large: 88 in float32, 709 in float64.
    """
    expect_axes("Wu blg, R gd", Wu, R)
    b, _, four_d = Wu.shape
    expect_shape("R", R, (four_d, four_d // 4))
    h = c = n = Wu.new_zeros(b, four_d // 4)
    hs = []
    for Wu_t in Wu.unbind(dim=1):
        i, f, z, o = (Wu_t + h @ R.T).chunk(4, dim=-1)  # (1)
        c = torch.sigmoid(f) * c + i.exp() * torch.tanh(z)  # (2)
        n = torch.sigmoid(f) * n + i.exp()  # (3)
        h = torch.sigmoid(o) * c / n  # (4)
        hs.append(h)
    return torch.stack(hs, dim=1)


class SLSTM(StepwiseLayer):
    """One sLSTM layer, d_in → d_model, in `n_heads` heads that do not see each other's past."""

    def __init__(self, d_in: int, d_model: int, *, n_heads: int = 1) -> None:
        super().__init__(d_in, d_model)
        if not is_integer(n_heads) or n_heads < 1 or d_model % n_heads:
            raise ValueError(f"n_heads={n_heads!r} must divide d_model={d_model}")
        p = d_model // n_heads
        self.weight = nn.Parameter(torch.empty(4 * d_model, d_in))
        self.recurrent = nn.Parameter(torch.empty(4, n_heads, p, p))  # gate, head, to, from
        self.bias = nn.Parameter(torch.empty(4 * d_model))
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """W and R uniform as in the LSTM, forget biases from 3 to 6: σ from 0.95 to 0.998."""
        nn.init.uniform_(self.weight, -1 / math.sqrt(self.d_in), 1 / math.sqrt(self.d_in))
        bound = 1 / math.sqrt(self.recurrent.shape[-1])
        nn.init.uniform_(self.recurrent, -bound, bound)
        nn.init.zeros_(self.bias)
        self.bias[self.d_model : 2 * self.d_model] = torch.linspace(3, 6, self.d_model)

    def recurrent_matrix(self) -> Float[Tensor, "four_d d"]:
        """R of Eq. (1), zeros between the heads written out."""
        return torch.cat([torch.block_diag(*gate.unbind()) for gate in self.recurrent.unbind()])

    @property
    def input_map(self) -> tuple[Tensor, Tensor]:
        """W and b of Eq. (1)."""
        return self.weight, self.bias

    def allocate_state(self, batch: int) -> SLSTMState:
        """An empty past: zeros, and m = −∞."""
        h, c, n = (self._zeros(batch) for _ in range(3))
        return SLSTMState(h, c, n, torch.full_like(h, -torch.inf))

    def _next(self, Wu_t: Tensor, state: SLSTMState) -> SLSTMState:
        heads = state.h.to(Wu_t.dtype).unflatten(-1, (self.recurrent.shape[1], -1))
        Rh = torch.einsum("bhp,ghqp->bghq", heads, self.recurrent).flatten(1)
        return slstm_cell(Wu_t.to(state.h.dtype) + Rh.to(state.h.dtype), state)  # (1)

    def _checked(self, state: SLSTMState, batch: int) -> SLSTMState:
        if not isinstance(state, SLSTMState):
            raise ValueError(f"state must be an SLSTMState; got {type(state).__name__}")
        for name, value in state._asdict().items():
            expect_shape(f"state.{name}", value, (batch, self.d_model))
        return state

    def _hidden(self, state: SLSTMState) -> Tensor:
        return state.h
