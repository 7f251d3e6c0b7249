import pytest
import torch
from torch import Tensor

from ssm_ref.selective.selective_scan import selective_scan
from ssm_ref.vision.vision_mamba import VisionMamba, VisionMambaConfig

TINY = VisionMambaConfig(
    image=(8, 12), patch=(4, 4), channels=2, d_model=8, n_layer=2, n_classes=3, d_state=2
)


def model(cfg: VisionMambaConfig = TINY) -> VisionMamba:
    torch.manual_seed(0)
    return VisionMamba(cfg).double()


def images(b: int = 2) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(b, 2, 8, 12, generator=generator, dtype=torch.float64)


def count(cfg: VisionMambaConfig) -> int:
    with torch.device("meta"):
        return sum(p.numel() for p in VisionMamba(cfg).parameters())


@pytest.mark.parametrize(
    ("size", "d", "millions"), [("tiny", 192, 7), ("small", 384, 26), ("base", 768, 98)]
)
def test_parameter_count(size: str, d: int, millions: int) -> None:
    i, n, r = 2 * d, 16, d // 16
    direction = i * 5 + i * (r + 2 * n) + r * i + i + i * n + i
    layer = 3 * d * i + 2 * direction + d
    want = 24 * layer + 3 * 256 * d + d + d + 197 * d + d + 1000 * d + 1000
    got = count(VisionMambaConfig.published(size))
    assert got == want
    assert round(got / 1e6) == millions  # the table of the official README


def test_patches_follow_in_rows() -> None:
    net = model()
    image = images(1).requires_grad_()
    net.patch_embed(image)[0, 4].sum().backward()  # second row, second column
    assert image.grad is not None
    touched = image.grad[0].abs().sum(0) > 0
    want = torch.zeros_like(touched)
    want[4:8, 4:8] = True
    assert torch.equal(touched, want)


def test_class_token_stands_in_the_middle() -> None:
    net, image = model(), images()
    assert TINY.grid == (2, 3)
    assert TINY.middle == 3
    assert net.tokens(image).shape == (2, 7, 8)
    want = net.head(net.tokens(image)[:, 3])
    assert torch.equal(net(image), want)
    assert torch.equal(net.patches(image)[:, 3], net.tokens(image)[:, 4])


def test_definition_and_algorithm_agree() -> None:
    net = model()
    by_loop = VisionMamba(TINY, scan=selective_scan).double()
    by_loop.load_state_dict(net.state_dict())
    torch.testing.assert_close(net(images()), by_loop(images()), rtol=1e-9, atol=1e-11)


def test_every_pixel_reaches_the_logits() -> None:
    net, image = model(), images(1).requires_grad_()
    net(image).sum().backward()
    assert image.grad is not None
    assert (image.grad != 0).all()


def test_overlapping_patches() -> None:
    cfg = VisionMambaConfig(image=(16, 16), patch=(8, 8), stride=(4, 4), d_model=8, n_layer=1)
    assert cfg.grid == (3, 3)
    assert VisionMamba(cfg)(torch.zeros(1, 3, 16, 16)).shape == (1, 1000)


def test_skipped_layers_keep_the_mean() -> None:
    from dataclasses import replace

    net = model(replace(TINY, n_layer=2, drop_path=0.5))
    layer, t = net.layers[1], torch.randn(4000, 1, 8, dtype=torch.float64)
    t = t[:1].expand(4000, 1, 8)
    torch.manual_seed(0)
    mean = layer.train()(t).mean(0)
    want = layer.eval()(t)[0]
    assert layer.drop_path == 0.5
    torch.testing.assert_close(mean, want, rtol=0.1, atol=0.02)


def test_what_decays() -> None:
    net = model()
    decay, keep = net.parameter_groups(0.1)
    assert len(decay["params"]) + len(keep["params"]) == len(list(net.parameters()))
    kept = {id(p) for p in keep["params"]}
    mixer = net.layers[0].mixer
    for parameter in (net.cls_token, net.pos_embed, mixer.A_log, mixer.A_b_log, mixer.D):
        assert id(parameter) in kept
    assert id(mixer.in_proj.weight) not in kept


def test_learns_to_tell_left_from_right() -> None:
    torch.manual_seed(0)
    cfg = VisionMambaConfig(
        image=(8, 8), patch=(2, 2), channels=1, d_model=16, n_layer=1, n_classes=2, d_state=4
    )
    net = VisionMamba(cfg)
    image = torch.rand(64, 1, 8, 8)
    bright = torch.arange(64) % 2
    image[bright == 0, :, :, :4] += 1
    image[bright == 1, :, :, 4:] += 1
    optimiser = torch.optim.AdamW(net.parameter_groups(0.0), lr=1e-2)
    for _ in range(30):
        loss = torch.nn.functional.cross_entropy(net(image), bright)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert loss < 0.05


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: model()(images()[:, :1]), r"image must have shape \(batch, \(2, 8, 12\)\)"),
        (lambda: model()(torch.zeros(1, 2, 8, 12, dtype=torch.uint8)), "must be floating point"),
        (lambda: VisionMambaConfig(image=(8, 8)), "smaller than one patch"),
        (lambda: VisionMambaConfig.published("huge"), "choose one of tiny, small, base"),
        (lambda: VisionMambaConfig(drop_path=1.0), r"drop_path must lie in \[0, 1\)"),
        (lambda: VisionMambaConfig(n_layer=0), "n_layer must be at least 1"),
    ],
)
def test_bad_input_says_what_was_wanted(call, message) -> None:
    with pytest.raises(ValueError, match=message):
        call()


def test_an_empty_batch() -> None:
    assert model()(images(0)).shape == (0, 3)
