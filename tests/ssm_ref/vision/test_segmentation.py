"""VM-UNet: its published size, how its maps are joined, what it promises; and Dice."""

import copy
import itertools

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from ssm_ref.selective.selective_scan import selective_scan
from ssm_ref.vision.segmentation import (
    PatchExpanding,
    PatchMerging,
    VMUNet,
    VMUNetConfig,
    dice,
)
from ssm_ref.vision.ss2d import SS2D

F64 = torch.float64
SMALL = VMUNetConfig(
    encoder=(1, 2, 1),
    decoder=(1, 1, 2),
    d_model=4,
    patch=2,
    channels=2,
    n_classes=3,
    d_state=2,
    drop_path=0.0,
)


def model(cfg: VMUNetConfig = SMALL) -> VMUNet:
    torch.manual_seed(0)
    net = VMUNet(cfg)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return net.double()


def images(h: int = 8, w: int = 16) -> Tensor:
    g = torch.Generator().manual_seed(1)
    return torch.randn(2, 2, h, w, generator=g, dtype=F64)


def test_published_size() -> None:
    """27.43 million parameters, counted by hand and as the paper states it."""

    def block(m: int, n: int = 16) -> int:
        d, r = 2 * m, -(-m // 16)
        order = d * (r + 2 * n) + d * r + d + d * n + d
        return 2 * m * d + 10 * d + 4 * order + 2 * d + d * m + 2 * m

    cfg = VMUNetConfig()
    widths = [96, 192, 384, 768]
    want = 3 * 16 * 96 + 96 + 2 * 96
    want += sum(n * block(m) for n, m in zip((2, 2, 2, 2), widths, strict=True))
    want += sum(n * block(m) for n, m in zip((1, 2, 2, 2), widths, strict=True))
    want += sum(4 * m * 2 * m + 8 * m for m in widths[:-1])  # merging
    want += sum(2 * m * 4 * m + 2 * m for m in widths[:-1])  # expanding
    want += 96 * 16 * 24 + 2 * 24 + 24 + 1
    with torch.device("meta"):
        got = sum(p.numel() for p in VMUNet(cfg).parameters())
    assert got == want
    assert round(got / 1e6, 2) == 27.43


def test_merging_puts_four_neighbours_side_by_side() -> None:
    layer, x = PatchMerging(3).double(), torch.randn(2, 4, 6, 3, dtype=F64)
    four = [x[:, i::2, j::2] for j in range(2) for i in range(2)]
    torch.testing.assert_close(layer(x), layer.reduce(layer.norm(torch.cat(four, dim=-1))))


@pytest.mark.parametrize("f", [2, 4])
def test_expanding_is_a_pixel_shuffle(f: int) -> None:
    layer, x = PatchExpanding(8, 2, f).double(), torch.randn(2, 3, 5, 8, dtype=F64)
    channels_first = layer.expand(x).unflatten(-1, (f * f, 2)).transpose(-1, -2).flatten(-2)
    want = nn.functional.pixel_shuffle(channels_first.permute(0, 3, 1, 2), f)
    torch.testing.assert_close(layer(x), layer.norm(want.permute(0, 2, 3, 1)))


def test_skips_add_what_came_into_a_stage() -> None:
    net, image = model(), images()
    e1 = net.patch_norm(net.patch_embed(image).permute(0, 2, 3, 1))
    e2 = net.merging[0](net.encoder[0](e1))
    e3 = net.merging[1](net.encoder[1](e2))
    d3 = net.decoder[2](net.encoder[2](e3))
    d2 = net.decoder[1](net.expanding[1](d3 + e3))
    d1 = net.decoder[0](net.expanding[0](d2 + e2))
    want = net.head(net.last(d1).permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
    torch.testing.assert_close(net(image), want)
    assert [len(stage) for stage in net.decoder] == [2, 1, 1], "given from the bottom up"


def test_definition_and_algorithm_agree() -> None:
    net = model()
    slow = VMUNet(SMALL, scan=selective_scan).double()
    slow.load_state_dict(net.state_dict())
    torch.testing.assert_close(net(images()), slow(images()))


@torch.no_grad()
def test_upside_down() -> None:
    """The picture turned by 180° gives the answer turned, if the weights are turned as well."""
    net = model()
    turned = copy.deepcopy(net)
    turned.patch_embed.weight.copy_(net.patch_embed.weight.flip(2, 3))
    for mine, other in zip(turned.modules(), net.modules(), strict=True):
        if isinstance(mine, SS2D) and isinstance(other, SS2D):
            mine.conv.weight.copy_(other.conv.weight.flip(2, 3))
            for name in ("x_proj", "dt_proj", "dt_bias", "A_log", "D"):
                getattr(mine, name).copy_(getattr(other, name).roll(2, dims=0))
        if isinstance(mine, PatchMerging) and isinstance(other, PatchMerging):
            for norm in ("weight", "bias"):
                four = getattr(other.norm, norm).unflatten(0, (4, -1)).flip(0).flatten()
                getattr(mine.norm, norm).copy_(four)
            mine.reduce.weight.copy_(other.reduce.weight.unflatten(1, (4, -1)).flip(1).flatten(1))
        if isinstance(mine, PatchExpanding) and isinstance(other, PatchExpanding):
            places = other.expand.weight.unflatten(0, (mine.factor**2, -1))
            mine.expand.weight.copy_(places.flip(0).flatten(0, 1))
    image = images()
    torch.testing.assert_close(turned(image.flip(2, 3)), net(image).flip(1, 2))
    assert (net(image.flip(2, 3)) - net(image).flip(1, 2)).abs().max() > 1e-3


def test_every_pixel_sees_every_pixel() -> None:
    net, image = model(), images(8, 8)[:1].requires_grad_()
    for y, x in ((0, 0), (3, 5), (7, 7)):
        (grad,) = torch.autograd.grad(net(image)[0, y, x].square().sum(), image)
        assert (grad.abs() > 0).all()


def test_gradients() -> None:
    cfg = VMUNetConfig(
        encoder=(1, 1), decoder=(1, 1), d_model=2, patch=1, channels=1, d_state=1, drop_path=0.0
    )
    torch.manual_seed(0)
    net = VMUNet(cfg).double()
    image = torch.randn(1, 1, 2, 4, dtype=F64, requires_grad=True)
    assert torch.autograd.gradcheck(net, (image,))


def test_cost_is_linear_in_pixels() -> None:
    """Everything around the scans by PyTorch's counter; the scans by what they are handed."""

    def cost(side: int) -> tuple[int, int]:
        handed = 0

        def scan(x: Tensor, *_: object, **__: object) -> tuple[Tensor, None]:
            nonlocal handed
            handed += x.numel()
            return x, None

        net = VMUNet(SMALL, scan=scan)  # type: ignore[arg-type]
        with FlopCounterMode(display=False) as counter:
            net(torch.randn(1, 2, side, side))
        return counter.get_total_flops(), handed

    small, large = cost(16), cost(48)
    assert large == tuple(9 * part for part in small)


def test_skipped_blocks_keep_the_mean() -> None:
    from dataclasses import replace

    net = model(replace(SMALL, drop_path=0.5)).float()
    image = images().float()[:1].expand(32, -1, -1, -1)
    assert net.train()(image).std(dim=0).max() > 0
    assert net.eval()(image).std(dim=0).max() < 1e-5
    chances = [block.drop_path for stage in net.encoder for block in stage]
    assert chances == pytest.approx([0, 1 / 6, 1 / 3, 1 / 2])
    up = [block.drop_path for stage in net.decoder[::-1] for block in stage]
    assert up == pytest.approx([1 / 2, 1 / 3, 1 / 6, 0])  # in the order they are walked


def test_dice_is_the_f1_score_of_a_class() -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    g = torch.Generator().manual_seed(0)
    p, t = torch.randint(3, (2, 40, 7), generator=g)
    want = metrics.f1_score(t.flatten(), p.flatten(), average=None)
    assert dice(p, t, 3) == pytest.approx(want.tolist())
    assert dice(p, p, 3) == [1, 1, 1]
    assert dice(p * 0, p * 0 + 1, 2) == [0, 0]
    missing = dice(p, t, 4)[3]
    assert missing != missing


def test_refuses() -> None:
    net = model()
    for wrong, words in (
        (torch.randn(2, 3, 8, 8, dtype=F64), r"\(batch, 2, height, width\)"),
        (torch.randn(2, 2, 8, dtype=F64), r"\(batch, 2, height, width\)"),
        (torch.randn(2, 2, 12, 16, dtype=F64), r"multiples of 8.* got 12 × 16: pad .* to 16 × 16"),
        (torch.ones(2, 2, 8, 8, dtype=torch.long), "floating point"),
        (torch.randn(2, 2, 8, 8), "like the layer"),
        (torch.full((2, 2, 8, 8), torch.nan, dtype=F64), "no NaN"),
    ):
        with pytest.raises(ValueError, match=words):
            net(wrong)
    assert net(images()[:0]).shape == (0, 8, 16, 3)
    for options, words in (
        ({"encoder": (1,), "decoder": (1, 1)}, "same number of stages"),
        ({"encoder": (1, 0), "decoder": (1, 1)}, "at least 1 block"),
        ({"d_model": 0}, "d_model must be at least 1"),
        ({"d_model": 6}, "patch=4 must divide d_model=6"),
        ({"drop_path": 1.0}, r"\[0, 1\)"),
    ):
        with pytest.raises(ValueError, match=words):
            VMUNetConfig(**options)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="one shape"):
        dice(torch.zeros(2, 2, dtype=torch.long), torch.zeros(2, dtype=torch.long), 2)


def test_learns_what_no_single_pixel_tells() -> None:
    """Squares among crosses of the same brightness: only what is around a pixel says which."""
    torch.manual_seed(0)
    cfg = VMUNetConfig(
        encoder=(1,),
        decoder=(1,),
        d_model=16,
        patch=2,
        channels=1,
        n_classes=3,
        d_state=2,
        drop_path=0.0,
    )
    net = VMUNet(cfg)
    optimiser = torch.optim.Adam(net.parameters(), lr=1e-2)
    square, cross = torch.ones(4, 4), torch.eye(4).maximum(torch.eye(4).flip(0))

    def batch() -> tuple[Tensor, Tensor]:
        image, label = torch.zeros(8, 1, 16, 16), torch.zeros(8, 16, 16, dtype=torch.long)
        for i, (kind, shape) in itertools.product(range(8), ((1, square), (2, cross))):
            y, x = (int(v) for v in torch.randint(12, (2,)))
            image[i, 0, y : y + 4, x : x + 4] = shape
            label[i, y : y + 4, x : x + 4] = kind * shape.long()
        return image, label

    for _ in range(60):
        image, label = batch()
        loss = nn.functional.cross_entropy(net(image).flatten(0, 2), label.flatten())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    image, label = batch()
    assert min(dice(net(image).argmax(dim=-1), label, 3)) > 0.9
