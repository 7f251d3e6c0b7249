"""Layout of Zamba2 as `transformers` stores it: a shared block under the layer that calls first."""

import math
from collections.abc import Mapping
from typing import Any

from torch import nn

from ssm_ref.hybrid.zamba2 import Zamba2, Zamba2Config
from ssm_ref.layouts.layout import Layout, Place, entry, renamed, require
from ssm_ref.selective.mamba2 import Mamba2Config

ONLY = {"hidden_act": "gelu", "add_bias_linear": False, "use_long_context": False}
SHARED = {
    "norm": "input_layernorm",
    "mlp_norm": "pre_ff_layernorm",
    "o_proj": "self_attn.o_proj",
    "down_proj": "feed_forward.down_proj",
    "gate_up_proj": "feed_forward.gate_up_proj",
    "q_proj": "self_attn.q_proj",
    "k_proj": "self_attn.k_proj",
    "v_proj": "self_attn.v_proj",
}
ADAPTERS = {
    "gate_up_proj": "feed_forward.gate_up_proj_adapter_list",
    "q_proj": "self_attn.linear_q_adapter_list",
    "k_proj": "self_attn.linear_k_adapter_list",
    "v_proj": "self_attn.linear_v_adapter_list",
}
OUTER = {
    "embedding.weight": "model.embed_tokens.weight",
    "norm.weight": "model.final_layernorm.weight",
}


def _build(config: Mapping[str, Any]) -> nn.Module:
    heads = entry(config, "num_attention_heads")
    only = ONLY | {"num_key_value_heads": heads, "tie_word_embeddings": True}
    require(config, only)
    rope = config.get("rope_parameters") or {}
    require(rope, {"rope_type": "default"})
    d_model, expand = entry(config, "hidden_size"), config.get("mamba_expand", 2)
    kinds = entry(config, "layers_block_type")
    base = rope.get("rope_theta", config.get("rope_theta", 10_000.0))
    return Zamba2(
        Zamba2Config(
            vocab_size=entry(config, "vocab_size"),
            n_layers=len(kinds),
            hybrid_layers=tuple(i for i, kind in enumerate(kinds) if kind == "hybrid"),
            n_heads=heads,
            d_ff=config.get("intermediate_size") or 4 * d_model,
            mamba=Mamba2Config(
                d_model=d_model,
                d_state=config.get("mamba_d_state", 64),
                d_conv=config.get("mamba_d_conv", 4),
                expand=expand,
                d_head=expand * d_model // entry(config, "n_mamba_heads"),
                n_groups=config.get("mamba_ngroups", 1),
            ),
            n_shared=config.get("num_mem_blocks", 1),
            adapter_rank=config.get("adapter_rank", 128),
            adapt_attention=config.get("use_shared_attention_adapter", False),
            rope_base=base if config.get("use_mem_rope", False) else None,
            norm_eps=config.get("rms_norm_eps", 1e-5),
        )
    )


def _describe(model: nn.Module) -> dict[str, Any]:
    if not isinstance(model, Zamba2):
        raise ValueError(f"model must be a Zamba2; got {type(model).__name__}")
    cfg, mamba = model.zamba_cfg, model.zamba_cfg.mamba
    hybrid = set(cfg.hybrid_layers)
    return ONLY | {
        "architectures": ["Zamba2ForCausalLM"],
        "model_type": "zamba2",
        "vocab_size": cfg.vocab_size,
        "hidden_size": cfg.d_model,
        "num_hidden_layers": cfg.n_layers,
        "layers_block_type": [
            "hybrid" if i in hybrid else "linear_attention" for i in range(cfg.n_layers)
        ],
        "num_attention_heads": cfg.n_heads,
        "num_key_value_heads": cfg.n_heads,
        "intermediate_size": cfg.d_ff,
        "mamba_d_state": mamba.d_state,
        "mamba_d_conv": mamba.d_conv,
        "mamba_expand": mamba.expand,
        "n_mamba_heads": mamba.n_heads,
        "mamba_ngroups": mamba.n_groups,
        "num_mem_blocks": cfg.n_shared,
        "adapter_rank": cfg.adapter_rank,
        "use_shared_attention_adapter": cfg.adapt_attention,
        "use_mem_rope": cfg.rope_base is not None,
        "rope_parameters": {"rope_type": "default", "rope_theta": cfg.rope_base or 10_000.0},
        "rms_norm_eps": cfg.norm_eps,
        "tie_word_embeddings": True,
        # transformers clamps Δ from below by this in its full path, never in its steps.
        "time_step_min": 1e-30,
    }


def _storable(model: nn.Module) -> bool:
    if not isinstance(model, Zamba2):
        return False
    mamba = model.zamba_cfg.mamba
    free = mamba.dt_limit == (0.0, math.inf)
    return mamba.conv_bias and not mamba.bias and mamba.norm_eps == 1e-5 and free


def _shared_name(rest: str) -> str:
    """Name of a shared parameter below `shared_transformer`: `norm.weight`, `q_proj.adapters.…`"""
    part, _, tail = rest.partition(".")
    if tail.startswith("adapters."):
        return f"{ADAPTERS[part]}.{tail.removeprefix('adapters.')}"
    return f"{SHARED[part]}.{tail}"


def _places(model: nn.Module) -> dict[str, Place]:
    if not isinstance(model, Zamba2):
        raise ValueError(f"model must be a Zamba2; got {type(model).__name__}")
    hybrid = model.zamba_cfg.hybrid_layers
    names = dict(OUTER)
    for ours, _ in model.named_parameters():
        if ours in OUTER:
            continue
        kind, index, rest = ours.split(".", 2)
        if kind == "shared":
            prefix = f"model.layers.{hybrid[int(index)]}.shared_transformer"
            names[ours] = f"{prefix}.{_shared_name(rest)}"
        elif kind == "links":
            names[ours] = f"model.layers.{hybrid[int(index)]}.linear.{rest}"
        else:
            inner = "mamba_decoder." if int(index) in hybrid else ""
            rest = rest.replace("conv_", "conv1d.")
            rest = rest.replace("branch.", "mamba.", 1) if rest.startswith("branch.") else rest
            rest = f"input_layernorm.{rest.removeprefix('norm.')}" if rest[:5] == "norm." else rest
            names[ours] = f"model.layers.{index}.{inner}{rest}"
    found = renamed(model, names)
    for theirs, place in found.items():
        if theirs.endswith("conv1d.weight"):
            channels, taps = place.shape
            found[theirs] = Place(place.parts, (channels, 1, taps))
    return found


ZAMBA2 = Layout(
    name="transformers zamba2",
    recognises=lambda config: config.get("model_type") == "zamba2",
    build=_build,
    describes=_storable,
    describe=_describe,
    places=_places,
    aliases={"lm_head.weight": "model.embed_tokens.weight"},
)
