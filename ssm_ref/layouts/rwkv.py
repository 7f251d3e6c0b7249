"""Layout of RWKV-4 as `transformers` stores it."""

from collections.abc import Mapping
from typing import Any

from torch import nn

from ssm_ref.layouts.layout import Layout, Place, entry, renamed, require
from ssm_ref.linear_attention.rwkv4 import RWKV4, RWKV4Config

OUTER = {
    "embedding.weight": "rwkv.embeddings.weight",
    "head.weight": "head.weight",
    "input_norm.weight": "rwkv.blocks.0.pre_ln.weight",
    "input_norm.bias": "rwkv.blocks.0.pre_ln.bias",
    "norm.weight": "rwkv.ln_out.weight",
    "norm.bias": "rwkv.ln_out.bias",
}


def _build(config: Mapping[str, Any]) -> nn.Module:
    d_model = entry(config, "hidden_size")
    require(config, {"tie_word_embeddings": False})
    if config.get("attention_hidden_size") not in (None, d_model):
        raise ValueError(
            f"config.json: attention_hidden_size must be hidden_size = {d_model}; "
            f"got {config['attention_hidden_size']}"
        )
    return RWKV4(
        RWKV4Config(
            vocab_size=entry(config, "vocab_size"),
            d_model=d_model,
            n_blocks=entry(config, "num_hidden_layers"),
            d_ff=config.get("intermediate_size"),
            norm_eps=config.get("layer_norm_epsilon", 1e-5),
        )
    )


def _describe(model: nn.Module) -> dict[str, Any]:
    if not isinstance(model, RWKV4):
        raise ValueError(f"model must be an RWKV4; got {type(model).__name__}")
    cfg = model.rwkv_cfg
    return {
        "architectures": ["RwkvForCausalLM"],
        "model_type": "rwkv",
        "vocab_size": cfg.vocab_size,
        "hidden_size": cfg.d_model,
        "attention_hidden_size": cfg.d_model,
        "num_hidden_layers": cfg.n_blocks,
        "intermediate_size": cfg.ff_width,
        "layer_norm_epsilon": cfg.norm_eps,
        "tie_word_embeddings": False,
    }


def _places(model: nn.Module) -> dict[str, Place]:
    names = dict(OUTER)
    kinds = (("ln1", "attention"), ("ln2", "feed_forward"))
    for ours, _ in model.named_parameters():
        if ours.startswith("layers."):
            _, layer, part, rest = ours.split(".", 3)
            norm, branch = kinds[int(layer) % 2]
            rest = rest.replace("mix_", "time_mix_")
            inner = norm if part == "norm" else branch
            names[ours] = f"rwkv.blocks.{int(layer) // 2}.{inner}.{rest}"
    found = renamed(model, names)
    for theirs, place in found.items():
        if ".time_mix_" in theirs:
            found[theirs] = Place(place.parts, (1, 1, *place.shape))
    return found


RWKV = Layout(
    name="transformers rwkv",
    recognises=lambda config: config.get("model_type") == "rwkv",
    build=_build,
    describes=lambda model: isinstance(model, RWKV4),
    describe=_describe,
    places=_places,
)
