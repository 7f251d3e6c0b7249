"""Linear attention: three forms, the weights of an average, and the case."""

import torch

from ssm_ref.linear_attention.linear_attention import (
    LinearAttention,
    feature_map,
    linear_attention_case,
    linear_attention_parallel,
    linear_attention_recurrent,
    normalised,
)
from ssm_ref.linear_attention.recurrence import chunked, parallel, recurrent

EXACT = {"rtol": 1e-10, "atol": 1e-10}


def operands(l: int = 19) -> tuple[torch.Tensor, ...]:
    q, k = feature_map(torch.randn(2, 2, l, 3, 4, dtype=torch.float64))
    return q, k, torch.randn(2, l, 3, 5, dtype=torch.float64)


def test_the_forms_agree() -> None:
    parts = operands()
    want = linear_attention_recurrent(*parts)
    torch.testing.assert_close(linear_attention_parallel(*parts), want, **EXACT)


def test_is_a_case_of_the_common_recurrence() -> None:
    parts = operands()
    want = linear_attention_recurrent(*parts)
    for form in (recurrent, parallel, chunked):
        o, _ = form(linear_attention_case(*parts))
        torch.testing.assert_close(normalised(o), want, **EXACT)


def test_the_output_is_an_average_of_values() -> None:
    """Positive weights that sum to one: constant values come back, and none leaves their range."""
    q, k, v = operands()
    ones = linear_attention_recurrent(q, k, torch.ones_like(v))
    torch.testing.assert_close(ones, torch.ones_like(v), rtol=0, atol=1e-5)
    o = linear_attention_recurrent(q, k, v)
    assert (o <= v.cummax(dim=1).values + 1e-5).all()
    assert (o >= v.cummin(dim=1).values - 1e-5).all()


def test_the_feature_map_is_positive_and_continuous() -> None:
    x = torch.linspace(-9, 9, 37, dtype=torch.float64)
    torch.testing.assert_close(feature_map(x), torch.where(x > 0, x + 1, x.exp()))
    assert (feature_map(x) > 0).all()


def test_sums_never_forget() -> None:
    """A write is read back with full weight however long ago it was made."""
    l, key = 100, torch.eye(4, dtype=torch.float64)
    k = key[3].expand(1, l, 1, 4).clone()
    k[:, 0, 0] = key[0]
    v = torch.arange(l, dtype=torch.float64).reshape(1, l, 1, 1) + 7
    q = key[0].expand(1, l, 1, 4)
    o = linear_attention_recurrent(q, k, v)
    torch.testing.assert_close(o[0, -1, 0, 0].item(), 7.0, rtol=1e-5, atol=0)


def test_parameter_count() -> None:
    count = sum(p.numel() for p in LinearAttention(8, 2).parameters())
    assert count == 4 * (8 * 8 + 8)
