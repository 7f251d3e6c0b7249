"""Rotary positions (RoPE), and how their frequencies are stretched for longer contexts.

The pair (x_i, x_{i+p/2}) at position t is turned by the angle t·θ_i,

    θ_i = base^{-2i/p}    (1)
    x_i, x_{i+p/2} ← x_i cos tθ_i - x_{i+p/2} sin tθ_i, x_i sin tθ_i + x_{i+p/2} cos tθ_i    (2)

A model trained on L positions reads s·L of them after its frequencies are divided by s ("linear"),
or only those that turn slowly, fast ones being kept and those between mixed:

    θ_i ← r θ_i + (1 - r) θ_i / s    (3)
    llama3: r = (Lθ_i/2π - low) / (high - low), cut to 0 … 1    (4)
    yarn:   r = 1 - (i - i(fast)) / (i(slow) - i(fast)), cut to 0 … 1,
            i(n) = p ln(L / 2πn) / (2 ln base), the pair that turns n times in L positions    (5)

YaRN also multiplies cos and sin by 0.1 ln s + 1. Sources: RoPE 2104.09864; linear 2306.15595; YaRN
2309.00071; Llama 3.1 2407.21783; the names of the settings are those of `transformers`.
"""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from ssm_ref.expect import expect_counts


@dataclass(frozen=True, kw_only=True, slots=True)
class RopeScaling:
    """How frequencies are stretched by `factor`; `original_length` is the L of training."""

    kind: Literal["linear", "llama3", "yarn"]
    factor: float
    original_length: int = 8192
    low_freq_factor: float = 1.0  # llama3: pairs that turn this often in L, or less, are stretched
    high_freq_factor: float = 4.0  # llama3: pairs that turn this often, or more, are kept
    beta_fast: float = 32.0  # yarn: the same, the other way round
    beta_slow: float = 1.0
    truncate: bool = True  # yarn: round the bounds of (5) outwards to whole pairs
    attention_factor: float | None = None  # yarn: 0.1 ln(factor) + 1 when not given

    def __post_init__(self) -> None:
        expect_counts(self, "original_length")
        if self.kind not in ("linear", "llama3", "yarn"):
            raise ValueError(f"kind must be linear, llama3 or yarn; got {self.kind!r}")
        if not self.factor > 0:
            raise ValueError(f"factor must be positive; got {self.factor}")
        if not self.low_freq_factor < self.high_freq_factor:
            raise ValueError(
                "low_freq_factor must be below high_freq_factor; "
                f"got {self.low_freq_factor} and {self.high_freq_factor}"
            )

    @property
    def magnitude(self) -> float:
        """What cos and sin are multiplied by: 1 except for yarn."""
        if self.kind != "yarn":
            return 1.0
        if self.attention_factor is not None:
            return self.attention_factor
        return 1.0 if self.factor <= 1 else 0.1 * math.log(self.factor) + 1.0


def frequencies(
    p: int,
    base: float,
    scaling: RopeScaling | None = None,
    *,
    dtype: torch.dtype = torch.float64,
    device: torch.device | None = None,
) -> Float[Tensor, " half"]:
    """θ of Eq. (1), stretched by Eqs. (3) to (5) if there is a `scaling`."""
    theta = base ** (-torch.arange(0, p, 2, device=device, dtype=dtype) / p)  # (1)
    if scaling is None:
        return theta
    kept = _kept(theta, p, base, scaling)
    return kept * theta + (1 - kept) * theta / scaling.factor  # (3)


def _kept(theta: Tensor, p: int, base: float, scaling: RopeScaling) -> Tensor:
    """r of Eq. (3): 1 where a frequency is kept, 0 where it is divided by the factor."""
    L = scaling.original_length
    match scaling.kind:
        case "linear":
            return torch.zeros_like(theta)
        case "llama3":
            low, high = scaling.low_freq_factor, scaling.high_freq_factor
            return ((L * theta / (2 * math.pi) - low) / (high - low)).clamp(0, 1)  # (4)
        case "yarn":
            first, last = (
                p * math.log(L / (2 * math.pi * turns)) / (2 * math.log(base))
                for turns in (scaling.beta_fast, scaling.beta_slow)
            )
            if scaling.truncate:
                first, last = math.floor(first), math.ceil(last)
            first, last = max(first, 0), min(last, p - 1)
            width = (last - first) or 0.001
            i = torch.arange(p // 2, device=theta.device, dtype=theta.dtype)
            return 1 - ((i - first) / width).clamp(0, 1)  # (5)


def rotate(
    x: Float[Tensor, "b h l p"], start: int, base: float, scaling: RopeScaling | None = None
) -> Float[Tensor, "b h l p"]:
    """x turned by Eq. (2) at positions start, start + 1, …; angles in float32 or wider."""
    wide = torch.promote_types(x.dtype, torch.float32)
    theta = frequencies(x.shape[-1], base, scaling, dtype=wide, device=x.device)
    t = torch.arange(start, start + x.shape[-2], device=x.device, dtype=wide)
    angle, scale = t[:, None, None] * theta, 1.0 if scaling is None else scaling.magnitude
    cos, sin = (scale * angle.cos()).to(x.dtype), (scale * angle.sin()).to(x.dtype)
    cos, sin = torch.cat([cos, cos], dim=-1), torch.cat([-sin, sin], dim=-1)  # l 1 p
    # Time before heads, as projections lay them out: so attention's output needs no copy either.
    x = x.transpose(1, 2)
    return torch.addcmul(x * cos, x.roll(x.shape[-1] // 2, dims=-1), sin).transpose(1, 2)  # (2)
