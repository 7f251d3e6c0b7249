"""S4D: kernel, modes and steps are one layer; starting values are the paper's."""

import math

import pytest
import torch

from ssm_ref.foundations.convolution import run_convolution, run_recurrence, run_scan
from ssm_ref.foundations.discretization import phi
from ssm_ref.structured.s4d import S4D, Init, S4DConfig, initial_A, vandermonde_kernel

F64 = torch.float64
MODES = pytest.mark.parametrize("mode", [run_recurrence, run_convolution, run_scan])


def layer(mode: object = run_convolution, init: str = "legs") -> S4D:
    torch.manual_seed(0)
    return S4D(S4DConfig(d_model=3, d_state=8, init=init), run=mode).double()  # type: ignore[arg-type]


def test_starting_values_of_the_paper() -> None:
    torch.testing.assert_close(initial_A("lin", 6).imag, math.pi * torch.arange(3.0).double())
    assert initial_A("inv", 16).imag[:3].tolist() == pytest.approx([76.39, 22.07, 11.20], abs=0.01)
    legs = initial_A("legs", 16).imag.flip(0)
    assert legs[:3].tolist() == pytest.approx([80.97, 25.63, 13.83], abs=0.01)
    assert (legs > 0).all()
    assert initial_A("real", 6).tolist() == [-1, -2, -3]
    for init in ("lin", "inv", "legs"):
        assert initial_A(init, 16).real.tolist() == pytest.approx([-0.5] * 8)


@pytest.mark.parametrize("init", Init, ids=str)
def test_kernel_is_the_vandermonde_product(init: Init) -> None:
    s4d = layer(init=init)
    dt_A = s4d.log_dt.exp()[:, None] * s4d.A
    B_bar = s4d.log_dt.exp()[:, None] * phi(dt_A)
    want = vandermonde_kernel(dt_A, torch.view_as_complex(s4d.C) * B_bar, 50)
    torch.testing.assert_close(s4d.kernel(50), want)


def test_kernel_is_the_impulse_response_of_the_recurrence() -> None:
    s4d, impulse = layer(), torch.zeros(1, 20, 3, dtype=F64)
    impulse[:, 0] = 1
    y, _ = run_recurrence(s4d.discrete(), impulse)
    torch.testing.assert_close(y[0].T - s4d.D[:, None] * impulse[0].T, s4d.kernel(20))


@MODES
def test_modes_agree(mode: object) -> None:
    u = torch.randn(2, 17, 3, dtype=F64)
    torch.testing.assert_close(layer(mode)(u), layer(run_recurrence)(u))


@MODES
def test_prefill_equals_steps_and_cut_anywhere(mode: object) -> None:
    s4d, u = layer(mode), torch.randn(2, 9, 3, dtype=F64)
    whole, last = s4d(u)
    for cut in range(1, 9):
        head, state = s4d(u[:, :cut])
        tail, state = s4d(u[:, cut:], state)
        torch.testing.assert_close(torch.cat([head, tail], dim=1), whole)
        torch.testing.assert_close(state, last)
    state = None
    for t in range(9):
        y, state = s4d.step(u[:, t], state)
        torch.testing.assert_close(y, whole[:, t])


def test_is_causal() -> None:
    s4d, u = layer(), torch.randn(1, 9, 3, dtype=F64)
    v = u.clone()
    v[:, 6:] += 1
    torch.testing.assert_close(s4d(u)[0][:, :6], s4d(v)[0][:, :6])


def test_only_the_product_of_B_and_C_shows() -> None:
    """A diagonal change of basis scales B̄ and C against each other and changes no output."""
    system, u = layer().discrete(), torch.randn(1, 9, 3, dtype=F64)
    scale = torch.randn(3, 4, dtype=torch.complex128)
    other = type(system)(system.A_bar, system.B_bar * scale, system.C / scale, system.D)
    torch.testing.assert_close(run_convolution(other, u)[0], run_convolution(system, u)[0])


def test_stable_whatever_the_parameters() -> None:
    s4d = layer()
    with torch.no_grad():
        for p in s4d.parameters():
            p.copy_(3 * torch.randn_like(p))
    assert (s4d.discrete().A_bar.abs() <= 1).all()


def test_steps_start_log_uniform_between_their_bounds() -> None:
    dt = S4D(S4DConfig(d_model=4096)).log_dt.exp()
    assert dt.min() >= 1e-3 * 0.999
    assert dt.max() <= 1e-1 * 1.001
    assert (dt < 1e-2).float().mean().item() == pytest.approx(0.5, abs=0.05)


def test_gradients() -> None:
    s4d, u = layer(), torch.randn(1, 4, 3, dtype=F64, requires_grad=True)
    state = torch.randn(1, 3, 4, dtype=torch.complex128, requires_grad=True)
    names, values = zip(*s4d.named_parameters(), strict=True)

    def f(u: torch.Tensor, state: torch.Tensor, *values: torch.Tensor) -> object:
        parameters = dict(zip(names, values, strict=True))
        return torch.func.functional_call(s4d, parameters, (u, state))

    assert torch.autograd.gradcheck(f, (u, state, *values))


def test_small_shapes_and_parameter_count() -> None:
    s4d = S4D(S4DConfig(d_model=5, d_state=4))
    assert s4d(torch.zeros(0, 3, 5))[0].shape == (0, 3, 5)
    assert s4d(torch.zeros(2, 1, 5))[0].shape == (2, 1, 5)
    d, n = 5, 2
    assert sum(p.numel() for p in s4d.parameters()) == d + 4 * d * n + d + 2 * d * (d + 1)
    assert s4d.no_weight_decay <= dict(s4d.named_parameters()).keys()


def test_refuses_what_does_not_fit() -> None:
    s4d, u = layer(), torch.zeros(1, 4, 3, dtype=F64)
    full = torch.view_as_complex(s4d.C)
    for call, message in (
        (lambda: S4DConfig(d_model=0), "d_model"),
        (lambda: S4DConfig(d_model=2, d_state=3), "even"),
        (lambda: S4DConfig(d_model=2, init="diag"), "unknown init"),
        (lambda: S4DConfig(d_model=2, dt_min=0.2), "dt_min"),
        (lambda: s4d(u[..., :2]), "u must have shape"),
        (lambda: s4d(u[:, :0]), "at least one"),
        (lambda: s4d(u, torch.zeros(1, 3, 9)), "h must have shape"),
        (lambda: s4d.step(u), "u_t must have shape"),
        (lambda: vandermonde_kernel(full[:2], full, 4), "must have one shape"),
        (lambda: vandermonde_kernel(full, full, 0), "l be at least 1"),
    ):
        with pytest.raises(ValueError, match=message):
            call()
