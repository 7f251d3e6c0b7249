"""AdamW as the papers run it: warm-up, cosine, clipping.

    lr_s = lr · s / warmup                                              for s ≤ warmup      (4)
    lr_s = lr · (f + (1 - f) (1 + cos π (s - warmup) / (steps - warmup)) / 2)    after it   (5)

with f = `floor`. Defaults are those of Mamba's language models (arXiv 2312.00752, appendix E.2):
β = (0.9, 0.95), decay 0.1, gradients clipped to norm 1. What decays is chosen by
`ssm_ref.selective.mamba.parameter_groups`.
"""

import math
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True, slots=True)
class Optimizer:
    """Step sizes and decay."""

    lr: float = 1e-3
    betas: tuple[float, float] = (0.9, 0.95)
    weight_decay: float = 0.1
    clip: float = 1.0
    warmup: int = 0  # steps
    schedule: Literal["cosine", "constant"] = "cosine"
    floor: float = 0.1  # the last step size, as a share of lr

    def __post_init__(self) -> None:
        if self.lr <= 0 or self.clip <= 0 or self.weight_decay < 0 or self.warmup < 0:
            raise ValueError(
                "lr and clip must be positive, weight_decay and warmup not negative; got "
                f"lr={self.lr}, clip={self.clip}, weight_decay={self.weight_decay}, "
                f"warmup={self.warmup}"
            )
        if not all(0 <= beta < 1 for beta in self.betas) or not 0 <= self.floor <= 1:
            raise ValueError(
                f"0 ≤ beta < 1 and 0 ≤ floor ≤ 1 are wanted; got {self.betas} and {self.floor}"
            )


def learning_rate(cfg: Optimizer, step: int, steps: int) -> float:
    """The step size of step `step` of `steps`, counted from 1."""
    if step <= cfg.warmup:
        return cfg.lr * step / cfg.warmup  # (4)
    if cfg.schedule == "constant":
        return cfg.lr
    progress = (step - cfg.warmup) / max(1, steps - cfg.warmup)
    return cfg.lr * (cfg.floor + (1 - cfg.floor) * (1 + math.cos(math.pi * progress)) / 2)  # (5)
