"""DeltaNet: its forms, and what the rule does to a key."""

import pytest
import torch

from ssm_ref.linear_attention.deltanet import (
    DeltaNet,
    DeltaNetConfig,
    delta_rule_case,
    delta_rule_chunked,
    delta_rule_recurrent,
    unit,
)
from ssm_ref.linear_attention.recurrence import chunked, parallel, recurrent

EXACT = {"rtol": 1e-10, "atol": 1e-10}


def operands(l: int = 19) -> tuple[torch.Tensor, ...]:
    q, k = torch.randn(2, 2, l, 3, 4, dtype=torch.float64)
    beta = 2 * torch.rand(2, l, 3, dtype=torch.float64)
    k = torch.nn.functional.normalize(k, dim=-1)
    return q, k, torch.randn(2, l, 3, 5, dtype=torch.float64), beta


def test_is_a_case_of_the_common_recurrence() -> None:
    parts = operands()
    want = delta_rule_recurrent(*parts)
    for form in (recurrent, parallel, chunked):
        torch.testing.assert_close(form(delta_rule_case(*parts))[0], want, **EXACT)


@pytest.mark.parametrize("chunk_size", [1, 7, 64])
def test_chunks_without_exponents_are_the_recurrence_gradients_too(chunk_size: int) -> None:
    parts = [x.requires_grad_() for x in operands()]
    S = torch.randn(2, 3, 4, 5, dtype=torch.float64, requires_grad=True)
    want, got = (
        form(delta_rule_case(*parts), S)
        for form in (recurrent, lambda case, S: delta_rule_chunked(case, S, chunk_size=chunk_size))
    )
    for a, b in zip(want, got, strict=True):
        torch.testing.assert_close(b, a, **EXACT)
    weights = [torch.randn_like(x) for x in want]
    wanted, given = (
        torch.autograd.grad(
            sum((w * x).sum() for w, x in zip(weights, out, strict=True)), [*parts, S]
        )
        for out in (want, got)
    )
    for a, b in zip(wanted, given, strict=True):
        torch.testing.assert_close(b, a, rtol=1e-9, atol=1e-9)


def test_chunks_without_exponents_refuse_what_they_cannot_do() -> None:
    case = delta_rule_case(*operands())
    for other in (
        case._replace(g=case.g - 1),
        case._replace(b=2 * case.k),
        case._replace(read_before=True),
    ):
        with pytest.raises(ValueError, match="neither decays nor reads first"):
            delta_rule_chunked(other)
    with pytest.raises(ValueError, match="at least 1; got 0"):
        delta_rule_chunked(case, chunk_size=0)
    with pytest.raises(ValueError, match="v must have shape"):
        delta_rule_chunked(case._replace(v=case.v[:, :3]))


def test_the_step_is_a_product_with_a_householder_like_matrix() -> None:
    _, k, v, beta = operands(1)
    S = torch.randn(2, 3, 4, 5, dtype=torch.float64)
    _, got = recurrent(delta_rule_case(k, k, v, beta), S)
    k, v, beta = k[0, 0, 0], v[0, 0, 0], beta[0, 0, 0]
    transition = torch.eye(4).double() - beta * torch.outer(k, k)
    torch.testing.assert_close(got[0, 0], transition @ S[0, 0] + beta * torch.outer(k, v))
    eigenvalues = torch.linalg.eigvalsh(transition)
    torch.testing.assert_close(eigenvalues.prod(), 1 - beta)


def write(keys: torch.Tensor, values: torch.Tensor, beta: float) -> torch.Tensor:
    """What each key reads after all have been written at the rate beta."""
    l = len(keys)
    k, v = keys[None, :, None], values[None, :, None]
    rate = torch.full((1, l, 1), beta, dtype=torch.float64)
    _, S = recurrent(delta_rule_case(k, k, v, rate))
    return keys @ S[0, 0]


def test_a_new_value_replaces_the_old_one_and_no_other() -> None:
    key, other = torch.eye(4, dtype=torch.float64)[:2]
    values = torch.randn(3, 2, dtype=torch.float64)
    got = write(torch.stack([key, other, key]), values, 1.0)
    torch.testing.assert_close(got[2], values[2], **EXACT)
    torch.testing.assert_close(got[1], values[1], **EXACT)


def test_at_rate_two_an_empty_write_flips_the_sign() -> None:
    """The eigenvalue -1 that parity needs; with a value the read is 2v less the old one."""
    key, zero = torch.eye(4, dtype=torch.float64)[0], torch.zeros(2, dtype=torch.float64)
    S = torch.randn(1, 1, 4, 2, dtype=torch.float64)
    rate = torch.full((1, 1, 1), 2.0, dtype=torch.float64)
    for value in (zero, torch.ones_like(zero)):
        case = delta_rule_case(
            key.view(1, 1, 1, 4), key.view(1, 1, 1, 4), value.view(1, 1, 1, 2), rate
        )
        got, _ = recurrent(case, S)
        torch.testing.assert_close(got[0, 0, 0], 2 * value - S[0, 0, 0], **EXACT)


def test_one_step_is_gradient_descent() -> None:
    _, k, v, beta = operands(1)
    S = torch.randn(2, 3, 4, 5, dtype=torch.float64, requires_grad=True)
    loss = 0.5 * (torch.einsum("bhnp,bhn->bhp", S, k[:, 0]) - v[:, 0]).square().sum()
    (gradient,) = torch.autograd.grad(loss, S)
    _, got = recurrent(delta_rule_case(k, k, v, beta), S)
    torch.testing.assert_close(got, S - beta[:, 0, :, None, None] * gradient)


def test_unit_length() -> None:
    x = torch.randn(5, 7, dtype=torch.float64)
    torch.testing.assert_close(unit(x).norm(dim=-1), torch.ones(5).double(), rtol=0, atol=1e-5)
    assert unit(torch.zeros(3)).isfinite().all()


def test_the_rate_stays_in_its_range() -> None:
    for doubled, most in ((False, 1), (True, 2)):
        layer = DeltaNet(DeltaNetConfig(d_model=8, n_heads=2, negative_eigenvalues=doubled))
        layer = layer.double()
        with torch.no_grad():
            layer.b_proj.weight.fill_(50)
        past = torch.zeros(1, 3, 24, dtype=torch.float64)
        case = layer.project(torch.randn(1, 9, 8, dtype=torch.float64), past).case
        rate = case.b.norm(dim=-1)
        assert rate.max() <= most
        assert rate.max() > 0.9 * most


def test_shapes_of_the_published_layer() -> None:
    layer = DeltaNet(DeltaNetConfig(d_model=16))
    assert sum(p.numel() for p in layer.parameters()) == 4 * 256 + 4 * 16 + 3 * 16 * 4 + 4
    with pytest.raises(ValueError, match="n_heads=3 must divide d_model=8"):
        DeltaNetConfig(d_model=8, n_heads=3)
