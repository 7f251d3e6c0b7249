"""S4: the generating-function kernel, the dense system and the O(n) step are one layer."""

from typing import Any

import numpy as np
import pytest
import scipy.signal
import torch

from ssm_ref.structured.hippo import Measure, hippo
from ssm_ref.structured.s4 import (
    S4,
    S4Config,
    dense,
    kernel_from_generating_function,
    krylov,
    step,
)

F64, C128 = torch.float64, torch.complex128
# Every start, and more vectors P than a start needs, with numbers in all of them.
STARTS = pytest.mark.parametrize(
    "start", [{"measure": m} for m in Measure] + [{"rank": 3}], ids=lambda o: str(*o.values())
)


def layer(l_max: int = 16, d_state: int = 8, **options: Any) -> S4:
    torch.manual_seed(0)
    s4 = S4(S4Config(d_model=3, l_max=l_max, d_state=d_state, **options)).double()
    if s4.cfg.rank is not None:
        with torch.no_grad():
            s4.P[1:].normal_()
    return s4


def full(x: torch.Tensor) -> torch.Tensor:
    return torch.cat([x, x.conj()], dim=-1)


@STARTS
@pytest.mark.parametrize("l", [1, 2, 7, 16, 33])
def test_generating_function_gives_the_impulse_response(l: int, start: dict[str, Any]) -> None:
    system = layer(**start).system()
    A_bar, B_bar = dense(system)
    C = torch.randn(3, 4, dtype=C128)
    want = torch.einsum("dm,dml->dl", full(C), krylov(A_bar, B_bar, l))
    row = full(C)[:, None]
    C_tilde = (row - row @ torch.linalg.matrix_power(A_bar, l))[:, 0, :4]
    got = kernel_from_generating_function(system, C_tilde, l)
    assert want.imag.abs().max() < 1e-12
    torch.testing.assert_close(got, want.real)


@pytest.mark.parametrize("measure", Measure)
def test_it_starts_as_hippo_under_the_bilinear_rule(measure: Measure) -> None:
    """Every moment of the matrix and of (A, B), which no change of basis touches, is scipy's."""
    n, dt = 8, 0.05
    A, B = (x.numpy() for x in hippo(measure, n, theta=2.0))
    if measure is not Measure.LEGS:  # the normal part of the others does not decay by itself
        A -= 1e-4 * np.eye(n)
    s4 = layer(d_state=n, measure=measure)
    with torch.no_grad():
        s4.log_dt.fill_(torch.tensor(dt, dtype=F64).log())
    A_bar, B_bar = (x[0].detach().numpy() for x in dense(s4.system()))
    want_A, want_B, *_ = scipy.signal.cont2discrete(
        (A, B[:, None], np.eye(n), np.zeros((n, 1))), dt, "bilinear"
    )
    for k in range(1, n + 1):
        trace = np.trace(np.linalg.matrix_power(want_A, k))
        assert np.trace(np.linalg.matrix_power(A_bar, k)).real == pytest.approx(trace, rel=1e-5)
    reach = [want_B[:, 0] @ np.linalg.matrix_power(want_A, k) @ want_B[:, 0] for k in range(n)]
    got = [B_bar.conj() @ np.linalg.matrix_power(A_bar, k) @ B_bar for k in range(n)]
    np.testing.assert_allclose(got, reach, rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("n", [2, 6])
def test_two_vectors_are_needed_for_legt_alone(n: int) -> None:
    shapes = {
        m.value: tuple(S4(S4Config(d_model=1, l_max=4, d_state=n, measure=m)).P.shape)
        for m in Measure
    }
    assert shapes == dict.fromkeys(shapes, (1, 1, n // 2, 2)) | {"legt": (2, 1, n // 2, 2)}


@STARTS
def test_kernel_is_the_same_at_any_length(start: dict[str, Any]) -> None:
    """Cut below l_max, carried beyond it: always the taps of one recurrence."""
    s4 = layer(**start)
    A_bar, B_bar = dense(s4.system())
    want = torch.einsum("dm,dml->dl", full(s4.C()), krylov(A_bar, B_bar, 50)).real
    for l in (1, 5, 16, 17, 32, 50):
        torch.testing.assert_close(s4.kernel(l), want[:, :l])


@STARTS
def test_step_is_the_dense_recurrence(start: dict[str, Any]) -> None:
    system = layer(**start).system()
    A_bar, B_bar = dense(system)
    h, u = torch.randn(2, 3, 4, dtype=C128), torch.randn(2, 3, dtype=F64)
    want = (A_bar @ full(h)[..., None])[..., 0] + B_bar * u[..., None]
    torch.testing.assert_close(step(system, h, u), want[..., :4])


@STARTS
@pytest.mark.parametrize("l", [9, 16, 21])
def test_prefill_equals_steps_and_cut_anywhere(l: int, start: dict[str, Any]) -> None:
    s4, u = layer(**start), torch.randn(2, l, 3, dtype=F64)
    whole, last = s4(u)
    for cut in (1, l // 2, l - 1):
        head, state = s4(u[:, :cut])
        tail, state = s4(u[:, cut:], state)
        torch.testing.assert_close(torch.cat([head, tail], dim=1), whole)
        torch.testing.assert_close(state, last)
    state, C = None, s4.C()
    for t in range(l):
        y, state = s4.step(u[:, t], state, C=C)
        torch.testing.assert_close(y, whole[:, t])
    torch.testing.assert_close(state, last)


def test_is_causal() -> None:
    s4, u = layer(), torch.randn(1, 9, 3, dtype=F64)
    v = u.clone()
    v[:, 6:] += 1
    torch.testing.assert_close(s4(u)[0][:, :6], s4(v)[0][:, :6])


@pytest.mark.parametrize("rank", [1, 3])
def test_stable_whatever_the_parameters(rank: int) -> None:
    """Λ − P P* keeps its eigenvalues in the left half-plane for any P."""
    s4 = layer(rank=rank)
    with torch.no_grad():
        for p in s4.parameters():
            p.copy_(torch.randn_like(p))
    assert (torch.linalg.eigvals(dense(s4.system())[0]).abs() <= 1).all()


def test_low_rank_term_matters() -> None:
    s4 = layer()
    want = s4.kernel(16)
    with torch.no_grad():
        s4.P.zero_()
    assert (s4.kernel(16) - want).norm() > 0.1 * want.norm()


@pytest.mark.parametrize("measure", ["legs", "legt"])
def test_gradients(measure: str) -> None:
    s4, u = (
        layer(l_max=4, d_state=4, measure=measure),
        torch.randn(1, 4, 3, dtype=F64, requires_grad=True),
    )
    state = torch.randn(1, 3, 2, dtype=C128, requires_grad=True)
    names, values = zip(*s4.named_parameters(), strict=True)

    def f(u: torch.Tensor, state: torch.Tensor, *values: torch.Tensor) -> object:
        return torch.func.functional_call(s4, dict(zip(names, values, strict=True)), (u, state))

    assert torch.autograd.gradcheck(f, (u, state, *values))


def test_small_shapes() -> None:
    s4 = layer()
    assert s4(torch.zeros(0, 3, 3, dtype=F64))[0].shape == (0, 3, 3)
    assert s4(torch.zeros(2, 1, 3, dtype=F64))[0].shape == (2, 1, 3)
    assert s4.no_weight_decay <= dict(s4.named_parameters()).keys()


def test_refuses_what_does_not_fit() -> None:
    s4, u = layer(), torch.zeros(1, 4, 3, dtype=F64)
    for call, message in (
        (lambda: S4Config(d_model=0, l_max=4), "d_model"),
        (lambda: S4Config(d_model=2, l_max=4, d_state=5), "even"),
        (lambda: S4Config(d_model=2, l_max=4, dt_max=1e-4), "dt_min"),
        (lambda: S4Config(d_model=2, l_max=4, measure="legu"), "unknown measure 'legu'"),
        (lambda: S4Config(d_model=2, l_max=4, measure="legt", rank=1), "at least 2 for legt"),
        (lambda: s4.kernel(0), "l ≥ 1"),
        (lambda: s4(u[..., :2]), "u must have shape"),
        (lambda: s4(u[:, :0]), "at least one"),
        (lambda: s4(u, torch.zeros(1, 3, 9)), "state must be complex"),
        (lambda: s4.step(u[:, 0], torch.zeros(1, 3, 4)), "state must be complex"),
        (lambda: s4.step(u), "u_t must have shape"),
        (lambda: kernel_from_generating_function(s4.system(), s4.C()[:2], 4), "C_tilde must have"),
        (lambda: kernel_from_generating_function(s4.system(), s4.C(), 0), "l be at least 1"),
        (lambda: krylov(*dense(s4.system()), 0), "l be at least 1"),
        (lambda: krylov(dense(s4.system())[0], s4.C(), 3), "b must have 8 numbers"),
        (lambda: step(s4.system(), torch.zeros(1, 3, 4), u[:, 0]), "h must be complex"),
        (lambda: step(s4.system(), s4.C()[None], u[:, 0, :2]), "u_t must have shape"),
    ):
        with pytest.raises(ValueError, match=message):
            call()


def test_outputs_alone_are_those_of_the_layer() -> None:
    torch.manual_seed(0)
    layer = S4(S4Config(d_model=3, l_max=8, d_state=4)).double()
    for l in (5, 8, 19):
        u = torch.randn(2, l, 3, dtype=torch.float64)
        torch.testing.assert_close(layer.outputs(u), layer(u)[0], rtol=0, atol=0)
    with pytest.raises(ValueError, match="u must"):
        layer.outputs(torch.randn(2, 5, 4, dtype=torch.float64))
