"""Handwritten digits of any size anywhere on a canvas, to be found: a task of our own."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional

from ssm_ref.training.batch import Batch, generator
from ssm_ref.training.files import ImageSource
from ssm_ref.training.pictures import Pictures, open_pictures
from ssm_ref.vision.boxes import Boxes, average_precision, overlap
from ssm_ref.vision.detection import FCOS, Predictions, answers, assign, detection_loss, rows

INK = 0.3  # what counts as a digit's pixel, where 1 is the darkest
APART = 0.1  # the most that boxes on one canvas overlap
SHOWN = 6  # canvases whose answers are kept
LEAST, MOST = 0.05, 100  # probability and number of answers


@dataclass(frozen=True, kw_only=True, slots=True)
class Canvases:
    """Canvases with digits of `sides` pixels, 1 … `most` of them, among `clutter` and noise.

    Clutter is quarters of other digits. A wanted box is the tightest around the ink. Digits of
    held-out canvases are held out themselves.
    """

    of: Pictures = "digits"
    canvas: tuple[int, int] = (64, 64)
    sides: tuple[int, int] = (12, 32)
    most: int = 4
    clutter: int = 4
    noise: float = 0.1
    measured: int = 200  # canvases that precision is measured on

    def __post_init__(self) -> None:
        least, largest = self.sides
        if not 4 <= least <= largest <= min(self.canvas):
            raise ValueError(
                f"4 ≤ sides ≤ canvas is wanted; got {self.sides} on a canvas of {self.canvas}"
            )
        if self.most < 1 or self.clutter < 0 or self.noise < 0 or self.measured < 1:
            raise ValueError(
                "most and measured must be at least 1, clutter and noise not negative; got "
                f"{self.most}, {self.measured}, {self.clutter} and {self.noise}"
            )

    def open(self, folder: Path, seed: int, where: str) -> "CanvasSource":
        """The canvases; `ValueError` without the package of the digits."""
        return CanvasSource(open_pictures(self.of, where), self, seed)


@dataclass(frozen=True, slots=True)
class CanvasSource:
    """Fresh canvases at every step. Targets are class, x0, y0, x1, y1 and −1 where no more are."""

    digits: ImageSource
    task: Canvases
    seed: int

    @property
    def sizes(self) -> dict[str, Any]:
        """One channel and the classes; the detector reads any size."""
        return {"channels": 1, "n_classes": self.digits.n_classes}

    @property
    def fingerprint(self) -> str:
        """A hash of pixels and labels."""
        return self.digits.fingerprint

    def training(self, step: int, size: int) -> Batch:
        """Canvases of this step."""
        return self.draw(size, generator(self.seed, 0, step), held_out=False)

    def validation(self, count: int, size: int) -> Iterator[Batch]:
        """Canvases of held-out digits."""
        for i in range(count):
            yield self.draw(size, generator(self.seed, 1, i), held_out=True)

    def draw(self, n: int, g: Generator, *, held_out: bool) -> Batch:
        """`n` canvases from `g`."""
        numbers = torch.arange(len(self.digits.labels))
        pool = numbers[(numbers % 5 == 4) == held_out]
        drawn = [self._one(pool, g) for _ in range(n)]
        return Batch(*(torch.stack(parts) for parts in zip(*drawn, strict=True)))

    def measure(self, model: nn.Module, device: torch.device) -> dict[str, Any]:
        """Average precision on canvases of held-out digits, and the answers on the first."""
        assert isinstance(model, Detector)
        found, truth = [], []
        for batch in self.validation(-(-self.task.measured // 25), 25):
            packed = model(batch.inputs.to(device)).float().cpu()
            told = rows(model.unpack(packed))
            found += [answers(one, self.task.canvas, LEAST, MOST) for one in told]
            truth += [boxes_of_row(row) for row in batch.targets]
        found, truth = found[: self.task.measured], truth[: self.task.measured]
        k = self.digits.n_classes
        thresholds = [0.5 + 0.05 * i for i in range(10)]
        precision = [average_precision(found, truth, k, threshold=at) for at in thresholds]
        return {
            "AP": round(sum(precision) / 10, 4),
            "AP50": round(precision[0], 4),
            "AP75": round(precision[5], 4),
            "canvases": len(truth),
            "boxes": sum(len(t.classes) for t in truth),
            "answers": [as_rows(one) for one in found[:SHOWN]],
        }

    def _one(self, pool: Tensor, g: Generator) -> tuple[Tensor, Tensor]:
        task, (h, w) = self.task, self.task.canvas
        canvas, boxes = torch.zeros(h, w), torch.full((task.most, 5), -1.0)
        for _ in range(task.clutter):
            digit, _ = self._digit(pool, g)
            piece = digit[: len(digit) // 2, : digit.shape[1] // 2]
            _paste(canvas, piece, g)
        wanted, placed = int(torch.randint(1, task.most + 1, (), generator=g)), 0
        for _ in range(10 * wanted):
            if placed == wanted:
                break
            digit, label = self._digit(pool, g)
            before = canvas.clone()
            y, x = _paste(canvas, digit, g)
            box = torch.tensor([x, y, x + digit.shape[1], y + digit.shape[0]], dtype=torch.float32)
            if placed and bool((overlap(box, boxes[:placed, 1:]) > APART).any()):
                canvas = before
                continue
            boxes[placed] = torch.cat([torch.tensor([float(label)]), box])
            placed += 1
        canvas = canvas + task.noise * torch.randn(h, w, generator=g)
        return canvas[None] - 0.5, boxes

    def _digit(self, pool: Tensor, g: Generator) -> tuple[Tensor, int]:
        """A digit of a size within `sides`, cut to its ink."""
        i = int(pool[torch.randint(len(pool), (), generator=g)])
        least, most = self.task.sides
        side = int(torch.randint(least, most + 1, (), generator=g))
        picture = self.digits.images[i : i + 1] + 0.5
        large = functional.interpolate(picture, (side, side), mode="bilinear", antialias=True)[0, 0]
        ink = large > INK
        ys, xs = ink.any(dim=1).nonzero()[:, 0], ink.any(dim=0).nonzero()[:, 0]
        cut = large[int(ys[0]) : int(ys[-1]) + 1, int(xs[0]) : int(xs[-1]) + 1]
        return cut, int(self.digits.labels[i])


class Detector(nn.Module):
    """FCOS whose answers are one tensor: a row of logits, distances, centre, place and stride."""

    def __init__(self, fcos: FCOS) -> None:
        super().__init__()
        self.fcos = fcos

    def forward(self, image: Tensor) -> Tensor:
        """(b, l, classes + 8)."""
        told = self.fcos(image)
        where = torch.cat([told.places, told.strides[:, None]], dim=-1).expand(len(image), -1, -1)
        return torch.cat([told.classes, told.distances, told.centre[..., None], where], dim=-1)

    def unpack(self, packed: Tensor) -> Predictions:
        """What `forward` packed."""
        k = self.fcos.cfg.n_classes
        classes, distances, centre, where = packed.split([k, 4, 1, 3], dim=-1)
        return Predictions(classes, distances, centre[..., 0], where[0, :, :2], where[0, :, 2])

    def asked(self, batch: Batch) -> int:
        """Places of all levels that are inside a wanted box: what the loss is divided by."""
        where = self.fcos.places(*batch.inputs.shape[2:])
        places, strides = (t.to(batch.targets.device) for t in where)
        wanted = assign(places, strides, batch.targets)
        return max(1, int((wanted.classes >= 0).sum()))

    def total_loss(self, packed: Tensor, targets: Tensor) -> Tensor:
        """The detector's loss, summed over the places."""
        return detection_loss(self.unpack(packed), targets)[0]


def boxes_of_row(row: Tensor) -> Boxes:
    """Wanted boxes out of a row of targets."""
    there = row[:, 0] >= 0
    return Boxes(row[there, 1:], row[there, 0].long())


def as_rows(boxes: Boxes, least: float = 0.3) -> list[list[float]]:
    """Class, corners and score of the answers worth drawing, rounded."""
    assert boxes.scores is not None
    columns = (boxes.classes[:, None], boxes.places, boxes.scores[:, None])
    table = torch.cat([c.double() for c in columns], dim=1)[boxes.scores >= least]
    return [[round(v, 2) for v in row] for row in table.tolist()]


def _paste(canvas: Tensor, piece: Tensor, g: Generator) -> tuple[int, int]:
    """Put `piece` on the canvas at random, the darker pixel wins; its top and left."""
    (h, w), (ph, pw) = canvas.shape, piece.shape
    y = int(torch.randint(h - ph + 1, (), generator=g))
    x = int(torch.randint(w - pw + 1, (), generator=g))
    place = canvas[y : y + ph, x : x + pw]
    torch.maximum(place, piece, out=place)
    return y, x
