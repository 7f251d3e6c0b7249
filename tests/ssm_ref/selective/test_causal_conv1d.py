"""Causal convolution: against `torch`'s own, gradients, state, packing, bad operands."""

from typing import Any

import pytest
import torch
from torch.nn import functional

from ssm_ref.selective.causal_conv1d import causal_conv1d, causal_conv1d_step


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("activation", [None, "silu"])
@pytest.mark.parametrize(
    ("b", "l", "d", "k"), [(2, 9, 3, 4), (1, 1, 1, 1), (1, 2, 5, 6), (0, 3, 2, 2)]
)
def test_is_a_depthwise_convolution(b: int, l: int, d: int, k: int, activation: Any) -> None:
    x, weight, bias, past = normal(b, l, d), normal(d, k), normal(d), normal(b, k - 1, d, seed=1)
    inputs = torch.cat([past, x], dim=1)
    y, state = causal_conv1d(x, weight, bias, activation=activation, initial_state=past)
    assert torch.equal(state, inputs[:, l:])
    if b:
        wanted = functional.conv1d(inputs.mT, weight[:, None], bias, groups=d).mT
        torch.testing.assert_close(y, functional.silu(wanted) if activation else wanted)
    assert y.shape == (b, l, d)


def test_an_empty_past_is_zeros() -> None:
    x, weight = normal(2, 5, 3), normal(3, 4)
    got = causal_conv1d(x, weight)
    torch.testing.assert_close(
        got, causal_conv1d(x, weight, initial_state=torch.zeros(2, 3, 3).double())
    )


def test_gradcheck() -> None:
    leaves = [
        t.requires_grad_() for t in (normal(2, 4, 2), normal(2, 3), normal(2), normal(2, 2, 2))
    ]

    def run(x: Any, weight: Any, bias: Any, past: Any) -> Any:
        return causal_conv1d(x, weight, bias, activation="silu", initial_state=past)

    assert torch.autograd.gradcheck(run, leaves)


@pytest.mark.parametrize("cut", range(1, 7))
def test_cut_anywhere_also_inside_the_taps(cut: int) -> None:
    x, weight = normal(2, 7, 3), normal(3, 4)
    y, last = causal_conv1d(x, weight, activation="silu")
    y1, state = causal_conv1d(x[:, :cut], weight, activation="silu")
    y2, state = causal_conv1d(x[:, cut:], weight, activation="silu", initial_state=state)
    torch.testing.assert_close((torch.cat([y1, y2], 1), state), (y, last))


def test_a_loop_of_steps() -> None:
    x, weight, bias = normal(2, 6, 3), normal(3, 4), normal(3)
    y, last = causal_conv1d(x, weight, bias)
    state = torch.zeros(2, 3, 3, dtype=torch.float64)
    for t in range(6):
        y_t, state = causal_conv1d_step(x[:, t], state, weight, bias)
        torch.testing.assert_close(y_t, y[:, t])
    assert torch.equal(state, last)


def test_packed_sequences_do_not_meet() -> None:
    x, weight, past = normal(1, 9, 3), normal(3, 4), normal(3, 3, 3)
    y, last = causal_conv1d(
        x, weight, initial_state=past, cu_seqlens=torch.tensor([0, 1, 3, 9], dtype=torch.int32)
    )
    for i, (start, end) in enumerate([(0, 1), (1, 3), (3, 9)]):
        wanted = causal_conv1d(x[:, start:end], weight, initial_state=past[i, None])
        torch.testing.assert_close((y[:, start:end], last[i, None]), wanted)


def test_the_output_sees_the_present_and_not_the_future() -> None:
    x, weight = normal(1, 6, 2), normal(2, 4)
    later = x.clone()
    later[:, 3] += 1
    y, y_later = causal_conv1d(x, weight)[0], causal_conv1d(later, weight)[0]
    assert torch.equal(y[:, :3], y_later[:, :3])
    assert not torch.equal(y[:, 3], y_later[:, 3])


def test_dtype_of_the_input_is_kept() -> None:
    x, weight = normal(1, 5, 2).bfloat16(), normal(2, 4).float()
    y, state = causal_conv1d(x, weight)
    assert y.dtype == state.dtype == torch.bfloat16


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"x": torch.ones(2, 3)}, "floating-point x"),
        ({"x": torch.ones(2, 0, 3)}, "l > 0"),
        ({"x": torch.ones(2, 5, 4)}, "must have shape"),
        ({"weight": torch.ones(3, 0)}, "at least one tap"),
        ({"bias": torch.ones(4)}, "bias must have shape"),
        ({"activation": "relu"}, "activation must be"),
        ({"initial_state": torch.ones(2, 4, 3)}, "a state must have shape"),
        ({"initial_state": torch.ones(1, 3, 3)}, "must have 2 rows"),
        ({"weight": torch.ones(3, 4, device="meta")}, "must be on cpu"),
    ],
    ids=str,
)
def test_bad_operands(change: dict[str, Any], message: str) -> None:
    good = {"x": torch.ones(2, 5, 3), "weight": torch.ones(3, 4)}
    with pytest.raises(ValueError, match=message):
        causal_conv1d(**(good | change))
