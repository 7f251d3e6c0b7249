"""The LSTM layer against torch.nn, its definition, and itself step by step."""

import pytest
import torch
from torch import nn

from ssm_ref.recurrent.lstm import LSTM, LSTMState, lstm_cell, lstm_recurrence


@pytest.fixture
def layer() -> LSTM:
    torch.manual_seed(0)
    return LSTM(5, 7).double()


def test_matches_torch_values_and_gradients(layer: LSTM) -> None:
    theirs = nn.LSTM(5, 7, batch_first=True).double()
    theirs.load_state_dict({f"{k}_l0": v for k, v in layer.state_dict().items()})
    u = torch.randn(3, 11, 5, dtype=torch.float64, requires_grad=True)
    v = u.detach().clone().requires_grad_()
    (y, state), (y_theirs, (h, c)) = layer.prefill(u, layer.allocate_state(3)), theirs(v)
    torch.testing.assert_close(y, y_theirs)
    torch.testing.assert_close(state.h, h[0])
    torch.testing.assert_close(state.c, c[0])
    (y.sin().sum() + state.c.sum()).backward()
    (y_theirs.sin().sum() + c.sum()).backward()
    torch.testing.assert_close(u.grad, v.grad)
    for name, parameter in layer.named_parameters():
        torch.testing.assert_close(parameter.grad, getattr(theirs, f"{name}_l0").grad)


def test_matches_the_definition(layer: LSTM) -> None:
    u = torch.randn(2, 6, 5, dtype=torch.float64)
    start = LSTMState(*torch.randn(2, 2, 7, dtype=torch.float64))
    bias = layer.bias_ih + layer.bias_hh
    want, last = lstm_recurrence(u, start, layer.weight_ih, layer.weight_hh, bias)
    got, state = layer.prefill(u, start)
    torch.testing.assert_close(got, want)
    torch.testing.assert_close(state.c, last.c)


@pytest.mark.parametrize("cut", range(1, 6))
def test_cut_anywhere(layer: LSTM, cut: int) -> None:
    u = torch.randn(2, 6, 5, dtype=torch.float64)
    whole, last = layer.prefill(u, layer.allocate_state(2))
    head, state = layer.prefill(u[:, :cut], layer.allocate_state(2))
    tail, state = layer.prefill(u[:, cut:], state)
    torch.testing.assert_close(torch.cat([head, tail], dim=1), whole)
    torch.testing.assert_close(state.c, last.c)


def test_steps_equal_forward(layer: LSTM) -> None:
    u = torch.randn(2, 6, 5, dtype=torch.float64)
    state, ys = layer.allocate_state(2), []
    for t in range(6):
        y, state = layer.step(u[:, t], state)
        ys.append(y)
    torch.testing.assert_close(torch.stack(ys, dim=1), layer(u))


def test_an_open_forget_gate_keeps_the_cell_exactly() -> None:
    c = torch.randn(1, 3)
    closed, opened = torch.full((1, 3), -1e4), torch.full((1, 3), 1e4)
    pre = torch.cat([closed, opened, torch.randn(1, 3), torch.randn(1, 3)], dim=-1)
    for _ in range(1000):
        c_next = lstm_cell(pre, c).c
        assert torch.equal(c_next, c)


def test_the_forget_bias_starts_at_one() -> None:
    bias = LSTM(3, 4).bias_ih
    assert bias[4:8].tolist() == [1.0] * 4
    assert bias[:4].tolist() == [0.0] * 4


def test_parameter_count() -> None:
    d_in, d = 5, 7
    assert sum(p.numel() for p in LSTM(d_in, d).parameters()) == 4 * d * (d_in + d) + 8 * d


def test_state_stays_float32_under_bf16_autocast() -> None:
    layer, u = LSTM(5, 7), torch.randn(2, 4, 5)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y, state = layer.prefill(u, layer.allocate_state(2))
    assert (y.dtype, state.h.dtype, state.c.dtype) == (torch.bfloat16, *[torch.float32] * 2)
    torch.testing.assert_close(y.float(), layer(u), rtol=0.05, atol=0.05)


def test_length_one_and_batch_zero(layer: LSTM) -> None:
    assert layer(torch.randn(2, 1, 5).double()).shape == (2, 1, 7)
    assert layer(torch.randn(0, 3, 5).double()).shape == (0, 3, 7)


@pytest.mark.parametrize(
    ("state", "words"),
    [
        (torch.zeros(2, 7), "LSTMState"),
        (LSTMState(torch.zeros(2, 7), torch.zeros(2, 6)), r"state.c .*\(2, 7\); got \(2, 6\)"),
    ],
)
def test_refuses_a_state_from_another_model(layer: LSTM, state: object, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        layer.prefill(torch.zeros(2, 3, 5, dtype=torch.float64), state)
