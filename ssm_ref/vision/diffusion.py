"""Diffusion: pictures out of noise, by a network that says which noise a picture holds.

    x_t = sqrt(ᾱ_t) x_0 + sqrt(1 − ᾱ_t) ε,   ᾱ_t = Π_{i ≤ t} (1 − β_i),   ε ~ N(0, I)       (1)
    loss = E |ε − ε_θ(x_t, t)|²                                                              (2)
    x̂_0 = (x_t − sqrt(1 − ᾱ_t) ε_θ) / sqrt(ᾱ_t)                                              (3)
    q(x_s | x_t, x_0) = N(sqrt(ᾱ_s) x_0 + sqrt(1 − ᾱ_s − σ²) ε, σ² I)                        (4)
    σ² = η² (1 − ᾱ_s) / (1 − ᾱ_t) · (1 − ᾱ_t / ᾱ_s)                                          (5)
    ε_θ ← ε_θ(x_t, t) + w (ε_θ(x_t, t, class) − ε_θ(x_t, t))                                 (6)

t runs from 1 to T, ᾱ_0 = 1 and β_t rises in a line from 1e-4 to 0.02 (times 1000 / T). Training
needs Eqs. (1) and (2) alone. Sampling starts from noise and takes Eq. (4), with x̂_0 for x_0, along
any falling times down to 0: with η = 0 it is DDIM, without noise of its own, and with η = 1 and
every time it is DDPM's posterior. Eq. (6) is classifier-free guidance.

The network is anything that takes (x_t, t): the cost of a picture is its cost times the steps.
Sources: Ho et al., DDPM, NeurIPS 2020, arXiv:2006.11239; Song et al., DDIM, ICLR 2021,
arXiv:2010.02502; Ho and Salimans, arXiv:2207.12598, with w = 1 + theirs.
"""

import itertools
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Generator, Tensor

from ssm_ref.expect import expect_counts, readable

Denoiser = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True, kw_only=True, slots=True)
class NoiseSchedule:
    """How much of a picture is left at every time; `first` and `last` are β for 1000 steps."""

    steps: int = 1000  # T
    first: float = 1e-4
    last: float = 0.02

    def __post_init__(self) -> None:
        expect_counts(self, "steps")
        top = max(self.first, self.last) * 1000 / self.steps
        if min(self.first, self.last) <= 0 or top >= 1:
            raise ValueError(
                "0 < β < 1 is wanted, where β is first … last times "
                f"1000 / steps; got {self.steps} steps and {self.first} … {self.last}"
            )

    @property
    def alpha_bar(self) -> Float[Tensor, " t"]:
        """ᾱ_t for t = 0 … T, in float64."""
        scale = 1000 / self.steps
        beta = torch.linspace(
            self.first * scale, self.last * scale, self.steps, dtype=torch.float64
        )
        return torch.cat([torch.ones(1, dtype=torch.float64), (1 - beta).cumprod(dim=0)])

    def signal(self, t: Int[Tensor, " b"], like: Float[Tensor, "b m *any"]) -> Float[Tensor, "..."]:
        """ᾱ_t of every row, to be multiplied with `like`; `ValueError` for a time not in 0 … T."""
        known = readable(t) and bool(((t < 0) | (t > self.steps)).any())
        if t.shape != like.shape[:1] or known:
            raise ValueError(
                f"t must be one time in 0 … {self.steps} a row, shape {tuple(like.shape[:1])}; "
                f"got {t.tolist()}"
            )
        alpha_bar = self.alpha_bar.to(like.device)[t].to(like.dtype)
        return alpha_bar.reshape(-1, *[1] * (like.ndim - 1))

    def add_noise(
        self, x_0: Float[Tensor, "b m *any"], noise: Float[Tensor, "b m *any"], t: Int[Tensor, " b"]
    ) -> Float[Tensor, "b m *any"]:
        """x_t out of a picture and the noise ε, Eq. (1); t is a time for every row."""
        alpha_bar = self.signal(t, x_0)
        return alpha_bar.sqrt() * x_0 + (1 - alpha_bar).sqrt() * noise  # (1)

    def picture(
        self, x_t: Float[Tensor, "b m *any"], noise: Float[Tensor, "b m *any"], t: Int[Tensor, " b"]
    ) -> Float[Tensor, "b m *any"]:
        """x̂_0, what is left when the noise is taken out, Eq. (3)."""
        alpha_bar = self.signal(t, x_t)
        return (x_t - (1 - alpha_bar).sqrt() * noise) / alpha_bar.sqrt()  # (3)

    def posterior(
        self,
        x_0: Float[Tensor, "b m *any"],
        noise: Float[Tensor, "b m *any"],
        t: Int[Tensor, " b"],
        s: Int[Tensor, " b"],
        eta: float,
    ) -> tuple[Float[Tensor, "b m *any"], Float[Tensor, "..."]]:
        """Mean and standard deviation of x_s, s < t, given x_0 and the noise in x_t, Eq. (4)."""
        a_t, a_s = self.signal(t, x_0), self.signal(s, x_0)
        variance = eta**2 * (1 - a_s) / (1 - a_t) * (1 - a_t / a_s)  # (5)
        along = (1 - a_s - variance).clamp(min=0).sqrt()  # rounding may leave −1e-17 at s = 0
        return a_s.sqrt() * x_0 + along * noise, variance.sqrt()  # (4)


@torch.no_grad()
def sample(
    denoise: Denoiser,
    start: Float[Tensor, "b m *any"],
    schedule: NoiseSchedule,
    *,
    steps: int = 50,
    eta: float = 0.0,
    limit: float | None = None,
    generator: Generator | None = None,
) -> Float[Tensor, "b m *any"]:
    """Pictures from the noise `start`, in `steps` steps of Eq. (4).

    Args:
        denoise: ε_θ, a function of (x_t, t).
        start: x_T, drawn from N(0, I).
        schedule: the one the network was trained with.
        steps: times used, spread evenly over 1 … T.
        eta: 0 adds no noise, 1 as much as DDPM.
        limit: x̂_0 is kept within ±limit, where pictures are known to lie there.
        generator: of the noise that eta > 0 adds.

    Raises:
        ValueError: unless 1 ≤ steps ≤ T and 0 ≤ eta ≤ 1.
    """
    if not 1 <= steps <= schedule.steps or not 0 <= eta <= 1:
        raise ValueError(
            f"1 ≤ steps ≤ {schedule.steps} and 0 ≤ eta ≤ 1 are wanted; got {steps} and {eta}"
        )
    times = torch.linspace(schedule.steps, 0, steps + 1).round().long().tolist()
    x = start
    for now, then in itertools.pairwise(times):
        t, s = (torch.full((len(x),), time, device=x.device) for time in (now, then))
        noise = denoise(x, t)
        x_0 = schedule.picture(x, noise, t)
        if limit is not None:
            x_0 = x_0.clamp(-limit, limit)
            alpha_bar = schedule.signal(t, x)
            noise = (x - alpha_bar.sqrt() * x_0) / (1 - alpha_bar).sqrt()
        x, deviation = schedule.posterior(x_0, noise, t, s, eta)
        if eta and then:
            x = x + deviation * torch.randn(
                x.shape, generator=generator, dtype=x.dtype, device=x.device
            )
    return x


def guided(
    denoise: Callable[[Tensor, Tensor, Tensor], Tensor],
    classes: Int[Tensor, " b"],
    no_class: int,
    weight: float,
) -> Denoiser:
    """ε_θ of Eq. (6) for the given classes; `no_class` stands for none, weight 1 is no guidance."""

    def both(x_t: Tensor, t: Tensor) -> Tensor:
        doubled = torch.cat([classes, torch.full_like(classes, no_class)])
        told = denoise(torch.cat([x_t, x_t]), torch.cat([t, t]), doubled)
        conditional, free = told.chunk(2)
        return free + weight * (conditional - free)  # (6)

    return both
