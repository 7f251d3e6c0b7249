"""Jamba against transformers and itself in pieces."""

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import JambaConfig as TheirConfig
from transformers import JambaForCausalLM

from ssm_ref.attention.transformer import AttentionConfig, KVCache
from ssm_ref.checkpoint import from_pretrained
from ssm_ref.hybrid.jamba import Jamba, JambaConfig
from ssm_ref.selective.mamba import MambaConfig, MambaState


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Any, Jamba]:
    torch.manual_seed(0)
    theirs = JambaForCausalLM(
        TheirConfig(
            vocab_size=31,
            hidden_size=16,
            intermediate_size=24,
            num_hidden_layers=4,
            num_attention_heads=4,
            num_key_value_heads=2,
            num_experts=3,
            attn_layer_period=2,
            attn_layer_offset=1,
            mamba_d_state=4,
            mamba_dt_rank=3,
            initializer_range=0.2,
            pad_token_id=None,
        )
    )
    theirs.save_pretrained(tmp_path)
    ours = from_pretrained(tmp_path)
    assert isinstance(ours, Jamba)
    return theirs, ours


def test_transformers_logits_and_gradients(pair: tuple[Any, Jamba], against: Any) -> None:
    theirs, ours = pair
    pairs = {
        "embedding.weight": "model.embed_tokens.weight",
        "layers.0.branch.A_log": "model.layers.0.mamba.A_log",
        "layers.0.branch.ssm_norms.1.weight": "model.layers.0.mamba.b_layernorm.weight",
        "layers.2.branch.q_proj.weight": "model.layers.1.self_attn.q_proj.weight",
        "layers.3.branch.router.weight": "model.layers.1.feed_forward.router.weight",
        "layers.3.branch.down_proj": "model.layers.1.feed_forward.experts.down_proj",
    }
    against.gradients(theirs, ours, torch.randint(31, (2, 9)), pairs)


def test_transformers_cached_decoding_and_reading_back(
    pair: tuple[Any, Jamba], tmp_path: Path, against: Any
) -> None:
    theirs, ours = pair
    ids = torch.randint(31, (2, 9))
    against.decoding(theirs, ours, ids)
    against.reading_back(JambaForCausalLM, ours, ids, tmp_path / "saved")


def small(**options: Any) -> Jamba:
    torch.manual_seed(0)
    sizes = {"vocab_size": 19, "n_blocks": 3, "d_ff": 16, "n_experts": 3}
    periods = {"attention_period": 3, "attention_offset": 1}
    attention = AttentionConfig(d_model=8, n_heads=2, n_kv_heads=1, rope_base=None)
    mamba = MambaConfig(d_model=8, d_state=4, ssm_norm="learned")
    return Jamba(JambaConfig(attention=attention, mamba=mamba, **(sizes | periods | options)))


@torch.no_grad()
@pytest.mark.parametrize("cut", range(1, 7))
def test_cut_anywhere(cut: int) -> None:
    model, ids = small().double(), torch.randint(19, (2, 7))
    head, state = model.prefill(ids[:, :cut], model.allocate_state(2))
    tail, _ = model.prefill(ids[:, cut:], state)
    torch.testing.assert_close(torch.cat([head, tail], dim=1), model(ids))


@torch.no_grad()
def test_only_attention_keeps_what_grows() -> None:
    model = small()
    _, state = model.prefill(torch.zeros(1, 30, dtype=torch.long), model.allocate_state(1))
    kinds = [type(part) for part in state]
    assert kinds == [MambaState, type(None), KVCache, type(None), MambaState, type(None)]
    assert state[2].k.shape[2] == 30


def test_the_published_pattern_has_one_attention_layer_in_eight() -> None:
    attention = AttentionConfig(d_model=8, n_heads=2, rope_base=None)
    cfg = JambaConfig(
        vocab_size=3, n_blocks=32, d_ff=8, attention=attention, mamba=MambaConfig(d_model=8)
    )
    assert cfg.pattern[0::2] == "MMMM*MMM" * 4
    assert cfg.pattern[1::2] == "-E" * 16


def test_published_size_is_52_billion_parameters_of_which_12_are_active() -> None:
    d, ff = 4096, 14336
    attention = AttentionConfig(d_model=d, n_heads=32, n_kv_heads=8, rope_base=None)
    mamba = MambaConfig(d_model=d, ssm_norm="learned")
    sizes = {"vocab_size": 65_536, "n_blocks": 32, "d_ff": ff}
    with torch.device("meta"):
        model = Jamba(JambaConfig(attention=attention, mamba=mamba, **sizes))
    count = sum(p.numel() for p in model.parameters())
    idle = 16 * (16 - 2) * 3 * d * ff
    assert round(count / 1e9) == 52
    assert round((count - idle) / 1e9) == 12


def test_layer_checkpointing_changes_no_gradient() -> None:
    ids = torch.randint(19, (2, 5))
    plain, sparing = small(), small(checkpoint_layers=True)
    for model in (plain, sparing):
        model(ids).logsumexp(dim=-1).sum().backward()
    for (name, a), b in zip(plain.named_parameters(), sparing.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad, msg=name)


def test_refuses_periods() -> None:
    with pytest.raises(ValueError, match="0 <= attention_offset < attention_period; got 4 and 3"):
        small(attention_offset=4)
