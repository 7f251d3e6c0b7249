"""VMamba: its published sizes, its maps, and that it learns."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from ssm_ref.vision.vmamba import VMamba, VMambaConfig

SMALL = VMambaConfig(blocks=(1, 2), d_model=8, channels=2, n_classes=3, d_state=2)


def model(cfg: VMambaConfig = SMALL) -> VMamba:
    torch.manual_seed(0)
    return VMamba(cfg)


def stage_parameters(d: int, expand: int, n: int = 1) -> int:
    """Of one block, counted by hand: SS2D with four orders, MLP, two norms."""
    i, r = expand * d, -(-d // 16)
    order = i * (r + 2 * n) + i * r + i + i * n + i
    return 2 * d * i + 9 * i + 4 * order + 2 * i + (8 * d * d + 5 * d) + 4 * d


@pytest.mark.parametrize(("size", "millions"), [("tiny", 30), ("small", 50), ("base", 89)])
def test_published_sizes(size: str, millions: int) -> None:
    cfg = VMambaConfig.published(size)
    with torch.device("meta"):
        got = sum(p.numel() for p in VMamba(cfg).parameters())
    want = sum(
        n * stage_parameters(d, cfg.expand) for n, d in zip(cfg.blocks, cfg.widths, strict=True)
    )
    steps = [(3, cfg.d_model // 2), (cfg.d_model // 2, cfg.d_model)]
    steps += [(d, 2 * d) for d in cfg.widths[:-1]]
    want += sum(9 * a * b + 3 * b for a, b in steps)
    want += 2 * cfg.widths[-1] + 1000 * (cfg.widths[-1] + 1)
    assert got == want
    assert round(got / 1e6) == millions  # the table of the official README


def test_tiny_does_4_9_billion_operations() -> None:
    """Counted as the authors do: a product with its sum is one, a scan 9 a channel and state."""

    def no_scan(x: torch.Tensor, *_: object, **__: object) -> tuple[torch.Tensor, None]:
        return x, None

    with torch.device("meta"):
        net = VMamba(VMambaConfig.published("tiny"), scan=no_scan)  # type: ignore[arg-type]
        image = torch.empty(1, 3, 224, 224)
        with FlopCounterMode(display=False) as counter:
            net(image)
    places = [(224 // 2 ** (i + 2)) ** 2 for i in range(4)]
    stages = zip(net.cfg.blocks, net.cfg.widths, places, strict=True)
    scans = sum(n * 9 * 4 * d * l for n, d, l in stages)
    assert round((counter.get_total_flops() / 2 + scans) / 1e9, 1) == 4.9


def test_maps_halve_and_double() -> None:
    maps = model().features(torch.randn(2, 2, 33, 20))
    assert [tuple(m.shape) for m in maps] == [(2, 9, 5, 8), (2, 5, 3, 16)]


def test_takes_pictures_of_any_size() -> None:
    net = model()
    for size in ((16, 16), (7, 40), (1, 1)):
        assert net(torch.randn(2, 2, *size)).shape == (2, 3)
    assert net(torch.randn(0, 2, 16, 16)).shape == (0, 3)


def test_every_pixel_counts() -> None:
    net, image = model().double(), torch.randn(1, 2, 16, 16, dtype=torch.float64)
    (grad,) = torch.autograd.grad(net(image.requires_grad_()).square().sum(), image)
    assert (grad.abs() > 0).all()


def test_learns_to_tell_rows_from_columns() -> None:
    """Stripes across or down, of any phase: one linear layer on pixels cannot tell them apart."""
    torch.manual_seed(0)
    net = VMamba(VMambaConfig(blocks=(1,), d_model=8, channels=1, n_classes=2))
    optimiser = torch.optim.AdamW(net.parameter_groups(), lr=5e-3)

    def batch() -> tuple[torch.Tensor, torch.Tensor]:
        wave = torch.sin(torch.arange(16) * 1.5 + 6.28 * torch.rand(32, 1))
        across = wave[:, None, :, None].expand(-1, -1, -1, 16)
        label = torch.randint(2, (32,))
        return torch.where(label[:, None, None, None] == 1, across.mT, across), label

    for _ in range(25):
        image, label = batch()
        loss = torch.nn.functional.cross_entropy(net(image), label)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    image, label = batch()
    assert (net(image).argmax(dim=1) == label).float().mean() > 0.95


def test_dropped_branches_leave_the_mean_in_place() -> None:
    net = model(VMambaConfig(blocks=(2,), d_model=8, channels=2, n_classes=3, drop_path=0.5))
    image = torch.randn(1, 2, 8, 8).expand(16, -1, -1, -1)
    assert net.train()(image).std(dim=0).max() > 0
    assert net.eval()(image).std(dim=0).max() < 1e-5


def test_groups_of_parameters() -> None:
    net = model()
    decayed, kept = (group["params"] for group in net.parameter_groups(0.05))
    assert len(decayed) + len(kept) == len(list(net.parameters()))
    block = net.stages[0][0]
    kept_ids = {id(p) for p in kept}
    assert {id(block.mixer.A_log), id(block.mixer.dt_bias), id(net.head.bias)} <= kept_ids


def test_refuses() -> None:
    net = model()
    for wrong, words in (
        (torch.randn(2, 3, 8, 8), r"\(batch, 2, height, width\)"),
        (torch.randn(2, 8, 8), r"\(batch, 2, height, width\)"),
        (torch.ones(2, 2, 8, 8, dtype=torch.long), "floating point"),
        (torch.randn(2, 2, 8, 8).double(), "like the layer"),
        (torch.full((2, 2, 8, 8), torch.nan), "no NaN"),
    ):
        with pytest.raises(ValueError, match=words):
            net(wrong)
    with pytest.raises(ValueError, match="choose one of tiny, small, base"):
        VMambaConfig.published("huge")
    with pytest.raises(ValueError, match="at least one stage"):
        VMambaConfig(blocks=())
    with pytest.raises(ValueError, match="d_model must be even"):
        VMambaConfig(d_model=7)
