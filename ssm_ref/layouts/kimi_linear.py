"""Layout of Kimi Linear as published and as `transformers` stores it."""

from collections.abc import Mapping
from typing import Any

from torch import nn

from ssm_ref.hybrid.kimi_linear import KimiLinear, KimiLinearConfig, LatentAttentionConfig
from ssm_ref.hybrid.moe import MoEConfig
from ssm_ref.layouts.layout import Layout, Place, entry, require
from ssm_ref.linear_attention.kda import KDAConfig

ONLY = {
    "hidden_act": "silu",
    "q_lora_rank": None,
    "attention_bias": False,
    "num_expert_group": 1,
    "num_shared_experts": 1,
    "moe_renormalize": True,
    "tie_word_embeddings": False,
}
OUTER = {
    "embedding.weight": "model.embed_tokens.weight",
    "norm.weight": "model.norm.weight",
    "head.weight": "lm_head.weight",
}
NORMS = ("input_layernorm", "post_attention_layernorm")
EXPERT = {"gate_proj": "w1", "up_proj": "w3", "down_proj": "w2"}
THEIRS = {
    "f_proj.0.weight": "f_a_proj.weight",
    "f_proj.1.weight": "f_b_proj.weight",
    "g_proj.0.weight": "g_a_proj.weight",
    "g_proj.1.weight": "g_b_proj.weight",
    "norm.weight": "o_norm.weight",
    "kv_a_proj.weight": "kv_a_proj_with_mqa.weight",
    "kv_norm.weight": "kv_a_layernorm.weight",
    "router.weight": "gate.weight",
    "choice_bias": "gate.e_score_correction_bias",
}


def _kinds(config: Mapping[str, Any], n_blocks: int) -> tuple[tuple[int, ...], int, list[int]]:
    """Layers with attention, number of dense blocks, and heads, width and taps of KDA."""
    names = ("linear_num_heads", "linear_head_dim", "linear_conv_kernel_dim")
    if "linear_attn_config" in config:  # as published, layers counted from 1
        given = config["linear_attn_config"]
        attention = tuple(sorted(i - 1 for i in given["full_attn_layers"]))
        sizes = [given["num_heads"], given["head_dim"], given["short_conv_kernel_size"]]
        return attention, config.get("first_k_dense_replace", 1), sizes
    kinds = entry(config, "layer_types")
    attention = tuple(i for i, kind in enumerate(kinds) if kind == "full_attention")
    ffn = entry(config, "mlp_layer_types")
    n_dense = ffn.count("dense")
    require(config, {"mlp_layer_types": ["dense"] * n_dense + ["sparse"] * (n_blocks - n_dense)})
    return attention, n_dense, [entry(config, name) for name in names]


def _build(config: Mapping[str, Any]) -> nn.Module:
    require(config, ONLY)
    d, eps = entry(config, "hidden_size"), config.get("rms_norm_eps", 1e-5)
    n_blocks = entry(config, "num_hidden_layers")
    attention_layers, n_dense, (heads, d_head, taps) = _kinds(config, n_blocks)
    d_expert = entry(config, "moe_intermediate_size")
    return KimiLinear(
        KimiLinearConfig(
            vocab_size=entry(config, "vocab_size"),
            n_blocks=n_blocks,
            attention_layers=attention_layers,
            attention=LatentAttentionConfig(
                d_model=d,
                n_heads=entry(config, "num_attention_heads"),
                rank=entry(config, "kv_lora_rank"),
                d_shared=entry(config, "qk_rope_head_dim"),
                d_key=entry(config, "qk_nope_head_dim"),
                d_value=entry(config, "v_head_dim"),
            ),
            delta=KDAConfig(d_model=d, n_heads=heads, d_head=d_head, d_conv=taps, norm_eps=eps),
            experts=MoEConfig(
                d_model=d,
                d_ff=d_expert,
                n_experts=entry(config, "num_experts"),
                top_k=entry(config, "num_experts_per_token"),
                renormalize=True,
            ),
            d_ff=entry(config, "intermediate_size"),
            d_shared=d_expert,
            n_dense=n_dense,
            routed_scale=config.get("routed_scaling_factor", 1.0),
            norm_eps=eps,
        )
    )


def _describe(model: nn.Module) -> dict[str, Any]:
    if not isinstance(model, KimiLinear):
        raise ValueError(f"model must be a KimiLinear; got {type(model).__name__}")
    cfg, attention, delta = model.kimi_cfg, model.kimi_cfg.attention, model.kimi_cfg.delta
    kinds = {"*": "full_attention", "K": "linear_attention"}
    ffn = {"-": "dense", "E": "sparse"}
    return ONLY | {
        "architectures": ["KimiLinearForCausalLM"],
        "model_type": "kimi_linear",
        "vocab_size": cfg.vocab_size,
        "hidden_size": delta.d_model,
        "num_hidden_layers": cfg.n_blocks,
        "layer_types": [kinds[letter] for letter in cfg.pattern[0::2]],
        "mlp_layer_types": [ffn[letter] for letter in cfg.pattern[1::2]],
        "num_attention_heads": attention.n_heads,
        "num_key_value_heads": attention.n_heads,
        "kv_lora_rank": attention.rank,
        "qk_rope_head_dim": attention.d_shared,
        "qk_nope_head_dim": attention.d_key,
        "v_head_dim": attention.d_value,
        "linear_num_heads": delta.n_heads,
        "linear_head_dim": delta.d_head,
        "linear_conv_kernel_dim": delta.d_conv,
        "num_experts": cfg.experts.n_experts,
        "num_experts_per_token": cfg.experts.top_k,
        "intermediate_size": cfg.d_ff,
        "moe_intermediate_size": cfg.experts.d_ff,
        "routed_scaling_factor": cfg.routed_scale,
        "topk_group": 1,
        # transformers' own defaults lie outside a small vocabulary
        "pad_token_id": None,
        "bos_token_id": None,
        "eos_token_id": None,
        "rms_norm_eps": cfg.norm_eps,
    }


def _storable(model: nn.Module) -> bool:
    if not isinstance(model, KimiLinear):
        return False
    cfg = model.kimi_cfg
    return cfg.d_shared == cfg.experts.d_ff and not cfg.delta.negative_eigenvalues


def _mixer_places(prefix: str, ours: str, rest: str, shape: tuple[int, ...]) -> dict[str, Place]:
    if rest == "conv_weight":  # one convolution here, three there
        c = shape[0] // 3
        return {
            f"{prefix}.{name}_conv1d.weight": Place(
                (ours,), (c, 1, shape[1]), rows=(slice(i * c, (i + 1) * c),)
            )
            for i, name in enumerate("qkv")
        }
    stored = (1, 1, *shape, 1) if rest == "A_log" else shape
    return {f"{prefix}.{THEIRS.get(rest, rest)}": Place((ours,), stored)}


def _ffn_places(prefix: str, ours: str, rest: str, shape: tuple[int, ...]) -> dict[str, Place]:
    if len(shape) == 3:
        return {
            f"{prefix}.experts.{e}.{EXPERT[rest]}.weight": Place((ours,), shape[1:], e)
            for e in range(shape[0])
        }
    theirs = THEIRS.get(rest, rest.replace("expert.", "shared_experts."))
    return {f"{prefix}.{theirs}": Place((ours,), shape)}


def _places(model: nn.Module) -> dict[str, Place]:
    places: dict[str, Place] = {}
    for ours, parameter in model.named_parameters():
        shape = tuple(parameter.shape)
        if ours in OUTER:
            places[OUTER[ours]] = Place((ours,), shape)
            continue
        _, layer, part, rest = ours.split(".", 3)
        block, is_ffn = divmod(int(layer), 2)
        prefix = f"model.layers.{block}"
        if part == "norm":
            places[f"{prefix}.{NORMS[is_ffn]}.{rest}"] = Place((ours,), shape)
        elif is_ffn:
            places |= _ffn_places(f"{prefix}.block_sparse_moe", ours, rest, shape)
        else:
            places |= _mixer_places(f"{prefix}.self_attn", ours, rest, shape)
    return places


KIMI_LINEAR = Layout(
    name="transformers kimi_linear",
    recognises=lambda config: config.get("model_type") == "kimi_linear",
    build=_build,
    describes=_storable,
    describe=_describe,
    places=_places,
)
