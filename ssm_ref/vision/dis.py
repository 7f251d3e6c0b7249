"""DiS, a diffusion backbone of state space layers: time, class and noisy patches are one sequence.

    t_1 = [class; time; patches of x_t] + positions                                          (7)
    c_i = mixer_i(norm_i(t_i)),                      i = 1 … 2n + 1                          (8)
    t_{i+1} = t_i + c_i,                             i = 1 … n                               (9)
    t_{i+1} = t_i + W_i [c_i; c_{2n+1−i}] + b_i,     i = n + 1 … 2n                          (10)
    ε = patches of (W ((1 + scale) ⊙ norm(norm(t_{2n+1} + c_{2n+1})) + shift) + b)           (11)
    [shift, scale] = W SiLU(time + class) + b                                                (12)

time is an MLP over waves of the step t, class a row of a table, whose last row means none; without
classes there is no class token and Eq. (11) has neither shift nor scale. mixer is
`bidirectional_mamba`, so cost grows linearly with the number of patches. Eq. (10) is a U-Net's
skip: what a shallow layer found joins what the last one found, before both are added to the
residual, as in the published code.

Sources: Fei et al., DiS, arXiv:2402.05608, and its published code, which gives the sizes; long
skips from Bao et al., U-ViT, CVPR 2023, arXiv:2209.12152. That code adds the two directions of the
mixer, this one takes their mean: W_out differs by a factor of two. Its second half of the output,
learned variances, is left out: Eq. (5) of `ssm_ref.vision.diffusion` fixes them.
"""

import math
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional

from ssm_ref.expect import expect_counts, expect_numbers, readable
from ssm_ref.norm import RMSNorm
from ssm_ref.selective.mamba import Operator
from ssm_ref.selective.selective_scan import selective_scan_chunked
from ssm_ref.vision.bidirectional_mamba import BidirectionalMamba, BidirectionalMambaConfig

# width, layers on each side of the middle one
PUBLISHED = {"S": (368, 12), "B": (768, 12), "M": (768, 24), "L": (1024, 24), "H": (1536, 24)}


@dataclass(frozen=True, kw_only=True, slots=True)
class DiSConfig:
    """Sizes of the model.

    Args:
        image: pixels of the image, (height, width), both multiples of patch.
        patch: pixels of a side of a patch.
        channels: colours of a pixel, or channels of a latent.
        d_model: width of a token.
        n_half: layers on each side of the middle one, n.
        n_classes: classes a picture may be asked for; 0 for a model without.
        d_state: state of a channel in each mixer.
    """

    image: tuple[int, int] = (32, 32)
    patch: int = 2
    channels: int = 4
    d_model: int = 368
    n_half: int = 12
    n_classes: int = 1000
    d_state: int = 16

    def __post_init__(self) -> None:
        expect_counts(self, "patch", "channels", "d_model", "n_half", "d_state")
        if self.d_model % 2:
            raise ValueError(f"d_model must be even; got {self.d_model}")
        if min(self.image) < 1 or any(size % self.patch for size in self.image):
            raise ValueError(f"image {self.image} must be made of whole {self.patch}-pixel patches")

    @classmethod
    def published(cls, size: str, **changes: Any) -> "DiSConfig":
        """DiS "S", "B", "M", "L" or "H" on ImageNet's 32 × 32 latents, with `changes` applied."""
        if size not in PUBLISHED:
            raise ValueError(f"no published size {size!r}; choose one of {', '.join(PUBLISHED)}")
        d_model, n_half = PUBLISHED[size]
        return cls(**({"d_model": d_model, "n_half": n_half} | changes))

    @property
    def grid(self) -> tuple[int, int]:
        """Patches in a column and in a row."""
        return self.image[0] // self.patch, self.image[1] // self.patch

    @property
    def extras(self) -> int:
        """Tokens before the patches."""
        return 2 if self.n_classes else 1


def waves(t: Int[Tensor, " b"], d: int) -> Float[Tensor, "b d"]:
    """cos and sin of t at d/2 frequencies from 1 down to almost 1e-4."""
    half = torch.arange(d // 2, device=t.device, dtype=torch.float32)
    angles = t[:, None] * torch.exp(-math.log(1e4) * half / (d // 2))
    return torch.cat([angles.cos(), angles.sin()], dim=-1)


class DiSLayer(nn.Module):
    """Normalise and mix, Eq. (8), with the weights of the skip that leads in, Eq. (10), if any."""

    def __init__(self, cfg: DiSConfig, scan: Operator, *, skip: bool) -> None:
        super().__init__()
        mixer = BidirectionalMambaConfig(d_model=cfg.d_model, d_state=cfg.d_state)
        self.norm, self.mixer = RMSNorm(cfg.d_model), BidirectionalMamba(mixer, scan=scan)
        self.skip = nn.Linear(2 * cfg.d_model, cfg.d_model) if skip else None

    def forward(self, t: Float[Tensor, "b l m"]) -> Float[Tensor, "b l m"]:
        """The change c of the residual t."""
        change: Tensor = self.mixer(self.norm(t))  # (8)
        return change


class DiS(nn.Module):
    """ε_θ(x_t, t, class) of Eqs. (7) to (12); `scan` has the contract of `selective_scan`."""

    def __init__(self, cfg: DiSConfig, *, scan: Operator = selective_scan_chunked) -> None:
        super().__init__()
        self.cfg = cfg
        d, n = cfg.d_model, cfg.n_half
        self.patch_embed = nn.Conv2d(cfg.channels, d, cfg.patch, stride=cfg.patch)
        self.time_embed = nn.Sequential(nn.Linear(d, 4 * d), nn.SiLU(), nn.Linear(4 * d, d))
        self.class_embed = nn.Embedding(cfg.n_classes + 1, d) if cfg.n_classes else None
        self.pos_embed = nn.Parameter(torch.zeros(1, cfg.extras + cfg.grid[0] * cfg.grid[1], d))
        self.layers = nn.ModuleList(DiSLayer(cfg, scan, skip=i > n) for i in range(2 * n + 1))
        self.norm_f = RMSNorm(d)
        self.last_norm = nn.LayerNorm(d, eps=1e-6, elementwise_affine=False)
        self.modulation = nn.Linear(d, 2 * d) if cfg.n_classes else None
        self.head = nn.Linear(d, cfg.patch**2 * cfg.channels)
        self._initialise()

    @property
    def no_weight_decay(self) -> set[str]:
        """Names of the parameters that stand for places: train them without weight decay."""
        return {"pos_embed"}

    @torch.no_grad()
    def _initialise(self) -> None:
        for name, parameter in self.named_parameters():
            if name.endswith("out_proj.weight"):  # one residual addition a layer
                parameter.div_((2 * self.cfg.n_half) ** 0.5)
        if self.class_embed is not None:
            nn.init.normal_(self.class_embed.weight, std=0.02)
        for module in (*self.time_embed, self.modulation, self.head, *self.layers):
            linear = module.skip if isinstance(module, DiSLayer) else module
            if isinstance(linear, nn.Linear):
                nn.init.zeros_(linear.bias)

    def forward(
        self,
        x_t: Float[Tensor, "b c h w"],
        t: Int[Tensor, " b"],
        classes: Int[Tensor, " b"] | None = None,
    ) -> Float[Tensor, "b c h w"]:
        """The noise in x_t.

        Args:
            x_t: noisy pictures of the size of the config.
            t: the step of every picture, ≥ 0.
            classes: 0 … n_classes, the last for none; not given for a model without classes.

        Raises:
            ValueError: for other sizes, dtypes or devices, and classes that do not fit.
        """
        self._check(x_t, t, classes)
        time = self.time_embed(waves(t, self.cfg.d_model).to(x_t.dtype))
        asked = time
        tokens = [time[:, None], self.patch_embed(x_t).flatten(2).mT]
        if self.class_embed is not None:
            label = self.class_embed(classes)
            asked = time + label
            tokens.insert(0, label[:, None])
        r = torch.cat(tokens, dim=1) + self.pos_embed  # (7)
        r = self.norm_f(self._through(r))
        y = self.last_norm(r[:, self.cfg.extras :])
        if self.modulation is not None:
            shift, scale = self.modulation(functional.silu(asked))[:, None].chunk(2, dim=-1)  # (12)
            y = (1 + scale) * y + shift
        return self._pixels(self.head(y))  # (11)

    def _through(self, r: Float[Tensor, "b l m"]) -> Float[Tensor, "b l m"]:
        """The residual behind the last layer."""
        found: list[Tensor] = []
        n = self.cfg.n_half
        for i, layer in enumerate(self.layers):
            assert isinstance(layer, DiSLayer)
            if layer.skip is not None:
                r = r + layer.skip(torch.cat([found[-1], found[2 * n - i]], dim=-1))  # (10)
            elif found:
                r = r + found[-1]  # (9)
            found.append(layer(r))
        return r + found[-1]

    def _pixels(self, y: Float[Tensor, "b l p"]) -> Float[Tensor, "b c h w"]:
        """Patches put side by side; within one, rows of pixels of all colours."""
        (h, w), p = self.cfg.grid, self.cfg.patch
        return (
            y.unflatten(-1, (p, p, -1))
            .unflatten(1, (h, w))
            .permute(0, 5, 1, 3, 2, 4)
            .flatten(4)
            .flatten(2, 3)
        )

    def _check(self, x_t: Tensor, t: Tensor, classes: Tensor | None) -> None:
        wanted = (self.cfg.channels, *self.cfg.image)
        if x_t.ndim != 4 or tuple(x_t.shape[1:]) != wanted:
            raise ValueError(f"x_t must have shape (batch, {wanted}); got {tuple(x_t.shape)}")
        expect_numbers("x_t", x_t, self.head.weight)
        rows, n = tuple(x_t.shape[:1]), self.cfg.n_classes
        if tuple(t.shape) != rows or t.is_floating_point():
            raise ValueError(f"t must be whole numbers of shape {rows}; got {t.dtype} {t.shape}")
        if (classes is None) != (n == 0):
            given = "none were given" if classes is None else "they were given"
            raise ValueError(f"the model has {n} classes, and {given}")
        if classes is not None and (tuple(classes.shape) != rows or classes.is_floating_point()):
            raise ValueError(
                f"classes must be whole numbers of shape {rows}; got {classes.dtype} "
                f"{tuple(classes.shape)}"
            )
        if classes is not None and readable(classes) and classes.numel():
            low, high = int(classes.min()), int(classes.max())
            if low < 0 or high > n:
                raise ValueError(f"classes must lie in 0 … {n}, {n} for none; got {low} … {high}")
