"""KDA against transformers' operators and layer, and the models it contains."""

import pytest
import torch
from transformers import KimiLinearConfig
from transformers.models.kimi_linear.modeling_kimi_linear import (
    KimiLinearDeltaAttention,
    chunk_kimi_delta_attention,
    recurrent_kimi_delta_attention,
)

from ssm_ref.linear_attention.deltanet import unit
from ssm_ref.linear_attention.gated_deltanet import gated_delta_recurrent
from ssm_ref.linear_attention.gla import gla_case
from ssm_ref.linear_attention.kda import KDAConfig, KimiDeltaAttention, kda_case, kda_recurrent
from ssm_ref.linear_attention.recurrence import chunked, parallel, recurrent

EXACT = {"rtol": 1e-10, "atol": 1e-10}


def operands(l: int = 19) -> tuple[torch.Tensor, ...]:
    q, k = torch.randn(2, 2, l, 3, 4, dtype=torch.float64)
    beta, decay = torch.rand(2, l, 3).double(), torch.rand(2, l, 3, 4, dtype=torch.float64)
    k = torch.nn.functional.normalize(k, dim=-1)
    return q, k, torch.randn(2, l, 3, 5, dtype=torch.float64), decay.log(), beta


def test_is_a_case_of_the_common_recurrence() -> None:
    parts = operands()
    want = kda_recurrent(*parts)
    for form in (recurrent, parallel, chunked):
        torch.testing.assert_close(form(kda_case(*parts))[0], want, **EXACT)


def test_with_one_rate_for_all_channels_it_is_gated_deltanet() -> None:
    q, k, v, g, beta = operands()
    one = g[..., 0]
    got = kda_recurrent(q, k, v, one[..., None].expand_as(g), beta)
    torch.testing.assert_close(got, gated_delta_recurrent(q, k, v, one, beta), **EXACT)


def test_without_erasing_it_is_gated_linear_attention() -> None:
    q, k, v, g, beta = operands()
    bare = kda_case(q / 2, k, v, g, torch.ones_like(beta))._replace(a=None, b=None)
    torch.testing.assert_close(recurrent(bare)[0], recurrent(gla_case(q, k, v, g))[0], **EXACT)


def test_the_order_of_fading_and_erasing_matters() -> None:
    k = torch.nn.functional.normalize(torch.randn(4, dtype=torch.float64), dim=0)
    erase, fade = torch.eye(4).double() - torch.outer(k, k), torch.rand(4).double().diag()
    _, S = recurrent(
        kda_case(
            k.view(1, 1, 1, 4),
            k.view(1, 1, 1, 4),
            torch.zeros(1, 1, 1, 4).double(),
            fade.diagonal().log().view(1, 1, 1, 4),
            torch.ones(1, 1, 1).double(),
        ),
        torch.eye(4).double()[None, None],
    )
    torch.testing.assert_close(S[0, 0], erase @ fade)
    assert not torch.allclose(erase @ fade, fade @ erase)


@pytest.mark.parametrize("theirs", [chunk_kimi_delta_attention, recurrent_kimi_delta_attention])
def test_transformers_operator(theirs: object) -> None:
    """Theirs normalises q and k, scales q by n^{-1/2} and computes in float32."""
    q, k, v, g, beta = operands(70)
    S = torch.randn(2, 3, 4, 5, dtype=torch.float64)
    options = {"initial_state": S, "output_final_state": True, "use_qk_l2norm_in_kernel": True}
    want, last = theirs(q, k, v, g, beta, **options)  # type: ignore[operator]
    got, state = chunked(kda_case(unit(q) / 2, unit(k), v, g, beta), S)
    torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(state.float(), last.float(), rtol=1e-4, atol=1e-5)


def test_transformers_layer_and_gradients() -> None:
    config = KimiLinearConfig(
        hidden_size=16,
        linear_num_heads=2,
        linear_head_dim=8,
        rms_norm_eps=1e-5,
        num_hidden_layers=1,
        layer_types=["linear_attention"],
    )
    theirs = KimiLinearDeltaAttention(config, 0).double()
    ours = KimiDeltaAttention(KDAConfig(d_model=16, n_heads=2, d_head=8)).double()
    names = {
        "f_proj.0.weight": "forget_gate.f_a_proj.weight",
        "f_proj.1.weight": "forget_gate.f_b_proj.weight",
        "g_proj.0.weight": "g_a_proj.weight",
        "g_proj.1.weight": "g_b_proj.weight",
        "A_log": "forget_gate.A_log",
        "dt_bias": "forget_gate.dt_bias",
        "norm.weight": "o_norm.weight",
        "conv_weight": "conv1d.weight",
    }
    weights = theirs.state_dict()
    with torch.no_grad():
        for name, parameter in ours.named_parameters():
            other = weights[names.get(name, name)]
            other.copy_(parameter.view_as(other))
    u = torch.randn(2, 70, 16, dtype=torch.float64)
    ours(u).sin().sum().backward()
    theirs(u).sin().sum().backward()
    torch.testing.assert_close(ours(u), theirs(u), rtol=1e-4, atol=1e-5)
    for name in ("q_proj", "b_proj", "o_proj"):
        mine, other = getattr(ours, name).weight.grad, getattr(theirs, name).weight.grad
        torch.testing.assert_close(mine, other, rtol=1e-3, atol=1e-4)


def test_published_shapes() -> None:
    cfg = KDAConfig(d_model=32, n_heads=4, d_head=8)
    count = sum(p.numel() for p in KimiDeltaAttention(cfg).parameters())
    low_rank = 2 * (32 * 8 + 8 * 32)
    assert count == 4 * 32 * 32 + low_rank + 32 * 4 + 4 + 32 + 3 * 32 * 4 + 8
    with pytest.raises(ValueError, match="must be at least 1"):
        KDAConfig(d_model=8, n_heads=0)
