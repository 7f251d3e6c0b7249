"""Kimi Linear: three layers of Kimi Delta Attention to one of latent attention without positions.

    x ← x + mixer_i(norm(x)),  mixer_i latent attention in the layers named, else KDA          (1)
    x ← x + ffn_i(norm(x)),    SwiGLU in the first block, else experts and one for all tokens  (2)

Latent attention (MLA) keeps of a token one vector c of rank r, normed, and s channels k_0 that all
heads share; keys and values of head h are linear in them:

    [c, k_0] = W_a u,   [k_h, v_h] = W_b,h norm(c),   key_h = [k_h, k_0]                       (3)

so its cache is r + s numbers a token, whatever the number of heads. Experts are scored one by one,

    π = σ(W_r u),   chosen = top-k(π + b),   weights = γ π_chosen / Σ π_chosen                 (4)

where b, adjusted from outside to spread tokens evenly, takes part in the choice alone. Source: Kimi
Team 2025, arXiv 2510.26692; MLA and (4) from DeepSeek-V3, 2412.19437.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional

from ssm_ref.attention.transformer import SwiGLU
from ssm_ref.expect import (
    expect_batch,
    expect_counts,
    expect_sequence,
    expect_shape,
    expect_token,
)
from ssm_ref.hybrid.moe import MoE, MoEConfig
from ssm_ref.language_model import LanguageModel, LanguageModelConfig
from ssm_ref.linear_attention.kda import KDAConfig, KimiDeltaAttention
from ssm_ref.norm import RMSNorm


@dataclass(frozen=True, kw_only=True, slots=True)
class LatentAttentionConfig:
    """Sizes of latent attention: `rank` r, `d_shared` s, and widths of a head's own k and v."""

    d_model: int
    n_heads: int
    rank: int = 512
    d_shared: int = 64
    d_key: int = 128
    d_value: int = 128
    norm_eps: float = 1e-6

    def __post_init__(self) -> None:
        expect_counts(self, "d_model", "n_heads", "rank", "d_shared", "d_key", "d_value")


class LatentCache(NamedTuple):
    """The vectors c, normed, and the shared keys k_0 of every token so far."""

    latent: Float[Tensor, "b s r"]
    k_0: Float[Tensor, "b s p"]


class LatentAttention(nn.Module):
    """Causal attention over keys and values that are rebuilt from a latent vector, Eq. (3)."""

    def __init__(self, cfg: LatentAttentionConfig) -> None:
        super().__init__()
        self.cfg = cfg
        width = cfg.n_heads * (cfg.d_key + cfg.d_shared)
        self.q_proj = nn.Linear(cfg.d_model, width, bias=False)
        self.kv_a_proj = nn.Linear(cfg.d_model, cfg.rank + cfg.d_shared, bias=False)
        self.kv_norm = RMSNorm(cfg.rank, eps=cfg.norm_eps)
        self.kv_b_proj = nn.Linear(cfg.rank, cfg.n_heads * (cfg.d_key + cfg.d_value), bias=False)
        self.o_proj = nn.Linear(cfg.n_heads * cfg.d_value, cfg.d_model, bias=False)

    def allocate_state(self, batch: int) -> LatentCache:
        """A cache that has seen nothing."""
        expect_batch(batch)
        new = self.q_proj.weight.new_empty
        return LatentCache(new(batch, 0, self.cfg.rank), new(batch, 0, self.cfg.d_shared))

    def forward(self, u: Float[Tensor, "b l d"]) -> Float[Tensor, "b l d"]:
        """Attention of every position to itself and its past."""
        return self.prefill(u, self.allocate_state(u.shape[0]))[0]

    def prefill(
        self, u: Float[Tensor, "b l d"], state: LatentCache
    ) -> tuple[Float[Tensor, "b l d"], LatentCache]:
        """Attention of every position to itself, its past and the cache; and the new cache."""
        expect_sequence("u", u, self.cfg.d_model, self.q_proj.weight)
        self._check(state, u.shape[0])
        c, k_0 = self.kv_a_proj(u).split([self.cfg.rank, self.cfg.d_shared], dim=-1)
        c = torch.cat([state.latent.to(c.dtype), self.kv_norm(c)], dim=1)
        k_0 = torch.cat([state.k_0.to(k_0.dtype), k_0], dim=1)
        sizes = [self.cfg.d_key, self.cfg.d_value]
        k, v = self._heads(self.kv_b_proj(c)).split(sizes, dim=-1)  # (3)
        k = torch.cat([k, k_0[:, None].expand(-1, self.cfg.n_heads, -1, -1)], dim=-1)  # (3)
        past = torch.arange(c.shape[1] - u.shape[1], c.shape[1], device=u.device)
        seen = past[:, None] >= torch.arange(c.shape[1], device=u.device)
        q = self._heads(self.q_proj(u))
        y = functional.scaled_dot_product_attention(q, k, v, attn_mask=seen)
        return self.o_proj(y.transpose(1, 2).flatten(2)), LatentCache(c, k_0)

    def step(
        self, u_t: Float[Tensor, "b d"], state: LatentCache
    ) -> tuple[Float[Tensor, "b d"], LatentCache]:
        """One more position against the cache."""
        expect_token("u_t", u_t, self.cfg.d_model, self.q_proj.weight)
        y, state = self.prefill(u_t[:, None], state)
        return y[:, 0], state

    def _heads(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.cfg.n_heads, -1)).transpose(1, 2)  # b h l p

    def _check(self, state: object, batch: int) -> None:
        if not isinstance(state, LatentCache):
            raise ValueError(f"state must be a LatentCache; got {type(state).__name__}")
        s = state.latent.shape[1]
        expect_shape("state.latent", state.latent, (batch, s, self.cfg.rank))
        expect_shape("state.k_0", state.k_0, (batch, s, self.cfg.d_shared))


class ScoredMoE(MoE):
    """A mixture of experts that are scored one by one, Eq. (4), and one that every token sees."""

    def __init__(self, cfg: MoEConfig, d_shared: int, scale: float = 1.0) -> None:
        super().__init__(cfg)
        self.scale = scale
        self.choice_bias = nn.Parameter(torch.zeros(cfg.n_experts), requires_grad=False)
        self.expert = SwiGLU(cfg.d_model, d_shared)

    def route(
        self, u: Float[Tensor, "s d"]
    ) -> tuple[Float[Tensor, "s e"], Float[Tensor, "s k"], Int[Tensor, "s k"]]:
        """Scores π, and weights and numbers of the chosen experts; in float32 or wider."""
        logits = self.router(u)
        pi = torch.sigmoid(logits.to(torch.promote_types(logits.dtype, torch.float32)))  # (4)
        chosen = (pi + self.choice_bias).topk(self.cfg.top_k, dim=-1).indices  # (4)
        weights = pi.gather(-1, chosen)
        return pi, self.scale * weights / (weights.sum(dim=-1, keepdim=True) + 1e-20), chosen  # (4)

    def forward(self, u: Float[Tensor, "*batch d"]) -> Float[Tensor, "*batch d"]:
        """The chosen experts and the shared one, token by token."""
        return super().forward(u) + self.expert(u)


@dataclass(frozen=True, kw_only=True, slots=True)
class KimiLinearConfig:
    """Sizes of a Kimi Linear model; `attention_layers` are those with latent attention."""

    vocab_size: int
    n_blocks: int
    attention_layers: tuple[int, ...]
    attention: LatentAttentionConfig
    delta: KDAConfig
    experts: MoEConfig
    d_ff: int  # of the dense blocks
    d_shared: int
    n_dense: int = 1
    routed_scale: float = 2.446
    norm_eps: float = 1e-5
    checkpoint_layers: bool = False

    def __post_init__(self) -> None:
        expect_counts(self, "vocab_size", "n_blocks", "d_ff", "d_shared")
        widths = (self.attention.d_model, self.delta.d_model, self.experts.d_model)
        if len(set(widths)) > 1:
            raise ValueError(f"attention, delta and experts must have one d_model; got {widths}")
        if not set(self.attention_layers) <= set(range(self.n_blocks)):
            raise ValueError(
                f"attention_layers must be in 0 … {self.n_blocks - 1}; got {self.attention_layers}"
            )

    @property
    def pattern(self) -> str:
        """One letter a branch: K KDA, * latent attention, - SwiGLU, E experts."""
        return "".join(
            ("*" if i in self.attention_layers else "K") + ("-" if i < self.n_dense else "E")
            for i in range(self.n_blocks)
        )

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
            tie_embeddings=False,
            checkpoint_layers=self.checkpoint_layers,
        )


class KimiLinear(LanguageModel):
    """Kimi Linear's blocks in the shell of `LanguageModel`."""

    def __init__(self, cfg: KimiLinearConfig) -> None:
        def branch(layer: int) -> nn.Module:
            match cfg.pattern[layer]:
                case "K":
                    return KimiDeltaAttention(cfg.delta)
                case "*":
                    return LatentAttention(cfg.attention)
                case "-":
                    return SwiGLU(cfg.delta.d_model, cfg.d_ff)
            return ScoredMoE(cfg.experts, cfg.d_shared, cfg.routed_scale)

        super().__init__(cfg.shell, branch)  # (1), (2)
        self.kimi_cfg = cfg


def published_config() -> KimiLinearConfig:
    """Kimi Linear 48B-A3B by its config.json, which counts layers from one."""
    d = 2304
    return KimiLinearConfig(
        vocab_size=163_840,
        n_blocks=27,
        attention_layers=(3, 7, 11, 15, 19, 23, 26),
        attention=LatentAttentionConfig(d_model=d, n_heads=32),
        delta=KDAConfig(d_model=d, n_heads=32, d_head=128),
        experts=MoEConfig(d_model=d, d_ff=1024, n_experts=256, top_k=8),
        d_ff=9216,
        d_shared=1024,
    )
