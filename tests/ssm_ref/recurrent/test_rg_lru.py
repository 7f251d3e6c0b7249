"""RG-LRU and Griffin's block against transformers, the loop, and their promises."""

from typing import Any

import pytest
import torch
from transformers import RecurrentGemmaConfig
from transformers.models.recurrent_gemma.modeling_recurrent_gemma import (
    RecurrentGemmaRecurrentBlock,
)

from ssm_ref.foundations.scan import linear_recurrence
from ssm_ref.recurrent.rg_lru import (
    RGLRU,
    STEEPEST,
    BoundedSqrt,
    GriffinBlock,
    GriffinBlockConfig,
    GriffinState,
)

F64 = torch.float64
NAMES = {
    "x_proj": "linear_x",
    "gate_proj": "linear_y",
    "out_proj": "linear_out",
    "conv_weight": "conv_1d.weight",
    "conv_bias": "conv_1d.bias",
    "rg_lru.Lambda": "rg_lru.recurrent_param",
    "rg_lru.input_gate.": "rg_lru.input_gate_",
    "rg_lru.recurrence_gate.": "rg_lru.recurrent_gate_",
}


def theirs_of(ours: str) -> str:
    for mine, their in NAMES.items():
        ours = ours.replace(mine, their)
    return ours


@pytest.fixture
def pair() -> tuple[Any, GriffinBlock]:
    torch.manual_seed(0)
    config = RecurrentGemmaConfig(hidden_size=8, lru_width=8, num_attention_heads=2)
    theirs = RecurrentGemmaRecurrentBlock(config, 0)
    block = GriffinBlock(GriffinBlockConfig(d_model=8, n_heads=2))
    with torch.no_grad():
        for name, value in block.named_parameters():
            torch.nn.init.normal_(value, std=0.5)
            theirs.get_parameter(theirs_of(name)).copy_(
                value[:, None] if name == "conv_weight" else value
            )
    return theirs, block


def test_transformers_values_and_gradients(pair: tuple[Any, GriffinBlock]) -> None:
    theirs, block = pair
    u, positions = torch.randn(2, 11, 8), torch.arange(11)[None].expand(2, -1)
    want, _ = theirs(u, positions, None, use_cache=False)
    got = block(u)
    torch.testing.assert_close(got, want, rtol=1e-5, atol=1e-6)
    want.sin().sum().backward()
    got.sin().sum().backward()
    for name, value in block.named_parameters():
        their_grad = theirs.get_parameter(theirs_of(name)).grad
        assert value.grad is not None
        assert their_grad is not None
        torch.testing.assert_close(
            value.grad, their_grad.view_as(value), rtol=1e-4, atol=1e-5, msg=name
        )


@torch.no_grad()
def test_transformers_one_token_at_a_time(pair: tuple[Any, GriffinBlock]) -> None:
    theirs, block = pair
    u, state = torch.randn(2, 7, 8), block.allocate_state(2)
    theirs(u[:, :3], torch.arange(3)[None].expand(2, -1), None, use_cache=True)
    _, state = block.prefill(u[:, :3], state)
    for t in range(3, 7):
        want, _ = theirs(u[:, t : t + 1], torch.full((2, 1), t), None, use_cache=True)
        got, state = block.step(u[:, t], state)
        torch.testing.assert_close(got, want[:, 0], rtol=1e-5, atol=1e-6)


def test_loop_and_scan_agree() -> None:
    scanned = RGLRU(6, 2).double()
    looped = RGLRU(6, 2, recurrence=linear_recurrence).double()
    looped.load_state_dict(scanned.state_dict())
    x, h = torch.randn(2, 30, 6, dtype=F64), torch.randn(2, 6, dtype=F64)
    for past in (None, h):
        torch.testing.assert_close(scanned(x, past), looped(x, past))


@pytest.mark.parametrize("cut", range(1, 7))
def test_cut_anywhere_and_steps(cut: int) -> None:
    block = GriffinBlock(GriffinBlockConfig(d_model=4, n_heads=3, width=6)).double()
    u = torch.randn(2, 7, 4, dtype=F64)
    whole, last = block.prefill(u, block.allocate_state(2))
    head, state = block.prefill(u[:, :cut], block.allocate_state(2))
    torch.testing.assert_close(head, whole[:, :cut])
    for t in range(cut, 7):
        y, state = block.step(u[:, t], state)
        torch.testing.assert_close(y, whole[:, t])
    torch.testing.assert_close(state.h, last.h)
    torch.testing.assert_close(state.conv, last.conv)


def constant_gates(lru: RGLRU, *, r: float) -> None:
    with torch.no_grad():
        for gate, bias in ((lru.recurrence_gate, r), (lru.input_gate, 30.0)):
            gate.weight.zero_()
            gate.bias.fill_(bias)


def test_a_closed_gate_keeps_the_state_whatever_the_decay_is() -> None:
    lru = RGLRU(6, 2).double()
    constant_gates(lru, r=-60.0)
    with torch.no_grad():
        lru.Lambda.normal_(std=3)
    h = torch.randn(2, 6, dtype=F64)
    y = lru(torch.randn(2, 20, 6, dtype=F64), h)
    torch.testing.assert_close(y, h[:, None].expand_as(y), atol=1e-8, rtol=1e-8)


def test_an_open_gate_starts_between_the_published_bounds() -> None:
    lru = RGLRU(4000, 1)
    rho = torch.exp(-torch.nn.functional.softplus(lru.Lambda))
    assert rho.min() >= 0.9 - 1e-4
    assert rho.max() <= 0.999 + 1e-4
    assert (rho**8).min().item() == pytest.approx(0.43, abs=0.01)
    assert (rho**8).max().item() == pytest.approx(0.992, abs=0.001)


@torch.no_grad()
def test_white_noise_leaves_a_state_of_its_own_size() -> None:
    lru = RGLRU(32, 1).double()
    constant_gates(lru, r=30.0)
    h = lru(torch.randn(16, 3000, 32, dtype=F64), None)[:, 2000:]
    assert h.square().mean().item() == pytest.approx(1, abs=0.05)


def test_the_root_has_a_bounded_derivative() -> None:
    x = torch.tensor([0.0, 1e-12, 0.04], requires_grad=True)
    BoundedSqrt.apply(x).sum().backward()
    torch.testing.assert_close(x.grad, torch.tensor([STEEPEST, STEEPEST, 2.5]))


def test_decay_never_exceeds_one() -> None:
    lru = RGLRU(6, 2)
    with torch.no_grad():
        lru.Lambda.normal_(std=20)
    h = torch.ones(4, 6)
    y = lru(torch.zeros(4, 50, 6), h)
    assert (y.abs() <= 1).all()


def test_state_stays_float32_under_bf16_autocast() -> None:
    block, u = GriffinBlock(GriffinBlockConfig(d_model=4, n_heads=2)), torch.randn(2, 5, 4)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y, state = block.prefill(u, block.allocate_state(2))
    assert (y.dtype, state.h.dtype) == (torch.bfloat16, torch.float32)
    torch.testing.assert_close(y.float(), block(u), rtol=0.1, atol=0.05)


def test_takes_no_row_and_one_token() -> None:
    block = GriffinBlock(GriffinBlockConfig(d_model=4, n_heads=2))
    assert block(torch.randn(0, 3, 4)).shape == (0, 3, 4)
    assert block(torch.randn(2, 1, 4)).shape == (2, 1, 4)


def test_refuses() -> None:
    with pytest.raises(ValueError, match="n_heads=3 must divide the width 8"):
        GriffinBlockConfig(d_model=8, n_heads=3)
    with pytest.raises(ValueError, match="n_heads=3 must divide width=8"):
        RGLRU(8, 3)
    block = GriffinBlock(GriffinBlockConfig(d_model=4, n_heads=2))
    u = torch.zeros(2, 3, 4)
    with pytest.raises(ValueError, match="GriffinState; got tuple"):
        block.prefill(u, (1, 2))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"state.h must have shape \(2, 4\); got \(3, 4\)"):
        block.prefill(u, GriffinState(torch.zeros(2, 3, 4), torch.zeros(3, 4), started=True))
