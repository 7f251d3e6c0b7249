"""VMamba: four stages of SS2D blocks on maps that halve in size and double in width.

    x ← x + SS2D(norm(x)),   x ← x + W_2 GELU(W_1 norm(x) + b_1) + b_2               (5)
    x ← norm(conv(x))        between stages: 3 × 3, stride 2, width doubled          (6)
    logits = W mean(norm(x)) + b                                                     (7)

Maps are (b, h, w, m). Two convolutions of stride 2 make the first out of pixels, so the four stages
work at 1/4, 1/8, 1/16 and 1/32 of the picture's height and width, as the backbones of detectors and
segmenters do: `features` returns all four. Source: Liu et al., VMamba, NeurIPS 2024,
arXiv:2401.10166; sizes of the second version of its published code.
"""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from ssm_ref.expect import expect_counts, expect_numbers
from ssm_ref.selective.mamba import Operator, parameter_groups
from ssm_ref.selective.selective_scan import selective_scan_chunked
from ssm_ref.vision.ss2d import SS2D, SS2DConfig

# blocks of each stage, width of the first, expand
PUBLISHED = {
    "tiny": ((2, 2, 8, 2), 96, 1),
    "small": ((2, 2, 15, 2), 96, 2),
    "base": ((2, 2, 15, 2), 128, 2),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class VMambaConfig:
    """Sizes of the model.

    Args:
        blocks: blocks of each stage.
        d_model: width of the first stage; each next one has twice the width of the one before.
        channels: colours of a pixel.
        n_classes: width of the logits.
        d_state: numbers of state a channel of SS2D.
        expand: channels of SS2D over the width of the stage.
        mlp_ratio: hidden width of the MLP over that of the stage.
        drop_path: chance of skipping the last branch in training; rises linearly from 0.
    """

    blocks: tuple[int, ...] = (2, 2, 8, 2)
    d_model: int = 96
    channels: int = 3
    n_classes: int = 1000
    d_state: int = 1
    expand: int = 1
    mlp_ratio: int = 4
    drop_path: float = 0.0

    def __post_init__(self) -> None:
        expect_counts(self, "d_model", "channels", "n_classes", "mlp_ratio", "d_state", "expand")
        if not self.blocks or min(self.blocks) < 1:
            raise ValueError(f"blocks must be at least one stage of ≥ 1 block; got {self.blocks}")
        if self.d_model % 2:
            raise ValueError(f"d_model must be even: the stem has half of it; got {self.d_model}")
        if not 0 <= self.drop_path < 1:
            raise ValueError(f"drop_path must lie in [0, 1); got {self.drop_path}")

    @classmethod
    def published(cls, size: str, **changes: Any) -> "VMambaConfig":
        """VMamba "tiny", "small" or "base" for ImageNet-1K, with `changes` applied."""
        if size not in PUBLISHED:
            raise ValueError(f"no published size {size!r}; choose one of {', '.join(PUBLISHED)}")
        blocks, d_model, expand = PUBLISHED[size]
        sizes: dict[str, Any] = {"blocks": blocks, "d_model": d_model, "expand": expand}
        return cls(**(sizes | changes))

    @property
    def widths(self) -> list[int]:
        """Width of every stage."""
        return [self.d_model * 2**i for i in range(len(self.blocks))]


class Downsample(nn.Module):
    """A 3 × 3 convolution of stride 2 and a norm, on maps with channels last.    (6)"""

    def __init__(self, d_in: int, d_out: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(d_in, d_out, 3, stride=2, padding=1)
        self.norm = nn.LayerNorm(d_out)

    def forward(self, x: Float[Tensor, "b h w m"]) -> Float[Tensor, "b h2 w2 m2"]:
        """The map at half the height and width, rounded up."""
        out: Tensor = self.norm(self.conv(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1))  # (6)
        return out


class VSSBlock(nn.Module):
    """The two residual branches of Eq. (5)."""

    def __init__(self, cfg: VMambaConfig, d: int, drop_path: float, scan: Operator) -> None:
        super().__init__()
        self.drop_path = drop_path
        mixer = SS2DConfig(d_model=d, d_state=cfg.d_state, expand=cfg.expand)
        self.norm, self.mixer = nn.LayerNorm(d), SS2D(mixer, scan=scan)
        self.mlp_norm = nn.LayerNorm(d)
        self.up, self.down = nn.Linear(d, cfg.mlp_ratio * d), nn.Linear(cfg.mlp_ratio * d, d)

    def forward(self, x: Float[Tensor, "b h w m"]) -> Float[Tensor, "b h w m"]:
        """The map after one block; in training whole rows of the batch may skip a branch."""
        x = x + self._dropped(self.mixer(self.norm(x)))  # (5)
        return x + self._dropped(self.down(functional.gelu(self.up(self.mlp_norm(x)))))  # (5)

    def _dropped(self, change: Tensor) -> Tensor:
        if not (self.training and self.drop_path):
            return change
        kept = torch.rand(change.shape[0], 1, 1, 1, device=change.device) >= self.drop_path
        return change * kept / (1 - self.drop_path)


class VMamba(nn.Module):
    """The classifier of Eqs. (5) to (7), and the backbone of other tasks."""

    def __init__(self, cfg: VMambaConfig, *, scan: Operator = selective_scan_chunked) -> None:
        super().__init__()
        self.cfg = cfg
        half = cfg.d_model // 2
        self.stem = nn.ModuleList([Downsample(cfg.channels, half), Downsample(half, cfg.d_model)])
        last, done = max(1, sum(cfg.blocks) - 1), 0
        self.stages = nn.ModuleList()
        for d, n in zip(cfg.widths, cfg.blocks, strict=True):
            chances = [cfg.drop_path * i / last for i in range(done, done + n)]
            self.stages.append(nn.Sequential(*(VSSBlock(cfg, d, p, scan) for p in chances)))
            done += n
        self.downsample = nn.ModuleList(Downsample(d, 2 * d) for d in cfg.widths[:-1])
        self.norm = nn.LayerNorm(cfg.widths[-1])
        self.head = nn.Linear(cfg.widths[-1], cfg.n_classes)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def features(self, image: Float[Tensor, "b c h w"]) -> list[Float[Tensor, "b h2 w2 m"]]:
        """The map after every stage, channels last, the first at a quarter of the size.

        Raises:
            ValueError: if the image has another number of channels, dtype or device, or NaN.
        """
        channels = self.cfg.channels
        if image.ndim != 4 or image.shape[1] != channels or 0 in image.shape[2:]:
            raise ValueError(
                f"image must have shape (batch, {channels}, height, width); "
                f"got {tuple(image.shape)}"
            )
        first, second = self.stem
        expect_numbers("image", image, next(self.stem.parameters()))
        x = second(functional.gelu(first(image.permute(0, 2, 3, 1))))
        maps = []
        for i, stage in enumerate(self.stages):
            x = stage(self.downsample[i - 1](x) if i else x)
            maps.append(x)
        return maps

    def forward(self, image: Float[Tensor, "b c h w"]) -> Float[Tensor, "b k"]:
        """Logits of the classes for pictures of any size; raises as `features`."""
        logits: Tensor = self.head(self.norm(self.features(image)[-1]).mean(dim=(1, 2)))  # (7)
        return logits

    def parameter_groups(self, weight_decay: float = 0.05) -> list[dict[str, Any]]:
        """Two groups for an optimiser: matrices decay; A, D, Δ's bias, biases and norms do not."""
        return parameter_groups(self, weight_decay=weight_decay)
