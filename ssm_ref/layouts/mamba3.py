"""Layout of Mamba-3, alone or with a gated MLP after every mixer, as its authors store it."""

from collections.abc import Mapping
from typing import Any

from torch import nn

from ssm_ref.language_model import LanguageModelConfig
from ssm_ref.layouts.layout import Layout, Place, entry, require
from ssm_ref.selective.mamba3 import Mamba3Config, Mamba3LanguageModel

MLP_MULTIPLE = 128  # the authors round the hidden width up to this
NORM_EPS = 1e-5
OUTER = {
    "embedding.weight": "backbone.embedding.weight",
    "norm.weight": "backbone.norm_f.weight",
    "head.weight": "lm_head.weight",
}
NAMES = {"headdim": "d_head", "ngroups": "n_groups", "is_outproj_norm": "out_norm"}
PLAIN = ("d_state", "expand", "rope_fraction", "A_floor")
COST_ONLY = ("chunk_size", "fuse_pregate_headwise_norm", "dropout", "dt_min", "dt_max")


def _build(config: Mapping[str, Any]) -> nn.Module:
    require(config, {"attn_layer_idx": [], "rms_norm": True})
    d_ff = -(-config.get("d_intermediate", 0) // MLP_MULTIPLE) * MLP_MULTIPLE
    shell = LanguageModelConfig(
        vocab_size=entry(config, "vocab_size"),
        d_model=entry(config, "d_model"),
        n_layers=entry(config, "n_layer") * (2 if d_ff else 1),
        pad_vocab_to=config.get("pad_vocab_size_multiple", 8),
        residual_in_fp32=config.get("residual_in_fp32", True),
        tie_embeddings=config.get("tie_embeddings", True),
    )
    return Mamba3LanguageModel(shell, _block(shell.d_model, config["ssm_cfg"]), d_ff=d_ff)


def _block(d_model: int, given: Mapping[str, Any]) -> Mamba3Config:
    options = {k: v for k, v in given.items() if k not in ("layer", *COST_ONLY)}
    rank = options.pop("mimo_rank", 4)
    rank = rank if options.pop("is_mimo", False) else None
    if "dt_init_floor" in options:
        options["dt_floor"] = options.pop("dt_init_floor")
    if unknown := options.keys() - {*NAMES, *PLAIN, "dt_floor"}:
        raise ValueError(f"config.json: ssm_cfg has unsupported options {sorted(unknown)}")
    known = {NAMES.get(name, name): value for name, value in options.items()}
    return Mamba3Config(d_model=d_model, mimo_rank=rank, **known)


def _describe(model: nn.Module) -> dict[str, Any]:
    if not isinstance(model, Mamba3LanguageModel):
        raise ValueError(f"model must be a Mamba3LanguageModel; got {type(model).__name__}")
    shell, block = model.cfg, model.block_cfg
    options = {name: getattr(block, ours) for name, ours in NAMES.items()}
    options |= {name: getattr(block, name) for name in PLAIN}
    return {
        "d_model": shell.d_model,
        "d_intermediate": model.d_ff,
        "n_layer": shell.n_layers // (2 if model.d_ff else 1),
        "vocab_size": shell.vocab_size,
        "ssm_cfg": options
        | {"layer": "Mamba3", "is_mimo": block.mimo_rank is not None, "mimo_rank": block.rank},
        "attn_layer_idx": [],
        "attn_cfg": {},
        "rms_norm": True,
        "residual_in_fp32": shell.residual_in_fp32,
        "fused_add_norm": True,
        "pad_vocab_size_multiple": shell.pad_vocab_to,
        "tie_embeddings": shell.tie_embeddings,
    }


def _storable(model: nn.Module) -> bool:
    if not isinstance(model, Mamba3LanguageModel):
        return False
    as_published = model.block_cfg.A_activation == "heavy_tail" and model.cfg.norm_eps == NORM_EPS
    return model.d_ff % MLP_MULTIPLE == 0 and as_published


def _places(model: nn.Module) -> dict[str, Place]:
    """Mixers under `mixer`, SwiGLU under `norm2` and `mlp`, its two inputs stacked: up, gate."""
    if not isinstance(model, Mamba3LanguageModel):
        raise ValueError(f"model must be a Mamba3LanguageModel; got {type(model).__name__}")
    places: dict[str, Place] = {}
    for ours, parameter in model.named_parameters():
        shape = tuple(parameter.shape)
        if ours in OUTER:
            places[OUTER[ours]] = Place((ours,), shape)
            continue
        _, layer, part, rest = ours.split(".", 3)
        block, is_mlp = divmod(int(layer), 2) if model.d_ff else (int(layer), 0)
        prefix = f"backbone.layers.{block}"
        if part == "norm":
            places[f"{prefix}.{'norm2' if is_mlp else 'norm'}.{rest}"] = Place((ours,), shape)
        elif not is_mlp:
            name = "norm.weight" if rest == "norm_weight" else rest
            places[f"{prefix}.mixer.{name}"] = Place((ours,), shape)
        elif rest == "down_proj.weight":
            places[f"{prefix}.mlp.fc2.weight"] = Place((ours,), shape)
        elif rest == "up_proj.weight":
            both = (ours, ours.replace("up_proj", "gate_proj"))
            places[f"{prefix}.mlp.fc1.weight"] = Place(both, (2 * shape[0], shape[1]))
    return places


MAMBA3 = Layout(
    name="state-spaces mamba3",
    recognises=lambda config: (config.get("ssm_cfg") or {}).get("layer") == "Mamba3",
    build=_build,
    describes=_storable,
    describe=_describe,
    places=_places,
    aliases={"lm_head.weight": "backbone.embedding.weight"},
)
