"""Nemotron-H: one branch a layer, written as a string of Mamba-2, MLP and a little attention.

Layer i has one norm and one branch, named by letter i of the pattern:

    x ← x + part[pattern_i](norm(x)),   M Mamba-2,  * attention,  - MLP    (1)
    mlp(u) = W_down relu(W_up u)²                                          (2)

so "M-M*-" is Mamba-2, MLP, Mamba-2, attention, MLP. Attention has grouped queries and no positions.
The published 8B has 52 letters: 24 M, 24 - and 4 *. Source: NVIDIA 2025, arXiv 2504.03624.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ssm_ref.attention.transformer import Attention, AttentionConfig
from ssm_ref.expect import expect_counts, expect_features
from ssm_ref.language_model import LanguageModel, LanguageModelConfig
from ssm_ref.selective.mamba2 import Mamba2, Mamba2Config

LETTERS = "M*-"
PATTERN_8B = "M-M-M-M*-" + "M-M-M-M-M*-" * 3 + "M-M-M-M-M-"


class SquaredReLU(nn.Module):
    """The channel mixer of Eq. (2): d_model → d_ff → d_model, no gate and no biases."""

    def __init__(self, d_model: int, d_ff: int) -> None:
        super().__init__()
        self.up_proj = nn.Linear(d_model, d_ff, bias=False)
        self.down_proj = nn.Linear(d_ff, d_model, bias=False)

    def forward(self, u: Float[Tensor, "... d"]) -> Float[Tensor, "... d"]:
        """Eq. (2), position by position."""
        expect_features("u", u, self.up_proj.in_features, self.up_proj.weight)
        return self.down_proj(torch.relu(self.up_proj(u)).square())  # (2)


@dataclass(frozen=True, kw_only=True, slots=True)
class NemotronHConfig:
    """Pattern and sizes of a Nemotron-H model."""

    vocab_size: int
    pattern: str
    d_ff: int
    attention: AttentionConfig  # rope_base=None: no positions
    mamba: Mamba2Config
    norm_eps: float = 1e-5
    tie_embeddings: bool = False
    checkpoint_layers: bool = False

    def __post_init__(self) -> None:
        expect_counts(self, "vocab_size", "d_ff")
        if not self.pattern or set(self.pattern) - set(LETTERS):
            raise ValueError(
                f"pattern must be letters of {LETTERS!r}, at least one; got {self.pattern!r}"
            )
        if self.attention.d_model != self.mamba.d_model:
            raise ValueError(
                "attention and mamba must have one d_model; "
                f"got {self.attention.d_model} and {self.mamba.d_model}"
            )

    @property
    def shell(self) -> LanguageModelConfig:
        """The shell: one residual branch a letter."""
        return LanguageModelConfig(
            vocab_size=self.vocab_size,
            d_model=self.mamba.d_model,
            n_layers=len(self.pattern),
            pad_vocab_to=1,
            norm_eps=self.norm_eps,
            residual_in_fp32=False,
            tie_embeddings=self.tie_embeddings,
            checkpoint_layers=self.checkpoint_layers,
        )


class NemotronH(LanguageModel):
    """The branches of the pattern in the shell of `LanguageModel`.

    Projections that write into the residual stream start divided by √n_layers.
    """

    def __init__(self, cfg: NemotronHConfig) -> None:
        parts = {
            "M": lambda: Mamba2(cfg.mamba),
            "*": lambda: Attention(cfg.attention),
            "-": lambda: SquaredReLU(cfg.mamba.d_model, cfg.d_ff),
        }
        super().__init__(cfg.shell, lambda layer: parts[cfg.pattern[layer]]())  # (1)
        self.nemotron_cfg = cfg
        for name, weight in self.named_parameters():
            if name.endswith(("out_proj.weight", "o_proj.weight", "down_proj.weight")):
                weight.data /= math.sqrt(len(cfg.pattern))


def published_config() -> NemotronHConfig:
    """Nemotron-H 8B."""
    d = 4096
    return NemotronHConfig(
        vocab_size=131_072,
        pattern=PATTERN_8B,
        d_ff=21_504,
        attention=AttentionConfig(d_model=d, n_heads=32, n_kv_heads=8, d_head=128, rope_base=None),
        mamba=Mamba2Config(d_model=d, d_state=128, d_head=64, n_groups=8),
    )
