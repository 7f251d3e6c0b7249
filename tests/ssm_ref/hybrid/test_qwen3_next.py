"""Qwen3-Next against transformers, and the pattern it is."""

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import Qwen3NextConfig as TheirConfig
from transformers import Qwen3NextForCausalLM

from ssm_ref.attention.transformer import KVCache
from ssm_ref.checkpoint import from_pretrained
from ssm_ref.hybrid.moe import MoEConfig
from ssm_ref.hybrid.qwen3_next import (
    CentredRMSNorm,
    GatedAttention,
    GatedAttentionConfig,
    GatedExpertMoE,
    Qwen3Next,
    published_config,
)
from ssm_ref.linear_attention.mixer import MixerState
from ssm_ref.norm import rms_norm


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Any, Qwen3Next]:
    torch.manual_seed(0)
    theirs = Qwen3NextForCausalLM(
        TheirConfig(
            vocab_size=31,
            hidden_size=16,
            num_hidden_layers=4,
            num_attention_heads=4,
            num_key_value_heads=2,
            head_dim=8,
            linear_key_head_dim=4,
            linear_value_head_dim=6,
            linear_num_key_heads=2,
            linear_num_value_heads=4,
            moe_intermediate_size=12,
            shared_expert_intermediate_size=10,
            num_experts_per_tok=2,
            num_experts=4,
            rope_parameters={
                "rope_type": "default",
                "rope_theta": 100.0,
                "partial_rotary_factor": 0.5,
            },
            initializer_range=0.2,
        )
    )
    theirs.save_pretrained(tmp_path)
    ours = from_pretrained(tmp_path)
    assert isinstance(ours, Qwen3Next)
    return theirs, ours


def test_transformers_logits_and_gradients(pair: tuple[Any, Qwen3Next], against: Any) -> None:
    theirs, ours = pair
    assert ours.qwen_cfg.pattern == "DEDEDE*E"
    pairs = {
        "embedding.weight": "model.embed_tokens.weight",
        "layers.0.branch.A_log": "model.layers.0.linear_attn.A_log",
        "layers.2.branch.o_proj.weight": "model.layers.1.linear_attn.out_proj.weight",
        "layers.6.branch.q_proj.weight": "model.layers.3.self_attn.q_proj.weight",
        "layers.6.branch.k_norm.weight": "model.layers.3.self_attn.k_norm.weight",
        "layers.7.branch.gate.weight": "model.layers.3.mlp.shared_expert_gate.weight",
        "layers.7.branch.moe.down_proj": "model.layers.3.mlp.experts.down_proj",
    }
    against.gradients(theirs, ours, torch.randint(31, (2, 9)), pairs)


def test_transformers_cached_decoding_and_reading_back(
    pair: tuple[Any, Qwen3Next], tmp_path: Path, against: Any
) -> None:
    theirs, ours = pair
    ids = torch.randint(31, (2, 9))
    state = against.decoding(theirs, ours, ids)
    kinds = [type(part) for part in state[0::2]]
    assert kinds == [MixerState, MixerState, MixerState, KVCache]
    against.reading_back(Qwen3NextForCausalLM, ours, ids, tmp_path / "saved")


def attention(**options: Any) -> GatedAttention:
    sizes = {"d_model": 8, "n_heads": 4, "n_kv_heads": 2, "d_head": 6, "rope_dims": 4}
    return GatedAttention(GatedAttentionConfig(**(sizes | options))).double()


@torch.no_grad()
@pytest.mark.parametrize("cut", [1, 4, 6])
def test_attention_can_be_cut_anywhere(cut: int) -> None:
    layer, u = attention(), torch.randn(2, 7, 8, dtype=torch.float64)
    whole = layer(u)
    y, state = layer.prefill(u[:, :cut], layer.allocate_state(2))
    torch.testing.assert_close(y, whole[:, :cut])
    for t in range(cut, 7):
        y_t, state = layer.step(u[:, t], state)
        torch.testing.assert_close(y_t, whole[:, t])


def test_norms_start_at_one_and_scale_by_one_plus_weight() -> None:
    norm, x = CentredRMSNorm(6), torch.randn(3, 6)
    torch.testing.assert_close(norm(x), rms_norm(x, eps=1e-6))
    torch.nn.init.normal_(norm.weight)
    torch.testing.assert_close(norm(x), rms_norm(x, 1 + norm.weight, eps=1e-6))


def test_every_token_sees_the_shared_expert_as_far_as_its_gate_opens() -> None:
    mixer = GatedExpertMoE(MoEConfig(d_model=8, d_ff=6, n_experts=3, renormalize=True), 5)
    u = torch.randn(2, 4, 8)
    want = mixer.moe(u) + torch.sigmoid(mixer.gate(u)) * mixer.expert(u)
    torch.testing.assert_close(mixer(u), want)


def test_published_size_is_80_billion_of_which_3_are_active() -> None:
    cfg = published_config()
    with torch.device("meta"):
        model = Qwen3Next(cfg)
    count = sum(p.numel() for p in model.parameters())
    idle = cfg.n_blocks * (512 - 10) * 3 * 2048 * 512
    embeddings = 2 * 151_936 * 2048
    assert round(count / 1e9) == 80
    assert round((count - idle - embeddings) / 1e9) == 3
    assert cfg.pattern[0::2] == "DDD*" * 12


def test_refuses() -> None:
    with pytest.raises(ValueError, match="rope_dims must be even in 0 … 6; got 7"):
        attention(rope_dims=7)
    with pytest.raises(ValueError, match="n_kv_heads=3 must divide n_heads=4"):
        attention(n_kv_heads=3)
    layer, u = attention(), torch.zeros(1, 2, 8, dtype=torch.float64)
    with pytest.raises(ValueError, match="KVCache; got int"):
        layer.prefill(u, 1)  # type: ignore[arg-type]
