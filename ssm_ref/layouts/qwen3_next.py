"""Layout of Qwen3-Next as `transformers` stores it.

Its code keeps q, k, v and the gate of Gated DeltaNet in one matrix, ordered by heads of keys, and
the two numbers a head in another.
"""

from collections.abc import Mapping
from typing import Any

from torch import nn

from ssm_ref.hybrid.moe import MoEConfig
from ssm_ref.hybrid.qwen3_next import GatedAttentionConfig, Qwen3Next, Qwen3NextConfig
from ssm_ref.layouts.layout import Layout, Place, entry, require
from ssm_ref.linear_attention.gated_deltanet import GatedDeltaNetConfig

ONLY = {
    "hidden_act": "silu",
    "attention_bias": False,
    "norm_topk_prob": True,
    "decoder_sparse_step": 1,
    "mlp_only_layers": [],
}
OUTER = {
    "embedding.weight": "model.embed_tokens.weight",
    "norm.weight": "model.norm.weight",
    "head.weight": "lm_head.weight",
}
NORMS = ("input_layernorm", "post_attention_layernorm")
DELTA = {
    "A_log": "A_log",
    "dt_bias": "dt_bias",
    "norm.weight": "norm.weight",
    "o_proj.weight": "out_proj.weight",
}
EXPERTS = {
    "moe.router.weight": "gate.weight",
    "gate.weight": "shared_expert_gate.weight",
    "expert.gate_proj.weight": "shared_expert.gate_proj.weight",
    "expert.up_proj.weight": "shared_expert.up_proj.weight",
    "expert.down_proj.weight": "shared_expert.down_proj.weight",
}


def _build(config: Mapping[str, Any]) -> nn.Module:
    require(config, ONLY)
    rope = config.get("rope_parameters") or {}
    require(rope, {"rope_type": "default"})
    d, eps = entry(config, "hidden_size"), config.get("rms_norm_eps", 1e-6)
    d_head, key_width = entry(config, "head_dim"), entry(config, "linear_key_head_dim")
    turned = rope.get("partial_rotary_factor", config.get("partial_rotary_factor", 0.25))
    cfg = Qwen3NextConfig(
        vocab_size=entry(config, "vocab_size"),
        n_blocks=entry(config, "num_hidden_layers"),
        attention=GatedAttentionConfig(
            d_model=d,
            n_heads=entry(config, "num_attention_heads"),
            n_kv_heads=entry(config, "num_key_value_heads"),
            d_head=d_head,
            rope_dims=int(d_head * turned),
            rope_base=rope.get("rope_theta", config.get("rope_theta", 10_000.0)),
            norm_eps=eps,
        ),
        delta=GatedDeltaNetConfig(
            d_model=d,
            n_heads=entry(config, "linear_num_key_heads"),
            d_head=key_width,
            expand_v=entry(config, "linear_value_head_dim") / key_width,
            n_value_heads=entry(config, "linear_num_value_heads"),
            d_conv=config.get("linear_conv_kernel_dim", 4),
            norm_eps=eps,
        ),
        experts=MoEConfig(
            d_model=d,
            d_ff=entry(config, "moe_intermediate_size"),
            n_experts=entry(config, "num_experts"),
            top_k=entry(config, "num_experts_per_tok"),
            renormalize=True,
        ),
        d_shared=entry(config, "shared_expert_intermediate_size"),
        attention_every=config.get("full_attention_interval", 4),
        norm_eps=eps,
        tie_embeddings=config.get("tie_word_embeddings", False),
    )
    require(config, {"layer_types": _layer_types(cfg)})
    return Qwen3Next(cfg)


def _layer_types(cfg: Qwen3NextConfig) -> list[str]:
    kinds = ("linear_attention", "full_attention")
    return [kinds[cfg.is_attention(i)] for i in range(cfg.n_blocks)]


def _describe(model: nn.Module) -> dict[str, Any]:
    if not isinstance(model, Qwen3Next):
        raise ValueError(f"model must be a Qwen3Next; got {type(model).__name__}")
    cfg, attention, delta = model.qwen_cfg, model.qwen_cfg.attention, model.qwen_cfg.delta
    heads, key_width, value_width = delta.state_shape
    return ONLY | {
        "architectures": ["Qwen3NextForCausalLM"],
        "model_type": "qwen3_next",
        "vocab_size": cfg.vocab_size,
        "hidden_size": delta.d_model,
        "num_hidden_layers": cfg.n_blocks,
        "layer_types": _layer_types(cfg),
        "full_attention_interval": cfg.attention_every,
        "num_attention_heads": attention.n_heads,
        "num_key_value_heads": attention.n_kv_heads,
        "head_dim": attention.d_head,
        "rope_parameters": {
            "rope_type": "default",
            "rope_theta": attention.rope_base,
            "partial_rotary_factor": attention.rope_dims / attention.d_head,
        },
        "linear_num_key_heads": delta.n_heads,
        "linear_num_value_heads": heads,
        "linear_key_head_dim": key_width,
        "linear_value_head_dim": value_width,
        "linear_conv_kernel_dim": delta.d_conv,
        "num_experts": cfg.experts.n_experts,
        "num_experts_per_tok": cfg.experts.top_k,
        "moe_intermediate_size": cfg.experts.d_ff,
        "shared_expert_intermediate_size": cfg.d_shared,
        "rms_norm_eps": cfg.norm_eps,
        "tie_word_embeddings": cfg.tie_embeddings,
    }


def _storable(model: nn.Module) -> bool:
    if not isinstance(model, Qwen3Next):
        return False
    cfg = model.qwen_cfg
    return cfg.experts.renormalize and not cfg.delta.negative_eigenvalues


def _by_key_head(prefix: str, d: int, groups: int, widths: dict[str, int]) -> Place:
    """One stored matrix that holds, key head by key head, the rows of several maps."""
    parts = [(f"{prefix}.{name}.weight", w) for name, w in widths.items()] * groups
    places = [g for g in range(groups) for _ in widths]
    rows = tuple(slice(g * w, (g + 1) * w) for g, (_, w) in zip(places, parts, strict=True))
    return Place(tuple(n for n, _ in parts), (groups * sum(widths.values()), d), rows=rows)


def _delta_places(prefix: str, ours: str, cfg: GatedDeltaNetConfig) -> dict[str, Place]:
    heads, n, p = cfg.state_shape
    d, groups, r = cfg.d_model, cfg.n_heads, heads // cfg.n_heads
    channels = (sum(cfg.widths), 1, cfg.d_conv)
    qkvz = {"q_proj": n, "k_proj": n, "v_proj": r * p, "g_proj": r * p}
    return {
        f"{prefix}.in_proj_qkvz.weight": _by_key_head(ours, d, groups, qkvz),
        f"{prefix}.in_proj_ba.weight": _by_key_head(ours, d, groups, {"b_proj": r, "a_proj": r}),
        f"{prefix}.conv1d.weight": Place((f"{ours}.conv_weight",), channels),
    }


def _places(model: nn.Module) -> dict[str, Place]:
    if not isinstance(model, Qwen3Next):
        raise ValueError(f"model must be a Qwen3Next; got {type(model).__name__}")
    cfg, places = model.qwen_cfg, dict[str, Place]()
    for ours, parameter in model.named_parameters():
        shape = tuple(parameter.shape)
        if ours in OUTER:
            places[OUTER[ours]] = Place((ours,), shape)
            continue
        _, layer, part, rest = ours.split(".", 3)
        block, is_experts = divmod(int(layer), 2)
        prefix = f"model.layers.{block}"
        if part == "norm":
            places[f"{prefix}.{NORMS[is_experts]}.{rest}"] = Place((ours,), shape)
        elif len(shape) == 3:
            for e in range(shape[0]):
                name = f"{prefix}.mlp.experts.{e}.{rest.removeprefix('moe.')}.weight"
                places[name] = Place((ours,), shape[1:], e)
        elif is_experts:
            places[f"{prefix}.mlp.{EXPERTS[rest]}"] = Place((ours,), shape)
        elif cfg.is_attention(block):
            places[f"{prefix}.self_attn.{rest}"] = Place((ours,), shape)
        elif rest in DELTA:
            places[f"{prefix}.linear_attn.{DELTA[rest]}"] = Place((ours,), shape)
    for block in range(cfg.n_blocks):
        if not cfg.is_attention(block):
            theirs, ours = f"model.layers.{block}.linear_attn", f"layers.{2 * block}.branch"
            places |= _delta_places(theirs, ours, cfg.delta)
    return places


QWEN3_NEXT = Layout(
    name="transformers qwen3_next",
    recognises=lambda config: config.get("model_type") == "qwen3_next",
    build=_build,
    describes=_storable,
    describe=_describe,
    places=_places,
    aliases={"lm_head.weight": "model.embed_tokens.weight"},
)
