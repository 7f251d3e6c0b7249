"""The linear-quadratic regulator: the feedback that keeps a state small at least cost.

    x_{k+1} = A x_k + B u_k                                                            (1)
    J = Σ_k x_kᵀ Q x_k + u_kᵀ R u_k  (and x_lᵀ Q x_l at the end)                         (2)
    K_k = (R + Bᵀ P_{k+1} B)⁻¹ Bᵀ P_{k+1} A                                            (3)
    P_k = Q + Aᵀ P_{k+1} A − Aᵀ P_{k+1} B K_k,   P_l = Q                               (4)
    u_k = −K_k x_k,   least J = x_0ᵀ P_0 x_0                                           (5)

Without an end, P solves (4) with P_k = P_{k+1}: the discrete algebraic Riccati equation. With
Aᵀ, Cᵀ in the places of A, B it is the covariance of the Kalman filter.

(1) is in the textbook's convention: u_k acts on the next state.
"""

import torch
from jaxtyping import Float
from torch import Tensor


def lqr_gain(
    P: Float[Tensor, "n n"],
    A: Float[Tensor, "n n"],
    B: Float[Tensor, "n m"],
    R: Float[Tensor, "m m"],
) -> Float[Tensor, "m n"]:
    """The feedback K for a cost-to-go P (3)."""
    return torch.linalg.solve(R + B.mT @ P @ B, B.mT @ P @ A)  # (3)


def finite_horizon(
    A: Float[Tensor, "n n"],
    B: Float[Tensor, "n m"],
    Q: Float[Tensor, "n n"],
    R: Float[Tensor, "m m"],
    l: int,
) -> tuple[Float[Tensor, "l m n"], Float[Tensor, "n n"]]:
    """The gains K_0 … K_{l−1} and P_0, walking back from the end (3), (4): the definition."""
    check_cost(A, B, Q, R)
    if l < 1:
        raise ValueError(f"the horizon l must be at least 1; got {l}")
    P, gains = Q, []
    for _ in range(l):
        K = lqr_gain(P, A, B, R)
        P = Q + A.mT @ P @ (A - B @ K)  # (4)
        P = (P + P.mT) / 2
        gains.append(K)
    return torch.stack(gains[::-1]), P


def solve_riccati(
    A: Float[Tensor, "n n"],
    B: Float[Tensor, "n m"],
    Q: Float[Tensor, "n n"],
    R: Float[Tensor, "m m"],
    *,
    rounds: int = 60,
) -> Float[Tensor, "n n"]:
    """The fixed point P of (4), by doubling: each round looks twice as far ahead.

    Raises `ValueError` if it has not settled after `rounds`, as when A cannot be stabilised.
    """
    check_cost(A, B, Q, R)
    one = torch.eye(A.shape[0], dtype=A.dtype, device=A.device)
    G, P = B @ torch.linalg.solve(R, B.mT), Q
    for _ in range(rounds):
        W = one + G @ P
        forward = torch.linalg.solve(W, A)
        ahead = A.mT @ P @ forward  # (4)
        G, A = G + A @ torch.linalg.solve(W, G) @ A.mT, A @ forward
        P = P + (ahead + ahead.mT) / 2
        if not bool(P.norm().isfinite()):  # squares overflow before P does
            break
        if ahead.norm() <= 10 * torch.finfo(P.dtype).eps * P.norm():
            return P
    raise ValueError("the Riccati equation did not settle: A, B cannot be stabilised at this cost")


def check_cost(A: Tensor, B: Tensor, Q: Tensor, R: Tensor) -> None:
    """Raise `ValueError` unless A, Q are (n, n), B (n, m), and R (m, m) is positive definite."""
    if B.ndim != 2:
        raise ValueError(f"B must be a matrix; got shape {tuple(B.shape)}")
    n, m = B.shape
    for name, value, shape in (("A", A, (n, n)), ("Q", Q, (n, n)), ("R", R, (m, m))):
        if value.shape != shape:
            raise ValueError(f"{name} must have shape {shape} beside B; got {tuple(value.shape)}")
    if int(torch.linalg.cholesky_ex(R).info) != 0:
        raise ValueError("R must be positive definite: every input must cost something")
