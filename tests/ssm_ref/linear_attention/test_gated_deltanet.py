"""Gated DeltaNet against transformers, its own reductions and the chunk of the paper."""

import pytest
import torch
from transformers import OlmoHybridConfig
from transformers.models.olmo_hybrid.modeling_olmo_hybrid import OlmoHybridGatedDeltaNet
from transformers.models.qwen3_next.modeling_qwen3_next import (
    torch_chunk_gated_delta_rule,
    torch_recurrent_gated_delta_rule,
)

from ssm_ref.linear_attention.deltanet import delta_rule_recurrent, unit
from ssm_ref.linear_attention.gated_deltanet import (
    GatedDeltaNet,
    GatedDeltaNetConfig,
    gated_delta_case,
    gated_delta_parallel,
    gated_delta_recurrent,
)
from ssm_ref.linear_attention.recurrence import chunked, parallel, recurrent

EXACT = {"rtol": 1e-10, "atol": 1e-10}


def operands(l: int = 19) -> tuple[torch.Tensor, ...]:
    q, k = torch.randn(2, 2, l, 3, 4, dtype=torch.float64)
    beta, decay = torch.rand(2, 2, l, 3, dtype=torch.float64)
    k = torch.nn.functional.normalize(k, dim=-1)
    return q, k, torch.randn(2, l, 3, 5, dtype=torch.float64), decay.log(), beta


def test_is_a_case_of_the_common_recurrence() -> None:
    parts = operands()
    want = gated_delta_recurrent(*parts)
    for form in (recurrent, parallel, chunked):
        torch.testing.assert_close(form(gated_delta_case(*parts))[0], want, **EXACT)


def test_the_papers_chunk_is_the_recurrence() -> None:
    parts = operands()
    torch.testing.assert_close(gated_delta_parallel(*parts), gated_delta_recurrent(*parts), **EXACT)


def test_without_decay_it_is_the_delta_rule() -> None:
    q, k, v, g, beta = operands()
    got = gated_delta_recurrent(q, k, v, torch.zeros_like(g), beta)
    torch.testing.assert_close(got, delta_rule_recurrent(q, k, v, beta), **EXACT)


def test_at_rate_zero_only_decay_is_left() -> None:
    q, k, v, g, beta = operands(6)
    S = torch.randn(2, 3, 4, 5, dtype=torch.float64)
    _, last = chunked(gated_delta_case(q, k, v, g, torch.zeros_like(beta)), S)
    torch.testing.assert_close(last, g.sum(dim=1).exp()[..., None, None] * S, **EXACT)


@pytest.mark.parametrize("theirs", [torch_chunk_gated_delta_rule, torch_recurrent_gated_delta_rule])
def test_transformers_operator(theirs: object) -> None:
    """Theirs normalises q and k, scales q by n^{-1/2} and computes in float32."""
    q, k, v, g, beta = operands(70)
    S = torch.randn(2, 3, 4, 5, dtype=torch.float64)
    options = {"initial_state": S, "output_final_state": True, "use_qk_l2norm_in_kernel": True}
    want, last = theirs(q, k, v, g, beta, **options)  # type: ignore[operator]
    got, state = chunked(gated_delta_case(unit(q) / 2, unit(k), v, g, beta), S)
    torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(state.float(), last.float(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("negative", [False, True])
def test_transformers_layer_and_gradients(negative: bool) -> None:
    """Olmo Hybrid's layer is this one, with two heads of values for each of keys here."""
    sizes = {"linear_num_key_heads": 2, "linear_num_value_heads": 4}
    config = OlmoHybridConfig(
        hidden_size=16,
        linear_key_head_dim=4,
        linear_value_head_dim=6,
        linear_allow_neg_eigval=negative,
        layer_types=["linear_attention", "full_attention"],
        num_hidden_layers=2,
        **sizes,
    )
    theirs = OlmoHybridGatedDeltaNet(config, 0).double()
    ours = GatedDeltaNet(
        GatedDeltaNetConfig(
            d_model=16,
            n_heads=2,
            n_value_heads=4,
            d_head=4,
            expand_v=1.5,
            negative_eigenvalues=negative,
        )
    ).double()
    weights = {name.replace("o_norm", "norm"): w for name, w in theirs.state_dict().items()}
    weights["conv_weight"] = weights.pop("conv1d.weight").squeeze(1)
    ours.load_state_dict(weights)
    u = torch.randn(2, 70, 16, dtype=torch.float64)
    ours(u).sin().sum().backward()
    theirs(u).sin().sum().backward()
    torch.testing.assert_close(ours(u), theirs(u), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(
        ours.q_proj.weight.grad, theirs.q_proj.weight.grad, rtol=1e-3, atol=1e-4
    )
    torch.testing.assert_close(ours.A_log.grad, theirs.A_log.grad, rtol=1e-3, atol=1e-4)


def test_published_size() -> None:
    """About six times the square of the width: 0.75 for q and k each, 1.5 for v, g and o each."""
    d = 512
    layer = GatedDeltaNet(GatedDeltaNetConfig(d_model=d, n_heads=6, d_head=d // 8))
    assert abs(sum(p.numel() for p in layer.parameters()) / d**2 - 6) < 0.1


def test_refuses() -> None:
    with pytest.raises(ValueError, match="n_heads=2 must divide n_value_heads=3"):
        GatedDeltaNetConfig(d_model=8, n_heads=2, n_value_heads=3)
    with pytest.raises(ValueError, match="must be at least 1"):
        GatedDeltaNetConfig(d_model=8, n_heads=0)
