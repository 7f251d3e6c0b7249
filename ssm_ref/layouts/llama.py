"""Layout of Llama as `transformers` stores it."""

from collections.abc import Mapping
from typing import Any

from torch import nn

from ssm_ref.attention.rope import RopeScaling
from ssm_ref.attention.transformer import AttentionConfig, Transformer, TransformerConfig
from ssm_ref.layouts.layout import Layout, Place, entry, renamed, require

ROPE = {  # their name of each setting, beside the kinds that have it
    "linear": {"factor": "factor"},
    "llama3": {
        "factor": "factor",
        "original_max_position_embeddings": "original_length",
        "low_freq_factor": "low_freq_factor",
        "high_freq_factor": "high_freq_factor",
    },
    "yarn": {
        "factor": "factor",
        "original_max_position_embeddings": "original_length",
        "beta_fast": "beta_fast",
        "beta_slow": "beta_slow",
        "truncate": "truncate",
        "attention_factor": "attention_factor",
    },
}


def _build(config: Mapping[str, Any]) -> nn.Module:
    require(config, {"hidden_act": "silu", "attention_bias": False, "mlp_bias": False})
    base, scaling = _rope(config)
    attention = AttentionConfig(
        d_model=entry(config, "hidden_size"),
        n_heads=entry(config, "num_attention_heads"),
        n_kv_heads=config.get("num_key_value_heads"),
        d_head=config.get("head_dim"),
        rope_base=base,
        rope_scaling=scaling,
    )
    return Transformer(
        TransformerConfig(
            vocab_size=entry(config, "vocab_size"),
            n_blocks=entry(config, "num_hidden_layers"),
            d_ff=entry(config, "intermediate_size"),
            attention=attention,
            norm_eps=config.get("rms_norm_eps", 1e-6),
            tie_embeddings=config.get("tie_word_embeddings", False),
        )
    )


def _rope(config: Mapping[str, Any]) -> tuple[float, RopeScaling | None]:
    """Base and scaling: in `rope_parameters`, or in `rope_theta` and `rope_scaling` before that."""
    given = dict(config.get("rope_parameters") or config.get("rope_scaling") or {})
    base = given.pop("rope_theta", None) or config.get("rope_theta", 10_000.0)
    kind = given.pop("rope_type", None) or given.get("type", "default")
    given.pop("type", None)
    require(given, {"partial_rotary_factor": 1.0, "mscale": None, "mscale_all_dim": None})
    if kind == "default":
        return base, None
    if kind not in ROPE:
        raise ValueError(
            f"config.json: rope_type must be one of {['default', *ROPE]}; got {kind!r}"
        )
    trained = config.get("original_max_position_embeddings")
    if trained is not None or "original_max_position_embeddings" not in given:
        trained = trained or config.get("max_position_embeddings", 2048)
        given["original_max_position_embeddings"] = trained
    names = ROPE[kind]
    known = {ours: given[theirs] for theirs, ours in names.items() if given.get(theirs) is not None}
    if "factor" not in known:
        raise ValueError(f"config.json: rope_type {kind!r} needs a factor; got {sorted(given)}")
    return base, RopeScaling(kind=kind, **known)


def _describe_rope(attention: AttentionConfig) -> dict[str, Any]:
    scaling = attention.rope_scaling
    if scaling is None:
        return {"rope_type": "default", "rope_theta": attention.rope_base}
    values = {theirs: getattr(scaling, ours) for theirs, ours in ROPE[scaling.kind].items()}
    values = {name: value for name, value in values.items() if value is not None}
    return {"rope_type": scaling.kind, "rope_theta": attention.rope_base, **values}


def _storable(model: nn.Module) -> bool:
    if not isinstance(model, Transformer):
        return False
    attention = model.transformer_cfg.attention
    one_width = attention.key_width == attention.head_width
    return attention.rope_base is not None and attention.window is None and one_width


def _describe(model: nn.Module) -> dict[str, Any]:
    if not isinstance(model, Transformer):
        raise ValueError(f"model must be a Transformer; got {type(model).__name__}")
    cfg, attention = model.transformer_cfg, model.transformer_cfg.attention
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": cfg.vocab_size,
        "hidden_size": attention.d_model,
        "num_hidden_layers": cfg.n_blocks,
        "intermediate_size": cfg.d_ff,
        "num_attention_heads": attention.n_heads,
        "num_key_value_heads": attention.kv_heads,
        "head_dim": attention.head_width,
        "rope_parameters": _describe_rope(attention),
        "rms_norm_eps": cfg.norm_eps,
        "tie_word_embeddings": cfg.tie_embeddings,
        "hidden_act": "silu",
        "attention_bias": False,
        "mlp_bias": False,
    }


def _places(model: nn.Module) -> dict[str, Place]:
    names = {"embedding.weight": "model.embed_tokens.weight", "norm.weight": "model.norm.weight"}
    kinds = (("input_layernorm", "self_attn"), ("post_attention_layernorm", "mlp"))
    for ours, _ in model.named_parameters():
        if ours == "head.weight":
            names[ours] = "lm_head.weight"
        elif ours.startswith("layers."):
            _, layer, part, rest = ours.split(".", 3)
            norm, branch = kinds[int(layer) % 2]
            names[ours] = (
                f"model.layers.{int(layer) // 2}.{norm if part == 'norm' else branch}.{rest}"
            )
    return renamed(model, names)


LLAMA = Layout(
    name="transformers llama",
    recognises=lambda config: config.get("model_type") == "llama",
    build=_build,
    describes=_storable,
    describe=_describe,
    places=_places,
    aliases={"lm_head.weight": "model.embed_tokens.weight"},
)
