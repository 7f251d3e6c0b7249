"""Samba: Mamba, MLP, sliding-window attention, MLP, and so on: the simplest hybrid.

Block i is four residual branches, x ← x + f(norm(x)):

    f = Mamba,  SwiGLU,  attention to the last w tokens,  SwiGLU    (1)

The window finds words exactly, the recurrence carries what is older. No part of the state grows
beyond w: with h_kv heads of keys of width p, after t tokens one block keeps

    2 h_kv p min(t, w − 1)  +  d_inner (n + k − 1)    numbers       (2)

and the text that output t can see through windows alone reaches n_blocks (w − 1) tokens back.
Source: Ren et al. 2024, arXiv 2406.07522, with w = 2048.
"""

from dataclasses import dataclass

from torch import nn

from ssm_ref.attention.transformer import Attention, AttentionConfig, SwiGLU
from ssm_ref.expect import expect_counts
from ssm_ref.language_model import LanguageModel, LanguageModelConfig
from ssm_ref.selective.mamba import Mamba, MambaConfig


@dataclass(frozen=True, kw_only=True, slots=True)
class SambaConfig:
    """Sizes of a Samba model of `n_blocks` × (Mamba, SwiGLU, windowed attention, SwiGLU)."""

    vocab_size: int
    n_blocks: int
    d_ff: int
    attention: AttentionConfig  # with a window
    mamba: MambaConfig
    norm_eps: float = 1e-5
    tie_embeddings: bool = False
    checkpoint_layers: bool = False

    def __post_init__(self) -> None:
        expect_counts(self, "vocab_size", "n_blocks", "d_ff")
        if self.attention.window is None:
            raise ValueError("attention must have a window; got None: that is a model like Jamba")
        if self.attention.d_model != self.mamba.d_model:
            raise ValueError(
                "attention and mamba must have one d_model; "
                f"got {self.attention.d_model} and {self.mamba.d_model}"
            )

    @property
    def pattern(self) -> str:
        """One letter a branch, as in `ssm_ref.hybrid.modular`."""
        return "M-W-" * self.n_blocks

    @property
    def window(self) -> int:
        """Tokens that attention sees, itself included."""
        assert self.attention.window is not None
        return self.attention.window

    def state_numbers(self, tokens: int) -> int:
        """Numbers that the model keeps of one sequence after `tokens` tokens.    (2)"""
        cache = 2 * self.attention.kv_heads * self.attention.head_width
        recurrent = self.mamba.d_inner * (self.mamba.d_state + self.mamba.d_conv - 1)
        return self.n_blocks * (cache * min(tokens, self.window - 1) + recurrent)  # (2)

    @property
    def reach(self) -> int:
        """How many tokens back windows alone can carry something to the output."""
        return self.n_blocks * (self.window - 1)

    @property
    def shell(self) -> LanguageModelConfig:
        """The shell: four residual branches a block."""
        return LanguageModelConfig(
            vocab_size=self.vocab_size,
            d_model=self.mamba.d_model,
            n_layers=4 * self.n_blocks,
            pad_vocab_to=1,
            norm_eps=self.norm_eps,
            tie_embeddings=self.tie_embeddings,
            checkpoint_layers=self.checkpoint_layers,
        )


class Samba(LanguageModel):
    """Samba's blocks in the shell of `LanguageModel`."""

    def __init__(self, cfg: SambaConfig) -> None:
        def branch(layer: int) -> nn.Module:
            match cfg.pattern[layer]:
                case "M":
                    return Mamba(cfg.mamba)
                case "W":
                    return Attention(cfg.attention)
            return SwiGLU(cfg.mamba.d_model, cfg.d_ff)

        super().__init__(cfg.shell, branch)  # (1)
        self.samba_cfg = cfg
