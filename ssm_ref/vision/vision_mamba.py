"""Vision Mamba (Vim): an image as a row of patches, read from both ends.

    t_0 = [patches before the middle; class token; patches after it] + positions    (1)
    t_i = t_{i-1} + mixer_i(norm_i(t_{i-1})),  i = 1 … n_layer                       (2)
    logits = W norm(t_n)[middle] + b                                                 (3)

A patch is a square of pixels under one convolution, patches follow in rows, and the class token
stands in the middle, so that both directions of the mixer pass it. mixer is
`bidirectional_mamba`, norm is RMS normalisation.

Source: Zhu et al., Vision Mamba: Efficient Visual Representation Learning with Bidirectional State
Space Model, ICML 2024, arXiv:2401.09417, section 3. Parameters have the names of the official
weights, for which 16-pixel patches of 224-pixel images, 24 layers and halved sums are fixed.
"""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ssm_ref.expect import expect_counts, expect_numbers
from ssm_ref.norm import RMSNorm
from ssm_ref.selective.mamba import Operator, parameter_groups
from ssm_ref.selective.selective_scan import selective_scan_chunked
from ssm_ref.vision.bidirectional_mamba import (
    BidirectionalMamba,
    BidirectionalMambaConfig,
    Sharing,
)

PUBLISHED = {"tiny": 192, "small": 384, "base": 768}  # d_model


@dataclass(frozen=True, kw_only=True, slots=True)
class VisionMambaConfig:
    """Sizes of the model; heights come before widths.

    Args:
        image: pixels of the image, (height, width).
        patch: pixels of a patch; stride: pixels from one patch to the next (patch when omitted).
        channels: colours of a pixel.
        d_model: width of a token.
        n_layer: mixers.
        n_classes: width of the logits.
        d_state: state of a channel in each mixer.
        sharing: see `BidirectionalMambaConfig`.
        drop_path: chance of skipping the last mixer in training; rises linearly from 0.
    """

    image: tuple[int, int] = (224, 224)
    patch: tuple[int, int] = (16, 16)
    stride: tuple[int, int] | None = None
    channels: int = 3
    d_model: int = 192
    n_layer: int = 24
    n_classes: int = 1000
    d_state: int = 16
    sharing: Sharing = "separate"
    drop_path: float = 0.0

    def __post_init__(self) -> None:
        expect_counts(self, "channels", "d_model", "n_layer", "n_classes", "d_state")
        if min(self.patch) < 1 or min(self.steps) < 1:
            raise ValueError(f"patch {self.patch} and stride {self.steps} must be at least 1")
        if self.image[0] < self.patch[0] or self.image[1] < self.patch[1]:
            raise ValueError(f"image {self.image} is smaller than one patch {self.patch}")
        if not 0 <= self.drop_path < 1:
            raise ValueError(f"drop_path must lie in [0, 1); got {self.drop_path}")

    @classmethod
    def published(cls, size: str, **changes: Any) -> "VisionMambaConfig":
        """Vim "tiny", "small" or "base" for ImageNet-1K, with `changes` applied."""
        if size not in PUBLISHED:
            raise ValueError(f"no published size {size!r}; choose one of {', '.join(PUBLISHED)}")
        return cls(d_model=PUBLISHED[size], **changes)

    @property
    def steps(self) -> tuple[int, int]:
        """Pixels from one patch to the next."""
        return self.stride or self.patch

    @property
    def grid(self) -> tuple[int, int]:
        """Patches in a column and in a row."""
        return (
            1 + (self.image[0] - self.patch[0]) // self.steps[0],
            1 + (self.image[1] - self.patch[1]) // self.steps[1],
        )

    @property
    def middle(self) -> int:
        """Place of the class token among the tokens."""
        return self.grid[0] * self.grid[1] // 2


class PatchEmbedding(nn.Module):
    """One convolution from pixels to tokens, patches in row order."""

    def __init__(self, cfg: VisionMambaConfig) -> None:
        super().__init__()
        self.cfg = cfg
        self.proj = nn.Conv2d(cfg.channels, cfg.d_model, cfg.patch, cfg.steps)

    def forward(self, image: Float[Tensor, "b c h w"]) -> Float[Tensor, "b l m"]:
        """Tokens of an image; raises `ValueError` for another size or number of channels."""
        wanted = (self.cfg.channels, *self.cfg.image)
        if image.ndim != 4 or tuple(image.shape[1:]) != wanted:
            raise ValueError(f"image must have shape (batch, {wanted}); got {tuple(image.shape)}")
        expect_numbers("image", image, self.proj.weight)
        tokens: Tensor = self.proj(image)
        return tokens.flatten(2).transpose(1, 2)


class VisionMambaLayer(nn.Module):
    """Normalise, mix and add, Eq. (2)."""

    def __init__(self, cfg: VisionMambaConfig, drop_path: float, scan: Operator) -> None:
        super().__init__()
        mixer = BidirectionalMambaConfig(
            d_model=cfg.d_model, d_state=cfg.d_state, sharing=cfg.sharing
        )
        self.drop_path = drop_path
        self.norm = RMSNorm(cfg.d_model)
        self.mixer = BidirectionalMamba(mixer, scan=scan)

    def forward(self, t: Float[Tensor, "b l m"]) -> Float[Tensor, "b l m"]:
        """Tokens after one layer; in training whole rows of the batch may skip it."""
        change: Tensor = self.mixer(self.norm(t))
        if self.training and self.drop_path:
            kept = torch.rand(t.shape[0], 1, 1, device=t.device) >= self.drop_path
            change = change * kept / (1 - self.drop_path)
        return t + change  # (2)


class VisionMamba(nn.Module):
    """The classifier of Eqs. (1) to (3)."""

    def __init__(self, cfg: VisionMambaConfig, *, scan: Operator = selective_scan_chunked) -> None:
        super().__init__()
        self.cfg = cfg
        self.patch_embed = PatchEmbedding(cfg)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, cfg.d_model))
        self.pos_embed = nn.Parameter(torch.zeros(1, cfg.grid[0] * cfg.grid[1] + 1, cfg.d_model))
        last = max(1, cfg.n_layer - 1)
        self.layers = nn.ModuleList(
            VisionMambaLayer(cfg, cfg.drop_path * i / last, scan) for i in range(cfg.n_layer)
        )
        self.norm_f = RMSNorm(cfg.d_model)
        self.head = nn.Linear(cfg.d_model, cfg.n_classes)
        self._initialise()

    @property
    def no_weight_decay(self) -> set[str]:
        """Names of the parameters that stand for places: train them without weight decay."""
        return {"cls_token", "pos_embed"}

    @torch.no_grad()
    def _initialise(self) -> None:
        for parameter in (self.cls_token, self.pos_embed, self.head.weight):
            nn.init.trunc_normal_(parameter, std=0.02)
        nn.init.zeros_(self.head.bias)
        fan_in = self.patch_embed.proj.weight[0].numel()
        nn.init.trunc_normal_(self.patch_embed.proj.weight, std=fan_in**-0.5)
        assert self.patch_embed.proj.bias is not None
        nn.init.zeros_(self.patch_embed.proj.bias)
        for name, parameter in self.named_parameters():
            if name.endswith("out_proj.weight"):  # one residual addition a layer
                parameter.div_(self.cfg.n_layer**0.5)

    def tokens(self, image: Float[Tensor, "b c h w"]) -> Float[Tensor, "b l m"]:
        """Normalised tokens after the last layer, the class token in the middle, Eqs. (1), (2)."""
        patches, middle = self.patch_embed(image), self.cfg.middle
        cls = self.cls_token.expand(patches.shape[0], -1, -1)
        t = torch.cat([patches[:, :middle], cls, patches[:, middle:]], dim=1)
        t = t + self.pos_embed  # (1)
        for layer in self.layers:
            t = layer(t)
        out: Tensor = self.norm_f(t)
        return out

    def patches(self, image: Float[Tensor, "b c h w"]) -> Float[Tensor, "b l m"]:
        """Tokens of the patches alone, in row order: what a multimodal model reads."""
        t, middle = self.tokens(image), self.cfg.middle
        return torch.cat([t[:, :middle], t[:, middle + 1 :]], dim=1)

    def forward(self, image: Float[Tensor, "b c h w"]) -> Float[Tensor, "b k"]:
        """Logits of the classes.

        Args:
            image: (b, channels, height, width), normalised as in training.

        Raises:
            ValueError: if the image has another size, number of channels or an integer dtype.
        """
        logits: Tensor = self.head(self.tokens(image)[:, self.cfg.middle])  # (3)
        return logits

    def parameter_groups(self, weight_decay: float = 0.1) -> list[dict[str, Any]]:
        """Two groups for an optimiser: matrices decay; A, D, biases, norms and tokens do not."""
        return parameter_groups(self, weight_decay=weight_decay)
