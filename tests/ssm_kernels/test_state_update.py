"""state_update in Triton: outputs and states against the steps of the definitions in float64."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from ssm_kernels.state_update.op import state_step, state_update

RTOL = {torch.float32: 2e-6, torch.float16: 2e-3, torch.bfloat16: 1.5e-2}
Error = Callable[[Tensor, Tensor], float]
MAMBA, MAMBA2 = (3, 10, 2, 5), (3, 4, 6, 2, 7)


def inputs(shape: tuple[int, ...], rows: int | None = None) -> dict[str, Any]:
    """b, d, g, n for Mamba; b, h, p, g, n for Mamba-2."""
    gen = torch.Generator().manual_seed(sum(shape))
    b, *channels, g, n = shape

    def normal(*size: int) -> Tensor:
        return torch.randn(*size, generator=gen, dtype=torch.float64)

    return {
        "state": normal(rows or b, *channels, n),
        "x": normal(b, *channels),
        "dt": normal(b, channels[0]),
        "A": -normal(channels[0], n).abs() if len(channels) == 1 else -normal(channels[0]).abs(),
        "B": normal(b, g, n),
        "C": normal(b, g, n),
        "D": normal(channels[0]),
        "z": normal(b, *channels),
        "dt_bias": normal(channels[0]),
    }


def run(backend: str, t: dict[str, Any], **options: Any) -> tuple[Tensor, Tensor]:
    state = t["state"].clone()
    return state_update(**(t | {"state": state}), backend=backend, **options), state


@pytest.mark.parametrize(
    "shape", [MAMBA, MAMBA2, (1, 1, 1, 1), (1, 1, 1, 1, 1), (2, 3, 70, 3, 130)]
)
def test_matches_definition(
    shape: tuple[int, ...], kernel_dtype: torch.dtype, device: torch.device, relative_error: Error
) -> None:
    half = {"x", "B", "C", "z"}
    t = {n: v.to(kernel_dtype if n in half else torch.float32) for n, v in inputs(shape).items()}
    want, after = run("reference", {n: v.double() for n, v in t.items()}, dt_softplus=True)
    y, state = run("triton", {n: v.to(device) for n, v in t.items()}, dt_softplus=True)
    assert y.dtype == kernel_dtype
    assert relative_error(y, want) < RTOL[kernel_dtype]
    assert relative_error(state, after) < RTOL[torch.float32]


@pytest.mark.parametrize("backend", ["triton", "reference"])
@pytest.mark.parametrize("shape", [MAMBA, MAMBA2])
def test_a_step_leaves_its_state_alone(
    shape: tuple[int, ...], backend: str, device: torch.device
) -> None:
    t = {n: v.float().to(device) for n, v in inputs(shape).items()}
    want, after = run(backend, t, dt_softplus=True)
    kept = t["state"].clone()
    y, state = state_step(**t, dt_softplus=True, backend=backend)
    assert torch.equal(y, want)
    assert torch.equal(state, after)
    assert torch.equal(t["state"], kept)
    with pytest.raises(ValueError, match="state must have 3 rows like x; got 2"):
        state_step(**(t | {"state": t["state"][:2]}), backend=backend)


@pytest.mark.parametrize("shape", [MAMBA, MAMBA2])
def test_bare_operands(shape: tuple[int, ...], device: torch.device, relative_error: Error) -> None:
    t = inputs(shape)
    bare = {n: t[n] for n in ("state", "x", "A", "B", "C")} | {"dt": t["dt"].abs()}
    want, after = run("reference", bare)
    y, state = run("triton", {n: v.float().to(device) for n, v in bare.items()})
    assert relative_error(y, want) < 1e-6
    assert relative_error(state, after) < 1e-6


def test_limits_and_skip_of_every_value(device: torch.device, relative_error: Error) -> None:
    t = inputs(MAMBA2)
    t["D"] = t["x"][0].clone()
    options = {"dt_softplus": True, "dt_limit": (0.3, 0.9)}
    want, after = run("reference", t, **options)
    y, state = run("triton", {n: v.float().to(device) for n, v in t.items()}, **options)
    assert relative_error(y, want) < 1e-6
    assert relative_error(state, after) < 1e-6


@pytest.mark.parametrize("shape", [MAMBA, MAMBA2])
@pytest.mark.parametrize("dtype", [torch.int32, torch.int64], ids=str)
def test_indices_name_the_states(
    shape: tuple[int, ...], dtype: torch.dtype, device: torch.device, relative_error: Error
) -> None:
    t = inputs(shape, rows=6)
    index = torch.tensor([4, -1, 1], dtype=dtype)
    want, after = run("reference", t, dt_softplus=True, state_indices=index)
    moved = {n: v.float().to(device) for n, v in t.items()}
    y, state = run("triton", moved, dt_softplus=True, state_indices=index.to(device))
    assert relative_error(y, want) < 1e-6
    assert relative_error(state, after) < 1e-6
    untouched = [0, 2, 3, 5]
    assert torch.equal(state[untouched], moved["state"][untouched])
    assert torch.equal(y[1], torch.zeros_like(y[1]))


def test_rows_of_slices_are_read_in_place(device: torch.device, relative_error: Error) -> None:
    t = {n: v.float().to(device) for n, v in inputs(MAMBA2).items()}
    wide = torch.cat([t["x"].flatten(1), t["B"].flatten(1), t["C"].flatten(1)], dim=-1)
    x, B, C = wide.split([24, 14, 14], dim=-1)
    sliced = {
        "x": x.unflatten(-1, (4, 6)),
        "B": B.unflatten(-1, (2, 7)),
        "C": C.unflatten(-1, (2, 7)),
        "z": t["z"].transpose(1, 2).contiguous().transpose(1, 2),
    }
    want, _ = run("triton", t)
    assert relative_error(run("triton", t | sliced)[0], want) == 0


@pytest.mark.parametrize("shape", [MAMBA, MAMBA2])
def test_opcheck(shape: tuple[int, ...], device: torch.device) -> None:
    t = {n: v.float().to(device) for n, v in inputs(shape).items()}
    args = (*t.values(), True, [0.0, 2.0], None)
    torch.library.opcheck(torch.ops.ssm_kernels.state_update.default, args)
    torch.library.opcheck(torch.ops.ssm_kernels.state_step.default, args[:-1])


def test_compiles_without_graph_breaks(device: torch.device) -> None:
    t = {n: v.float().to(device) for n, v in inputs(MAMBA2).items()}
    want, after = run("triton", t)

    @torch.compile(fullgraph=True, backend="aot_eager")
    def step(state: Tensor, x: Tensor) -> Tensor:
        return state_update(**(t | {"state": state, "x": x}), backend="triton")

    state = t["state"].clone()
    assert torch.equal(step(state, t["x"]), want)
    assert torch.equal(state, after)


@pytest.mark.gpu
def test_replays_in_a_cuda_graph(device: torch.device) -> None:
    t = {n: v.float().to(device) for n, v in inputs(MAMBA2).items()}
    first = t["state"].clone()
    run("triton", t)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        y = state_update(**t, backend="triton")
    t["state"].copy_(first)
    graph.replay()
    want, after = run("triton", t | {"state": first})
    assert torch.equal(y, want)
    assert torch.equal(t["state"], after)


def test_bad_input_says_what_was_wanted(device: torch.device) -> None:
    t = {n: v.float().to(device) for n, v in inputs(MAMBA2).items()}
    bad: list[tuple[dict[str, Any], str]] = [
        ({"backend": "cuda"}, "backend must be"),
        ({"state": t["state"].transpose(2, 3)}, "state must be contiguous"),
        ({"state": t["state"][:2]}, "state must have 3 rows like x; got 2"),
        ({"x": t["x"][:, :3]}, "x must have shape"),
        ({"dt": t["x"]}, "dt must have shape"),
        ({"B": t["B"][:, :1]}, "C must have shape"),
        ({"dt_limit": (2.0, 1.0)}, "dt_limit must be"),
        ({"state_indices": torch.zeros(3, device=device)}, "wrong kind of dtype"),
        ({"state_indices": torch.zeros(2, device=device)}, "state_indices must have shape"),
    ]
    for change, message in bad:
        with pytest.raises(ValueError, match=message):
            state_update(**({"backend": "triton"} | t | change))
