"""VM-UNet: a U-Net whose convolutions are VMamba's blocks, for a class at every pixel.

    e_1 = norm(conv(image))                              conv: p × p, stride p              (1)
    blocks:  x ← x + SS2D(norm(x))                       the gated form of SS2D              (2)
    e_{i+1} = W_i norm(2 × 2 places of blocks_i(e_i), side by side)                          (3)
    d_S = blocks(e_S),   d_i = blocks(expand(d_{i+1} + e_{i+1})),   i = S − 1 … 1            (4)
    expand(x) = norm(2 × 2 places of W x)                                                    (5)
    logits = conv(norm(p × p places of W d_1)) + b       conv: 1 × 1                         (6)

Maps are (b, h, w, m): stage i has width m 2^{i−1} at 1/(p 2^{i−1}) of the picture's height and
width. Eq. (3) stacks four neighbours and halves their width, Eq. (5) is its mirror image. A skip
adds what came into a stage of the encoder to what comes out of the same stage of the decoder; so
the first map, e_1, has no skip of its own, in the published code as well as here.

Dice is what such answers are scored by, for two sets of pixels P and T of one class:

    Dice = 2 |P ∩ T| / (|P| + |T|)                                                           (7)

Source: Ruan et al., VM-UNet, arXiv:2402.02491, and its published code, which gives the sizes.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from ssm_ref.expect import expect_counts, expect_numbers
from ssm_ref.selective.mamba import Operator
from ssm_ref.selective.selective_scan import selective_scan_chunked
from ssm_ref.vision.ss2d import SS2D, SS2DConfig


@dataclass(frozen=True, kw_only=True, slots=True)
class VMUNetConfig:
    """Sizes of the model; the defaults are the published ones.

    Args:
        encoder: blocks of each stage on the way down.
        decoder: blocks of each stage on the way up.
        d_model: width of the first stage; each next one has twice the width of the one before.
        patch: pixels of a side of the squares that the first convolution reads.
        channels: colours of a pixel.
        n_classes: width of the logits.
        d_state: numbers of state a channel of SS2D.
        expand: channels of SS2D over the width.
        drop_path: chance of skipping a block in training at the bottom; rises linearly from 0 at
            the first block and falls to 0 at the last.
    """

    encoder: tuple[int, ...] = (2, 2, 2, 2)
    decoder: tuple[int, ...] = (2, 2, 2, 1)
    d_model: int = 96
    patch: int = 4
    channels: int = 3
    n_classes: int = 1
    d_state: int = 16
    expand: int = 2
    drop_path: float = 0.2

    def __post_init__(self) -> None:
        expect_counts(self, "d_model", "patch", "channels", "n_classes", "d_state", "expand")
        if not self.encoder or len(self.encoder) != len(self.decoder):
            raise ValueError(
                "encoder and decoder must have the same number of stages, at least 1; got "
                f"{self.encoder} and {self.decoder}"
            )
        if min(*self.encoder, *self.decoder) < 1:
            raise ValueError(
                f"every stage needs at least 1 block; got {self.encoder} and {self.decoder}"
            )
        if self.d_model % self.patch:
            raise ValueError(
                f"patch={self.patch} must divide d_model={self.d_model}: the last norm has their "
                "quotient"
            )
        if not 0 <= self.drop_path < 1:
            raise ValueError(f"drop_path must lie in [0, 1); got {self.drop_path}")

    @property
    def widths(self) -> list[int]:
        """Width of every stage."""
        return [self.d_model * 2**i for i in range(len(self.encoder))]

    @property
    def multiple(self) -> int:
        """What height and width of a picture must be multiples of."""
        return self.patch * 2 ** (len(self.encoder) - 1)


class GatedVSSBlock(nn.Module):
    """One residual branch, Eq. (2): the block of VMamba's first version, without an MLP."""

    def __init__(self, cfg: VMUNetConfig, d: int, drop_path: float, scan: Operator) -> None:
        super().__init__()
        self.drop_path = drop_path
        mixer = SS2DConfig(d_model=d, d_state=cfg.d_state, expand=cfg.expand, gated=True)
        self.norm, self.mixer = nn.LayerNorm(d), SS2D(mixer, scan=scan)

    def forward(self, x: Float[Tensor, "b h w m"]) -> Float[Tensor, "b h w m"]:
        """The map after the block; in training whole rows of the batch may skip it."""
        change: Tensor = self.mixer(self.norm(x))
        if self.training and self.drop_path:
            kept = torch.rand(x.shape[0], 1, 1, 1, device=x.device) >= self.drop_path
            change = change * kept / (1 - self.drop_path)
        return x + change  # (2)


class PatchMerging(nn.Module):
    """Half the height and width, twice the channels, Eq. (3)."""

    def __init__(self, d: int) -> None:
        super().__init__()
        self.norm, self.reduce = nn.LayerNorm(4 * d), nn.Linear(4 * d, 2 * d, bias=False)

    def forward(self, x: Float[Tensor, "b h w m"]) -> Float[Tensor, "b h2 w2 m2"]:
        """Four neighbours side by side, columns of two first, in 2 m channels."""
        four = x.unflatten(2, (-1, 2)).unflatten(1, (-1, 2))  # b h2 2 w2 2 m
        four = four.permute(0, 1, 3, 4, 2, 5).flatten(3)
        out: Tensor = self.reduce(self.norm(four))  # (3)
        return out


class PatchExpanding(nn.Module):
    """`factor` times the height and width out of channels, Eqs. (5) and (6)."""

    def __init__(self, d: int, d_out: int, factor: int) -> None:
        super().__init__()
        self.factor = factor
        self.expand = nn.Linear(d, factor * factor * d_out, bias=False)
        self.norm = nn.LayerNorm(d_out)

    def forward(self, x: Float[Tensor, "b h w m"]) -> Float[Tensor, "b h2 w2 m2"]:
        """Every place becomes factor × factor places."""
        f = self.factor
        places = self.expand(x).unflatten(-1, (f, f, -1))  # b h w f f m2
        out: Tensor = self.norm(places.transpose(2, 3).flatten(3, 4).flatten(1, 2))  # (5)
        return out


class VMUNet(nn.Module):
    """Eqs. (1) to (6); `scan` has the contract of `selective_scan`."""

    def __init__(self, cfg: VMUNetConfig, *, scan: Operator = selective_scan_chunked) -> None:
        super().__init__()
        self.cfg = cfg
        widths, m = cfg.widths, cfg.d_model
        self.patch_embed = nn.Conv2d(cfg.channels, m, cfg.patch, stride=cfg.patch)
        self.patch_norm = nn.LayerNorm(m)
        self.encoder = _stages(cfg, cfg.encoder, scan)
        self.merging = nn.ModuleList(PatchMerging(d) for d in widths[:-1])
        self.decoder = _stages(cfg, cfg.decoder, scan, up=True)  # kept from the top, too
        self.expanding = nn.ModuleList(PatchExpanding(2 * d, d, 2) for d in widths[:-1])
        self.last = PatchExpanding(m, m // cfg.patch, cfg.patch)
        self.head = nn.Conv2d(m // cfg.patch, cfg.n_classes, 1)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)

    def forward(self, image: Float[Tensor, "b c h w"]) -> Float[Tensor, "b h w k"]:
        """Logits of the classes at every pixel, channels last.

        Raises:
            ValueError: unless height and width are multiples of `cfg.multiple`, and for another
                number of channels, dtype or device, or NaN.
        """
        self._check(image)
        x = self.patch_norm(self.patch_embed(image).permute(0, 2, 3, 1))  # (1)
        entered = []
        for i, stage in enumerate(self.encoder):
            x = self.merging[i - 1](x) if i else x
            entered.append(x)
            x = stage(x)
        x = self.decoder[-1](x)
        for i in reversed(range(len(self.expanding))):
            x = self.decoder[i](self.expanding[i](x + entered[i + 1]))  # (4)
        logits: Tensor = self.head(self.last(x).permute(0, 3, 1, 2)).permute(0, 2, 3, 1)  # (6)
        return logits

    def _check(self, image: Tensor) -> None:
        channels, m = self.cfg.channels, self.cfg.multiple
        if image.ndim != 4 or image.shape[1] != channels or 0 in image.shape[2:]:
            raise ValueError(
                f"image must have shape (batch, {channels}, height, width); "
                f"got {tuple(image.shape)}"
            )
        h, w = image.shape[2:]
        if h % m or w % m:
            raise ValueError(
                f"height and width must be multiples of {m}, the patch times the halvings; got "
                f"{h} × {w}: pad the picture to {-(-h // m) * m} × {-(-w // m) * m}"
            )
        expect_numbers("image", image, self.head.weight)


def dice(
    answers: Int[Tensor, "*places"], truth: Int[Tensor, "*places"], n_classes: int
) -> list[float]:
    """Eq. (7) of every class; NaN where neither the answers nor the truth have it.

    Raises `ValueError` unless both have one shape and n_classes is at least 1.
    """
    if answers.shape != truth.shape or n_classes < 1:
        raise ValueError(
            "answers and truth must have one shape and n_classes be at least 1; got "
            f"{tuple(answers.shape)}, {tuple(truth.shape)} and {n_classes}"
        )
    scores = []
    for k in range(n_classes):
        p, t = answers == k, truth == k
        both, sizes = int((p & t).sum()), int(p.sum() + t.sum())
        scores.append(2 * both / sizes if sizes else float("nan"))  # (7)
    return scores


def _stages(
    cfg: VMUNetConfig, blocks: tuple[int, ...], scan: Operator, *, up: bool = False
) -> nn.ModuleList:
    """Stages of one side from the top to the bottom; `blocks` and order are those of the way."""
    depth = sum(blocks)
    chances = [cfg.drop_path * i / max(1, depth - 1) for i in range(depth)]
    chances = chances[::-1] if up else chances
    stages = []
    for d, n in zip(cfg.widths[::-1] if up else cfg.widths, blocks, strict=True):
        stages.append(nn.Sequential(*(GatedVSSBlock(cfg, d, p, scan) for p in chances[:n])))
        chances = chances[n:]
    return nn.ModuleList(stages[::-1] if up else stages)
