"""Data and models of pictures, with or without text, by the names that a config gives them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

from ssm_ref.language_model import LanguageModelConfig
from ssm_ref.selective.mamba import MambaConfig
from ssm_ref.training.brain import BrainSlices, PixelClassifier, PixelClassifierConfig
from ssm_ref.training.canvases import Canvases, Detector
from ssm_ref.training.captions import CaptionedDigits, PictureReader, PictureReaderConfig
from ssm_ref.training.noisy_pictures import NoisyPictures, PackedDiS
from ssm_ref.training.pictures import MNIST, LinearPicture, LinearPictureConfig
from ssm_ref.vision.detection import FCOS, FCOSConfig
from ssm_ref.vision.dis import DiS, DiSConfig
from ssm_ref.vision.segmentation import VMUNet, VMUNetConfig
from ssm_ref.vision.vmamba import VMamba, VMambaConfig

DATA: Mapping[str, type[Any]] = {
    "mnist": MNIST,
    "brain_slices": BrainSlices,
    "canvases": Canvases,
    "noisy_pictures": NoisyPictures,
    "captioned_digits": CaptionedDigits,
}


@dataclass(frozen=True, kw_only=True, slots=True)
class AnySize:
    """The size of pictures for a model that reads all sizes and has no use for it."""

    image: tuple[int, int]


# The config classes of each model and the call that takes them in order.
MODELS: Mapping[str, tuple[tuple[type[Any], ...], Callable[..., nn.Module]]] = {
    "vmamba": ((VMambaConfig, AnySize), lambda cfg, _: VMamba(cfg)),
    "linear_picture": ((LinearPictureConfig,), LinearPicture),
    "vm_unet": ((VMUNetConfig,), VMUNet),
    "pixel_classifier": ((PixelClassifierConfig,), PixelClassifier),
    "fcos": ((VMambaConfig, FCOSConfig), lambda body, cfg: Detector(FCOS(body, cfg))),
    "multimodal_mamba": ((LanguageModelConfig, MambaConfig, PictureReaderConfig), PictureReader),
    "dis": ((DiSConfig,), lambda cfg: PackedDiS(DiS(cfg))),
}
