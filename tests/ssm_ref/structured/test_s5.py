"""S5: scan, loop, steps and the dense system are one layer; irregular sampling is exact."""

import numpy as np
import pytest
import scipy.signal
import torch
from torch.nn import functional

from ssm_ref.foundations.scan import linear_recurrence, linear_scan
from ssm_ref.structured.hippo import normal_plus_low_rank
from ssm_ref.structured.s5 import S5, S5Config, initial_state_space

F64, C128 = torch.float64, torch.complex128
RUNS = pytest.mark.parametrize("run", [linear_recurrence, linear_scan])


def layer(run: object = linear_scan, blocks: int = 2) -> S5:
    torch.manual_seed(0)
    return S5(S5Config(d_model=3, d_state=8, blocks=blocks), recurrence=run).double()  # type: ignore[arg-type]


def test_is_a_dense_system_to_scipy() -> None:
    """Both halves of the state side by side, zero-order hold, textbook form, D as feedthrough."""
    s5, u = layer(), torch.randn(1, 20, 3, dtype=F64)
    with torch.no_grad():
        s5.log_dt.fill_(np.log(0.1))
    L = torch.complex(-s5.log_decay.exp(), s5.frequency).detach()
    B, C = (torch.view_as_complex(x).detach().numpy() for x in (s5.B, s5.C))
    A = np.diag(torch.cat([L, L.conj()]))
    B2, C2 = np.concatenate([B, B.conj()]), np.concatenate([C, C.conj()], axis=1)
    A_bar, B_bar, *_ = scipy.signal.cont2discrete((A, B2, C2, np.zeros((3, 3))), 0.1, "zoh")
    x, ys = np.zeros(8, dtype=complex), []
    for u_k in u[0].numpy():
        x = A_bar @ x + B_bar @ u_k
        ys.append((C2 @ x).real + s5.D.detach().numpy() * u_k)
    z = functional.gelu(torch.tensor(np.array(ys)))
    want = z * torch.sigmoid(s5.gate(z))
    torch.testing.assert_close(s5(u)[0][0], want)


@RUNS
def test_prefill_equals_steps_and_cut_anywhere(run: object) -> None:
    s5, u = layer(run), torch.randn(2, 9, 3, dtype=F64)
    gaps = 3 * torch.rand(2, 9, dtype=F64)
    for g in (None, gaps):
        whole, last = s5(u, gaps=g)
        for cut in range(1, 9):
            head, state = s5(u[:, :cut], gaps=None if g is None else g[:, :cut])
            tail, state = s5(u[:, cut:], state, gaps=None if g is None else g[:, cut:])
            torch.testing.assert_close(torch.cat([head, tail], dim=1), whole)
            torch.testing.assert_close(state, last)
        state = None
        for t in range(9):
            y, state = s5.step(u[:, t], state, gap=None if g is None else g[:, t])
            torch.testing.assert_close(y, whole[:, t])


def test_loop_and_scan_agree() -> None:
    u = torch.randn(2, 33, 3, dtype=F64)
    torch.testing.assert_close(layer(linear_scan)(u), layer(linear_recurrence)(u))


def test_a_gap_of_two_is_two_steps_with_the_input_held() -> None:
    s5, u = layer(), torch.randn(1, 5, 3, dtype=F64)
    _, want = s5(u.repeat_interleave(2, dim=1))
    _, got = s5(u, gaps=torch.full((1, 5), 2.0, dtype=F64))
    torch.testing.assert_close(got, want)
    torch.testing.assert_close(s5(u, gaps=torch.ones(1, 5, dtype=F64)), s5(u))


def test_starts_from_blocks_of_legs() -> None:
    cfg = S5Config(d_model=3, d_state=16, blocks=2)
    eigenvalues, B, C = initial_state_space(cfg)
    want = normal_plus_low_rank("legs", 8).eigenvalues[4:].repeat(2)
    torch.testing.assert_close(eigenvalues, want)
    assert (B.shape, C.shape) == ((8, 3), (3, 8))


def test_half_of_the_pairs_carries_a_real_system() -> None:
    """2·Re over one half equals the whole: C V V* B = C B for a real start."""
    torch.manual_seed(0)
    _, B, C = initial_state_space(S5Config(d_model=3, d_state=8))
    torch.manual_seed(0)
    B0 = torch.randn(8, 3, dtype=F64) / 3**0.5
    C0 = torch.randn(3, 8, dtype=F64) / 8**0.5
    torch.testing.assert_close(2 * (C @ B).real, C0 @ B0)


def test_is_causal_and_stable() -> None:
    s5, u = layer(), torch.randn(1, 9, 3, dtype=F64)
    v = u.clone()
    v[:, 6:] += 1
    torch.testing.assert_close(s5(u)[0][:, :6], s5(v)[0][:, :6])
    with torch.no_grad():
        s5.log_decay.copy_(5 * torch.randn(4))
    assert (s5._discrete(None)[0].abs() <= 1).all()


def test_gradients() -> None:
    s5, u = layer(), torch.randn(1, 4, 3, dtype=F64, requires_grad=True)
    state = torch.randn(1, 4, dtype=C128, requires_grad=True)
    gaps = torch.rand(1, 4, dtype=F64, requires_grad=True)
    names, values = zip(*s5.named_parameters(), strict=True)

    def f(u: object, state: object, gaps: object, *values: object) -> object:
        parameters = dict(zip(names, values, strict=True))
        return torch.func.functional_call(s5, parameters, (u, state), {"gaps": gaps})

    assert torch.autograd.gradcheck(f, (u, state, gaps, *values))


def test_small_shapes_and_parameter_count() -> None:
    s5 = layer()
    assert s5(torch.zeros(0, 3, 3, dtype=F64))[0].shape == (0, 3, 3)
    assert s5(torch.zeros(2, 1, 3, dtype=F64))[0].shape == (2, 1, 3)
    d, n = 3, 4
    assert sum(p.numel() for p in s5.parameters()) == 3 * n + 4 * n * d + d + d * (d + 1)
    assert s5.no_weight_decay <= dict(s5.named_parameters()).keys()


def test_refuses_what_does_not_fit() -> None:
    s5, u = layer(), torch.zeros(1, 4, 3, dtype=F64)
    for call, message in (
        (lambda: S5Config(d_model=0), "d_model"),
        (lambda: S5Config(d_model=2, d_state=12, blocks=4), "multiple of 2 · blocks = 8"),
        (lambda: S5Config(d_model=2, dt_min=1.0), "dt_min"),
        (lambda: s5(u[..., :2]), "u must have shape"),
        (lambda: s5(u[:, :0]), "at least one"),
        (lambda: s5(u, torch.zeros(1, 9)), "state must be complex"),
        (lambda: s5(u, gaps=torch.ones(1, 3)), "gaps must have shape"),
        (lambda: s5.step(u), "u_t must have shape"),
        (lambda: s5.step(u[:, 0], gap=torch.ones(2)), "gap must have shape"),
    ):
        with pytest.raises(ValueError, match=message):
            call()
