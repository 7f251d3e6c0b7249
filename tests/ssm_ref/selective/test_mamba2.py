"""Mamba-2 against transformers, the published sizes, its definition, and itself in pieces."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional
from transformers import Mamba2Config as TheirConfig
from transformers import Mamba2ForCausalLM

from ssm_ref.checkpoint import from_pretrained
from ssm_ref.language_model import LanguageModelConfig
from ssm_ref.layouts.mamba import TRANSFORMERS_MAMBA2
from ssm_ref.selective.mamba import parameter_groups
from ssm_ref.selective.mamba2 import (
    PUBLISHED,
    Mamba2,
    Mamba2Config,
    Mamba2LanguageModel,
    Mamba2State,
    published_config,
)
from ssm_ref.selective.ssd import ssd, ssd_chunked, ssd_quadratic

CFG = Mamba2Config(d_model=12, d_state=5, d_head=4, n_groups=3)


@pytest.fixture
def block() -> Mamba2:
    torch.manual_seed(0)
    return Mamba2(CFG).double()


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Any, Mamba2LanguageModel]:
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_heads": 8, "head_dim": 4}
    theirs = Mamba2ForCausalLM(
        TheirConfig(vocab_size=31, state_size=6, n_groups=2, chunk_size=4, **sizes)
    )
    theirs.save_pretrained(tmp_path)
    ours = from_pretrained(tmp_path)
    assert isinstance(ours, Mamba2LanguageModel)
    return theirs, ours


def test_transformers_logits_and_gradients(pair: tuple[Any, Mamba2LanguageModel]) -> None:
    theirs, ours = pair
    ids = torch.randint(31, (2, 11))
    want, got = theirs(ids).logits, ours(ids)
    torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-5)
    want.sin().sum().backward()
    got.sin().sum().backward()
    gradients = dict(theirs.named_parameters())
    for name, place in TRANSFORMERS_MAMBA2.places(ours).items():
        mine = ours.get_parameter(place.parts[0]).grad
        assert mine is not None
        torch.testing.assert_close(
            mine.reshape(place.shape), gradients[name].grad, rtol=1e-3, atol=1e-4
        )


@torch.no_grad()
def test_transformers_cached_decoding(pair: tuple[Any, Mamba2LanguageModel]) -> None:
    theirs, ours = pair
    ids = torch.randint(31, (2, 9))
    _, state = ours.prefill(ids[:, :4], ours.allocate_state(2))
    cache = theirs(ids[:, :4], use_cache=True).cache_params
    for t in range(4, 9):
        logits, state = ours.step(ids[:, t], state)
        out = theirs(ids[:, t : t + 1], cache_params=cache, use_cache=True)
        cache = out.cache_params
        torch.testing.assert_close(logits, out.logits[:, 0], rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_transformers_left_padding(pair: tuple[Any, Mamba2LanguageModel]) -> None:
    theirs, ours = pair
    ids, mask = torch.randint(31, (2, 9)), torch.ones(2, 9, dtype=torch.long)
    mask[0, :3] = 0
    want = theirs(ids, attention_mask=mask).logits
    got = ours(ids, mask=mask.bool())
    torch.testing.assert_close(got[mask.bool()], want[mask.bool()], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(got[0, 3:], ours(ids[:1, 3:])[0], rtol=1e-4, atol=1e-5)


COUNTS = {  # by the formula of the page, from the published configurations
    "130m": 128_989_632,
    "370m": 368_346_624,
    "780m": 780_161_280,
    "1.3b": 1_343_757_312,
    "2.7b": 2_702_599_680,
}


@pytest.mark.parametrize("size", PUBLISHED)
def test_published_sizes_have_as_many_parameters_as_in_transformers(size: str) -> None:
    shell, cfg = published_config(size)
    n_layers, d = PUBLISHED[size]
    with torch.device("meta"):
        ours = Mamba2LanguageModel(shell, cfg)
        theirs = Mamba2ForCausalLM(
            TheirConfig(
                vocab_size=50_288,
                hidden_size=d,
                num_hidden_layers=n_layers,
                num_heads=2 * d // 64,
                head_dim=64,
                state_size=128,
                n_groups=1,
                tie_word_embeddings=True,
            )
        )
    count = sum(p.numel() for p in ours.parameters())
    assert count == COUNTS[size]
    assert count == sum(p.numel() for p in theirs.backbone.parameters())


@pytest.mark.parametrize("scan", [ssd, ssd_quadratic, ssd_chunked])
def test_every_form_of_the_scan_gives_one_block(block: Mamba2, scan: Any) -> None:
    other = Mamba2(CFG, scan=scan).double()
    other.load_state_dict(block.state_dict())
    u = torch.randn(2, 9, 12, dtype=torch.float64)
    torch.testing.assert_close(other(u), block(u))


def test_the_block_is_its_equations(block: Mamba2) -> None:
    u = torch.randn(1, 6, 12, dtype=torch.float64)
    cfg, p = block.cfg, dict(block.named_parameters())
    z, xBC, dt = (u[0] @ p["in_proj.weight"].T).split([24, 24 + 2 * 15, 6], dim=-1)
    padded = functional.pad(xBC, (0, 0, 3, 0))
    conv = sum(padded[k : k + 6] * p["conv_weight"][:, k] for k in range(4)) + p["conv_bias"]
    x, B, C = functional.silu(conv).split([24, 15, 15], dim=-1)
    dt, A = functional.softplus(dt + p["dt_bias"]), -p["A_log"].exp()
    H, ys = u.new_zeros(cfg.n_heads, cfg.d_head, cfg.d_state), []
    for t in range(6):
        B_t, C_t = (m[t].view(3, 5).repeat_interleave(2, dim=0) for m in (B, C))
        x_t = x[t].view(6, 4)
        H = (dt[t] * A).exp()[:, None, None] * H
        H = H + torch.einsum("h,hp,hn->hpn", dt[t], x_t, B_t)
        ys.append(torch.einsum("hpn,hn->hp", H, C_t) + p["D"][:, None] * x_t)
    gated = (torch.stack(ys).flatten(1) * functional.silu(z)).view(6, 3, 8)
    normed = gated * torch.rsqrt(gated.square().mean(dim=-1, keepdim=True) + 1e-5)
    out = (normed.flatten(1) * p["norm.weight"]) @ p["out_proj.weight"].T
    torch.testing.assert_close(block(u)[0], out)


@pytest.mark.parametrize("cut", range(1, 7))
def test_cut_anywhere(block: Mamba2, cut: int) -> None:
    u = torch.randn(2, 7, 12, dtype=torch.float64)
    head, state = block.prefill(u[:, :cut], block.allocate_state(2))
    tail, _ = block.prefill(u[:, cut:], state)
    torch.testing.assert_close(torch.cat([head, tail], dim=1), block(u))


def test_steps_equal_forward(block: Mamba2) -> None:
    u = torch.randn(2, 7, 12, dtype=torch.float64)
    state, ys = block.allocate_state(2), []
    for t in range(7):
        y, state = block.step(u[:, t], state)
        ys.append(y)
    torch.testing.assert_close(torch.stack(ys, dim=1), block(u))


def test_packed_sequences_do_not_meet(block: Mamba2) -> None:
    u = torch.randn(1, 9, 12, dtype=torch.float64)
    packed = block(u, cu_seqlens=torch.tensor([0, 2, 9]))
    apart = torch.cat([block(u[:, :2]), block(u[:, 2:])], dim=1)
    torch.testing.assert_close(packed, apart)


def test_causal(block: Mamba2) -> None:
    u = torch.randn(1, 7, 12, dtype=torch.float64)
    changed = u.clone()
    changed[:, 4] += 1
    torch.testing.assert_close(block(u)[:, :4], block(changed)[:, :4], rtol=0, atol=0)


def test_the_state_does_not_grow(block: Mamba2) -> None:
    u = torch.randn(1, 50, 12, dtype=torch.float64)
    sizes = [
        sum(part.numel() for part in block.prefill(u[:, :l], block.allocate_state(1))[1])
        for l in (1, 50)
    ]
    cfg = block.cfg
    assert sizes == [cfg.d_inner * cfg.d_state + 3 * cfg.d_xBC] * 2


def test_initial_values() -> None:
    torch.manual_seed(0)
    block = Mamba2(Mamba2Config(d_model=512, d_head=4))
    assert -16 <= block.A.min() <= -15
    assert -2 <= block.A.max() <= -1
    dt = functional.softplus(block.dt_bias)
    assert 1e-3 * 0.999 <= dt.min() <= 2e-3
    assert 0.05 <= dt.max() <= 0.1 * 1.001
    assert block.D.eq(1).all()


def test_no_weight_decay_on_A_D_and_dt() -> None:
    block = Mamba2(CFG)
    decayed, spared = parameter_groups(block, weight_decay=0.1)
    names = {id(p): name for name, p in block.named_parameters()}
    assert {names[id(p)] for p in spared["params"]} >= {"A_log", "D", "dt_bias", "norm.weight"}
    assert {names[id(p)] for p in decayed["params"]} == {
        "in_proj.weight",
        "conv_weight",
        "out_proj.weight",
    }


def test_state_stays_float32_under_bf16_autocast() -> None:
    torch.manual_seed(0)
    block, u = Mamba2(CFG), torch.randn(2, 7, 12)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y, state = block.prefill(u, block.allocate_state(2))
    assert state.ssm.dtype == torch.float32
    torch.testing.assert_close(y.float(), block(u), rtol=0.1, atol=0.05)


def test_gradient_reaches_the_initial_state(block: Mamba2) -> None:
    u = torch.randn(1, 3, 12, dtype=torch.float64)
    start = Mamba2State(*(torch.randn_like(s).requires_grad_() for s in block.allocate_state(1)))
    block.prefill(u, start)[1].ssm.sum().backward()
    assert all(part.grad is not None and part.grad.abs().sum() > 0 for part in start)


def test_length_one_and_batch_zero(block: Mamba2) -> None:
    assert block(torch.randn(2, 1, 12).double()).shape == (2, 1, 12)
    assert block(torch.randn(0, 3, 12).double()).shape == (0, 3, 12)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"d_head": 5}, "d_head=5 must divide expand · d_model = 24"),
        ({"d_head": 4, "n_groups": 4}, "n_groups=4 must divide the 6 heads"),
        ({"d_head": 4, "d_state": 0}, "d_state must be at least 1; got 0"),
        ({"d_head": 4, "dt_min": -1.0}, "must be positive and rise"),
    ],
)
def test_refuses_sizes(wrong: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Mamba2Config(d_model=12, **wrong)


def test_refuses_inputs_and_states(block: Mamba2) -> None:
    with pytest.raises(ValueError, match=r"\(batch, length, 12\); got \(2, 3, 5\)"):
        block(torch.zeros(2, 3, 5))
    with pytest.raises(ValueError, match="Mamba2State; got tuple"):
        block.step(torch.zeros(2, 12).double(), (1, 2))
    other = Mamba2(Mamba2Config(d_model=12, d_state=7, d_head=4)).allocate_state(2)
    with pytest.raises(ValueError, match=r"state.conv must have shape \(2, 3, 54\)"):
        block.step(torch.zeros(2, 12).double(), other)


def small_model(**options: Any) -> Mamba2LanguageModel:
    torch.manual_seed(0)
    return Mamba2LanguageModel(
        LanguageModelConfig(vocab_size=19, d_model=12, n_layers=2, **options), CFG
    )


def test_token_ids_out_of_range_are_refused() -> None:
    with pytest.raises(ValueError, match="ids must be in 0 … 18; got 0 … 19"):
        small_model()(torch.tensor([[0, 19]]))


def test_layer_checkpointing_changes_no_gradient() -> None:
    ids = torch.randint(19, (2, 5))
    plain, sparing = small_model(), small_model(checkpoint_layers=True)
    for model in (plain, sparing):
        model(ids).logsumexp(dim=-1).sum().backward()
    for a, b in zip(plain.parameters(), sparing.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad)


def test_dt_limit_clamps_the_step() -> None:
    torch.manual_seed(0)
    slow = Mamba2(Mamba2Config(d_model=12, d_state=5, d_head=4, dt_limit=(0.0, 0.0)))
    u = torch.randn(1, 4, 12)
    _, state = slow.prefill(u, slow.allocate_state(1))
    assert state.ssm.abs().max() == 0
