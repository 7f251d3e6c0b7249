"""Causal depthwise convolution: every channel mixes its own last few inputs.

    y_t = φ(b + Σ_{k=0}^{K−1} w_k ⊙ x_{t−K+1+k})    (1)
    s_t = (x_{t−K+2}, …, x_t)                        (2)

w has K taps a channel, the last of which meets the present input; φ is SiLU or nothing. The
state (2), the last K − 1 inputs, is what a later call needs to go on as if never cut; before
the first input it is zero. Mamba puts this layer before its scan.
"""

from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from ssm_ref.packing import sequence_bounds

Activation = Literal["silu"] | None


def causal_conv1d(
    x: Float[Tensor, "b l d"],
    weight: Float[Tensor, "d k"],
    bias: Float[Tensor, " d"] | None = None,
    *,
    activation: Activation = None,
    initial_state: Float[Tensor, "s w d"] | None = None,
    cu_seqlens: Int[Tensor, " s1"] | None = None,
) -> tuple[Float[Tensor, "b l d"], Float[Tensor, "s w d"]]:
    """Eq. (1) for a whole sequence, and the state (2) after it.

    `initial_state` holds the k − 1 inputs before the first, oldest first. With `cu_seqlens` the
    batch is 1, and both states have one row a packed sequence. Sums are float32 at least;
    y and the state have the dtype of `x`.

    Raises `ValueError` for shapes that do not fit, an empty sequence or another activation.
    """
    check_causal_conv1d(x, weight, bias, activation, initial_state)
    b, l = x.shape[:2]
    if cu_seqlens is None:
        if initial_state is not None and initial_state.shape[0] != b:
            raise ValueError(f"initial_state must have {b} rows; got {initial_state.shape[0]}")
        return _convolve(x, weight, bias, activation, initial_state)
    bounds = sequence_bounds(cu_seqlens, b, l)
    if initial_state is not None and initial_state.shape[0] != len(bounds):
        raise ValueError(
            f"initial_state must have one row for each of {len(bounds)} sequences; "
            f"got {initial_state.shape[0]}"
        )
    parts = [
        _convolve(
            x[:, start:end],
            weight,
            bias,
            activation,
            None if initial_state is None else initial_state[i : i + 1],
        )
        for i, (start, end) in enumerate(bounds)
    ]
    ys, states = zip(*parts, strict=True)
    return torch.cat(ys, dim=1), torch.cat(states, dim=0)


def causal_conv1d_step(
    x: Float[Tensor, "b d"],
    state: Float[Tensor, "b w d"],
    weight: Float[Tensor, "d k"],
    bias: Float[Tensor, " d"] | None = None,
    *,
    activation: Activation = None,
) -> tuple[Float[Tensor, "b d"], Float[Tensor, "b w d"]]:
    """Eq. (1) for one more input, and the new state (2); `state` itself is left as it was."""
    if x.ndim != 2:
        raise ValueError(f"a step takes x of shape (b, d); got {tuple(x.shape)}")
    y, state = causal_conv1d(x[:, None], weight, bias, activation=activation, initial_state=state)
    return y[:, 0], state


def check_causal_conv1d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    activation: str | None,
    initial_state: Tensor | None,
) -> None:
    """Raise `ValueError` unless the operands of `causal_conv1d` fit together."""
    if x.ndim != 3 or weight.ndim != 2 or not x.is_floating_point():
        raise ValueError(
            "causal_conv1d takes floating-point x (b, l, d) and weight (d, k); "
            f"got {tuple(x.shape)} of {x.dtype} and {tuple(weight.shape)}"
        )
    d, k = weight.shape
    if x.shape[2] != d or x.shape[1] == 0 or k == 0:
        raise ValueError(
            f"x must have shape (b, l, {d}) with l > 0, and weight at least one tap; "
            f"got {tuple(x.shape)} and {tuple(weight.shape)}"
        )
    if bias is not None and bias.shape != (d,):
        raise ValueError(f"bias must have shape ({d},); got {tuple(bias.shape)}")
    if activation not in (None, "silu"):
        raise ValueError(f"activation must be None or 'silu'; got {activation!r}")
    if initial_state is not None and (
        initial_state.ndim != 3 or initial_state.shape[1:] != (k - 1, d)
    ):
        raise ValueError(
            f"a state must have shape (b, {k - 1}, {d}); got {tuple(initial_state.shape)}"
        )
    for name, other in (("weight", weight), ("bias", bias), ("initial_state", initial_state)):
        if other is not None and other.device != x.device:
            raise ValueError(f"{name} must be on {x.device} like x; got {other.device}")


def _convolve(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    activation: Activation,
    state: Tensor | None,
) -> tuple[Tensor, Tensor]:
    b, l, d = x.shape
    k = weight.shape[1]
    past = x.new_zeros(b, k - 1, d) if state is None else state.to(x.dtype)
    inputs = torch.cat([past, x], dim=1)  # b (k-1+l) d
    wide = torch.promote_types(x.dtype, torch.float32)
    y = inputs[:, k - 1 :].to(wide) * weight[:, k - 1].to(wide)
    for tap in range(k - 1):
        y = torch.addcmul(y, inputs[:, tap : tap + l].to(wide), weight[:, tap].to(wide))  # (1)
    y = y if bias is None else y + bias
    y = functional.silu(y) if activation == "silu" else y  # (1)
    return y.to(x.dtype), inputs[:, l:]  # (2)
