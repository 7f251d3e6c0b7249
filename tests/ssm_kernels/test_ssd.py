"""ssd in Triton: outputs, states and every gradient against the definition in float64."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from ssm_kernels.ssd import launch, plan, settings
from ssm_kernels.ssd.op import ssd
from ssm_ref.selective import ssd as definition

RTOL = {torch.float32: 2e-5, torch.float16: 4e-3, torch.bfloat16: 3e-2}
FIXED = {"dt_softplus": True, "dt_limit": (0.02, 1.5)}
ORDER = ("x", "dt", "A", "B", "C", "D", "dt_bias", "initial_state")
Error = Callable[[Tensor, Tensor], float]


def inputs(
    b: int, length: int, h: int, p: int, g: int, n: int, rows: int | None = None
) -> dict[str, Tensor]:
    gen = torch.Generator().manual_seed(length + h + p + n)

    def normal(*size: int) -> Tensor:
        return torch.randn(*size, generator=gen, dtype=torch.float64)

    return {
        "x": normal(b, length, h, p),
        "dt": normal(b, length, h),
        "A": -torch.rand(h, generator=gen, dtype=torch.float64) * 2 - 0.1,
        "B": normal(b, length, g, n),
        "C": normal(b, length, g, n),
        "D": normal(h),
        "z": normal(b, length, h, p),
        "dt_bias": normal(h),
        "initial_state": normal(b if rows is None else rows, h, p, n),
    }


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
    half = {"x", "B", "C", "z"}
    rounded = {n: t.to(dtype if n in half else torch.float32) for n, t in tensors.items()}
    chunked = definition.ssd_chunked if tensors["x"].shape[1] > 40 else definition.ssd
    want = outputs_and_gradients(chunked, {n: t.double() for n, t in rounded.items()}, **options)
    if (cu_seqlens := options.get("cu_seqlens")) is not None:
        options = options | {"cu_seqlens": cu_seqlens.to(device)}
    moved = {n: t.to(device) for n, t in rounded.items()}
    got = outputs_and_gradients(ssd, moved, backend="triton", **options)
    for name, value in got.items():
        assert value.shape == want[name].shape, name
        assert error(value, want[name]) < RTOL[dtype], name


@pytest.mark.parametrize(
    "shape",
    [
        (1, 1, 1, 1, 1, 1),
        (2, 37, 6, 5, 3, 7),
        (1, 70, 2, 16, 1, 16),
        (1, 19, 2, 70, 2, 40),
        (1, 150, 2, 64, 1, 128),
        (1, 90, 4, 64, 2, 64),
        (2, 64, 6, 5, 3, 7),  # whole chunks, in small tiles and in large ones
        (1, 256, 2, 48, 1, 40),
    ],
    ids=str,
)
def test_matches_definition(
    shape: tuple[int, ...],
    kernel_dtype: torch.dtype,
    device: torch.device,
    relative_error: Error,
) -> None:
    compare(inputs(*shape), kernel_dtype, device, relative_error, **FIXED)


def test_without_options(device: torch.device, relative_error: Error) -> None:
    tensors = {k: v for k, v in inputs(2, 9, 2, 4, 1, 3).items() if k in ("x", "A", "B", "C")}
    tensors["dt"] = inputs(2, 9, 2, 4, 1, 3)["dt"].abs()
    compare(tensors, torch.float32, device, relative_error)


def test_skip_of_every_value(device: torch.device, relative_error: Error) -> None:
    tensors = inputs(1, 9, 2, 4, 1, 3)
    tensors["D"] = tensors["initial_state"][0, :, :, 0].contiguous()
    compare(tensors, torch.float32, device, relative_error, **FIXED)


@pytest.mark.parametrize("segments", [False, True])
def test_packed(
    segments: bool,
    device: torch.device,
    relative_error: Error,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if segments:
        monkeypatch.setattr(plan, "MIN_SEGMENT_CHUNKS", 1)
    bounds = torch.tensor([0, 1, 9, 55, 90], dtype=torch.int32)
    tensors = inputs(1, 90, 2, 5, 1, 7, rows=4)
    compare(tensors, torch.float32, device, relative_error, cu_seqlens=bounds, **FIXED)


def test_packed_in_large_tiles(device: torch.device, relative_error: Error) -> None:
    bounds = torch.tensor([0, 1, 71, 199, 330], dtype=torch.int32)
    tensors = inputs(1, 330, 2, 64, 1, 40, rows=4)
    compare(tensors, torch.float16, device, relative_error, cu_seqlens=bounds, **FIXED)


def test_segments_change_nothing(
    device: torch.device, relative_error: Error, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plan, "MIN_SEGMENT_CHUNKS", 1)
    tensors = inputs(2, 110, 2, 5, 2, 7)
    compare(tensors, torch.float32, device, relative_error, **FIXED)


def test_parts_of_the_heads_are_summed(
    device: torch.device, relative_error: Error, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settings, "PROGRAMS", 4)
    compare(inputs(1, 17, 12, 4, 2, 5), torch.float32, device, relative_error, **FIXED)


def test_what_a_token_reads_of_itself_is_not_rounded(
    device: torch.device, relative_error: Error
) -> None:
    half = {"x", "B", "C"}
    t = {
        n: v.to(torch.float16 if n in half else torch.float32)
        for n, v in inputs(1, 150, 2, 64, 1, 128).items()
    }
    t["A"] = torch.full_like(t["A"], -1e4)  # nothing older is left
    y, _ = launch.forward(*(t[n].to(device) for n in ORDER), None, True, [0.02, 1.5], True)
    want, _ = definition.ssd(**{n: t[n].double() for n in ORDER}, **FIXED)
    assert y.dtype == torch.float32
    assert relative_error(y, want) < 1e-5


@pytest.mark.parametrize("skip", [None, "D", "every value"])
def test_gradients_share_no_memory(skip: str | None, device: torch.device) -> None:
    t = {n: v.float().to(device) for n, v in inputs(1, 40, 2, 4, 1, 3).items()}
    if skip != "D":
        t["D"] = t["initial_state"][0, :, :, 0].contiguous()
    args = [None if (n, skip) == ("D", None) else t[n] for n in ORDER]
    grads = launch.backward(t["z"], t["initial_state"], *args, None, True, [0.0, 2.0])
    held = [g.untyped_storage().data_ptr() for g in grads if g.numel()]
    taken = [v.untyped_storage().data_ptr() for v in t.values()]
    assert len({*held, *taken}) == len(held) + len(taken)


def test_slices_are_read_in_place(device: torch.device, relative_error: Error) -> None:
    t = {n: v.float().to(device) for n, v in inputs(2, 9, 2, 4, 1, 3).items()}
    wide = torch.cat([t["x"].flatten(2), t["B"].flatten(2), t["C"].flatten(2)], dim=-1)
    x, B, C = wide.split([8, 3, 3], dim=-1)
    sliced = (x.unflatten(-1, (2, 4)), t["dt"], t["A"], B[:, :, None], C[:, :, None])
    apart = (t["x"].transpose(1, 2).contiguous().transpose(1, 2), *sliced[1:])
    want, _ = definition.ssd(*(v.double() for v in sliced), **FIXED)
    for operands in (sliced, apart):
        y, _ = ssd(*operands, backend="triton", **FIXED)
        assert relative_error(y, want) < 1e-5


def test_same_bits_twice(device: torch.device) -> None:
    t = {n: v.float().to(device) for n, v in inputs(2, 40, 4, 5, 2, 7).items()}
    one, two = (outputs_and_gradients(ssd, t, backend="triton", **FIXED) for _ in range(2))
    for name, value in one.items():
        assert torch.equal(value, two[name]), name


def test_nan_reaches_what_follows_and_nothing_before_its_chunk(device: torch.device) -> None:
    t = {n: v.float().to(device) for n, v in inputs(2, 100, 2, 4, 1, 3).items()}
    t["x"][0, 70, 0, 0] = torch.nan
    y, _ = ssd(**t, backend="triton", **FIXED)
    assert y[:, :64].isfinite().all()
    assert y[0, 70:, 0, 0].isnan().all()
    assert y[1].isfinite().all()
    assert y[0, :, 1].isfinite().all()


def test_opcheck(device: torch.device) -> None:
    t = {n: v.float().to(device).requires_grad_() for n, v in inputs(2, 5, 2, 4, 1, 3).items()}
    args = (*(t[n] for n in ORDER), None, True, [0.0, 2.0], False)
    torch.library.opcheck(torch.ops.ssm_kernels.ssd.default, args)


def test_compiles_without_graph_breaks(device: torch.device) -> None:
    t = {n: v.float().to(device) for n, v in inputs(2, 5, 2, 4, 1, 3).items()}
    x = t.pop("x")

    @torch.compile(fullgraph=True, backend="aot_eager")
    def twice(x: Tensor) -> Tensor:
        return 2 * ssd(x, **t, backend="triton", **FIXED)[0]

    assert torch.equal(twice(x), 2 * ssd(x, **t, backend="triton", **FIXED)[0])


def test_batch_may_be_empty(device: torch.device) -> None:
    t = {n: v.float().to(device) for n, v in inputs(0, 5, 2, 4, 1, 3).items()}
    got = outputs_and_gradients(ssd, t, backend="triton", **FIXED)
    assert got["y"].shape == (0, 5, 2, 4)
    assert torch.equal(got["dA"], torch.zeros_like(t["A"]))


def test_bad_input_says_what_was_wanted(device: torch.device) -> None:
    t = {n: v.float().to(device) for n, v in inputs(2, 5, 2, 4, 1, 3).items()}
    bad: list[tuple[dict[str, Any], str]] = [
        ({"backend": "cuda"}, "backend must be"),
        ({"x": t["x"].double()}, "float32, float16, bfloat16"),
        ({"dt": t["dt"][:, :2]}, "dt must have shape"),
        ({"B": t["B"][..., :2]}, "C must have shape"),
        ({"cu_seqlens": torch.tensor([0, 5], device=device)}, "initial_state must have shape"),
    ]
    for change, message in bad:
        with pytest.raises(ValueError, match=message):
            ssd(**(t | {"backend": "triton"} | change))
    wide = torch.zeros(2, 5, 1, 300, device=device)
    with pytest.raises(ValueError, match="n up to 256; got 300"):
        ssd(t["x"], t["dt"], t["A"], wide, wide, backend="triton")


@pytest.mark.gpu
def test_past_two_to_the_31(device: torch.device) -> None:
    length, h, p = 2**16 + 5, 512, 64  # x alone has 2**31 values and more
    x = torch.randn(1, length, h, p, dtype=torch.bfloat16, device=device)
    dt = torch.full((1, length, h), 0.5, device=device)
    A = -torch.ones(h, device=device)
    B, C = (torch.randn(1, length, 1, 16, dtype=torch.bfloat16, device=device) for _ in range(2))
    y, _ = ssd(x, dt, A, B, C, backend="triton")
    tail = slice(length - 200, None)  # e^-100: nothing older is left
    want, _ = definition.ssd_chunked(
        *(t[:, tail].double() for t in (x[:, :, -2:], dt[:, :, -2:])),
        A[-2:].double(),
        *(t[:, tail].double() for t in (B, C)),
    )
    error = (y[:, -50:, -2:].double() - want[:, -50:]).norm() / want[:, -50:].norm()
    assert error < RTOL[torch.bfloat16]
