"""Mamba: a gated block around a convolution and a selective scan, and its language model.

    [x, z] = W_in u                       (1)
    x = SiLU(conv(x))                     (2)
    [δ, B, C] = W_x x                     (3)
    Δ = softplus(W_Δ δ + b_Δ)             (4)
    A = −exp(A_log)                       (5)
    y = SSM(A, B, C, Δ)(x) + D ⊙ x        (6)
    out = W_out (y ⊙ SiLU(z))             (7)

Δ, B and C depend on the input, A and D do not. The state of a layer is the last d_conv − 1
inputs of the convolution and the scan's h; their sizes do not depend on the length.

In the letters of `ssm_ref.linear_attention.recurrence` each channel is a head, with
q = C, k = B, v = Δ x and g = Δ A.

Source: Gu and Dao, Mamba, arXiv 2312.00752, section 3.4; initialisation as in its published code.
"""

import math
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ssm_ref.expect import expect_counts
from ssm_ref.language_model import LanguageModel, LanguageModelConfig
from ssm_ref.norm import RMSNorm
from ssm_ref.selective.block import Operator as Operator
from ssm_ref.selective.block import SelectiveBlock
from ssm_ref.selective.causal_conv1d import causal_conv1d, causal_conv1d_step
from ssm_ref.selective.selective_scan import selective_scan_chunked, selective_scan_step
from ssm_ref.selective.step_size import draw_dt_bias

# Published sizes: (layers, width), all with a vocabulary of 50 277 padded to 50 280.
PUBLISHED = {
    "130m": (24, 768),
    "370m": (48, 1024),
    "790m": (48, 1536),
    "1.4b": (48, 2048),
    "2.8b": (64, 2560),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class MambaConfig:
    """Sizes, options and initial range of Δ of one Mamba block."""

    d_model: int  # m
    d_state: int = 16  # n
    d_conv: int = 4  # k
    expand: int = 2
    dt_rank: int | Literal["auto"] = "auto"
    dt_min: float = 1e-3
    dt_max: float = 1e-1
    dt_floor: float = 1e-4
    conv_bias: bool = True
    bias: bool = False
    # Falcon-Mamba normalises δ, B and C without, Jamba with a learned scale.
    ssm_norm: Literal["none", "plain", "learned"] = "none"
    ssm_norm_eps: float = 1e-6

    def __post_init__(self) -> None:
        expect_counts(self, "d_model", "d_state", "d_conv", "expand", "dt_rank")
        if not 0 < self.dt_min <= self.dt_max:
            raise ValueError(f"0 < dt_min <= dt_max; got {self.dt_min} and {self.dt_max}")
        if self.ssm_norm not in ("none", "plain", "learned"):
            raise ValueError(f"ssm_norm must be none, plain or learned; got {self.ssm_norm!r}")

    @property
    def d_inner(self) -> int:
        """Channels of the scan, d = expand · d_model."""
        return self.expand * self.d_model

    @property
    def rank(self) -> int:
        """Width of δ: `dt_rank`, or ⌈d_model / 16⌉."""
        return -(-self.d_model // 16) if self.dt_rank == "auto" else self.dt_rank


class MambaState(NamedTuple):
    """What one Mamba layer keeps of the past."""

    conv: Float[Tensor, "b w d"]  # the last d_conv − 1 inputs of the convolution
    ssm: Float[Tensor, "b d n"]  # h of the scan, float32 or wider


class Mamba(SelectiveBlock):
    """The Mamba block, Eqs. (1) to (7), with its operators as arguments.

    `scan`, `conv` and their one-token forms have the contracts of `selective_scan`,
    `causal_conv1d`, `selective_scan_step` and `causal_conv1d_step`.
    """

    State = MambaState
    cfg: MambaConfig

    def __init__(
        self,
        cfg: MambaConfig,
        *,
        scan: Operator = selective_scan_chunked,
        conv: Operator = causal_conv1d,
        scan_step: Operator = selective_scan_step,
        conv_step: Operator = causal_conv1d_step,
    ) -> None:
        super().__init__()
        self.cfg = cfg
        self.scan, self.conv = scan, conv
        self.scan_step, self.conv_step = scan_step, conv_step
        d, n, rank = cfg.d_inner, cfg.d_state, cfg.rank
        self.in_proj = nn.Linear(cfg.d_model, 2 * d, bias=cfg.bias)
        self.conv_weight = nn.Parameter(torch.empty(d, cfg.d_conv))
        self.conv_bias = nn.Parameter(torch.empty(d)) if cfg.conv_bias else None
        self.x_proj = nn.Linear(d, rank + 2 * n, bias=False)
        self.dt_proj = nn.Linear(rank, d, bias=False)
        self.dt_bias = nn.Parameter(torch.empty(d))
        self.A_log = nn.Parameter(torch.empty(d, n))
        self.D = nn.Parameter(torch.empty(d))
        self.out_proj = nn.Linear(d, cfg.d_model, bias=cfg.bias)
        widths = (rank, n, n) if cfg.ssm_norm != "none" else ()
        self.ssm_norms = nn.ModuleList(
            RMSNorm(width, eps=cfg.ssm_norm_eps, affine=cfg.ssm_norm == "learned")
            for width in widths
        )
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Draw the published initial values: A = −(1 … n), Δ log-uniform in dt_min … dt_max."""
        cfg = self.cfg
        bound = cfg.d_conv**-0.5
        nn.init.uniform_(self.conv_weight, -bound, bound)
        if self.conv_bias is not None:
            nn.init.uniform_(self.conv_bias, -bound, bound)
        nn.init.uniform_(self.dt_proj.weight, -(cfg.rank**-0.5), cfg.rank**-0.5)
        draw_dt_bias(self.dt_bias, dt_min=cfg.dt_min, dt_max=cfg.dt_max, dt_floor=cfg.dt_floor)
        self.A_log.copy_(
            torch.arange(1, cfg.d_state + 1).to(self.A_log).log().expand_as(self.A_log)
        )
        nn.init.ones_(self.D)

    @property
    def state_shapes(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Shapes of `conv` and `ssm` of `MambaState` for one row."""
        cfg = self.cfg
        return (cfg.d_conv - 1, cfg.d_inner), (cfg.d_inner, cfg.d_state)

    def step(
        self, u: Float[Tensor, "b m"], state: MambaState
    ) -> tuple[Float[Tensor, "b m"], MambaState]:
        """The block for one more token, in time and memory that do not depend on the past."""
        self._check_step(u, state)
        x, z = self.in_proj(u).chunk(2, dim=-1)  # (1) each b d
        x, conv_state = self.conv_step(
            x, state.conv, self.conv_weight, self.conv_bias, activation="silu"
        )  # (2)
        dt, B, C = self._select(x)
        y, ssm_state = self.scan_step(
            state.ssm, x, dt, self.A, B, C, z=z, **self._scan_parameters()
        )  # (4), (6)
        return self.out_proj(y), MambaState(conv_state, ssm_state)  # (7)

    @property
    def A(self) -> Float[Tensor, "d n"]:
        """−exp(A_log), in float32 at least.    (5)"""
        return self.rate(self.A_log)  # (5)

    def _run(
        self,
        u: Tensor,
        state: MambaState | None,
        mask: Tensor | None,
        cu_seqlens: Tensor | None,
    ) -> tuple[Tensor, MambaState]:
        x, z = self.in_proj(u).chunk(2, dim=-1)  # (1) each b l d
        x, conv_state = self._convolve(x, state, mask, cu_seqlens)  # (2)
        dt, B, C = self._select(x)
        y, ssm_state = self.scan(
            x,
            dt,
            self.A,
            B,
            C,
            z=z,
            initial_state=None if state is None else state.ssm,
            cu_seqlens=cu_seqlens,
            **self._scan_parameters(),
        )  # (4), (6)
        return self.out_proj(y), MambaState(conv_state, ssm_state)  # (7)

    def _select(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """What depends on the input: Δ before its bias and softplus, B and C."""
        cfg = self.cfg
        parts = self.x_proj(x).split([cfg.rank, cfg.d_state, cfg.d_state], dim=-1)  # (3)
        if self.ssm_norms:
            parts = [norm(part) for norm, part in zip(self.ssm_norms, parts, strict=True)]
        delta, B, C = parts
        # The bias of Δ is added by the scan, in float32 and once.
        return self.dt_proj(delta), B, C

    def _scan_parameters(self) -> dict[str, Any]:
        return {"D": self.D, "dt_bias": self.dt_bias, "dt_softplus": True}


class MambaLanguageModel(LanguageModel):
    """Mamba blocks in the shell of `LanguageModel`, initialised as published.

    Output projections are divided by √n_layers: one residual branch a layer.
    """

    def __init__(self, cfg: LanguageModelConfig, block: MambaConfig, **operators: Operator) -> None:
        if cfg.d_model != block.d_model:
            raise ValueError(
                f"shell and block must have one d_model; got {cfg.d_model} and {block.d_model}"
            )
        super().__init__(cfg, lambda _: Mamba(block, **operators))
        self.block_cfg = block
        for layer in self.blocks:
            out_proj = layer.branch.out_proj
            nn.init.kaiming_uniform_(out_proj.weight, a=math.sqrt(5))
            with torch.no_grad():
                out_proj.weight /= math.sqrt(cfg.n_layers)


def published_config(size: str) -> tuple[LanguageModelConfig, MambaConfig]:
    """Shell and block of a published model: 130m, 370m, 790m, 1.4b or 2.8b."""
    if size not in PUBLISHED:
        raise ValueError(f"size must be one of {', '.join(PUBLISHED)}; got {size!r}")
    n_layers, d_model = PUBLISHED[size]
    shell = LanguageModelConfig(vocab_size=50_277, d_model=d_model, n_layers=n_layers)
    return shell, MambaConfig(d_model=d_model)


def parameter_groups(model: nn.Module, *, weight_decay: float) -> list[dict[str, Any]]:
    """Two optimiser groups: matrices with weight decay; A, D, Δ's bias, norms and biases without.

    Decay would pull A = −exp(A_log) towards −1 and Δ towards softplus(0), that is, change how far
    the memory reaches. A module names such parameters of its own in `no_weight_decay`.
    """
    kept: list[nn.Parameter] = []
    decayed: list[nn.Parameter] = []
    for module in model.modules():
        own = {"A_log"} | getattr(module, "no_weight_decay", set())
        for name, parameter in module.named_parameters(recurse=False):
            spared = parameter.ndim < 2 or name in own
            (kept if spared else decayed).append(parameter)
    return [
        {"params": decayed, "weight_decay": weight_decay},
        {"params": kept, "weight_decay": 0.0},
    ]
