"""Mamba-2: one scalar decay a head, and a selective SSM that is also masked linear attention.

    [z, x, B, C, dt] = W_in u                             (1)
    [x, B, C] = SiLU(conv([x, B, C]))                     (2)
    Δ = softplus(dt + b_Δ),  A = -exp(A_log)              (3)
    H_t = exp(Δ_t A) H_{t-1} + Δ_t x_t B_tᵀ               (4)
    y_t = H_t C_t + D x_t                                 (5)
    out = W_out RMSNorm(y ⊙ SiLU(z))                      (6)

Heads h of width p share B and C within g groups; A, D and Δ are one number a head. Against Mamba
the parameters of the scan come from u at once, so B and C pass through the convolution too, and
Eq. (6) normalises before the output. Eq. (4) and (5) are `ssm_ref.selective.ssd`; in the letters
of `ssm_ref.linear_attention.recurrence` they are q = C, k = B, v = Δ x and g = Δ A. The state
of a layer is the last d_conv - 1 inputs of the convolution and H.

Source: Dao and Gu, Transformers are SSMs, arXiv 2405.21060; initialisation as in its published
code.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ssm_ref.expect import expect_counts
from ssm_ref.language_model import LanguageModel, LanguageModelConfig
from ssm_ref.selective.block import Operator, SelectiveBlock
from ssm_ref.selective.causal_conv1d import causal_conv1d, causal_conv1d_step
from ssm_ref.selective.gated_rms_norm import GatedRMSNorm, gated_rms_norm
from ssm_ref.selective.ssd import ssd_chunked, ssd_step
from ssm_ref.selective.step_size import draw_dt_bias

# Published sizes: (layers, width), all with a vocabulary of 50 277 padded to 50 288.
PUBLISHED = {
    "130m": (24, 768),
    "370m": (48, 1024),
    "780m": (48, 1536),
    "1.3b": (48, 2048),
    "2.7b": (64, 2560),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Mamba2Config:
    """Sizes, options and initial ranges of one Mamba-2 block."""

    d_model: int  # m
    d_state: int = 128  # n
    d_conv: int = 4  # k
    expand: int = 2
    d_head: int = 64  # p
    n_groups: int = 1  # g
    A_range: tuple[float, float] = (1.0, 16.0)
    dt_min: float = 1e-3
    dt_max: float = 1e-1
    dt_floor: float = 1e-4
    dt_limit: tuple[float, float] = (0.0, math.inf)
    conv_bias: bool = True
    bias: bool = False
    norm_eps: float = 1e-5

    def __post_init__(self) -> None:
        expect_counts(self, "d_model", "d_state", "d_conv", "expand", "d_head", "n_groups")
        if self.d_inner % self.d_head:
            raise ValueError(f"d_head={self.d_head} must divide expand · d_model = {self.d_inner}")
        if self.n_heads % self.n_groups:
            raise ValueError(f"n_groups={self.n_groups} must divide the {self.n_heads} heads")
        if not 0 < self.dt_min <= self.dt_max or not 0 < self.A_range[0] <= self.A_range[1]:
            raise ValueError(
                "dt_min … dt_max and A_range must be positive and rise; "
                f"got {self.dt_min} … {self.dt_max} and {self.A_range}"
            )

    @property
    def d_inner(self) -> int:
        """Channels of the scan, h · p = expand · d_model."""
        return self.expand * self.d_model

    @property
    def n_heads(self) -> int:
        """Heads h."""
        return self.d_inner // self.d_head

    @property
    def d_xBC(self) -> int:
        """Channels of the convolution: x, B and C together."""
        return self.d_inner + 2 * self.n_groups * self.d_state


class Mamba2State(NamedTuple):
    """What one Mamba-2 layer keeps of the past."""

    conv: Float[Tensor, "b w c"]  # the last d_conv - 1 inputs of the convolution
    ssm: Float[Tensor, "b h p n"]  # H, float32 or wider


class Mamba2(SelectiveBlock):
    """The Mamba-2 block, Eqs. (1) to (6), with its operators as arguments.

    `scan`, `conv`, `norm` and the one-token forms have the contracts of `ssd`, `causal_conv1d`,
    `gated_rms_norm`, `ssd_step` and `causal_conv1d_step`.
    """

    State = Mamba2State
    cfg: Mamba2Config

    def __init__(
        self,
        cfg: Mamba2Config,
        *,
        scan: Operator = ssd_chunked,
        conv: Operator = causal_conv1d,
        norm: Callable[..., Tensor] = gated_rms_norm,
        scan_step: Operator = ssd_step,
        conv_step: Operator = causal_conv1d_step,
    ) -> None:
        super().__init__()
        self.cfg = cfg
        self.scan, self.conv = scan, conv
        self.scan_step, self.conv_step = scan_step, conv_step
        self.in_proj = nn.Linear(cfg.d_model, cfg.d_inner + cfg.d_xBC + cfg.n_heads, bias=cfg.bias)
        self.conv_weight = nn.Parameter(torch.empty(cfg.d_xBC, cfg.d_conv))
        self.conv_bias = nn.Parameter(torch.empty(cfg.d_xBC)) if cfg.conv_bias else None
        self.dt_bias = nn.Parameter(torch.empty(cfg.n_heads))
        self.A_log = nn.Parameter(torch.empty(cfg.n_heads))
        self.D = nn.Parameter(torch.empty(cfg.n_heads))
        self.norm: nn.Module = GatedRMSNorm(
            cfg.d_inner, eps=cfg.norm_eps, groups=cfg.n_groups, norm=norm
        )
        self.out_proj = nn.Linear(cfg.d_inner, cfg.d_model, bias=cfg.bias)
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Draw the published initial values: -A uniform in A_range, Δ log-uniform, D = 1."""
        cfg = self.cfg
        bound = cfg.d_conv**-0.5
        nn.init.uniform_(self.conv_weight, -bound, bound)
        if self.conv_bias is not None:
            nn.init.uniform_(self.conv_bias, -bound, bound)
        draw_dt_bias(self.dt_bias, dt_min=cfg.dt_min, dt_max=cfg.dt_max, dt_floor=cfg.dt_floor)
        self.A_log.copy_(torch.empty_like(self.A_log).uniform_(*cfg.A_range).log())
        nn.init.ones_(self.D)

    @property
    def state_shapes(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Shapes of `conv` and `ssm` of `Mamba2State` for one row."""
        cfg = self.cfg
        return (cfg.d_conv - 1, cfg.d_xBC), (cfg.n_heads, cfg.d_head, cfg.d_state)

    def step(
        self, u: Float[Tensor, "b m"], state: Mamba2State
    ) -> tuple[Float[Tensor, "b m"], Mamba2State]:
        """The block for one more token, in time and memory that do not depend on the past."""
        self._check_step(u, state)
        z, xBC, dt = self._project(u)
        xBC, conv_state = self.conv_step(
            xBC, state.conv, self.conv_weight, self.conv_bias, activation="silu"
        )  # (2)
        x, B, C = self._heads(xBC)
        y, ssm_state = self.scan_step(
            state.ssm, x, dt, self.A, B, C, **self._scan_parameters()
        )  # (4), (5)
        out = self.out_proj(self.norm(y.flatten(-2), z))  # (6)
        return out, Mamba2State(conv_state, ssm_state)

    @property
    def A(self) -> Float[Tensor, " h"]:
        """-exp(A_log), in float32 or wider.    (3)"""
        return self.rate(self.A_log)  # (3)

    def _run(
        self,
        u: Tensor,
        state: Mamba2State | None,
        mask: Tensor | None,
        cu_seqlens: Tensor | None,
    ) -> tuple[Tensor, Mamba2State]:
        z, xBC, dt = self._project(u)
        xBC, conv_state = self._convolve(xBC, state, mask, cu_seqlens)  # (2)
        x, B, C = self._heads(xBC)
        y, ssm_state = self.scan(
            x,
            dt,
            self.A,
            B,
            C,
            initial_state=None if state is None else state.ssm,
            cu_seqlens=cu_seqlens,
            **self._scan_parameters(),
        )  # (4), (5)
        out = self.out_proj(self.norm(y.flatten(-2), z))  # (6)
        return out, Mamba2State(conv_state, ssm_state)

    def _project(self, u: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        sizes = [self.cfg.d_inner, self.cfg.d_xBC, self.cfg.n_heads]
        z, xBC, dt = self.in_proj(u).split(sizes, dim=-1)  # (1)
        return z, xBC, dt

    def _heads(self, xBC: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        cfg = self.cfg
        x, B, C = xBC.split([cfg.d_inner, *[cfg.n_groups * cfg.d_state] * 2], dim=-1)
        groups = (cfg.n_groups, cfg.d_state)
        return x.unflatten(-1, (-1, cfg.d_head)), B.unflatten(-1, groups), C.unflatten(-1, groups)

    def _scan_parameters(self) -> dict[str, Any]:
        options = {"dt_softplus": True, "dt_limit": self.cfg.dt_limit}  # (3)
        return {"D": self.D, "dt_bias": self.dt_bias, **options}


class Mamba2LanguageModel(LanguageModel):
    """Mamba-2 blocks in the shell of `LanguageModel`, initialised as published.

    Output projections are divided by √n_layers: one residual branch a layer.
    """

    def __init__(self, cfg: LanguageModelConfig, block: Mamba2Config, **operators: Any) -> None:
        if cfg.d_model != block.d_model:
            raise ValueError(
                f"shell and block must have one d_model; got {cfg.d_model} and {block.d_model}"
            )
        super().__init__(cfg, lambda _: Mamba2(block, **operators))
        self.block_cfg = block
        for name, weight in self.named_parameters():
            if name.endswith("out_proj.weight"):
                nn.init.kaiming_uniform_(weight, a=math.sqrt(5))
                weight.data /= math.sqrt(cfg.n_layers)


def published_config(size: str) -> tuple[LanguageModelConfig, Mamba2Config]:
    """Shell and block of a published model: 130m, 370m, 780m, 1.3b or 2.7b."""
    if size not in PUBLISHED:
        raise ValueError(f"size must be one of {', '.join(PUBLISHED)}; got {size!r}")
    n_layers, d_model = PUBLISHED[size]
    shell = LanguageModelConfig(
        vocab_size=50_277, d_model=d_model, n_layers=n_layers, pad_vocab_to=16
    )
    return shell, Mamba2Config(d_model=d_model)
