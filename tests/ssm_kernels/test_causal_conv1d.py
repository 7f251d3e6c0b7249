"""causal_conv1d in Triton: outputs, states and every gradient against the definition in float64."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from ssm_kernels.causal_conv1d.op import causal_conv1d, causal_conv1d_step
from ssm_ref.selective import causal_conv1d as definition

RTOL = {torch.float32: 2e-6, torch.float16: 2e-3, torch.bfloat16: 1.5e-2}
Error = Callable[[Tensor, Tensor], float]


def inputs(
    b: int, length: int, d: int, k: int, rows: int | None = None, bias: bool = True
) -> dict[str, Tensor]:
    gen = torch.Generator().manual_seed(length + d + k)
    made = {
        "x": torch.randn(b, length, d, generator=gen, dtype=torch.float64),
        "weight": torch.randn(d, k, generator=gen, dtype=torch.float64),
    }
    if bias:
        made["bias"] = torch.randn(d, generator=gen, dtype=torch.float64)
    if rows is not None:
        made["initial_state"] = torch.randn(rows, k - 1, d, generator=gen, dtype=torch.float64)
    return made


def outputs_and_gradients(
    form: Any, tensors: dict[str, Tensor], **options: Any
) -> dict[str, Tensor]:
    leaves = {name: t.detach().clone().requires_grad_() for name, t in tensors.items()}
    y, state = form(**leaves, **options)
    gen = torch.Generator().manual_seed(1)
    weigh = [torch.randn(t.shape, generator=gen, dtype=torch.float64).to(t) for t in (y, state)]
    grads = torch.autograd.grad((y, state), list(leaves.values()), weigh)
    named = {f"d{name}": g for name, g in zip(leaves, grads, strict=True)}
    return {"y": y.detach(), "state": state.detach()} | named


def compare(
    tensors: dict[str, Tensor],
    dtype: torch.dtype,
    device: torch.device,
    error: Error,
    **options: Any,
) -> None:
    rounded = {name: t.to(dtype) for name, t in tensors.items()}
    want = outputs_and_gradients(
        definition.causal_conv1d, {n: t.double() for n, t in rounded.items()}, **options
    )
    if (cu_seqlens := options.get("cu_seqlens")) is not None:
        options = options | {"cu_seqlens": cu_seqlens.to(device)}
    moved = {name: t.to(device) for name, t in rounded.items()}
    got = outputs_and_gradients(causal_conv1d, moved, backend="triton", **options)
    for name, value in got.items():
        assert value.dtype == dtype, name
        assert value.shape == want[name].shape, name
        assert error(value, want[name]) < RTOL[dtype], name


@pytest.mark.parametrize("activation", [None, "silu"])
@pytest.mark.parametrize("k", [1, 2, 4, 5])
@pytest.mark.parametrize("shape", [(1, 1, 1), (2, 7, 3), (1, 133, 33)], ids=str)
def test_matches_definition(
    shape: tuple[int, int, int],
    k: int,
    activation: Any,
    kernel_dtype: torch.dtype,
    device: torch.device,
    relative_error: Error,
) -> None:
    compare(inputs(*shape, k), kernel_dtype, device, relative_error, activation=activation)


@pytest.mark.parametrize("k", [3, 6])
@pytest.mark.parametrize("length", [1, 2, 7, 150])
def test_initial_state(
    length: int, k: int, kernel_dtype: torch.dtype, device: torch.device, relative_error: Error
) -> None:
    tensors = inputs(2, length, 5, k, rows=2)
    compare(tensors, kernel_dtype, device, relative_error, activation="silu")


@pytest.mark.parametrize("rows", [None, 4])
@pytest.mark.parametrize("k", [3, 6])
def test_packed(k: int, rows: int | None, device: torch.device, relative_error: Error) -> None:
    tensors = inputs(1, 41, 5, k, rows=rows, bias=False)
    bounds = torch.tensor([0, 1, 3, 20, 41], dtype=torch.int32)
    compare(tensors, torch.float32, device, relative_error, activation="silu", cu_seqlens=bounds)


def test_slices_are_read_in_place(device: torch.device, relative_error: Error) -> None:
    wide = torch.randn(2, 9, 24, generator=torch.Generator().manual_seed(0)).to(device)
    weight = torch.randn(8, 4, generator=torch.Generator().manual_seed(1)).to(device)
    for x in (wide[..., 5:13], wide.transpose(1, 2)[:, :8].transpose(1, 2), wide[:, ::2, :8]):
        y, state = causal_conv1d(x, weight, backend="triton")
        want, last = definition.causal_conv1d(x.double(), weight.double())
        assert relative_error(y, want) < 1e-6
        assert torch.equal(state, last.float())


@pytest.mark.parametrize("k", [1, 4])
def test_steps_are_the_sequence(
    k: int, kernel_dtype: torch.dtype, device: torch.device, relative_error: Error
) -> None:
    t = {name: v.to(device, kernel_dtype) for name, v in inputs(3, 9, 70, k, rows=3).items()}
    state, bias, weight = t["initial_state"], t["bias"], t["weight"]
    want, last = definition.causal_conv1d(
        t["x"].double(), weight.double(), bias.double(), activation="silu",
        initial_state=state.double(),
    )  # fmt: skip
    for i in range(9):
        y, state = causal_conv1d_step(
            t["x"][:, i], state, weight, bias, activation="silu", backend="triton"
        )
        assert relative_error(y, want[:, i]) < RTOL[kernel_dtype]
    assert torch.equal(state.double(), last)


def test_same_bits_twice(device: torch.device) -> None:
    tensors = {n: t.to(device, torch.float32) for n, t in inputs(2, 150, 33, 4, rows=2).items()}
    runs = [
        outputs_and_gradients(causal_conv1d, tensors, activation="silu", backend="triton")
        for _ in range(2)
    ]
    for name, value in runs[0].items():
        assert torch.equal(value, runs[1][name]), name


def test_nan_reaches_its_taps_and_no_others(device: torch.device) -> None:
    t = {name: v.float().to(device) for name, v in inputs(2, 20, 3, 4).items()}
    t["x"][0, 9, 1] = torch.nan
    y, _ = causal_conv1d(**t, activation="silu", backend="triton")
    hit = torch.zeros_like(y, dtype=torch.bool)
    hit[0, 9:13, 1] = True
    assert torch.equal(y.isnan(), hit)


@pytest.mark.parametrize("rows", [None, 2])
def test_opcheck(rows: int | None, device: torch.device) -> None:
    t = {n: v.float().to(device) for n, v in inputs(2, 6, 3, 4, rows=rows).items()}
    for v in t.values():
        v.requires_grad_()
    args = (t["x"], t["weight"], t["bias"], t.get("initial_state"), None, True)
    torch.library.opcheck(torch.ops.ssm_kernels.causal_conv1d.default, args)
    step = (t["x"][:, 0].detach(), torch.zeros(2, 3, 3, device=device), t["weight"].detach(), None)
    torch.library.opcheck(torch.ops.ssm_kernels.causal_conv1d_step.default, (*step, False))


def test_compiles_without_graph_breaks(device: torch.device) -> None:
    t = {name: v.float().to(device) for name, v in inputs(2, 6, 3, 4).items()}

    @torch.compile(fullgraph=True, backend="aot_eager")
    def twice(x: Tensor) -> Tensor:
        y, _ = causal_conv1d(x, t["weight"], activation="silu", backend="triton")
        return 2 * y

    want, _ = causal_conv1d(t["x"], t["weight"], activation="silu", backend="triton")
    assert torch.equal(twice(t["x"]), 2 * want)


def test_batch_may_be_empty(device: torch.device) -> None:
    t = {name: v.float().to(device) for name, v in inputs(0, 6, 3, 4).items()}
    got = outputs_and_gradients(causal_conv1d, t, backend="triton")
    assert got["y"].shape == (0, 6, 3)
    assert torch.equal(got["dweight"], torch.zeros_like(t["weight"]))


def test_bad_input_says_what_was_wanted(device: torch.device) -> None:
    t = {name: v.float().to(device) for name, v in inputs(2, 6, 3, 4).items()}
    bad: list[tuple[dict[str, Any], str]] = [
        ({"backend": "cuda"}, "backend must be 'auto', 'triton' or 'reference'; got 'cuda'"),
        ({"x": t["x"].double()}, "float32, float16, bfloat16"),
        ({"weight": t["weight"][:2]}, "x must have shape"),
        ({"activation": "gelu"}, "activation must be None or 'silu'"),
        ({"initial_state": torch.zeros(1, 3, 3, device=device)}, "must have 2 rows; got 1"),
        ({"cu_seqlens": torch.tensor([0, 6], device=device)}, "batch must be 1"),
    ]
    for change, message in bad:
        with pytest.raises(ValueError, match=message):
            causal_conv1d(**(t | {"backend": "triton"} | change))


def test_reference_backend_is_the_definition(device: torch.device) -> None:
    t = {name: v.float().to(device) for name, v in inputs(2, 6, 3, 4).items()}
    got, want = causal_conv1d(**t, backend="reference"), definition.causal_conv1d(**t)
    assert all(torch.equal(g, w) for g, w in zip(got, want, strict=True))


@pytest.mark.gpu
def test_past_two_to_the_31(device: torch.device) -> None:
    length, d = 2**20 + 5, 2048 + 64
    x = torch.randn(1, length, d, dtype=torch.bfloat16, device=device)
    weight = torch.randn(d, 4, device=device)
    y, _ = causal_conv1d(x, weight, backend="triton")
    want, _ = definition.causal_conv1d(x[:, -9:].double(), weight.double())
    torch.testing.assert_close(y[:, -6:].double(), want[:, -6:], rtol=1e-2, atol=1e-2)


@pytest.mark.gpu
@pytest.mark.parametrize("k", [4, 6])
@pytest.mark.parametrize("shape", [(2**17, 3, 2), (1, 2**22, 2)], ids=str)
def test_more_rows_or_tokens_than_a_grid_has_on_its_later_axes(
    shape: tuple[int, int, int], k: int, device: torch.device
) -> None:
    x = torch.randn(shape, device=device, requires_grad=True)
    weight = torch.randn(shape[2], k, device=device, requires_grad=True)
    y, _ = causal_conv1d(x, weight, backend="triton")
    want, _ = definition.causal_conv1d(x, weight)
    torch.testing.assert_close(y, want, rtol=1e-5, atol=1e-5)
    grad = torch.randn_like(y)
    got, hoped = (torch.autograd.grad(out, (x, weight), grad) for out in (y, want))
    torch.testing.assert_close(got[0], hoped[0], rtol=1e-5, atol=1e-5)
    assert (got[1] - hoped[1]).norm() < 1e-4 * hoped[1].norm()
