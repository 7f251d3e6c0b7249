"""Caduceus: a language model of DNA that says the same of both strands.

    u_0 = E[x],  u_i = u_{i-1} + BiMamba_i(norm_i(u_{i-1})),  H(x) = norm(u_n)    (1)
    BiMamba(u) = W_out ((y_f + y_b) ⊙ SiLU(z))                                    (2)
    g(x) = H(x) Eᵀ                                                                (3)
    logits(x)_{t,c} = g(x)_{t,c} + g(rc x)_{L-1-t, κ(c)}                          (4)
    class(x) = (V mean_t H(x)_t + V mean_t H(rc x)_t) / 2                         (5)

x are ids (b, l), H is (b, l, m), g (b, l, v); rc and κ are those of `nucleotides`. BiMamba is two
Mamba blocks, one on the reversed sequence, that share W_in and W_out: without Vim's halving, so
twice `bidirectional_mamba` with separate directions.

Eqs. (4) and (5) are Caduceus-PS ("parameter sharing"): the published code carries both strands
side by side in 2m channels, which no layer mixes, so that one network reads each strand and the
heads add what it says. Caduceus-Ph ("post hoc") trains on one strand at a time and takes the mean
over both when it answers.

Source: Schiff, Kao, Gokaslan, Dao, Gu, Kuleshov, Caduceus, ICML 2024, arXiv:2403.03234, section 4,
and its published code for the initialisation and the tied head.
"""

import math
from dataclasses import dataclass
from typing import Any, Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from ssm_ref.expect import expect_counts, readable
from ssm_ref.genomics.nucleotides import VOCAB_SIZE, complement_map
from ssm_ref.norm import RMSNorm
from ssm_ref.selective.mamba import Operator
from ssm_ref.selective.selective_scan import selective_scan_chunked
from ssm_ref.vision.bidirectional_mamba import BidirectionalMamba, BidirectionalMambaConfig

Strands = Literal["sharing", "post_hoc", "one"]


@dataclass(frozen=True, kw_only=True, slots=True)
class CaduceusConfig:
    """Sizes of the model; the defaults are those of the published model for 131 072 nucleotides.

    Args:
        d_model: width of a token, m.
        n_layer: BiMamba blocks.
        d_state: state of a channel in each direction.
        vocab_size: ids that occur; the embedding is padded to a multiple of 8.
        strands: "sharing" reads both strands always (PS), "post_hoc" only outside training (Ph),
            "one" never: a model that knows nothing of the other strand.
        n_classes: width of the logits of `CaduceusClassifier`.
    """

    d_model: int = 256
    n_layer: int = 16
    d_state: int = 16
    vocab_size: int = VOCAB_SIZE
    strands: Strands = "sharing"
    n_classes: int = 2

    def __post_init__(self) -> None:
        expect_counts(self, "d_model", "n_layer", "d_state", "n_classes")
        if self.vocab_size < VOCAB_SIZE:
            raise ValueError(f"vocab_size must be at least {VOCAB_SIZE}; got {self.vocab_size}")
        if self.strands not in ("sharing", "post_hoc", "one"):
            raise ValueError(
                f"strands must be 'sharing', 'post_hoc' or 'one'; got {self.strands!r}"
            )

    @property
    def padded_vocab_size(self) -> int:
        """Rows of the embedding, v."""
        return -(-self.vocab_size // 8) * 8


class BiMambaLayer(nn.Module):
    """u + BiMamba(norm(u)), Eqs. (1) and (2)."""

    def __init__(self, cfg: CaduceusConfig, scan: Operator) -> None:
        super().__init__()
        mixer = BidirectionalMambaConfig(d_model=cfg.d_model, d_state=cfg.d_state)
        self.norm = RMSNorm(cfg.d_model)
        self.mixer = BidirectionalMamba(mixer, scan=scan)
        nn.init.kaiming_uniform_(self.mixer.out_proj.weight, a=math.sqrt(5))
        with torch.no_grad():  # one residual addition a layer
            self.mixer.out_proj.weight /= math.sqrt(cfg.n_layer)

    def forward(self, u: Float[Tensor, "b l m"]) -> Float[Tensor, "b l m"]:
        """Tokens after one layer; every one of them sees the whole sequence."""
        return u + 2.0 * self.mixer(self.norm(u))  # (1) (2)


class Strand(nn.Module):
    """H of Eq. (1): what the network makes of one strand."""

    def __init__(self, cfg: CaduceusConfig, scan: Operator) -> None:
        super().__init__()
        self.embedding = nn.Embedding(cfg.padded_vocab_size, cfg.d_model)
        nn.init.normal_(self.embedding.weight, std=0.02)
        self.layers = nn.ModuleList(BiMambaLayer(cfg, scan) for _ in range(cfg.n_layer))
        self.norm = RMSNorm(cfg.d_model)

    def forward(self, ids: Int[Tensor, "b l"]) -> Float[Tensor, "b l m"]:
        """Features of every nucleotide."""
        u: Tensor = self.embedding(ids)
        for layer in self.layers:
            u = layer(u)  # (1)
        out: Tensor = self.norm(u)
        return out


class BothStrands(nn.Module):
    """A strand's network, and the strands that are read: what language model and classifier share.

    `scan` has the contract of `selective_scan`.
    """

    complement: Tensor

    def __init__(self, cfg: CaduceusConfig, *, scan: Operator = selective_scan_chunked) -> None:
        super().__init__()
        self.cfg = cfg
        self.strand = Strand(cfg, scan)
        table = complement_map(cfg.padded_vocab_size)
        self.register_buffer("complement", table, persistent=False)

    def read(self, ids: Tensor) -> tuple[Tensor, Tensor | None]:
        """H(x), and H(rc x) in the direction of rc x where both strands are read."""
        if ids.ndim != 2 or ids.dtype not in (torch.int32, torch.int64) or not ids.shape[1]:
            raise ValueError(
                "ids must be int32 or int64 of shape (b, l) with l at least 1; got "
                f"{ids.dtype} of shape {tuple(ids.shape)}"
            )
        if ids.device != self.complement.device:
            raise ValueError(f"ids must be on {self.complement.device}; got {ids.device}")
        if readable(ids) and ids.numel() and (ids.min() < 0 or ids.max() >= len(self.complement)):
            raise ValueError(
                f"ids must be in 0 … {len(self.complement) - 1}; got "
                f"{int(ids.min())} … {int(ids.max())}"
            )
        strands = self.cfg.strands
        if strands == "one" or (strands == "post_hoc" and self.training):
            return self.strand(ids), None
        other = self.complement[ids.flip(1)]
        ours, theirs = self.strand(torch.cat([ids.to(other), other])).chunk(2)
        return ours, theirs


class Caduceus(BothStrands):
    """The masked language model of Eq. (4)."""

    def forward(self, ids: Int[Tensor, "b l"]) -> Float[Tensor, "b l v"]:
        """Logits of every nucleotide.

        Raises:
            ValueError: for ids that are no (b, l) of tokens.
        """
        ours, theirs = self.read(ids)
        logits = self._say(ours)
        if theirs is None:
            return logits
        logits = logits + self._say(theirs).flip(1)[..., self.complement]  # (4)
        return logits if self.cfg.strands == "sharing" else logits / 2

    def _say(self, features: Tensor) -> Tensor:
        return nn.functional.linear(features, self.strand.embedding.weight)  # (3)


class CaduceusClassifier(BothStrands):
    """The classifier of Eq. (5): both strands of a molecule get one answer."""

    def __init__(self, cfg: CaduceusConfig, **options: Any) -> None:
        super().__init__(cfg, **options)
        self.score = nn.Linear(cfg.d_model, cfg.n_classes, bias=False)
        nn.init.normal_(self.score.weight, std=0.02)

    def forward(self, ids: Int[Tensor, "b l"]) -> Float[Tensor, "b k"]:
        """Logits of the classes.

        Raises:
            ValueError: for ids that are no (b, l) of tokens.
        """
        ours, theirs = self.read(ids)
        score: Tensor = self.score(ours.mean(dim=1))
        return score if theirs is None else (score + self.score(theirs.mean(dim=1))) / 2  # (5)
