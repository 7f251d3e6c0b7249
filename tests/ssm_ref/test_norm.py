"""RMSNorm is that of PyTorch, and keeps its input alone for the backward pass."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from ssm_ref.norm import RMSNorm, rms_norm

WEIGHTS = pytest.mark.parametrize("affine", [True, False], ids=["weight", "none"])


def operands(affine: bool, *shape: int) -> tuple[Tensor, Tensor | None]:
    torch.manual_seed(0)
    x = torch.randn(*shape, dtype=torch.float64, requires_grad=True)
    if not affine:
        return x, None
    return x, torch.randn(shape[-1], dtype=torch.float64, requires_grad=True)


@WEIGHTS
@pytest.mark.parametrize("shape", [(5,), (3, 5), (2, 3, 5), (0, 3, 5)], ids=str)
def test_is_the_one_of_pytorch(affine: bool, shape: tuple[int, ...]) -> None:
    x, weight = operands(affine, *shape)
    want = functional.rms_norm(x, (5,), weight, 1e-5)
    got = rms_norm(x, weight)
    torch.testing.assert_close(got, want)
    inputs = [x] if weight is None else [x, weight]
    grads = [torch.autograd.grad(y.sin().sum(), inputs) for y in (got, want)]
    torch.testing.assert_close(*grads)


@WEIGHTS
def test_gradients_to_the_second_order(affine: bool) -> None:
    x, weight = operands(affine, 2, 3, 4)
    inputs = (x,) if weight is None else (x, weight)
    assert torch.autograd.gradcheck(rms_norm, inputs)
    assert torch.autograd.gradgradcheck(rms_norm, inputs)


def test_keeps_its_input_alone() -> None:
    x, weight = operands(True, 7, 5)
    kept: list[Tensor] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
        rms_norm(x * 1, weight)
    shapes = [tuple(t.shape) for t in kept if t is not weight]
    assert shapes.count((7, 5)) == 1
    assert len(shapes) == 1


def test_works_under_function_transforms() -> None:
    x, weight = operands(True, 3, 5)
    want = rms_norm(x, weight)
    torch.testing.assert_close(torch.vmap(rms_norm, in_dims=(0, None))(x, weight), want)
    rows = torch.func.vmap(torch.func.grad(lambda x: rms_norm(x, weight).sin().sum()))(x)
    (grad,) = torch.autograd.grad(want.sin().sum(), x)
    torch.testing.assert_close(rows, grad)


def test_narrow_numbers_are_averaged_wide() -> None:
    x = (200 * torch.ones(4, 600)).to(torch.float16)  # the sum of squares is no float16
    norm = RMSNorm(600).half()
    y = norm(x.requires_grad_())
    assert y.dtype == torch.float16
    torch.testing.assert_close(y, torch.ones_like(y))
    y.sum().backward()
    assert x.grad is not None
    assert x.grad.dtype == torch.float16
    assert norm.weight is not None
    assert norm.weight.grad is not None
    torch.testing.assert_close(norm.weight.grad, torch.full((600,), 4.0).half())


def test_refuses_a_weight_of_another_width() -> None:
    with pytest.raises(ValueError, match=r"weight must have shape \(5,\); got \(4,\)"):
        rms_norm(torch.zeros(2, 5), torch.ones(4))
