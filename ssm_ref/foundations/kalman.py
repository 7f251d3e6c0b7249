"""The Kalman filter: the best estimate of a hidden state, sequentially and in parallel in time.

    x_k = A x_{k−1} + w_k,  w ~ N(0, Q);   y_k = C x_k + v_k,  v ~ N(0, R)             (1)
    x̂⁻ = A x̂,   P⁻ = A P Aᵀ + Q                                predict                 (2)
    S = C P⁻ Cᵀ + R,   K = P⁻ Cᵀ S⁻¹                            gain                    (3)
    x̂ = x̂⁻ + K (y − C x̂⁻),   P = P⁻ − K S Kᵀ                    update                  (4)
    G = P Aᵀ (P⁻₊)⁻¹,   x̂ˢ = x̂ + G (x̂ˢ₊ − x̂⁻₊),  Pˢ = P + G (Pˢ₊ − P⁻₊) Gᵀ   smooth    (5)

₊ marks the next time. The prior (m, P) is the state before the first step (statsmodels takes the
predicted state instead). The same filter is a scan of elements (F, b, Σ, η, J) that compose by

    M = (I + Σ₁ J₂)⁻¹,   F = F₂ M F₁,   b = F₂ M (b₁ + Σ₁ η₂) + b₂,   Σ = F₂ M Σ₁ F₂ᵀ + Σ₂,
    η = F₁ᵀ Mᵀ (η₂ − J₂ b₁) + η₁,   J = F₁ᵀ Mᵀ J₂ F₁ + J₁.                              (6)

Sources: Kalman, 1960; Särkkä and García-Fernández, arXiv 1905.13002, for (6).
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from ssm_ref.expect import expect_sequence
from ssm_ref.foundations.lqr import solve_riccati
from ssm_ref.foundations.scan import Elements, associative_scan


@dataclass(frozen=True, slots=True)
class LinearGaussian:
    """The matrices of Eq. (1) and the prior; raises `ValueError` for shapes that do not fit."""

    A: Float[Tensor, "n n"]  # these four are of (1)
    Q: Float[Tensor, "n n"]
    C: Float[Tensor, "p n"]
    R: Float[Tensor, "p p"]
    mean: Float[Tensor, " n"]
    covariance: Float[Tensor, "n n"]

    def __post_init__(self) -> None:
        if self.C.ndim != 2:
            raise ValueError(f"C must be a matrix; got shape {tuple(self.C.shape)}")
        p, n = self.C.shape
        wanted = {"A": (n, n), "Q": (n, n), "R": (p, p), "mean": (n,), "covariance": (n, n)}
        for name, shape in wanted.items():
            got = tuple(getattr(self, name).shape)
            if got != shape:
                raise ValueError(f"{name} must have shape {shape} beside C; got {got}")


class Estimates(NamedTuple):
    """Means (b, l, n), covariances (l, n, n), which no observation changes."""

    mean: Float[Tensor, "b l n"]
    covariance: Float[Tensor, "l n n"]


def kalman_filter(model: LinearGaussian, y: Float[Tensor, "b l p"]) -> Estimates:
    """Estimates of each state from the observations up to it (2) to (4): the definition."""
    expect_sequence("y", y, model.C.shape[0])
    x, P = model.mean.expand(y.shape[0], -1), model.covariance
    means, covariances = [], []
    for k in range(y.shape[1]):
        x, P = x @ model.A.mT, _predicted(model, P)  # (2)
        x, P = _update(model, x, P, y[:, k])
        means.append(x)
        covariances.append(P)
    return Estimates(torch.stack(means, dim=1), torch.stack(covariances))


def log_likelihood(model: LinearGaussian, y: Float[Tensor, "b l p"]) -> Float[Tensor, " b"]:
    """log p(y) of whole sequences: the sum over the innovations y − C x̂⁻ ~ N(0, S)."""
    x, P = kalman_filter(model, y)
    before = torch.cat([model.mean.expand(y.shape[0], 1, -1), x[:, :-1]], dim=1)
    covariance = torch.cat([model.covariance[None], P[:-1]])
    S = model.C @ _predicted(model, covariance) @ model.C.mT + model.R
    innovation = y - before @ (model.C @ model.A).mT
    normal = torch.distributions.MultivariateNormal(torch.zeros_like(innovation), S)
    return normal.log_prob(innovation).sum(1)


def kalman_filter_parallel(model: LinearGaussian, y: Float[Tensor, "b l p"]) -> Estimates:
    """`kalman_filter` as an associative scan (6): depth 2 log₂ l instead of l."""
    expect_sequence("y", y, model.C.shape[0])
    b, l, _ = y.shape
    A, Q, C, R = model.A, model.Q, model.C, model.R
    K = torch.linalg.solve(C @ Q @ C.mT + R, C @ Q).mT
    information = torch.linalg.solve(C @ Q @ C.mT + R, C @ A)
    y = y.movedim(0, -1)  # l p b
    F = (A - K @ C @ A).repeat(l, 1, 1)
    Sigma = (Q - K @ C @ Q).repeat(l, 1, 1)
    first, P = _update(
        model, (A @ model.mean).expand(b, -1), _predicted(model, model.covariance), y[0].mT
    )
    F = torch.cat([torch.zeros_like(F[:1]), F[1:]])
    Sigma = torch.cat([P[None], Sigma[1:]])
    shift = torch.cat([first.mT[None], K @ y[1:]])
    J = ((C @ A).mT @ information).repeat(l, 1, 1)
    _, mean, covariance, _, _ = associative_scan(
        compose_filters, (F, shift, Sigma, information.mT @ y, J)
    )
    return Estimates(mean.movedim(-1, 0), covariance)


def compose_filters(first: Elements, second: Elements) -> Elements:
    """Two stretches of filtering as one (6); b and η carry the batch as columns."""
    F1, b1, S1, eta1, J1 = first
    F2, b2, S2, eta2, J2 = second
    one = torch.eye(F1.shape[-1], dtype=F1.dtype, device=F1.device)
    M = torch.linalg.inv(one + S1 @ J2)
    forward, back = F2 @ M, F1.mT @ M.mT
    return (
        forward @ F1,
        forward @ (b1 + S1 @ eta2) + b2,
        forward @ S1 @ F2.mT + S2,
        back @ (eta2 - J2 @ b1) + eta1,
        back @ J2 @ F1 + J1,
    )  # (6)


def smooth(model: LinearGaussian, filtered: Estimates) -> Estimates:
    """Estimates of each state from all observations, walking back (5) (Rauch, Tung, Striebel)."""
    x, P = filtered.mean[:, -1], filtered.covariance[-1]
    means, covariances = [x], [P]
    for k in range(filtered.mean.shape[1] - 2, -1, -1):
        x_k, P_k = filtered.mean[:, k], filtered.covariance[k]
        P_next = _predicted(model, P_k)
        G = torch.linalg.solve(P_next, model.A @ P_k).mT  # (5)
        x = x_k + (x - x_k @ model.A.mT) @ G.mT  # (5)
        P = P_k + G @ (P - P_next) @ G.mT  # (5)
        means.append(x)
        covariances.append(P)
    return Estimates(torch.stack(means[::-1], dim=1), torch.stack(covariances[::-1]))


def steady_gain(model: LinearGaussian) -> Float[Tensor, "n p"]:
    """The gain (3) that the filter settles to: a Riccati equation, dual to the regulator's."""
    P = solve_riccati(model.A.mT, model.C.mT, model.Q, model.R)
    return torch.linalg.solve(model.C @ P @ model.C.mT + model.R, model.C @ P).mT  # (3)


def _predicted(model: LinearGaussian, P: Tensor) -> Tensor:
    return model.A @ P @ model.A.mT + model.Q  # (2)


def _update(model: LinearGaussian, x: Tensor, P: Tensor, y_k: Tensor) -> tuple[Tensor, Tensor]:
    S = model.C @ P @ model.C.mT + model.R
    K = torch.linalg.solve(S, model.C @ P).mT  # (3)
    x = x + (y_k - x @ model.C.mT) @ K.mT  # (4)
    P = P - K @ S @ K.mT  # (4)
    return x, (P + P.mT) / 2
