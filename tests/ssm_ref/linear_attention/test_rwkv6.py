"""RWKV-6: the sum it is, the case, the start of the paper, and both mixers in pieces."""

import math

import pytest
import torch

from ssm_ref.linear_attention.recurrence import chunked, parallel, recurrent
from ssm_ref.linear_attention.rwkv6 import (
    RWKV6ChannelMix,
    RWKV6Config,
    RWKV6TimeMix,
    bonus,
    rwkv6_case,
    rwkv6_recurrent,
)

EXACT = {"rtol": 1e-10, "atol": 1e-10}
SMALL = RWKV6Config(d_model=8, n_blocks=2, d_head=4)


def operands(l: int = 19) -> tuple[torch.Tensor, ...]:
    r, k = torch.randn(2, 2, l, 3, 4, dtype=torch.float64)
    w, u = torch.rand(2, l, 3, 4, dtype=torch.float64), torch.randn(3, 4, dtype=torch.float64)
    return r, k, torch.randn(2, l, 3, 5, dtype=torch.float64), w, u


def test_is_a_case_of_the_common_recurrence() -> None:
    r, k, v, w, u = operands()
    want = rwkv6_recurrent(r, k, v, w, u)
    for form in (recurrent, parallel, chunked):
        o, _ = form(rwkv6_case(r, k, v, w.log()))
        torch.testing.assert_close(o + bonus(r, k, v, u), want, **EXACT)


def test_a_decay_too_fast_for_float32_still_trains() -> None:
    """exp(-exp(5)) is 0 in float32: the past is gone, and no gradient is NaN."""
    layer = RWKV6TimeMix(RWKV6Config(d_model=8, d_head=4))
    with torch.no_grad():
        layer.decay[::2] = 5.0
        layer.o_proj.weight.normal_()
    layer(torch.randn(2, 9, 8)).square().sum().backward()
    for name, parameter in layer.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name


def test_is_the_sum_of_the_paper() -> None:
    """Token s reaches t > s through the decays strictly between them, and itself through u."""
    r, k, v, w, u = operands(6)
    want = rwkv6_recurrent(r, k, v, w, u)
    for t in range(6):
        o = (r[:, t] * u * k[:, t]).sum(dim=-1, keepdim=True) * v[:, t]
        for s in range(t):
            between = w[:, s + 1 : t].prod(dim=1)
            o = o + (r[:, t] * between * k[:, s]).sum(dim=-1, keepdim=True) * v[:, s]
        torch.testing.assert_close(o, want[:, t], **EXACT)


def test_without_decay_and_with_bonus_one_it_only_adds() -> None:
    r, k, v, w, u = operands()
    got = rwkv6_recurrent(r, k, v, torch.ones_like(w), torch.ones_like(u))
    scores = torch.einsum("bthn,bshn->bhts", r, k).tril()
    torch.testing.assert_close(got, torch.einsum("bhts,bshp->bthp", scores, v), **EXACT)


def randomised(module: torch.nn.Module) -> torch.nn.Module:
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return module.double()


def test_the_decay_looks_at_the_input_and_stays_between_zero_and_one() -> None:
    layer = randomised(RWKV6TimeMix(SMALL))
    past = torch.zeros(1, 8, dtype=torch.float64)
    g = layer.project(torch.randn(1, 9, 8, dtype=torch.float64), past).case.g
    assert (g < 0).all()
    assert (g.diff(dim=1) != 0).any()
    plain = RWKV6TimeMix(SMALL).double()  # at the start the low-rank maps are zero: RWKV-5's decay
    g = plain.project(torch.randn(1, 9, 8, dtype=torch.float64), past).case.g
    torch.testing.assert_close(g, g[:, :1].expand_as(g))


def test_the_start_of_the_paper() -> None:
    first, last = (RWKV6TimeMix(SMALL, index) for index in (0, 1))
    assert math.isclose(first.decay[0].item(), -6, rel_tol=1e-6)
    assert math.isclose(first.decay[-1].item(), -1, rel_tol=1e-6)
    assert first.mix[0, 0] == 1
    assert math.isclose(last.norm.weight[0].item(), 1)
    assert math.isclose(first.norm.weight[0].item(), 0.5**0.7, rel_tol=1e-6)
    assert not first.o_proj.weight.any()
    torch.testing.assert_close(first.u.flatten()[:3], torch.tensor([0.0, 0.1, -0.1]))


def test_parameter_count() -> None:
    d, cfg = 64, RWKV6Config(d_model=64)
    time = sum(p.numel() for p in RWKV6TimeMix(cfg).parameters())
    assert time == 5 * d * d + 2 * 5 * 32 * d + 2 * 64 * d + (6 + 1 + 1 + 2) * d
    channel = sum(p.numel() for p in RWKV6ChannelMix(cfg).parameters())
    assert channel == 2 * d * 224 + d * d + 2 * d


@torch.no_grad()
def test_channel_mixer_in_pieces_equals_the_whole() -> None:
    layer = randomised(RWKV6ChannelMix(SMALL, 1))
    u = torch.randn(2, 7, 8, dtype=torch.float64)
    head, state = layer.prefill(u[:, :3], layer.allocate_state(2))
    ys = [head]
    for t in range(3, 7):
        y, state = layer.step(u[:, t], state)
        ys.append(y[:, None])
    torch.testing.assert_close(torch.cat(ys, dim=1), layer(u))


def test_refuses() -> None:
    with pytest.raises(ValueError, match="d_head=5 must divide d_model=8"):
        RWKV6Config(d_model=8, d_head=5)
    with pytest.raises(ValueError, match="state must have shape"):
        RWKV6ChannelMix(SMALL).prefill(torch.zeros(1, 2, 8), torch.zeros(1, 7))
