"""HGRN2: a case with tied keys, averages in its rows, and bounds that rise with depth."""

import pytest
import torch

from ssm_ref.linear_attention.hgrn2 import HGRN2, LowerBounds, hgrn2_case, hgrn2_recurrent
from ssm_ref.linear_attention.recurrence import chunked, parallel, recurrent

EXACT = {"rtol": 1e-10, "atol": 1e-10}


def operands(l: int = 19) -> tuple[torch.Tensor, ...]:
    q, f = torch.randn(2, 2, l, 3, 4, dtype=torch.float64)
    return q, torch.sigmoid(f), torch.randn(2, l, 3, 5, dtype=torch.float64)


def test_is_a_case_of_the_common_recurrence() -> None:
    parts = operands()
    want = hgrn2_recurrent(*parts)
    for form in (recurrent, parallel, chunked):
        torch.testing.assert_close(form(hgrn2_case(*parts))[0], want, **EXACT)


def test_rows_of_the_state_are_averages_of_the_inputs() -> None:
    """Weights 1 - f are positive and sum to at most one: no row leaves the inputs' range."""
    q, f, i = operands()
    _, S = recurrent(hgrn2_case(q, f, i))
    top = torch.cat([i, torch.zeros_like(i[:, :1])], dim=1)
    assert (top.amax(dim=1)[:, :, None] + 1e-12 >= S).all()
    assert (top.amin(dim=1)[:, :, None] - 1e-12 <= S).all()


def test_bounds_rise_with_depth_from_zero() -> None:
    bounds = LowerBounds(4, 8)
    with torch.no_grad():
        bounds.logits.normal_()
    gamma = torch.stack([bounds(layer) for layer in range(4)])
    assert not gamma[0].any()
    assert (gamma.diff(dim=0) > 0).all()
    assert (gamma < 1).all()


def test_a_deeper_layer_cannot_forget_faster_than_its_bound() -> None:
    bounds = LowerBounds(4, 8)
    layer = HGRN2(8, 4, bounds=bounds, layer=2).double()
    with torch.no_grad():
        layer.f_proj.weight.mul_(100)
    u = torch.randn(2, 9, 8, dtype=torch.float64)
    f = layer.project(u, torch.zeros(2, 0)).case.g.exp()
    assert f.min() >= 0.5 - 1e-12
    layer(u).sum().backward()
    assert bounds.logits.grad is not None
    assert bounds.logits.grad.any()


def test_a_gate_that_underflows_forgets_everything_and_leaves_gradients_finite() -> None:
    q, i = torch.randn(1, 9, 1, 4), torch.randn(1, 9, 1, 5)
    gates = torch.randn(1, 9, 1, 4).index_fill(1, torch.tensor([3, 6]), -200.0).requires_grad_()
    f = torch.sigmoid(gates)
    assert f[:, 3].max() == 0
    want = hgrn2_recurrent(q.double(), f.double(), i.double())
    (wanted,) = torch.autograd.grad(want.sin().sum(), gates, retain_graph=True)
    for form in (recurrent, chunked):
        o, _ = form(hgrn2_case(q, f, i))
        torch.testing.assert_close(o.double(), want, rtol=1e-4, atol=1e-5)
        (got,) = torch.autograd.grad(o.sin().sum(), gates, retain_graph=True)
        torch.testing.assert_close(got, wanted, rtol=1e-4, atol=1e-5)


def test_shapes_of_the_published_layer() -> None:
    assert sum(p.numel() for p in HGRN2(16, 8).parameters()) == 4 * 256 + 16
    with pytest.raises(ValueError, match="d_head=5 must divide d_model=16"):
        HGRN2(16, 5)
