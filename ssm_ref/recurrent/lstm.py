"""The LSTM: a cell that is carried along by multiplication and addition, guarded by gates.

With input u_t ∈ R^{d_in}, hidden state h_t ∈ R^d and cell c_t ∈ R^d,

    i, f, o = σ(W u_t + U h_{t-1} + b)    (1)
    g = tanh(W_g u_t + U_g h_{t-1} + b_g)    (2)
    c_t = f ⊙ c_{t-1} + i ⊙ g    (3)
    h_t = o ⊙ tanh(c_t)    (4)

Eq. (3) is a linear recurrence in c: with f = 1 and i = 0 the cell is kept exactly (the "constant
error carousel"). But the gates read h_{t-1}, so the whole is nonlinear and sequential:
once they are known, the cell is a case of `ssm_ref.linear_attention.recurrence`.
Sources: Hochreiter and Schmidhuber 1997; the forget gate is by Gers et al. 2000. Parameters are
laid out as in `torch.nn.LSTMCell`, gates in the order i, f, g, o.
"""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ssm_ref.expect import expect_axes, expect_shape
from ssm_ref.recurrent.stepwise import TorchCell


class LSTMState(NamedTuple):
    """What an LSTM carries from step to step."""

    h: Float[Tensor, "b d"]
    c: Float[Tensor, "b d"]


def lstm_cell(pre: Float[Tensor, "b four_d"], c: Float[Tensor, "b d"]) -> LSTMState:
    """The new state from the pre-activations W u_t + U h_{t-1} + b, in the order i, f, g, o."""
    i, f, g, o = pre.chunk(4, dim=-1)
    i, f, o = torch.sigmoid(i), torch.sigmoid(f), torch.sigmoid(o)  # (1)
    g = torch.tanh(g)  # (2)
    c = f * c + i * g  # (3)
    return LSTMState(o * torch.tanh(c), c)  # (4)


def lstm_recurrence(
    u: Float[Tensor, "b l m"],
    state: LSTMState,
    W: Float[Tensor, "four_d m"],
    U: Float[Tensor, "four_d d"],
    b: Float[Tensor, " four_d"],
) -> tuple[Float[Tensor, "b l d"], LSTMState]:
    """All hidden states of Eqs. (1) to (4) and the last state: the definition."""
    expect_axes("u blm, h bd, c bd, W fm, U fd, b f", u, *state, W, U, b)
    expect_shape("b", b, (4 * state.h.shape[1],))
    hs = []
    for t in range(u.shape[1]):
        state = lstm_cell(u[:, t] @ W.T + state.h @ U.T + b, state.c)
        hs.append(state.h)
    return torch.stack(hs, dim=1), state


class LSTM(TorchCell):
    """One LSTM layer, d_in → d_model, with the parameters of `torch.nn.LSTMCell`.

    The forget bias starts at 1, so that a fresh cell keeps more than it drops.
    """

    n_gates = 4

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Weights from U(±1/√d); biases zero, but for the forget gate: 1."""
        super().reset_parameters()
        nn.init.zeros_(self.bias_ih)
        nn.init.zeros_(self.bias_hh)
        self.bias_ih[self.d_model : 2 * self.d_model] = 1

    def allocate_state(self, batch: int) -> LSTMState:
        """h_{-1} = c_{-1} = 0, in float32 or wider."""
        return LSTMState(self._zeros(batch), self._zeros(batch))

    def _next(self, Wu_t: Tensor, state: LSTMState) -> LSTMState:
        pre = Wu_t + self.from_past(state.h, Wu_t.dtype)
        return lstm_cell(pre.to(state.c.dtype), state.c)

    def _checked(self, state: LSTMState, batch: int) -> LSTMState:
        if not isinstance(state, LSTMState):
            raise ValueError(f"state must be an LSTMState (h, c); got {type(state).__name__}")
        expect_shape("state.h", state.h, (batch, self.d_model))
        expect_shape("state.c", state.c, (batch, self.d_model))
        return state

    def _hidden(self, state: LSTMState) -> Tensor:
        return state.h
