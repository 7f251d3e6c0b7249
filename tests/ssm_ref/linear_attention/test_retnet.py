"""Retention: its forms, the fixed rates, and rotation as a complex decay."""

import math

import pytest
import torch

from ssm_ref.linear_attention.recurrence import chunked, parallel, recurrent
from ssm_ref.linear_attention.retnet import (
    RetNet,
    retention_case,
    retention_log_decay,
    retention_parallel,
    retention_recurrent,
    rotate,
)

EXACT = {"rtol": 1e-10, "atol": 1e-10}


def operands(l: int = 19) -> tuple[torch.Tensor, ...]:
    q, k = torch.randn(2, 2, l, 3, 4, dtype=torch.float64)
    return q, k, torch.randn(2, l, 3, 5, dtype=torch.float64)


def test_the_forms_agree() -> None:
    parts = operands()
    want = retention_recurrent(*parts)
    torch.testing.assert_close(retention_parallel(*parts), want, **EXACT)


def test_is_a_case_of_the_common_recurrence() -> None:
    parts = operands()
    want = retention_recurrent(*parts)
    for form in (recurrent, parallel, chunked):
        torch.testing.assert_close(form(retention_case(*parts))[0], want, **EXACT)


def test_the_rates_are_those_of_the_paper() -> None:
    gamma = retention_log_decay(3).exp()
    torch.testing.assert_close(gamma, torch.tensor([31 / 32, 63 / 64, 127 / 128]).double())


def test_a_write_fades_by_the_power_of_its_age() -> None:
    l, one = 40, torch.ones(1, 40, 2, 1, dtype=torch.float64)
    v = torch.zeros_like(one)
    v[:, 0] = 1
    o = retention_recurrent(one, one, v)[0, :, :, 0]
    gamma = torch.tensor([31 / 32, 63 / 64], dtype=torch.float64)
    torch.testing.assert_close(o, gamma ** torch.arange(l)[:, None])


def test_rotation_is_a_complex_decay() -> None:
    """Turning q and k by position equals S_t = γ e^{iθ} S_{t-1} + k vᵀ, o = Re(S* q)."""
    q, k, v = operands(9)
    position = torch.arange(9)[None]
    want = retention_recurrent(rotate(q, position), rotate(k, position), v)

    def pairs(x: torch.Tensor) -> torch.Tensor:
        return torch.view_as_complex(x.unflatten(-1, (-1, 2)).contiguous())

    theta = 10_000.0 ** -torch.linspace(0, 1, 2, dtype=torch.float64)
    gamma = retention_log_decay(3).exp()
    decay = (gamma[:, None] * torch.polar(torch.ones(2).double(), theta))[..., None]
    S = torch.zeros(2, 3, 2, 5, dtype=torch.complex128)
    for t in range(9):
        S = decay.conj() * S + pairs(k[:, t])[..., None] * v[:, t, :, None]
        o = torch.einsum("bhnp,bhn->bhp", S.conj(), pairs(q[:, t])).real / 2
        torch.testing.assert_close(o, want[:, t])


def test_the_norm_is_blind_to_the_scale_of_the_values() -> None:
    layer = RetNet(8, 2, norm_eps=0.0).double()
    u = torch.randn(1, 6, 8, dtype=torch.float64)
    want = layer(u)
    with torch.no_grad():
        layer.v_proj.weight.mul_(7)
    torch.testing.assert_close(layer(u), want)


def test_only_the_distance_counts() -> None:
    """A layer that has counted more tokens reads the same: positions are relative."""
    layer, u = RetNet(8, 2).double(), torch.randn(1, 6, 8, dtype=torch.float64)
    state = layer.allocate_state(1)
    late, _ = layer.prefill(u, state._replace(past=state.past + 1000))
    torch.testing.assert_close(late, layer(u), rtol=1e-8, atol=1e-9)


def test_shapes_and_start_of_the_published_layer() -> None:
    layer = RetNet(32, 4)
    assert sum(p.numel() for p in layer.parameters()) == 32 * 32 * (1 + 1 + 2 + 2 + 2)
    bound = 2**-2.5 * math.sqrt(6 / 64)
    assert layer.q_proj.weight.abs().max() <= bound
    with pytest.raises(ValueError, match="even to be turned"):
        RetNet(9, 3)
    with pytest.raises(ValueError, match="n_heads=3 must divide d_model=8"):
        RetNet(8, 3)
