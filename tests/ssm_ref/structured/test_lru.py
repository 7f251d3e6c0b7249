"""LRU: filters of scipy, the closed form of its kernel, its ring and its normalisation."""

import math

import numpy as np
import pytest
import scipy.signal
import scipy.stats
import torch

from ssm_ref.foundations.convolution import fft_convolution
from ssm_ref.foundations.scan import linear_recurrence
from ssm_ref.structured.lru import LRU, LRUConfig

F64, C128 = torch.float64, torch.complex128


@pytest.fixture
def layer() -> LRU:
    torch.manual_seed(0)
    return LRU(LRUConfig(d_model=3, d_state=5)).double()


def test_is_a_bank_of_one_pole_filters_to_scipy(layer: LRU) -> None:
    u = torch.randn(2, 40, 3, dtype=F64)
    lam, gamma = layer.eigenvalues.detach().numpy(), layer.log_gamma.exp().detach().numpy()
    B, C = (torch.view_as_complex(x).detach().numpy() for x in (layer.B, layer.C))
    drive = gamma * (u.numpy() @ B.T)
    h = np.stack(
        [
            scipy.signal.lfilter([1], [1, -pole], drive[..., i], axis=1)
            for i, pole in enumerate(lam)
        ],
        axis=-1,
    )
    want = torch.from_numpy((h @ C.T).real) + layer.D * u
    torch.testing.assert_close(layer(u), want)


def test_the_kernel_in_closed_form(layer: LRU) -> None:
    """y_o = Σ_i K_oi * u_i + D u_o, with K_k = Re(C diag(λᵏ γ) B)."""
    u, l = torch.randn(2, 30, 3, dtype=F64), 30
    B, C = torch.view_as_complex(layer.B), torch.view_as_complex(layer.C)
    powers = layer.eigenvalues ** torch.arange(l)[:, None] * layer.log_gamma.exp()
    K = torch.einsum("on,kn,ni->koi", C, powers, B).real
    parts = [
        fft_convolution(u[..., i : i + 1].expand(-1, -1, 3), K[..., i].mT).detach()
        for i in range(3)
    ]
    torch.testing.assert_close(layer(u), sum(parts) + layer.D * u)


def test_loop_and_scan_agree(layer: LRU) -> None:
    loop = LRU(layer.cfg, recurrence=linear_recurrence).double()
    loop.load_state_dict(layer.state_dict())
    u = torch.randn(2, 33, 3, dtype=F64)
    torch.testing.assert_close(layer(u), loop(u))


@pytest.mark.parametrize("cut", range(1, 7))
def test_cut_anywhere_and_steps(layer: LRU, cut: int) -> None:
    u = torch.randn(2, 7, 3, dtype=F64)
    whole, last = layer.prefill(u, layer.allocate_state(2))
    head, state = layer.prefill(u[:, :cut], layer.allocate_state(2))
    torch.testing.assert_close(head, whole[:, :cut])
    for t in range(cut, 7):
        y, state = layer.step(u[:, t], state)
        torch.testing.assert_close(y, whole[:, t])
    torch.testing.assert_close(state, last)


def test_starts_uniform_over_the_ring() -> None:
    cfg = LRUConfig(d_model=1, d_state=4000, r_min=0.4, r_max=0.9, max_phase=math.pi / 10)
    lam = LRU(cfg).eigenvalues.detach()
    area = (lam.abs() ** 2 - 0.4**2) / (0.9**2 - 0.4**2)
    assert scipy.stats.kstest(area.numpy(), "uniform").pvalue > 0.01
    assert scipy.stats.kstest(lam.angle().numpy() / (math.pi / 10), "uniform").pvalue > 0.01
    assert lam.abs().min() >= 0.4
    assert lam.abs().max() <= 0.9


def test_white_noise_leaves_a_state_of_its_own_size() -> None:
    """Σ_k |γ λᵏ|² = γ² / (1 − |λ|²) = 1 for every number of the state."""
    lru = LRU(LRUConfig(d_model=1, d_state=64)).double()
    lam = lru.eigenvalues
    gain = (2 * lru.log_gamma).exp() / (1 - lam.abs() ** 2)
    torch.testing.assert_close(gain, torch.ones_like(gain), rtol=1e-4, atol=0)
    noise = torch.randn(16, 6000, 64, dtype=F64) * lru.log_gamma.exp()
    h = lru.recurrence(lam, noise.to(C128), None)[:, 4500:]
    assert h.abs().square().mean().item() == pytest.approx(1, abs=0.05)


def test_stable_for_any_parameters(layer: LRU) -> None:
    with torch.no_grad():
        layer.nu.copy_(5 * torch.randn(5))
        layer.theta.copy_(5 * torch.randn(5))
    assert (layer.eigenvalues.abs() < 1).all()


def test_in_float32_the_modulus_rounds_to_one() -> None:
    lru = LRU(LRUConfig(d_model=1, d_state=1))
    with torch.no_grad():
        lru.nu.fill_(-18.0)
    assert lru.eigenvalues.abs().item() == 1
    assert lru.double().eigenvalues.abs().item() < 1


def test_causal(layer: LRU) -> None:
    u = torch.randn(1, 9, 3, dtype=F64)
    v = u.clone()
    v[:, 6:] += 1
    torch.testing.assert_close(layer(u)[:, :6], layer(v)[:, :6])


class Prefill(torch.nn.Module):
    """`prefill` as a module, so that `functional_call` can swap its parameters."""

    def __init__(self, layer: LRU) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, u: torch.Tensor, state: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return self.layer.prefill(u, state)


def test_gradients(layer: LRU) -> None:
    u = torch.randn(1, 4, 3, dtype=F64, requires_grad=True)
    state = torch.randn(1, 5, dtype=C128, requires_grad=True)
    names, values = zip(*Prefill(layer).named_parameters(), strict=True)

    def f(u: object, state: object, *values: object) -> object:
        parameters = dict(zip(names, values, strict=True))
        return torch.func.functional_call(Prefill(layer), parameters, (u, state))

    assert torch.autograd.gradcheck(f, (u, state, *values))


def test_bf16_keeps_its_state_wide() -> None:
    lru = LRU(LRUConfig(d_model=3, d_state=5)).bfloat16()
    y, state = lru.prefill(torch.randn(2, 4, 3).bfloat16(), lru.allocate_state(2))
    assert (y.dtype, state.dtype) == (torch.bfloat16, torch.complex64)


def test_parameter_count_and_small_shapes(layer: LRU) -> None:
    d, n = 3, 5
    assert sum(p.numel() for p in layer.parameters()) == 3 * n + 4 * n * d + d
    assert layer(torch.zeros(0, 3, 3, dtype=F64)).shape == (0, 3, 3)
    assert layer(torch.zeros(2, 1, 3, dtype=F64)).shape == (2, 1, 3)


def test_refuses_what_does_not_fit(layer: LRU) -> None:
    u = torch.zeros(1, 4, 3, dtype=F64)
    for call, message in (
        (lambda: LRUConfig(d_model=0), "d_model must be at least 1; got 0"),
        (lambda: LRUConfig(d_model=2, r_min=0.9, r_max=0.5), "r_min=0.9, r_max=0.5"),
        (lambda: LRUConfig(d_model=2, max_phase=7.0), "max_phase must be in"),
        (lambda: layer(u[..., :2]), "u must have shape"),
        (lambda: layer.prefill(u, torch.zeros(1, 5)), "state must be complex of shape"),
        (lambda: layer.prefill(u, (1, 2)), "got tuple"),
        (lambda: layer.step(u, layer.allocate_state(1)), "u_t must have shape"),
    ):
        with pytest.raises(ValueError, match=message):
            call()
