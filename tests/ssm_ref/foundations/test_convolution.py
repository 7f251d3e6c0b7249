"""Three modes of one layer: equal to each other, to scipy, and from any state."""

import numpy as np
import pytest
import scipy.fft
import scipy.signal
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from ssm_ref.foundations.convolution import (
    DiagonalSystem,
    cyclic_convolution,
    direct_convolution,
    fast_length,
    fft_convolution,
    kernel,
    run_convolution,
    run_recurrence,
    run_scan,
    step,
    vandermonde,
)

F64 = torch.float64
MODES = [run_recurrence, run_convolution, run_scan]
DTYPES = pytest.mark.parametrize("dtype", [F64, torch.complex128], ids=str)


def layer(d: int = 3, n: int = 2, dtype: torch.dtype = F64) -> DiagonalSystem:
    g = torch.Generator().manual_seed(d * 10 + n)
    A = torch.rand(d, n, dtype=F64, generator=g).to(dtype)
    if dtype.is_complex:
        A = A * torch.exp(3j * torch.rand(d, n, dtype=F64, generator=g))
    B, C = torch.randn(2, d, n, dtype=dtype, generator=g)
    return DiagonalSystem(A, B, C, torch.randn(d, dtype=F64, generator=g))


@DTYPES
@pytest.mark.parametrize("mode", MODES[1:])
@settings(max_examples=20, deadline=None)
@given(l=st.integers(1, 30), b=st.integers(0, 2), n=st.integers(1, 4), started=st.booleans())
def test_modes_agree(
    mode: object, dtype: torch.dtype, l: int, b: int, n: int, started: bool
) -> None:
    system = layer(3, n, dtype)
    u = torch.randn(b, l, 3, dtype=F64)
    h = torch.randn(b, 3, n, dtype=dtype) if started else None
    torch.testing.assert_close(mode(system, u, h), run_recurrence(system, u, h))  # type: ignore[operator]


def test_one_channel_is_scipy_dlsim() -> None:
    system = layer(1, 3)
    A, B, C = np.diag(system.A_bar[0]), system.B_bar.numpy().T, system.C.numpy()
    u = torch.randn(1, 30, 1, dtype=F64)
    D = C @ B + system.D.item()
    _, want, _ = scipy.signal.dlsim((A, B, C @ A, D, 1.0), u[0].numpy())
    np.testing.assert_allclose(run_convolution(system, u)[0][0].numpy(), want, atol=1e-12)


def test_kernel_is_the_impulse_response() -> None:
    for dtype in (F64, torch.complex128):
        system = layer(dtype=dtype)
        impulse = torch.zeros(1, 9, 3, dtype=F64)
        impulse[:, 0] = 1
        y, _ = run_recurrence(system, impulse)
        K = kernel(system, 9)
        torch.testing.assert_close(y[0, 1:].T, K[:, 1:])
        torch.testing.assert_close(y[0, 0], K[:, 0] + system.D)


def test_convolutions_match_scipy() -> None:
    u, K = torch.randn(2, 40, 3, dtype=F64), torch.randn(3, 40, dtype=F64)
    for b in range(2):
        for d in range(3):
            want = scipy.signal.fftconvolve(u[b, :, d].numpy(), K[d].numpy())[:40]
            for convolve in (direct_convolution, fft_convolution):
                np.testing.assert_allclose(convolve(u, K)[b, :, d].numpy(), want, atol=1e-12)


@pytest.mark.parametrize("k", [1, 3, 10, 17])
def test_kernel_of_any_length(k: int) -> None:
    u, K = torch.randn(1, 10, 2, dtype=F64), torch.randn(2, k, dtype=F64)
    torch.testing.assert_close(fft_convolution(u, K), direct_convolution(u, K))


def test_without_padding_the_end_wraps_round_to_the_start() -> None:
    # Ones: the first outputs, which should be small, get the whole kernel's tail instead.
    u, K = torch.ones(1, 64, 1, dtype=F64), torch.ones(1, 64, dtype=F64)
    want = direct_convolution(u, K)
    wrapped = cyclic_convolution(u, K, 64)
    assert (wrapped - want).norm() > 0.5 * want.norm()
    torch.testing.assert_close(wrapped, torch.full_like(u, 64.0))
    torch.testing.assert_close(cyclic_convolution(u, K, 127)[:, :64], want)


def test_fast_length_is_scipys() -> None:
    for l in range(1, 400):
        best = fast_length(l)
        assert best == min(m for m in range(l, 2 * l) if _is_smooth(m))
        assert best <= 1 << (l - 1).bit_length() if l > 1 else best == 1
    assert scipy.fft.next_fast_len(16_385, real=True) <= fast_length(16_385)


def _is_smooth(m: int) -> bool:
    for p in (2, 3, 5):
        while m % p == 0:
            m //= p
    return m == 1


@pytest.mark.parametrize("mode", MODES)
@DTYPES
def test_cut_anywhere(mode: object, dtype: torch.dtype) -> None:
    system = layer(dtype=dtype)
    u = torch.randn(2, 7, 3, dtype=F64)
    whole, last = run_recurrence(system, u)
    for cut in range(1, 7):
        head, h = mode(system, u[:, :cut])  # type: ignore[operator]
        tail, h = mode(system, u[:, cut:], h)  # type: ignore[operator]
        torch.testing.assert_close(torch.cat([head, tail], dim=1), whole)
        torch.testing.assert_close(h, last)


@pytest.mark.parametrize("mode", MODES)
def test_prefill_then_steps(mode: object) -> None:
    system = layer(dtype=torch.complex128)
    u = torch.randn(2, 9, 3, dtype=F64)
    want, _ = run_recurrence(system, u)
    _, h = mode(system, u[:, :5])  # type: ignore[operator]
    for k in range(5, 9):
        y, h = step(system, h, u[:, k])
        torch.testing.assert_close(y, want[:, k])


@pytest.mark.parametrize("mode", MODES)
def test_later_tokens_do_not_reach_back(mode: object) -> None:
    system, u = layer(), torch.randn(1, 8, 3, dtype=F64)
    changed = u.clone()
    changed[:, 5] += 10
    y, z = mode(system, u)[0], mode(system, changed)[0]  # type: ignore[operator]
    torch.testing.assert_close(y[:, :5], z[:, :5])
    assert not torch.allclose(y[:, 5], z[:, 5])


@pytest.mark.parametrize("mode", MODES)
@DTYPES
def test_gradients(mode: object, dtype: torch.dtype) -> None:
    system = layer(2, 2, dtype)
    operands = (
        *(x.requires_grad_() for x in (system.A_bar, system.B_bar, system.C, system.D)),
        torch.randn(1, 4, 2, dtype=F64, requires_grad=True),
        torch.randn(1, 2, 2, dtype=dtype, requires_grad=True),
    )

    def f(A: Tensor, B: Tensor, C: Tensor, D: Tensor, u: Tensor, h: Tensor) -> object:
        return mode(DiagonalSystem(A, B, C, D), u, h)  # type: ignore[operator]

    assert torch.autograd.gradcheck(f, operands)


def test_vandermonde_matches_torch_and_survives_zero() -> None:
    a = torch.tensor([[0.0, -0.5, 0.9]], dtype=F64)
    torch.testing.assert_close(vandermonde(a, 11)[0], torch.linalg.vander(a[0], N=11))


def test_half_precision_is_convolved_in_float32() -> None:
    u, K = torch.randn(1, 50, 2), torch.randn(2, 50)
    got = fft_convolution(u.bfloat16(), K)
    assert got.dtype == torch.bfloat16
    torch.testing.assert_close(got, fft_convolution(u.bfloat16().float(), K).bfloat16())


def test_refuses_what_does_not_fit() -> None:
    system, u = layer(), torch.zeros(1, 4, 3, dtype=F64)
    for call, message in (
        (lambda: DiagonalSystem(system.A_bar, system.B_bar[:, :1], system.C, system.D), "B_bar"),
        (lambda: DiagonalSystem(system.A_bar[0], system.B_bar, system.C, system.D), "A_bar"),
        (lambda: kernel(system, 0), "l ≥ 1"),
        (lambda: fft_convolution(u, torch.zeros(2, 4)), "u must have shape"),
        (lambda: step(system, torch.zeros(1, 3, 2), u[0, :, :2]), "u_k must have shape"),
        *(
            call
            for mode in MODES
            for call in (
                (lambda mode=mode: mode(system, u[..., :2]), "u must have shape"),
                (lambda mode=mode: mode(system, u[:, :0]), "at least one time step"),
                (lambda mode=mode: mode(system, u.int()), "floating point"),
                (lambda mode=mode: mode(system, u.to("meta")), "must be on cpu"),
                (lambda mode=mode: mode(system, u, torch.zeros(1, 3, 1)), "h must have shape"),
            )
        ),
    ):
        with pytest.raises(ValueError, match=message):
            call()
