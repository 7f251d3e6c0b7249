"""The calls that Mamba and Mamba-2 share: a block around a convolution and a scan, and its state.

    forward(u)             from an empty past, padded (`mask`) or packed (`cu_seqlens`) rows too
    prefill(u, state)      the same after a past, and the state after it
    step(u, state)         one more token, in time and memory that do not depend on the past
    allocate_state(b)      the state of an empty past

The state is a pair: the last d_conv − 1 inputs of the convolution, and what the scan carries, in
float32 or wider. States are values: no call changes the one that it was given.
"""

from collections.abc import Callable
from typing import Any, ClassVar

from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from ssm_ref.expect import expect_sequence, expect_shape, expect_token, state_dtype
from ssm_ref.packing import check_left_padding, run_apart

Operator = Callable[..., tuple[Tensor, Tensor]]


class SelectiveBlock(nn.Module):
    """A block says what its state is (`State`, `state_shapes`) and how it runs (`_run`, `step`)."""

    State: ClassVar[Any]  # a NamedTuple (conv, ssm)
    cfg: Any  # with d_model
    conv: Operator
    conv_weight: nn.Parameter
    conv_bias: nn.Parameter | None

    @property
    def state_shapes(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Shapes of the state's two parts for one row."""
        raise NotImplementedError

    def forward(
        self,
        u: Float[Tensor, "b l m"],
        *,
        mask: Bool[Tensor, "b l"] | None = None,
        cu_seqlens: Int[Tensor, " s1"] | None = None,
    ) -> Float[Tensor, "b l m"]:
        """The block from an empty past.

        `mask` is False on padding, on any side: the outputs there are zero and the others those of
        the row alone. `cu_seqlens` tells packed sequences apart. Raises `ValueError` for inputs
        that do not fit.
        """
        expect_sequence("u", u, self.cfg.d_model, self.conv_weight)
        if mask is not None:
            return run_apart(self.forward, u, mask=mask, cu_seqlens=cu_seqlens)
        return self._run(u, None, None, cu_seqlens)[0]

    def prefill(
        self,
        u: Float[Tensor, "b l m"],
        state: Any,
        *,
        mask: Bool[Tensor, "b l"] | None = None,
    ) -> tuple[Float[Tensor, "b l o"], Any]:
        """The block after the past in `state`, and the state after it.

        `mask` is False on padding, which stands on the left, after an empty past, and writes
        nothing. Raises `ValueError` for a state of another block or batch.
        """
        expect_sequence("u", u, self.cfg.d_model, self.conv_weight)
        self._check_state(state, u.shape[0])
        if mask is not None:
            check_left_padding(mask, u.shape[:2], state.ssm)
        return self._run(u, state, mask, None)

    def allocate_state(self, batch: int) -> Any:
        """The state of an empty past: zeros."""
        weight = self.conv_weight
        conv, ssm = (weight.new_zeros(batch, *shape) for shape in self.state_shapes)
        return self.State(conv, ssm.to(state_dtype(weight)))

    def _run(
        self, u: Tensor, state: Any, mask: Tensor | None, cu_seqlens: Tensor | None
    ) -> tuple[Tensor, Any]:
        """The block over a sequence, after `state` if there is one."""
        raise NotImplementedError

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
        expect_token("u", u, self.cfg.d_model, self.conv_weight)
        self._check_state(state, u.shape[0])

    def _check_state(self, state: Any, batch: int) -> None:
        if not isinstance(state, self.State):
            wanted = self.State.__name__
            raise ValueError(f"state must be a {wanted}; got {type(state).__name__}")
        conv, ssm = self.state_shapes
        expect_shape("state.conv", state.conv, (batch, *conv))
        expect_shape("state.ssm", state.ssm, (batch, *ssm))


def _keep(x: Tensor, mask: Tensor | None) -> Tensor:
    return x if mask is None else x * mask[..., None].to(x.dtype)
