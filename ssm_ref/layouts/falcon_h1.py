"""Layout of Falcon-H1 as `transformers` stores it."""

import math
from collections.abc import Mapping
from typing import Any

from torch import nn

from ssm_ref.attention.transformer import AttentionConfig
from ssm_ref.hybrid.falcon_h1 import FalconH1, FalconH1Config, Multipliers, WideMamba2Config
from ssm_ref.layouts.layout import Layout, Place, entry, renamed, require

ONLY = {
    "hidden_act": "silu",
    "attention_bias": False,
    "mlp_bias": False,
    "mamba_proj_bias": False,
    "projectors_bias": False,
}
FACTORS = {
    "ssm_in": "ssm_in_multiplier",
    "ssm": "ssm_multipliers",
    "ssm_out": "ssm_out_multiplier",
    "attention_in": "attention_in_multiplier",
    "key": "key_multiplier",
    "attention_out": "attention_out_multiplier",
    "mlp": "mlp_multipliers",
    "embedding": "embedding_multiplier",
    "logits": "lm_head_multiplier",
}
OUTER = {
    "embedding.weight": "model.embed_tokens.weight",
    "norm.weight": "model.final_layernorm.weight",
    "head.weight": "lm_head.weight",
}
KINDS = (("input_layernorm", ""), ("pre_ff_layernorm", "feed_forward."))


def _build(config: Mapping[str, Any]) -> nn.Module:
    require(config, ONLY)
    rope = config.get("rope_parameters") or {}
    require(rope, {"rope_type": "default"})
    require(config, {"rope_scaling": None})
    d_model, eps = entry(config, "hidden_size"), config.get("rms_norm_eps", 1e-5)
    d_ssm = config.get("mamba_d_ssm") or config.get("mamba_expand", 2) * d_model
    factors: dict[str, Any] = {
        ours: tuple(config[theirs]) if isinstance(config[theirs], list) else config[theirs]
        for ours, theirs in FACTORS.items()
        if config.get(theirs) is not None
    }
    return FalconH1(
        FalconH1Config(
            vocab_size=entry(config, "vocab_size"),
            n_blocks=entry(config, "num_hidden_layers"),
            d_ff=entry(config, "intermediate_size"),
            attention=AttentionConfig(
                d_model=d_model,
                n_heads=entry(config, "num_attention_heads"),
                n_kv_heads=config.get("num_key_value_heads"),
                d_head=config.get("head_dim"),
                rope_base=rope.get("rope_theta", config.get("rope_theta", 10_000.0)),
            ),
            mamba=WideMamba2Config(
                d_model=d_model,
                d_ssm=d_ssm,
                d_state=entry(config, "mamba_d_state"),
                d_conv=config.get("mamba_d_conv", 4),
                d_head=d_ssm // entry(config, "mamba_n_heads"),
                n_groups=config.get("mamba_n_groups", 1),
                conv_bias=config.get("mamba_conv_bias", True),
                norm_eps=eps,
            ),
            multipliers=Multipliers(**factors),
            gated_norm=config.get("mamba_rms_norm", False),
            norm_before_gate=config.get("mamba_norm_before_gate", True),
            norm_eps=eps,
            tie_embeddings=config.get("tie_word_embeddings", False),
        )
    )


def _describe(model: nn.Module) -> dict[str, Any]:
    if not isinstance(model, FalconH1):
        raise ValueError(f"model must be a FalconH1; got {type(model).__name__}")
    cfg, attention, mamba = model.falcon_cfg, model.falcon_cfg.attention, model.falcon_cfg.mamba
    factors = {theirs: getattr(cfg.multipliers, ours) for ours, theirs in FACTORS.items()}
    factors = {name: list(f) if isinstance(f, tuple) else f for name, f in factors.items()}
    return (
        ONLY
        | factors
        | {
            "architectures": ["FalconH1ForCausalLM"],
            "model_type": "falcon_h1",
            "vocab_size": cfg.vocab_size,
            "hidden_size": mamba.d_model,
            "intermediate_size": cfg.d_ff,
            "num_hidden_layers": cfg.n_blocks,
            "num_attention_heads": attention.n_heads,
            "num_key_value_heads": attention.kv_heads,
            "head_dim": attention.head_width,
            "rope_parameters": {"rope_type": "default", "rope_theta": attention.rope_base},
            "mamba_d_ssm": mamba.d_ssm,
            "mamba_n_heads": mamba.n_heads,
            "mamba_d_head": mamba.d_head,
            "mamba_n_groups": mamba.n_groups,
            "mamba_d_state": mamba.d_state,
            "mamba_d_conv": mamba.d_conv,
            "mamba_conv_bias": mamba.conv_bias,
            "mamba_rms_norm": cfg.gated_norm,
            "mamba_norm_before_gate": cfg.norm_before_gate,
            "rms_norm_eps": cfg.norm_eps,
            "tie_word_embeddings": cfg.tie_embeddings,
        }
    )


def _storable(model: nn.Module) -> bool:
    if not isinstance(model, FalconH1):
        return False
    attention, mamba = model.falcon_cfg.attention, model.falcon_cfg.mamba
    plain = attention.rope_base is not None and attention.window is None
    plain = plain and attention.rope_scaling is None and attention.key_width == attention.head_width
    one_eps = mamba.norm_eps == model.falcon_cfg.norm_eps
    return plain and one_eps and not mamba.bias and mamba.dt_limit == (0.0, math.inf)


def _places(model: nn.Module) -> dict[str, Place]:
    names = {}
    for ours, _ in model.named_parameters():
        if ours in OUTER:
            names[ours] = OUTER[ours]
            continue
        _, layer, part, rest = ours.split(".", 3)
        norm, branch = KINDS[int(layer) % 2]
        rest = rest.replace("attention.", "self_attn.").replace("conv_", "conv1d.")
        place = f"{norm}.{rest}" if part == "norm" else f"{branch}{rest}"
        names[ours] = f"model.layers.{int(layer) // 2}.{place}"
    found = renamed(model, names)
    for theirs, place_of in found.items():
        if theirs.endswith("conv1d.weight"):
            channels, taps = place_of.shape
            found[theirs] = Place(place_of.parts, (channels, 1, taps))
    return found


FALCON_H1 = Layout(
    name="transformers falcon_h1",
    recognises=lambda config: config.get("model_type") == "falcon_h1",
    build=_build,
    describes=_storable,
    describe=_describe,
    places=_places,
    aliases={"lm_head.weight": "model.embed_tokens.weight"},
)
