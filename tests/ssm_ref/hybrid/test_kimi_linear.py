"""Kimi Linear against transformers, and the cache and choice that are its own."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import KimiLinearConfig as TheirConfig
from transformers import KimiLinearForCausalLM

from ssm_ref.checkpoint import from_pretrained
from ssm_ref.hybrid.kimi_linear import (
    KimiLinear,
    LatentAttention,
    LatentAttentionConfig,
    LatentCache,
    ScoredMoE,
    published_config,
)
from ssm_ref.hybrid.moe import MoEConfig
from ssm_ref.linear_attention.mixer import MixerState


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Any, KimiLinear]:
    torch.manual_seed(0)
    theirs = KimiLinearForCausalLM(
        TheirConfig(
            vocab_size=31,
            hidden_size=16,
            intermediate_size=20,
            moe_intermediate_size=12,
            num_hidden_layers=3,
            layer_types=["linear_attention", "full_attention", "linear_attention"],
            num_local_experts=4,
            num_experts_per_tok=2,
            num_attention_heads=4,
            num_key_value_heads=4,
            kv_lora_rank=8,
            qk_rope_head_dim=4,
            qk_nope_head_dim=6,
            v_head_dim=5,
            linear_head_dim=6,
            linear_num_heads=3,
            initializer_range=0.2,
            pad_token_id=None,
            bos_token_id=None,
            eos_token_id=None,
        )
    )
    for block in theirs.model.layers[1:]:
        torch.nn.init.normal_(block.mlp.gate.e_score_correction_bias, std=0.3)
    theirs.save_pretrained(tmp_path)
    ours = from_pretrained(tmp_path)
    assert isinstance(ours, KimiLinear)
    return theirs, ours


def test_transformers_logits_and_gradients(pair: tuple[Any, KimiLinear], against: Any) -> None:
    theirs, ours = pair
    assert ours.kimi_cfg.pattern == "K-*EKE"
    pairs = {
        "embedding.weight": "model.embed_tokens.weight",
        "layers.0.branch.f_proj.0.weight": "model.layers.0.self_attn.forget_gate.f_a_proj.weight",
        "layers.0.branch.b_proj.weight": "model.layers.0.self_attn.b_proj.weight",
        "layers.2.branch.kv_b_proj.weight": "model.layers.1.self_attn.kv_b_proj.weight",
        "layers.3.branch.router.weight": "model.layers.1.mlp.gate.weight",
        "layers.5.branch.down_proj": "model.layers.2.mlp.experts.down_proj",
    }
    against.gradients(theirs, ours, torch.randint(31, (2, 9)), pairs)


def test_transformers_cached_decoding_and_reading_back(
    pair: tuple[Any, KimiLinear], tmp_path: Path, against: Any
) -> None:
    theirs, ours = pair
    ids = torch.randint(31, (2, 9))
    state = against.decoding(theirs, ours, ids)
    assert [type(part) for part in state[0::2]] == [MixerState, LatentCache, MixerState]
    against.reading_back(KimiLinearForCausalLM, ours, ids, tmp_path / "saved")


def test_the_published_form_of_the_config_is_read_too(
    pair: tuple[Any, KimiLinear], tmp_path: Path, against: Any
) -> None:
    config = json.loads((tmp_path / "config.json").read_text())
    for name in [*config]:
        if name.startswith("linear_") or name in ("layer_types", "mlp_layer_types"):
            del config[name]
    config["first_k_dense_replace"] = 1
    config["linear_attn_config"] = {
        "full_attn_layers": [2],
        "kda_layers": [1, 3],
        "head_dim": 6,
        "num_heads": 3,
        "short_conv_kernel_size": 4,
    }
    (tmp_path / "config.json").write_text(json.dumps(config))
    again = from_pretrained(tmp_path)
    torch.testing.assert_close(again.state_dict(), pair[1].state_dict())


def latent(**options: int) -> LatentAttention:
    sizes = {"d_model": 8, "n_heads": 2, "rank": 5, "d_shared": 2, "d_key": 3, "d_value": 4}
    return LatentAttention(LatentAttentionConfig(**(sizes | options))).double()


@torch.no_grad()
@pytest.mark.parametrize("cut", [1, 4, 6])
def test_latent_attention_can_be_cut_anywhere(cut: int) -> None:
    layer, u = latent(), torch.randn(2, 7, 8, dtype=torch.float64)
    whole = layer(u)
    y, state = layer.prefill(u[:, :cut], layer.allocate_state(2))
    torch.testing.assert_close(y, whole[:, :cut])
    for t in range(cut, 7):
        y_t, state = layer.step(u[:, t], state)
        torch.testing.assert_close(y_t, whole[:, t])


def test_the_cache_of_a_token_does_not_grow_with_the_heads() -> None:
    u = torch.randn(1, 9, 8, dtype=torch.float64)
    for heads in (1, 4):
        layer = latent(n_heads=heads)
        _, state = layer.prefill(u, layer.allocate_state(1))
        assert sum(part.numel() for part in state) == 9 * (5 + 2)


@torch.no_grad()
def test_latent_attention_knows_no_positions() -> None:
    layer, u = latent(), torch.randn(1, 6, 8, dtype=torch.float64)
    shuffled = torch.cat([u[:, [3, 0, 4, 1, 2]], u[:, 5:]], dim=1)
    torch.testing.assert_close(layer(u)[:, -1], layer(shuffled)[:, -1])


def test_the_bias_takes_part_in_the_choice_alone() -> None:
    moe = ScoredMoE(MoEConfig(d_model=8, d_ff=6, n_experts=4, top_k=2), 5, scale=2.5)
    u = torch.randn(10, 8)
    with torch.no_grad():
        moe.choice_bias[3] = 10.0
    pi, weights, chosen = moe.route(u)
    assert (chosen == 3).any(dim=1).all()
    torch.testing.assert_close(weights.sum(dim=1), torch.full((10,), 2.5))
    ratio = weights[:, 0] / weights[:, 1]
    scores = pi.gather(1, chosen)
    torch.testing.assert_close(ratio, scores[:, 0] / scores[:, 1])


def test_published_size_is_48_billion_of_which_3_are_active() -> None:
    cfg = published_config()
    with torch.device("meta"):
        model = KimiLinear(cfg)
    count = sum(p.numel() for p in model.parameters())
    idle = 26 * (256 - 8) * 3 * 2304 * 1024
    embeddings = 2 * 163_840 * 2304
    assert round((count - embeddings) / 1e9) == 48
    assert round((count - idle - embeddings) / 1e9) == 3
    assert cfg.pattern[0::2] == "KKK*" * 6 + "KK*"


def test_refuses() -> None:
    with pytest.raises(ValueError, match="n_heads must be at least 1; got 0"):
        latent(n_heads=0)
    layer, u = latent(), torch.zeros(1, 2, 8, dtype=torch.float64)
    with pytest.raises(ValueError, match="LatentCache; got int"):
        layer.prefill(u, 1)  # type: ignore[arg-type]
