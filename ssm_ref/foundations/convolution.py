"""Three ways to run one linear time-invariant layer: recurrence, convolution, parallel scan.

Each of d channels has its own diagonal system with n states, Ā, B̄, C of shape (d, n):

    h_k = Ā ⊙ h_{k−1} + B̄ u_k                                 (1)
    y_k = Σ_n C_n h_{k,n} + D u_k                              (2)

From a zero state this is a convolution with a kernel K of shape (d, l),

    K_i = Σ_n C_n Ā_nⁱ B̄_n                                     (3)
    y_k = Σ_{i ≤ k} K_i u_{k−i} + D u_k                        (4)

which a Fourier transform of length ≥ 2l − 1 computes without wrapping round:

    y = irfft(rfft(u) · rfft(K)) + D u.                        (5)

From a state h₋₁ the answer to it is added, and the state after l tokens is a sum too:

    y_k += Σ_n C_n Ā_n^{k+1} h₋₁,n                             (6)
    h_{l−1} = Ā^l h₋₁ + Σ_k Ā^{l−1−k} B̄ u_k                    (7)

With complex Ā, which stores one of each conjugate pair, Σ_n stands for 2·Re Σ_n in the output.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Inexact
from torch import Tensor

from ssm_ref.expect import expect_sequence, expect_token
from ssm_ref.foundations.scan import linear_scan


@dataclass(frozen=True, slots=True)
class DiagonalSystem:
    """One discrete diagonal system a channel. Raises `ValueError` for shapes that do not fit."""

    A_bar: Inexact[Tensor, "d n"]
    B_bar: Inexact[Tensor, "d n"]
    C: Inexact[Tensor, "d n"]
    D: Float[Tensor, " d"]

    def __post_init__(self) -> None:
        if self.A_bar.ndim != 2 or self.A_bar.shape[1] == 0:
            raise ValueError(f"A_bar must have shape (d, n); got {tuple(self.A_bar.shape)}")
        d, n = self.A_bar.shape
        for name, shape in (("B_bar", (d, n)), ("C", (d, n)), ("D", (d,))):
            got = tuple(getattr(self, name).shape)
            if got != shape:
                raise ValueError(f"{name} must have shape {shape} beside A_bar; got {got}")

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of the state."""
        dtype = torch.promote_types(self.A_bar.dtype, self.B_bar.dtype)
        return torch.promote_types(dtype, self.C.dtype)

    def read(self, h: Inexact[Tensor, "... d n"], u: Float[Tensor, "... d"]) -> Tensor:
        """The output (2) for states and the inputs that made them."""
        y = (self.C * h).sum(-1)
        return (2 * y.real if y.is_complex() else y) + self.D * u  # (2)


def run_recurrence(
    system: DiagonalSystem, u: Float[Tensor, "b l d"], h: Inexact[Tensor, "b d n"] | None = None
) -> tuple[Float[Tensor, "b l d"], Inexact[Tensor, "b d n"]]:
    """Outputs and last state, token by token: the definition.

    `h` is the state before the first token, zero if left out. Raises `ValueError` for inputs that
    do not fit.
    """
    h = _initial(system, u, h)
    y = []
    for k in range(u.shape[1]):
        y_k, h = step(system, h, u[:, k])
        y.append(y_k)
    return torch.stack(y, dim=1), h


def step(
    system: DiagonalSystem, h: Inexact[Tensor, "b d n"], u_k: Float[Tensor, "b d"]
) -> tuple[Float[Tensor, "b d"], Inexact[Tensor, "b d n"]]:
    """One output and the new state; `h` is left as it was."""
    expect_token("u_k", u_k, system.A_bar.shape[0])
    h = system.A_bar * h + system.B_bar * u_k[..., None]  # (1)
    return system.read(h, u_k), h


def run_scan(
    system: DiagonalSystem, u: Float[Tensor, "b l d"], h: Inexact[Tensor, "b d n"] | None = None
) -> tuple[Float[Tensor, "b l d"], Inexact[Tensor, "b d n"]]:
    """`run_recurrence` by a parallel scan: all l states of n numbers stand in memory at once."""
    h = _initial(system, u, h)
    states = linear_scan(system.A_bar, system.B_bar * u[..., None], h)  # b l d n
    return system.read(states, u), states[:, -1]


def run_convolution(
    system: DiagonalSystem, u: Float[Tensor, "b l d"], h: Inexact[Tensor, "b d n"] | None = None
) -> tuple[Float[Tensor, "b l d"], Inexact[Tensor, "b d n"]]:
    """`run_recurrence` by one FFT convolution; the states in between are never formed.

    The kernel and the last state share one table of powers, d · n · l numbers.
    """
    start = _initial(system, u, h)
    l = u.shape[1]
    powers = vandermonde(system.A_bar, l + 1)  # d n l+1
    K = _real_part_twice(torch.einsum("dn,dnl->dl", system.C * system.B_bar, powers[..., :l]))
    y = fft_convolution(u, K) + system.D * u
    if h is not None:
        y = y + _real_part_twice(
            torch.einsum("dn,dnl,bdn->bld", system.C, powers[..., 1:], start)
        )  # (6)
    fading = powers[..., :l].flip(-1)
    written = torch.einsum("dnl,bld->bdn", fading, u.to(fading.dtype))
    return y, powers[..., l] * start + system.B_bar * written  # (7)


def kernel(system: DiagonalSystem, l: int) -> Float[Tensor, "d l"]:
    """The first `l` taps of the layer's convolution, without the skip D (3)."""
    if l < 1:
        raise ValueError(f"a kernel needs l ≥ 1 taps; got {l}")
    powers = vandermonde(system.A_bar, l)
    K = torch.einsum("dn,dnl->dl", system.C * system.B_bar, powers)  # (3)
    return _real_part_twice(K)


def vandermonde(a: Inexact[Tensor, "d n"], l: int) -> Inexact[Tensor, "d n l"]:
    """Powers a⁰ … a^{l−1}, doubling the number known in every round: exact also for a = 0."""
    powers, square = torch.ones_like(a)[..., None], a[..., None]
    while powers.shape[-1] < l:
        powers = torch.cat([powers, powers * square], dim=-1)
        square = square * square
    return powers[..., :l]


def direct_convolution(
    u: Float[Tensor, "b l d"], K: Float[Tensor, "d k"]
) -> Float[Tensor, "b l d"]:
    """The causal convolution Σ_{i ≤ k} K_i u_{k−i} as a sum, for a kernel of any length (4)."""
    expect_sequence("u", u, K.shape[0])
    y = torch.zeros_like(u)
    for i in range(min(u.shape[1], K.shape[1])):
        y = y + K[:, i] * torch.nn.functional.pad(u, (0, 0, i, 0))[:, : u.shape[1]]  # (4)
    return y


def fft_convolution(u: Float[Tensor, "b l d"], K: Float[Tensor, "d k"]) -> Float[Tensor, "b l d"]:
    """`direct_convolution` by the Fourier transform (5), zero-padded so that nothing wraps round.

    Works in float32 at least and returns the dtype of `u`.
    """
    expect_sequence("u", u, K.shape[0])
    l = u.shape[1]
    K = K[:, :l]
    return cyclic_convolution(u, K, fast_length(l + K.shape[1] - 1))[:, :l]


def cyclic_convolution(
    u: Float[Tensor, "b l d"], K: Float[Tensor, "d k"], period: int
) -> Float[Tensor, "b t d"]:
    """Eq. (5) over `period` places: what leaves at the end comes back in at the start."""
    dtype = torch.promote_types(torch.promote_types(u.dtype, K.dtype), torch.float32)
    if u.shape[0] == 0:  # some FFT libraries refuse an empty batch
        return u.new_zeros(0, period, u.shape[2])
    spectrum = torch.fft.rfft(u.to(dtype), n=period, dim=1)
    response = torch.fft.rfft(K.to(dtype), n=period, dim=1).T
    return torch.fft.irfft(spectrum * response, n=period, dim=1).to(u.dtype)  # (5)


def fast_length(l: int) -> int:
    """The least 2ᵃ3ᵇ5ᶜ that is at least `l`: a length that Fourier transforms are quick at."""
    best = 1 << (l - 1).bit_length()
    for five in (5**c for c in range(l.bit_length())):
        odd = five
        while odd < best:
            best = min(best, odd << max(0, (-(-l // odd) - 1).bit_length()))
            odd *= 3
    return best


def _real_part_twice(y: Tensor) -> Tensor:
    return 2 * y.real if y.is_complex() else y


def _initial(system: DiagonalSystem, u: Tensor, h: Tensor | None) -> Tensor:
    d, n = system.A_bar.shape
    expect_sequence("u", u, d)
    if u.device != system.A_bar.device:
        raise ValueError(f"u must be on {system.A_bar.device} like the system; got {u.device}")
    if h is None:
        return torch.zeros(u.shape[0], d, n, dtype=system.dtype, device=u.device)
    if h.shape != (u.shape[0], d, n):
        raise ValueError(f"h must have shape {(u.shape[0], d, n)}; got {tuple(h.shape)}")
    return h.to(system.dtype)
