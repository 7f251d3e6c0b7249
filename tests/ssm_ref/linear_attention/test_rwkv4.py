"""RWKV-4 against its sums, transformers, and itself in pieces."""

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import RwkvConfig, RwkvForCausalLM

from ssm_ref.checkpoint import from_pretrained
from ssm_ref.layouts.rwkv import RWKV
from ssm_ref.linear_attention import rwkv4, wkv_chunks
from ssm_ref.linear_attention.rwkv4 import (
    RWKV4,
    RWKV4Config,
    TimeMix,
    WKVState,
    empty_wkv,
    wkv_parallel,
    wkv_recurrent,
    wkv_sums,
)

FORMS = [wkv_recurrent, wkv_parallel]


def operands(l: int, dtype: torch.dtype = torch.float64) -> tuple[torch.Tensor, ...]:
    torch.manual_seed(l)
    k, v = torch.randn(2, 2, l, 5, dtype=dtype)
    return k, v, torch.rand(5, dtype=dtype) + 0.01, torch.randn(5, dtype=dtype)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("l", [1, 2, 7, 16, 33])
def test_every_form_equals_the_sums(form: Any, l: int) -> None:
    k, v, w, u = operands(l)
    got, _ = form(k, v, w, u, empty_wkv(k[:, 0]))
    torch.testing.assert_close(got, wkv_sums(k, v, w, u))


@pytest.mark.parametrize("form", FORMS)
def test_huge_keys_do_not_overflow_float32(form: Any) -> None:
    k, v, w, u = operands(40, torch.float32)
    k = 80 * k.sign()
    got, state = form(k, v, w, u, empty_wkv(k[:, 0]))
    want = wkv_sums(*(x.double() for x in (k, v, w, u)))
    torch.testing.assert_close(got.double(), want, rtol=1e-4, atol=1e-5)
    assert all(part.isfinite().all() for part in state)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("cut", [1, 4, 8])
def test_sums_can_be_cut_anywhere(form: Any, cut: int) -> None:
    k, v, w, u = operands(9)
    whole, last = form(k, v, w, u, empty_wkv(k[:, 0]))
    head, state = form(k[:, :cut], v[:, :cut], w, u, empty_wkv(k[:, 0]))
    tail, state = form(k[:, cut:], v[:, cut:], w, u, state)
    torch.testing.assert_close(torch.cat([head, tail], dim=1), whole)
    assert isinstance(state, WKVState)
    torch.testing.assert_close(state.p / state.q, last.p / last.q)


def test_gradients_of_the_forms_agree() -> None:
    grads = []
    for form in FORMS:
        leaves = [x.requires_grad_() for x in operands(7)]
        form(*leaves, empty_wkv(leaves[0][:, 0].detach()))[0].sin().sum().backward()
        grads.append([x.grad for x in leaves])
    for a, b in zip(*grads, strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("l", [1, 2, 11, 12, 13])
@pytest.mark.parametrize("step_size", [1, 1 << 15], ids=["one chunk", "chunks"])
def test_gradients_of_the_sums_after_a_past(
    l: int, step_size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every operand, the state's exponent too, which the recurrence makes from earlier keys."""
    monkeypatch.setattr(wkv_chunks, "STEP_SIZE", step_size)
    monkeypatch.setattr(rwkv4, "SPAN_SIZE", 640)  # spans of 64 places: one here
    past = operands(4)[:2]
    grads = []
    for form in FORMS:
        leaves = [x.clone().requires_grad_() for x in (*operands(l), *past)]
        k, v, w, u, k_0, v_0 = leaves
        _, state = wkv_recurrent(k_0, v_0, w, u, empty_wkv(k[:, 0].detach()))
        y, (p, q, _) = form(k, v, w, u, state)
        (y.sin().sum() + (p / q).cos().sum()).backward()
        grads.append([x.grad for x in leaves])
    for a, b in zip(*grads, strict=True):
        torch.testing.assert_close(a, b)


def test_gradients_pass_from_span_to_span(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rwkv4, "SPAN_SIZE", 640)
    grads = []
    for form in FORMS:
        leaves = [x.requires_grad_() for x in operands(150)]  # 64 + 64 + 22 places
        form(*leaves, empty_wkv(leaves[0][:, 0].detach()))[0].sin().sum().backward()
        grads.append([x.grad for x in leaves])
    for a, b in zip(*grads, strict=True):
        torch.testing.assert_close(a, b)


def test_gradients_of_chunks_are_those_of_differences() -> None:
    k, v, w, u = (x.requires_grad_() for x in operands(9))
    state = [
        x.detach().requires_grad_() for x in wkv_recurrent(*operands(3), empty_wkv(k[:, 0]))[1]
    ]

    def output(*x: torch.Tensor) -> torch.Tensor:
        return wkv_parallel(*x[:4], WKVState(*x[4:]))[0]

    assert torch.autograd.gradcheck(output, (k, v, w, u, *state))


@pytest.mark.parametrize("name", ["k", "v", "w", "u", "p", "q", "o"])
def test_second_derivatives_where_one_operand_alone_is_trained(name: str) -> None:
    """v and u reach y but not every part of the last state."""
    state = wkv_recurrent(*operands(3), empty_wkv(operands(3)[0][:, 0]))[1]
    second = []
    for form in FORMS:
        given = dict(zip("kvwupqo", (*operands(9), *state), strict=True))
        one = given[name] = given[name].clone().requires_grad_()
        y, _ = form(*(given[x] for x in "kvwu"), WKVState(*(given[x] for x in "pqo")))
        (first,) = torch.autograd.grad(y.sin().sum(), one, create_graph=True)
        second.append(torch.autograd.grad(first.square().sum(), one)[0])
    torch.testing.assert_close(*second)


def test_output_is_a_mean_of_the_values() -> None:
    k, v, w, u = operands(30)
    y, _ = wkv_recurrent(k, v, w, u, empty_wkv(k[:, 0]))
    assert (y <= v.cummax(dim=1).values + 1e-12).all()
    assert (y >= v.cummin(dim=1).values - 1e-12).all()


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("time_decay", [-20.0, 0.0, 4.0, 15.0, 50.0])
def test_forms_agree_at_any_decay_and_over_many_stretches(form: Any, time_decay: float) -> None:
    k, v, _, u = operands(300, torch.float32)
    k = 40 * k.repeat(1, 1, 50)[:, :, :250]  # 500 numbers a token: more than one stretch
    v, u = v.repeat(1, 1, 50)[:, :, :250], u.repeat(50)
    w = torch.full((250,), time_decay).exp()
    y, state = form(k, v, w, u, empty_wkv(k[:, 0]))
    want = wkv_recurrent(*(x.double() for x in (k, v, w, u)), empty_wkv(k[:, 0].double()))
    torch.testing.assert_close(y.double(), want[0], rtol=1e-4, atol=1e-4)
    assert all(part.isfinite().all() for part in state)


def test_no_value_of_time_decay_can_explode() -> None:
    k, v, _, u = operands(50)
    for time_decay in (-20.0, 0.0, 5.0, 50.0):
        w = torch.full((5,), time_decay, dtype=torch.float64).exp()
        y, state = wkv_recurrent(k, v, w, u, empty_wkv(k[:, 0]))
        assert y.isfinite().all()
        assert state.q.max() <= 50


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Any, RWKV4]:
    torch.manual_seed(0)
    theirs = RwkvForCausalLM(RwkvConfig(vocab_size=31, hidden_size=12, num_hidden_layers=3))
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    theirs.save_pretrained(tmp_path)  # before any forward: evaluation rescales weights in place
    ours = from_pretrained(tmp_path)
    assert isinstance(ours, RWKV4)
    return theirs, ours


def test_transformers_logits_and_gradients(pair: tuple[Any, RWKV4]) -> None:
    theirs, ours = pair
    ids = torch.randint(31, (2, 9))
    want, got = theirs.train()(ids).logits, ours(ids)
    torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-4)
    want.sin().sum().backward()
    got.sin().sum().backward()
    gradients = dict(theirs.named_parameters())
    for name, place in RWKV.places(ours).items():
        mine = ours.get_parameter(place.parts[0]).grad
        assert mine is not None
        torch.testing.assert_close(
            mine.reshape(place.shape), gradients[name].grad, rtol=1e-3, atol=1e-3
        )


@torch.no_grad()
def test_transformers_cached_decoding(pair: tuple[Any, RWKV4]) -> None:
    theirs, ours = pair
    ids = torch.randint(31, (1, 9))  # transformers' step is right at batch 1 only
    _, state = ours.prefill(ids[:, :4], ours.allocate_state(1))
    out = theirs.eval()(ids[:, :4], use_cache=True)
    for t in range(4, 9):
        logits, state = ours.step(ids[:, t], state)
        out = theirs(ids[:, t : t + 1], state=out.state, use_cache=True)
        torch.testing.assert_close(logits, out.logits[:, 0], rtol=1e-4, atol=1e-4)


def random_model(**options: Any) -> RWKV4:
    torch.manual_seed(0)
    model = RWKV4(RWKV4Config(vocab_size=19, d_model=8, n_blocks=2, **options))
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
    model, ids = random_model().double(), torch.randint(19, (2, 7))
    state, ys = model.allocate_state(2), []
    for t in range(7):
        y, state = model.step(ids[:, t], state)
        ys.append(y)
    torch.testing.assert_close(torch.stack(ys, dim=1), model(ids))


def test_state_is_five_vectors_a_block() -> None:
    model = random_model()
    _, state = model.prefill(torch.zeros(1, 30, dtype=torch.long), model.allocate_state(1))
    numbers = sum(
        part.numel() if isinstance(part, torch.Tensor) else part.x.numel() + 3 * part.wkv.p.numel()
        for part in state
    )
    assert numbers == 2 * 5 * 8


def test_causal() -> None:
    model, ids = random_model(), torch.randint(19, (1, 7))
    changed = ids.clone()
    changed[0, 4] = (ids[0, 4] + 1) % 19
    torch.testing.assert_close(model(ids)[:, :4], model(changed)[:, :4], rtol=0, atol=0)


def test_initial_values_are_the_published_ones() -> None:
    model = RWKV4(RWKV4Config(vocab_size=19, d_model=8, n_blocks=3))
    first, last = model.layers[0].branch, model.layers[4].branch
    assert isinstance(first, TimeMix)
    assert isinstance(last, TimeMix)
    torch.testing.assert_close(first.time_decay[[0, -1]], torch.tensor([-5.0, 3.0]))
    torch.testing.assert_close(last.time_decay[1], torch.tensor(-5 + 8 * (1 / 7) ** 2.0))
    assert first.key.weight.count_nonzero() == 0
    assert model.embedding.weight.abs().max() <= 1e-4


def test_state_stays_float32_under_bf16_autocast() -> None:
    model, ids = random_model(), torch.randint(19, (2, 5))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits, state = model.prefill(ids, model.allocate_state(2))
    assert state[0].wkv.p.dtype == torch.float32
    torch.testing.assert_close(logits.float(), model(ids), rtol=0.2, atol=0.2)


def test_layer_checkpointing_changes_no_gradient() -> None:
    ids = torch.randint(19, (2, 5))
    plain, sparing = random_model(), random_model(checkpoint_layers=True)
    for model in (plain, sparing):
        model(ids).logsumexp(dim=-1).sum().backward()
    for a, b in zip(plain.parameters(), sparing.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad)


def test_length_one_batch_zero_and_wrong_states() -> None:
    mixer = TimeMix(8)
    assert mixer(torch.randn(2, 1, 8)).shape == (2, 1, 8)
    assert mixer(torch.randn(0, 3, 8)).shape == (0, 3, 8)
    with pytest.raises(ValueError, match="TimeMixState; got int"):
        mixer.prefill(torch.randn(2, 3, 8), 1)
    with pytest.raises(ValueError, match=r"state.x must have shape \(2, 8\); got \(3, 8\)"):
        mixer.prefill(torch.randn(2, 3, 8), mixer.allocate_state(3))
