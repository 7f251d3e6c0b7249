"""Causal depthwise convolution in Triton, with the contract of its definition.

`causal_conv1d` and `causal_conv1d_step` take what `ssm_ref.selective.causal_conv1d` takes, and a
backend. Two operators carry them: `ssm_kernels::causal_conv1d` and its backward, in `launch`.
"""

from jaxtyping import Float, Int
from torch import Tensor

from ssm_kernels.backend import uses_triton
from ssm_kernels.causal_conv1d.launch import conv, conv_step
from ssm_ref.selective import causal_conv1d as definition

Activation = definition.Activation


def causal_conv1d(
    x: Float[Tensor, "b l d"],
    weight: Float[Tensor, "d k"],
    bias: Float[Tensor, " d"] | None = None,
    *,
    activation: Activation = None,
    initial_state: Float[Tensor, "s w d"] | None = None,
    cu_seqlens: Int[Tensor, " s1"] | None = None,
    backend: str = "auto",
) -> tuple[Float[Tensor, "b l d"], Float[Tensor, "s w d"]]:
    """The convolution of a whole sequence, and the last k − 1 inputs as the state after it.

    Differentiable in x, weight, bias and the initial state, through both outputs, with the same
    bits on every run. x may be a slice: its rows need only be contiguous by channel, anything
    else is copied first. Raises `ValueError` as the definition does, and for an unknown backend.
    """
    if not uses_triton(backend, x):
        return definition.causal_conv1d(
            x,
            weight,
            bias,
            activation=activation,
            initial_state=initial_state,
            cu_seqlens=cu_seqlens,
        )
    definition.check_causal_conv1d(x, weight, bias, activation, initial_state)
    rows = x.shape[0] if cu_seqlens is None else cu_seqlens.numel() - 1
    if initial_state is not None and initial_state.shape[0] != rows:
        raise ValueError(f"initial_state must have {rows} rows; got {initial_state.shape[0]}")
    state = None if initial_state is None else initial_state.to(x.dtype)
    y, last = conv(x, weight, bias, state, cu_seqlens, activation == "silu")
    return y, last


def causal_conv1d_step(
    x: Float[Tensor, "b d"],
    state: Float[Tensor, "b w d"],
    weight: Float[Tensor, "d k"],
    bias: Float[Tensor, " d"] | None = None,
    *,
    activation: Activation = None,
    backend: str = "auto",
) -> tuple[Float[Tensor, "b d"], Float[Tensor, "b w d"]]:
    """The convolution for one more input, and the new state; not differentiable in Triton."""
    if not uses_triton(backend, x):
        return definition.causal_conv1d_step(x, state, weight, bias, activation=activation)
    if x.ndim != 2:
        raise ValueError(f"a step takes x of shape (b, d); got {tuple(x.shape)}")
    definition.check_causal_conv1d(x[:, None], weight, bias, activation, state)
    if state.shape[0] != x.shape[0]:
        raise ValueError(f"state must have {x.shape[0]} rows like x; got {state.shape[0]}")
    y, last = conv_step(x, state.to(x.dtype), weight, bias, activation == "silu")
    return y, last
