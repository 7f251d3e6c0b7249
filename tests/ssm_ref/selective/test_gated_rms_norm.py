"""Gated RMSNorm: both orders and groups, held to transformers, torch and finite differences."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import rms_norm, silu
from transformers.models.mamba2.modeling_mamba2 import MambaRMSNormGated

from ssm_ref.selective.gated_rms_norm import GatedRMSNorm, gated_rms_norm


def inputs(*batch: int, d: int = 12) -> tuple[Tensor, Tensor, Tensor]:
    gen = torch.Generator().manual_seed(0)
    x, z = (torch.randn(*batch, d, generator=gen, dtype=torch.float64) for _ in range(2))
    return x, torch.randn(d, generator=gen, dtype=torch.float64), z


@pytest.mark.parametrize("groups", [1, 3, 12])
def test_agrees_with_transformers(groups: int) -> None:
    x, weight, z = (t.float() for t in inputs(2, 7))
    oracle = MambaRMSNormGated(12, 12 // groups, eps=1e-5)
    oracle.weight.data = weight
    torch.testing.assert_close(gated_rms_norm(x, weight, z, groups=groups), oracle(x, z))


@pytest.mark.parametrize("before", [False, True])
def test_without_a_gate_both_orders_are_rms_norm(before: bool) -> None:
    x, weight, _ = inputs(5)
    y = gated_rms_norm(x, weight, norm_before_gate=before, eps=1e-6)
    torch.testing.assert_close(y, rms_norm(x, (12,), weight, eps=1e-6))


def test_the_two_orders() -> None:
    x, weight, z = inputs(2, 3)
    after = gated_rms_norm(x, weight, z)
    before = gated_rms_norm(x, weight, z, norm_before_gate=True)
    torch.testing.assert_close(after, rms_norm(x * silu(z), (12,), weight, eps=1e-5))
    torch.testing.assert_close(before, rms_norm(x, (12,), weight, eps=1e-5) * silu(z))
    assert (after - before).abs().max() > 0.1


def test_groups_are_separate_norms() -> None:
    x, weight, z = inputs(2, 3)
    y = gated_rms_norm(x, weight, z, groups=3)
    parts = [
        gated_rms_norm(*(t[..., i : i + 4] for t in (x, weight, z)), groups=1) for i in (0, 4, 8)
    ]
    torch.testing.assert_close(y, torch.cat(parts, dim=-1))


@pytest.mark.parametrize("before", [False, True])
@pytest.mark.parametrize("groups", [1, 3])
def test_gradcheck(before: bool, groups: int) -> None:
    leaves = [t.requires_grad_() for t in inputs(3)]
    assert torch.autograd.gradcheck(
        lambda x, w, z: gated_rms_norm(x, w, z, groups=groups, norm_before_gate=before), leaves
    )


def test_scale_of_the_input_is_forgotten() -> None:
    x, weight, _ = inputs(4)
    big, small = (gated_rms_norm(s * x, weight, eps=0.0) for s in (1e6, 1e-6))
    torch.testing.assert_close(big, small)


def test_half_inputs_are_computed_in_float32() -> None:
    x, weight, z = (t.bfloat16() for t in inputs(64, d=256))
    y = gated_rms_norm(x, weight, z)
    want = gated_rms_norm(x.double(), weight.double(), z.double())
    assert y.dtype == torch.bfloat16
    assert ((y.double() - want).norm() / want.norm()).item() < 2e-3


def test_module_holds_one_weight_of_ones() -> None:
    x, _, z = (t.float() for t in inputs(2))
    norm = GatedRMSNorm(12, groups=3, eps=1e-6)
    assert {k: v.shape for k, v in norm.state_dict().items()} == {"weight": (12,)}
    torch.testing.assert_close(norm(x, z), gated_rms_norm(x, torch.ones(12), z, groups=3, eps=1e-6))


def test_empty_batch_and_one_channel() -> None:
    assert gated_rms_norm(*inputs(0, 3)).shape == (0, 3, 12)
    x, weight, z = inputs(2, d=1)
    torch.testing.assert_close(gated_rms_norm(x, weight, z, eps=0.0), weight * (x * silu(z)).sign())


BAD: list[tuple[dict[str, Any], str]] = [
    ({"x": torch.zeros(2, 0)}, "at least one channel"),
    ({"x": torch.zeros(2, 12, dtype=torch.long)}, "x must be real floating point"),
    ({"weight": torch.zeros(11)}, r"weight must have shape \(12,\)"),
    ({"weight": torch.zeros(12, device="meta")}, "weight must be on cpu"),
    ({"z": torch.zeros(3, 12)}, r"z must have the shape \(2, 12\)"),
    ({"groups": 5}, "groups must divide the 12 channels; got 5"),
    ({"groups": 0}, "groups must divide"),
    ({"eps": -1.0}, "eps must not be negative"),
    ({"eps": float("nan")}, "eps must not be negative"),
]


@pytest.mark.parametrize(("change", "message"), BAD)
def test_bad_input_says_what_was_wanted(change: dict[str, Any], message: str) -> None:
    x, weight, z = inputs(2)
    with pytest.raises(ValueError, match=message):
        gated_rms_norm(**({"x": x, "weight": weight, "z": z} | change))


def test_module_refuses_groups_that_do_not_divide() -> None:
    with pytest.raises(ValueError, match="groups must divide"):
        GatedRMSNorm(12, groups=5)
