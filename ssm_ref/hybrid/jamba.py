"""Jamba: Mamba layers, one attention layer in eight, experts in every second channel mixer.

Block i is two residual branches,

    x ← x + mixer_i(norm(x)),  mixer_i attention if i mod p_a = o_a, else Mamba         (1)
    x ← x + ffn_i(norm(x)),    ffn_i a mixture of experts if i mod p_e = o_e, else SwiGLU    (2)

with p_a = 8, o_a = 4, p_e = 2, o_e = 1 as published. Attention has grouped queries and no positions
at all: the Mamba layers below it carry the order. Mamba normalises δ, B and C (RMSNorm with a
learned scale). The state is a KV cache in the few attention layers and (conv, h) in the others.

Sources: Lieber et al. 2024, arXiv 2403.19887; Jamba-1.5, 2408.12570, which keeps Mamba-1.
"""

import math
from dataclasses import dataclass

from torch import nn

from ssm_ref.attention.transformer import Attention, AttentionConfig, SwiGLU
from ssm_ref.expect import expect_counts
from ssm_ref.hybrid.moe import MoE, MoEConfig
from ssm_ref.language_model import LanguageModel, LanguageModelConfig
from ssm_ref.selective.mamba import Mamba, MambaConfig


@dataclass(frozen=True, kw_only=True, slots=True)
class JambaConfig:
    """Sizes and periods of a Jamba model."""

    vocab_size: int
    n_blocks: int
    d_ff: int
    attention: AttentionConfig  # rope_base=None: no positions
    mamba: MambaConfig  # ssm_norm="learned"
    n_experts: int = 16
    top_k: int = 2
    attention_period: int = 8
    attention_offset: int = 4
    expert_period: int = 2
    expert_offset: int = 1
    norm_eps: float = 1e-6
    tie_embeddings: bool = False
    checkpoint_layers: bool = False

    def __post_init__(self) -> None:
        expect_counts(self, "vocab_size", "n_blocks", "d_ff", "n_experts", "top_k")
        if self.attention.d_model != self.mamba.d_model:
            raise ValueError(
                "attention and mamba must have one d_model; "
                f"got {self.attention.d_model} and {self.mamba.d_model}"
            )
        for kind in ("attention", "expert"):
            period, offset = getattr(self, f"{kind}_period"), getattr(self, f"{kind}_offset")
            if not offset < period:
                raise ValueError(f"0 <= {kind}_offset < {kind}_period; got {offset} and {period}")

    def is_attention(self, block: int) -> bool:
        """Whether the mixer of `block` is attention.    (1)"""
        return block % self.attention_period == self.attention_offset  # (1)

    def has_experts(self, block: int) -> bool:
        """Whether the channel mixer of `block` is a mixture of experts.    (2)"""
        return self.n_experts > 1 and block % self.expert_period == self.expert_offset  # (2)

    @property
    def pattern(self) -> str:
        """One letter a branch: M Mamba, * attention, - SwiGLU, E experts."""
        return "".join(
            ("*" if self.is_attention(i) else "M") + ("E" if self.has_experts(i) else "-")
            for i in range(self.n_blocks)
        )

    @property
    def shell(self) -> LanguageModelConfig:
        """The shell: two residual branches a block."""
        return LanguageModelConfig(
            vocab_size=self.vocab_size,
            d_model=self.attention.d_model,
            n_layers=2 * self.n_blocks,
            pad_vocab_to=1,
            norm_eps=self.norm_eps,
            residual_in_fp32=False,
            tie_embeddings=self.tie_embeddings,
            checkpoint_layers=self.checkpoint_layers,
        )


class Jamba(LanguageModel):
    """Jamba's blocks in the shell of `LanguageModel`."""

    def __init__(self, cfg: JambaConfig) -> None:
        def branch(layer: int) -> nn.Module:
            block, d = layer // 2, cfg.attention.d_model
            if layer % 2 == 0:
                return Attention(cfg.attention) if cfg.is_attention(block) else Mamba(cfg.mamba)
            if cfg.has_experts(block):
                e, k = cfg.n_experts, cfg.top_k
                return MoE(MoEConfig(d_model=d, d_ff=cfg.d_ff, n_experts=e, top_k=k))
            return SwiGLU(d, cfg.d_ff)

        super().__init__(cfg.shell, branch)
        self.jamba_cfg = cfg
        for name, weight in self.named_parameters():
            if name.endswith(("out_proj.weight", "o_proj.weight")):
                weight.data /= math.sqrt(2 * cfg.n_blocks)
