"""FCOS on VMamba: a detector without anchors, which answers at every place of every map.

    P_i = conv(Q_i),   Q_i = W_i C_i + Q_{i+1} at twice its size                             (4)
    per place (x, y) of a level of stride s:  class logits, distances s · exp(a v), centre   (5)
    box = (x − l, y − t, x + r, y + b)                                                       (6)
    centre* = sqrt(min(l, r) / max(l, r) · min(t, b) / max(t, b))                            (7)
    loss = (Σ focal(class) + Σ_{inside} (1 − GIoU) + Σ_{inside} BCE(centre)) / N             (8)
    focal(p) = −α (1 − p)^γ ln p   for the class wanted,   −(1 − α) p^γ ln(1 − p)   else     (9)
    score = sqrt(p(class) · centre)                                                          (10)

C_i are the maps of the backbone, P_i those of the feature pyramid, all of one width; levels above
the last come from convolutions of stride 2. The same head reads every level, with a scale a of its
own. A place belongs to the smallest box that holds it within 1.5 strides of the middle, if the box
is of the level's size: its largest distance lies in (4 s, 8 s], without the bound below at the
first level and above at the last; other places are background. N counts the places inside boxes.
Answers are scored by Eq. (10), and of those that overlap the best is kept.

Source: Tian et al., FCOS, ICCV 2019, arXiv:1904.01355; Lin et al., Feature Pyramid Networks, CVPR
2017, arXiv:1612.03144, and Focal Loss, ICCV 2017, arXiv:1708.02002; the backbone is
`ssm_ref.vision.vmamba`.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional

from ssm_ref.expect import expect_counts
from ssm_ref.selective.mamba import Operator
from ssm_ref.selective.selective_scan import selective_scan_chunked
from ssm_ref.vision.boxes import Boxes, overlap, suppress
from ssm_ref.vision.vmamba import VMamba, VMambaConfig

ALPHA, GAMMA = 0.25, 2.0  # of the focal loss
RADIUS = 1.5  # strides from the middle of a box within which a place belongs to it
STEM = 4  # stride of the backbone's first map
CANDIDATES = 1000  # boxes of a picture that suppression looks at


@dataclass(frozen=True, kw_only=True, slots=True)
class FCOSConfig:
    """Sizes of pyramid and head; the defaults are the published ones.

    Args:
        n_classes: classes of boxes; there is none for the background.
        d_pyramid: width of the pyramid's maps and of the head.
        first_stage: first stage of the backbone that is used, counted from 0.
        extra_levels: levels above the backbone's last one.
        n_convs: convolutions of each of the head's two towers.
        groups: groups of the norms between them.
    """

    n_classes: int = 80
    d_pyramid: int = 256
    first_stage: int = 1
    extra_levels: int = 2
    n_convs: int = 4
    groups: int = 32

    def __post_init__(self) -> None:
        expect_counts(self, "n_classes", "d_pyramid", "n_convs", "groups")
        if self.d_pyramid % self.groups:
            raise ValueError(f"groups={self.groups} must divide d_pyramid={self.d_pyramid}")


class Predictions(NamedTuple):
    """What is said at every place of every level, l of them, and where these places are."""

    classes: Float[Tensor, "b l k"]  # logits
    distances: Float[Tensor, "b l 4"]  # to the left, top, right, bottom, in pixels
    centre: Float[Tensor, "b l"]  # logit
    places: Float[Tensor, "l 2"]  # x, y in pixels
    strides: Float[Tensor, " l"]


class Pyramid(nn.Module):
    """Eq. (4): maps of one width that carry what coarser maps know down to finer ones."""

    def __init__(self, widths: list[int], cfg: FCOSConfig) -> None:
        super().__init__()
        d = cfg.d_pyramid
        self.lateral = nn.ModuleList(nn.Conv2d(width, d, 1) for width in widths)
        self.output = nn.ModuleList(nn.Conv2d(d, d, 3, padding=1) for _ in widths)
        self.extra = nn.ModuleList(
            nn.Conv2d(d, d, 3, stride=2, padding=1) for _ in range(cfg.extra_levels)
        )
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_uniform_(module.weight, a=1)
                assert module.bias is not None
                nn.init.zeros_(module.bias)

    def forward(self, maps: list[Tensor]) -> list[Tensor]:
        """Levels from the finest up, channels first, out of maps with channels last."""
        above: Tensor | None = None
        levels: list[Tensor] = []
        for i in reversed(range(len(maps))):
            x: Tensor = self.lateral[i](maps[i].permute(0, 3, 1, 2))
            if above is not None:
                x = x + functional.interpolate(above, size=x.shape[2:], mode="nearest")
            above = x
            levels.insert(0, self.output[i](x))  # (4)
        for i, conv in enumerate(self.extra):
            levels.append(conv(levels[-1].relu() if i else levels[-1]))  # (4)
        return levels


class Head(nn.Module):
    """Two towers of convolutions that are the same on every level, Eq. (5)."""

    def __init__(self, cfg: FCOSConfig, n_levels: int) -> None:
        super().__init__()
        d = cfg.d_pyramid
        self.class_tower, self.box_tower = _tower(cfg), _tower(cfg)
        self.classes = nn.Conv2d(d, cfg.n_classes, 3, padding=1)
        self.distances = nn.Conv2d(d, 4, 3, padding=1)
        self.centre = nn.Conv2d(d, 1, 3, padding=1)
        self.scales = nn.Parameter(torch.ones(n_levels))
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.normal_(module.weight, std=0.01)
                assert module.bias is not None
                nn.init.zeros_(module.bias)
        # One place in a hundred is taken for a box at first, or the background drowns the rest.
        assert self.classes.bias is not None
        nn.init.constant_(self.classes.bias, -math.log(99))

    def forward(self, level: Tensor, i: int, stride: int) -> tuple[Tensor, Tensor, Tensor]:
        """Class logits, distances in pixels and centre logit of level i, rows of places."""
        told = self.box_tower(level)
        distances = stride * (self.scales[i] * self.distances(told)).exp()  # (5)
        outputs = (self.classes(self.class_tower(level)), distances, self.centre(told))
        classes, distances, centre = (x.flatten(2).transpose(1, 2) for x in outputs)
        return classes, distances, centre[..., 0]


class FCOS(nn.Module):
    """The detector of Eqs. (4) to (6) and (10); the backbone's classifier is left out."""

    def __init__(
        self, backbone: VMambaConfig, cfg: FCOSConfig, *, scan: Operator = selective_scan_chunked
    ) -> None:
        super().__init__()
        if cfg.first_stage >= len(backbone.blocks):
            raise ValueError(
                f"first_stage={cfg.first_stage} must be one of the backbone's "
                f"{len(backbone.blocks)} stages, counted from 0"
            )
        self.cfg = cfg
        self.backbone = VMamba(backbone, scan=scan)
        del self.backbone.norm
        del self.backbone.head
        widths = backbone.widths[cfg.first_stage :]
        self.strides = [
            STEM * 2 ** (cfg.first_stage + i) for i in range(len(widths) + cfg.extra_levels)
        ]
        self.norms = nn.ModuleList(nn.LayerNorm(d) for d in widths)
        self.pyramid = Pyramid(widths, cfg)
        self.head = Head(cfg, len(self.strides))

    def forward(self, image: Float[Tensor, "b c h w"]) -> Predictions:
        """Raw answers at every place; raises `ValueError` as `VMamba.features`."""
        maps = self.backbone.features(image)[self.cfg.first_stage :]
        maps = [norm(x) for norm, x in zip(self.norms, maps, strict=True)]
        levels = zip(self.pyramid(maps), self.strides, strict=True)
        told = [self.head(level, i, s) for i, (level, s) in enumerate(levels)]
        classes, distances, centre = (torch.cat(x, dim=1) for x in zip(*told, strict=True))
        places, strides = (t.to(distances) for t in self.places(*image.shape[2:]))
        return Predictions(classes, distances, centre, places, strides)

    def places(self, h: int, w: int) -> tuple[Float[Tensor, "l 2"], Float[Tensor, " l"]]:
        """Pixel and stride of every place of all levels, for a picture of h × w."""
        grids = [grid(-(-h // s), -(-w // s), s) for s in self.strides]
        strides = [
            torch.full((len(g),), float(s)) for g, s in zip(grids, self.strides, strict=True)
        ]
        return torch.cat(grids), torch.cat(strides)

    @torch.no_grad()
    def detect(
        self, image: Float[Tensor, "b c h w"], *, least: float = 0.05, most: int = 100
    ) -> list[Boxes]:
        """Boxes of every picture, best first: `most` at most, of class probability ≥ `least`."""
        return [answers(one, image.shape[2:], least, most) for one in rows(self(image))]


def grid(h: int, w: int, stride: int) -> Float[Tensor, "l 2"]:
    """The pixel that each place of an h × w map stands for, in row order: x, y."""
    y, x = torch.meshgrid(torch.arange(h), torch.arange(w), indexing="ij")
    return torch.stack([x, y], dim=-1).flatten(0, 1).float() * stride + stride // 2


def rows(told: Predictions) -> list[Predictions]:
    """Predictions of every picture by itself, in a batch of one."""
    parts = zip(*(t.split(1) for t in told[:3]), strict=True)
    return [told._replace(classes=k, distances=d, centre=c) for k, d, c in parts]


def boxes_of(told: Predictions) -> Float[Tensor, "b l 4"]:
    """Corners out of distances, Eq. (6)."""
    near, far = told.distances.split(2, dim=-1)
    return torch.cat([told.places - near, told.places + far], dim=-1)  # (6)


def answers(told: Predictions, size: tuple[int, ...], least: float, most: int) -> Boxes:
    """The boxes that predictions for one picture of `size` come to, Eq. (10)."""
    probability = told.classes[0].float().sigmoid()
    place, k = (probability >= least).nonzero(as_tuple=True)
    score = (probability[place, k] * told.centre[0, place].float().sigmoid()).sqrt()  # (10)
    score, first = score.sort(descending=True, stable=True)
    score, place, k = score[:CANDIDATES], place[first[:CANDIDATES]], k[first[:CANDIDATES]]
    edge = torch.tensor([size[1], size[0]] * 2, device=score.device)
    boxes = torch.minimum(boxes_of(told)[0, place].float().clamp(min=0), edge)
    kept = suppress(boxes, score, k)[:most]
    return Boxes(boxes[kept].cpu(), k[kept].cpu(), score[kept].cpu())


class Wanted(NamedTuple):
    """What is wanted at every place: class (−1 is background), distances and centre."""

    classes: Int[Tensor, "b l"]
    distances: Float[Tensor, "b l 4"]
    centre: Float[Tensor, "b l"]


def assign(
    places: Float[Tensor, "l 2"], strides: Float[Tensor, " l"], truth: Float[Tensor, "b n 5"]
) -> Wanted:
    """The box of every place: the smallest of those that hold it and are of its level's size.

    Rows of `truth` are class, x0, y0, x1, y1; rows of class −1 are padding.
    """
    boxes = truth[:, None, :, 1:]  # b 1 n 4
    near, far = places[:, None] - boxes[..., :2], boxes[..., 2:] - places[:, None]
    distances = torch.cat([near, far], dim=-1)  # b l n 4
    offset = (places[:, None] - (boxes[..., :2] + boxes[..., 2:]) / 2).abs().amax(dim=-1)
    largest, s = distances.amax(dim=-1), strides[:, None]
    lower = torch.where(s == strides.min(), 0.0, 4 * s)
    upper = torch.where(s == strides.max(), math.inf, 8 * s)
    holds = (distances.amin(dim=-1) > 0) & (offset < RADIUS * s) & (truth[:, None, :, 0] >= 0)
    fits = holds & (largest > lower) & (largest <= upper)  # b l n
    sides = boxes[..., 2:] - boxes[..., :2]
    sizes = sides.prod(dim=-1).expand_as(fits).masked_fill(~fits, math.inf)
    if truth.shape[1] == 0:
        sizes = torch.full((*fits.shape[:2], 1), math.inf, device=truth.device)
        distances, truth = sizes[..., None].expand(-1, -1, 1, 4), truth.new_zeros(len(truth), 1, 5)
    smallest, which = sizes.min(dim=-1)
    classes = truth[:, :, 0].gather(1, which).long().masked_fill(smallest.isinf(), -1)
    chosen = distances.gather(2, which[..., None, None].expand(-1, -1, 1, 4))[:, :, 0]
    chosen = chosen.masked_fill((classes < 0)[..., None], 1.0)
    return Wanted(classes, chosen, centreness(chosen))


def centreness(distances: Float[Tensor, "*batch 4"]) -> Float[Tensor, "*batch"]:
    """Eq. (7): 1 in the middle of a box and 0 on its edge."""
    left, top, right, bottom = distances.unbind(dim=-1)
    across = torch.minimum(left, right) / torch.maximum(left, right)
    down = torch.minimum(top, bottom) / torch.maximum(top, bottom)
    return (across * down).sqrt()  # (7)


def detection_loss(told: Predictions, truth: Float[Tensor, "b n 5"]) -> tuple[Tensor, Tensor]:
    """The sum in Eq. (8) and N, which is 1 where no place is inside a box.

    Rows of `truth` are class, x0, y0, x1, y1; rows of class −1 are padding.
    """
    wanted = assign(told.places, told.strides, truth)
    inside = wanted.classes >= 0
    kinds = functional.one_hot(wanted.classes.clamp(min=0), told.classes.shape[-1])
    loss = focal_loss(told.classes.float(), kinds * inside[..., None]).sum()
    here, there = (
        boxes_of(told._replace(distances=distances.float()))
        for distances in (told.distances, wanted.distances)
    )
    shape = 1 - overlap(here, there, generalised=True)
    centre = functional.binary_cross_entropy_with_logits(
        told.centre.float(), wanted.centre, reduction="none"
    )
    loss = loss + torch.where(inside, shape + centre, 0.0).sum()
    return loss, inside.sum().clamp(min=1)  # (8)


def focal_loss(logits: Float[Tensor, "*any"], wanted: Int[Tensor, "*any"]) -> Float[Tensor, "*any"]:
    """Eq. (9): cross entropy in which what is already right weighs little."""
    sign = 2 * wanted - 1
    entropy = -functional.logsigmoid(sign * logits)
    weight = torch.where(wanted == 1, ALPHA, 1 - ALPHA)
    return weight * (-sign * logits).sigmoid() ** GAMMA * entropy  # (9)


def _tower(cfg: FCOSConfig) -> nn.Sequential:
    layers: list[nn.Module] = []
    for _ in range(cfg.n_convs):
        conv = nn.Conv2d(cfg.d_pyramid, cfg.d_pyramid, 3, padding=1)
        layers += [conv, nn.GroupNorm(cfg.groups, cfg.d_pyramid), nn.ReLU()]
    return nn.Sequential(*layers)
