"""The common recurrence: its forms are one function, and the family's older members are cases."""

import math

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from ssm_ref.linear_attention.recurrence import Case, chunked, decayed_scores, parallel, recurrent
from ssm_ref.linear_attention.rwkv7 import WKV7, wkv7_recurrent
from ssm_ref.selective.ssd import ssd

EXACT = {"rtol": 1e-10, "atol": 1e-10}
KINDS = ["scalar", "channel", "erase", "erase_scalar"]


def draw(kind: str, l: int, *, n: int = 4, p: int = 3, read_before: bool = False) -> Case:
    q, k, a, b = torch.randn(4, 2, l, 2, n, dtype=torch.float64)
    v = torch.randn(2, l, 2, p, dtype=torch.float64)
    g = -torch.rand(2, l, 2, 1 if "scalar" in kind else n, dtype=torch.float64).exp()
    a, b = normalize(a, dim=-1), normalize(b, dim=-1)
    erase = (a, b) if "erase" in kind else (None, None)
    return Case(q, k, v, g, *erase, read_before)


def test_erasing_where_it_writes_is_no_other_function() -> None:
    """The delta rule gives one tensor as k and b, and chunks then do half the work."""
    case = draw("erase", 20)
    same = case._replace(b=case.k)
    for got, want in zip(chunked(same), chunked(case._replace(b=case.k.clone())), strict=True):
        torch.testing.assert_close(got, want, **EXACT)
    torch.testing.assert_close(chunked(same)[0], recurrent(same)[0], **EXACT)


def start(n: int = 4, p: int = 3) -> Tensor:
    return torch.randn(2, 2, n, p, dtype=torch.float64)


@pytest.mark.parametrize("read_before", [False, True])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("l", "chunk_size"), [(1, 1), (7, 4), (16, 16), (33, 8), (33, 64)])
def test_chunks_are_the_definition(kind: str, l: int, chunk_size: int, read_before: bool) -> None:
    case, S = draw(kind, l, read_before=read_before), start()
    want, last = recurrent(case, S)
    got, state = chunked(case, S, chunk_size=chunk_size)
    torch.testing.assert_close(got, want, **EXACT)
    torch.testing.assert_close(state, last, **EXACT)


@pytest.mark.parametrize("kind", KINDS)
def test_one_chunk_is_the_definition(kind: str) -> None:
    case, S = draw(kind, 21), start()
    for got, want in zip(parallel(case, S), recurrent(case, S), strict=True):
        torch.testing.assert_close(got, want, **EXACT)


@pytest.mark.parametrize("kind", ["scalar", "erase"])
def test_gradients(kind: str) -> None:
    case, S = draw(kind, 3, n=2, p=2), start(2, 2)
    one = [x[:1, :, :1] for x in (*case[:6], S.transpose(1, 2)) if isinstance(x, Tensor)]
    leaves = [x.clone().requires_grad_() for x in one]

    def run(*parts: Tensor) -> tuple[Tensor, Tensor]:
        return chunked(Case(*parts[:-1]), parts[-1].transpose(1, 2), chunk_size=2)

    assert torch.autograd.gradcheck(run, leaves)


def test_the_state_is_handed_over() -> None:
    case = draw("erase", 20)
    whole, last = recurrent(case)
    head, S = chunked(Case(*(x[:, :9] for x in case[:6] if x is not None)), chunk_size=4)
    tail, S = chunked(Case(*(x[:, 9:] for x in case[:6] if x is not None)), S, chunk_size=8)
    torch.testing.assert_close(torch.cat([head, tail], dim=1), whole, **EXACT)
    torch.testing.assert_close(S, last, **EXACT)


@pytest.mark.parametrize("kind", KINDS)
def test_any_decay_is_safe_in_float32(kind: str) -> None:
    """Decays that would underflow a cumulative product, beside others of nearly nothing."""
    case = draw(kind, 64)
    rate = torch.where(torch.rand_like(case.g) < 0.5, 90.0, 1e-3).double()
    case = case._replace(g=-rate)
    want, _ = recurrent(case)
    narrow = Case(*(x.float() for x in case[:6] if x is not None))
    got, _ = chunked(narrow)
    assert ((got - want).norm() / want.norm()) < 1e-6


def test_minus_infinity_forgets_everything() -> None:
    case = draw("channel", 12)
    g = case.g.clone()
    g[:, 5] = -torch.inf
    g.requires_grad_()
    cut = case._replace(g=g)
    late = Case(*(x[:, 5:] for x in case[:4]))
    got, _ = chunked(cut, start(), chunk_size=8)
    torch.testing.assert_close(got[:, 5:], chunked(late)[0], **EXACT)
    got.sum().backward()
    assert g.grad is not None
    assert g.grad.isfinite().all()


def test_scores_are_the_sum_of_eq_3() -> None:
    x, y = torch.randn(2, 8, 3, dtype=torch.float64)
    g = -torch.rand(8, 3, dtype=torch.float64)
    after, before = decayed_scores(x, y, g), decayed_scores(x, y, g, before=True)
    for i in range(8):
        for j in range(8):
            decay, earlier = g[j + 1 : i + 1].sum(dim=0), g[j + 1 : i].sum(dim=0)
            want = (x[i] * y[j] * decay.exp()).sum() if i >= j else torch.zeros(())
            want_before = (x[i] * y[j] * earlier.exp()).sum() if i > j else torch.zeros(())
            assert math.isclose(after[i, j].item(), want.item(), abs_tol=1e-12)
            assert math.isclose(before[i, j].item(), want_before.item(), abs_tol=1e-12)


def test_mamba2_is_a_case() -> None:
    """q = C, k = B, v = Δx, g = ΔA: state space duality's operator."""
    x = torch.randn(2, 9, 4, 3, dtype=torch.float64)
    dt, A = torch.rand(2, 9, 4, dtype=torch.float64), -torch.rand(4, dtype=torch.float64)
    B, C = torch.randn(2, 2, 9, 2, 5, dtype=torch.float64)
    want, H = ssd(x, dt, A, B, C)
    q, k = (m.repeat_interleave(2, dim=2) for m in (C, B))
    case = Case(q, k, x * dt[..., None], (dt * A)[..., None])
    for form in (recurrent, chunked):
        got, S = form(case)
        torch.testing.assert_close(got, want, **EXACT)
        torch.testing.assert_close(S.mT, H, **EXACT)


def test_rwkv7_is_a_case() -> None:
    """q = r, a = κ̂, b = κ̂ ⊙ a, g = log w, and the state transposed."""
    r, k, v, kappa = torch.randn(4, 2, 9, 3, 4, dtype=torch.float64)
    w, a = torch.rand(2, 2, 9, 3, 4, dtype=torch.float64)
    kappa, S = normalize(kappa, dim=-1), torch.randn(2, 3, 4, 4, dtype=torch.float64)
    want, last = wkv7_recurrent(WKV7(r, w, k, v, kappa, a), S)
    case = Case(r, k, v, w.log(), kappa, kappa * a)
    for form in (recurrent, chunked):
        got, state = form(case, S.mT)
        torch.testing.assert_close(got, want, **EXACT)
        torch.testing.assert_close(state.mT, last, **EXACT)


def test_state_is_float32_at_least() -> None:
    case = Case(*(x.bfloat16() for x in draw("channel", 5)[:4]))
    for form in (recurrent, chunked):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            o, S = form(case)
        assert (o.dtype, S.dtype) == (torch.bfloat16, torch.float32)


def test_refuses() -> None:
    case = draw("erase", 3)
    with pytest.raises(ValueError, match="power of two; got 12"):
        chunked(case, chunk_size=12)
    with pytest.raises(ValueError, match="give both or neither"):
        recurrent(case._replace(b=None))
    with pytest.raises(ValueError, match="g must have shape"):
        recurrent(case._replace(g=case.g[..., :2]))
    with pytest.raises(ValueError, match="S must have shape"):
        recurrent(case, torch.zeros(2, 2, 3, 3))
    with pytest.raises(ValueError, match="with l > 0"):
        recurrent(Case(*(x[:, :0] for x in case[:4])))
