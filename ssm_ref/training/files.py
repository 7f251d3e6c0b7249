"""Real data: text files read as bytes, and the handwritten digits that scikit-learn ships."""

import hashlib
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ssm_ref.training.batch import Batch, generator


@dataclass(frozen=True, kw_only=True, slots=True)
class Text:
    """Text files as bytes, in windows of `length`; the end of every file is kept for validation.

    `files` are patterns such as "texts/**/*.md", from the folder of the config.
    """

    files: tuple[str, ...]
    length: int = 256
    held_out: float = 0.1

    def __post_init__(self) -> None:
        if self.length < 1 or not 0 < self.held_out < 1:
            raise ValueError(
                f"length ≥ 1 and 0 < held_out < 1 are wanted; got {self.length}, {self.held_out}"
            )

    def open(self, folder: Path, seed: int, where: str) -> "TextSource":
        """The files' bytes; `ValueError` naming the pattern that finds none, or too few bytes."""
        paths: list[Path] = []
        for pattern in self.files:
            found = sorted(path for path in folder.glob(pattern) if path.is_file())
            if not found:
                raise ValueError(f"{where}.files = {pattern!r}: no file of {folder} fits it")
            paths += found
        train, held = [], []
        for path in dict.fromkeys(paths):
            data = path.read_bytes()
            cut = math.ceil(len(data) * (1 - self.held_out))
            train.append(data[:cut])
            held.append(data[cut:])
        parts = b"".join(train), b"".join(held)
        for name, data in zip(("training", "validation"), parts, strict=True):
            if len(data) <= self.length:
                raise ValueError(
                    f"{where}.files hold {len(data)} bytes for {name}; windows of length "
                    f"{self.length} need at least {self.length + 1}"
                )
        print_of = hashlib.sha256(parts[0] + b"\0" + parts[1]).hexdigest()[:16]
        train_bytes, held_bytes = (
            torch.frombuffer(bytearray(data), dtype=torch.uint8) for data in parts
        )
        return TextSource(train_bytes, held_bytes, self.length, seed, print_of)


@dataclass(frozen=True, slots=True)
class TextSource:
    """Windows at random places for training, side by side for validation."""

    train: Tensor
    held: Tensor
    length: int
    seed: int
    fingerprint: str

    @property
    def sizes(self) -> dict[str, Any]:
        """256 bytes."""
        return {"vocab_size": 256}

    def training(self, step: int, size: int) -> Batch:
        """Windows that start anywhere, and the bytes that follow."""
        last = len(self.train) - self.length
        starts = torch.randint(last, (size,), generator=generator(self.seed, 0, step))
        return self._windows(self.train, starts)

    def validation(self, count: int, size: int) -> Iterator[Batch]:
        """Windows spread evenly over the held-out bytes."""
        windows = (len(self.held) - 1) // self.length
        starts = torch.linspace(0, windows - 1, min(windows, count * size)).long() * self.length
        for part in starts.split(size):
            yield self._windows(self.held, part)

    def _windows(self, data: Tensor, starts: Tensor) -> Batch:
        rows = data[starts[:, None] + torch.arange(self.length + 1)].long()
        return Batch(rows[:, :-1], rows[:, 1:])


@dataclass(frozen=True, kw_only=True, slots=True)
class Digits:
    """The 1,797 handwritten digits of 8 × 8 pixels in scikit-learn; every fifth is held out."""

    def open(self, folder: Path, seed: int, where: str) -> "ImageSource":
        """The images; `ValueError` without scikit-learn."""
        try:
            from sklearn.datasets import load_digits
        except ImportError as error:
            raise ValueError(f"{where}: digits need scikit-learn: pip install scikit-learn") from (
                error
            )
        loaded = load_digits()
        images = torch.tensor(loaded.images, dtype=torch.float32)[:, None] / 16 - 0.5
        return ImageSource(images, torch.tensor(loaded.target), 10, seed)


@dataclass(frozen=True, slots=True)
class ImageSource:
    """Labelled images, in a new order every epoch; every fifth is held out."""

    images: Tensor  # n c h w
    labels: Tensor  # n
    n_classes: int
    seed: int

    @property
    def sizes(self) -> dict[str, Any]:
        """What the images are like."""
        _, channels, h, w = self.images.shape
        return {"image": (h, w), "channels": channels, "n_classes": self.n_classes}

    @property
    def fingerprint(self) -> str:
        """A hash of pixels and labels."""
        data = self.images.numpy().tobytes() + self.labels.numpy().tobytes()
        return hashlib.sha256(data).hexdigest()[:16]

    def training(self, step: int, size: int) -> Batch:
        """Places step·size … of an endless row of shuffled epochs."""
        kept = torch.tensor([i for i in range(len(self.labels)) if i % 5 != 4])
        places = torch.arange(step * size, (step + 1) * size)
        epochs = places // len(kept)
        order = {
            int(e): torch.randperm(len(kept), generator=generator(self.seed, 0, int(e)))
            for e in epochs.unique()
        }
        chosen = [int(order[int(e)][i]) for e, i in zip(epochs, places % len(kept), strict=True)]
        rows = kept[chosen]
        return Batch(self.images[rows], self.labels[rows])

    def validation(self, count: int, size: int) -> Iterator[Batch]:
        """The held-out images in their order."""
        rows = torch.arange(4, len(self.labels), 5)[: count * size]
        for part in rows.split(size):
            yield Batch(self.images[part], self.labels[part])
