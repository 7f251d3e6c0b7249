"""Models of the other families in the letters of the common recurrence: the rest of the map.

The family's own members have such a test beside their own. Here h heads of the recurrence are
channels, or numbers of a state, unless a model has heads of its own.
"""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from ssm_ref.linear_attention.recurrence import Case, chunked, recurrent
from ssm_ref.linear_attention.rwkv4 import wkv_sums
from ssm_ref.recurrent.gru import GRU
from ssm_ref.recurrent.lstm import LSTM
from ssm_ref.recurrent.min_rnn import MinGRU, MinimalCell, MinLSTM, log_positive
from ssm_ref.recurrent.rg_lru import RGLRU
from ssm_ref.recurrent.slstm import SLSTM
from ssm_ref.selective.mamba3 import Inputs, Past, trapezoidal_recurrence
from ssm_ref.selective.selective_scan import selective_scan
from ssm_ref.structured.lru import LRU, LRUConfig
from ssm_ref.structured.s4 import S4, S4Config, dense
from ssm_ref.structured.s4d import S4D, S4DConfig
from ssm_ref.structured.s5 import S5, S5Config

EXACT = {"rtol": 1e-10, "atol": 1e-10}
B, L, D, N = 2, 11, 6, 4


@pytest.fixture(autouse=True)
def _double() -> Any:
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def both(case: Case) -> Tensor:
    """What the loop reads; the chunks must read the same."""
    o, _ = recurrent(case)
    torch.testing.assert_close(chunked(case, chunk_size=4)[0], o, **EXACT)
    return o


def channelwise(log_decay: Tensor, written: Tensor) -> Tensor:
    """h_t = e^{g_t} h_{t−1} + w_t: every channel a head, n = p = 1, q = k = 1."""
    one = torch.ones_like(written)[..., None]
    return both(Case(one, one, written[..., None], log_decay[..., None]))[..., 0]


def turned(
    z: Tensor, angle: Tensor
) -> tuple[Tensor, Tensor]:  # real and imaginary part of z e^{i angle}
    z = z * torch.polar(torch.ones_like(angle), angle)
    return z.real, z.imag


def complex_diagonal(eigenvalue: Tensor, driven: Tensor) -> Tensor:
    """h_t = λ h_{t−1} + w_t over complex numbers: v = w_t turned back by t arg λ, and o forth."""
    angle = eigenvalue.angle() * torch.arange(driven.shape[1])[:, None]
    one = torch.ones(*driven.shape, 1)
    g = eigenvalue.abs().log().expand(driven.shape)[..., None]
    o = both(Case(one, one, torch.stack(turned(driven, -angle), dim=-1), g))
    return torch.complex(*turned(torch.view_as_complex(o.contiguous()), angle))


def test_mamba_is_a_case() -> None:
    """A channel is a head with p = 1: q = C, k = B, v = Δx, g = ΔA."""
    x, dt, A = torch.randn(B, L, D), torch.rand(B, L, D), -torch.rand(D, N)
    B_, C = torch.randn(2, B, L, 1, N).expand(2, B, L, D, N)
    want, _ = selective_scan(x, dt, A, B_[:, :, 0], C[:, :, 0])
    got = both(Case(C, B_, (dt * x)[..., None], dt[..., None] * A))
    torch.testing.assert_close(got[..., 0], want, **EXACT)


def test_mamba3_is_a_case() -> None:
    """Key c B as in Eq. (9) of Mamba-3; of its own write a token hears γ/c, like RWKV-6."""
    x, B_, C = torch.randn(B, L, 3, 1, 5), *torch.randn(2, B, L, 3, 1, N)
    dt, A, lam = torch.rand(B, L, 3), -torch.rand(B, L, 3), torch.rand(B, L, 3)
    past = Past(torch.zeros(B, 3, 5, N), torch.zeros(B, 3, 1, 5), torch.zeros(B, 3, 1, N))
    want, _ = trapezoidal_recurrence(Inputs(x, B_, C, dt, A, lam), past)
    q, k, v = C[..., 0, :], B_[..., 0, :], x[..., 0, :]
    next_lead = F.pad(((1 - lam) * dt)[:, 1:], (0, 0, 0, 1))[..., None]
    o = both(Case(q, k * ((lam * dt)[..., None] + next_lead), v, (dt * A)[..., None]))
    o = o - next_lead * (q * k).sum(dim=-1, keepdim=True) * v
    torch.testing.assert_close(o, want[..., 0, :], **EXACT)


def test_s4d_is_a_case() -> None:
    """g = Re ΔA; q and k turn with position, as in RetNet: two channels a complex number."""
    layer = S4D(S4DConfig(d_model=D, d_state=2 * N)).double()
    u, system = torch.randn(B, L, D), layer.discrete()
    angle = system.A_bar.angle() * torch.arange(L)[:, None, None]  # l d n
    real, imag = turned(2 * system.C, angle)
    q = torch.cat([real, -imag], dim=-1).expand(B, L, D, 2 * N)
    k = torch.cat(turned(system.B_bar.expand(L, D, N), -angle), dim=-1).expand(B, L, D, 2 * N)
    g = system.A_bar.abs().log().repeat(1, 2).expand(B, L, D, 2 * N)
    y = both(Case(q, k, u[..., None], g))[..., 0] + layer.D * u
    torch.testing.assert_close(layer._mix(y), layer(u)[0], **EXACT)


def test_s4_differs_from_the_identity_by_a_diagonal_and_rank_one() -> None:
    """Ā = diag(2E − 1) − b aᵀ, E = (1 − ½ΔΛ)⁻¹: constant, complex, and erasing."""
    system = S4(S4Config(d_model=D, d_state=2 * N, l_max=16)).double().system()
    L_, P = (torch.cat([x, x.conj()], dim=-1) for x in (system.eigenvalues, system.P[0]))
    E, dt = 1 / (1 - system.dt[:, None] / 2 * L_), system.dt[:, None]
    a, b = P.conj() * E, 2 * E * P / (2 / dt + (P.conj() * E * P).sum(dim=-1, keepdim=True))
    transition = torch.diag_embed(2 * E - 1) - b[..., None] * a[..., None, :]
    torch.testing.assert_close(transition, dense(system)[0], **EXACT)


def test_lru_is_a_case() -> None:
    """Every number of the state is a head: g = log |λ|, v = γ B u turned back by t arg λ."""
    layer, u = LRU(LRUConfig(d_model=D, d_state=N)).double(), torch.randn(B, L, D)
    h = complex_diagonal(layer.eigenvalues, layer._drive(u))
    torch.testing.assert_close(layer._read(h, u), layer(u), **EXACT)


def test_s5_is_a_case() -> None:
    """The LRU's case with λ = e^{ΔΛ} and B̄ u written."""
    layer, u = S5(S5Config(d_model=D, d_state=2 * N)).double(), torch.randn(B, L, D)
    decay, weight = layer._discrete(None)
    driven = weight * (u.to(decay.dtype) @ torch.view_as_complex(layer.B).mT)
    torch.testing.assert_close(
        layer._read(complex_diagonal(decay, driven), u), layer(u)[0], **EXACT
    )


def test_rwkv4_is_a_case() -> None:
    """n = 1, k = e^k, v = (v, 1), g = −w, read before the step; the bonus is added apart."""
    k, v = torch.randn(2, B, L, D)
    w, u = torch.rand(2, D)
    values = torch.stack([v, torch.ones_like(v)], dim=-1)
    key, one = k.exp()[..., None], torch.ones(B, L, D, 1)
    o = both(Case(one, key, values, -w.expand(B, L, D)[..., None], read_before=True))
    o = o + (u + k).exp()[..., None] * values
    torch.testing.assert_close(o[..., 0] / o[..., 1], wkv_sums(k, v, w, u), **EXACT)


@pytest.mark.parametrize("cell", [MinGRU, MinLSTM])
def test_minimal_cells_are_cases(cell: type[MinimalCell]) -> None:
    """g = log a and v = w ⊙ g(W_h u), both from the input alone."""
    layer, u = cell(D, D).double(), torch.randn(B, L, D)
    *gates, candidate = F.linear(u, layer.weight, layer.bias).chunk(layer.n_gates + 1, dim=-1)
    log_a, log_w = layer.log_gates(torch.cat(gates, dim=-1))
    h = channelwise(log_a, (log_w + log_positive(candidate)).exp())
    torch.testing.assert_close(h, layer(u), **EXACT)


def test_rg_lru_is_a_case() -> None:
    """g = −8 r ⊙ softplus(Λ) and v = sqrt(1 − a²) ⊙ i ⊙ x."""
    layer, x, h = RGLRU(D, 2).double(), torch.randn(B, L, D), torch.zeros(B, D)
    r, i = torch.sigmoid(layer.recurrence_gate(x)), torch.sigmoid(layer.input_gate(x))
    g = -8 * r * F.softplus(layer.Lambda)
    got = channelwise(g, (1 - (2 * g).exp()).sqrt() * i * x)
    torch.testing.assert_close(got, layer(x, h), **EXACT)


def gates_along(layer: Any, u: Tensor) -> list[Tensor]:
    """Pre-activations of every step, as the layer's own loop comes to them."""
    state, found = layer.allocate_state(u.shape[0]), []
    for u_t in u.unbind(dim=1):
        h = layer._hidden(state)
        found.append((F.linear(u_t, *layer.input_map), h))
        _, state = layer.step(u_t, state)
    return [torch.stack(part, dim=1) for part in zip(*found, strict=True)]


def test_the_cell_of_an_lstm_is_a_case_once_its_gates_are_known() -> None:
    """g = log f, v = i ⊙ g; but the gates are read from h_{t−1}, so no scan finds them."""
    layer, u = LSTM(D, D).double(), torch.randn(B, L, D)
    Wu, past = gates_along(layer, u)
    i, f, g, o = (Wu + F.linear(past, layer.weight_hh, layer.bias_hh)).chunk(4, dim=-1)
    c = channelwise(F.logsigmoid(f), torch.sigmoid(i) * torch.tanh(g))
    torch.testing.assert_close(torch.sigmoid(o) * torch.tanh(c), layer(u), **EXACT)


def test_the_state_of_a_gru_is_a_case_once_its_gates_are_known() -> None:
    """g = log z, v = (1 − z) ⊙ n."""
    layer, u = GRU(D, D).double(), torch.randn(B, L, D)
    Wu, past = gates_along(layer, u)
    Uh = F.linear(past, layer.weight_hh, layer.bias_hh)
    (wr, wz, wn), (ur, uz, un) = Wu.chunk(3, dim=-1), Uh.chunk(3, dim=-1)
    z, n = torch.sigmoid(wz + uz), torch.tanh(wn + torch.sigmoid(wr + ur) * un)
    torch.testing.assert_close(channelwise(F.logsigmoid(wz + uz), (1 - z) * n), layer(u), **EXACT)


def test_the_cell_of_an_slstm_is_a_case_once_its_gates_are_known() -> None:
    """g = log σ(f), k = e^i, v = (tanh z, 1): the normaliser is one more column of the state."""
    layer, u = SLSTM(D, D, n_heads=2).double(), torch.randn(B, L, D)
    Wu, past = gates_along(layer, u)
    i, f, z, o = (Wu + past @ layer.recurrent_matrix().mT).chunk(4, dim=-1)
    one, values = torch.ones(B, L, D, 1), torch.stack([torch.tanh(z), torch.ones_like(z)], dim=-1)
    cell = both(Case(one, i.exp()[..., None], values, F.logsigmoid(f)[..., None]))
    torch.testing.assert_close(torch.sigmoid(o) * cell[..., 0] / cell[..., 1], layer(u), **EXACT)
