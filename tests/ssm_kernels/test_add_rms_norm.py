"""add_rms_norm and decay_rate: what stands between the layers of a model, in one launch each."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from ssm_kernels.gated_rms_norm.residual import MAX_WIDTH, add_norm, add_rms_norm
from ssm_kernels.state_update.rate import decay_rate
from ssm_ref.norm import rms_norm
from ssm_ref.selective import block

RTOL = {torch.float32: 2e-6, torch.float16: 2e-3, torch.bfloat16: 1.5e-2}
Error = Callable[[Tensor, Tensor], float]


def definition(x: Tensor, y: Tensor | None, weight: Tensor) -> tuple[Tensor, Tensor]:
    total = x if y is None else x + y
    return total, rms_norm(total, weight, eps=1e-3)


def operands(shape: tuple[int, ...], dtype: torch.dtype, with_y: bool) -> list[Tensor]:
    """x in float32, y in `dtype` and the weight in float32, all that there are."""
    gen = torch.Generator().manual_seed(sum(shape))
    x, y = torch.randn(2, *shape, generator=gen)
    weight = torch.randn(shape[-1], generator=gen)
    return [x, y.to(dtype), weight] if with_y else [x, weight]


def results(
    form: Any, given: list[Tensor], *, through: tuple[bool, bool] = (True, True), **options: Any
) -> list[Tensor]:
    """Both outputs, and the gradients of all operands through those of them that count."""
    leaves = [t.detach().clone().requires_grad_() for t in given]
    y = leaves[1] if len(leaves) == 3 else None
    outputs = form(leaves[0], y, leaves[-1], **options)
    gen = torch.Generator().manual_seed(1)
    # Eighths, which no dtype rounds: small rows lose most of their gradient to cancellation.
    weights = torch.randint(-16, 17, (2, *given[0].shape), generator=gen).double() / 8
    loss = sum(
        (out.double() * w.to(out.device)).sum()
        for out, w, counts in zip(outputs, weights, through, strict=True) if counts
    )  # fmt: skip
    grads = torch.autograd.grad(loss, leaves, allow_unused=True)
    return [*(out.detach() for out in outputs), *(g for g in grads if g is not None)]


@pytest.mark.parametrize("shape", [(1, 3), (3, 7), (2, 5, 12), (300, 96), (2, 2000)], ids=str)
@pytest.mark.parametrize("with_y", [True, False])
@pytest.mark.parametrize("through", [(True, True), (True, False), (False, True)], ids=str)
def test_matches_definition(
    shape: tuple[int, ...], with_y: bool, through: tuple[bool, bool],
    kernel_dtype: torch.dtype, device: torch.device, relative_error: Error,
) -> None:  # fmt: skip
    given = operands(shape, kernel_dtype, with_y)
    want = results(definition, [t.double() for t in given], through=through)
    moved = [t.to(device) for t in given]
    got = results(add_rms_norm, moved, through=through, eps=1e-3, dtype=kernel_dtype)
    y_dtypes = [kernel_dtype] if with_y else []
    kinds = [torch.float32, kernel_dtype, torch.float32, *y_dtypes, torch.float32]
    for g, w, kind in zip(got, want, kinds, strict=False):
        assert (g.dtype, g.shape) == (kind, w.shape)
        assert relative_error(g, w) < RTOL[kernel_dtype]
    assert len(got) == len(want)


def test_without_y_the_residual_is_x_itself(device: torch.device) -> None:
    x = torch.randn(3, 8, device=device)
    total, _ = add_rms_norm(x, None, torch.ones(8, device=device), eps=1e-5, dtype=torch.float16)
    assert total is x


def test_same_bits_twice_and_slices(device: torch.device) -> None:
    given = [t.to(device) for t in operands((400, 96), torch.float16, True)]
    options = {"eps": 1e-5, "dtype": torch.float16}
    one, two = (results(add_rms_norm, given, **options) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(one, two, strict=True))
    wide = torch.randn(96, 800, device=device)
    x, y = wide.t()[:400], given[1].repeat(1, 2)[:, 48:144]
    sliced = add_rms_norm(x, y, given[2], **options)
    plain = add_rms_norm(x.contiguous(), y.contiguous(), given[2], **options)
    assert all(torch.equal(a, b) for a, b in zip(sliced, plain, strict=True))


def test_nan_stays_in_its_row_and_nothing_is_a_result(device: torch.device) -> None:
    x, y, weight = (t.to(device) for t in operands((4, 12), torch.float16, True))
    y[2, 5] = torch.nan
    total, out = add_rms_norm(x, y, weight, eps=1e-5, dtype=torch.float32)
    assert total.isnan().nonzero().tolist() == [[2, 5]]
    assert out.isnan().any(dim=1).tolist() == [False, False, True, False]
    total, out = add_rms_norm(x[:0], y[:0], weight, eps=1e-5, dtype=torch.float32)
    assert total.shape == out.shape == (0, 12)


def test_opcheck_and_compile(device: torch.device) -> None:
    x, y, weight = (t.to(device).requires_grad_() for t in operands((5, 6), torch.float16, True))
    for given in (y, None):
        torch.library.opcheck(add_norm.overload, (x, given, weight, 1e-5, torch.float16, True))

    @torch.compile(fullgraph=True, backend="aot_eager")
    def compiled(x: Tensor, y: Tensor, weight: Tensor) -> Tensor:
        return add_rms_norm(x, y, weight, eps=1e-5, dtype=torch.float16)[1]

    want = add_rms_norm(x, y, weight, eps=1e-5, dtype=torch.float16)[1]
    assert torch.equal(compiled(x, y, weight), want)


@pytest.mark.parametrize(("change", "message"), [
    ({"weight": torch.ones(5)}, r"weight \(d,\); got \(3, 4\), \(3, 4\) and \(5,\)"),
    ({"y": torch.ones(4)}, r"x and y must have one shape \(..., d\)"),
    ({"x": torch.ones(())}, "x and y must have one shape"),
    ({"y": torch.ones(3, 4).int()}, "y must be floating point on cpu; got torch.int32"),
    ({"y": torch.ones(3, 4, device="meta")}, "y must be floating point on cpu; got .* on meta"),
    ({"x": torch.ones(1, MAX_WIDTH + 1), "y": None}, f"d in 1 ... {MAX_WIDTH}"),
], ids=str)  # fmt: skip
def test_bad_arguments(change: dict[str, Any], message: str) -> None:
    given = {"x": torch.ones(3, 4), "y": torch.ones(3, 4), "weight": torch.ones(4)} | change
    with pytest.raises(ValueError, match=message):
        add_rms_norm(**given, eps=1e-5, dtype=torch.float32)


@pytest.mark.parametrize("shape", [(1,), (24,), (7, 33), (0, 4), (1025,)], ids=str)
def test_rate_matches_definition(
    shape: tuple[int, ...], kernel_dtype: torch.dtype, device: torch.device, relative_error: Error
) -> None:
    logs = torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(kernel_dtype)
    got = decay_rate(logs.to(device))
    assert (got.dtype, got.shape) == (torch.float32, logs.shape)
    assert relative_error(got, block.decay_rate(logs.double())) < 1e-6
    torch.library.opcheck(decay_rate.overload, (logs.to(device),))
