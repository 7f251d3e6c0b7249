"""Nemotron-H against transformers, and what its pattern promises."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import NemotronHConfig as TheirConfig
from transformers import NemotronHForCausalLM

from ssm_ref.attention.transformer import AttentionConfig, KVCache
from ssm_ref.checkpoint import from_pretrained, save_pretrained
from ssm_ref.hybrid.nemotron_h import (
    PATTERN_8B,
    NemotronH,
    NemotronHConfig,
    SquaredReLU,
    published_config,
)
from ssm_ref.selective.mamba2 import Mamba2Config, Mamba2State


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Any, NemotronH]:
    torch.manual_seed(0)
    kinds = ["linear_attention", "mlp", "full_attention", "linear_attention", "mlp"]
    theirs = NemotronHForCausalLM(
        TheirConfig(
            vocab_size=31,
            hidden_size=16,
            layers_block_type=kinds,
            num_attention_heads=4,
            num_key_value_heads=2,
            head_dim=6,
            intermediate_size=20,
            ssm_state_size=4,
            mamba_num_heads=4,
            mamba_head_dim=8,
            n_groups=2,
            time_step_min=1e-30,  # else the full path alone clamps Δ
            initializer_range=0.2,
            pad_token_id=None,
        )
    )
    theirs.save_pretrained(tmp_path)
    ours = from_pretrained(tmp_path)
    assert isinstance(ours, NemotronH)
    return theirs, ours


def test_transformers_logits_and_gradients(pair: tuple[Any, NemotronH], against: Any) -> None:
    theirs, ours = pair
    assert ours.nemotron_cfg.pattern == "M-*M-"
    pairs = {
        "embedding.weight": "model.embeddings.weight",
        "layers.0.branch.A_log": "model.layers.0.mixer.A_log",
        "layers.1.branch.up_proj.weight": "model.layers.1.mixer.up_proj.weight",
        "layers.2.branch.k_proj.weight": "model.layers.2.mixer.k_proj.weight",
        "layers.3.branch.norm.weight": "model.layers.3.mixer.norm.weight",
    }
    against.gradients(theirs, ours, torch.randint(31, (2, 9)), pairs)


def test_transformers_cached_decoding_and_reading_back(
    pair: tuple[Any, NemotronH], tmp_path: Path, against: Any
) -> None:
    theirs, ours = pair
    ids = torch.randint(31, (2, 9))
    against.decoding(theirs, ours, ids)
    against.reading_back(NemotronHForCausalLM, ours, ids, tmp_path / "saved")


def test_old_pattern_string_is_read_and_experts_are_refused(tmp_path: Path) -> None:
    model = small("M*-")
    save_pretrained(model, tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    del config["layers_block_type"]
    for pattern in ("M*-", "M*E"):
        text = json.dumps(config | {"hybrid_override_pattern": pattern})
        (tmp_path / "config.json").write_text(text)
        if pattern == "M*-":
            ours = from_pretrained(tmp_path)
            torch.testing.assert_close(ours.state_dict(), model.state_dict())
        else:
            with pytest.raises(ValueError, match=r"letters of 'M\*-'.*got 'M\*E'"):
                from_pretrained(tmp_path)


def small(pattern: str = "M-*M-", **options: Any) -> NemotronH:
    torch.manual_seed(0)
    return NemotronH(
        NemotronHConfig(
            vocab_size=19,
            pattern=pattern,
            d_ff=12,
            attention=AttentionConfig(d_model=8, n_heads=2, rope_base=None),
            mamba=Mamba2Config(d_model=8, d_state=4, d_head=4),
            **options,
        )
    )


@torch.no_grad()
@pytest.mark.parametrize("cut", [1, 4, 6])
def test_cut_anywhere(cut: int) -> None:
    model, ids = small().double(), torch.randint(19, (2, 7))
    head, state = model.prefill(ids[:, :cut], model.allocate_state(2))
    tail, state = model.prefill(ids[:, cut:], state)
    torch.testing.assert_close(torch.cat([head, tail], dim=1), model(ids))
    kinds = [type(part) for part in state]
    assert kinds == [Mamba2State, type(None), KVCache, Mamba2State, type(None)]


def test_published_pattern_has_four_attention_layers_of_52() -> None:
    counts = {letter: PATTERN_8B.count(letter) for letter in "M-*"}
    assert counts == {"M": 24, "-": 24, "*": 4}
    assert len(PATTERN_8B) == 52


def test_published_size_is_eight_billion() -> None:
    with torch.device("meta"):
        model = NemotronH(published_config())
    assert round(sum(p.numel() for p in model.parameters()) / 1e9, 1) == 8.1


def test_squared_relu_is_zero_below_zero() -> None:
    mlp = SquaredReLU(4, 6)
    u = torch.randn(3, 4)
    want = mlp.down_proj(torch.where((h := mlp.up_proj(u)) > 0, h * h, 0))
    torch.testing.assert_close(mlp(u), want)


def test_refuses() -> None:
    for pattern in ("", "M4"):
        with pytest.raises(ValueError, match=rf"at least one; got '{pattern}'"):
            small(pattern)
    with pytest.raises(ValueError, match="one d_model; got 4 and 8"):
        NemotronHConfig(
            vocab_size=3,
            pattern="M",
            d_ff=4,
            attention=AttentionConfig(d_model=4, n_heads=1),
            mamba=Mamba2Config(d_model=8, d_head=4),
        )
