"""The GRU layer against torch.nn, its definition, and itself step by step."""

import pytest
import torch
from torch import nn

from ssm_ref.recurrent.gru import GRU, gru_cell, gru_recurrence


@pytest.fixture
def layer() -> GRU:
    torch.manual_seed(0)
    return GRU(5, 7).double()


def test_matches_torch_values_and_gradients(layer: GRU) -> None:
    theirs = nn.GRU(5, 7, batch_first=True).double()
    theirs.load_state_dict({f"{k}_l0": v for k, v in layer.state_dict().items()})
    u = torch.randn(3, 11, 5, dtype=torch.float64, requires_grad=True)
    v = u.detach().clone().requires_grad_()
    (y, h), (y_theirs, h_theirs) = layer.prefill(u, layer.allocate_state(3)), theirs(v)
    torch.testing.assert_close(y, y_theirs)
    torch.testing.assert_close(h, h_theirs[0])
    (y.sin().sum() + h.sum()).backward()
    (y_theirs.sin().sum() + h_theirs.sum()).backward()
    torch.testing.assert_close(u.grad, v.grad)
    for name, parameter in layer.named_parameters():
        torch.testing.assert_close(parameter.grad, getattr(theirs, f"{name}_l0").grad)


def test_matches_the_definition(layer: GRU) -> None:
    u, h = torch.randn(2, 6, 5, dtype=torch.float64), torch.randn(2, 7, dtype=torch.float64)
    weights, biases = (layer.weight_ih, layer.weight_hh), (layer.bias_ih, layer.bias_hh)
    torch.testing.assert_close(layer.prefill(u, h)[0], gru_recurrence(u, h, weights, biases))


@pytest.mark.parametrize("cut", range(1, 6))
def test_cut_anywhere(layer: GRU, cut: int) -> None:
    u = torch.randn(2, 6, 5, dtype=torch.float64)
    whole, last = layer.prefill(u, layer.allocate_state(2))
    head, state = layer.prefill(u[:, :cut], layer.allocate_state(2))
    tail, state = layer.prefill(u[:, cut:], state)
    torch.testing.assert_close(torch.cat([head, tail], dim=1), whole)
    torch.testing.assert_close(state, last)


def test_steps_equal_forward(layer: GRU) -> None:
    u = torch.randn(2, 6, 5, dtype=torch.float64)
    state, ys = layer.allocate_state(2), []
    for t in range(6):
        y, state = layer.step(u[:, t], state)
        ys.append(y)
    torch.testing.assert_close(torch.stack(ys, dim=1), layer(u))


def test_the_state_is_bounded_by_one(layer: GRU) -> None:
    y = layer(100 * torch.randn(4, 50, 5, dtype=torch.float64))
    assert y.abs().max() <= 1


def test_the_update_gate_keeps() -> None:
    h, Uh = torch.randn(1, 3), torch.zeros(1, 9)
    Wu = torch.cat([torch.zeros(1, 3), torch.full((1, 3), 1e4), torch.randn(1, 3)], dim=-1)
    assert torch.equal(gru_cell(Wu, Uh, h), h)


def test_state_stays_float32_under_bf16_autocast() -> None:
    layer, u = GRU(5, 7), torch.randn(2, 4, 5)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y, h = layer.prefill(u, layer.allocate_state(2))
    assert (y.dtype, h.dtype) == (torch.bfloat16, torch.float32)
    torch.testing.assert_close(y.float(), layer(u), rtol=0.05, atol=0.05)


def test_length_one_and_batch_zero(layer: GRU) -> None:
    assert layer(torch.randn(2, 1, 5).double()).shape == (2, 1, 7)
    assert layer(torch.randn(0, 3, 5).double()).shape == (0, 3, 7)


def test_refuses_a_state_from_another_model(layer: GRU) -> None:
    with pytest.raises(ValueError, match=r"state must have shape \(2, 7\); got \(2, 6\)"):
        layer.prefill(torch.zeros(2, 3, 5, dtype=torch.float64), torch.zeros(2, 6))
