"""RG-LRU and the recurrent block of Griffin: a real diagonal recurrence with two gates.

    r_t = σ(W_a x_t + b_a),   i_t = σ(W_x x_t + b_x)    W block-diagonal, a block a head     (1)
    log a_t = −c r_t ⊙ softplus(Λ),   c = 8                                                  (2)
    h_t = a_t ⊙ h_{t−1} + sqrt(1 − a_t²) ⊙ (i_t ⊙ x_t)                                       (3)

Neither gate sees h. The factor of the input is 1 at the first token of a sequence, whose state
has no past to make room for. r near 0 keeps the state whatever Λ is. The block around it:

    x = conv(W_1 u + b_1),   out = W_3 (h ⊙ GELU(W_2 u + b_2)) + b_3                         (4)

In the letters of `ssm_ref.linear_attention.recurrence` each channel is a head with the decay
log a, into which the second term of Eq. (3) is written.
Griffin lays two such blocks to one of local attention. Start: ρ² uniform in [0.9², 0.999²] and
softplus(Λ) = −log ρ, so that an open gate decays by ρ^c. Sources: De et al. 2024, arXiv
2402.19427; the sign of Λ and the first factor as in the published code of RecurrentGemma.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from ssm_ref.expect import (
    expect_batch,
    expect_counts,
    expect_sequence,
    expect_shape,
    expect_token,
    state_dtype,
)
from ssm_ref.foundations.scan import linear_scan
from ssm_ref.selective.causal_conv1d import causal_conv1d

Recurrence = Callable[[Tensor, Tensor, Tensor | None], Tensor]
STEEPEST = 1000.0  # bound on the derivative of the root, which is infinite where a = 1


class BoundedSqrt(torch.autograd.Function):
    """sqrt(x), whose derivative is cut off at `STEEPEST`."""

    @staticmethod
    def forward(x: Tensor) -> Tensor:
        """The square root."""
        return x.sqrt()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], output: Tensor) -> None:
        """Keep what the backward pass reads."""
        ctx.save_for_backward(inputs[0])

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        """1 / (2 √x), at most `STEEPEST`."""
        (x,) = ctx.saved_tensors
        return grad / (4 * x).clamp(min=STEEPEST**-2).sqrt()


class BlockDiagonal(nn.Module):
    """A linear map whose matrix is one block a head: (…, h · p) → (…, h · p)."""

    def __init__(self, width: int, n_heads: int) -> None:
        super().__init__()
        p = width // n_heads
        self.weight = nn.Parameter(torch.empty(n_heads, p, p))  # input channels first
        self.bias = nn.Parameter(torch.zeros(n_heads, p))
        nn.init.normal_(self.weight, std=p**-0.5)

    def forward(self, x: Float[Tensor, "*batch d"]) -> Float[Tensor, "*batch d"]:
        """Each head's channels by that head's block."""
        heads = x.unflatten(-1, self.bias.shape)
        return (torch.einsum("...hp,hpq->...hq", heads, self.weight) + self.bias).flatten(-2)


class RGLRU(nn.Module):
    """The gated recurrence of Eqs. (1) to (3); `recurrence` computes Eq. (3) for all tokens."""

    def __init__(self, width: int, n_heads: int, *, recurrence: Recurrence = linear_scan) -> None:
        super().__init__()
        if n_heads < 1 or width < 1 or width % n_heads:
            raise ValueError(f"n_heads={n_heads} must divide width={width}")
        self.recurrence = recurrence
        self.recurrence_gate = BlockDiagonal(width, n_heads)
        self.input_gate = BlockDiagonal(width, n_heads)
        self.Lambda = nn.Parameter(torch.empty(width))
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Λ such that ρ² is uniform in [0.9², 0.999²]."""
        rho2 = torch.empty_like(self.Lambda, dtype=torch.float64).uniform_(0.9**2, 0.999**2)
        self.Lambda.copy_(torch.expm1(-0.5 * rho2.log()).log())

    def forward(
        self, x: Float[Tensor, "b l d"], h: Float[Tensor, "b d"] | None
    ) -> Float[Tensor, "b l d"]:
        """All states, from the state `h`, or from an empty past if it is None."""
        wide = state_dtype(x)
        r, i = (
            torch.sigmoid(g(x)).to(wide) for g in (self.recurrence_gate, self.input_gate)
        )  # (1)
        log_a = -8 * r * F.softplus(self.Lambda.to(wide))  # (2)
        room = BoundedSqrt.apply(-torch.expm1(2 * log_a))
        if h is None:
            room = torch.cat([torch.ones_like(room[:, :1]), room[:, 1:]], dim=1)
        return self.recurrence(log_a.exp(), room * i * x, h)  # (3)


@dataclass(frozen=True, kw_only=True, slots=True)
class GriffinBlockConfig:
    """Sizes of Griffin's recurrent block; `width` is that of the recurrence."""

    d_model: int
    n_heads: int
    width: int | None = None  # d_model when not given
    d_conv: int = 4

    def __post_init__(self) -> None:
        expect_counts(self, "d_model", "n_heads", "width", "d_conv")
        if self.d_rnn % self.n_heads:
            raise ValueError(f"n_heads={self.n_heads} must divide the width {self.d_rnn}")

    @property
    def d_rnn(self) -> int:
        """Channels of the recurrence."""
        return self.d_model if self.width is None else self.width


class GriffinState(NamedTuple):
    """The last inputs of the convolution, h, and whether there was any input yet."""

    conv: Float[Tensor, "b w d"]
    h: Float[Tensor, "b d"]
    started: bool


class GriffinBlock(nn.Module):
    """Griffin's (and Hawk's) recurrent block, Eq. (4) around an `RGLRU`."""

    def __init__(self, cfg: GriffinBlockConfig, *, recurrence: Recurrence = linear_scan) -> None:
        super().__init__()
        self.cfg = cfg
        self.x_proj = nn.Linear(cfg.d_model, cfg.d_rnn)
        self.gate_proj = nn.Linear(cfg.d_model, cfg.d_rnn)
        self.conv_weight = nn.Parameter(torch.empty(cfg.d_rnn, cfg.d_conv))
        self.conv_bias = nn.Parameter(torch.zeros(cfg.d_rnn))
        self.rg_lru = RGLRU(cfg.d_rnn, cfg.n_heads, recurrence=recurrence)
        self.out_proj = nn.Linear(cfg.d_rnn, cfg.d_model)
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Projections of unit variance, a small convolution, biases zero, as published."""
        for layer in (self.x_proj, self.gate_proj, self.out_proj):
            nn.init.normal_(layer.weight, std=layer.in_features**-0.5)
            nn.init.zeros_(layer.bias)
        nn.init.normal_(self.conv_weight, std=math.sqrt(0.01 / self.cfg.d_conv))

    def allocate_state(self, batch: int) -> GriffinState:
        """The state of an empty past: zeros."""
        expect_batch(batch)
        weight, cfg = self.out_proj.weight, self.cfg
        return GriffinState(
            weight.new_zeros(batch, cfg.d_conv - 1, cfg.d_rnn),
            weight.new_zeros(batch, cfg.d_rnn, dtype=state_dtype(weight)),
            started=False,
        )

    def forward(self, u: Float[Tensor, "b l m"]) -> Float[Tensor, "b l m"]:
        """The block from an empty past."""
        return self.prefill(u, self.allocate_state(u.shape[0]))[0]

    def prefill(
        self, u: Float[Tensor, "b l m"], state: GriffinState
    ) -> tuple[Float[Tensor, "b l m"], GriffinState]:
        """The block after the past in `state`, and the state after it.

        Raises `ValueError` for inputs or states that do not fit.
        """
        expect_sequence("u", u, self.cfg.d_model, self.conv_weight)
        self._check(state, u.shape[0])
        x, conv = causal_conv1d(
            self.x_proj(u), self.conv_weight, self.conv_bias, initial_state=state.conv
        )
        h = self.rg_lru(x, state.h if state.started else None)
        gate = F.gelu(self.gate_proj(u), approximate="tanh")
        out = self.out_proj(h.to(x.dtype) * gate)  # (4)
        return out, GriffinState(conv, h[:, -1], started=True)

    def step(
        self, u_t: Float[Tensor, "b m"], state: GriffinState
    ) -> tuple[Float[Tensor, "b m"], GriffinState]:
        """One more token, in time and memory that do not depend on the past."""
        expect_token("u_t", u_t, self.cfg.d_model, self.conv_weight)
        y, state = self.prefill(u_t[:, None], state)
        return y[:, 0], state

    def _check(self, state: GriffinState, batch: int) -> None:
        if not isinstance(state, GriffinState):
            raise ValueError(f"state must be a GriffinState; got {type(state).__name__}")
        cfg = self.cfg
        expect_shape("state.conv", state.conv, (batch, cfg.d_conv - 1, cfg.d_rnn))
        expect_shape("state.h", state.h, (batch, cfg.d_rnn))
