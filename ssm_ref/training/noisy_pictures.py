"""Pictures with noise in them, to learn diffusion from, and how generated ones are judged."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Generator, Tensor, nn

from ssm_ref.training.batch import Batch, generator
from ssm_ref.training.files import ImageSource
from ssm_ref.training.pictures import Pictures, open_pictures
from ssm_ref.vision.diffusion import NoiseSchedule, guided, sample
from ssm_ref.vision.dis import DiS


@dataclass(frozen=True, kw_only=True, slots=True)
class NoisyPictures:
    """Noise to be found in pictures of handwritten digits, each at a time of its own.

    A picture is a row of numbers: pixels of x_t, the time t and the class (10 for none, which
    `no_class` of the pictures get). The wanted numbers are the noise. After training `samples`
    pictures are drawn in `sampling_steps` steps of DDIM, guided by `guidance`.
    """

    of: Pictures = "digits"
    steps: int = 1000
    no_class: float = 0.1
    samples: int = 200
    sampling_steps: int = 50
    guidance: float = 1.5

    def __post_init__(self) -> None:
        NoiseSchedule(steps=self.steps)
        if not 0 <= self.no_class <= 1 or self.samples < 10:
            raise ValueError(
                "0 ≤ no_class ≤ 1 and samples ≥ 10 are wanted; got "
                f"{self.no_class} and {self.samples}"
            )
        if not 1 <= self.sampling_steps <= self.steps:
            raise ValueError(
                f"1 ≤ sampling_steps ≤ steps is wanted; got {self.sampling_steps} and {self.steps}"
            )

    def open(self, folder: Path, seed: int, where: str) -> "NoisySource":
        """The pictures; `ValueError` without their package."""
        read = open_pictures(self.of, where)
        clean = ImageSource(2 * read.images, read.labels, read.n_classes, seed)  # in −1 … 1
        return NoisySource(clean, self, seed)


@dataclass(frozen=True, slots=True)
class NoisySource:
    """Noisy pictures of shuffled epochs; held-out ones at times spread over all for validation."""

    clean: ImageSource
    task: NoisyPictures
    seed: int

    @property
    def sizes(self) -> dict[str, Any]:
        """What the pictures are like."""
        return self.clean.sizes

    @property
    def fingerprint(self) -> str:
        """A hash of pixels and labels."""
        return self.clean.fingerprint

    def training(self, step: int, size: int) -> Batch:
        """Pictures of the step at random times, some without their class."""
        images, labels = self.clean.training(step, size)
        g = generator(self.seed, 0, -1 - step)  # epochs have drawn from steps ≥ 0
        t = torch.randint(1, self.task.steps + 1, (size,), generator=g)
        nameless = torch.rand(size, generator=g) < self.task.no_class
        labels = labels.masked_fill(nameless, self.clean.n_classes)
        return self._noisy(images, labels, t, g)

    def validation(self, count: int, size: int) -> Iterator[Batch]:
        """Held-out pictures with their classes."""
        for i, (images, labels) in enumerate(self.clean.validation(count, size)):
            t = torch.linspace(1, self.task.steps, len(images)).round().long()
            yield self._noisy(images, labels, t, generator(self.seed, 1, i))

    def measure(self, model: nn.Module, device: torch.device) -> dict[str, Any]:
        """Pictures drawn from the model, and how they compare with real ones and with noise."""
        assert isinstance(model, PackedDiS)
        task, k = self.task, self.clean.n_classes
        asked = torch.arange(task.samples) % k
        g = generator(self.seed, 1, -1)
        start = torch.randn(task.samples, *self.clean.images.shape[1:], generator=g)
        drawn = sample(
            guided(model.dis, asked.to(device), k, task.guidance),
            start.to(device),
            NoiseSchedule(steps=task.steps),
            steps=task.sampling_steps,
            limit=1.0,
        ).cpu()
        (held, held_labels), *_ = self.clean.validation(1, len(self.clean.labels))
        (real, labels), *_ = [self._everything()]
        judged = {"drawn": (drawn, asked), "held out": (held, held_labels), "noise": (start, asked)}
        shown = ((drawn[: 4 * k] + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
        return {
            "judged": {
                name: judge(some, wanted, real, labels) for name, (some, wanted) in judged.items()
            },
            "guidance": task.guidance,
            "sampling_steps": task.sampling_steps,
            "shape": list(shown.shape),
            "pictures": shown.numpy().tobytes().hex(),
        }

    def _everything(self) -> tuple[Tensor, Tensor]:
        rows_ = torch.tensor([i for i in range(len(self.clean.labels)) if i % 5 != 4])
        return self.clean.images[rows_], self.clean.labels[rows_]

    def _noisy(self, images: Tensor, labels: Tensor, t: Tensor, g: Generator) -> Batch:
        noise = torch.randn(images.shape, generator=g)
        x_t = NoiseSchedule(steps=self.task.steps).add_noise(images, noise, t)
        inputs = torch.cat([x_t.flatten(1), t[:, None].float(), labels[:, None].float()], dim=1)
        return Batch(inputs, noise.flatten(1))


class PackedDiS(nn.Module):
    """DiS on rows of numbers, as `NoisySource` packs them."""

    def __init__(self, dis: DiS) -> None:
        super().__init__()
        self.dis = dis

    def forward(self, packed: Tensor) -> Tensor:
        """The noise in pictures, rows of numbers too."""
        cfg = self.dis.cfg
        x_t = packed[:, :-2].unflatten(1, (cfg.channels, *cfg.image))
        t, classes = packed[:, -2].long(), packed[:, -1].long()
        noise: Tensor = self.dis(x_t, t, classes if cfg.n_classes else None).flatten(1)
        return noise


NEAREST, COMPONENTS = 5, 20


def judge(some: Tensor, wanted: Tensor, real: Tensor, labels: Tensor) -> dict[str, float]:
    """Pictures against real ones of known classes, by measures that nothing was trained for.

    `agreement`: how often the vote of the 5 nearest real pictures is the class `wanted`.
    `frechet`: |μ − μ'|² + tr(Σ + Σ' − 2 (Σ Σ')^½) between Gaussians fitted to both in the space of
    the first 20 principal components of the real ones. `nearest` and `closest`: the mean and the
    least distance to the nearest real picture, over the mean between real ones; 0 is a copy.
    """
    some, real = some.flatten(1).double(), real.flatten(1).double()
    distances = torch.cdist(some, real)
    votes = labels[distances.topk(NEAREST, largest=False).indices].mode(dim=1).values
    among = torch.cdist(real, real).fill_diagonal_(torch.inf).amin(dim=1).mean()
    _, _, axes = torch.linalg.svd(real - real.mean(dim=0), full_matrices=False)
    fits = [_gaussian((x - real.mean(dim=0)) @ axes[:COMPONENTS].mT) for x in (some, real)]
    return {
        "agreement": round(float((votes == wanted).double().mean()), 4),
        "frechet": round(frechet(*fits[0], *fits[1]), 4),
        "nearest": round(float(distances.amin(dim=1).mean() / among), 4),
        "closest": round(float(distances.amin() / among), 4),
    }


def frechet(mean: Tensor, cov: Tensor, mean2: Tensor, cov2: Tensor) -> float:
    """|μ − μ'|² + tr(Σ + Σ' − 2 (Σ Σ')^½): the squared Fréchet distance of two Gaussians."""
    values, vectors = torch.linalg.eigh(cov)
    root = vectors * values.clamp(min=0).sqrt() @ vectors.mT
    cross = torch.linalg.eigvalsh(root @ cov2 @ root).clamp(min=0).sqrt().sum()
    return float((mean - mean2).square().sum() + cov.trace() + cov2.trace() - 2 * cross)


def _gaussian(x: Tensor) -> tuple[Tensor, Tensor]:
    return x.mean(dim=0), x.mT.cov()
