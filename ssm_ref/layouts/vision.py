"""Layouts of Vision Mamba and Audio Mamba under the names of their published weights.

Both were published as pickles, which are refused: once converted to safetensors (without a leading
"module.") they load from beside a config.json whose entries are the arguments of the published
classes.
"""

from collections.abc import Mapping
from typing import Any

from torch import nn

from ssm_ref.audio.audio_mamba import AudioMamba, AudioMambaConfig
from ssm_ref.layouts.layout import Layout, Place, entry, renamed, require
from ssm_ref.vision.bidirectional_mamba import Sharing
from ssm_ref.vision.vision_mamba import VisionMamba, VisionMambaConfig

SHARING: dict[str, Sharing] = {"v1": "shared", "v2": "separate"}
ONLY = {
    "rms_norm": True,
    "norm_epsilon": 1e-5,
    "if_cls_token": True,
    "use_middle_cls_token": True,
    "use_double_cls_token": False,
    "if_abs_pos_embed": True,
    "if_rope": False,
    "if_bidirectional": False,
    "init_layer_scale": None,
}
AUDIO_ONLY = {"use_end_cls_token": False, "transpose_token_sequence": False}


def _pair(value: Any) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else (int(value[0]), int(value[1]))


def _sharing(config: Mapping[str, Any], default: str) -> Sharing:
    kind = config.get("bimamba_type", default)
    if kind not in SHARING:
        raise ValueError(f"config.json: bimamba_type must be one of {[*SHARING]}; got {kind!r}")
    require(config, ONLY | {"if_divide_out": kind == "v2"})
    return SHARING[kind]


def _sizes(config: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "patch": _pair(config.get("patch_size", 16)),
        "d_model": entry(config, "embed_dim"),
        "n_layer": entry(config, "depth"),
        "n_classes": entry(config, "num_classes"),
        "d_state": config.get("d_state", 16),
        "drop_path": config.get("drop_path_rate", 0.0),
    }


def _describe_sizes(cfg: VisionMambaConfig) -> dict[str, Any]:
    kinds = {sharing: kind for kind, sharing in SHARING.items()}
    return ONLY | {
        "patch_size": list(cfg.patch),
        "embed_dim": cfg.d_model,
        "depth": cfg.n_layer,
        "num_classes": cfg.n_classes,
        "d_state": cfg.d_state,
        "drop_path_rate": cfg.drop_path,
        "bimamba_type": kinds[cfg.sharing],
        "if_divide_out": cfg.sharing == "separate",
    }


def _build_vim(config: Mapping[str, Any]) -> nn.Module:
    stride = config.get("stride")
    return VisionMamba(
        VisionMambaConfig(
            image=_pair(config.get("img_size", 224)),
            stride=None if stride is None else _pair(stride),
            channels=config.get("channels", 3),
            sharing=_sharing(config, "v2"),
            **_sizes(config),
        )
    )


def _describe_vim(model: nn.Module) -> dict[str, Any]:
    cfg = _picture(model).cfg
    own = {"img_size": list(cfg.image), "stride": list(cfg.steps), "channels": cfg.channels}
    return {"model_type": "vim", "architectures": ["VisionMamba"]} | _describe_sizes(cfg) | own


def _build_aum(config: Mapping[str, Any]) -> nn.Module:
    mels, frames = _pair(config.get("spectrogram_size", (128, 1024)))
    sizes = _sizes(config)
    require(config, AUDIO_ONLY | {"channels": 1, "strides": list(sizes["patch"])})
    values = {name: config[name] for name in ("mean", "std") if name in config}
    sharing = _sharing(config, "v1")
    if sharing == "separate":  # the class spells it so, and does not ask it of shared weights
        require(config, {"if_devide_out": True})
    return AudioMamba(
        AudioMambaConfig(n_mels=mels, frames=frames, sharing=sharing, **sizes, **values)
    )


def _describe_aum(model: nn.Module) -> dict[str, Any]:
    if not isinstance(model, AudioMamba):
        raise ValueError(f"model must be an AudioMamba; got {type(model).__name__}")
    cfg = model.cfg
    own = {
        "spectrogram_size": [cfg.n_mels, cfg.frames],
        "strides": list(cfg.patch),
        "channels": 1,
        "if_devide_out": cfg.sharing == "separate",
        "mean": cfg.mean,
        "std": cfg.std,
    }
    kind = {"model_type": "audio_mamba", "architectures": ["AudioMamba"]}
    return kind | _describe_sizes(cfg.picture) | own


def _places_of_vim(model: nn.Module) -> dict[str, Place]:
    return renamed(model, {name: name for name, _ in model.named_parameters()})


def _places_of_aum(model: nn.Module) -> dict[str, Place]:
    """As Vision Mamba's, but positions have the class token's row first, wherever it stands."""
    names = {name: name.removeprefix("picture.") for name, _ in model.named_parameters()}
    names["picture.pos_embed"] = "pos_embed.pos_embed"
    found = renamed(model, names)
    place, middle = found["pos_embed.pos_embed"], _picture(model).cfg.middle
    others = [i for i in range(place.shape[1]) if i != middle]
    found["pos_embed.pos_embed"] = Place(place.parts, place.shape, order=(middle, *others))
    return found


def _picture(model: nn.Module) -> VisionMamba:
    picture = model.picture if isinstance(model, AudioMamba) else model
    if not isinstance(picture, VisionMamba):
        raise ValueError(f"model must be a VisionMamba; got {type(model).__name__}")
    return picture


VIM = Layout(
    name="vim",
    recognises=lambda config: config.get("model_type") == "vim",
    build=_build_vim,
    describes=lambda model: isinstance(model, VisionMamba),
    describe=_describe_vim,
    places=_places_of_vim,
)

AUDIO_MAMBA = Layout(
    name="audio mamba",
    recognises=lambda config: config.get("model_type") == "audio_mamba",
    build=_build_aum,
    describes=lambda model: isinstance(model, AudioMamba),
    describe=_describe_aum,
    places=_places_of_aum,
)
