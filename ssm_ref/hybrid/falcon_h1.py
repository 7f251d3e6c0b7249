"""Falcon-H1: attention and Mamba-2 side by side in every block, and a factor at every map.

    x ← x + m_s mamba2(m_i u) + m_o attention(m_a u),   u = norm(x)                   (1)
    x ← x + m_d W_down (SiLU(m_g W_gate u) ⊙ W_up u),   u = norm(x)                   (2)

Both mixers have projections of their own and their outputs are added as they are; how wide each is
(d_ssm, heads) is chosen apart from d_model. Inside Mamba-2 the five parts of the input projection
and in attention the keys are scaled too,

    [z, x, B, C, dt] = W_in (m_i u) ⊙ (m_z, m_x, m_B, m_C, m_dt),   k = m_k W_k u     (3)

and so are the embedding and the logits, by m_e and m_l. The factors let one set of learning rates
serve all widths (μP); in a finished model they are constants. The gate of Mamba-2 is a plain
product, or the gated RMSNorm of the larger models. Source: Zuo et al. 2025, arXiv 2507.22448.
"""

from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional

from ssm_ref.attention.transformer import Attention, AttentionConfig, KVCache, SwiGLU
from ssm_ref.expect import expect_counts, expect_sequence, expect_token
from ssm_ref.language_model import LanguageModel, LanguageModelConfig
from ssm_ref.selective.gated_rms_norm import GatedRMSNorm
from ssm_ref.selective.mamba2 import Mamba2, Mamba2Config, Mamba2State


@dataclass(frozen=True, kw_only=True, slots=True)
class WideMamba2Config(Mamba2Config):
    """Sizes of a Mamba-2 whose inner width `d_ssm` is given by itself."""

    d_ssm: int

    @property
    def d_inner(self) -> int:
        """Channels of the scan."""
        return self.d_ssm


@dataclass(frozen=True, kw_only=True, slots=True)
class Multipliers:
    """The factors of Eqs. (1) to (3), all one when not given."""

    ssm_in: float = 1.0
    ssm: tuple[float, float, float, float, float] = (1.0, 1.0, 1.0, 1.0, 1.0)  # z, x, B, C, dt
    ssm_out: float = 1.0
    attention_in: float = 1.0
    key: float = 1.0
    attention_out: float = 1.0
    mlp: tuple[float, float] = (1.0, 1.0)  # gate, down
    embedding: float = 1.0
    logits: float = 1.0


@dataclass(frozen=True, kw_only=True, slots=True)
class FalconH1Config:
    """Sizes and factors of a Falcon-H1 model; both options of the norm are of Mamba-2's output."""

    vocab_size: int
    n_blocks: int
    d_ff: int
    attention: AttentionConfig
    mamba: WideMamba2Config
    multipliers: Multipliers = field(default_factory=Multipliers)
    gated_norm: bool = False
    norm_before_gate: bool = False
    norm_eps: float = 1e-5
    tie_embeddings: bool = False
    checkpoint_layers: bool = False

    def __post_init__(self) -> None:
        expect_counts(self, "vocab_size", "n_blocks", "d_ff")
        if self.attention.d_model != self.mamba.d_model:
            raise ValueError(
                "attention and mamba must have one d_model; "
                f"got {self.attention.d_model} and {self.mamba.d_model}"
            )

    @property
    def shell(self) -> LanguageModelConfig:
        """The shell: two residual branches a block."""
        return LanguageModelConfig(
            vocab_size=self.vocab_size,
            d_model=self.mamba.d_model,
            n_layers=2 * self.n_blocks,
            pad_vocab_to=1,
            norm_eps=self.norm_eps,
            residual_in_fp32=False,
            tie_embeddings=self.tie_embeddings,
            checkpoint_layers=self.checkpoint_layers,
        )


class ScaledLinear(nn.Linear):
    """A linear map without bias whose outputs come in parts, part i times factor i."""

    def __init__(self, d_in: int, sizes: tuple[int, ...], factors: tuple[float, ...]) -> None:
        super().__init__(d_in, sum(sizes), bias=False)
        self.sizes, self.factors = sizes, factors

    def forward(self, u: Float[Tensor, "... m"]) -> Float[Tensor, "... d"]:
        """The scaled parts side by side."""
        parts = super().forward(u).split(self.sizes, dim=-1)
        scaled = [m * part for m, part in zip(self.factors, parts, strict=True)]  # (3)
        return torch.cat(scaled, dim=-1)


class PlainGate(nn.Module):
    """x ⊙ SiLU(z), in the place of a gated norm."""

    def forward(self, x: Float[Tensor, "... d"], z: Float[Tensor, "... d"]) -> Tensor:
        """The product, in float32 or wider, in the dtype of x."""
        wide = torch.promote_types(x.dtype, torch.float32)
        return (x.to(wide) * functional.silu(z.to(wide))).to(x.dtype)


class FalconH1State(NamedTuple):
    """What one mixer keeps: the KV cache and the state of Mamba-2."""

    kv: KVCache
    ssm: Mamba2State


class FalconH1Mixer(nn.Module):
    """The two mixers of Eq. (1), added."""

    def __init__(self, cfg: FalconH1Config) -> None:
        super().__init__()
        m, mamba, attention = cfg.multipliers, cfg.mamba, cfg.attention
        self.multipliers = m
        self.mamba, self.attention = Mamba2(mamba), Attention(attention)
        bc = mamba.n_groups * mamba.d_state
        sizes = (mamba.d_inner, mamba.d_inner, bc, bc, mamba.n_heads)
        self.mamba.in_proj = ScaledLinear(mamba.d_model, sizes, m.ssm)
        if cfg.gated_norm:
            self.mamba.norm = GatedRMSNorm(
                mamba.d_inner,
                eps=mamba.norm_eps,
                groups=mamba.n_groups,
                norm_before_gate=cfg.norm_before_gate,
            )
        else:
            self.mamba.norm = PlainGate()
        width = attention.kv_heads * attention.key_width
        self.attention.k_proj = ScaledLinear(attention.d_model, (width,), (m.key,))

    def allocate_state(self, batch: int) -> FalconH1State:
        """The state of an empty past."""
        return FalconH1State(self.attention.allocate_state(batch), self.mamba.allocate_state(batch))

    def forward(self, u: Float[Tensor, "b l d"]) -> Float[Tensor, "b l d"]:
        """Both mixers from an empty past."""
        return self.prefill(u, self.allocate_state(u.shape[0]))[0]

    def prefill(
        self,
        u: Float[Tensor, "b l d"],
        state: FalconH1State,
        *,
        mask: Bool[Tensor, "b l"] | None = None,
    ) -> tuple[Float[Tensor, "b l d"], FalconH1State]:
        """Both mixers after the past in `state`, and the state after it.

        `mask` is False on padding, which stands on the left, after an empty past.
        """
        expect_sequence("u", u, self.mamba.cfg.d_model, self.mamba.conv_weight)
        state, m = self._checked(state), self.multipliers
        recurrent, ssm = self.mamba.prefill(m.ssm_in * u, state.ssm, mask=mask)
        attended, kv = self.attention.prefill(m.attention_in * u, state.kv, mask=mask)
        return m.ssm_out * recurrent + m.attention_out * attended, FalconH1State(kv, ssm)  # (1)

    def step(
        self, u_t: Float[Tensor, "b d"], state: FalconH1State
    ) -> tuple[Float[Tensor, "b d"], FalconH1State]:
        """One more token."""
        expect_token("u_t", u_t, self.mamba.cfg.d_model, self.mamba.conv_weight)
        state, m = self._checked(state), self.multipliers
        recurrent, ssm = self.mamba.step(m.ssm_in * u_t, state.ssm)
        attended, kv = self.attention.step(m.attention_in * u_t, state.kv)
        return m.ssm_out * recurrent + m.attention_out * attended, FalconH1State(kv, ssm)  # (1)

    @staticmethod
    def _checked(state: object) -> FalconH1State:
        if not isinstance(state, FalconH1State):
            raise ValueError(f"state must be a FalconH1State; got {type(state).__name__}")
        return state


class ScaledSwiGLU(SwiGLU):
    """SwiGLU with the two factors of Eq. (2)."""

    def __init__(self, d_model: int, d_ff: int, factors: tuple[float, float]) -> None:
        super().__init__(d_model, d_ff)
        gate, down = factors
        self.gate_proj = ScaledLinear(d_model, (d_ff,), (gate,))  # (2)
        self.down_proj = ScaledLinear(d_ff, (d_model,), (down,))  # (2)


class FalconH1(LanguageModel):
    """Falcon-H1's blocks in the shell of `LanguageModel`, embedding and logits scaled."""

    def __init__(self, cfg: FalconH1Config) -> None:
        def branch(layer: int) -> nn.Module:
            if layer % 2:
                return ScaledSwiGLU(cfg.mamba.d_model, cfg.d_ff, cfg.multipliers.mlp)
            return FalconH1Mixer(cfg)

        super().__init__(cfg.shell, branch)
        self.falcon_cfg = cfg

    def _embed(self, ids: Tensor, *, ndim: int) -> tuple[torch.dtype, Tensor]:
        dtype, x = super()._embed(ids, ndim=ndim)
        return dtype, self.falcon_cfg.multipliers.embedding * x

    def _logits(self, x: Tensor, dtype: torch.dtype) -> Tensor:
        return self.falcon_cfg.multipliers.logits * super()._logits(x, dtype)
