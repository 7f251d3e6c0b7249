"""The calls of a layer whose state is nonlinear in the last one, so that it runs step by step.

    s_t = next(W u_t + b, s_{t−1}),   y_t = h of s_t    (1)

W u is one matrix product over all steps; only what reads the state waits for the loop.
"""

from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from ssm_ref.expect import (
    expect_batch,
    expect_sequence,
    expect_shape,
    expect_sizes,
    expect_token,
    state_dtype,
)


class StepwiseLayer(nn.Module):
    """A layer d_in → d_model of Eq. (1); a cell gives its parameters and `_next`.

    Its state is h, one tensor, unless it says otherwise (`allocate_state`, `_checked`, `_hidden`).
    Raises `ValueError` for widths that count nothing.
    """

    def __init__(self, d_in: int, d_model: int) -> None:
        super().__init__()
        expect_sizes(d_in=d_in, d_model=d_model)
        self.d_in, self.d_model = d_in, d_model

    @property
    def input_map(self) -> tuple[Tensor, Tensor]:
        """W and b of Eq. (1)."""
        raise NotImplementedError

    def allocate_state(self, batch: int) -> Any:
        """h_{−1} = 0, in float32 or wider."""
        return self._zeros(batch)

    def forward(self, u: Float[Tensor, "b l m"]) -> Float[Tensor, "b l d"]:
        """Hidden states of every step, from an empty past."""
        return self.prefill(u, self.allocate_state(u.shape[0]))[0]

    def prefill(self, u: Float[Tensor, "b l m"], state: Any) -> tuple[Float[Tensor, "b l d"], Any]:
        """Hidden states of every step after `state`, and the state after the last one.

        Raises `ValueError` for inputs or states that do not fit.
        """
        weight, bias = self.input_map
        expect_sequence("u", u, self.d_in, weight)
        state = self._checked(state, u.shape[0])
        Wu = F.linear(u, weight, bias)
        hs = []
        for Wu_t in Wu.unbind(dim=1):
            state = self._next(Wu_t, state)  # (1)
            hs.append(self._hidden(state))
        return torch.stack(hs, dim=1).to(Wu.dtype), state

    def step(self, u_t: Float[Tensor, "b m"], state: Any) -> tuple[Float[Tensor, "b d"], Any]:
        """The hidden state of one more step, and the new state."""
        weight, bias = self.input_map
        expect_token("u_t", u_t, self.d_in, weight)
        Wu_t = F.linear(u_t, weight, bias)
        state = self._next(Wu_t, self._checked(state, u_t.shape[0]))  # (1)
        return self._hidden(state).to(Wu_t.dtype), state

    def _next(self, Wu_t: Tensor, state: Any) -> Any:
        raise NotImplementedError

    def _checked(self, state: Any, batch: int) -> Any:
        expect_shape("state", state, (batch, self.d_model))
        return state

    def _hidden(self, state: Any) -> Tensor:
        return state

    def _zeros(self, batch: int) -> Float[Tensor, "b d"]:
        expect_batch(batch)
        weight, _ = self.input_map
        return weight.new_zeros(batch, self.d_model, dtype=state_dtype(weight))


class TorchCell(StepwiseLayer):
    """A stepwise layer with the parameters of PyTorch's cells, `n_gates` maps side by side.

    A state dict of the one loads into the other.
    """

    n_gates: int

    def __init__(self, d_in: int, d_model: int) -> None:
        super().__init__(d_in, d_model)
        width = self.n_gates * d_model
        self.weight_ih = nn.Parameter(torch.empty(width, d_in))
        self.weight_hh = nn.Parameter(torch.empty(width, d_model))
        self.bias_ih = nn.Parameter(torch.empty(width))
        self.bias_hh = nn.Parameter(torch.empty(width))
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Draw every parameter from U(±1/√d), as PyTorch does."""
        bound = self.d_model**-0.5
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -bound, bound)

    @property
    def input_map(self) -> tuple[Tensor, Tensor]:
        """W and b of Eq. (1)."""
        return self.weight_ih, self.bias_ih

    def from_past(self, h: Float[Tensor, "b d"], dtype: torch.dtype) -> Float[Tensor, "b g"]:
        """U h + b_h in `dtype`."""
        return F.linear(h.to(dtype), self.weight_hh, self.bias_hh)
