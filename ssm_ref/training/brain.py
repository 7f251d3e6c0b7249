"""The brain volume of nilearn, slice by slice, to be segmented; only its data files are opened."""

import gzip
import hashlib
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional

from ssm_ref.training.batch import Batch, generator
from ssm_ref.training.pictures import packaged
from ssm_ref.vision.segmentation import dice

TISSUES = ("other", "grey", "white")
WHOLE, THRESHOLD = (189, 233, 197), 127  # z y x of the volumes; probability ½ of 255
SLAB, GAP = 12, 4  # slices held out together; slices beside them that training leaves out


@dataclass(frozen=True, kw_only=True, slots=True)
class BrainSlices:
    """Axial slices of the ICBM 152 brain in nilearn: grey matter, white matter or neither.

    Every fifth slab of 12 slices is held out, with 4 slices on either side in no set, as
    neighbours are nearly alike. What a scanner does is put on: `field` is the strength of a smooth
    gain over the slice, `noise` the standard deviation of noise, where tissue is about 1 bright.
    One brain shows that a model learns, not how it fares with patients.

    Args:
        size: rows and columns, cut from the middle.
        coarse: voxels of a side of a pixel.
    """

    size: tuple[int, int] = (192, 160)
    coarse: int = 1
    field: float = 0.4
    noise: float = 0.1

    def __post_init__(self) -> None:
        if self.coarse < 1 or min(self.size) < 1 or self.field < 0 or self.noise < 0:
            raise ValueError(
                "size and coarse must be at least 1, field and noise not negative; got "
                f"{self.size}, {self.coarse}, {self.field} and {self.noise}"
            )
        if any(s * self.coarse > w for s, w in zip(self.size, WHOLE[1:], strict=True)):
            raise ValueError(f"size {self.size} × coarse {self.coarse} exceeds {WHOLE[1:]} voxels")

    def open(self, folder: Path, seed: int, where: str) -> "SliceSource":
        """The slices; `ValueError` without nilearn."""
        names = (f"mni_icbm152_{name}_tal_nlin_sym_09a_converted" for name in ("t1", "gm", "wm"))
        paths = [packaged("nilearn", f"datasets/data/{name}.nii.gz", where) for name in names]
        t1, grey, white = (self._cut(read_nifti(path)) for path in paths)
        labels = (grey > THRESHOLD).long() + 2 * ((white > THRESHOLD) & (white >= grey)).long()
        labels = labels.clamp(max=2)
        slices = torch.arange(len(labels))[(labels > 0).flatten(1).any(dim=1)]
        return SliceSource(t1[slices] / 255, labels[slices], slices, self, seed)

    def _cut(self, volume: Tensor) -> Tensor:
        h, w = (s * self.coarse for s in self.size)
        top, left = (WHOLE[1] - h) // 2, (WHOLE[2] - w) // 2
        middle = volume[:, None, top : top + h, left : left + w].float()
        return functional.avg_pool2d(middle, self.coarse)[:, 0].flip(1)  # the face points up


def read_nifti(path: Path) -> Tensor:
    """The bytes of a NIfTI-1 volume (gzip, one byte a voxel), axes z, y, x.

    Raises `ValueError` for any other kind of file.
    """
    data = gzip.decompress(path.read_bytes())
    x, y, z = struct.unpack_from("<3h", data, 42)
    kind, start = struct.unpack_from("<h", data, 70)[0], int(struct.unpack_from("<f", data, 108)[0])
    if data[344:348] != b"n+1\0" or kind != 2 or len(data) != start + x * y * z:
        raise ValueError(f"{path} is not a NIfTI-1 volume of unsigned bytes in one file")
    return torch.frombuffer(bytearray(data[start:]), dtype=torch.uint8).view(z, y, x)


@dataclass(frozen=True, slots=True)
class SliceSource:
    """Slices at random for training; the held-out ones, with fixed noise, for validation."""

    t1: Tensor  # n h w
    labels: Tensor  # n h w
    slices: Tensor  # n, places in the volume
    task: BrainSlices
    seed: int

    @property
    def sizes(self) -> dict[str, Any]:
        """One channel, three classes; any model of maps reads any size."""
        return {"channels": 1, "n_classes": len(TISSUES)}

    @property
    def fingerprint(self) -> str:
        """A hash of voxels and labels."""
        data = self.t1.numpy().tobytes() + self.labels.numpy().tobytes()
        return hashlib.sha256(data).hexdigest()[:16]

    def held_out(self) -> Tensor:
        """Rows of the held-out slices."""
        return torch.nonzero(self.slices // SLAB % 5 == 4)[:, 0]

    def kept(self) -> Tensor:
        """Rows for training: none within `GAP` slices of a held-out slab."""
        near = torch.arange(-GAP, GAP + 1)
        beside = ((self.slices[:, None] + near) // SLAB % 5 == 4).any(dim=1)
        return torch.nonzero(~beside)[:, 0]

    def training(self, step: int, size: int) -> Batch:
        """Slices drawn at random, half of them mirrored left to right."""
        g, kept = generator(self.seed, 0, step), self.kept()
        chosen = kept[torch.randint(len(kept), (size,), generator=g)]
        mirrored = torch.rand(size, 1, 1, generator=g) < 0.5
        t1, labels = self.t1[chosen], self.labels[chosen]
        t1 = torch.where(mirrored, t1.flip(2), t1)
        labels = torch.where(mirrored, labels.flip(2), labels)
        return Batch(self._scanned(t1, g), labels)

    def validation(self, count: int, size: int) -> Iterator[Batch]:
        """All held-out slices, in at most `count` batches."""
        for i, part in enumerate(self.held_out()[: count * size].split(size)):
            yield Batch(self._scanned(self.t1[part], generator(self.seed, 1, i)), self.labels[part])

    def measure(self, model: nn.Module, device: torch.device) -> dict[str, Any]:
        """Dice of every tissue over the held-out slices, and the answer for the middle one."""
        told, truth = [], []
        for batch in self.validation(len(self.held_out()), 8):
            told.append(model(batch.inputs.to(device)).argmax(dim=-1).cpu())
            truth.append(batch.targets)
        answer, wanted = torch.cat(told), torch.cat(truth)
        middle = len(answer) // 2
        scores = dice(answer, wanted, len(TISSUES))
        return {
            "dice": {name: round(s, 4) for name, s in zip(TISSUES, scores, strict=True)},
            "slices": len(answer),
            "slice": int(self.slices[self.held_out()[middle]]),
            "answer": runs(answer[middle]),
            "truth": runs(wanted[middle]),
        }

    def _scanned(self, t1: Tensor, g: Generator) -> Tensor:
        """Slices with a smooth gain and noise, b 1 h w, tissue about 0 and the rest below."""
        coarse = torch.randn(len(t1), 1, 3, 3, generator=g)
        gain = functional.interpolate(coarse, t1.shape[1:], mode="bicubic", align_corners=True)
        dirt = self.task.noise * torch.randn(len(t1), 1, *t1.shape[1:], generator=g)
        return t1[:, None] * (self.task.field * gain).exp() + dirt - 0.5


def runs(labels: Tensor) -> str:
    """A map of small whole numbers as text: size, then value and length of every run."""
    values, lengths = labels.flatten().unique_consecutive(return_counts=True)
    pairs = (f"{v}:{n}" for v, n in zip(values.tolist(), lengths.tolist(), strict=True))
    return "×".join(map(str, labels.shape)) + " " + " ".join(pairs)


def read_runs(text: str) -> Tensor:
    """The map that `runs` wrote."""
    size, *pairs = text.split(" ")
    values, lengths = zip(*(map(int, pair.split(":")) for pair in pairs), strict=True)
    return (
        torch.tensor(values)
        .repeat_interleave(torch.tensor(lengths))
        .view(*map(int, size.split("×")))
    )


class PixelClassifier(nn.Module):
    """The baseline: one linear map of the k × k pixels around, for a class at every pixel."""

    def __init__(self, cfg: "PixelClassifierConfig") -> None:
        super().__init__()
        self.conv = nn.Conv2d(cfg.channels, cfg.n_classes, cfg.k, padding=cfg.k // 2)

    def forward(self, image: Tensor) -> Tensor:
        """Logits, channels last."""
        logits: Tensor = self.conv(image).permute(0, 2, 3, 1)
        return logits


@dataclass(frozen=True, kw_only=True, slots=True)
class PixelClassifierConfig:
    """Sizes of the baseline."""

    k: int = 5
    channels: int = 1
    n_classes: int = 2

    def __post_init__(self) -> None:
        if self.k < 1 or self.k % 2 == 0:
            raise ValueError(f"k must be odd and at least 1; got {self.k}")
