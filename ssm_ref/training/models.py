"""Models by name: each reads the fields of its own configs from the `[model]` table.

`name` is one of `MODELS`; the other keys are fields of the classes named there, and what follows
from the data (the vocabulary, the image, the classes) is filled in. `name = "pattern"` assembles
residual branches from the letters of `ssm_ref.hybrid.modular`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from ssm_ref.attention.transformer import SwiGLU, Transformer, TransformerConfig
from ssm_ref.hybrid.falcon_h1 import FalconH1, FalconH1Config
from ssm_ref.hybrid.hymba import Hymba, HymbaConfig
from ssm_ref.hybrid.jamba import Jamba, JambaConfig
from ssm_ref.hybrid.kimi_linear import KimiLinear, KimiLinearConfig
from ssm_ref.hybrid.modular import Sizes, build, standard_parts
from ssm_ref.hybrid.nemotron_h import NemotronH, NemotronHConfig
from ssm_ref.hybrid.qwen3_next import Qwen3Next, Qwen3NextConfig
from ssm_ref.hybrid.samba import Samba, SambaConfig
from ssm_ref.hybrid.zamba2 import Zamba2, Zamba2Config
from ssm_ref.language_model import LanguageModel, LanguageModelConfig
from ssm_ref.linear_attention.deltanet import DeltaNet, DeltaNetConfig, delta_rule_chunked
from ssm_ref.linear_attention.rwkv4 import RWKV4, RWKV4Config
from ssm_ref.linear_attention.rwkv7 import RWKV7, RWKV7Config
from ssm_ref.selective.mamba import Mamba, MambaConfig, MambaLanguageModel
from ssm_ref.selective.mamba2 import Mamba2, Mamba2Config, Mamba2LanguageModel
from ssm_ref.selective.mamba3 import Mamba3Config, Mamba3LanguageModel
from ssm_ref.selective.signed_scan import signed_selective_scan, signed_selective_scan_step
from ssm_ref.structured.s4 import S4, S4Config
from ssm_ref.structured.s4d import S4D, S4DConfig
from ssm_ref.structured.s5 import S5, S5Config
from ssm_ref.training import beyond_language, vision
from ssm_ref.training.ranks import Ranks
from ssm_ref.training.reading import close_to, convert, read_together
from ssm_ref.training.sequence_split import mamba2_operators, mamba_operators
from ssm_ref.vision.vision_mamba import VisionMamba, VisionMambaConfig


class StructuredBranch(nn.Module):
    """An S4, S4D or S5 layer as a residual branch of `ssm_ref.language_model`."""

    def __init__(self, layer: S4 | S4D | S5) -> None:
        super().__init__()
        self.layer = layer

    def allocate_state(self, batch: int) -> Tensor:
        """The state of an empty past: half of it, for the conjugates follow."""
        channels = () if isinstance(self.layer, S5) else (self.layer.cfg.d_model,)
        shape = (batch, *channels, self.layer.cfg.d_state // 2)
        return torch.zeros(shape, dtype=torch.complex64, device=self.layer.D.device)

    def forward(self, u: Tensor) -> Tensor:
        """The layer from an empty past."""
        if isinstance(self.layer, S4):
            return self.layer.outputs(u)
        y: Tensor = self.layer(u)[0]
        return y

    def prefill(self, u: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """The layer after the past in `state`, and the state after it."""
        y, state = self.layer(u, state)
        return y, state

    def step(self, u: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """One more token."""
        return self.layer.step(u, state)


@dataclass(frozen=True, kw_only=True, slots=True)
class ChannelMixers:
    """With `d_ff`, every second of the `n_layers` is a SwiGLU of that width."""

    d_ff: int | None = None


def _delta_net(
    shell: LanguageModelConfig, layer: DeltaNetConfig, mixers: ChannelMixers
) -> LanguageModel:
    def branch(i: int) -> nn.Module:
        mixes = mixers.d_ff is not None and i % 2
        return (
            SwiGLU(shell.d_model, mixers.d_ff or 0)
            if mixes
            else DeltaNet(layer, scan=delta_rule_chunked)
        )

    return LanguageModel(shell, branch)


@dataclass(frozen=True, slots=True)
class Kind:
    """How a named model is made: its config classes and the call that takes them in order."""

    configs: tuple[type[Any], ...]
    make: Callable[..., nn.Module]
    # Operators that split the sequence over ranks, for the models that have them.
    split: Callable[[Ranks], dict[str, Any]] | None = None


MODELS: Mapping[str, Kind] = {
    "mamba": Kind((LanguageModelConfig, MambaConfig), MambaLanguageModel, mamba_operators),
    "signed_mamba": Kind(  # eigenvalues in (-1, 1)
        (LanguageModelConfig, MambaConfig),
        partial(
            MambaLanguageModel, scan=signed_selective_scan, scan_step=signed_selective_scan_step
        ),
    ),
    "mamba2": Kind((LanguageModelConfig, Mamba2Config), Mamba2LanguageModel, mamba2_operators),
    "mamba3": Kind((LanguageModelConfig, Mamba3Config), Mamba3LanguageModel),
    "transformer": Kind((TransformerConfig,), Transformer),
    "s4": Kind(
        (LanguageModelConfig, S4Config),
        lambda shell, layer: LanguageModel(shell, lambda _: StructuredBranch(S4(layer))),
    ),
    "s4d": Kind(
        (LanguageModelConfig, S4DConfig),
        lambda shell, layer: LanguageModel(shell, lambda _: StructuredBranch(S4D(layer))),
    ),
    "s5": Kind(
        (LanguageModelConfig, S5Config),
        lambda shell, layer: LanguageModel(shell, lambda _: StructuredBranch(S5(layer))),
    ),
    "deltanet": Kind((LanguageModelConfig, DeltaNetConfig, ChannelMixers), _delta_net),
    "rwkv4": Kind((RWKV4Config,), RWKV4),
    "rwkv7": Kind((RWKV7Config,), RWKV7),
    "jamba": Kind((JambaConfig,), Jamba),
    "hymba": Kind((HymbaConfig,), Hymba),
    "zamba2": Kind((Zamba2Config,), Zamba2),
    "samba": Kind((SambaConfig,), Samba),
    "falcon_h1": Kind((FalconH1Config,), FalconH1),
    "nemotron_h": Kind((NemotronHConfig,), NemotronH),
    "qwen3_next": Kind((Qwen3NextConfig,), Qwen3Next),
    "kimi_linear": Kind((KimiLinearConfig,), KimiLinear),
    "vision_mamba": Kind((VisionMambaConfig,), VisionMamba),
    **{name: Kind(cfgs, make) for name, (cfgs, make) in vision.MODELS.items()},
    **{name: Kind((cfg,), make) for name, (cfg, make) in beyond_language.MODELS.items()},
}


def build_model(
    table: Mapping[str, Any], where: str, sizes: Mapping[str, Any], ranks: Ranks | None = None
) -> nn.Module:
    """The model that `table` describes, for data of `sizes`; its sequence split over `ranks`.

    Raises `ValueError` naming the key for an unknown model, key or value, for a model that does not
    read such data, and for one whose sequence cannot be split.
    """
    options = dict(table)
    name = options.pop("name", None)
    if name == "pattern":
        return _build_pattern(options, where, sizes, ranks)
    if name not in MODELS:
        known = close_to(str(name), [*MODELS, "pattern"])
        raise ValueError(f"{where}.name = {name!r}: no such model; {known}")
    kind = MODELS[name]
    unfit = [key for key in sizes if all(key not in c.__dataclass_fields__ for c in kind.configs)]
    if unfit:
        raise ValueError(
            f"{where}.name = {name!r}: the data give {', '.join(sizes)}, "
            f"and this model has no {', '.join(unfit)}"
        )
    configs = read_together(kind.configs, options, where, sizes)
    if ranks is None:
        return kind.make(*configs)
    if kind.split is None:
        splitting = ", ".join(name for name, kind in MODELS.items() if kind.split)
        raise ValueError(
            f"{where}.name = {name!r}: the sequence can be split over ranks for {splitting} "
            "and patterns of M, 2, - and E"
        )
    return kind.make(*configs, **kind.split(ranks))


def _build_pattern(
    options: dict[str, Any], where: str, sizes: Mapping[str, Any], ranks: Ranks | None
) -> nn.Module:
    pattern = convert(str, options.pop("pattern", None), f"{where}.pattern")
    if "vocab_size" not in sizes:
        raise ValueError(f"{where}.name = 'pattern' reads tokens; the data give {', '.join(sizes)}")
    given = {**sizes, "n_layers": len(pattern)}
    shell, parts = read_together((LanguageModelConfig, Sizes), options, where, given)
    made = standard_parts(parts)
    if ranks is not None:
        mamba2 = Mamba2Config(d_model=shell.d_model, d_state=parts.d_state, d_head=parts.d_head)
        one: Any = mamba_operators(ranks)
        two: Any = mamba2_operators(ranks)
        split: dict[str, Callable[[], nn.Module]] = {
            "M": partial(Mamba, MambaConfig(d_model=shell.d_model), **one),
            "2": partial(Mamba2, mamba2, **two),
        }
        made = {letter: made[letter] for letter in "-E"} | split
    try:
        return build(pattern, shell, made)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error
