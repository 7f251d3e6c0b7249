"""S4D: one diagonal state space a channel, trained as a convolution and run as a recurrence.

    h'(t) = A h(t) + B u(t),  y(t) = 2·Re(C · h(t)) + D u(t),  B = 1                (1)
    A = −exp(log_decay) + i · frequency                                             (2)
    Ā = e^{ΔA},  B̄ = (e^{ΔA} − 1)/A                                                 (3)
    K_i = 2·Re Σ_n C_n B̄_n e^{iΔA_n}                                                (4)
    y = K ∗ u + D u                                                                 (5)
    o = GLU(W · GELU(y) + b)                                                        (6)

A state of `d_state` real numbers is kept as n = d_state / 2 complex ones: the other half are
their conjugates, which is where 2·Re comes from. Where A starts, for k = 0 … n − 1:

    lin   A_k = −½ + iπk                                                            (7)
    inv   A_k = −½ + i (N/π) (N/(2k+1) − 1),  N = d_state                           (8)
    legs  −½ + i · (the positive frequencies of HiPPO-LegS)                         (9)
    real  A_k = −(k + 1)                                                            (10)

In the letters of `ssm_ref.linear_attention.recurrence` each channel is a head with the constant
decay g = log |Ā|, whose q and k are turned by the number of the token.

Source: Gu, Gupta, Goel and Ré, arXiv 2206.11893.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

import torch
from jaxtyping import Complex, Float, Inexact
from torch import Tensor, nn
from torch.nn import functional

from ssm_ref.expect import expect_counts, expect_sequence, expect_token
from ssm_ref.foundations import convolution
from ssm_ref.foundations.convolution import DiagonalSystem, run_convolution
from ssm_ref.foundations.discretization import discretize_diagonal
from ssm_ref.precision import widened
from ssm_ref.structured.hippo import normal_plus_low_rank

Run = Callable[[DiagonalSystem, Tensor, Tensor | None], tuple[Tensor, Tensor]]


class Init(StrEnum):
    """Where the state matrix of S4D starts."""

    LIN = "lin"
    INV = "inv"
    LEGS = "legs"
    REAL = "real"


def initial_A(init: Init | str, d_state: int) -> Complex[Tensor, " n"]:
    """The `d_state // 2` starting values (7) to (10), complex128.

    Raises `ValueError` for an unknown init or a `d_state` that is odd or below 2.
    """
    try:
        init = Init(init)
    except ValueError as error:
        raise ValueError(f"unknown init {init!r}; choose from {[i.value for i in Init]}") from error
    if d_state < 2 or d_state % 2:
        raise ValueError(f"d_state must be even and at least 2; got {d_state}")
    k = torch.arange(d_state // 2, dtype=torch.float64)
    half = torch.full_like(k, -0.5)
    match init:
        case Init.LIN:
            return torch.complex(half, math.pi * k)  # (7)
        case Init.INV:
            return torch.complex(half, d_state / math.pi * (d_state / (2 * k + 1) - 1))  # (8)
        case Init.LEGS:
            return normal_plus_low_rank("legs", d_state).eigenvalues[d_state // 2 :]  # (9)
        case Init.REAL:
            return torch.complex(-(k + 1), torch.zeros_like(k))  # (10)


@dataclass(frozen=True, kw_only=True, slots=True)
class S4DConfig:
    """Sizes and starting values; `d_state` counts real numbers, half of them are stored."""

    d_model: int
    d_state: int = 64
    init: str = Init.LEGS
    dt_min: float = 1e-3
    dt_max: float = 1e-1

    def __post_init__(self) -> None:
        expect_counts(self, "d_model")
        if not 0 < self.dt_min <= self.dt_max:
            raise ValueError(f"0 < dt_min ≤ dt_max is wanted; got {self.dt_min}, {self.dt_max}")
        initial_A(self.init, self.d_state)


def initial_log_dt(d: int, dt_min: float, dt_max: float) -> Float[Tensor, " d"]:
    """Logarithms of steps spread log-uniformly over [dt_min, dt_max], at random."""
    return math.log(dt_min) + torch.rand(d) * (math.log(dt_max) - math.log(dt_min))


class S4D(nn.Module):
    """An S4D layer (b, l, d) → (b, l, d): states for memory, a gated linear unit for mixing.

    `run` computes the recurrence: any mode of `ssm_ref.foundations.convolution`.
    """

    def __init__(self, cfg: S4DConfig, *, run: Run = run_convolution) -> None:
        super().__init__()
        self.cfg, self.run = cfg, run
        d, n = cfg.d_model, cfg.d_state // 2
        A = initial_A(cfg.init, cfg.d_state)
        self.log_dt = nn.Parameter(initial_log_dt(d, cfg.dt_min, cfg.dt_max))
        self.log_decay = nn.Parameter((-A.real).log().float().repeat(d, 1))
        self.frequency = nn.Parameter(A.imag.float().repeat(d, 1))
        self.C = nn.Parameter(torch.randn(d, n, 2) * math.sqrt(0.5))
        self.D = nn.Parameter(torch.randn(d))
        self.mix = nn.Linear(d, 2 * d)

    @property
    def no_weight_decay(self) -> set[str]:
        """Names of the parameters that set the dynamics: train them without weight decay."""
        return {"log_dt", "log_decay", "frequency", "D"}

    @property
    def A(self) -> Complex[Tensor, "d n"]:
        """The state matrix (2): its real part is negative whatever the optimiser does."""
        return torch.complex(-widened(self.log_decay).exp(), widened(self.frequency))  # (2)

    def discrete(self) -> DiagonalSystem:
        """The discretized system of every channel (3)."""
        log_dt, C, D = (widened(x) for x in (self.log_dt, self.C, self.D))
        A_bar, B_bar, _ = discretize_diagonal(self.A, D.new_ones(()), log_dt.exp()[:, None])  # (3)
        return DiagonalSystem(A_bar, B_bar, torch.view_as_complex(C), D)

    def kernel(self, l: int) -> Float[Tensor, "d l"]:
        """The first `l` taps of the convolution (4), without D."""
        return convolution.kernel(self.discrete(), l)  # (4)

    def forward(
        self, u: Float[Tensor, "b l d"], state: Inexact[Tensor, "b d n"] | None = None
    ) -> tuple[Float[Tensor, "b l d"], Inexact[Tensor, "b d n"]]:
        """The layer's output and its last state; `state` is the one to start from, else zero.

        Raises `ValueError` for inputs or states that do not fit.
        """
        expect_sequence("u", u, self.cfg.d_model, self.D)
        y, state = self.run(self.discrete(), widened(u), state)  # (5)
        return self._mix(y), state

    def step(
        self, u_t: Float[Tensor, "b d"], state: Inexact[Tensor, "b d n"] | None = None
    ) -> tuple[Float[Tensor, "b d"], Inexact[Tensor, "b d n"]]:
        """The output for one token and the new state: constant time and memory."""
        expect_token("u_t", u_t, self.cfg.d_model, self.D)
        system = self.discrete()
        if state is None:
            state = u_t.new_zeros(u_t.shape[0], *system.A_bar.shape, dtype=system.dtype)
        y, state = convolution.step(system, state, widened(u_t))
        return self._mix(y), state

    def _mix(self, y: Tensor) -> Tensor:
        return functional.glu(self.mix(functional.gelu(y).to(self.D.dtype)), dim=-1)  # (6)


def vandermonde_kernel(
    dt_A: Complex[Tensor, "d n"], C_B: Complex[Tensor, "d n"], l: int
) -> Float[Tensor, "d l"]:
    """Eq. (4) as printed, one exponential for every state and tap: the definition of the kernel."""
    if l < 1 or dt_A.ndim != 2 or C_B.shape != dt_A.shape:
        raise ValueError(
            "dt_A and C_B must have one shape (d, n) and l be at least 1; "
            f"got {tuple(dt_A.shape)}, {tuple(C_B.shape)} and {l}"
        )
    i = torch.arange(l, device=dt_A.device)
    return 2 * torch.einsum("dn,dnl->dl", C_B, torch.exp(dt_A[..., None] * i)).real  # (4)
