"""Layout of Nemotron-H as `transformers` stores it; models with experts are not of it."""

import math
from collections.abc import Mapping
from typing import Any

from torch import nn

from ssm_ref.attention.transformer import AttentionConfig
from ssm_ref.hybrid.nemotron_h import NemotronH, NemotronHConfig
from ssm_ref.layouts.layout import Layout, Place, entry, renamed, require
from ssm_ref.selective.mamba2 import Mamba2Config

KINDS = {"M": "linear_attention", "*": "full_attention", "-": "mlp", "E": "moe"}
OLD_KINDS = {"mamba": "M", "attention": "*"}
OUTER = {
    "embedding.weight": "backbone.embeddings.weight",
    "norm.weight": "backbone.norm_f.weight",
    "head.weight": "lm_head.weight",
}
ONLY = {
    "attention_bias": False,
    "mlp_bias": False,
    "use_bias": False,
    "mamba_proj_bias": False,
    "mlp_hidden_act": "relu2",
    "mamba_hidden_act": "silu",
    "sliding_window": None,
}


def _pattern(config: Mapping[str, Any]) -> str:
    if "hybrid_override_pattern" in config:
        return str(config["hybrid_override_pattern"])
    letters = {kind: letter for letter, kind in KINDS.items()} | OLD_KINDS
    return "".join(letters.get(kind, "?") for kind in entry(config, "layers_block_type"))


def _build(config: Mapping[str, Any]) -> nn.Module:
    require(config, ONLY)
    d_model, eps = entry(config, "hidden_size"), config.get("layer_norm_epsilon", 1e-5)
    d_head = entry(config, "mamba_head_dim")
    d_inner = entry(config, "mamba_num_heads") * d_head
    if d_inner % d_model:
        raise ValueError(
            f"config.json: mamba_num_heads · mamba_head_dim = {d_inner} must be a multiple of "
            f"hidden_size = {d_model}"
        )
    attention = AttentionConfig(
        d_model=d_model,
        n_heads=entry(config, "num_attention_heads"),
        n_kv_heads=config.get("num_key_value_heads"),
        d_head=config.get("head_dim"),
        rope_base=None,
    )
    mamba = Mamba2Config(
        d_model=d_model,
        d_state=entry(config, "ssm_state_size"),
        d_conv=config.get("conv_kernel", 4),
        expand=d_inner // d_model,
        d_head=d_head,
        n_groups=entry(config, "n_groups"),
        conv_bias=config.get("use_conv_bias", True),
        norm_eps=eps,
    )
    return NemotronH(
        NemotronHConfig(
            vocab_size=entry(config, "vocab_size"),
            pattern=_pattern(config),
            d_ff=entry(config, "intermediate_size"),
            attention=attention,
            mamba=mamba,
            norm_eps=eps,
            tie_embeddings=config.get("tie_word_embeddings", False),
        )
    )


def _describe(model: nn.Module) -> dict[str, Any]:
    if not isinstance(model, NemotronH):
        raise ValueError(f"model must be a NemotronH; got {type(model).__name__}")
    cfg = model.nemotron_cfg
    return ONLY | {
        "architectures": ["NemotronHForCausalLM"],
        "model_type": "nemotron_h",
        "vocab_size": cfg.vocab_size,
        "hidden_size": cfg.mamba.d_model,
        "layers_block_type": [KINDS[letter] for letter in cfg.pattern],
        "intermediate_size": cfg.d_ff,
        "num_attention_heads": cfg.attention.n_heads,
        "num_key_value_heads": cfg.attention.kv_heads,
        "head_dim": cfg.attention.head_width,
        "ssm_state_size": cfg.mamba.d_state,
        "mamba_num_heads": cfg.mamba.n_heads,
        "mamba_head_dim": cfg.mamba.d_head,
        "n_groups": cfg.mamba.n_groups,
        "conv_kernel": cfg.mamba.d_conv,
        "expand": cfg.mamba.expand,
        "use_conv_bias": cfg.mamba.conv_bias,
        "layer_norm_epsilon": cfg.norm_eps,
        "tie_word_embeddings": cfg.tie_embeddings,
        # transformers clamps Δ from below by this in its full path, never in its steps.
        "time_step_min": 1e-30,
    }


def _storable(model: nn.Module) -> bool:
    if not isinstance(model, NemotronH):
        return False
    cfg = model.nemotron_cfg
    attention, mamba = cfg.attention, cfg.mamba
    plain = attention.rope_base is None and attention.window is None
    one_width, one_eps = attention.key_width == attention.head_width, mamba.norm_eps == cfg.norm_eps
    free = mamba.dt_limit == (0.0, math.inf) and not mamba.bias
    return plain and one_width and one_eps and free


def _places(model: nn.Module) -> dict[str, Place]:
    names = {}
    for ours, _ in model.named_parameters():
        theirs = ours.replace(".branch.", ".mixer.").replace(".conv_", ".conv1d.")
        names[ours] = OUTER.get(ours, f"backbone.{theirs}")
    found = renamed(model, names)
    for theirs, place in found.items():
        if theirs.endswith("conv1d.weight"):
            channels, taps = place.shape
            found[theirs] = Place(place.parts, (channels, 1, taps))
    return found


NEMOTRON_H = Layout(
    name="transformers nemotron_h",
    recognises=lambda config: config.get("model_type") == "nemotron_h",
    build=_build,
    describes=_storable,
    describe=_describe,
    places=_places,
    aliases={"lm_head.weight": "backbone.embeddings.weight"},
)
