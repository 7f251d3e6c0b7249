"""Layout of Jamba as `transformers` stores it, experts one by one."""

from collections.abc import Mapping
from typing import Any

from torch import nn

from ssm_ref.attention.transformer import AttentionConfig
from ssm_ref.hybrid.jamba import Jamba, JambaConfig
from ssm_ref.layouts.layout import Layout, Place, entry, require
from ssm_ref.selective.mamba import MambaConfig

PERIODS = ("attention_period", "attention_offset", "expert_period", "expert_offset")
THEIR_PERIODS = (
    "attn_layer_period",
    "attn_layer_offset",
    "expert_layer_period",
    "expert_layer_offset",
)
MAMBA = {
    "conv_weight": "conv1d.weight",
    "conv_bias": "conv1d.bias",
    "dt_bias": "dt_proj.bias",
    "ssm_norms.0.weight": "dt_layernorm.weight",
    "ssm_norms.1.weight": "b_layernorm.weight",
    "ssm_norms.2.weight": "c_layernorm.weight",
}
OUTER = {
    "embedding.weight": "model.embed_tokens.weight",
    "norm.weight": "model.final_layernorm.weight",
    "head.weight": "lm_head.weight",
}


def _build(config: Mapping[str, Any]) -> nn.Module:
    require(config, {"hidden_act": "silu", "sliding_window": None})
    d_model = entry(config, "hidden_size")
    norm_eps = config.get("rms_norm_eps", 1e-6)
    periods = (8, 4, 2, 1)
    return Jamba(
        JambaConfig(
            vocab_size=entry(config, "vocab_size"),
            n_blocks=entry(config, "num_hidden_layers"),
            d_ff=entry(config, "intermediate_size"),
            attention=AttentionConfig(
                d_model=d_model,
                n_heads=entry(config, "num_attention_heads"),
                n_kv_heads=config.get("num_key_value_heads"),
                rope_base=None,
            ),
            mamba=MambaConfig(
                d_model=d_model,
                d_state=config.get("mamba_d_state", 16),
                d_conv=config.get("mamba_d_conv", 4),
                expand=config.get("mamba_expand", 2),
                dt_rank=config.get("mamba_dt_rank", "auto"),
                conv_bias=config.get("mamba_conv_bias", True),
                bias=config.get("mamba_proj_bias", False),
                ssm_norm="learned",
                ssm_norm_eps=norm_eps,
            ),
            n_experts=config.get("num_experts", 16),
            top_k=config.get("num_experts_per_tok", 2),
            norm_eps=norm_eps,
            tie_embeddings=config.get("tie_word_embeddings", False),
            **{
                ours: config.get(theirs, default)
                for ours, theirs, default in zip(PERIODS, THEIR_PERIODS, periods, strict=True)
            },
        )
    )


def _describe(model: nn.Module) -> dict[str, Any]:
    if not isinstance(model, Jamba):
        raise ValueError(f"model must be a Jamba; got {type(model).__name__}")
    cfg = model.jamba_cfg
    return {
        "architectures": ["JambaForCausalLM"],
        "model_type": "jamba",
        "vocab_size": cfg.vocab_size,
        "hidden_size": cfg.attention.d_model,
        "intermediate_size": cfg.d_ff,
        "num_hidden_layers": cfg.n_blocks,
        "num_attention_heads": cfg.attention.n_heads,
        "num_key_value_heads": cfg.attention.kv_heads,
        "mamba_d_state": cfg.mamba.d_state,
        "mamba_d_conv": cfg.mamba.d_conv,
        "mamba_expand": cfg.mamba.expand,
        "mamba_dt_rank": cfg.mamba.rank,
        "mamba_conv_bias": cfg.mamba.conv_bias,
        "mamba_proj_bias": cfg.mamba.bias,
        "num_experts": cfg.n_experts,
        "num_experts_per_tok": cfg.top_k,
        "rms_norm_eps": cfg.norm_eps,
        "tie_word_embeddings": cfg.tie_embeddings,
        "hidden_act": "silu",
        **{theirs: getattr(cfg, ours) for ours, theirs in zip(PERIODS, THEIR_PERIODS, strict=True)},
    }


def _storable(model: nn.Module) -> bool:
    if not isinstance(model, Jamba):
        return False
    attention, mamba = model.jamba_cfg.attention, model.jamba_cfg.mamba
    plain = attention.rope_base is None and attention.window is None
    widths = {attention.d_model // attention.n_heads, attention.head_width, attention.key_width}
    one_eps = mamba.ssm_norm_eps == model.jamba_cfg.norm_eps
    return plain and len(widths) == 1 and mamba.ssm_norm == "learned" and one_eps


def _places(model: nn.Module) -> dict[str, Place]:
    if not isinstance(model, Jamba):
        raise ValueError(f"model must be a Jamba; got {type(model).__name__}")
    places: dict[str, Place] = {}
    for ours, parameter in model.named_parameters():
        shape = tuple(parameter.shape)
        if ours in OUTER:
            places[OUTER[ours]] = Place((ours,), shape)
            continue
        _, layer, part, rest = ours.split(".", 3)
        block, is_ffn = divmod(int(layer), 2)
        prefix = f"model.layers.{block}"
        mixer = "self_attn" if model.jamba_cfg.is_attention(block) else "mamba"
        if part == "norm":
            norm = "pre_ff_layernorm" if is_ffn else "input_layernorm"
            places[f"{prefix}.{norm}.{rest}"] = Place((ours,), shape)
        elif len(shape) == 3:
            for e in range(shape[0]):
                name = f"{prefix}.feed_forward.experts.{e}.{rest}.weight"
                places[name] = Place((ours,), shape[1:], e)
        else:
            name = f"{prefix}.{'feed_forward' if is_ffn else mixer}.{MAMBA.get(rest, rest)}"
            stored = (shape[0], 1, shape[1]) if rest == "conv_weight" else shape
            places[name] = Place((ours,), stored)
    return places


JAMBA = Layout(
    name="transformers jamba",
    recognises=lambda config: config.get("model_type") == "jamba",
    build=_build,
    describes=_storable,
    describe=_describe,
    places=_places,
    aliases={"lm_head.weight": "model.embed_tokens.weight"},
)
