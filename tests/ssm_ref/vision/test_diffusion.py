"""Diffusion held to closed forms: moments, Bayes' rule, and data whose best denoiser is known."""

import math

import pytest
import torch
from torch import Tensor

from ssm_ref.vision.diffusion import Denoiser, NoiseSchedule, guided, sample

F64 = torch.float64
SHORT = NoiseSchedule(steps=50)


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=F64, generator=torch.Generator().manual_seed(seed))


def times(t: int, n: int) -> Tensor:
    return torch.full((n,), t)


def betas(schedule: NoiseSchedule) -> list[float]:
    """β_1 … β_T, written out."""
    scale, steps = 1000 / schedule.steps, schedule.steps
    first, last = 1e-4 * scale, 0.02 * scale
    return [first + (last - first) * i / (steps - 1) for i in range(steps)]


@pytest.mark.parametrize("steps", [50, 1000])
def test_one_jump_has_the_moments_of_single_steps(steps: int) -> None:
    """x_i = sqrt(1 − β_i) x_{i−1} + sqrt(β_i) ε_i, followed by its mean and variance."""
    schedule = NoiseSchedule(steps=steps)
    mean, variance = 1.0, 0.0
    ones = torch.ones(1, 1, dtype=F64)
    for t, beta in enumerate(betas(schedule), start=1):
        mean, variance = math.sqrt(1 - beta) * mean, (1 - beta) * variance + beta
        at = times(t, 1)
        assert float(schedule.add_noise(ones, 0 * ones, at)) == pytest.approx(mean, rel=1e-9)
        assert float(schedule.add_noise(0 * ones, ones, at)) ** 2 == pytest.approx(variance)
    assert mean < 0.01, "almost nothing is left at the end"
    assert float(schedule.add_noise(ones, ones, times(0, 1))) == 1


def test_noise_is_taken_out_again() -> None:
    x_0, noise, t = (
        normal(7, 3, 4),
        normal(7, 3, 4, seed=1),
        torch.tensor([1, 2, 9, 20, 33, 49, 50]),
    )
    x_t = SHORT.add_noise(x_0, noise, t)
    torch.testing.assert_close(SHORT.picture(x_t, noise, t), x_0)


@pytest.mark.parametrize(("t", "s"), [(50, 49), (2, 1), (30, 11), (5, 0)])
def test_posterior_is_bayes_rule(t: int, s: int) -> None:
    """q(x_s | x_t, x_0) ∝ q(x_t | x_s) q(x_s | x_0), multiplied out for Gaussians."""
    alpha = [1.0]
    for beta in betas(SHORT):
        alpha.append(alpha[-1] * (1 - beta))
    x_0, noise = normal(4, 2), normal(4, 2, seed=1)
    x_t = SHORT.add_noise(x_0, noise, times(t, 4))
    mean, deviation = SHORT.posterior(x_0, noise, times(t, 4), times(s, 4), eta=1.0)
    step = alpha[t] / alpha[s]  # x_t = sqrt(step) x_s + sqrt(1 − step) ε
    if s == 0:
        torch.testing.assert_close(mean, x_0)
        assert float(deviation.max()) == 0
        return
    precision = step / (1 - step) + 1 / (1 - alpha[s])
    pull = math.sqrt(step) / (1 - step) * x_t + math.sqrt(alpha[s]) / (1 - alpha[s]) * x_0
    torch.testing.assert_close(mean, pull / precision)
    torch.testing.assert_close(deviation, torch.full((4, 1), precision**-0.5, dtype=F64))


@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
def test_every_eta_keeps_the_marginals(eta: float) -> None:
    """Whatever η, x_s given x_0 alone has the moments of Eq. (1)."""
    x_0 = normal(1, 3)
    noise = normal(200_000, 3, seed=2)
    n, t, s = len(noise), 40, 15
    mean, deviation = SHORT.posterior(x_0.expand(n, 3), noise, times(t, n), times(s, n), eta)
    x_s = mean + deviation * normal(n, 3, seed=3)
    a = float(SHORT.alpha_bar[s])
    torch.testing.assert_close(x_s.mean(dim=0), math.sqrt(a) * x_0[0], atol=0.01, rtol=0)
    torch.testing.assert_close(
        x_s.var(dim=0), torch.full((3,), 1 - a, dtype=F64), atol=0.01, rtol=0
    )


MEAN, SPREAD = torch.tensor([1.5, -0.5], dtype=F64), torch.tensor([0.3, 0.8], dtype=F64)


def best_denoiser(schedule: NoiseSchedule) -> Denoiser:
    """E[ε | x_t] for data from N(MEAN, SPREAD²): no network could do better."""

    def denoise(x_t: Tensor, t: Tensor) -> Tensor:
        a = schedule.signal(t, x_t)
        gain = a.sqrt() * SPREAD**2 / (a * SPREAD**2 + 1 - a)
        x_0 = MEAN + gain * (x_t - a.sqrt() * MEAN)
        return (x_t - a.sqrt() * x_0) / (1 - a).sqrt()

    return denoise


@pytest.mark.parametrize("eta", [0.0, 1.0])
def test_gaussian_data_come_out_of_noise(eta: float) -> None:
    schedule = NoiseSchedule()
    x = sample(
        best_denoiser(schedule),
        normal(20_000, 2),
        schedule,
        steps=1000,
        eta=eta,
        generator=torch.Generator().manual_seed(1),
    )
    torch.testing.assert_close(x.mean(dim=0), MEAN, atol=0.02, rtol=0)
    torch.testing.assert_close(x.std(dim=0), SPREAD, atol=0, rtol=0.03)


def test_the_error_of_ddim_falls_with_the_steps() -> None:
    """Without noise of its own the sampler is a map x_T → x_0, known here in closed form."""
    schedule, start = NoiseSchedule(), normal(50, 2)
    a = float(schedule.alpha_bar[-1])
    scale = SPREAD / (a * SPREAD**2 + 1 - a).sqrt()
    want = MEAN + scale * (start - math.sqrt(a) * MEAN)
    errors = []
    for steps in (10, 40, 160, 1000):
        x = sample(best_denoiser(schedule), start, schedule, steps=steps)
        errors.append(float((x - want).abs().max()))
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 0.02 < 0.1 < errors[0]


def test_the_best_denoiser_has_the_least_loss() -> None:
    """The loss of Eq. (2) has its minimum at E[ε | x_t]: any other answer costs its distance²."""
    x_0, noise = MEAN + SPREAD * normal(100_000, 2), normal(100_000, 2, seed=5)
    t = times(20, len(x_0))
    x_t = SHORT.add_noise(x_0, noise, t)
    told = best_denoiser(SHORT)(x_t, t)
    least = (noise - told).square().mean()
    for change in (0.1, -0.1 * x_t, 0.05 * x_t.square()):
        extra = (noise - told - change).square().mean() - least
        want = torch.as_tensor(change, dtype=F64).square().mean()
        torch.testing.assert_close(extra, want, rtol=0.15, atol=1e-4)


def test_a_known_picture_comes_back_in_any_number_of_steps() -> None:
    x_0, start = normal(1, 3, 5, 5), normal(1, 3, 5, 5, seed=1)

    def denoise(x_t: Tensor, t: Tensor) -> Tensor:
        a = SHORT.signal(t, x_t)
        return (x_t - a.sqrt() * x_0) / (1 - a).sqrt()

    for steps in (1, 2, 7, 50):
        torch.testing.assert_close(sample(denoise, start, SHORT, steps=steps), x_0)
    kept = sample(denoise, start, SHORT, steps=7, limit=0.5)
    torch.testing.assert_close(kept, x_0.clamp(-0.5, 0.5))


def test_only_eta_asks_for_random_numbers() -> None:
    denoise, start = best_denoiser(SHORT), normal(6, 2)
    torch.manual_seed(0)
    still = [sample(denoise, start, SHORT, steps=10) for _ in range(2)]
    assert torch.equal(*still)

    def drawn(seed: int) -> Tensor:
        g = torch.Generator().manual_seed(seed)
        return sample(denoise, start, SHORT, steps=10, eta=1.0, generator=g)

    assert torch.equal(drawn(1), drawn(1))
    assert not torch.equal(drawn(1), drawn(2))


def test_guidance_moves_along_what_the_class_changes() -> None:
    def denoise(x_t: Tensor, t: Tensor, classes: Tensor) -> Tensor:
        return x_t * t[:, None] + 10.0 * classes[:, None]

    x_t, t, classes = normal(3, 2), torch.tensor([1, 2, 3]), torch.tensor([0, 2, 1])
    free, asked = denoise(x_t, t, torch.full((3,), 5)), denoise(x_t, t, classes)
    for weight, want in ((0.0, free), (1.0, asked), (3.0, free + 3 * (asked - free))):
        torch.testing.assert_close(guided(denoise, classes, 5, weight)(x_t, t), want)


def test_refuses() -> None:
    for options in ({"steps": 0}, {"steps": 10}, {"first": 0.0}, {"last": 1.5}):
        with pytest.raises(ValueError, match=r"steps must be at least 1|0 < β < 1 is"):
            NoiseSchedule(**options)  # type: ignore[arg-type]
    x = normal(2, 3)
    for t in (torch.tensor([1, 51]), torch.tensor([-1, 1]), torch.tensor([1])):
        with pytest.raises(ValueError, match=r"one time in 0 … 50 a row, shape \(2,\)"):
            SHORT.add_noise(x, x, t)
    for options in ({"steps": 51}, {"steps": 0}, {"eta": 1.5}):
        with pytest.raises(ValueError, match="1 ≤ steps ≤ 50 and 0 ≤ eta ≤ 1"):
            sample(best_denoiser(SHORT), x, SHORT, **options)  # type: ignore[arg-type]
