"""Overlap by counting pixels, suppression and precision by their definitions, pair by pair."""

import itertools

import pytest
import torch
from torch import Tensor

from ssm_ref.vision.boxes import Boxes, area, average_precision, overlap, suppress

SIDE = 12


def random_boxes(n: int, seed: int) -> Tensor:
    """Boxes with whole corners inside SIDE × SIDE."""
    g = torch.Generator().manual_seed(seed)
    corners = torch.stack(
        [torch.randperm(SIDE + 1, generator=g)[:2].sort().values for _ in range(2 * n)]
    )
    x, y = corners[:n], corners[n:]
    return torch.stack([x[:, 0], y[:, 0], x[:, 1], y[:, 1]], dim=1).double()


def pixels(box: Tensor) -> Tensor:
    inside = torch.zeros(SIDE, SIDE, dtype=torch.bool)
    x0, y0, x1, y1 = (int(v) for v in box)
    inside[y0:y1, x0:x1] = True
    return inside


def test_overlap_counts_pixels() -> None:
    for p, t in itertools.product(random_boxes(12, 0), random_boxes(12, 1)):
        a, b = pixels(p), pixels(t)
        union = int((a | b).sum())
        iou = int((a & b).sum()) / union
        assert float(overlap(p, t)) == pytest.approx(iou)
        rows, columns = (a | b).any(dim=1).nonzero(), (a | b).any(dim=0).nonzero()
        hull = int(rows.max() - rows.min() + 1) * int(columns.max() - columns.min() + 1)
        want = iou - (hull - union) / hull
        assert float(overlap(p, t, generalised=True)) == pytest.approx(want)


def test_overlap_of_all_pairs() -> None:
    p, t = random_boxes(5, 0), random_boxes(3, 1)
    table = overlap(p[:, None], t)
    assert table.shape == (5, 3)
    assert float(table[4, 2]) == float(overlap(p[4], t[2]))
    torch.testing.assert_close(overlap(p, p), torch.ones(5, dtype=torch.float64))
    assert float(area(torch.tensor([3.0, 3.0, 1.0, 5.0]))) == 0


def test_only_giou_pulls_distant_boxes_together() -> None:
    truth = torch.tensor([8.0, 8.0, 10.0, 10.0], dtype=torch.float64)
    box = torch.tensor([1.0, 1.0, 3.0, 3.0], dtype=torch.float64, requires_grad=True)
    (flat,) = torch.autograd.grad(overlap(box, truth), box)
    (pull,) = torch.autograd.grad(overlap(box, truth, generalised=True), box)
    assert flat.abs().max() == 0
    assert (pull[2:] > 0).all()
    assert torch.autograd.gradcheck(lambda b: overlap(b, truth, generalised=True), (box,))


@pytest.mark.parametrize("threshold", [0.0, 0.3, 0.6, 1.0])
def test_suppression_by_its_definition(threshold: float) -> None:
    """A box stays exactly when no better box that stays, of its class, overlaps it by more."""
    boxes = random_boxes(40, 3)
    g = torch.Generator().manual_seed(0)
    scores, classes = torch.rand(40, generator=g), torch.randint(2, (40,), generator=g)
    kept = suppress(boxes, scores, classes, threshold=threshold).tolist()
    assert kept == sorted(kept, key=lambda i: -scores[i])
    for i in range(40):
        rivals = [
            j
            for j in kept
            if j != i
            and scores[j] > scores[i]
            and classes[j] == classes[i]
            and overlap(boxes[i], boxes[j]) > threshold
        ]
        assert (i in kept) == (not rivals)


def test_suppression_of_nothing() -> None:
    empty = torch.zeros(0, 4)
    assert suppress(empty, empty[:, 0], empty[:, 0].long()).shape == (0,)
    with pytest.raises(ValueError, match="threshold must lie in"):
        suppress(empty, empty[:, 0], empty[:, 0].long(), threshold=1.5)


def precision_by_cuts(answers: list[Boxes], truth: list[Boxes], k: int, threshold: float) -> float:
    """AP of one class from scratch: at every cut all answers are matched anew."""
    wanted = sum(int((t.classes == k).sum()) for t in truth)
    every = [
        (float(s), i, n)
        for i, a in enumerate(answers)
        for n, s in enumerate(a.scores.tolist())  # type: ignore[union-attr]
        if a.classes[n] == k
    ]
    every.sort(reverse=True)
    points = []
    for cut in range(1, len(every) + 1):
        taken: set[tuple[int, int]] = set()
        hits = 0
        for _, i, n in every[:cut]:
            free = [
                (float(overlap(answers[i].places[n], truth[i].places[m])), -m)
                for m in range(len(truth[i].classes))
                if truth[i].classes[m] == k and (i, m) not in taken
            ]
            if free and max(free)[0] >= threshold:
                taken.add((i, -max(free)[1]))
                hits += 1
        points.append((hits / wanted, hits / cut))
    recalls = [i / 100 for i in range(101)]
    best = [max((p for r, p in points if r >= at - 1e-12), default=0.0) for at in recalls]
    return sum(best) / 101


def pictures(seed: int) -> tuple[list[Boxes], list[Boxes]]:
    g = torch.Generator().manual_seed(seed)
    answers, truth = [], []
    for i in range(5):
        boxes = random_boxes(4, 10 * seed + i)
        classes = torch.randint(2, (4,), generator=g)
        truth.append(Boxes(boxes, classes))
        near = boxes + torch.randint(-1, 2, (4, 4), generator=g)
        far, kinds = random_boxes(3, 10 * seed + i + 5), torch.randint(2, (3,), generator=g)
        scores = torch.rand(7, generator=g)
        answers.append(Boxes(torch.cat([near, far]), torch.cat([classes, kinds]), scores))
    return answers, truth


@pytest.mark.parametrize("threshold", [0.3, 0.5, 0.75])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_average_precision_by_cuts(seed: int, threshold: float) -> None:
    answers, truth = pictures(seed)
    want = [precision_by_cuts(answers, truth, k, threshold) for k in range(2)]
    got = average_precision(answers, truth, 2, threshold=threshold)
    assert got == pytest.approx(sum(want) / 2)
    assert 0 < got < 1


def test_greedy_matching_is_the_best_one_where_boxes_stand_apart() -> None:
    optimize = pytest.importorskip("scipy.optimize")
    corners = torch.tensor([[x, y] for x in (0, 10, 20) for y in (0, 10, 20)]).double()
    boxes = torch.cat([corners, corners + 8], dim=1)
    g = torch.Generator().manual_seed(0)
    moved = (boxes + torch.randint(-3, 4, boxes.shape, generator=g))[torch.randperm(9, generator=g)]
    table = overlap(moved[:, None], boxes)
    rows, columns = optimize.linear_sum_assignment(-table.numpy())
    hits = int((table[rows, columns] >= 0.5).sum())
    assert 0 < hits < 9
    zeros = torch.zeros(9, dtype=torch.long)
    answers = Boxes(moved, zeros, torch.linspace(0.1, 0.9, 9))
    precision = average_precision([answers], [Boxes(boxes, zeros)], 1)
    assert precision == pytest.approx(precision_by_cuts([answers], [Boxes(boxes, zeros)], 0, 0.5))
    assert precision <= hits / 9 + 0.01, "no matching has more hits than the best assignment"


def test_average_precision_at_its_ends() -> None:
    answers, truth = pictures(1)
    right = [Boxes(t.places, t.classes, torch.rand(len(t.classes))) for t in truth]
    assert average_precision(right, truth, 2) == 1
    nothing = [Boxes(t.places[:0], t.classes[:0], torch.zeros(0)) for t in truth]
    assert average_precision(nothing, truth, 2) == 0
    doubled = [
        Boxes(t.places.repeat(2, 1), t.classes.repeat(2), torch.rand(2 * len(t.classes)))
        for t in truth
    ]
    assert average_precision(doubled, truth, 2) < 1, "a box is found once"
    with pytest.raises(ValueError, match="same pictures"):
        average_precision(answers[:1], truth, 2)
    with pytest.raises(ValueError, match="have scores"):
        average_precision(truth, truth, 2)
    with pytest.raises(ValueError, match="at least one box"):
        average_precision(nothing, nothing, 2)
