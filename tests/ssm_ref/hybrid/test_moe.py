"""The mixture of experts against its definition, and its routing."""

from typing import Any

import pytest
import torch

from ssm_ref.attention.transformer import SwiGLU
from ssm_ref.hybrid.moe import MoE, MoEConfig, load_balancing_loss, mixture_sum


def make(**options: Any) -> MoE:
    torch.manual_seed(0)
    moe = MoE(MoEConfig(**({"d_model": 6, "d_ff": 8, "n_experts": 5} | options))).double()
    with torch.no_grad():
        for parameter in moe.parameters():
            parameter.mul_(20)
    return moe


@pytest.mark.parametrize("top_k", [1, 2, 5])
@pytest.mark.parametrize("renormalize", [False, True])
def test_sorted_experts_equal_the_sum(top_k: int, renormalize: bool) -> None:
    moe = make(top_k=top_k, renormalize=renormalize)
    u = torch.randn(2, 7, 6, dtype=torch.float64, requires_grad=True)
    want = mixture_sum(moe, u.view(14, 6)).view(2, 7, 6)
    torch.testing.assert_close(moe(u), want)
    mine = torch.autograd.grad(moe(u).sin().sum(), [u, *moe.parameters()])
    theirs = torch.autograd.grad(want.sin().sum(), [u, *moe.parameters()])
    for a, b in zip(mine, theirs, strict=True):
        torch.testing.assert_close(a, b)


def test_one_renormalized_expert_is_a_swiglu() -> None:
    moe, ffn = make(n_experts=1, top_k=1), SwiGLU(6, 8).double()
    with torch.no_grad():
        for name in ("gate_proj", "up_proj", "down_proj"):
            getattr(ffn, name).weight.copy_(getattr(moe, name)[0])
    u = torch.randn(3, 6, dtype=torch.float64)
    torch.testing.assert_close(moe(u), ffn(u))


def test_only_chosen_experts_get_gradients() -> None:
    moe = make()
    u = torch.randn(1, 6, dtype=torch.float64)
    _, _, chosen = moe.route(u)
    moe(u).sum().backward()
    assert moe.up_proj.grad is not None
    touched = moe.up_proj.grad.flatten(1).abs().sum(dim=1).nonzero().flatten()
    assert sorted(touched.tolist()) == sorted(chosen[0].tolist())


def test_balancing_loss_is_least_when_even_and_most_when_all_go_to_one() -> None:
    even = torch.full((8, 4), 0.25)
    spread = torch.arange(8)[:, None] % 4
    torch.testing.assert_close(load_balancing_loss(even, spread), torch.tensor(1.0))
    one = torch.tensor([[1.0, 0, 0, 0]]).expand(8, 4)
    torch.testing.assert_close(load_balancing_loss(one, 0 * spread), torch.tensor(4.0))


def test_routing_is_float32_under_bf16_autocast() -> None:
    moe = make().float()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        pi, weights, _ = moe.route(torch.randn(3, 6))
    assert pi.dtype == weights.dtype == torch.float32


def test_shapes_and_refusals() -> None:
    moe = make()
    assert moe(torch.zeros(0, 3, 6).double()).shape == (0, 3, 6)
    assert moe(torch.zeros(6).double()).shape == (6,)
    with pytest.raises(ValueError, match=r"\(…, 6\); got \(2, 5\)"):
        moe(torch.zeros(2, 5))
    with pytest.raises(ValueError, match="1 <= top_k <= n_experts; got 6 and 5"):
        make(top_k=6)
    with pytest.raises(ValueError, match="same tokens"):
        load_balancing_loss(torch.zeros(2, 4), torch.zeros(3, 1, dtype=torch.long))
