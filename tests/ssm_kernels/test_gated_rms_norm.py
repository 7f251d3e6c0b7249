"""gated_rms_norm in Triton: the output and every gradient against the definition in float64."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from ssm_kernels.gated_rms_norm.op import gated_rms_norm
from ssm_ref.selective import gated_rms_norm as definition

RTOL = {torch.float32: 2e-6, torch.float16: 2e-3, torch.bfloat16: 1.5e-2}
Error = Callable[[Tensor, Tensor], float]


def inputs(*shape: int, gate: bool = True) -> dict[str, Tensor]:
    gen = torch.Generator().manual_seed(sum(shape))
    made = {
        "x": torch.randn(*shape, generator=gen, dtype=torch.float64),
        "weight": torch.randn(shape[-1], generator=gen, dtype=torch.float64),
    }
    if gate:
        made["z"] = torch.randn(*shape, generator=gen, dtype=torch.float64)
    return made


def output_and_gradients(form: Any, tensors: dict[str, Tensor], **options: Any) -> list[Tensor]:
    leaves = {name: t.detach().clone().requires_grad_() for name, t in tensors.items()}
    y = form(**leaves, **options)
    weigh = torch.randn(y.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return [y.detach(), *torch.autograd.grad(y, list(leaves.values()), weigh.to(y))]


@pytest.mark.parametrize(
    ("shape", "groups"),
    [((1, 3), 1), ((3, 7), 7), ((2, 5, 12), 3), ((300, 96), 1), ((2, 3, 640), 2), ((2, 2000), 1)],
    ids=str,
)
@pytest.mark.parametrize("gate", ["none", "after", "before"])
def test_matches_definition(
    shape: tuple[int, ...],
    groups: int,
    gate: str,
    kernel_dtype: torch.dtype,
    device: torch.device,
    relative_error: Error,
) -> None:
    options = {"groups": groups, "norm_before_gate": gate == "after", "eps": 1e-3}
    rounded = {n: t.to(kernel_dtype) for n, t in inputs(*shape, gate=gate != "none").items()}
    want = output_and_gradients(
        definition.gated_rms_norm, {n: t.double() for n, t in rounded.items()}, **options
    )
    moved = {n: t.to(device) for n, t in rounded.items()}
    got = output_and_gradients(gated_rms_norm, moved, backend="triton", **options)
    for g, w in zip(got, want, strict=True):
        assert (g.dtype, g.shape) == (kernel_dtype, w.shape)
        assert relative_error(g, w) < RTOL[kernel_dtype]


def test_rows_of_a_slice_are_read_in_place(device: torch.device, relative_error: Error) -> None:
    wide = torch.randn(2, 9, 24, generator=torch.Generator().manual_seed(0)).to(device)
    weight = torch.ones(8, device=device)
    for x in (wide[..., 5:13], wide[:, ::2, :8], wide.transpose(1, 2)[:, :8].transpose(1, 2)):
        z = x.flip(0)
        y = gated_rms_norm(x, weight, z, backend="triton")
        want = definition.gated_rms_norm(x.double(), weight.double(), z.double())
        assert relative_error(y, want) < 1e-6


def test_same_bits_twice(device: torch.device) -> None:
    tensors = {n: t.to(device, torch.float32) for n, t in inputs(400, 96).items()}
    one, two = (output_and_gradients(gated_rms_norm, tensors, backend="triton") for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(one, two, strict=True))


def test_nan_stays_in_its_row_and_group(device: torch.device) -> None:
    t = {n: v.float().to(device) for n, v in inputs(4, 12).items()}
    t["x"][2, 5] = torch.nan
    y = gated_rms_norm(**t, groups=3, backend="triton")
    hit = torch.zeros_like(y, dtype=torch.bool)
    hit[2, 4:8] = True
    assert torch.equal(y.isnan(), hit)


@pytest.mark.parametrize("gate", [False, True])
def test_opcheck(gate: bool, device: torch.device) -> None:
    t = {n: v.float().to(device).requires_grad_() for n, v in inputs(3, 8, gate=gate).items()}
    args = (t["x"], t["weight"], t.get("z"), 1e-5, 2, False)
    torch.library.opcheck(torch.ops.ssm_kernels.gated_rms_norm.default, args)


def test_compiles_without_graph_breaks(device: torch.device) -> None:
    t = {n: v.float().to(device) for n, v in inputs(3, 8).items()}

    @torch.compile(fullgraph=True, backend="aot_eager")
    def twice(x: Tensor) -> Tensor:
        return 2 * gated_rms_norm(x, t["weight"], t["z"], backend="triton")

    assert torch.equal(twice(t["x"]), 2 * gated_rms_norm(**t, backend="triton"))


def test_batch_may_be_empty(device: torch.device) -> None:
    t = {n: v.float().to(device) for n, v in inputs(0, 8).items()}
    y, dx, dweight, dz = output_and_gradients(gated_rms_norm, t, backend="triton")
    assert (y.shape, dx.shape, dz.shape) == ((0, 8),) * 3
    assert torch.equal(dweight, torch.zeros_like(dweight))


def test_bad_input_says_what_was_wanted(device: torch.device) -> None:
    t = {n: v.float().to(device) for n, v in inputs(3, 8).items()}
    bad: list[tuple[dict[str, Any], str]] = [
        ({"backend": "fast"}, "backend must be"),
        ({"x": t["x"].double()}, "float32, float16, bfloat16"),
        ({"weight": t["weight"][:4]}, "weight must have shape"),
        ({"groups": 3}, "groups must divide the 8 channels; got 3"),
    ]
    for change, message in bad:
        with pytest.raises(ValueError, match=message):
            gated_rms_norm(**({"backend": "triton"} | t | change))


@pytest.mark.gpu
def test_past_two_to_the_31(device: torch.device) -> None:
    x = torch.randn(2**20 + 5, 2112, dtype=torch.bfloat16, device=device)
    weight = torch.randn(2112, device=device)
    y = gated_rms_norm(x, weight, x, backend="triton")
    want = definition.gated_rms_norm(x[-3:].double(), weight.double(), x[-3:].double())
    torch.testing.assert_close(y[-3:].double(), want, rtol=1e-2, atol=1e-2)
