"""Scans: trees against the loop, the linear recurrence against scipy and its own gradients."""

import math
import time

import numpy as np
import pytest
import scipy.signal
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from ssm_ref.foundations.scan import (
    Elements,
    associative_scan,
    compose_affine,
    hillis_steele_scan,
    linear_recurrence,
    linear_scan,
    scan,
)

TREES = [associative_scan, hillis_steele_scan]
F64 = torch.float64


def product(first: Elements, second: Elements) -> Elements:
    return (second[0] @ first[0],)


def pairs(l: int, dtype: torch.dtype = F64, width: int = 3, b: int = 2) -> tuple[Tensor, Tensor]:
    g = torch.Generator().manual_seed(l)
    a = torch.randn(b, l, width, dtype=dtype, generator=g)
    return a, torch.randn(b, l, width, dtype=dtype, generator=g)


@pytest.mark.parametrize("tree", TREES)
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("l", [*range(1, 18), 64, 65])
def test_trees_equal_the_loop(tree: object, reverse: bool, l: int) -> None:
    a, u = pairs(l)
    want = scan(compose_affine, (a, u), dim=1, reverse=reverse)
    got = tree(compose_affine, (a, u), dim=1, reverse=reverse)  # type: ignore[operator]
    torch.testing.assert_close(got, want)


@pytest.mark.parametrize("tree", [scan, *TREES])
def test_order_of_a_product_that_does_not_commute(tree: object) -> None:
    m = torch.randn(7, 3, 3, dtype=F64)
    want = torch.linalg.multi_dot(list(m.flip(0)))
    assert not torch.allclose(want, torch.linalg.multi_dot(list(m)))
    torch.testing.assert_close(tree(product, (m,))[0][-1], want)  # type: ignore[operator]


@pytest.mark.parametrize("tree", [scan, *TREES])
def test_sums_and_products_are_scans(tree: object) -> None:
    x = torch.randn(4, 9, dtype=F64)
    for combine, want in (
        (lambda s, e: (s[0] + e[0],), x.cumsum(1)),
        (lambda s, e: (s[0] * e[0],), x.cumprod(1)),
        (lambda s, e: (torch.maximum(s[0], e[0]),), x.cummax(1).values),
    ):
        torch.testing.assert_close(tree(combine, (x,), dim=-1)[0], want)  # type: ignore[operator]


def test_affine_composition_is_associative() -> None:
    e1, e2, e3 = (pairs(n) for n in (1, 1, 1))
    e2, e3 = (e2[0] + 1, e2[1] - 2), (e3[0] * 3, e3[1] + 5)
    left = compose_affine(compose_affine(e1, e2), e3)
    torch.testing.assert_close(left, compose_affine(e1, compose_affine(e2, e3)))


@pytest.mark.parametrize("l", [1, 2, 5, 16, 31, 64])
def test_combined_pairs_are_as_many_as_the_books_say(l: int) -> None:
    def count(tree: object) -> int:
        done = 0

        def combine(first: Elements, second: Elements) -> Elements:
            nonlocal done
            done += first[0].shape[0]
            return (first[0] + second[0],)

        tree(combine, (torch.ones(l),))  # type: ignore[operator]
        return done

    rounds = math.ceil(math.log2(l))
    assert count(scan) == l - 1
    assert count(associative_scan) <= 2 * l
    assert count(hillis_steele_scan) == sum(l - 2**k for k in range(rounds))


@pytest.mark.parametrize("dtype", [F64, torch.complex128], ids=str)
@settings(max_examples=25, deadline=None)
@given(l=st.integers(1, 40), b=st.integers(0, 3), width=st.integers(1, 4))
def test_linear_scan_equals_the_loop(dtype: torch.dtype, l: int, b: int, width: int) -> None:
    a, u = pairs(l, dtype, width, b)
    h0 = torch.randn(b, width, dtype=dtype)
    torch.testing.assert_close(linear_scan(a, u, h0), linear_recurrence(a, u, h0))
    torch.testing.assert_close(
        linear_scan(a, u), associative_scan(compose_affine, (a, u), dim=1)[1]
    )


def test_matches_scipy_lfilter() -> None:
    u = torch.randn(1, 100, 1, dtype=F64)
    want = scipy.signal.lfilter([1.0], [1.0, -0.9], u[0, :, 0].numpy())
    got = linear_scan(torch.tensor(0.9, dtype=F64), u)[0, :, 0].numpy()
    np.testing.assert_allclose(got, want, rtol=1e-12)


@pytest.mark.parametrize("stride", ["transposed", "expanded", "sliced"])
def test_strides_do_not_matter(stride: str) -> None:
    a, u = pairs(10, width=4)
    if stride == "transposed":
        u = u.transpose(1, 2).contiguous().transpose(1, 2)
    elif stride == "expanded":
        a = a[:, :1].expand_as(u)
    else:
        u = torch.cat([u, u], dim=2)[:, :, ::2]
    torch.testing.assert_close(linear_scan(a, u), linear_recurrence(a, u))


@pytest.mark.parametrize("cut", range(1, 10))
def test_cut_anywhere(cut: int) -> None:
    a, u = pairs(10)
    head = linear_scan(a[:, :cut], u[:, :cut])
    tail = linear_scan(a[:, cut:], u[:, cut:], head[:, -1])
    torch.testing.assert_close(torch.cat([head, tail], dim=1), linear_scan(a, u))


@pytest.mark.parametrize("dtype", [F64, torch.complex128], ids=str)
@pytest.mark.parametrize("l", [1, 2, 6, 11])
def test_gradients_twice(dtype: torch.dtype, l: int) -> None:
    a, u = pairs(l, dtype, width=2)
    h0 = torch.randn(2, 2, dtype=dtype)
    operands = tuple(x.requires_grad_() for x in (a, u, h0))
    assert torch.autograd.gradcheck(linear_scan, operands)
    assert torch.autograd.gradgradcheck(linear_scan, operands)


def test_gradients_by_torch_func() -> None:
    a, u = pairs(9)
    got = torch.func.grad(lambda a, u: linear_scan(a, u).sin().sum(), argnums=(0, 1))(a, u)
    a, u = a.requires_grad_(), u.requires_grad_()
    wanted = torch.autograd.grad(linear_recurrence(a, u).sin().sum(), (a, u))
    torch.testing.assert_close(got, wanted)


def test_gradient_is_the_scan_from_the_end() -> None:
    a, u = (x.requires_grad_() for x in pairs(12))
    h = linear_scan(a, u)
    grad_h = torch.randn_like(h)
    grad_a, grad_u = torch.autograd.grad(h, (a, u), grad_h)
    after = torch.cat([a[:, 1:], torch.zeros_like(a[:, :1])], dim=1)
    g = scan(compose_affine, (after, grad_h), dim=1, reverse=True)[1]
    torch.testing.assert_close(grad_u, g)
    torch.testing.assert_close(grad_a[:, 1:], g[:, 1:] * h[:, :-1])


def test_tree_is_differentiable_through_autograd() -> None:
    a, u = (x.requires_grad_() for x in pairs(5, width=1))
    assert torch.autograd.gradcheck(
        lambda a, u: associative_scan(compose_affine, (a, u), dim=1, reverse=True)[1], (a, u)
    )


def test_two_cumulative_sums_overflow_where_the_scan_does_not() -> None:
    """h_t = P_t Σ u_s / P_s with P = cumprod(a) fails in float32 once Σ|log a| passes 88.

    At 1.6 per step token 55 still holds and token 56 does not; at 0.1 the first 800 hold and
    the 900th does not.
    """
    for rate, good, bad in ((1.6, 55, 56), (0.1, 800, 900)):
        a, u = torch.full((1, bad, 1), math.exp(-rate)), torch.ones(1, bad, 1)
        decay = a.log().cumsum(1).exp()
        finite = (decay * (u / decay).cumsum(1)).isfinite()
        assert finite[:, :good].all()
        assert not finite[:, -1].any()
        want = linear_recurrence(a.double(), u.double())
        torch.testing.assert_close(linear_scan(a, u).double(), want, rtol=1e-6, atol=0)


def test_sixteen_thousand_steps_twenty_times_faster_than_the_loop() -> None:
    a, u = torch.rand(1, 16_384, 16), torch.randn(1, 16_384, 16)

    def seconds(f: object) -> float:
        start = time.perf_counter()
        f(a, u)  # type: ignore[operator]
        return time.perf_counter() - start

    linear_scan(a, u)
    fast = min(seconds(linear_scan) for _ in range(7))
    slow = min(seconds(linear_recurrence) for _ in range(2))
    assert slow > 20 * fast, f"{slow * 1e3:.0f} ms against {fast * 1e3:.1f} ms"


@pytest.mark.parametrize(
    ("elements", "message"),
    [
        ((), "at least one tensor"),
        ((torch.ones(0),), "length ≥ 1"),
        ((torch.ones(3), torch.ones(4)), "one length"),
        ((torch.tensor(1.0),), "axis 0"),
    ],
)
@pytest.mark.parametrize("tree", [scan, *TREES])
def test_refuses_elements(tree: object, elements: Elements, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        tree(lambda s, e: s, elements)  # type: ignore[operator]


@pytest.mark.parametrize("run", [linear_recurrence, linear_scan])
@pytest.mark.parametrize(
    ("a", "u", "h0", "message"),
    [
        (torch.ones(1, 3, 2), torch.ones(1, 3, 4), None, "broadcast"),
        (torch.ones(1, 3, 2), torch.ones(1, 3, 2), torch.ones(1, 3), "h0 must have shape"),
        (torch.ones(1, 0, 2), torch.ones(1, 0, 2), None, "l ≥ 1"),
        (
            torch.ones(1, 2).int(),
            torch.ones(1, 2).int(),
            None,
            "a must be floating point or complex",
        ),
    ],
)
def test_refuses_operands(
    run: object, a: Tensor, u: Tensor, h0: Tensor | None, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        run(a, u, h0)  # type: ignore[operator]
