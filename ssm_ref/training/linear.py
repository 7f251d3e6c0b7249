"""Linear models on plain features: what a network has to beat before it is worth its name.

Each is a softmax of one matrix, trained by the same command as what it stands beside.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ssm_ref.genomics.nucleotides import VOCAB_SIZE, A, N, reverse_complement


@dataclass(frozen=True, kw_only=True, slots=True)
class LinearSoundConfig:
    """What `Recordings` give."""

    frames: int
    n_mels: int
    n_classes: int
    mean: float
    std: float


class LinearSound(nn.Module):
    """A weight for the mean of every mel band over time and one for its deviation."""

    def __init__(self, cfg: LinearSoundConfig) -> None:
        super().__init__()
        self.filling = -cfg.mean / (2 * cfg.std)  # what zeros behind the end become
        self.head = nn.Linear(2 * cfg.n_mels, cfg.n_classes)

    def forward(self, spectrogram: Tensor) -> Tensor:
        """Logits of the classes from (b, frames, mels); what fills a clip up does not count."""
        real = ((spectrogram - self.filling).abs() > 1e-5).any(dim=2, keepdim=True)
        weight = real / real.sum(dim=1, keepdim=True).clamp_min(1)
        mean = (weight * spectrogram).sum(dim=1, keepdim=True)
        deviation = (weight * (spectrogram - mean).square()).sum(dim=1).clamp_min(1e-12).sqrt()
        logits: Tensor = self.head(torch.cat([mean[:, 0], deviation], dim=1))
        return logits


@dataclass(frozen=True, kw_only=True, slots=True)
class LinearSeriesConfig:
    """What `ClassifiedSeries` give; a series is cut into `parts` of equal length."""

    channels: int
    n_classes: int
    parts: int = 3


class LinearSeries(nn.Module):
    """A weight for the mean of every channel over every part of a series."""

    def __init__(self, cfg: LinearSeriesConfig) -> None:
        super().__init__()
        self.parts = cfg.parts
        self.head = nn.Linear(cfg.parts * cfg.channels, cfg.n_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits of the classes from (b, l, channels), NaN behind the ends."""
        real = ~x.isnan().all(dim=2)
        length = real.sum(dim=1, keepdim=True)
        steps = torch.arange(x.shape[1], device=x.device)
        part = (steps * self.parts).div(length, rounding_mode="floor")  # b l
        chosen = (part[..., None] == torch.arange(self.parts, device=x.device)) & real[..., None]
        weights = chosen.to(x.dtype)
        sums = torch.einsum("blp,blc->bpc", weights, torch.where(real[..., None], x, 0.0))
        means = sums / weights.sum(dim=1)[..., None].clamp_min(1.0)
        logits: Tensor = self.head(means.flatten(1))
        return logits


@dataclass(frozen=True, kw_only=True, slots=True)
class WordsOfDnaConfig:
    """Words of `k` letters are counted."""

    n_classes: int
    k: int = 4


class WordsOfDna(nn.Module):
    """A weight for every word of k letters, counted on both strands."""

    def __init__(self, cfg: WordsOfDnaConfig) -> None:
        super().__init__()
        self.k = cfg.k
        self.head = nn.Linear(4**cfg.k, cfg.n_classes)

    def forward(self, ids: Tensor) -> Tensor:
        """Logits of the classes from (b, l); words with N do not count."""
        counts = self._count(ids) + self._count(reverse_complement(ids))
        share = counts / counts.sum(dim=1, keepdim=True).clamp_min(1.0)
        logits: Tensor = self.head(share * 4**self.k)
        return logits

    def _count(self, ids: Tensor) -> Tensor:
        letters = ids.unfold(1, self.k, 1)  # b w k
        plain = ((letters >= A) & (letters < N)).all(dim=-1)
        power = 4 ** torch.arange(self.k, device=ids.device)
        words = ((letters - A).clamp(0, 3) * power).sum(dim=-1)
        counts = torch.zeros(len(ids), 4**self.k, device=ids.device)
        return counts.scatter_add_(1, words, plain.float())


@dataclass(frozen=True, kw_only=True, slots=True)
class LettersAroundConfig:
    """How many letters are seen on each side of the one to guess."""

    vocab_size: int = VOCAB_SIZE
    reach: int = 5


class LettersAround(nn.Module):
    """A weight for every letter at every place within `reach` of the one to guess."""

    def __init__(self, cfg: LettersAroundConfig) -> None:
        super().__init__()
        self.vocab_size = cfg.vocab_size
        self.map = nn.Conv1d(cfg.vocab_size, cfg.vocab_size, 2 * cfg.reach + 1, padding=cfg.reach)

    def forward(self, ids: Tensor) -> Tensor:
        """Logits of every letter, (b, l, vocab_size)."""
        seen = nn.functional.one_hot(ids, self.vocab_size).to(self.map.weight.dtype)
        logits: Tensor = self.map(seen.mT)
        return logits.mT
