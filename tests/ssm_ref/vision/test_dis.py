"""DiS: its sizes, its long skips, its pixels, and that it finds noise."""

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from ssm_ref.selective.selective_scan import selective_scan
from ssm_ref.vision.diffusion import NoiseSchedule
from ssm_ref.vision.dis import PUBLISHED, DiS, DiSConfig, waves

F64 = torch.float64
SMALL = DiSConfig(image=(4, 6), patch=2, channels=3, d_model=8, n_half=2, n_classes=5, d_state=2)


def model(cfg: DiSConfig = SMALL) -> DiS:
    torch.manual_seed(0)
    net = DiS(cfg)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return net.double()


def operands(cfg: DiSConfig = SMALL, b: int = 2) -> tuple[Tensor, Tensor, Tensor]:
    g = torch.Generator().manual_seed(1)
    x_t = torch.randn(b, cfg.channels, *cfg.image, generator=g, dtype=F64)
    return x_t, torch.randint(1, 1000, (b,), generator=g), torch.randint(6, (b,), generator=g)


def by_hand(cfg: DiSConfig) -> int:
    """Parameters of a class-conditional model, counted layer by layer."""
    m, n, p = cfg.d_model, cfg.d_state, cfg.patch**2 * cfg.channels
    d, r = 2 * m, -(-m // 16)
    direction = 5 * d + d * (r + 2 * n) + r * d + d + d * n + d
    layer = 3 * m * d + 2 * direction + m
    layers = (2 * cfg.n_half + 1) * layer + cfg.n_half * (2 * m * m + m)
    places = (2 + cfg.grid[0] * cfg.grid[1]) * m
    around = (p * m + m) + 8 * m * m + 5 * m + (cfg.n_classes + 1) * m + places
    return layers + around + m + 2 * m * m + 2 * m + m * p + p


@pytest.mark.parametrize(
    ("size", "millions"), [("S", 29), ("B", 121), ("M", 231), ("L", 407), ("H", 907)]
)
def test_published_sizes(size: str, millions: int) -> None:
    cfg = DiSConfig.published(size)
    with torch.device("meta"):
        got = sum(p.numel() for p in DiS(cfg).parameters())
    assert got == by_hand(cfg)
    assert round(got / 1e6) == millions
    assert set(PUBLISHED) == {"S", "B", "M", "L", "H"}


def test_long_skips_join_a_layer_with_its_mirror_image() -> None:
    net, (x_t, t, classes) = model(), operands()
    assert net.class_embed is not None
    assert net.modulation is not None
    time = net.time_embed(waves(t, 8).double())
    label = net.class_embed(classes)
    patches = net.patch_embed(x_t).flatten(2).mT
    r1 = torch.cat([label[:, None], time[:, None], patches], dim=1) + net.pos_embed
    a, b, c, d, e = net.layers
    c1 = a(r1)
    c2 = b(r1 + c1)
    c3 = c(r1 + c1 + c2)
    r4 = r1 + c1 + c2 + d.skip(torch.cat([c3, c2], dim=-1))
    c4 = d(r4)
    r5 = r4 + e.skip(torch.cat([c4, c1], dim=-1))
    y = net.last_norm(net.norm_f(r5 + e(r5))[:, 2:])
    shift, scale = net.modulation(torch.nn.functional.silu(time + label)).chunk(2, dim=-1)
    flat = net.head((1 + scale[:, None]) * y + shift[:, None])
    want = torch.zeros_like(x_t)
    for i in range(6):  # patches in rows of three
        top, left = 2 * (i // 3), 2 * (i % 3)
        want[:, :, top : top + 2, left : left + 2] = (
            flat[:, i].view(-1, 2, 2, 3).permute(0, 3, 1, 2)
        )
    torch.testing.assert_close(net(x_t, t, classes), want)


def test_definition_and_algorithm_agree() -> None:
    net = model()
    slow = DiS(SMALL, scan=selective_scan).double()
    slow.load_state_dict(net.state_dict())
    torch.testing.assert_close(net(*operands()), slow(*operands()))


def test_every_pixel_time_and_class_matter_everywhere() -> None:
    net, (x_t, t, classes) = model(), operands(b=1)
    x_t.requires_grad_()
    for y, x in ((0, 0), (3, 5)):
        (grad,) = torch.autograd.grad(net(x_t, t, classes)[0, 0, y, x], x_t)
        assert (grad != 0).all()
    before = net(x_t, t, classes)
    for other in (net(x_t, t + 1, classes), net(x_t, t, (classes + 1) % 6)):
        assert ((other - before).abs() > 1e-9).all()


def test_waves_are_the_transformers_positions() -> None:
    t = torch.tensor([0, 3, 999])
    got = waves(t, 6)
    want = [
        [f(int(s) * 1e4 ** (-i / 3)) for f in (math.cos, math.sin) for i in range(3)] for s in t
    ]
    torch.testing.assert_close(got, torch.tensor(want))


def test_without_classes() -> None:
    cfg = replace(SMALL, n_classes=0)
    net, (x_t, t, classes) = model(cfg), operands()
    assert net.pos_embed.shape == (1, 7, 8)
    assert net(x_t, t).shape == x_t.shape
    with pytest.raises(ValueError, match="0 classes, and they were given"):
        net(x_t, t, classes)


def test_gradients() -> None:
    cfg = DiSConfig(image=(2, 1), patch=1, channels=1, d_model=2, n_half=1, n_classes=1, d_state=1)
    net, (x_t, t, _) = model(cfg), operands(cfg, b=1)
    x_t.requires_grad_()
    assert torch.autograd.gradcheck(lambda x: net(x, t, torch.tensor([1])), (x_t,))


def test_cost_is_linear_in_patches() -> None:
    """Three sizes lie on a line, by PyTorch's counter; the scans by what they are handed."""

    def cost(side: int) -> tuple[int, int]:
        handed = 0

        def scan(x: Tensor, *_: object, **__: object) -> tuple[Tensor, None]:
            nonlocal handed
            handed += x.numel()
            return x, None

        cfg = replace(SMALL, image=(side, side))
        net = DiS(cfg, scan=scan)  # type: ignore[arg-type]
        x_t = torch.randn(1, 3, side, side)
        with FlopCounterMode(display=False) as counter:
            net(x_t, torch.tensor([1]), torch.tensor([0]))
        return counter.get_total_flops(), handed

    (a, x), (b, y), (c, z) = (cost(side) for side in (8, 16, 32))  # 16, 64 and 256 patches
    assert (b - a) * 192 == (c - b) * 48
    assert (y - x) * 192 == (z - y) * 48


def test_refuses() -> None:
    net, (x_t, t, classes) = model(), operands()
    for wrong, words in (
        ((x_t[:, :2], t, classes), r"\(batch, \(3, 4, 6\)\)"),
        ((x_t.float(), t, classes), "like the layer"),
        ((x_t * torch.nan, t, classes), "no NaN"),
        ((x_t, t[:1], classes), r"t must be whole numbers of shape \(2,\)"),
        ((x_t, t.float(), classes), "t must be whole numbers"),
        ((x_t, t, None), "5 classes, and none were given"),
        ((x_t, t, classes[:1]), r"classes must be whole numbers of shape \(2,\)"),
        ((x_t, t, classes.double()), "classes must be whole numbers"),
        ((x_t, t, classes + 6), "classes must lie in 0 … 5"),
    ):
        with pytest.raises(ValueError, match=words):
            net(*wrong)
    assert net(x_t[:0], t[:0], classes[:0]).shape == (0, 3, 4, 6)
    for options, words in (
        ({"image": (4, 5)}, "whole 2-pixel patches"),
        ({"patch": 0}, "patch must be at least 1"),
        ({"d_model": 7}, "d_model must be even; got 7"),
        ({"n_classes": -1}, "n_classes must not be negative"),
    ):
        with pytest.raises(ValueError, match=words):
            replace(SMALL, **options)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="choose one of S, B, M, L, H"):
        DiSConfig.published("XL")


def test_learns_to_find_the_noise_in_two_pictures() -> None:
    torch.manual_seed(0)
    cfg = DiSConfig(image=(8, 8), patch=2, channels=1, d_model=32, n_half=1, n_classes=2, d_state=4)
    net, schedule = DiS(cfg), NoiseSchedule()
    pictures = torch.where(torch.rand(2, 1, 8, 8) > 0.5, 1.0, -1.0)
    optimiser = torch.optim.Adam(net.parameters(), lr=5e-3)
    losses = []
    for _ in range(80):
        classes, t = torch.randint(2, (32,)), torch.randint(100, 800, (32,))
        noise = torch.randn(32, 1, 8, 8)
        told = net(schedule.add_noise(pictures[classes], noise, t), t, classes)
        loss = (told - noise).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert sum(losses[-10:]) / 10 < 0.25 * losses[0]
