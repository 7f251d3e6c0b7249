"""Falcon-H1 against transformers, with and without the gated norm, and its factors."""

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import FalconH1Config as TheirConfig
from transformers import FalconH1ForCausalLM

from ssm_ref.attention.transformer import AttentionConfig
from ssm_ref.checkpoint import from_pretrained
from ssm_ref.hybrid.falcon_h1 import (
    FalconH1,
    FalconH1Config,
    FalconH1Mixer,
    FalconH1State,
    Multipliers,
    ScaledLinear,
    WideMamba2Config,
)

FACTORS = {
    "lm_head_multiplier": 0.7,
    "embedding_multiplier": 1.3,
    "mlp_multipliers": [0.8, 1.2],
    "key_multiplier": 0.6,
    "attention_out_multiplier": 0.9,
    "attention_in_multiplier": 1.1,
    "ssm_multipliers": [0.5, 0.7, 1.1, 1.3, 0.9],
    "ssm_in_multiplier": 1.4,
    "ssm_out_multiplier": 0.75,
}
NORMS = {
    "plain gate": {"mamba_rms_norm": False},
    "norm, then gate": {"mamba_rms_norm": True, "mamba_norm_before_gate": True},
    "gate, then norm": {"mamba_rms_norm": True, "mamba_norm_before_gate": False},
}


@pytest.fixture(params=NORMS.values(), ids=NORMS.keys())
def pair(request: Any, tmp_path: Path) -> tuple[Any, FalconH1]:
    torch.manual_seed(0)
    theirs = FalconH1ForCausalLM(
        TheirConfig(
            vocab_size=31,
            hidden_size=16,
            intermediate_size=20,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            mamba_d_ssm=24,
            mamba_n_heads=4,
            mamba_d_head=6,
            mamba_n_groups=2,
            mamba_d_state=4,
            initializer_range=0.2,
            pad_token_id=None,
            **FACTORS,
            **request.param,
        )
    )
    theirs.save_pretrained(tmp_path)
    ours = from_pretrained(tmp_path)
    assert isinstance(ours, FalconH1)
    return theirs, ours


def test_transformers_logits_and_gradients(pair: tuple[Any, FalconH1], against: Any) -> None:
    theirs, ours = pair
    pairs = {
        "embedding.weight": "model.embed_tokens.weight",
        "layers.0.branch.mamba.in_proj.weight": "model.layers.0.mamba.in_proj.weight",
        "layers.0.branch.attention.k_proj.weight": "model.layers.0.self_attn.k_proj.weight",
        "layers.3.branch.gate_proj.weight": "model.layers.1.feed_forward.gate_proj.weight",
        "layers.3.norm.weight": "model.layers.1.pre_ff_layernorm.weight",
    }
    against.gradients(theirs, ours, torch.randint(31, (2, 9)), pairs)


def test_transformers_cached_decoding_and_reading_back(
    pair: tuple[Any, FalconH1], tmp_path: Path, against: Any
) -> None:
    theirs, ours = pair
    ids = torch.randint(31, (2, 9))
    against.decoding(theirs, ours, ids)
    against.reading_back(FalconH1ForCausalLM, ours, ids, tmp_path / "saved")


def small(**factors: Any) -> FalconH1:
    torch.manual_seed(0)
    return FalconH1(
        FalconH1Config(
            vocab_size=19,
            n_blocks=2,
            d_ff=12,
            attention=AttentionConfig(d_model=8, n_heads=2, n_kv_heads=1),
            mamba=WideMamba2Config(d_model=8, d_ssm=12, d_state=4, d_head=4),
            multipliers=Multipliers(**factors),
        )
    )


@torch.no_grad()
@pytest.mark.parametrize("cut", [1, 4, 6])
def test_cut_anywhere(cut: int) -> None:
    model, ids = small(key=0.5).double(), torch.randint(19, (2, 7))
    head, state = model.prefill(ids[:, :cut], model.allocate_state(2))
    tail, state = model.prefill(ids[:, cut:], state)
    torch.testing.assert_close(torch.cat([head, tail], dim=1), model(ids))
    assert isinstance(state[0], FalconH1State)
    assert state[0].kv.k.shape[2] == 7


@torch.no_grad()
def test_a_factor_is_the_same_as_scaled_weights() -> None:
    plain, scaled = small().double(), small(mlp=(0.8, 1.2), key=0.6, ssm_out=0.5).double()
    for layer in plain.blocks:
        if isinstance(layer.branch, FalconH1Mixer):
            layer.branch.attention.k_proj.weight *= 0.6
            layer.branch.mamba.out_proj.weight *= 0.5
        else:
            layer.branch.gate_proj.weight *= 0.8
            layer.branch.down_proj.weight *= 1.2
    ids = torch.randint(19, (2, 7))
    torch.testing.assert_close(plain(ids), scaled(ids))


def test_each_half_can_be_switched_off_and_has_a_width_of_its_own() -> None:
    u = torch.randn(1, 5, 8)
    for off, branch in (("attention_out", "mamba"), ("ssm_out", "attention")):
        mixer = small(**{off: 0.0}).blocks[0].branch
        torch.testing.assert_close(mixer(u), getattr(mixer, branch)(u))
    assert mixer.mamba.out_proj.in_features == 12
    assert mixer.attention.o_proj.in_features == 8


def test_parts_of_a_scaled_map() -> None:
    layer = ScaledLinear(3, (2, 1), (2.0, -1.0))
    u = torch.randn(4, 3)
    want = u @ layer.weight.T * torch.tensor([2.0, 2.0, -1.0])
    torch.testing.assert_close(layer(u), want)


def test_refuses() -> None:
    with pytest.raises(ValueError, match="FalconH1State; got int"):
        small().blocks[0].branch.prefill(torch.randn(1, 2, 8), 1)
    with pytest.raises(ValueError, match="one d_model; got 4 and 8"):
        FalconH1Config(
            vocab_size=3,
            n_blocks=1,
            d_ff=4,
            attention=AttentionConfig(d_model=4, n_heads=1),
            mamba=WideMamba2Config(d_model=8, d_ssm=8, d_head=4),
        )
