"""Boxes, how much they overlap, which of them to keep and how well they answer.

A box is (x0, y0, x1, y1) in pixels, x to the right, y down, with x0 < x1 and y0 < y1.

    IoU(P, T) = |P ∩ T| / |P ∪ T|                                                            (1)
    GIoU(P, T) = IoU − (|H| − |P ∪ T|) / |H|,   H the smallest box around both               (2)

IoU of boxes that do not touch is 0 however far apart they are and has no gradient; GIoU falls
towards −1 with the distance. `suppress` walks boxes from the best score down and drops those that
overlap one already kept. Average precision sorts all answers of all pictures by their scores; an
answer is right when its best-overlapping box of the same picture and class is not taken yet and
overlaps it by at least a threshold:

    AP = mean over recalls r = 0, 0.01, …, 1 of the best precision at recall ≥ r             (3)

Sources: Rezatofighi et al., GIoU, CVPR 2019, arXiv:1902.09630; Lin et al., COCO, ECCV 2014,
arXiv:1405.0312, and its published evaluation for Eq. (3).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Boxes:
    """Boxes of one picture with their classes, and scores where they are answers."""

    places: Float[Tensor, "n 4"]
    classes: Int[Tensor, " n"]
    scores: Float[Tensor, " n"] | None = None


def area(box: Float[Tensor, "*batch 4"]) -> Float[Tensor, "*batch"]:
    """Pixels inside; 0 for a box turned inside out."""
    sides = (box[..., 2:] - box[..., :2]).clamp(min=0)
    return sides[..., 0] * sides[..., 1]


def overlap(
    p: Float[Tensor, "*#batch 4"], t: Float[Tensor, "*#batch 4"], *, generalised: bool = False
) -> Float[Tensor, "..."]:
    """Eq. (1), or Eq. (2) if `generalised`, of boxes that stand against each other.

    Shapes broadcast: (n, 1, 4) and (m, 4) give (n, m). Two empty boxes have IoU 0.
    """
    both = torch.cat([torch.maximum(p, t)[..., :2], torch.minimum(p, t)[..., 2:]], dim=-1)
    shared = area(both)
    union = area(p) + area(t) - shared
    iou = shared / union.clamp(min=torch.finfo(union.dtype).tiny)  # (1)
    if not generalised:
        return iou
    around = torch.cat([torch.minimum(p, t)[..., :2], torch.maximum(p, t)[..., 2:]], dim=-1)
    hull = area(around)
    return iou - (hull - union) / hull.clamp(min=torch.finfo(hull.dtype).tiny)  # (2)


def suppress(
    boxes: Float[Tensor, "n 4"],
    scores: Float[Tensor, " n"],
    classes: Int[Tensor, " n"],
    *,
    threshold: float = 0.6,
) -> Int[Tensor, " kept"]:
    """Places of the boxes to keep, best first: none overlaps a better one of its class by more.

    Raises `ValueError` unless 0 ≤ threshold ≤ 1.
    """
    if not 0 <= threshold <= 1:
        raise ValueError(f"threshold must lie in [0, 1]; got {threshold}")
    order = scores.argsort(descending=True, stable=True)
    boxes, classes = boxes[order], classes[order]
    rival = (overlap(boxes[:, None], boxes) > threshold) & (classes[:, None] == classes)
    gone = torch.zeros(len(order), dtype=torch.bool, device=scores.device)
    kept = []
    for i in range(len(order)):
        if not gone[i]:
            kept.append(i)
            gone |= rival[i]
    return order[kept]


def average_precision(
    answers: Sequence[Boxes], truth: Sequence[Boxes], n_classes: int, *, threshold: float = 0.5
) -> float:
    """Eq. (3), the mean over the classes that the truth has; pictures stand in the same order.

    Raises `ValueError` for another number of pictures, answers without scores, or no box at all.
    """
    if len(answers) != len(truth) or any(a.scores is None for a in answers):
        raise ValueError(
            "answers and truth must be of the same pictures, and answers have scores; got "
            f"{len(answers)} and {len(truth)} pictures"
        )
    found = []
    for k in range(n_classes):
        wanted = sum(int((t.classes == k).sum()) for t in truth)
        if wanted:
            scores, right = _judged(answers, truth, k, threshold)
            found.append(_area(right[scores.argsort(descending=True, stable=True)], wanted))
    if not found:
        raise ValueError("the truth must hold at least one box; got none")
    return sum(found) / len(found)


def _judged(
    answers: Sequence[Boxes], truth: Sequence[Boxes], k: int, threshold: float
) -> tuple[Tensor, Tensor]:
    """Scores of the answers of class k in all pictures, and whether each is right."""
    scores, right = [], []
    for a, t in zip(answers, truth, strict=True):
        assert a.scores is not None
        mine, boxes = a.classes == k, t.places[t.classes == k]
        order = a.scores[mine].argsort(descending=True, stable=True)
        scores.append(a.scores[mine][order])
        free = set(range(len(boxes)))
        for row in overlap(a.places[mine][order, None], boxes).tolist():
            best = max(free, key=lambda i: row[i], default=-1)
            hit = best >= 0 and row[best] >= threshold
            free -= {best} if hit else set()
            right.append(hit)
    return torch.cat(scores), torch.tensor(right, dtype=torch.bool)


def _area(right: Tensor, wanted: int) -> float:
    """Mean of the best precision at recall ≥ 0, 0.01, …, 1, for answers from the best down."""
    hits = right.cumsum(dim=0).double()
    precision = hits / torch.arange(1, len(hits) + 1)
    best = precision.flip(0).cummax(dim=0).values.flip(0)  # no later point has a better one
    recalls = torch.linspace(0, 1, 101, dtype=torch.float64)
    first = torch.searchsorted((hits / wanted).contiguous(), recalls)
    padded = torch.cat([best, best.new_zeros(1)])
    return float(padded[first].mean())  # (3)
