"""Discretization rules against scipy, closed forms and their orders of accuracy."""

import math

import numpy as np
import pytest
import scipy.signal
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from ssm_ref.foundations.discretization import (
    Rule,
    discretize,
    discretize_diagonal,
    generalized_bilinear,
    half_life,
    phi,
    run_discrete,
)

F64 = torch.float64
SCIPY = {
    Rule.FORWARD_EULER: "euler",
    Rule.BACKWARD_EULER: "backward_diff",
    Rule.BILINEAR: "bilinear",
    Rule.ZOH: "zoh",
}
# x' = -1.3 x + sin t, x(1) = 1: error after one step of 0.1 and of 0.05, and the exponent.
ONE_STEP = {
    Rule.ZOH: (2.21e-3, 6.13e-4, 2),
    Rule.EXPONENTIAL_EULER: (7.76e-3, 1.99e-3, 2),
    Rule.EXPONENTIAL_TRAPEZOIDAL: (1.48e-4, 1.96e-5, 3),
    Rule.BILINEAR: (2.16e-3, 6.06e-4, 2),
    Rule.TRAPEZOID: (1.72e-4, 2.28e-5, 3),
}


def dense(n: int = 4, m: int = 2) -> tuple[Tensor, Tensor]:
    g = torch.Generator().manual_seed(1)
    A = torch.randn(n, n, dtype=F64, generator=g) - 2 * torch.eye(n, dtype=F64)
    return A, torch.randn(n, m, dtype=F64, generator=g)


def exact_scalar(t: float) -> float:
    """Solution of x' = -1.3 x + sin t with x(1) = 1."""
    a = 1.3

    def particular(t: float) -> float:
        return (a * math.sin(t) - math.cos(t)) / (a**2 + 1)

    return particular(t) + (1 - particular(1.0)) * math.exp(-a * (t - 1))


def one_step_error(rule: Rule, dt: float) -> float:
    one = torch.ones(1, 1, dtype=F64)
    system = discretize(-1.3 * one, one, dt, rule)
    now, before = math.sin(1 + dt) * one, math.sin(1) * one[0]
    x = run_discrete(system, now, before, one[0])
    return abs(x.item() - exact_scalar(1 + dt))


@pytest.mark.parametrize("rule", SCIPY, ids=str)
@pytest.mark.parametrize("dt", [0.01, 0.7])
def test_matches_scipy(rule: Rule, dt: float) -> None:
    A, B = dense()
    C, D = np.zeros((1, 4)), np.zeros((1, 2))
    want_A, want_B, *_ = scipy.signal.cont2discrete((A.numpy(), B.numpy(), C, D), dt, SCIPY[rule])
    got = discretize(A, B, dt, rule)
    np.testing.assert_allclose(got.A_bar.numpy(), want_A, atol=1e-12)
    np.testing.assert_allclose(got.B_bar.numpy(), want_B, atol=1e-12)
    assert got.B_prev.abs().max() == 0


@pytest.mark.parametrize("alpha", [0.0, 0.3, 0.5, 1.0])
def test_generalized_bilinear_matches_scipy(alpha: float) -> None:
    A, B = dense()
    want = scipy.signal.cont2discrete(
        (A.numpy(), B.numpy(), np.zeros((1, 4)), np.zeros((1, 2))), 0.2, "gbt", alpha=alpha
    )
    for got, expected in zip(generalized_bilinear(A, B, 0.2, alpha), want, strict=False):
        np.testing.assert_allclose(got.numpy(), expected, atol=1e-12)


def test_trapezoid_is_tustin_in_the_frequency_domain() -> None:
    """With the averaged input G_d(z) = G(s) at s = 2/Δ (z−1)/(z+1); scipy moves that into C, D."""
    A, B = dense(m=1)
    C, dt = torch.randn(1, 4, dtype=F64), 0.3
    *matrices, _ = scipy.signal.cont2discrete(
        (A.numpy(), B.numpy(), C.numpy(), np.zeros((1, 1))), dt, "bilinear"
    )
    w = np.array([0.2, 1.0, 2.5])
    _, want = scipy.signal.dfreqresp((*matrices, 1.0), w=w)
    system, z = discretize(A, B, dt, Rule.TRAPEZOID), torch.exp(1j * torch.tensor(w))
    for z_k, want_k in zip(z, want, strict=True):
        drive = system.B_bar + system.B_prev / z_k
        x = torch.linalg.solve(torch.eye(4) - system.A_bar / z_k, drive)
        np.testing.assert_allclose((C.to(x.dtype) @ x).item(), want_k, rtol=1e-9)


@pytest.mark.parametrize("rule", Rule, ids=str)
@pytest.mark.parametrize("dtype", [F64, torch.complex128], ids=str)
def test_diagonal_form_is_the_dense_one(rule: Rule, dtype: torch.dtype) -> None:
    a = -torch.rand(4, dtype=F64).to(dtype)
    if dtype.is_complex:
        a = a + 1j * torch.randn(4, dtype=F64)
    b = torch.randn(4, dtype=dtype)
    want = discretize(torch.diag(a), b[:, None], 0.4, rule, lam=0.3)
    got = discretize_diagonal(a, b, torch.tensor(0.4, dtype=F64), rule, lam=0.3)
    torch.testing.assert_close(torch.diag(got.A_bar), want.A_bar)
    torch.testing.assert_close(got.B_bar, want.B_bar[:, 0])
    torch.testing.assert_close(got.B_prev, want.B_prev[:, 0])


@pytest.mark.parametrize("rule", ONE_STEP, ids=str)
def test_one_step_errors_and_their_exponents(rule: Rule) -> None:
    at_tenth, at_twentieth, exponent = ONE_STEP[rule]
    assert one_step_error(rule, 0.1) == pytest.approx(at_tenth, rel=5e-3)
    assert one_step_error(rule, 0.05) == pytest.approx(at_twentieth, rel=5e-3)
    slope = math.log2(one_step_error(rule, 0.002) / one_step_error(rule, 0.001))
    assert slope == pytest.approx(exponent, abs=0.05)


def test_rules_agree_as_the_step_shrinks() -> None:
    A, B = dense()
    x = torch.zeros(4, dtype=F64)
    for rule in Rule:
        errors = []
        for l in (64, 256):
            t = torch.linspace(0, 1, l + 1, dtype=F64)
            u = torch.stack([t.sin(), t.cos()], dim=1)
            end = run_discrete(discretize(A, B, 1 / l, rule), u[1:], u[0], x)[-1]
            fine = torch.linspace(0, 1, 4097, dtype=F64)
            v = torch.stack([fine.sin(), fine.cos()], dim=1)
            want = run_discrete(discretize(A, B, 1 / 4096, Rule.TRAPEZOID), v[1:], v[0], x)[-1]
            errors.append((end - want).norm().item())
        order = math.log(errors[0] / errors[1], 4)
        assert order == pytest.approx(ONE_STEP.get(rule, (0, 0, 2))[2] - 1, abs=0.1), rule


def test_zero_order_hold_is_exact_for_a_held_input() -> None:
    A, B = dense()
    coarse, fine = discretize(A, B, 0.5), discretize(A, B, 0.05)
    u, x = torch.randn(1, 2, dtype=F64), torch.randn(4, dtype=F64)
    want = run_discrete(fine, u.expand(10, 2), u[0], x)[-1]
    torch.testing.assert_close(run_discrete(coarse, u, u[0], x)[0], want)


def test_euler_input_over_held_input() -> None:
    """ZOH / Euler = (1 − e^{−z})/z: 0.95 at z = 0.1 and 0.50 at z = 1.6."""
    one = torch.ones(1, dtype=F64)
    for z, want in ((0.1, 0.95), (1.6, 0.50)):
        dt = torch.tensor(z, dtype=F64)
        zoh = discretize_diagonal(-one, one, dt, Rule.ZOH)
        euler = discretize_diagonal(-one, one, dt, Rule.EXPONENTIAL_EULER)
        assert torch.equal(zoh.A_bar, euler.A_bar)
        assert (zoh.B_bar / euler.B_bar).item() == pytest.approx(want, abs=2e-3)


@given(real=st.floats(-50, -1e-6), imag=st.floats(-50, 50), dt=st.floats(1e-4, 10))
def test_which_rules_keep_the_left_half_plane_stable(real: float, imag: float, dt: float) -> None:
    a, one = torch.tensor(complex(real, imag), dtype=torch.complex128), torch.ones((), dtype=F64)
    for rule in set(Rule) - {Rule.FORWARD_EULER}:
        A_bar = discretize_diagonal(a, one, torch.tensor(dt, dtype=F64), rule).A_bar
        assert A_bar.abs() <= 1


def test_forward_euler_leaves_the_unit_disc() -> None:
    one = torch.ones(1, dtype=F64)
    for dt, stable in ((1.9, True), (2.1, False)):
        A_bar = discretize_diagonal(-one, one, torch.tensor(dt), Rule.FORWARD_EULER).A_bar
        assert bool(A_bar.abs() < 1) is stable


def test_bilinear_maps_the_imaginary_axis_onto_the_unit_circle() -> None:
    a = 1j * torch.linspace(-20, 20, 41, dtype=F64)
    A_bar = discretize_diagonal(a, torch.ones(()), torch.tensor(0.3), Rule.BILINEAR).A_bar
    torch.testing.assert_close(A_bar.abs(), torch.ones(41, dtype=F64))


@pytest.mark.parametrize("rule", Rule, ids=str)
def test_singular_state_matrix(rule: Rule) -> None:
    """A = 0 integrates its input; a nilpotent A does so twice."""
    A, B = torch.tensor([[0.0, 1.0], [0.0, 0.0]], dtype=F64), torch.eye(2, dtype=F64)
    got = discretize(0 * A, B, 0.5, rule)
    torch.testing.assert_close(got.A_bar, B)
    torch.testing.assert_close(got.B_bar + got.B_prev, 0.5 * B)
    assert discretize(A, B, 0.5, rule).B_bar.isfinite().all()


def test_phi_near_zero_and_its_gradients() -> None:
    z = torch.tensor([0.0, 1e-12, -9.9e-5, 1.01e-4, -0.3, -40.0], dtype=F64)
    want = torch.tensor([float(x) for x in (1, 1 + 5e-13, 1, 1, 1, 1)], dtype=F64)
    want[2:] = torch.expm1(z[2:]) / z[2:]
    torch.testing.assert_close(phi(z), want, rtol=1e-14, atol=0)
    assert torch.autograd.gradcheck(phi, z.requires_grad_(), eps=1e-5, atol=1e-8)
    w = torch.tensor([0, 1e-5j, -0.2 + 0.4j], dtype=torch.complex128, requires_grad=True)
    assert torch.autograd.gradcheck(phi, w)


@pytest.mark.parametrize("rule", Rule, ids=str)
def test_gradients(rule: Rule) -> None:
    a, b = -torch.rand(3, dtype=F64), torch.randn(3, dtype=F64)
    dt = torch.rand(2, 1, dtype=F64)
    operands = tuple(x.requires_grad_() for x in (a, b, dt))
    assert torch.autograd.gradcheck(lambda *x: discretize_diagonal(*x, rule), operands)


def test_half_lives_of_the_default_ranges() -> None:
    """693 steps at Δ = 0.001, A = −1; 0.43 steps at Δ = 0.1, A = −16."""
    got = half_life(torch.tensor([-1.0, -16.0]), torch.tensor([1e-3, 0.1]))
    assert got.tolist() == pytest.approx([693.1, 0.433], abs=0.05)
    assert half_life(torch.tensor(-0.5 + 3j), 0.1).item() == pytest.approx(13.86, abs=0.01)


def test_refuses_what_does_not_fit() -> None:
    A, B = dense()
    for call, message in (
        (lambda: discretize(A[:3], B, 0.1), "A must be"),
        (lambda: discretize(A, B[:3], 0.1), "B \\(n, m\\)"),
        (lambda: discretize(A, B, 0.0), "positive"),
        (lambda: discretize(A.int(), B, 0.1), "A must be floating point or complex"),
        (lambda: discretize(A, B, float("nan")), "positive"),
        (lambda: discretize(A, B, 0.1, "tustin"), "unknown rule 'tustin'"),
        (lambda: discretize_diagonal(A, A, A, "rk4"), "unknown rule"),
        (lambda: generalized_bilinear(A, B, 0.1, 1.5), "alpha"),
    ):
        with pytest.raises(ValueError, match=message):
            call()
