"""selective_scan in Triton: outputs, states and every gradient against the float64 definition."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from ssm_kernels.selective_scan import launch
from ssm_kernels.selective_scan.op import selective_scan
from ssm_ref.selective import selective_scan as definition

RTOL = {torch.float32: 5e-6, torch.float16: 1e-3, torch.bfloat16: 8e-3}
Error = Callable[[Tensor, Tensor], float]
# The interpreter takes milliseconds a token: there tiles and lengths are a quarter.
S = 4 if torch.cuda.is_available() else 1
# Shape (b, l, d, groups, n), lanes that share a channel's states, and whether a sequence is cut
# into segments of one tile that hand states over.
CASES = [
    ((1, 1, 1, 1, 1), 1, False),
    ((2, 2, 3, 1, 2), 2, True),
    ((1, 9 * S, 6, 2, 3), 1, True),
    ((1, 4 * S, 37, 1, 2), 2, False),
    ((1, 2, 3, 1, 17), 1, False),
    ((1, 3, 6, 2, 18), 2, True),
    ((1, 18, 9, 1, 4), 4, True),
    ((1, 18, 5, 1, 2), 1, True),
    ((1, 2, 5, 1, 4), 2, False),
]
if S > 1:
    CASES += [((2, 50, 37, 1, 4), lanes, lanes == 2) for lanes in (1, 2, 4)]
    CASES += [((1, 300, 66, 2, 17), 1, True), ((1, 300, 66, 2, 32), 4, True)]
    CASES += [((1, 300, 66, 2, 16), lanes, lanes < 4) for lanes in (1, 2, 4)]


def operands(
    b: int, length: int, d: int, g: int, n: int, *, rows: int | None = None, seed: int = 0
) -> dict[str, Tensor]:
    gen = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=gen, dtype=torch.float64)

    groups = () if g == 1 else (g,)
    return {
        "x": normal(b, length, d),
        "dt": normal(b, length, d) - 1,
        "A": -torch.rand(d, n, generator=gen, dtype=torch.float64) - 0.1,
        "B": normal(b, length, *groups, n),
        "C": normal(b, length, *groups, n),
        "D": normal(d),
        "z": normal(b, length, d),
        "dt_bias": normal(d),
        "initial_state": normal(b if rows is None else rows, d, n),
    }


def outputs_and_gradients(form: Any, tensors: dict[str, Tensor], **options: Any) -> dict[str, Any]:
    leaves = {name: t.detach().clone().requires_grad_() for name, t in tensors.items()}
    y, state = form(**leaves, **options)
    gen = torch.Generator().manual_seed(1)
    weigh = [torch.randn(t.shape, generator=gen, dtype=torch.float64).to(t) for t in (y, state)]
    grads = torch.autograd.grad((y, state), list(leaves.values()), weigh)
    named = {f"d{name}": g for name, g in zip(leaves, grads, strict=True)}
    return {"y": y.detach(), "state": state.detach()} | named


def compare(
    tensors: dict[str, Tensor], dtype: torch.dtype, device: torch.device, error: Error,
    **options: Any,
) -> None:  # fmt: skip
    # What multiplies tokens has the kernel's dtype, what describes the layer stays in float32.
    wide = ("A", "D", "dt_bias", "initial_state")
    rounded = {k: t.to(torch.float32 if k in wide else dtype) for k, t in tensors.items()}
    exact = {k: t.double() for k, t in rounded.items()}
    want = outputs_and_gradients(definition.selective_scan, exact, **options)
    moved = {k: t.to(device) for k, t in rounded.items()}
    if "cu_seqlens" in options:
        options["cu_seqlens"] = options["cu_seqlens"].to(device)
    got = outputs_and_gradients(selective_scan, moved, backend="triton", **options)
    assert got["y"].dtype == dtype
    assert got["state"].dtype == torch.float32
    for name, value in got.items():
        assert error(value, want[name]) < RTOL[dtype], f"{name}: {error(value, want[name]):.1e}"


def cut_into(monkeypatch: pytest.MonkeyPatch, lanes: int, segments: bool, tiles: int = 1) -> None:
    """Let so many lanes share a channel, and cut every so many tiles if there are segments."""
    real = launch.geometry

    def chosen(x: Tensor, B: Tensor, cu: Tensor | None, *, forward: bool) -> launch.Geometry:
        cut = real(x, B, cu, forward=forward)
        return replace(cut, lanes=lanes, segments=-(-cut.tiles // tiles) if segments else 1)

    monkeypatch.setattr(launch, "geometry", chosen)


@pytest.mark.parametrize(("shape", "lanes", "segments"), CASES, ids=str)
def test_matches_definition(
    shape: Any, lanes: int, segments: bool, kernel_dtype: torch.dtype, device: torch.device,
    relative_error: Error, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    cut_into(monkeypatch, lanes, segments)
    compare(operands(*shape), kernel_dtype, device, relative_error, dt_softplus=True)


@pytest.mark.parametrize("missing", ["D", "z", "dt_bias", "initial_state", "all"])
def test_options_may_be_left_out(missing: str, device: torch.device, relative_error: Error) -> None:
    tensors = operands(2, 5 * S, 5, 1, 2)
    if missing == "all":
        tensors = {k: tensors[k] for k in ("x", "dt", "A", "B", "C")}
        tensors["dt"] = tensors["dt"].abs()
    else:
        del tensors[missing]
    compare(tensors, torch.float32, device, relative_error, dt_softplus=missing != "all")


@pytest.mark.parametrize(("lanes", "segments"), [(1, True), (2, True), (4, False)])
@pytest.mark.parametrize("ends", [[0, 1, 5, 10], [0, 4, 8, 9, 10]], ids=str)
def test_packed_sequences(
    ends: list[int], lanes: int, segments: bool, device: torch.device, relative_error: Error,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    cut_into(monkeypatch, lanes, segments)
    cu_seqlens = S * torch.tensor(ends, dtype=torch.int32)
    tensors = operands(1, 10 * S, 6, 2, 4, rows=len(ends) - 1)
    compare(tensors, torch.float32, device, relative_error, dt_softplus=True, cu_seqlens=cu_seqlens)


@pytest.mark.parametrize(
    ("b", "length", "n", "forward", "backward"),
    [
        (64, 512, 16, (1, 1), (1, 1)),
        (16, 2048, 16, (1, 1), (1, 1)),
        (8, 4096, 16, (2, 1), (2, 1)),
        (4, 8192, 16, (4, 1), (1, 4)),
        (1, 32_768, 16, (1, 16), (1, 16)),
        (8, 4096, 17, (1, 2), (1, 2)),
        (1, 512, 16, (4, 1), (1, 4)),
        (1, 512, 17, (1, 4), (1, 4)),
        (1, 64, 16, (4, 1), (1, 1)),
    ],
)
def test_few_sequences_are_shared_out(
    b: int, length: int, n: int, forward: tuple[int, int], backward: tuple[int, int]
) -> None:
    x, B = torch.empty(b, length, 2048, device="meta"), torch.empty(b, 1, 1, n, device="meta")
    for lanes_and_segments, is_forward in ((forward, True), (backward, False)):
        cut = launch.geometry(x, B, None, forward=is_forward)
        assert (cut.lanes, cut.segments) == lanes_and_segments
        assert cut.segments * cut.tiles_per_segment >= cut.tiles


@pytest.mark.parametrize(
    ("lanes", "n", "with_states", "want"),
    [
        (1, 16, False, (1, 1)),
        (1, 16, True, (2, 2)),
        (2, 16, False, (4, 2)),
        (4, 16, True, (4, 1)),
        (1, 17, True, (1, 1)),
    ],
)
def test_two_channels_a_lane_where_they_pay(
    lanes: int, n: int, with_states: bool, want: tuple[int, int]
) -> None:
    cut = launch.Geometry(1, 64, 32, 1, n, False, 1, lanes)
    walk = launch.paired(cut, with_states=with_states)
    assert (walk.lanes, walk.held) == want
    assert walk.warps == lanes


def on(device: torch.device, **tensors: Tensor) -> dict[str, Tensor]:
    return {name: t.float().to(device) for name, t in tensors.items()}


def test_slices_and_strides(device: torch.device) -> None:
    tensors = on(device, **operands(2, 5 * S, 6, 1, 3))
    xz = torch.cat([tensors["x"], tensors["z"]], dim=2)
    want = selective_scan(**tensors, dt_softplus=True, backend="triton")
    sliced = tensors | {
        "x": xz[..., :6],
        "z": xz[..., 6:],
        "dt": tensors["dt"].mT.contiguous().mT,
        "B": tensors["B"].transpose(0, 1).contiguous().transpose(0, 1),
    }
    got = selective_scan(**sliced, dt_softplus=True, backend="triton")
    assert all(torch.equal(a, b) for a, b in zip(got, want, strict=True))


def test_a_second_run_gives_the_same_bits(device: torch.device) -> None:
    tensors = on(device, **operands(1, 5 * S, 40, 1, 2))
    runs = [
        outputs_and_gradients(selective_scan, tensors, dt_softplus=True, backend="triton")
        for _ in range(2)
    ]
    assert all(torch.equal(runs[0][name], runs[1][name]) for name in runs[0])


def test_gradients_do_not_change_the_output(device: torch.device, relative_error: Error) -> None:
    """Without them no states are stored, and a lane holds one channel instead of two."""
    tensors = on(device, **operands(1, 18, 5, 1, 2))
    del tensors["initial_state"]
    plain = selective_scan(**tensors, dt_softplus=True, backend="triton")
    tensors["x"].requires_grad_()
    for a, b in zip(
        selective_scan(**tensors, dt_softplus=True, backend="triton"), plain, strict=True
    ):
        assert relative_error(a.detach(), b.double()) < 1e-6


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_nan_and_inf_pass_through_and_are_not_invented(bad: float, device: torch.device) -> None:
    tensors = on(device, **operands(2, 6, 3, 1, 2))
    tensors["x"][1, 3, 1] = bad
    y, state = selective_scan(**tensors, dt_softplus=True, backend="triton")
    wanted, wanted_state = definition.selective_scan(**tensors, dt_softplus=True)
    assert torch.equal(y.isfinite(), wanted.isfinite())
    assert torch.equal(state.isfinite(), wanted_state.isfinite())
    assert not y[1, 3:, 1].isfinite().any()
    assert y[0].isfinite().all()


def test_nan_stays_where_it_belongs_backward(device: torch.device) -> None:
    tensors = on(device, **operands(1, 6, 3, 1, 2))
    tensors["x"][0, 3, 1] = float("nan")
    got = outputs_and_gradients(selective_scan, tensors, dt_softplus=True, backend="triton")
    want = outputs_and_gradients(definition.selective_scan, tensors, dt_softplus=True)
    for name, value in got.items():
        assert torch.equal(value.isfinite(), want[name].isfinite()), name
    assert got["dB"][0, :3].isfinite().all()


def with_states_that_die_out(length: int) -> dict[str, Tensor]:
    """Of the states of the first channel the second is gone within a tile, of the others both."""
    tensors = operands(1, length, 3, 1, 2)
    tensors["dt"] = tensors["dt"] * 0.1 + torch.tensor([-3.0, 10.0, 20.0], dtype=torch.float64)
    tensors["A"] = -torch.tensor([[0.5, 300.0], [1.0, 3.0], [2.0, 0.7]], dtype=torch.float64)
    return tensors | {"dt_bias": torch.zeros(3, dtype=torch.float64)}


@pytest.mark.parametrize("lanes", [1, 2])
def test_states_that_die_out_within_a_segment(
    lanes: int, device: torch.device, relative_error: Error, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut_into(monkeypatch, lanes, segments=True, tiles=2)
    tensors = with_states_that_die_out(50)
    compare(tensors, torch.float32, device, relative_error, dt_softplus=True)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize(
    ("name", "token"), [("x", 1), ("dt", 1), ("B", 1), ("dt", 31), ("C", 31), ("z", 31)]
)
def test_nan_and_inf_pass_through_where_states_die_out(
    name: str, token: int, bad: float, device: torch.device, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Token 1 is far from where its segment hands on the state, 31 from where the adjoint goes."""
    cut_into(monkeypatch, lanes=1, segments=True, tiles=2)
    tensors = on(device, **with_states_that_die_out(34))
    tensors[name][0, token, 1] = bad
    got = outputs_and_gradients(selective_scan, tensors, dt_softplus=True, backend="triton")
    want = outputs_and_gradients(definition.selective_scan, tensors, dt_softplus=True)
    for kind, value in got.items():
        assert torch.equal(value.isfinite(), want[kind].isfinite()), kind


def test_steps_near_zero_and_far_out(device: torch.device, relative_error: Error) -> None:
    tensors = on(device, **operands(1, 12, 4, 1, 2))
    tensors["dt"] = torch.linspace(-30, 30, 48).view(1, 12, 4).to(device)
    del tensors["dt_bias"], tensors["initial_state"]
    got = selective_scan(**tensors, dt_softplus=True, backend="triton")
    exact = {k: t.double().cpu() for k, t in tensors.items()}
    want = definition.selective_scan(**exact, dt_softplus=True)
    assert all(relative_error(a, b) < 5e-6 for a, b in zip(got, want, strict=True))


@pytest.mark.parametrize(("b", "length"), [(0, 4), (1, 1), (3, 1)])
def test_batch_zero_and_length_one(b: int, length: int, device: torch.device) -> None:
    got = outputs_and_gradients(
        selective_scan, on(device, **operands(b, length, 4, 1, 2)), backend="triton"
    )
    assert got["y"].shape == (b, length, 4)
    assert got["dA"].isfinite().all()


def test_operator_registration(device: torch.device) -> None:
    tensors = on(device, **operands(2, 5, 4, 2, 2))
    leaves = [tensors[k].requires_grad_() for k in ("x", "dt", "A", "B", "C", "D", "z", "dt_bias")]
    state = tensors["initial_state"].requires_grad_()
    op = torch.ops.ssm_kernels.selective_scan.default
    torch.library.opcheck(op, (*leaves, state, None, True, True))
    packed = [t.detach()[:1] for t in leaves[:2]] + [leaves[2].detach()]
    packed += [t.detach()[:1] for t in leaves[3:5]]
    ends = torch.tensor([0, 2, 5], device=device)
    torch.library.opcheck(op, (*packed, None, None, None, None, ends, False, False))


def test_compiles_without_graph_breaks(device: torch.device) -> None:
    tensors = on(device, **operands(1, 5, 4, 1, 2))

    def run(**named: Tensor) -> tuple[Tensor, Tensor]:
        return selective_scan(**named, dt_softplus=True, backend="triton")

    compiled = torch.compile(run, backend="aot_eager", fullgraph=True)
    got = outputs_and_gradients(compiled, tensors)
    want = outputs_and_gradients(run, tensors)
    for name, value in got.items():
        torch.testing.assert_close(value, want[name])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"backend": "cuda"}, "backend must be"),
        ({"A": torch.ones(4, 2) * 1j}, "real A"),
        ({"x": torch.ones(2, 5, 4, dtype=torch.float64)}, "triton backend takes"),
        ({"x": torch.ones(2, 5)}, "x must be floating point"),
        ({"dt": torch.ones(2, 4, 4)}, "dt must have shape"),
        ({"B": torch.ones(2, 5, 3)}, "B must have shape"),
        ({"initial_state": torch.ones(1, 4, 2)}, "initial_state must have shape"),
        ({"cu_seqlens": torch.tensor([0, 5])}, "batch must be 1"),
    ],
    ids=str,
)
def test_bad_operands(change: dict[str, Any], message: str, device: torch.device) -> None:
    ones = torch.ones
    good: dict[str, Any] = {"x": ones(2, 5, 4), "dt": ones(2, 5, 4), "A": -ones(4, 2)}
    good |= {"B": ones(2, 5, 2), "C": ones(2, 5, 2), "backend": "triton"} | change
    if "cu_seqlens" in change:
        good["initial_state"] = None
    moved = {k: v.to(device) if isinstance(v, Tensor) else v for k, v in good.items()}
    with pytest.raises(ValueError, match=message):
        selective_scan(**moved)


@pytest.mark.parametrize("backend", ["triton", "reference"])
def test_unknown_options_are_refused(backend: str, device: torch.device) -> None:
    x, A, B = (torch.ones(shape, device=device) for shape in ((1, 2, 3), (3, 4), (1, 2, 4)))
    with pytest.raises(TypeError, match="delta_bias"):
        selective_scan(x, x, -A, B, B, backend=backend, delta_bias=x[0, 0])  # type: ignore[call-arg]


def test_complex_a_goes_through_the_reference(device: torch.device) -> None:
    tensors = on(device, **operands(1, 6, 3, 1, 2))
    tensors = {k: tensors[k] for k in ("x", "dt", "B", "C")}
    A = torch.complex(-torch.ones(3, 2), torch.ones(3, 2)).to(device)
    got, want = selective_scan(A=A, **tensors), definition.selective_scan(A=A, **tensors)
    torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-5)


@pytest.mark.gpu
def test_past_two_to_the_31_elements() -> None:
    if not torch.cuda.is_available() or torch.cuda.mem_get_info()[0] < 40 * 2**30:
        pytest.skip("needs a CUDA device with 40 GiB free")
    b, length, d, n = 2, 65_537, 16_896, 1
    x = torch.full((b, length, d), 1.0, dtype=torch.bfloat16, device="cuda")
    A = torch.full((d, n), -1.0, device="cuda")
    B = torch.ones(b, length, n, dtype=torch.bfloat16, device="cuda")
    y, last = selective_scan(x, x, A, B, B, backend="triton")
    assert x.numel() > 2**31
    want = 1 / (1 - torch.exp(torch.tensor(-1.0)))
    assert abs(last[-1, -1, 0].item() - want.item()) < 1e-3
    assert (y[-1, -2:].float() - want.item()).abs().max() < 1e-2
