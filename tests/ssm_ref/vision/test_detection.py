"""FCOS: which place answers for which box, its loss, and boxes that come back out."""

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from ssm_ref.vision import detection
from ssm_ref.vision.detection import (
    FCOS,
    FCOSConfig,
    Predictions,
    answers,
    assign,
    boxes_of,
    centreness,
    detection_loss,
    focal_loss,
    grid,
    rows,
)
from ssm_ref.vision.vmamba import VMambaConfig

BODY = VMambaConfig(blocks=(1, 1), d_model=8, channels=1, n_classes=3)
CFG = FCOSConfig(n_classes=3, d_pyramid=16, groups=4, first_stage=0, extra_levels=1, n_convs=1)
TRUTH = torch.tensor(
    [
        [[1.0, 2, 3, 17, 19], [2, 1, 1, 9, 9], [0, 20, 2, 39, 38]],
        [[0.0, 5, 20, 25, 39], [-1, 0, 0, 0, 0], [-1, 0, 0, 0, 0]],
    ]
)


def model() -> FCOS:
    torch.manual_seed(0)
    return FCOS(BODY, CFG)


def perfect(places: Tensor, strides: Tensor, sure: float = 12.0) -> Predictions:
    """What a detector would say that knows TRUTH."""
    wanted = assign(places, strides, TRUTH)
    kinds = F.one_hot(wanted.classes.clamp(min=0), 3) * (wanted.classes >= 0)[..., None]
    centre = torch.logit(wanted.centre.clamp(1e-4, 1 - 1e-4))
    return Predictions(sure * (2.0 * kinds - 1), wanted.distances, centre, places, strides)


def test_places_are_in_the_middle_of_what_they_stand_for() -> None:
    assert grid(2, 3, 4).tolist() == [[2, 2], [6, 2], [10, 2], [2, 6], [6, 6], [10, 6]]


@pytest.mark.parametrize("size", [(32, 32), (37, 20), (5, 64), (1, 1)])
def test_places_fit_the_maps_of_any_picture(size: tuple[int, int]) -> None:
    net = model()
    assert net.strides == [4, 8, 16]
    told = net(torch.randn(2, 1, *size))
    l = sum(math.ceil(size[0] / s) * math.ceil(size[1] / s) for s in net.strides)
    assert [tuple(t.shape) for t in told] == [(2, l, 3), (2, l, 4), (2, l), (l, 2), (l,)]
    assert (told.distances > 0).all()


def test_every_place_answers_for_the_smallest_box_of_its_level() -> None:
    """Place by place and box by box, as the paper words it."""
    places, strides = model().places(40, 40)
    got = assign(places, strides, TRUTH)
    inside = 0
    for b, row in enumerate(TRUTH.tolist()):
        for i, ((x, y), s) in enumerate(zip(places.tolist(), strides.tolist(), strict=True)):
            fitting = []
            for k, x0, y0, x1, y1 in row:
                sides = (x - x0, y - y0, x1 - x, y1 - y)
                near = max(abs(x - (x0 + x1) / 2), abs(y - (y0 + y1) / 2)) < 1.5 * s
                lower, upper = {4: (0, 32), 8: (32, 64), 16: (64, math.inf)}[int(s)]
                if k >= 0 and min(sides) > 0 and near and lower < max(sides) <= upper:
                    fitting.append(((x1 - x0) * (y1 - y0), int(k), sides))
            if not fitting:
                assert got.classes[b, i] == -1
                continue
            inside += 1
            _, k, sides = min(fitting)
            assert got.classes[b, i] == k
            assert got.distances[b, i].tolist() == list(sides)
            l, t, r, d = sides
            want = math.sqrt(min(l, r) / max(l, r) * min(t, d) / max(t, d))
            assert float(got.centre[b, i]) == pytest.approx(want)
    assert inside > 10


def test_levels_share_out_the_sizes() -> None:
    places, strides = model().places(160, 160)
    for side, level in ((20, 4), (70, 8), (140, 16)):
        box = torch.tensor([[[0.0, 80 - side / 2, 80 - side / 2, 80 + side / 2, 80 + side / 2]]])
        found = assign(places, strides, box).classes[0] >= 0
        assert found.any()
        assert set(strides[found].tolist()) == {level}


def test_distances_lead_back_to_the_box() -> None:
    places, strides = model().places(40, 40)
    wanted = assign(places, strides, TRUTH)
    told = perfect(places, strides)
    for b in range(2):
        boxes = {tuple(box) for box in TRUTH[b, :, 1:].tolist()}
        found = boxes_of(told)[b][wanted.classes[b] >= 0]
        assert {tuple(box) for box in found.tolist()} <= boxes
    assert float(centreness(torch.tensor([3.0, 5.0, 3.0, 5.0]))) == 1


def test_what_a_perfect_detector_says_comes_back_as_the_boxes() -> None:
    told = perfect(*model().places(40, 40))
    for row, one in zip(TRUTH, rows(told), strict=True):
        found = answers(one, (40, 40), 0.5, 100)
        want = {tuple(box) for box in row.tolist() if box[0] >= 0}
        got = torch.cat([found.classes[:, None], found.places], dim=1)
        assert {tuple(box) for box in got.tolist()} == want
        assert found.scores is not None
        assert (found.scores.diff() <= 0).all()


def test_boxes_are_cut_at_the_edge_and_counted() -> None:
    told = perfect(*model().places(40, 40))
    far = told._replace(distances=told.distances * 100)
    found = answers(rows(far)[0], (40, 30), 0.5, 2)
    assert found.places.min() == 0
    assert found.places[:, 2].max() == 30
    assert found.places[:, 3].max() == 40
    assert len(found.classes) <= 2
    assert len(answers(rows(told)[0], (40, 40), 1.0, 100).classes) == 0


def test_the_loss_is_lowest_at_the_truth() -> None:
    told = perfect(*model().places(40, 40))
    parts = [t.clone().requires_grad_() for t in told[:3]]
    lowest, n = detection_loss(Predictions(*parts, *told[3:]), TRUTH)
    assert n == (assign(*told[3:], TRUTH).classes >= 0).sum()
    grads = torch.autograd.grad(lowest, [parts[0], parts[2]])
    assert max(g.abs().max() for g in grads) < 1e-3
    wanted = assign(*told[3:], TRUTH)
    entropy = F.binary_cross_entropy(wanted.centre, wanted.centre, reduction="none")
    assert float(lowest.detach()) == pytest.approx(
        float(entropy[wanted.classes >= 0].sum()), abs=1e-3
    ), "only the entropy of the wanted centres is left"
    for worse in (
        told._replace(classes=-told.classes),
        told._replace(distances=told.distances * 1.2),
        told._replace(centre=told.centre + 1),
    ):
        assert detection_loss(worse, TRUTH)[0] > lowest + 0.1


def test_without_any_box_all_is_background() -> None:
    told = perfect(*model().places(40, 40))
    for truth in (torch.zeros(2, 0, 5), torch.full((2, 3, 5), -1.0)):
        assert (assign(*told[3:], truth).classes == -1).all()
        loss, n = detection_loss(told._replace(classes=told.classes * 0 - 12), truth)
        assert n == 1
        assert loss < 1e-6


def test_focal_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    logits = torch.linspace(-4, 4, 9, dtype=torch.float64)
    wanted = torch.arange(9) % 2
    p = torch.sigmoid(logits)
    want = torch.where(wanted == 1, -0.25 * (1 - p) ** 2 * p.log(), -0.75 * p**2 * (1 - p).log())
    torch.testing.assert_close(focal_loss(logits, wanted), want)
    monkeypatch.setattr(detection, "GAMMA", 0.0)
    monkeypatch.setattr(detection, "ALPHA", 0.5)
    plain = F.binary_cross_entropy_with_logits(logits, wanted.double(), reduction="none")
    torch.testing.assert_close(focal_loss(logits, wanted), plain / 2)


def test_a_new_detector_takes_one_place_in_a_hundred_for_a_box() -> None:
    torch.manual_seed(0)
    told = model()(torch.randn(2, 1, 64, 64))
    assert float(told.classes.detach().sigmoid().mean()) == pytest.approx(0.01, rel=0.2)
    torch.testing.assert_close(
        told.distances / told.strides[:, None], torch.ones_like(told.distances), rtol=0.5, atol=0
    )


def test_published_head() -> None:
    """Two towers of four 3 × 3 convolutions of width 256, strides 8 … 128."""
    with torch.device("meta"):
        net = FCOS(VMambaConfig.published("tiny"), FCOSConfig())
    assert net.strides == [8, 16, 32, 64, 128]
    conv = 9 * 256 * 256 + 256
    head = 8 * (conv + 512) + 9 * 256 * (80 + 4 + 1) + 85 + 5
    assert sum(p.numel() for p in net.head.parameters()) == head
    pyramid = 256 * (192 + 384 + 768) + 3 * 256 + 5 * conv
    assert sum(p.numel() for p in net.pyramid.parameters()) == pyramid


def test_the_pyramid_brings_coarse_maps_down() -> None:
    net = model()
    torch.manual_seed(1)
    maps = [torch.randn(1, 5, 7, 8), torch.randn(1, 3, 4, 16, requires_grad=True)]
    levels = net.pyramid(maps)
    assert [tuple(x.shape[2:]) for x in levels] == [(5, 7), (3, 4), (2, 2)]
    (grad,) = torch.autograd.grad(levels[0].sum(), maps[1])
    assert (grad.abs().amax(dim=-1) > 0).all()


def test_every_parameter_learns() -> None:
    net = model()
    loss, n = detection_loss(net(torch.randn(2, 1, 40, 40)), TRUTH)
    (loss / n).backward()
    silent = [name for name, p in net.named_parameters() if p.grad is None]
    assert silent == []


def test_refuses() -> None:
    with pytest.raises(ValueError, match="first_stage=2 must be one of the backbone's 2 stages"):
        FCOS(BODY, FCOSConfig(first_stage=2))
    with pytest.raises(ValueError, match="groups=32 must divide d_pyramid=48"):
        FCOSConfig(d_pyramid=48)
    with pytest.raises(ValueError, match="must not be negative"):
        FCOSConfig(extra_levels=-1)
    with pytest.raises(ValueError, match="n_convs must be at least 1"):
        FCOSConfig(n_convs=0)
    with pytest.raises(ValueError, match=r"\(batch, 1, height, width\)"):
        model()(torch.randn(2, 3, 8, 8))


def test_detects_what_it_was_shown() -> None:
    """Bright squares and dark ones, anywhere: found with their class after a hundred steps."""
    torch.manual_seed(0)
    net = FCOS(
        VMambaConfig(blocks=(1,), d_model=16, channels=1),
        FCOSConfig(n_classes=2, d_pyramid=16, groups=4, first_stage=0, extra_levels=0, n_convs=1),
    )
    optimiser = torch.optim.Adam(net.parameters(), lr=1e-2)

    def batch() -> tuple[Tensor, Tensor]:
        image, truth = torch.zeros(8, 1, 32, 32), torch.zeros(8, 1, 5)
        for i in range(8):
            side, k = int(torch.randint(8, 17, ())), i % 2
            y, x = (int(v) for v in torch.randint(33 - side, (2,)))
            image[i, 0, y : y + side, x : x + side] = 1 - 2 * k
            truth[i, 0] = torch.tensor([k, x, y, x + side, y + side])
        return image, truth

    for _ in range(100):
        image, truth = batch()
        loss, n = detection_loss(net(image), truth)
        optimiser.zero_grad()
        (loss / n).backward()
        optimiser.step()
    image, truth = batch()
    found = net.eval().detect(image)
    wanted = [detection.Boxes(t[:, 1:], t[:, 0].long()) for t in truth]
    from ssm_ref.vision.boxes import average_precision

    assert average_precision(found, wanted, 2) > 0.9
