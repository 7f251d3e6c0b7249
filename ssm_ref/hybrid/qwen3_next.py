"""Qwen3-Next: three layers of Gated DeltaNet to one of gated attention, experts after each.

    x ← x + mixer_i(norm(x)),  mixer_i attention if (i + 1) mod 4 = 0, else Gated DeltaNet    (1)
    x ← x + moe(norm(x)) + σ(w · norm(x)) expert(norm(x))                                     (2)

One expert is shared by all tokens, behind a gate of its own; of the others the k best are weighted
by probabilities that are made to sum to one. Attention normalises queries and keys by heads, turns
only the first part of a head's channels by RoPE, and gates what it read:

    [q, g] = W_q u,   y = W_o (attend(rope(norm(q)), rope(norm(k)), v) ⊙ σ(g))                (3)

Norms are RMSNorm with a scale of 1 + w, w from 0, so that weight decay pulls them to one. Sources:
Qwen team 2025, the model card and code of Qwen3-Next; Yang et al. 2024, arXiv 2412.06464.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ssm_ref.attention.rope import rotate
from ssm_ref.attention.transformer import KVCache, SwiGLU, attend
from ssm_ref.expect import (
    expect_batch,
    expect_counts,
    expect_sequence,
    expect_shape,
    expect_token,
)
from ssm_ref.hybrid.moe import MoE, MoEConfig
from ssm_ref.language_model import LanguageModel, LanguageModelConfig
from ssm_ref.linear_attention.gated_deltanet import GatedDeltaNet, GatedDeltaNetConfig
from ssm_ref.norm import rms_norm


@dataclass(frozen=True, kw_only=True, slots=True)
class GatedAttentionConfig:
    """Sizes of gated attention; `rope_dims` channels of each head carry the position."""

    d_model: int
    n_heads: int
    n_kv_heads: int
    d_head: int
    rope_dims: int
    rope_base: float = 10_000.0
    norm_eps: float = 1e-6

    def __post_init__(self) -> None:
        expect_counts(self, "d_model", "n_heads", "n_kv_heads", "d_head")
        if self.n_heads % self.n_kv_heads:
            raise ValueError(f"n_kv_heads={self.n_kv_heads} must divide n_heads={self.n_heads}")
        if not self.rope_dims <= self.d_head or self.rope_dims % 2:
            raise ValueError(f"rope_dims must be even in 0 … {self.d_head}; got {self.rope_dims}")


class CentredRMSNorm(nn.Module):
    """RMSNorm whose scale is 1 + weight."""

    def __init__(self, d: int, *, eps: float = 1e-6) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.zeros(d))

    def forward(self, x: Float[Tensor, "*batch d"]) -> Float[Tensor, "*batch d"]:
        """x normalised over its last axis, in the dtype of `x`."""
        wide = torch.promote_types(self.weight.dtype, torch.float32)
        return rms_norm(x, 1 + self.weight.to(wide), eps=self.eps)


class GatedAttention(nn.Module):
    """Causal attention with normed queries and keys, partial RoPE and a gate, Eq. (3)."""

    def __init__(self, cfg: GatedAttentionConfig) -> None:
        super().__init__()
        self.cfg = cfg
        d, width, kv = cfg.d_model, cfg.n_heads * cfg.d_head, cfg.n_kv_heads * cfg.d_head
        self.q_proj = nn.Linear(d, 2 * width, bias=False)  # of every head: query, then gate
        self.k_proj = nn.Linear(d, kv, bias=False)
        self.v_proj = nn.Linear(d, kv, bias=False)
        self.q_norm = CentredRMSNorm(cfg.d_head, eps=cfg.norm_eps)
        self.k_norm = CentredRMSNorm(cfg.d_head, eps=cfg.norm_eps)
        self.o_proj = nn.Linear(width, d, bias=False)

    def allocate_state(self, batch: int) -> KVCache:
        """A cache that has seen nothing."""
        expect_batch(batch)
        empty = self.k_proj.weight.new_empty(batch, self.cfg.n_kv_heads, 0, self.cfg.d_head)
        return KVCache(empty, empty, 0)

    def forward(self, u: Float[Tensor, "b l d"]) -> Float[Tensor, "b l d"]:
        """Attention of every position to itself and its past."""
        return self.prefill(u, self.allocate_state(u.shape[0]))[0]

    def prefill(
        self, u: Float[Tensor, "b l d"], state: KVCache
    ) -> tuple[Float[Tensor, "b l d"], KVCache]:
        """Attention of every position to itself, its past and the cache; and the new cache."""
        expect_sequence("u", u, self.cfg.d_model, self.q_proj.weight)
        self._check(state, u.shape[0])
        q, gate = self._heads(self.q_proj(u)).chunk(2, dim=-1)  # b h l p
        k, v = self._heads(self.k_proj(u)), self._heads(self.v_proj(u))
        q, k = self._turn(self.q_norm(q), state.length), self._turn(self.k_norm(k), state.length)
        k, v = (
            torch.cat([state.k.to(k.dtype), k], dim=2),
            torch.cat([state.v.to(v.dtype), v], dim=2),
        )
        y = attend(q, k, v) * torch.sigmoid(gate)
        out = self.o_proj(y.transpose(1, 2).flatten(2))  # (3)
        return out, KVCache(k, v, state.length + u.shape[1])

    def step(
        self, u_t: Float[Tensor, "b d"], state: KVCache
    ) -> tuple[Float[Tensor, "b d"], KVCache]:
        """One more position against the cache."""
        expect_token("u_t", u_t, self.cfg.d_model, self.q_proj.weight)
        y, state = self.prefill(u_t[:, None], state)
        return y[:, 0], state

    def _heads(self, x: Tensor) -> Tensor:
        heads = self.cfg.n_heads if x.shape[-1] == self.q_proj.out_features else self.cfg.n_kv_heads
        return x.unflatten(-1, (heads, -1)).transpose(1, 2)

    def _turn(self, x: Tensor, start: int) -> Tensor:
        turned, kept = x.split([self.cfg.rope_dims, self.cfg.d_head - self.cfg.rope_dims], dim=-1)
        return torch.cat([rotate(turned, start, self.cfg.rope_base), kept], dim=-1)

    def _check(self, state: object, batch: int) -> None:
        if not isinstance(state, KVCache):
            raise ValueError(f"state must be a KVCache; got {type(state).__name__}")
        shape = (batch, self.cfg.n_kv_heads, state.length, self.cfg.d_head)
        expect_shape("state.k", state.k, shape)
        expect_shape("state.v", state.v, shape)


class GatedExpertMoE(nn.Module):
    """The channel mixer of Eq. (2): routed experts and one that every token sees."""

    def __init__(self, experts: MoEConfig, d_shared: int) -> None:
        super().__init__()
        self.moe = MoE(experts)
        self.expert = SwiGLU(experts.d_model, d_shared)
        self.gate = nn.Linear(experts.d_model, 1, bias=False)

    def forward(self, u: Float[Tensor, "*batch d"]) -> Float[Tensor, "*batch d"]:
        """Eq. (2), token by token."""
        return self.moe(u) + torch.sigmoid(self.gate(u)) * self.expert(u)  # (2)


@dataclass(frozen=True, kw_only=True, slots=True)
class Qwen3NextConfig:
    """Sizes of a Qwen3-Next model; `attention_every` is the period of attention."""

    vocab_size: int
    n_blocks: int
    attention: GatedAttentionConfig
    delta: GatedDeltaNetConfig
    experts: MoEConfig  # renormalize=True
    d_shared: int
    attention_every: int = 4
    norm_eps: float = 1e-6
    tie_embeddings: bool = False
    checkpoint_layers: bool = False

    def __post_init__(self) -> None:
        expect_counts(self, "vocab_size", "n_blocks", "d_shared", "attention_every")
        widths = (self.attention.d_model, self.delta.d_model, self.experts.d_model)
        if len(set(widths)) > 1:
            raise ValueError(f"attention, delta and experts must have one d_model; got {widths}")

    def is_attention(self, block: int) -> bool:
        """Whether the mixer of `block` is attention.    (1)"""
        return (block + 1) % self.attention_every == 0  # (1)

    @property
    def pattern(self) -> str:
        """One letter a branch: D Gated DeltaNet, * attention, E experts."""
        return "".join("*E" if self.is_attention(i) else "DE" for i in range(self.n_blocks))

    @property
    def shell(self) -> LanguageModelConfig:
        """The shell: two residual branches a block."""
        return LanguageModelConfig(
            vocab_size=self.vocab_size,
            d_model=self.delta.d_model,
            n_layers=2 * self.n_blocks,
            pad_vocab_to=1,
            norm_eps=self.norm_eps,
            residual_in_fp32=False,
            tie_embeddings=self.tie_embeddings,
            checkpoint_layers=self.checkpoint_layers,
        )


class Qwen3Next(LanguageModel):
    """Qwen3-Next's blocks in the shell of `LanguageModel`."""

    def __init__(self, cfg: Qwen3NextConfig) -> None:
        def branch(layer: int) -> nn.Module:
            if layer % 2:
                return GatedExpertMoE(cfg.experts, cfg.d_shared)
            if cfg.is_attention(layer // 2):
                return GatedAttention(cfg.attention)
            return GatedDeltaNet(cfg.delta)

        def norm() -> nn.Module:
            return CentredRMSNorm(cfg.delta.d_model, eps=cfg.norm_eps)

        super().__init__(cfg.shell, branch, norm=norm)
        self.qwen_cfg = cfg


def published_config() -> Qwen3NextConfig:
    """Qwen3-Next 80B-A3B by its config.json, without the head for several tokens at once."""
    d = 2048
    return Qwen3NextConfig(
        vocab_size=151_936,
        n_blocks=48,
        attention=GatedAttentionConfig(
            d_model=d, n_heads=16, n_kv_heads=2, d_head=256, rope_dims=64, rope_base=10_000_000.0
        ),
        delta=GatedDeltaNetConfig(
            d_model=d, n_heads=16, d_head=128, expand_v=1.0, n_value_heads=32, norm_eps=1e-6
        ),
        experts=MoEConfig(d_model=d, d_ff=512, n_experts=512, top_k=10, renormalize=True),
        d_shared=512,
    )
