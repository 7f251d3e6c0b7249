"""sLSTM: the stabilised cell against the plain definition, and the parity that it can count."""

import pytest
import torch
from torch.nn import functional as F

from ssm_ref.recurrent.slstm import SLSTM, SLSTMState, slstm_recurrence

F64 = torch.float64


@pytest.fixture
def layer() -> SLSTM:
    torch.manual_seed(0)
    return SLSTM(5, 6, n_heads=2).double()


def test_stabilised_equals_the_definition_with_gradients(layer: SLSTM) -> None:
    u = torch.randn(2, 12, 5, dtype=F64)
    got = layer(u)
    Wu = F.linear(u, layer.weight, layer.bias)
    want = slstm_recurrence(Wu, layer.recurrent_matrix())
    torch.testing.assert_close(got, want)
    parameters = list(layer.parameters())
    for a, b in zip(
        torch.autograd.grad(got.sin().sum(), parameters, retain_graph=True),
        torch.autograd.grad(want.sin().sum(), parameters),
        strict=True,
    ):
        torch.testing.assert_close(a, b)


def test_a_constant_on_all_input_gates_changes_nothing(layer: SLSTM) -> None:
    u = torch.randn(2, 12, 5, dtype=F64)
    before = layer(u)
    with torch.no_grad():
        layer.bias[:6] += 500
    torch.testing.assert_close(layer(u), before)


def test_a_large_input_gate_overwrites_without_overflow() -> None:
    layer = SLSTM(2, 1)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.zero_()
        layer.weight[0, 0], layer.weight[2, 1], layer.bias[3] = 1.0, 1.0, 50.0  # i, z, o
    u = torch.tensor([[[0.0, 0.3], [1000.0, -0.7], [0.0, 0.9]]])
    y = layer(u)[0, :, 0]
    torch.testing.assert_close(y, torch.tensor([0.3, -0.7, -0.7]).tanh())


def test_the_output_stays_below_one(layer: SLSTM) -> None:
    y = layer(50 * torch.randn(4, 50, 5, dtype=F64))
    assert y.isfinite().all()
    assert y.abs().max() <= 1


def counter() -> SLSTM:
    """One cell that flips the sign of h at every one: inputs are (bit, first token?)."""
    layer, K = SLSTM(2, 1), 30.0
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.zero_()
        layer.weight[0, 0], layer.bias[0] = 2 * K, -K  # write where the bit is one
        layer.weight[0, 1] = 2 * K  # and at the start
        layer.weight[1, 0], layer.bias[1] = -2 * K, K  # forget there
        layer.weight[1, 1] = -2 * K
        layer.weight[2, 1] = K  # +1 at the start,
        layer.recurrent[2] = -K  # −h afterwards: this term no diagonal scan has
        layer.bias[3] = K
    return layer


@torch.no_grad()
def test_one_cell_counts_parity_at_any_length() -> None:
    bits = torch.randint(2, (8, 1000))
    first = torch.zeros_like(bits)
    first[:, 0], bits[:, 0] = 1, 0
    y = counter()(torch.stack([bits, first], dim=-1).float())[..., 0]
    parity = bits.cumsum(dim=1) % 2
    torch.testing.assert_close(y, 1.0 - 2.0 * parity, atol=1e-4, rtol=0)


def test_heads_do_not_see_each_other(layer: SLSTM) -> None:
    R = layer.recurrent_matrix().view(4, 6, 6)
    assert (R[:, :3, 3:] == 0).all()
    assert (R[:, 3:, :3] == 0).all()
    assert (R[:, :3, :3] != 0).all()


def test_cut_anywhere_and_steps(layer: SLSTM) -> None:
    u = torch.randn(2, 6, 5, dtype=F64)
    whole, last = layer.prefill(u, layer.allocate_state(2))
    for cut in range(1, 6):
        head, state = layer.prefill(u[:, :cut], layer.allocate_state(2))
        tail, state = layer.prefill(u[:, cut:], state)
        torch.testing.assert_close(torch.cat([head, tail], dim=1), whole)
    state = layer.allocate_state(2)
    for t in range(6):
        y, state = layer.step(u[:, t], state)
        torch.testing.assert_close(y, whole[:, t])
    for a, b in zip(state, last, strict=True):
        torch.testing.assert_close(a, b)


def test_state_stays_float32_under_bf16_autocast() -> None:
    layer, u = SLSTM(5, 6), torch.randn(2, 4, 5)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y, state = layer.prefill(u, layer.allocate_state(2))
    assert y.dtype == torch.bfloat16
    assert {part.dtype for part in state} == {torch.float32}


def test_takes_no_row_and_one_token() -> None:
    layer = SLSTM(3, 4, n_heads=2)
    assert layer(torch.randn(0, 3, 3)).shape == (0, 3, 4)
    assert layer(torch.randn(2, 1, 3)).shape == (2, 1, 4)


def test_refuses(layer: SLSTM) -> None:
    with pytest.raises(ValueError, match="n_heads=4 must divide d_model=6"):
        SLSTM(5, 6, n_heads=4)
    with pytest.raises(ValueError, match="SLSTMState; got Tensor"):
        layer.prefill(torch.zeros(2, 3, 5).double(), torch.zeros(2, 6))  # type: ignore[arg-type]
    wrong = SLSTMState(*[torch.zeros(2, 5).double()] * 4)
    with pytest.raises(ValueError, match=r"state.h must have shape \(2, 6\); got \(2, 5\)"):
        layer.step(torch.zeros(2, 5).double(), wrong)
