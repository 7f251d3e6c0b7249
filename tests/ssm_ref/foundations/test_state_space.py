"""Linear systems against scipy, their own definition and each other."""

import numpy as np
import pytest
import scipy.integrate
import scipy.signal
import torch
from torch import Tensor

from ssm_ref.foundations.state_space import (
    LinearSystem,
    change_basis,
    gauss_legendre,
    impulse_response,
    is_hurwitz,
    is_schur,
    markov_parameters,
    simulate,
    solve,
    step,
    textbook_form,
    transfer_function,
    transfer_function_discrete,
)

F64 = torch.float64


def random_system(n: int = 4, m: int = 2, p: int = 3, *, discrete: bool) -> LinearSystem:
    g = torch.Generator().manual_seed(n + 10 * m + 100 * p)
    A, B, C, D = (
        torch.randn(shape, dtype=F64, generator=g) for shape in ((n, n), (n, m), (p, n), (p, m))
    )
    if discrete:
        A = 0.9 * A / torch.linalg.eigvals(A).abs().max()
    else:
        A = A - (torch.linalg.eigvals(A).real.max() + 0.5) * torch.eye(n, dtype=F64)
    return LinearSystem(A, B, C, D)


def arrays(system: LinearSystem) -> tuple[np.ndarray, ...]:
    return tuple(x.numpy() for x in (system.A, system.B, system.C, system.D))


def test_solution_matches_scipy_solve_ivp() -> None:
    system = random_system(discrete=False)
    A, B, *_ = arrays(system)
    x0 = torch.randn(4, dtype=F64)

    def u(t: Tensor) -> Tensor:
        return torch.stack([t.sin(), (3 * t).cos()], dim=-1)

    want = scipy.integrate.solve_ivp(
        lambda t, x: A @ x + B @ u(torch.tensor(t)).numpy(),
        (0, 2.5),
        x0.numpy(),
        rtol=1e-11,
        atol=1e-12,
    ).y[:, -1]
    np.testing.assert_allclose(solve(system, u, 2.5, x0).numpy(), want, rtol=1e-8, atol=1e-9)


def test_gauss_legendre_matches_numpy() -> None:
    for order in (1, 2, 5, 40):
        nodes, weights = np.polynomial.legendre.leggauss(order)
        got = gauss_legendre(order)
        np.testing.assert_allclose(got[0].numpy(), nodes, atol=1e-13)
        np.testing.assert_allclose(got[1].numpy(), weights, atol=1e-13)


def test_continuous_responses_match_scipy() -> None:
    system = random_system(m=1, p=1, discrete=False)
    omega, h = scipy.signal.freqresp(arrays(system), w=np.array([0.1, 1.0, 10.0]))
    got = transfer_function(system, torch.tensor(1j * omega))[:, 0, 0]
    np.testing.assert_allclose(got.numpy(), h, rtol=1e-8)
    t, g = scipy.signal.impulse(arrays(system), T=np.linspace(0, 3, 7))
    np.testing.assert_allclose(
        impulse_response(system, torch.tensor(t))[:, 0, 0].numpy(), g, rtol=1e-8
    )


def test_transfer_function_is_the_laplace_transform_of_the_impulse_response() -> None:
    system = random_system(discrete=False)
    s = torch.tensor([0.7 + 2.0j])
    t = torch.linspace(0, 60, 60_001, dtype=F64)
    g = impulse_response(system, t) * torch.exp(-s * t)[:, None, None]
    got = torch.trapezoid(g, t, dim=0) + system.D
    torch.testing.assert_close(
        got, transfer_function(system, s.to(torch.complex128))[0], rtol=1e-4, atol=1e-5
    )


def test_simulation_matches_scipy_dlsim_in_textbook_form() -> None:
    system = random_system(discrete=True)
    u = torch.randn(1, 20, 2, dtype=F64)
    _, want, _ = scipy.signal.dlsim((*arrays(textbook_form(system)), 1.0), u[0].numpy())
    np.testing.assert_allclose(simulate(system, u)[0][0].numpy(), want, rtol=1e-9, atol=1e-10)


def test_textbook_and_deep_learning_forms_differ_by_one_step() -> None:
    system = random_system(discrete=True)
    K = markov_parameters(LinearSystem(system.A, system.B, system.C, torch.zeros_like(system.D)), 8)
    responses = scipy.signal.dimpulse((*arrays(system)[:3], np.zeros((3, 2)), 1.0), n=9)[1]
    for j, response in enumerate(responses):
        np.testing.assert_allclose(response[0], 0)
        np.testing.assert_allclose(response[1:], K[:, :, j].numpy(), rtol=1e-9, atol=1e-12)


def test_kernel_convolved_is_simulation_and_skip_sits_in_its_first_term() -> None:
    system = random_system(discrete=True)
    u = torch.randn(2, 12, 2, dtype=F64)
    K = markov_parameters(system, 12)
    want, _ = simulate(system, u)
    got = torch.stack([sum(u[:, k - i] @ K[i].T for i in range(k + 1)) for k in range(12)], dim=1)
    torch.testing.assert_close(got, want)
    torch.testing.assert_close(K[0], system.C @ system.B + system.D)


def test_discrete_transfer_function_is_the_z_transform_of_the_kernel() -> None:
    system = random_system(discrete=True)
    z = torch.exp(1j * torch.tensor([0.3, 2.0], dtype=F64)) * 1.2
    K = markov_parameters(system, 400).to(z.dtype)
    powers = z[:, None] ** -torch.arange(400, dtype=F64)
    want = torch.einsum("kl,lpm->kpm", powers, K)
    torch.testing.assert_close(transfer_function_discrete(system, z), want)
    w, h = scipy.signal.dfreqresp(
        (*arrays(textbook_form(random_system(m=1, p=1, discrete=True))), 1.0), w=np.array([0.4])
    )
    got = transfer_function_discrete(
        random_system(m=1, p=1, discrete=True), torch.exp(1j * torch.tensor(w))
    )
    np.testing.assert_allclose(got[:, 0, 0].numpy(), h, rtol=1e-8)


@pytest.mark.parametrize("dtype", [F64, torch.complex128], ids=str)
def test_change_of_basis_keeps_the_kernel(dtype: torch.dtype) -> None:
    system = random_system(discrete=True)
    T = torch.randn(4, 4, dtype=dtype)
    other = change_basis(system, T)
    want = markov_parameters(system, 10).to(dtype)
    torch.testing.assert_close(markov_parameters(other, 10), want)
    np.testing.assert_allclose(np.poly(other.A.numpy()), np.poly(system.A.numpy()), atol=1e-9)


def test_diagonal_basis_gives_the_same_system() -> None:
    system = random_system(discrete=True)
    _, V = torch.linalg.eig(system.A)
    diagonal = change_basis(system, V)
    off = diagonal.A - torch.diag(diagonal.A.diagonal())
    assert off.abs().max() < 1e-12
    want = markov_parameters(system, 10)
    torch.testing.assert_close(markov_parameters(diagonal, 10).real, want)


@pytest.mark.parametrize("cut", range(1, 6))
def test_cut_anywhere(cut: int) -> None:
    system = random_system(discrete=True)
    u = torch.randn(3, 6, 2, dtype=F64)
    whole, last = simulate(system, u)
    head, x = simulate(system, u[:, :cut])
    tail, x = simulate(system, u[:, cut:], x)
    torch.testing.assert_close(torch.cat([head, tail], dim=1), whole)
    torch.testing.assert_close(x, last)


def test_steps_equal_simulation_and_batch_may_be_empty() -> None:
    system = random_system(discrete=True)
    u = torch.randn(2, 5, 2, dtype=F64)
    x, ys = torch.zeros(2, 4, dtype=F64), []
    for k in range(5):
        y, x = step(system, x, u[:, k])
        ys.append(y)
    torch.testing.assert_close(torch.stack(ys, dim=1), simulate(system, u)[0])
    assert simulate(system, u[:0])[0].shape == (0, 5, 3)
    assert simulate(system, u[:, :1])[0].shape == (2, 1, 3)


def test_stability_is_read_from_the_eigenvalues() -> None:
    A = torch.diag(torch.tensor([-1.0, -0.1]))
    assert is_hurwitz(A)
    assert is_schur(torch.matrix_exp(A))
    assert not is_hurwitz(A + 0.2 * torch.eye(2))
    assert not is_schur(torch.matrix_exp(A + 0.2 * torch.eye(2)))


def test_gradients() -> None:
    system = random_system(2, 1, 1, discrete=True)
    u = torch.randn(1, 4, 1, dtype=F64)
    matrices = tuple(x.requires_grad_() for x in (system.A, system.B, system.C, system.D))
    assert torch.autograd.gradcheck(lambda *m: simulate(LinearSystem(*m), u)[0], matrices)


def test_refuses_what_does_not_fit() -> None:
    system = random_system(discrete=True)
    A, B, C, D = system.A, system.B, system.C, system.D
    u = torch.zeros(1, 3, 2, dtype=F64)
    refused = [
        (lambda: LinearSystem(A[:3], B, C, D), "A must have shape"),
        (lambda: LinearSystem(A, B, C, D[:, :1]), "D must have shape"),
        (lambda: LinearSystem(A, B[0], C, D), "B must be a matrix"),
        (lambda: LinearSystem(A, B.float(), C, D), "one floating-point dtype"),
        (lambda: simulate(system, u[..., :1]), "u must have shape"),
        (lambda: simulate(system, u[:, :0]), "at least one time step"),
        (lambda: simulate(system, u, torch.zeros(1, 3)), "x0 must have shape"),
        (lambda: markov_parameters(system, 0), "at least 1"),
        (lambda: change_basis(system, torch.zeros(4, 4, dtype=F64)), "invertible"),
        (lambda: change_basis(system, torch.zeros(3, 3, dtype=F64)), "T must have shape"),
        (lambda: solve(system, lambda t: t, -1.0, torch.zeros(4, dtype=F64)), "negative"),
        (lambda: gauss_legendre(0), "order"),
    ]
    for call, message in refused:
        with pytest.raises(ValueError, match=message):
            call()
