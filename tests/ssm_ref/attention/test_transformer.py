"""Attention against its definition and itself in pieces; the model against transformers' Llama."""

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from ssm_ref.attention.transformer import (
    Attention,
    AttentionConfig,
    KVCache,
    Transformer,
    TransformerConfig,
    attend,
    attend_one_by_one,
    rotate,
)
from ssm_ref.checkpoint import from_pretrained
from ssm_ref.layouts.llama import LLAMA

LAYERS = {
    "plain": AttentionConfig(d_model=12, n_heads=3),
    "grouped": AttentionConfig(d_model=12, n_heads=6, n_kv_heads=2),
    "window": AttentionConfig(d_model=12, n_heads=2, n_kv_heads=1, d_head=4, window=3),
    "window of one": AttentionConfig(d_model=12, n_heads=2, window=1),
    "no positions": AttentionConfig(d_model=12, n_heads=3, rope_base=None),
}


@pytest.fixture(params=LAYERS.values(), ids=LAYERS.keys())
def layer(request: pytest.FixtureRequest) -> Attention:
    torch.manual_seed(0)
    return Attention(request.param).double()


@pytest.mark.parametrize("window", [None, 1, 3, 8, 20])
@pytest.mark.parametrize("past", [0, 4])
def test_fused_attention_matches_the_definition(past: int, window: int | None) -> None:
    q = torch.randn(2, 6, 5, 4, dtype=torch.float64)
    k, v = torch.randn(2, 2, 2, past + 5, 4, dtype=torch.float64)
    torch.testing.assert_close(attend(q, k, v, window), attend_one_by_one(q, k, v, window))
    got, want = (f(q, k, v, window, pinned=2) for f in (attend, attend_one_by_one))
    torch.testing.assert_close(got, want)


def test_the_layer_does_not_depend_on_the_form(layer: Attention) -> None:
    slow = Attention(layer.cfg, attend=attend_one_by_one).double()
    slow.load_state_dict(layer.state_dict())
    u = torch.randn(2, 7, 12, dtype=torch.float64)
    torch.testing.assert_close(layer(u), slow(u))


@pytest.mark.parametrize("cut", range(1, 7))
def test_cut_anywhere(layer: Attention, cut: int) -> None:
    u = torch.randn(2, 7, 12, dtype=torch.float64)
    head, state = layer.prefill(u[:, :cut], layer.allocate_state(2))
    tail, state = layer.prefill(u[:, cut:], state)
    torch.testing.assert_close(torch.cat([head, tail], dim=1), layer(u))
    assert state.length == 7


def test_steps_equal_forward(layer: Attention) -> None:
    u = torch.randn(2, 7, 12, dtype=torch.float64)
    state, ys = layer.allocate_state(2), []
    for t in range(7):
        y, state = layer.step(u[:, t], state)
        ys.append(y)
    torch.testing.assert_close(torch.stack(ys, dim=1), layer(u))


def test_causal(layer: Attention) -> None:
    u = torch.randn(1, 7, 12, dtype=torch.float64)
    changed = u.clone()
    changed[:, 4] += 1
    torch.testing.assert_close(layer(u)[:, :4], layer(changed)[:, :4], rtol=0, atol=0)


@pytest.mark.parametrize(("window", "held"), [(None, 50), (8, 7)])
def test_cache_grows_with_length_unless_a_window_bounds_it(window: int | None, held: int) -> None:
    cfg = AttentionConfig(d_model=12, n_heads=3, n_kv_heads=1, window=window)
    layer = Attention(cfg)
    _, state = layer.prefill(torch.randn(2, 50, 12), layer.allocate_state(2))
    assert state.k.numel() + state.v.numel() == 2 * held * 2 * cfg.kv_heads * cfg.head_width


def test_rotation_makes_scores_relative() -> None:
    q, k = torch.randn(2, 1, 1, 1, 8, dtype=torch.float64)
    scores = [
        (rotate(q, start + 5, 1e4) * rotate(k, start, 1e4)).sum() for start in (0, 1, 17, 1000)
    ]
    torch.testing.assert_close(torch.stack(scores), scores[0].expand(4))


def test_rotation_keeps_lengths() -> None:
    x = torch.randn(2, 3, 9, 8, dtype=torch.float64)
    torch.testing.assert_close(rotate(x, 3, 1e4).norm(dim=-1), x.norm(dim=-1))


def test_length_one_and_batch_zero(layer: Attention) -> None:
    assert layer(torch.randn(2, 1, 12).double()).shape == (2, 1, 12)
    assert layer(torch.randn(0, 3, 12).double()).shape == (0, 3, 12)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"n_heads": 5}, "n_heads=5 must divide d_model=12"),
        ({"n_heads": 6, "n_kv_heads": 4}, "n_kv_heads=4 must divide n_heads=6"),
        ({"n_heads": 4}, "head width 3 must be even"),
        ({"n_heads": 2, "window": 0}, "window must be at least 1; got 0"),
    ],
)
def test_refuses_sizes(wrong: dict[str, int], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        AttentionConfig(d_model=12, **wrong)


@pytest.mark.parametrize(
    ("state", "words"),
    [
        (torch.zeros(2, 7), "KVCache; got Tensor"),
        (KVCache(torch.zeros(2, 3, 1, 4), torch.zeros(2, 3, 2, 4), 2), r"\(2, 3, 2, 4\); got"),
    ],
)
def test_refuses_a_state_from_another_model(state: KVCache, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Attention(LAYERS["plain"]).prefill(torch.zeros(2, 3, 12), state)


@pytest.fixture(params=[False, True], ids=["own head", "tied head"])
def llama(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Any, Transformer]:
    torch.manual_seed(0)
    theirs = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=31,
            hidden_size=24,
            intermediate_size=40,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            head_dim=8,
            initializer_range=0.2,
            tie_word_embeddings=request.param,
        )
    )
    theirs.save_pretrained(tmp_path)
    ours = from_pretrained(tmp_path)
    assert isinstance(ours, Transformer)
    return theirs, ours


def test_llama_logits_and_gradients(llama: tuple[Any, Transformer]) -> None:
    theirs, ours = llama
    ids = torch.randint(31, (2, 9))
    want, got = theirs(ids).logits, ours(ids)
    torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-5)
    want.sin().sum().backward()
    got.sin().sum().backward()
    gradients = dict(theirs.named_parameters())
    for name, place in LLAMA.places(ours).items():
        mine = ours.get_parameter(place.parts[0]).grad
        torch.testing.assert_close(mine, gradients[name].grad, rtol=1e-3, atol=1e-4)


@torch.no_grad()
def test_llama_cached_decoding(llama: tuple[Any, Transformer]) -> None:
    theirs, ours = llama
    ids = torch.randint(31, (2, 9))
    logits, state = ours.prefill(ids[:, :4], ours.allocate_state(2))
    cache = theirs(ids[:, :4], use_cache=True).past_key_values
    for t in range(4, 9):
        logits, state = ours.step(ids[:, t], state)
        out = theirs(ids[:, t : t + 1], past_key_values=cache, use_cache=True)
        cache = out.past_key_values
        torch.testing.assert_close(logits, out.logits[:, 0], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(logits, ours(ids)[:, -1], rtol=1e-4, atol=1e-5)


def small_transformer(**options: Any) -> Transformer:
    torch.manual_seed(0)
    attention = AttentionConfig(d_model=16, n_heads=4, n_kv_heads=2)
    cfg = TransformerConfig(vocab_size=19, n_blocks=2, d_ff=32, attention=attention, **options)
    return Transformer(cfg)


def test_layer_checkpointing_changes_no_gradient() -> None:
    plain, sparing = small_transformer(), small_transformer(checkpoint_layers=True)
    ids = torch.randint(19, (2, 5))
    for model in (plain, sparing):
        model(ids).logsumexp(dim=-1).sum().backward()
    for a, b in zip(plain.parameters(), sparing.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad)


def test_bf16_autocast_stays_close() -> None:
    model, ids = small_transformer(), torch.randint(19, (2, 5))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = model(ids)
    torch.testing.assert_close(logits.float(), model(ids), rtol=0.1, atol=0.02)
