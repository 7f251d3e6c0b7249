"""Published models have here exactly as many parameters as where they come from, counted on meta.

Numbers of `transformers` are its own model's for the published configuration, built beside ours;
the others are those of the checkpoint or of the authors' formula.
"""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM
from transformers.models.recurrent_gemma.modeling_recurrent_gemma import (
    RecurrentGemmaRecurrentBlock,
)

from ssm_ref.attention.transformer import AttentionConfig
from ssm_ref.checkpoint import LAYOUTS
from ssm_ref.hybrid import hymba, kimi_linear, nemotron_h, qwen3_next, zamba2
from ssm_ref.hybrid.hymba import Hymba
from ssm_ref.hybrid.kimi_linear import KimiLinear
from ssm_ref.hybrid.nemotron_h import NemotronH
from ssm_ref.hybrid.qwen3_next import Qwen3Next
from ssm_ref.hybrid.samba import Samba, SambaConfig
from ssm_ref.hybrid.zamba2 import Zamba2
from ssm_ref.language_model import LanguageModelConfig
from ssm_ref.linear_attention.rwkv7 import RWKV7, RWKV7Config
from ssm_ref.recurrent.rg_lru import GriffinBlock, GriffinBlockConfig
from ssm_ref.selective.mamba import MambaConfig
from ssm_ref.selective.mamba3 import Mamba3Config, Mamba3LanguageModel

KIMI_ATTENTION = (4, 8, 12, 16, 20, 24, 27)  # counted from one, as its config.json does


def rwkv(n_layers: int, width: int) -> dict[str, Any]:
    sizes = {"num_hidden_layers": n_layers, "hidden_size": width, "attention_hidden_size": width}
    return {"model_type": "rwkv", "vocab_size": 50_277, **sizes}


def falcon_h1(n_layers: int, width: int, d_ff: int, vocab: int, heads: int, **more: Any) -> Any:
    sizes = {"num_hidden_layers": n_layers, "hidden_size": width, "intermediate_size": d_ff}
    heads_of = {"num_attention_heads": heads, "num_key_value_heads": 2, "mamba_rms_norm": False}
    mamba_of = {"mamba_n_groups": 1, "mamba_d_state": 256, "head_dim": 128}
    options = sizes | heads_of | mamba_of | more
    options["mamba_d_ssm"] = options["mamba_n_heads"] * options["mamba_d_head"]
    return {"model_type": "falcon_h1", "vocab_size": vocab, "tie_word_embeddings": False} | options


# The published config.json of each, as far as it differs from the defaults of transformers.
CONFIGS: dict[str, tuple[dict[str, Any], int]] = {
    "falcon-mamba-7b": (
        {
            "model_type": "falcon_mamba",
            "vocab_size": 65_024,
            "hidden_size": 4096,
            "num_hidden_layers": 64,
            "state_size": 16,
            "tie_word_embeddings": False,
        },
        7_272_665_088,
    ),
    "jamba-v0.1": ({"model_type": "jamba"}, 51_570_323_328),
    "rwkv-4-169m": (rwkv(12, 768), 169_342_464),
    "rwkv-4-430m": (rwkv(24, 1024), 430_397_440),
    "rwkv-4-1b5": (rwkv(24, 2048), 1_515_106_304),
    "rwkv-4-3b": (rwkv(32, 2560), 2_984_627_200),
    "rwkv-4-7b": (rwkv(32, 4096), 7_392_649_216),
    "rwkv-4-14b": (rwkv(40, 5120), 14_148_597_760),
    "falcon-h1-0.5b": (
        falcon_h1(
            *(36, 1024, 2048, 32_784, 8),
            **{"head_dim": 64, "mamba_n_heads": 24, "mamba_d_head": 64, "mamba_d_state": 128},
        ),
        521_411_104,
    ),
    "falcon-h1-1.5b": (
        falcon_h1(24, 2048, 4608, 65_537, 8, mamba_n_heads=48, mamba_d_head=64),
        1_554_789_760,
    ),
    "falcon-h1-1.5b-deep": (
        falcon_h1(66, 1280, 3072, 65_537, 6, mamba_n_heads=24, mamba_d_head=64),
        1_554_773_392,
    ),
    "falcon-h1-3b": (
        falcon_h1(32, 2560, 6144, 65_537, 10, mamba_n_heads=32, mamba_d_head=128),
        3_149_261_312,
    ),
    "falcon-h1-7b": (
        falcon_h1(44, 3072, 12_288, 130_049, 12, mamba_n_heads=24, mamba_d_head=128),
        7_585_519_712,
    ),
    "falcon-h1-34b": (
        falcon_h1(
            *(72, 5120, 21_504, 261_120, 20),
            **{"num_key_value_heads": 4, "mamba_n_groups": 2},
            **{"mamba_n_heads": 32, "mamba_d_head": 128},
        ),
        33_642_221_312,
    ),
    "zamba2-2.7b": (
        {
            "model_type": "zamba2",
            "num_mem_blocks": 2,
            "n_mamba_heads": 80,
            "mamba_headdim": 64,
        },
        2_662_214_560,
    ),
    "nemotron-h-8b": (
        {
            "model_type": "nemotron_h",
            "hybrid_override_pattern": nemotron_h.PATTERN_8B,
            "vocab_size": 131_072,
            "hidden_size": 4096,
            "intermediate_size": 21_504,
            "num_attention_heads": 32,
            "num_key_value_heads": 8,
            "head_dim": 128,
            "mamba_num_heads": 128,
            "mamba_head_dim": 64,
            "n_groups": 8,
            "ssm_state_size": 128,
        },
        8_100_852_736,
    ),
    "qwen3-next-80b-a3b": ({"model_type": "qwen3_next"}, 79_674_391_296),
    "llama-2-7b": ({"model_type": "llama"}, 6_738_415_616),
}


def count(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize("name", CONFIGS)
def test_published_configs_make_the_model_of_transformers(name: str) -> None:
    config, published = CONFIGS[name]
    whole = AutoConfig.for_model(**config)
    with torch.device("meta"):
        theirs = AutoModelForCausalLM.from_config(whole)
        layout = next(known for known in LAYOUTS if known.recognises(whole.to_dict()))
        ours = layout.build(whole.to_dict())
    assert count(ours) == count(theirs) == published


def rwkv7(n_blocks: int, d: int, decay: int, v: int, gate: int) -> nn.Module:
    ranks = {"decay_rank": decay, "a_rank": decay, "v_rank": v, "gate_rank": gate}
    return RWKV7(RWKV7Config(vocab_size=65_536, d_model=d, n_blocks=n_blocks, **ranks))


def samba(n_blocks: int, d: int, d_ff: int, heads: int) -> nn.Module:
    return Samba(
        SambaConfig(
            vocab_size=32_000,
            n_blocks=n_blocks,
            d_ff=d_ff,
            attention=AttentionConfig(d_model=d, n_heads=heads, window=2048),
            mamba=MambaConfig(d_model=d),
            tie_embeddings=True,
        )
    )


def mamba3() -> nn.Module:
    shell = LanguageModelConfig(vocab_size=128_256, d_model=2048, n_layers=48)
    return Mamba3LanguageModel(shell, Mamba3Config(d_model=2048, mimo_rank=4), d_ff=3824)


# Sizes without a configuration of transformers. Mamba and Mamba-2 are counted in their own tests.
SIZES: dict[str, tuple[Callable[[], nn.Module], int]] = {
    # The checkpoints: what their index files and model cards say.
    "hymba-1.5b": (lambda: Hymba(hymba.published_config()), 1_522_797_824),
    "kimi-linear-48b": (lambda: KimiLinear(kimi_linear.published_config()), 49_122_681_728),
    # The table of arXiv 2503.14456.
    "rwkv-7-0.1b": (lambda: rwkv7(12, 768, decay=64, v=32, gate=128), 191_034_624),
    "rwkv-7-0.4b": (lambda: rwkv7(24, 1024, decay=64, v=32, gate=128), 450_767_872),
    "rwkv-7-1.5b": (lambda: rwkv7(24, 2048, decay=96, v=64, gate=256), 1_527_404_544),
    "rwkv-7-2.9b": (lambda: rwkv7(32, 2560, decay=96, v=64, gate=320), 2_947_735_040),
    # Said to be 421M, 1.3B and 1.5B by their authors' configurations, and these by count.
    "samba-421m": (lambda: samba(6, 1536, 4096, 12), 421_793_280),
    "samba-1.3b": (lambda: samba(9, 2304, 6144, 18), 1_330_207_488),
    "mamba3-mimo-1.5b": (mamba3, 1_494_723_584),
    # What transformers builds itself is compared above; these are our own descriptions of it.
    "zamba2-2.7b": (lambda: Zamba2(zamba2.published_config()), CONFIGS["zamba2-2.7b"][1]),
    "nemotron-h-8b": (
        lambda: NemotronH(nemotron_h.published_config()),
        CONFIGS["nemotron-h-8b"][1],
    ),
    "qwen3-next-80b-a3b": (
        lambda: Qwen3Next(qwen3_next.published_config()),
        CONFIGS["qwen3-next-80b-a3b"][1],
    ),
}


@pytest.mark.parametrize("name", SIZES)
def test_published_sizes_are_counted_exactly(name: str) -> None:
    build, published = SIZES[name]
    with torch.device("meta"):
        assert count(build()) == published


@pytest.mark.parametrize(("width", "heads"), [(2560, 10), (4096, 16)])
def test_recurrent_blocks_of_recurrentgemma(width: int, heads: int) -> None:
    """Griffin's block at the widths of RecurrentGemma 2B and 9B."""
    config = AutoConfig.for_model(
        "recurrent_gemma", hidden_size=width, num_attention_heads=heads, lru_width=width
    )
    with torch.device("meta"):
        ours = GriffinBlock(GriffinBlockConfig(d_model=width, n_heads=heads))
        assert count(ours) == count(RecurrentGemmaRecurrentBlock(config, 0))


def test_kimi_has_latent_attention_where_its_config_says() -> None:
    layers = kimi_linear.published_config().attention_layers
    assert tuple(i + 1 for i in layers) == KIMI_ATTENTION
