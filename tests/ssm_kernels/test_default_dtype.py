"""Whatever dtype PyTorch makes tensors of by default, operators compute what they always do."""

from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor

from ssm_kernels.causal_conv1d.op import causal_conv1d
from ssm_kernels.gated_rms_norm.op import gated_rms_norm
from ssm_kernels.gated_rms_norm.residual import add_rms_norm
from ssm_kernels.selective_scan.op import selective_scan
from ssm_kernels.ssd.op import ssd

Outputs = tuple[Tensor, ...]

SCAN = {"x": (1, 40, 6), "dt": (1, 40, 6), "A": (6, 16), "B": (1, 40, 16), "C": (1, 40, 16)}
SSD = {"x": (1, 40, 2, 16), "dt": (1, 40, 2), "A": (2,), "B": (1, 40, 1, 16), "C": (1, 40, 1, 16)}
CALLS: dict[str, tuple[dict[str, tuple[int, ...]], Callable[..., Outputs]]] = {
    "selective_scan": (
        SCAN,
        lambda *args: selective_scan(*args, dt_softplus=True, backend="triton"),
    ),
    "ssd": (SSD, lambda *args: ssd(*args, dt_softplus=True, backend="triton")),
    "causal_conv1d": (
        {"x": (2, 9, 5), "weight": (5, 4)},
        lambda x, w: causal_conv1d(x, w, backend="triton"),
    ),
    "causal_conv1d, long": (
        {"x": (2, 9, 5), "weight": (5, 7)},
        lambda x, w: causal_conv1d(x, w, backend="triton"),
    ),
    "gated_rms_norm": (
        {"x": (3, 8), "weight": (8,), "z": (3, 8)},
        lambda x, w, z: (gated_rms_norm(x, w, z, backend="triton"),),
    ),
    "add_rms_norm": (
        {"x": (3, 8), "y": (3, 8), "weight": (8,)},
        lambda x, y, w: add_rms_norm(x, y, w, eps=1e-5, dtype=torch.float32),
    ),
}


@pytest.fixture
def default_dtype() -> Iterator[Callable[[torch.dtype], None]]:
    yield torch.set_default_dtype
    torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64], ids=str)
@pytest.mark.parametrize("name", CALLS)
def test_outputs_and_gradients_do_not_depend_on_the_default_dtype(
    name: str,
    dtype: torch.dtype,
    default_dtype: Callable[[torch.dtype], None],
    device: torch.device,
) -> None:
    shapes, call = CALLS[name]
    torch.manual_seed(0)
    args = [torch.randn(shape, device=device) for shape in shapes.values()]
    if "A" in shapes:
        args[2] = -args[2].abs()
    args = [arg.requires_grad_() for arg in args]

    def everything() -> list[Tensor]:
        outputs = call(*args)
        loss = torch.stack([y.square().sum() for y in outputs]).sum()
        return [*outputs, *torch.autograd.grad(loss, args)]

    wanted = everything()
    default_dtype(dtype)
    for got, want in zip(everything(), wanted, strict=True):
        assert got.dtype == want.dtype
        assert torch.equal(got, want)
