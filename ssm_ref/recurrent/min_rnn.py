"""minGRU and minLSTM: the old cells without the past inside their gates, trained by one scan.

    minGRU:   z = σ(W_z u_t),   a_t = 1 − z,   w_t = z                                  (1)
    minLSTM:  f, i = σ(W u_t),  a_t = f / (f + i),   w_t = i / (f + i)                  (2)
    h_t = a_t ⊙ h_{t−1} + w_t ⊙ g(W_h u_t)                                              (3)
    g(x) = x + ½ if x ≥ 0, else σ(x)                                                    (4)

Weights a + w = 1 and g > 0, so h is a weighted mean of positive candidates, and the whole
recurrence can be run in logarithms, where nothing over- or underflows:

    log h_t = A_t + logcumsumexp_t(log w_t + log g_t − A_t),   A_t = Σ_{s ≤ t} log a_s  (5)

and a past h_{−1} adds e^{A_t} h_{−1}. In the letters of
`ssm_ref.linear_attention.recurrence` each channel is a head with the decay log a, into which
w ⊙ g(W_h u) is written. Source: Feng et al. 2024, arXiv 2410.01201, with a bias to
every gate.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from ssm_ref.expect import (
    expect_axes,
    expect_batch,
    expect_sequence,
    expect_shape,
    expect_sizes,
    expect_token,
    state_dtype,
)

Scan = Callable[[Tensor, Tensor, Tensor], Tensor]


def positive(x: Float[Tensor, "*batch d"]) -> Float[Tensor, "*batch d"]:
    """g of Eq. (4): positive, continuous, and as steep as x above zero."""
    return torch.where(x >= 0, x + 0.5, torch.sigmoid(x))  # (4)


def log_positive(x: Float[Tensor, "*batch d"]) -> Float[Tensor, "*batch d"]:
    """log g(x), exact where g(x) underflows."""
    return torch.where(x >= 0, (x.clamp(min=0) + 0.5).log(), F.logsigmoid(x))


def weighted_mean(
    log_a: Float[Tensor, "b l d"], log_w: Float[Tensor, "b l d"], h: Float[Tensor, "b d"]
) -> Float[Tensor, "b l d"]:
    """All states of Eq. (3), h ← e^{log_a} h + e^{log_w} token by token: the definition.

    `log_w` holds the logarithm of the whole written term, w_t ⊙ g.
    """
    expect_axes("log_a bld, log_w bld, h bd", log_a, log_w, h)
    hs = []
    for t in range(log_a.shape[1]):
        h = log_a[:, t].exp() * h + log_w[:, t].exp()  # (3)
        hs.append(h)
    return torch.stack(hs, dim=1)


def log_space_scan(
    log_a: Float[Tensor, "b l d"], log_w: Float[Tensor, "b l d"], h: Float[Tensor, "b d"]
) -> Float[Tensor, "b l d"]:
    """The same for all tokens at once, by Eq. (5).

    A rounding error of A_t is an equal relative error of h_t: about 1e-7 |A_t| in float32.
    """
    expect_axes("log_a bld, log_w bld, h bd", log_a, log_w, h)
    A = log_a.cumsum(dim=1)
    written = A + (log_w - A).logcumsumexp(dim=1)  # (5)
    return A.exp() * h[:, None] + written.exp()


class MinimalCell(nn.Module, ABC):
    """A layer d_in → d_model of Eq. (3), whose gates a subclass defines."""

    n_gates: int
    kept_bias: float  # of the first gate

    def __init__(self, d_in: int, d_model: int, *, scan: Scan = log_space_scan) -> None:
        super().__init__()
        expect_sizes(d_in=d_in, d_model=d_model)
        self.d_in, self.d_model, self.scan = d_in, d_model, scan
        self.weight = nn.Parameter(torch.empty((self.n_gates + 1) * d_model, d_in))
        self.bias = nn.Parameter(torch.empty((self.n_gates + 1) * d_model))
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Weights from U(±1/√d_in); biases zero, but for the first gate: keep more than drop."""
        nn.init.uniform_(self.weight, -1 / math.sqrt(self.d_in), 1 / math.sqrt(self.d_in))
        nn.init.zeros_(self.bias)
        self.bias[: self.d_model] = self.kept_bias

    @abstractmethod
    def log_gates(self, gates: Float[Tensor, "*batch g"]) -> tuple[Tensor, Tensor]:
        """log a and log w, each (…, d_model), from the gates' pre-activations."""

    def allocate_state(self, batch: int) -> Float[Tensor, "b d"]:
        """h_{−1} = 0, in float32 or wider."""
        expect_batch(batch)
        return self.weight.new_zeros(batch, self.d_model, dtype=state_dtype(self.weight))

    def forward(self, u: Float[Tensor, "b l m"]) -> Float[Tensor, "b l d"]:
        """Hidden states of every step, from an empty past."""
        return self.prefill(u, self.allocate_state(u.shape[0]))[0]

    def prefill(
        self, u: Float[Tensor, "b l m"], state: Float[Tensor, "b d"]
    ) -> tuple[Float[Tensor, "b l d"], Float[Tensor, "b d"]]:
        """Hidden states of every step after `state`, and the state after the last one."""
        expect_sequence("u", u, self.d_in, self.weight)
        expect_shape("state", state, (u.shape[0], self.d_model))
        h, dtype = self._run(u, state, self.scan)
        return h.to(dtype), h[:, -1]

    def step(
        self, u_t: Float[Tensor, "b m"], state: Float[Tensor, "b d"]
    ) -> tuple[Float[Tensor, "b d"], Float[Tensor, "b d"]]:
        """One step by Eq. (3): output and new state (the same numbers)."""
        expect_token("u_t", u_t, self.d_in, self.weight)
        expect_shape("state", state, (u_t.shape[0], self.d_model))
        h, dtype = self._run(u_t[:, None], state, weighted_mean)
        return h[:, 0].to(dtype), h[:, 0]

    def _run(self, u: Tensor, h: Tensor, scan: Scan) -> tuple[Tensor, torch.dtype]:
        wu = F.linear(u, self.weight, self.bias)
        gates, candidate = wu.to(h.dtype).split([self.n_gates * self.d_model, self.d_model], dim=-1)
        log_a, log_w = self.log_gates(gates)
        return scan(log_a, log_w + log_positive(candidate), h), wu.dtype


class MinGRU(MinimalCell):
    """minGRU: what the gate does not keep it writes."""

    n_gates = 1
    kept_bias = -1.0  # this gate lets the new in

    def log_gates(self, gates: Float[Tensor, "*batch g"]) -> tuple[Tensor, Tensor]:
        """Eq. (1): log(1 − z) and log z."""
        return F.logsigmoid(-gates), F.logsigmoid(gates)  # (1)


class MinLSTM(MinimalCell):
    """minLSTM: a forget and an input gate that share one unit of weight."""

    n_gates = 2
    kept_bias = 1.0  # the forget gate stands first

    def log_gates(self, gates: Float[Tensor, "*batch g"]) -> tuple[Tensor, Tensor]:
        """Eq. (2): log f / (f + i) and log i / (f + i)."""
        log_f, log_i = F.logsigmoid(gates).chunk(2, dim=-1)
        return F.logsigmoid(log_f - log_i), F.logsigmoid(log_i - log_f)  # (2)
