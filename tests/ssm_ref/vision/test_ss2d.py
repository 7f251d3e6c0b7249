"""SS2D: its four orders, their adjoint, and four scans that know nothing of each other."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from ssm_ref.selective.selective_scan import selective_scan
from ssm_ref.vision.ss2d import SS2D, SS2DConfig, cross_merge, cross_scan

F64 = torch.float64


@pytest.fixture
def mixer() -> SS2D:
    torch.manual_seed(0)
    return SS2D(SS2DConfig(d_model=4, d_state=2, expand=2)).double()


def test_the_four_orders() -> None:
    x = torch.arange(6.0).view(1, 2, 3, 1)  # two rows of three
    orders = [[0, 1, 2, 3, 4, 5], [0, 3, 1, 4, 2, 5], [5, 4, 3, 2, 1, 0], [5, 2, 4, 1, 3, 0]]
    assert cross_scan(x)[0, :, :, 0].T.tolist() == orders


def test_merging_is_the_adjoint_of_scanning_and_undoes_it() -> None:
    x, y = torch.randn(2, 3, 5, 4, dtype=F64), torch.randn(2, 15, 4, 4, dtype=F64)
    torch.testing.assert_close(cross_merge(cross_scan(x), 3, 5), 4 * x)
    torch.testing.assert_close((cross_scan(x) * y).sum(), (x * cross_merge(y, 3, 5)).sum())


def test_is_four_scans_with_weights_of_their_own(mixer: SS2D) -> None:
    u, (h, w) = torch.randn(2, 3, 5, 4, dtype=F64), (3, 5)
    x = F.silu(mixer.conv(mixer.in_proj(u).permute(0, 3, 1, 2)))  # b d h w
    n, r, total = mixer.cfg.d_state, mixer.cfg.dt_rank, torch.zeros_like(x)
    for k in range(4):
        turned = x.mT if k % 2 else x
        row = turned.flatten(2).mT
        row = row.flip(1) if k > 1 else row
        dt, B, C = (row @ mixer.x_proj[k].T).split([r, n, n], dim=-1)
        A, D = -mixer.A_log[k].exp(), mixer.D[k]
        y, _ = selective_scan(
            row, dt @ mixer.dt_proj[k].T, A, B, C, D=D, dt_bias=mixer.dt_bias[k], dt_softplus=True
        )
        y = (y.flip(1) if k > 1 else y).mT.unflatten(2, (w, h) if k % 2 else (h, w))
        total = total + (y.mT if k % 2 else y)
    want = mixer.out_proj(mixer.norm(total.permute(0, 2, 3, 1)))
    torch.testing.assert_close(mixer(u), want)


def test_definition_and_algorithm_agree(mixer: SS2D) -> None:
    slow = SS2D(mixer.cfg, scan=selective_scan).double()
    slow.load_state_dict(mixer.state_dict())
    u = torch.randn(1, 4, 3, 4, dtype=F64)
    torch.testing.assert_close(mixer(u), slow(u))


def test_every_output_sees_every_input(mixer: SS2D) -> None:
    u = torch.randn(1, 3, 4, 4, dtype=F64, requires_grad=True)
    for place in ((0, 0), (1, 2), (2, 3)):
        (grad,) = torch.autograd.grad(mixer(u)[0, *place].square().sum(), u)
        assert (grad.abs().sum(dim=-1) > 0).all()


@torch.no_grad()
def test_a_map_on_its_side_is_read_by_the_other_scans(mixer: SS2D) -> None:
    """Swapping rows with columns in the map and in the weights changes nothing."""
    other = SS2D(mixer.cfg).double()
    weights = dict(mixer.state_dict())
    for name in ("x_proj", "dt_proj", "dt_bias", "A_log", "D"):
        weights[name] = weights[name][[1, 0, 3, 2]]
    weights["conv.weight"] = weights["conv.weight"].mT
    other.load_state_dict(weights)
    u = torch.randn(2, 3, 5, 4, dtype=F64)
    torch.testing.assert_close(other(u.transpose(1, 2)).transpose(1, 2), mixer(u))


def test_gradients(mixer: SS2D) -> None:
    u = torch.randn(1, 2, 3, 4, dtype=F64, requires_grad=True)
    assert torch.autograd.gradcheck(mixer, (u,))


def test_bf16_autocast_and_small_maps() -> None:
    mixer = SS2D(SS2DConfig(d_model=4))
    u = torch.randn(2, 3, 2, 4)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = mixer(u)
    torch.testing.assert_close(y.float(), mixer(u), rtol=0.1, atol=0.1)
    assert mixer(u[:0]).shape == (0, 3, 2, 4)
    assert mixer(u[:, :1, :1]).shape == (2, 1, 1, 4)


WRONG: dict[str, Tensor] = {
    "width": torch.randn(2, 3, 3, 5),
    "rank": torch.randn(2, 3, 4),
    "empty": torch.randn(2, 0, 3, 4),
    "integers": torch.ones(2, 3, 3, 4, dtype=torch.long),
    "dtype": torch.randn(2, 3, 3, 4).double(),
    "NaN": torch.full((2, 3, 3, 4), torch.nan),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_refuses(wrong: str) -> None:
    words = "must have shape|floating point|like the layer|no NaN"
    with pytest.raises(ValueError, match=words):
        SS2D(SS2DConfig(d_model=4))(WRONG[wrong])


def test_refuses_sizes() -> None:
    with pytest.raises(ValueError, match="d_conv must be odd"):
        SS2DConfig(d_model=4, d_conv=4)
    with pytest.raises(ValueError, match="d_state must be at least 1; got 0"):
        SS2DConfig(d_model=4, d_state=0)
    with pytest.raises(ValueError, match=r"\(batch, 6, 4, d\) for a map of 2 × 3"):
        cross_merge(torch.zeros(1, 5, 4, 3), 2, 3)


def test_the_first_version_has_a_gate() -> None:
    torch.manual_seed(0)
    gated = SS2D(SS2DConfig(d_model=4, d_state=2, gated=True)).double()
    plain = SS2D(SS2DConfig(d_model=4, d_state=2)).double()
    weights = gated.state_dict()
    weights["in_proj.weight"] = gated.in_proj.weight[:4]
    assert gated.conv.bias is not None
    with torch.no_grad():
        gated.conv.bias.zero_()
    del weights["conv.bias"]
    plain.load_state_dict(weights)
    plain.out_proj, gated.out_proj = torch.nn.Identity(), torch.nn.Identity()  # type: ignore[assignment]
    u = torch.randn(2, 3, 5, 4, dtype=F64)
    z = u @ gated.in_proj.weight[4:].T
    torch.testing.assert_close(gated(u), plain(u) * F.silu(z))
