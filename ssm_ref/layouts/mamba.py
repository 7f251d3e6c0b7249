"""Layouts of Mamba, Falcon-Mamba and Mamba-2 as `transformers` and the authors store them."""

import math
from collections.abc import Mapping
from typing import Any, TypeGuard

from torch import nn

from ssm_ref.language_model import LanguageModelConfig
from ssm_ref.layouts.layout import Layout, Place, entry, renamed, require
from ssm_ref.selective.mamba import MambaConfig, MambaLanguageModel
from ssm_ref.selective.mamba2 import Mamba2Config, Mamba2LanguageModel

ONLY = {"hidden_act": "silu", "rms_norm": True}
AUTHORS_NORM_EPS = 1e-5  # no entry of their config.json says so
# Entries of the authors' ssm_cfg: ours by theirs, what changes cost or start alone, and what we
# have one value for.
AUTHORS = {
    "d_state": "d_state",
    "d_conv": "d_conv",
    "expand": "expand",
    "conv_bias": "conv_bias",
    "bias": "bias",
    "dt_min": "dt_min",
    "dt_max": "dt_max",
    "dt_init_floor": "dt_floor",
}
AUTHORS_MAMBA = AUTHORS | {"dt_rank": "dt_rank"}
AUTHORS_MAMBA2 = AUTHORS | {
    "headdim": "d_head",
    "ngroups": "n_groups",
    "dt_limit": "dt_limit",
    "A_init_range": "A_range",
}
AUTHORS_COST = (
    "chunk_size",
    "use_fast_path",
    "use_mem_eff_path",
    "dt_init",
    "dt_scale",
    "conv_init",
)
AUTHORS_ONLY = {
    "d_ssm": None,
    "D_has_hdim": False,
    "rmsnorm": True,
    "norm_before_gate": False,
    "activation": "swish",
    "process_group": None,
}
TRANSFORMERS_ALIAS = {"lm_head.weight": "backbone.embeddings.weight"}
AUTHORS_ALIAS = {"lm_head.weight": "backbone.embedding.weight"}


def places(model: nn.Module, embedding: str) -> dict[str, Place]:
    """Places under the names both sources share; only the embedding is called differently."""
    names: dict[str, str] = {}
    for ours, _ in model.named_parameters():
        theirs = ours.replace(".branch.", ".mixer.").replace(".conv_", ".conv1d.")
        if isinstance(model, MambaLanguageModel):
            theirs = theirs.replace("dt_bias", "dt_proj.bias")
        names[ours] = f"backbone.{theirs}"
    names["embedding.weight"] = f"backbone.{embedding}.weight"
    names["norm.weight"] = "backbone.norm_f.weight"
    if "head.weight" in names:
        names["head.weight"] = "lm_head.weight"
    found = renamed(model, names)
    for theirs, place in found.items():
        if theirs.endswith("conv1d.weight"):
            channels, taps = place.shape
            found[theirs] = Place(place.parts, (channels, 1, taps))
    return found


def _shell(config: Mapping[str, Any], *, tied_by_default: bool) -> LanguageModelConfig:
    return LanguageModelConfig(
        vocab_size=entry(config, "vocab_size"),
        d_model=entry(config, "hidden_size"),
        n_layers=entry(config, "num_hidden_layers"),
        pad_vocab_to=1,
        norm_eps=config.get("layer_norm_epsilon", 1e-5),
        residual_in_fp32=config.get("residual_in_fp32", True),
        tie_embeddings=config.get("tie_word_embeddings", tied_by_default),
    )


def _describe_shell(cfg: LanguageModelConfig, model_type: str, architecture: str) -> dict[str, Any]:
    return {
        "architectures": [architecture],
        "model_type": model_type,
        "vocab_size": cfg.padded_vocab_size,
        "hidden_size": cfg.d_model,
        "num_hidden_layers": cfg.n_layers,
        "layer_norm_epsilon": cfg.norm_eps,
        "residual_in_fp32": cfg.residual_in_fp32,
        "tie_word_embeddings": cfg.tie_embeddings,
        "hidden_act": "silu",
    }


def _build_mamba(config: Mapping[str, Any]) -> nn.Module:
    require(config, ONLY)
    falcon = config["model_type"] == "falcon_mamba"
    shell = _shell(config, tied_by_default=True)
    block = MambaConfig(
        d_model=shell.d_model,
        d_state=entry(config, "state_size"),
        d_conv=config.get("conv_kernel", 4),
        expand=_expand(config, shell.d_model),
        dt_rank=config.get("time_step_rank", "auto"),
        conv_bias=config.get("use_conv_bias", True),
        bias=config.get("use_bias", False),
        ssm_norm="plain" if falcon else "none",
        ssm_norm_eps=config.get("mixer_rms_eps", 1e-6),
    )
    return MambaLanguageModel(shell, block)


def _expand(config: Mapping[str, Any], d_model: int) -> int:
    expand = config.get("expand", 2)
    if config.get("intermediate_size", expand * d_model) != expand * d_model:
        raise ValueError(
            f"config.json: intermediate_size must be expand · hidden_size = {expand * d_model}; "
            f"got {config['intermediate_size']}"
        )
    if expand != int(expand):
        raise ValueError(f"config.json: expand must be a whole number; got {expand}")
    return int(expand)


def _describe_mamba(model: nn.Module) -> dict[str, Any]:
    shell, block = _configs(model, MambaLanguageModel)
    falcon = block.ssm_norm == "plain"
    kind = ("falcon_mamba", "FalconMambaForCausalLM") if falcon else ("mamba", "MambaForCausalLM")
    return _describe_shell(shell, *kind) | {
        "state_size": block.d_state,
        "conv_kernel": block.d_conv,
        "expand": block.expand,
        "intermediate_size": block.d_inner,
        "time_step_rank": block.rank,
        "use_conv_bias": block.conv_bias,
        "use_bias": block.bias,
        **({"mixer_rms_eps": block.ssm_norm_eps} if falcon else {}),
    }


def _configs(model: nn.Module, kind: type[nn.Module]) -> tuple[LanguageModelConfig, Any]:
    if not isinstance(model, MambaLanguageModel | Mamba2LanguageModel):
        raise ValueError(f"model must be a {kind.__name__}; got {type(model).__name__}")
    return model.cfg, model.block_cfg


def _build_mamba2(config: Mapping[str, Any]) -> nn.Module:
    shell = _shell(config, tied_by_default=False)
    d_head = entry(config, "head_dim")
    expand = _expand(config, shell.d_model)
    require(config, ONLY | {"num_heads": expand * shell.d_model // d_head})
    low, high = config.get("time_step_limit", (0.0, math.inf))
    block = Mamba2Config(
        d_model=shell.d_model,
        d_state=entry(config, "state_size"),
        d_conv=config.get("conv_kernel", 4),
        expand=expand,
        d_head=d_head,
        n_groups=entry(config, "n_groups"),
        dt_limit=(_number(low), _number(high)),
        conv_bias=config.get("use_conv_bias", True),
        bias=config.get("use_bias", False),
        norm_eps=shell.norm_eps,
    )
    return Mamba2LanguageModel(shell, block)


def _number(value: Any) -> float:
    """A float that JSON may hold as {"__float__": "Infinity"}, as `transformers` writes it."""
    return float(value["__float__"] if isinstance(value, Mapping) else value)


def _describe_mamba2(model: nn.Module) -> dict[str, Any]:
    shell, block = _configs(model, Mamba2LanguageModel)
    low, high = block.dt_limit
    if high == math.inf:
        high = {"__float__": "Infinity"}
    return _describe_shell(shell, "mamba2", "Mamba2ForCausalLM") | {
        "state_size": block.d_state,
        "conv_kernel": block.d_conv,
        "expand": block.expand,
        "head_dim": block.d_head,
        "num_heads": block.n_heads,
        "n_groups": block.n_groups,
        "time_step_limit": [low, high],
        "use_conv_bias": block.conv_bias,
        "use_bias": block.bias,
    }


def _build_authors(config: Mapping[str, Any]) -> nn.Module:
    require(config, {"attn_layer_idx": [], "rms_norm": True, "d_intermediate": 0})
    shell = LanguageModelConfig(
        vocab_size=entry(config, "vocab_size"),
        d_model=entry(config, "d_model"),
        n_layers=entry(config, "n_layer"),
        pad_vocab_to=config.get("pad_vocab_size_multiple", 8),
        residual_in_fp32=config.get("residual_in_fp32", True),
        tie_embeddings=config.get("tie_embeddings", True),
    )
    options = dict(config.get("ssm_cfg") or {})
    kind = options.pop("layer", "Mamba1")
    if kind == "Mamba1":
        return MambaLanguageModel(
            shell, _options(MambaConfig, shell.d_model, options, AUTHORS_MAMBA)
        )
    return Mamba2LanguageModel(
        shell, _options(Mamba2Config, shell.d_model, options, AUTHORS_MAMBA2)
    )


def _options(kind: Any, d_model: int, options: dict[str, Any], names: dict[str, str]) -> Any:
    """A block's config from `ssm_cfg`; an option we do not know is an error, not ignored."""
    require(options, AUTHORS_ONLY)
    if unknown := options.keys() - {*names, *AUTHORS_ONLY, *AUTHORS_COST}:
        raise ValueError(f"config.json: ssm_cfg has unsupported options {sorted(unknown)}")
    given = {ours: options[theirs] for theirs, ours in names.items() if theirs in options}
    given |= {name: tuple(value) for name, value in given.items() if isinstance(value, list)}
    return kind(d_model=d_model, **given)


def _describe_authors(model: nn.Module) -> dict[str, Any]:
    shell, block = _configs(model, MambaLanguageModel)
    options = {"d_state": block.d_state, "d_conv": block.d_conv, "expand": block.expand}
    if isinstance(block, Mamba2Config):
        options |= {"layer": "Mamba2", "headdim": block.d_head, "ngroups": block.n_groups}
        if block.dt_limit != (0.0, math.inf):
            options["dt_limit"] = list(block.dt_limit)
    else:
        options |= {"layer": "Mamba1", "dt_rank": block.rank}
    return {
        "d_model": shell.d_model,
        "d_intermediate": 0,
        "n_layer": shell.n_layers,
        "vocab_size": shell.vocab_size,
        "ssm_cfg": options | {"conv_bias": block.conv_bias, "bias": block.bias},
        "attn_layer_idx": [],
        "attn_cfg": {},
        "rms_norm": True,
        "residual_in_fp32": shell.residual_in_fp32,
        "fused_add_norm": True,
        "pad_vocab_size_multiple": shell.pad_vocab_to,
        "tie_embeddings": shell.tie_embeddings,
    }


def _is_authors(config: Mapping[str, Any]) -> bool:
    kind = (config.get("ssm_cfg") or {}).get("layer", "Mamba1")
    return "d_model" in config and "n_layer" in config and kind in ("Mamba1", "Mamba2")


def _storable_by_authors(model: nn.Module) -> bool:
    if isinstance(model, MambaLanguageModel):
        return model.block_cfg.ssm_norm == "none" and model.cfg.norm_eps == AUTHORS_NORM_EPS
    return _one_eps(model) and model.cfg.norm_eps == AUTHORS_NORM_EPS


def _one_eps(model: nn.Module) -> TypeGuard[Mamba2LanguageModel]:
    """Whether a Mamba-2 has one ε in all of its norms: no layout holds two."""
    return isinstance(model, Mamba2LanguageModel) and (
        model.block_cfg.norm_eps == model.cfg.norm_eps
    )


TRANSFORMERS_MAMBA = Layout(
    name="transformers mamba",
    recognises=lambda config: config.get("model_type") in ("mamba", "falcon_mamba"),
    build=_build_mamba,
    describes=lambda model: (
        isinstance(model, MambaLanguageModel) and model.block_cfg.ssm_norm != "learned"
    ),
    describe=_describe_mamba,
    places=lambda model: places(model, "embeddings"),
    aliases=TRANSFORMERS_ALIAS,
)

TRANSFORMERS_MAMBA2 = Layout(
    name="transformers mamba2",
    recognises=lambda config: config.get("model_type") == "mamba2",
    build=_build_mamba2,
    describes=_one_eps,
    describe=_describe_mamba2,
    places=lambda model: places(model, "embeddings"),
    aliases=TRANSFORMERS_ALIAS,
)

STATE_SPACES = Layout(
    name="state-spaces",
    recognises=_is_authors,
    build=_build_authors,
    describes=_storable_by_authors,
    describe=_describe_authors,
    places=lambda model: places(model, "embedding"),
    aliases=AUTHORS_ALIAS,
)
