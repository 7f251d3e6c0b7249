"""Gated linear attention: its forms, its gate, and where the written form breaks."""

import pytest
import torch

from ssm_ref.linear_attention.gla import (
    GatedLinearAttention,
    gla_case,
    gla_parallel,
    gla_recurrent,
)
from ssm_ref.linear_attention.recurrence import chunked, parallel, recurrent
from ssm_ref.linear_attention.retnet import retention_log_decay, retention_recurrent

EXACT = {"rtol": 1e-10, "atol": 1e-10}


def operands(l: int = 19) -> tuple[torch.Tensor, ...]:
    q, k, gate = torch.randn(3, 2, l, 3, 4, dtype=torch.float64)
    g = torch.nn.functional.logsigmoid(gate) / 16
    return q, k, torch.randn(2, l, 3, 5, dtype=torch.float64), g


def test_the_forms_agree() -> None:
    parts = operands()
    torch.testing.assert_close(gla_parallel(*parts), gla_recurrent(*parts), **EXACT)


def test_is_a_case_of_the_common_recurrence() -> None:
    parts = operands()
    want = gla_recurrent(*parts)
    for form in (recurrent, parallel, chunked):
        torch.testing.assert_close(form(gla_case(*parts))[0], want, **EXACT)


def test_with_one_rate_a_head_it_is_retention() -> None:
    q, k, v, _ = operands()
    g = retention_log_decay(3)[:, None].expand_as(q)
    torch.testing.assert_close(gla_recurrent(q, k, v, g), retention_recurrent(q, k, v), **EXACT)


def test_dividing_by_the_decay_overflows_where_chunks_do_not() -> None:
    q, k, v, _ = (x.float() for x in operands(64))
    g = torch.full_like(q, -3.0)
    assert not gla_parallel(q, k, v, g).isfinite().all()
    want = gla_recurrent(*(x.double() for x in (q, k, v, g)))
    got, _ = chunked(gla_case(q, k, v, g))
    assert (got - want).norm() / want.norm() < 1e-6


def test_the_root_keeps_the_start_near_one() -> None:
    """At the start the logits are small: α ≈ (1/2)^{1/16} = 0.958, a half-life of 16 tokens."""
    torch.manual_seed(0)
    layer = GatedLinearAttention(64, 4)
    case = layer.project(torch.randn(1, 20, 64), torch.zeros(1, 0)).case
    alpha = case.g.exp()
    assert alpha.min() > 0.95
    assert alpha.max() < 0.97


def test_shapes_of_the_published_layer() -> None:
    layer = GatedLinearAttention(32, 4)
    d = 32
    want = 2 * d * d // 2 + 3 * d * d + 16 * d + 16 * d // 2 + d // 2 + d // 4
    assert sum(p.numel() for p in layer.parameters()) == want
    assert layer.state_shape == (4, 4, 8)
    with pytest.raises(ValueError, match="n_heads=5 must divide d_model / 2=16"):
        GatedLinearAttention(32, 5)
