"""A block around a short convolution and a scan, and its state: what Mamba and Mamba-2 share.

The state is a pair: the last d_conv − 1 inputs of the convolution, and what the scan carries, in
float32 or wider. The calls are those of `ssm_ref.causal_layer`.
"""

from collections.abc import Callable
from typing import Any, ClassVar, cast

from torch import Tensor, nn

from ssm_ref.causal_layer import CausalLayer
from ssm_ref.expect import expect_batch, expect_shape, expect_token, state_dtype

Operator = Callable[..., tuple[Tensor, Tensor]]


def decay_rate(A_log: Tensor) -> Tensor:
    """A = −exp(A_log), in float32 or wider."""
    return -A_log.to(state_dtype(A_log)).exp()


class SelectiveBlock(CausalLayer):
    """A block says what its state is (`State`, `state_shapes`) and how it runs (`_run`, `step`).

    `rate` makes A of the learned logarithm, with the contract of `decay_rate`.
    """

    tells_packed_apart = True
    State: ClassVar[Any]  # a NamedTuple (conv, ssm)
    cfg: Any  # with d_model
    conv: Operator
    rate: Callable[[Tensor], Tensor] = staticmethod(decay_rate)
    conv_weight: nn.Parameter
    conv_bias: nn.Parameter | None

    @property
    def state_shapes(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Shapes of the state's two parts for one row."""
        raise NotImplementedError

    @property
    def reads(self) -> tuple[int, Tensor]:
        """Channels of an input, and a weight whose dtype and device it must have."""
        return self.cfg.d_model, self.conv_weight

    def allocate_state(self, batch: int) -> Any:
        """The state of an empty past: zeros."""
        expect_batch(batch)
        weight = self.conv_weight
        conv, ssm = (weight.new_zeros(batch, *shape) for shape in self.state_shapes)
        return self.State(conv, ssm.to(state_dtype(weight)))

    def _convolve(
        self, x: Tensor, state: Any, mask: Tensor | None, cu_seqlens: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        x, conv_state = self.conv(
            _keep(x, mask),
            self.conv_weight,
            self.conv_bias,
            activation="silu",
            initial_state=None if state is None else state.conv,
            cu_seqlens=cu_seqlens,
        )
        # Bias and SiLU of the convolution turn padding's zeros into values: mask them again.
        return _keep(x, mask), conv_state

    def _check_step(self, u: Tensor, state: Any) -> None:
        expect_token("u", u, *self.reads)
        self._check_state(state, u.shape[0])

    def _memory(self, state: Any) -> Tensor:
        return cast("Tensor", state.ssm)

    def _check_state(self, state: Any, batch: int) -> None:
        if not isinstance(state, self.State):
            wanted = self.State.__name__
            raise ValueError(f"state must be a {wanted}; got {type(state).__name__}")
        conv, ssm = self.state_shapes
        expect_shape("state.conv", state.conv, (batch, *conv))
        expect_shape("state.ssm", state.ssm, (batch, *ssm))


def _keep(x: Tensor, mask: Tensor | None) -> Tensor:
    return x if mask is None else x * mask[..., None].to(x.dtype)
