"""minGRU and minLSTM: the scan in logarithms against the loop, and what the cells promise."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from ssm_ref.foundations.discretization import discretize_diagonal
from ssm_ref.foundations.scan import linear_recurrence
from ssm_ref.recurrent.min_rnn import (
    MinGRU,
    MinimalCell,
    MinLSTM,
    log_positive,
    log_space_scan,
    positive,
    weighted_mean,
)

F64 = torch.float64
CELLS = pytest.mark.parametrize("cell", [MinGRU, MinLSTM])


def test_the_papers_formulas_one_by_one() -> None:
    u, h = torch.randn(1, 6, 5, dtype=F64), torch.zeros(1, 4, dtype=F64)
    gru, lstm = MinGRU(5, 4).double(), MinLSTM(5, 4).double()
    for cell in (gru, lstm):
        nn.init.normal_(cell.bias)
    want, state = [], h
    for u_t in u.unbind(1):
        z, x = F.linear(u_t, gru.weight, gru.bias).chunk(2, dim=-1)
        z = torch.sigmoid(z)
        state = (1 - z) * state + z * positive(x)
        want.append(state)
    torch.testing.assert_close(gru(u), torch.stack(want, dim=1))
    want, state = [], h
    for u_t in u.unbind(1):
        f, i, x = F.linear(u_t, lstm.weight, lstm.bias).chunk(3, dim=-1)
        f, i = torch.sigmoid(f), torch.sigmoid(i)
        state = (f * state + i * positive(x)) / (f + i)
        want.append(state)
    torch.testing.assert_close(lstm(u), torch.stack(want, dim=1))


@CELLS
def test_log_space_scan_equals_the_loop_with_gradients(cell: type[MinimalCell]) -> None:
    scanned, looped = cell(5, 4).double(), cell(5, 4, scan=weighted_mean).double()
    looped.load_state_dict(scanned.state_dict())
    u, h = torch.randn(2, 40, 5, dtype=F64), torch.randn(2, 4, dtype=F64)  # a past of any sign
    results = [layer.prefill(u, h)[0] for layer in (scanned, looped)]
    torch.testing.assert_close(*results)
    for y in results:
        y.sin().sum().backward()
    for a, b in zip(scanned.parameters(), looped.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad)


@CELLS
def test_the_plain_scan_gives_the_same(cell: type[MinimalCell]) -> None:
    layer, u = cell(5, 4).double(), torch.randn(2, 40, 5, dtype=F64)
    plain = cell(5, 4, scan=lambda a, w, h: linear_recurrence(a.exp(), w.exp(), h)).double()
    plain.load_state_dict(layer.state_dict())
    torch.testing.assert_close(layer(u), plain(u))


def test_float32_error_grows_with_the_length_only_slowly() -> None:
    log_a, log_w = -torch.rand(1, 4096, 8) - 0.1, torch.randn(1, 4096, 8)
    want = weighted_mean(log_a.double(), log_w.double(), torch.zeros(1, 8, dtype=F64))
    got = log_space_scan(log_a, log_w, torch.zeros(1, 8))
    assert got.isfinite().all()
    assert ((got.double() - want) / want).abs().max() < 1e-3


def test_gates_that_round_to_nothing() -> None:
    layer = MinGRU(1, 1)
    with torch.no_grad():
        layer.weight.fill_(1.0)
        layer.bias.zero_()
    u = torch.tensor([[[300.0], [-300.0], [-300.0]]], requires_grad=True)
    y = layer(u)
    kept = torch.full((1, 3, 1), 300.5)  # written once; A_t reaches -300: errors of 300 · 6e-8
    torch.testing.assert_close(y, kept, rtol=1e-4, atol=0)
    y.sum().backward()
    assert u.grad is not None
    assert u.grad.isfinite().all()


@CELLS
def test_the_state_is_a_weighted_mean_of_candidates(cell: type[MinimalCell]) -> None:
    layer, u = cell(5, 4).double(), 3 * torch.randn(2, 50, 5, dtype=F64)
    wu = F.linear(u, layer.weight, layer.bias)
    largest = positive(wu[..., -4:]).cummax(dim=1).values
    y = layer(u)
    assert (y > 0).all()
    assert (y <= largest).all()
    log_a, log_w = layer.log_gates(wu[..., :-4])
    torch.testing.assert_close(log_a.exp() + log_w.exp(), torch.ones_like(log_a))


def test_is_a_selective_state_space_model_with_one_number_of_state() -> None:
    """Theorem 1 of the Mamba paper: A = −1, B = 1, zero-order hold, Δ = softplus(v)."""
    v = torch.randn(50, dtype=F64)
    minus_one = -torch.ones(50, dtype=F64)
    exact = discretize_diagonal(minus_one, torch.ones(50, dtype=F64), F.softplus(v), "zoh")
    log_a, log_z = MinGRU(1, 1).log_gates(v)
    torch.testing.assert_close(exact.A_bar, log_a.exp())
    torch.testing.assert_close(exact.B_bar, log_z.exp())


def test_positive_is_continuous_and_its_logarithm_exact() -> None:
    x = torch.tensor([-1e-9, 0.0, 1e-9, -30.0, 50.0], dtype=F64)
    torch.testing.assert_close(positive(x).log(), log_positive(x))
    assert log_positive(torch.tensor([-200.0])).item() == -200
    edge = torch.zeros(1, requires_grad=True)
    log_positive(edge).sum().backward()
    assert edge.grad is not None
    assert edge.grad.isfinite().all()


@CELLS
def test_cut_anywhere_and_steps(cell: type[MinimalCell]) -> None:
    layer, u = cell(5, 4).double(), torch.randn(2, 6, 5, dtype=F64)
    whole, last = layer.prefill(u, layer.allocate_state(2))
    for cut in range(1, 6):
        head, state = layer.prefill(u[:, :cut], layer.allocate_state(2))
        tail, state = layer.prefill(u[:, cut:], state)
        torch.testing.assert_close(torch.cat([head, tail], dim=1), whole)
        torch.testing.assert_close(state, last)
    state = layer.allocate_state(2)
    for t in range(6):
        y, state = layer.step(u[:, t], state)
        torch.testing.assert_close(y, whole[:, t])


def test_parameters_against_the_classical_cells() -> None:
    d_in = d = 8
    count = {
        cell.__name__: sum(p.numel() for p in cell(d_in, d).parameters())
        for cell in (MinGRU, MinLSTM)
    }
    assert count == {"MinGRU": 2 * d * (d_in + 1), "MinLSTM": 3 * d * (d_in + 1)}
    assert sum(p.numel() for p in nn.GRUCell(d_in, d).parameters()) == 3 * d * (d_in + d + 2)


@CELLS
def test_state_stays_float32_under_bf16_autocast(cell: type[MinimalCell]) -> None:
    layer, u = cell(5, 4), torch.randn(2, 4, 5)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y, h = layer.prefill(u, layer.allocate_state(2))
    assert (y.dtype, h.dtype) == (torch.bfloat16, torch.float32)


@CELLS
def test_takes_no_row_and_one_token(cell: type[MinimalCell]) -> None:
    layer = cell(3, 4)
    assert layer(torch.randn(0, 3, 3)).shape == (0, 3, 4)
    assert layer(torch.randn(2, 1, 3)).shape == (2, 1, 4)


def test_refuses() -> None:
    layer = MinGRU(3, 4)
    with pytest.raises(ValueError, match="must be integers of at least 1; got 0 and 4"):
        MinLSTM(0, 4)
    with pytest.raises(ValueError, match=r"state must have shape \(2, 4\); got \(2, 5\)"):
        layer.prefill(torch.zeros(2, 3, 3), torch.zeros(2, 5))
    with pytest.raises(ValueError, match="u_t must have shape"):
        layer.step(torch.zeros(2, 5), layer.allocate_state(2))
