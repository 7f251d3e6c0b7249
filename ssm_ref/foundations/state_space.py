"""Linear state space systems in continuous and in discrete time, and their two descriptions.

Continuous time, state x (n), input u (m), output y (p):

    x'(t) = A x(t) + B u(t)                                    (1)
    y(t)  = C x(t) + D u(t)                                    (2)
    x(t)  = e^{At} x(0) + ∫₀ᵗ e^{A(t−τ)} B u(τ) dτ             (3)
    G(s)  = C (sI − A)⁻¹ B + D                                 (4)
    g(t)  = C e^{At} B  (and D δ(t))                           (5)

Discrete time, in the convention of deep learning: the state sees u_k before y_k is read.

    x_k = Ā x_{k−1} + B̄ u_k                                    (6)
    y_k = C x_k + D u_k                                        (7)
    K_0 = C B̄ + D,  K_i = C Āⁱ B̄                               (8)
    G(z) = C (I − z⁻¹ Ā)⁻¹ B̄ + D                               (9)

Both are kept by a change of basis x = T x̃:

    (A, B, C, D) → (T⁻¹ A T, T⁻¹ B, C T, D).                   (10)

Textbooks and scipy put u_{k−1} into (6); `textbook_form` converts.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Complex, Float, Inexact
from torch import Tensor

from ssm_ref.expect import expect_sequence


@dataclass(frozen=True, slots=True)
class LinearSystem:
    """The four matrices of a linear system; whether time is continuous is for the caller to know.

    Raises `ValueError` unless A is (n, n), B (n, m), C (p, n) and D (p, m), all floating point of
    one dtype.
    """

    A: Inexact[Tensor, "n n"]  # with B the right side of (1)
    B: Inexact[Tensor, "n m"]
    C: Inexact[Tensor, "p n"]  # with D the right side of (2)
    D: Inexact[Tensor, "p m"]

    def __post_init__(self) -> None:
        for name in ("A", "B", "C", "D"):
            value = getattr(self, name)
            if value.ndim != 2:
                raise ValueError(f"{name} must be a matrix; got shape {tuple(value.shape)}")
            if value.dtype != self.A.dtype or not (value.is_floating_point() or value.is_complex()):
                raise ValueError(
                    f"A, B, C and D must share one floating-point dtype; "
                    f"got {self.A.dtype} for A and {value.dtype} for {name}"
                )
        (n, m), p = self.B.shape, self.C.shape[0]
        wanted = {"A": (n, n), "B": (n, m), "C": (p, n), "D": (p, m)}
        for name, shape in wanted.items():
            if getattr(self, name).shape != shape:
                got = tuple(getattr(self, name).shape)
                raise ValueError(f"{name} must have shape {shape} beside B ({n}, {m}); got {got}")

    @property
    def sizes(self) -> tuple[int, int, int]:
        """Numbers of states n, inputs m and outputs p."""
        return self.A.shape[0], self.B.shape[1], self.C.shape[0]

    @property
    def poles(self) -> Complex[Tensor, " n"]:
        """Eigenvalues of A: the poles of the transfer function, if nothing cancels."""
        return torch.linalg.eigvals(self.A)


def is_hurwitz(A: Inexact[Tensor, "n n"]) -> bool:
    """Whether x' = Ax dies out: all eigenvalues in the open left half-plane."""
    return bool((torch.linalg.eigvals(A).real < 0).all())


def is_schur(A_bar: Inexact[Tensor, "n n"]) -> bool:
    """Whether x_k = Ā x_{k−1} dies out: all eigenvalues inside the unit circle."""
    return bool((torch.linalg.eigvals(A_bar).abs() < 1).all())


def gauss_legendre(order: int, *, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    """Nodes and weights on [−1, 1] that integrate polynomials below degree 2·order exactly.

    Eigenvalues of the Jacobi matrix (Golub and Welsch, 1969).
    """
    if order < 1:
        raise ValueError(f"a quadrature rule needs order ≥ 1; got {order}")
    k = torch.arange(1, order, dtype=dtype)
    beta = k / torch.sqrt(4 * k**2 - 1)
    nodes, vectors = torch.linalg.eigh(torch.diag(beta, 1) + torch.diag(beta, -1))
    return nodes, 2 * vectors[0] ** 2


def solve(
    system: LinearSystem,
    u: Callable[[Tensor], Tensor],
    t: float,
    x0: Inexact[Tensor, " n"],
    *,
    order: int = 64,
) -> Inexact[Tensor, " n"]:
    """The state (3) at time `t` for an input function, by Gauss–Legendre quadrature.

    `u` maps times (k,) to inputs (k, m) and should be smooth on [0, t].
    """
    if t < 0:
        raise ValueError(f"t must not be negative; got {t}")
    nodes, weights = gauss_legendre(order, dtype=x0.real.dtype)
    tau = (nodes + 1) * (t / 2)
    drive = torch.matrix_exp(system.A * (t - tau)[:, None, None]) @ system.B  # k n m
    integral = torch.einsum("k,knm,km->n", (weights * t / 2).to(drive.dtype), drive, u(tau))
    return torch.matrix_exp(system.A * t) @ x0 + integral  # (3)


def transfer_function(system: LinearSystem, s: Complex[Tensor, " k"]) -> Complex[Tensor, "k p m"]:
    """G(s) of a continuous system at complex frequencies (4)."""
    n, _, _ = system.sizes
    resolvent = s[:, None, None] * torch.eye(n, dtype=s.dtype, device=s.device) - system.A
    x = torch.linalg.solve(resolvent, system.B.to(s.dtype).expand(s.shape[0], -1, -1))
    return system.C.to(s.dtype) @ x + system.D  # (4)


def impulse_response(system: LinearSystem, t: Float[Tensor, " k"]) -> Inexact[Tensor, "k p m"]:
    """g(t) of a continuous system at times t ≥ 0 (5), without the D δ(t) of the skip."""
    return system.C @ torch.matrix_exp(system.A * t[:, None, None]) @ system.B  # (5)


def simulate(
    system: LinearSystem,
    u: Inexact[Tensor, "b l m"],
    x0: Inexact[Tensor, "b n"] | None = None,
) -> tuple[Inexact[Tensor, "b l p"], Inexact[Tensor, "b n"]]:
    """Outputs of a discrete system and its last state, step by step: the definition.

    `x0` is the state before the first input, zero if left out. Raises `ValueError` for inputs
    that do not fit or an empty sequence.
    """
    n, m, _ = system.sizes
    expect_sequence("u", u, m)
    x = u.new_zeros(u.shape[0], n, dtype=system.A.dtype) if x0 is None else x0
    if x.shape != (u.shape[0], n):
        raise ValueError(f"x0 must have shape {(u.shape[0], n)}; got {tuple(x.shape)}")
    y = []
    for k in range(u.shape[1]):
        y_k, x = step(system, x, u[:, k].to(system.A.dtype))
        y.append(y_k)
    return torch.stack(y, dim=1), x


def step(
    system: LinearSystem, x: Inexact[Tensor, "b n"], u_k: Inexact[Tensor, "b m"]
) -> tuple[Inexact[Tensor, "b p"], Inexact[Tensor, "b n"]]:
    """One output and the new state of a discrete system."""
    x = x @ system.A.T + u_k @ system.B.T  # (6)
    return x @ system.C.T + u_k @ system.D.T, x  # (7)


def markov_parameters(system: LinearSystem, l: int) -> Inexact[Tensor, "l p m"]:
    """The first `l` terms of the impulse response of a discrete system, D included (8)."""
    if l < 1:
        raise ValueError(f"l must be at least 1; got {l}")
    state, K = system.B, []
    for _ in range(l):
        K.append(system.C @ state)  # (8)
        state = system.A @ state
    K[0] = K[0] + system.D  # (8)
    return torch.stack(K)


def transfer_function_discrete(
    system: LinearSystem, z: Complex[Tensor, " k"]
) -> Complex[Tensor, "k p m"]:
    """G(z) of a discrete system in the convention of (6), at complex z ≠ 0 (9)."""
    n, _, _ = system.sizes
    resolvent = torch.eye(n, dtype=z.dtype, device=z.device) - system.A / z[:, None, None]
    x = torch.linalg.solve(resolvent, system.B.to(z.dtype).expand(z.shape[0], -1, -1))
    return system.C.to(z.dtype) @ x + system.D  # (9)


def change_basis(system: LinearSystem, T: Inexact[Tensor, "n n"]) -> LinearSystem:
    """The same input–output map with state x̃ = T⁻¹ x (10), in the wider dtype of the two.

    Raises `ValueError` if T is not an invertible (n, n) matrix.
    """
    n, _, _ = system.sizes
    if T.shape != (n, n):
        raise ValueError(f"T must have shape {(n, n)}; got {tuple(T.shape)}")
    dtype = torch.promote_types(system.A.dtype, T.dtype)
    A, B, C, D = (x.to(dtype) for x in (system.A, system.B, system.C, system.D))
    T = T.to(dtype)
    if int(torch.linalg.matrix_rank(T)) < n:
        raise ValueError(f"T must be invertible; its rank is below {n}")
    return LinearSystem(torch.linalg.solve(T, A @ T), torch.linalg.solve(T, B), C @ T, D)  # (10)


def textbook_form(system: LinearSystem) -> LinearSystem:
    """The matrices that give the same outputs when x_{k+1} = A x_k + B u_k, y_k = C x_k + D u_k.

    There the state is read before u_k enters, so C becomes C Ā and C B̄ moves into D.
    """
    return LinearSystem(system.A, system.B, system.C @ system.A, system.C @ system.B + system.D)
