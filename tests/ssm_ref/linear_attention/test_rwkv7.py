"""RWKV-7 against closed recurrences, its invariants, and itself in pieces."""

import math
from typing import Any

import pytest
import torch

from ssm_ref.linear_attention.rwkv7 import (
    RWKV7,
    WKV7,
    RWKV7Config,
    TimeMix,
    wkv7_chunked,
    wkv7_recurrent,
)

SMALL = {"vocab_size": 19, "d_model": 8, "n_blocks": 2, "d_head": 4}


def operands(l: int, n: int = 4) -> tuple[WKV7, torch.Tensor]:
    torch.manual_seed(l)
    r, k, v, kappa = torch.randn(4, 2, l, 3, n, dtype=torch.float64)
    w, a = torch.rand(2, 2, l, 3, n, dtype=torch.float64)
    w = torch.exp(-math.exp(-0.5) * w)
    S = torch.randn(2, 3, n, n, dtype=torch.float64)
    return WKV7(r, w, k, v, torch.nn.functional.normalize(kappa, dim=-1), a), S


@pytest.mark.parametrize("chunk_size", [1, 5, 16, 100])
@pytest.mark.parametrize("l", [1, 7, 16, 33])
def test_chunks_equal_the_recurrence(l: int, chunk_size: int) -> None:
    x, S = operands(l)
    want, last = wkv7_recurrent(x, S)
    got, state = wkv7_chunked(x, S, chunk_size=chunk_size)
    torch.testing.assert_close(got, want)
    torch.testing.assert_close(state, last)


def test_chunks_stay_exact_in_float32_at_the_fastest_decay() -> None:
    x, S = operands(64)
    x = x._replace(w=torch.full_like(x.w, math.exp(-math.exp(-0.5))))
    want, _ = wkv7_recurrent(x, S)
    got, _ = wkv7_chunked(WKV7(*(part.float() for part in x)), S.float())
    assert (got - want).norm() / want.norm() < 1e-4


def test_gradients_of_the_forms_agree() -> None:
    grads = []
    for form in (wkv7_recurrent, wkv7_chunked):
        x, S = operands(20)
        leaves = [part.requires_grad_() for part in (*x, S)]
        form(WKV7(*leaves[:-1]), leaves[-1])[0].sin().sum().backward()
        grads.append([leaf.grad for leaf in leaves])
    for a, b in zip(*grads, strict=True):
        torch.testing.assert_close(a, b)


def test_the_step_is_a_product_with_a_transition_matrix() -> None:
    x, S = operands(1)
    w, k, v, kappa, a = (part[0, 0, 0] for part in x[1:])
    transition = torch.diag(w) - torch.outer(kappa, kappa * a)
    torch.testing.assert_close(
        wkv7_recurrent(x, S)[1][0, 0], S[0, 0] @ transition + torch.outer(v, k)
    )


def test_without_erasing_it_is_diagonal_decay_and_outer_products() -> None:
    x, S = operands(9)
    y, _ = wkv7_recurrent(x._replace(a=torch.zeros_like(x.a)), S)
    for t in range(9):
        S = S * x.w[:, t, :, None] + x.v[:, t, ..., None] * x.k[:, t, :, None]
        torch.testing.assert_close(y[:, t], torch.einsum("bhvn,bhn->bhv", S, x.r[:, t]))


def test_a_written_value_is_replaced_when_its_key_returns() -> None:
    """With w = 1, a = 1 and k = κ̂ of unit length, reading by the key gives the last value."""
    key = torch.nn.functional.normalize(torch.randn(1, 1, 1, 4, dtype=torch.float64), dim=-1)
    keys, ones = key.expand(1, 3, 1, 4), torch.ones(1, 3, 1, 4, dtype=torch.float64)
    values = torch.randn(1, 3, 1, 4, dtype=torch.float64)
    start = torch.zeros(1, 1, 4, 4, dtype=torch.float64)
    y, _ = wkv7_recurrent(WKV7(keys, ones, keys, values, keys, ones), start)
    torch.testing.assert_close(y, values)


def test_decay_lies_between_its_bounds_and_equals_the_two_step_formula() -> None:
    raw = torch.linspace(-50, 50, 101, dtype=torch.float64)
    w = torch.exp(-math.exp(-0.5) * torch.sigmoid(raw))
    two_steps = torch.exp(-torch.exp(-torch.nn.functional.softplus(-raw) - 0.5))
    torch.testing.assert_close(w, two_steps)
    assert 0.545 < w.min() <= w.max() <= 1


def test_published_parameter_count() -> None:
    V, D, L = 65_536, 1024, 24
    ranks = {"decay_rank": 64, "v_rank": 32, "a_rank": 64, "gate_rank": 128}
    with torch.device("meta"):
        model = RWKV7(RWKV7Config(vocab_size=V, d_model=D, n_blocks=L, **ranks))
    count = sum(p.numel() for p in model.parameters())
    published = 2 * V * D + 4 * D + L * (12 * D * D + 2 * D * (64 + 32 + 64 + 128) + 19 * D)
    unused = 2 * D * 32 + D  # the first block has no value to mix with: its map is not kept here
    assert count == published - unused


def random_model(**options: Any) -> RWKV7:
    torch.manual_seed(0)
    model = RWKV7(RWKV7Config(**SMALL, **options))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return model


@torch.no_grad()
@pytest.mark.parametrize("cut", range(1, 7))
def test_cut_anywhere(cut: int) -> None:
    model, ids = random_model().double(), torch.randint(19, (2, 7))
    head, state = model.prefill(ids[:, :cut], model.allocate_state(2))
    tail, _ = model.prefill(ids[:, cut:], state)
    torch.testing.assert_close(torch.cat([head, tail], dim=1), model(ids))


@torch.no_grad()
def test_steps_equal_forward() -> None:
    model, ids = random_model().double(), torch.randint(19, (2, 20))
    state, ys = model.allocate_state(2), []
    for t in range(20):
        y, state = model.step(ids[:, t], state)
        ys.append(y)
    torch.testing.assert_close(torch.stack(ys, dim=1), model(ids))


def test_the_form_of_the_scan_changes_nothing() -> None:
    model, ids = random_model().double(), torch.randint(19, (2, 20))
    slow = RWKV7(RWKV7Config(**SMALL), scan=wkv7_recurrent).double()
    slow.load_state_dict(model.state_dict())
    torch.testing.assert_close(slow(ids), model(ids))


def test_every_block_after_the_first_reads_its_values() -> None:
    mixer = TimeMix(RWKV7Config(**SMALL), 1)
    with pytest.raises(ValueError, match="needs the values of the first block"):
        mixer.prefill(torch.randn(1, 2, 8), mixer.allocate_state(1), None)


def test_state_does_not_grow() -> None:
    model = random_model()
    _, state = model.prefill(torch.zeros(1, 30, dtype=torch.long), model.allocate_state(1))
    d, n = 8, 4
    assert state[0].S.numel() + state[0].x.numel() + state[1].numel() == d * n + 2 * d


def test_causal() -> None:
    model, ids = random_model(), torch.randint(19, (1, 7))
    changed = ids.clone()
    changed[0, 4] = (ids[0, 4] + 1) % 19
    torch.testing.assert_close(model(ids)[:, :4], model(changed)[:, :4], rtol=1e-5, atol=1e-6)


def test_state_stays_float32_under_bf16_autocast() -> None:
    model, ids = random_model(), torch.randint(19, (2, 5))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits, state = model.prefill(ids, model.allocate_state(2))
    assert state[0].S.dtype == torch.float32
    assert logits.isfinite().all()


def test_layer_checkpointing_changes_no_gradient() -> None:
    ids = torch.randint(19, (2, 5))
    plain, sparing = random_model(), random_model(checkpoint_layers=True)
    for model in (plain, sparing):
        model(ids).logsumexp(dim=-1).sum().backward()
    for a, b in zip(plain.parameters(), sparing.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad)


def test_refuses() -> None:
    with pytest.raises(ValueError, match="d_head=5 must divide d_model=8"):
        RWKV7Config(vocab_size=3, d_model=8, n_blocks=1, d_head=5)
    mixer = TimeMix(RWKV7Config(**SMALL), 0)
    with pytest.raises(ValueError, match="TimeMixState; got int"):
        mixer.prefill(torch.randn(2, 3, 8), 1, None)
    model = random_model()
    assert model(torch.zeros(0, 2, dtype=torch.long)).shape == (0, 2, 19)
    assert model(torch.zeros(2, 1, dtype=torch.long)).shape == (2, 1, 19)
