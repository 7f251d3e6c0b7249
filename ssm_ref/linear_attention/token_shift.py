"""Token shift, by which every layer of RWKV hears the token before, and channel mixers around it.

    x'_t = x_{t-1}    (1)

A channel mixer reads x and x' alone, so its state is the last input: one vector a row, however
long the past. Source: Peng et al. 2023, arXiv 2305.13048, and the published code.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ssm_ref.causal_layer import CausalLayer
from ssm_ref.expect import expect_batch, expect_shape, expect_token


def shift(x: Float[Tensor, "b l d"], before: Float[Tensor, "b d"]) -> Float[Tensor, "b l d"]:
    """Every token's predecessor, `before` for the first.    (1)"""
    return torch.cat([before[:, None].to(x.dtype), x[:, :-1]], dim=1)  # (1)


class ShiftedMixer(CausalLayer):
    """A channel mixer of a token and the one before; a model gives its maps and `mix`."""

    mix_key: nn.Parameter

    def mix(
        self, u: Float[Tensor, "b l d"], before: Float[Tensor, "b l d"]
    ) -> Float[Tensor, "b l d"]:
        """The output from the inputs and their predecessors."""
        raise NotImplementedError

    @property
    def reads(self) -> tuple[int, Tensor]:
        """Channels of an input, and a weight whose dtype and device it must have."""
        return self.mix_key.shape[0], self.mix_key

    def step(
        self, u: Float[Tensor, "b d"], state: Float[Tensor, "b d"]
    ) -> tuple[Float[Tensor, "b d"], Float[Tensor, "b d"]]:
        """One more token."""
        expect_token("u", u, *self.reads)
        self._check_state(state, u.shape[0])
        return self.mix(u[:, None], state[:, None].to(u.dtype))[:, 0], u

    def allocate_state(self, batch: int) -> Float[Tensor, "b d"]:
        """Zeros."""
        expect_batch(batch)
        return self.mix_key.new_zeros(batch, self.mix_key.shape[0])

    def _run(
        self,
        u: Tensor,
        state: Tensor | None,
        mask: Tensor | None,
        cu_seqlens: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        state = self.allocate_state(u.shape[0]) if state is None else state
        u = u if mask is None else u.masked_fill(~mask[..., None], 0)
        return self.mix(u, shift(u, state)), u[:, -1]

    def _check_state(self, state: Tensor, batch: int) -> None:
        expect_shape("state", state, (batch, self.mix_key.shape[0]))

    def _memory(self, state: Tensor) -> Tensor:
        return state
