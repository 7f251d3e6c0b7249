"""The Elman layer against torch.nn, its definition, its Jacobian, and itself step by step."""

import pytest
import torch
from torch import nn

from ssm_ref.recurrent.rnn import RNN, elman_jacobian, elman_recurrence


@pytest.fixture
def layer() -> RNN:
    torch.manual_seed(0)
    return RNN(5, 7).double()


def test_matches_torch_values_and_gradients(layer: RNN) -> None:
    theirs = nn.RNN(5, 7, batch_first=True).double()
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


def test_matches_the_definition(layer: RNN) -> None:
    u, h = torch.randn(2, 6, 5, dtype=torch.float64), torch.randn(2, 7, dtype=torch.float64)
    bias = layer.bias_ih + layer.bias_hh
    want = elman_recurrence(u, h, layer.weight_ih, layer.weight_hh, bias)
    torch.testing.assert_close(layer.prefill(u, h)[0], want)


@pytest.mark.parametrize("cut", range(1, 6))
def test_cut_anywhere(layer: RNN, cut: int) -> None:
    u = torch.randn(2, 6, 5, dtype=torch.float64)
    whole, last = layer.prefill(u, layer.allocate_state(2))
    head, state = layer.prefill(u[:, :cut], layer.allocate_state(2))
    tail, state = layer.prefill(u[:, cut:], state)
    torch.testing.assert_close(torch.cat([head, tail], dim=1), whole)
    torch.testing.assert_close(state, last)


def test_steps_equal_forward(layer: RNN) -> None:
    u = torch.randn(2, 6, 5, dtype=torch.float64)
    state, ys = layer.allocate_state(2), []
    for t in range(6):
        y, state = layer.step(u[:, t], state)
        ys.append(y)
    torch.testing.assert_close(torch.stack(ys, dim=1), layer(u))


def test_the_gradient_through_time_is_the_product_of_jacobians(layer: RNN) -> None:
    u, h = torch.randn(1, 4, 5, dtype=torch.float64), torch.zeros(1, 7, dtype=torch.float64)
    want = torch.autograd.functional.jacobian(lambda s: layer.prefill(u, s)[1][0], h)[:, 0]
    got = torch.eye(7, dtype=torch.float64)
    for h_t in layer(u)[0]:
        got = elman_jacobian(h_t, layer.weight_hh) @ got
    torch.testing.assert_close(got, want)


def test_gradients_vanish_when_the_recurrent_matrix_is_a_contraction(layer: RNN) -> None:
    with torch.no_grad():
        layer.weight_hh.copy_(0.9 * torch.linalg.qr(layer.weight_hh)[0])
    h = torch.zeros(1, 7, dtype=torch.float64, requires_grad=True)
    layer.prefill(torch.randn(1, 100, 5, dtype=torch.float64), h)[1].norm().backward()
    assert h.grad is not None
    assert h.grad.norm() <= 0.9**100


def test_state_stays_float32_under_bf16_autocast() -> None:
    layer, u = RNN(5, 7), torch.randn(2, 4, 5)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y, h = layer.prefill(u, layer.allocate_state(2))
    assert (y.dtype, h.dtype) == (torch.bfloat16, torch.float32)
    torch.testing.assert_close(y.float(), layer(u), rtol=0.05, atol=0.05)


def test_length_one_and_batch_zero(layer: RNN) -> None:
    assert layer(torch.randn(2, 1, 5).double()).shape == (2, 1, 7)
    assert layer(torch.randn(0, 3, 5).double()).shape == (0, 3, 7)


@pytest.mark.parametrize(
    ("u", "state", "words"),
    [
        (torch.zeros(2, 3, 4), torch.zeros(2, 7), r"\(batch, length, 5\); got \(2, 3, 4\)"),
        (torch.zeros(2, 0, 5), torch.zeros(2, 7), "at least one time step"),
        (
            torch.zeros(2, 3, 5, dtype=torch.long),
            torch.zeros(2, 7),
            "floating point; got torch.int64",
        ),
        (torch.zeros(2, 3, 5).double(), torch.zeros(3, 7), r"\(2, 7\); got \(3, 7\)"),
    ],
)
def test_refuses(layer: RNN, u: torch.Tensor, state: torch.Tensor, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        layer.prefill(u, state)
