"""A Mamba mixer that reads its sequence from both ends, for tokens without a direction of time.

    [x, z] = W_in u                                                          (1)
    x_f = SiLU(conv_f(x)),  x_b = SiLU(conv_b(rev x))                        (2)
    y_f = scan_f(x_f),  y_b = rev scan_b(x_b)                                (3)
    v = W_out (s (y_f + y_b) ⊙ SiLU(z))                                      (4)

u is (b, l, d_model); x, z and both y are (b, l, d_inner); scan is the selective scan, with its own
Δ, B, C, A and D in each direction, and rev reverses time. s is 1/2, the setting of the published
weights ("div2" in their names).

Audio Mamba's Fo-Bi block shares the convolution, the projections and D between the directions and
keeps only A apart: x_b = rev x_f, and s = 1.

Sources: Zhu et al., Vision Mamba, ICML 2024, arXiv:2401.09417, Algorithm 1; Erol et al., Audio
Mamba, arXiv:2406.03344, section 3. Parameters have the names of the official weights.
"""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from ssm_ref.expect import expect_counts, expect_sequence, state_dtype
from ssm_ref.selective.causal_conv1d import causal_conv1d
from ssm_ref.selective.mamba import Operator
from ssm_ref.selective.selective_scan import selective_scan_chunked
from ssm_ref.selective.step_size import draw_dt_bias

Sharing = Literal["separate", "shared"]


@dataclass(frozen=True, kw_only=True, slots=True)
class BidirectionalMambaConfig:
    """Sizes of one mixer; the defaults are those of Vim.

    Args:
        d_model: width of the tokens.
        d_state: state of a channel, N.
        d_conv: taps of the convolution.
        expand: d_inner = expand * d_model.
        sharing: "separate" weights for each direction, or "shared" ones with only A apart.
    """

    d_model: int
    d_state: int = 16
    d_conv: int = 4
    expand: int = 2
    sharing: Sharing = "separate"

    def __post_init__(self) -> None:
        expect_counts(self, "d_model", "d_state", "d_conv", "expand")
        if self.sharing not in ("separate", "shared"):
            raise ValueError(f"sharing must be 'separate' or 'shared'; got {self.sharing!r}")

    @property
    def d_inner(self) -> int:
        """Channels of the scan."""
        return self.expand * self.d_model

    @property
    def dt_rank(self) -> int:
        """Rank of the projection to Δ."""
        return math.ceil(self.d_model / 16)


class BidirectionalMamba(nn.Module):
    """Eqs. (1) to (4); `scan` has the contract of `selective_scan`."""

    def __init__(
        self, cfg: BidirectionalMambaConfig, *, scan: Operator = selective_scan_chunked
    ) -> None:
        super().__init__()
        self.cfg, self.scan = cfg, scan
        self.in_proj = nn.Linear(cfg.d_model, 2 * cfg.d_inner, bias=False)
        self.out_proj = nn.Linear(cfg.d_inner, cfg.d_model, bias=False)
        self.A_log, self.A_b_log = _initial_A_log(cfg), _initial_A_log(cfg)
        for end in self._ends:
            conv = nn.Conv1d(cfg.d_inner, cfg.d_inner, cfg.d_conv, groups=cfg.d_inner)
            self.add_module(f"conv1d{end}", conv)
            x_proj = nn.Linear(cfg.d_inner, cfg.dt_rank + 2 * cfg.d_state, bias=False)
            self.add_module(f"x_proj{end}", x_proj)
            self.add_module(f"dt_proj{end}", _initial_dt_proj(cfg))
            self.register_parameter(f"D{end}", nn.Parameter(torch.ones(cfg.d_inner)))

    @property
    def no_weight_decay(self) -> set[str]:
        """Names of the parameters that set the dynamics: train them without weight decay."""
        return {"A_log", "A_b_log"}

    @property
    def _ends(self) -> tuple[str, ...]:
        """Name endings of the weights there are: the official ones mark the backward half "_b"."""
        return ("", "_b") if self.cfg.sharing == "separate" else ("",)

    def forward(self, u: Float[Tensor, "b l m"]) -> Float[Tensor, "b l m"]:
        """Mix tokens of shape (b, l, d_model) along l; every output sees every input.

        Raises:
            ValueError: if u is not (b, l, d_model) with l at least 1.
        """
        expect_sequence("u", u, self.cfg.d_model, self.in_proj.weight)
        x, z = self.in_proj(u).chunk(2, dim=-1)  # (1)
        if self.cfg.sharing == "separate":
            y_f = self._scan(self._convolve(x, ""), self.A_log, "")  # (2) (3)
            y_b = self._scan(self._convolve(x.flip(1), "_b"), self.A_b_log, "_b")  # (2) (3)
            half = 0.5
        else:
            x = self._convolve(x, "")  # (2)
            y_f = self._scan(x, self.A_log, "")  # (3)
            y_b = self._scan(x.flip(1), self.A_b_log, "")  # (3)
            half = 1.0
        y = half * (y_f + y_b.flip(1)) * functional.silu(z)
        out: Tensor = self.out_proj(y)  # (4)
        return out

    def _convolve(self, x: Tensor, end: str) -> Tensor:
        conv: nn.Conv1d = self.get_submodule(f"conv1d{end}")  # type: ignore[assignment]
        return causal_conv1d(x, conv.weight[:, 0], conv.bias, activation="silu")[0]

    def _scan(self, x: Tensor, A_log: Tensor, end: str) -> Tensor:
        cfg = self.cfg
        dt_proj: nn.Linear = self.get_submodule(f"dt_proj{end}")  # type: ignore[assignment]
        sizes = [cfg.dt_rank, cfg.d_state, cfg.d_state]
        dt, B, C = self.get_submodule(f"x_proj{end}")(x).split(sizes, dim=-1)
        return self.scan(
            x,
            functional.linear(dt, dt_proj.weight),
            -A_log.to(state_dtype(A_log)).exp(),
            B,
            C,
            D=self.get_parameter(f"D{end}"),
            dt_bias=dt_proj.bias,
            dt_softplus=True,
        )[0]


def _initial_A_log(cfg: BidirectionalMambaConfig) -> nn.Parameter:
    """Log of 1 … N in every channel: S4D-real."""
    row = torch.arange(1, cfg.d_state + 1, dtype=torch.float32).log()
    return nn.Parameter(row.repeat(cfg.d_inner, 1))


def _initial_dt_proj(cfg: BidirectionalMambaConfig) -> nn.Linear:
    """Projection whose bias puts Δ log-uniformly into [1e-3, 1e-1] where its input is zero."""
    proj = nn.Linear(cfg.dt_rank, cfg.d_inner)
    with torch.no_grad():
        nn.init.uniform_(proj.weight, -(cfg.dt_rank**-0.5), cfg.dt_rank**-0.5)
    draw_dt_bias(proj.bias)
    return proj
