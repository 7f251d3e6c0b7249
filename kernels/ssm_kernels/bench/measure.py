"""Rows of one case: error against float64, peak memory and times of every implementation."""

import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from triton.compiler.errors import TritonError

from ssm_kernels.bench.case import OURS, Case, Impl
from ssm_kernels.bench.row import Row, source_hash

IN_GRAPH = 20  # calls of decoding in one CUDA graph
FAILURES = (
    RuntimeError, ValueError, TypeError, AttributeError, AssertionError, ImportError, LookupError,
    OSError, TritonError,
)  # fmt: skip
LONGEST = 10_000.0  # ms: what would take longer is not timed
GROWTH = 4  # of the length from one case to the next
Clock = Callable[[Callable[[], Any]], tuple[float, float, float]]


def timed(call: Callable[[], Any]) -> tuple[float, float, float]:
    """Median, 20th and 80th percentile of one call in milliseconds, by device events."""
    from triton.testing import do_bench

    median, low, high = do_bench(call, warmup=10, rep=60, quantiles=[0.5, 0.2, 0.8])
    return median, low, high


def paced(call: Callable[[], Any]) -> tuple[float, float, float]:
    """As `timed`, but a call of more than a tenth of a second is timed four times, of 2 s once."""

    def once() -> float:
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        call()
        end.record()
        end.synchronize()
        return start.elapsed_time(end)

    first = once()
    if first < 100:
        return timed(call)
    if first > 2000:
        return first, first, first
    times = sorted([first, *(once() for _ in range(3))])
    return (times[1] + times[2]) / 2, times[0], times[3]


def reading(call: Callable[[], Any]) -> tuple[float, float, float, float]:
    """Median, percentiles, and peak memory in MiB of a call, which runs once before it is timed."""
    peak = peak_of(call)
    return *paced(call), peak


def is_too_slow(times: list[float], what: str) -> bool:
    """Whether a call at `GROWTH` times the last length would take too long; if so, stderr says so.

    It is taken to grow as it did between the last two of `times`, in ms, and at least linearly.
    """
    if not times:
        return False
    growth = times[-1] / times[-2] if len(times) > 1 else GROWTH
    expected = times[-1] * max(GROWTH, growth)
    if expected > LONGEST:
        print(f"{what}: left out, about {expected / 1e3:.0f} s a call", file=sys.stderr)
    return expected > LONGEST


def peak_of(call: Callable[[], Any]) -> float:
    """MiB that a call adds to the memory in use, at its highest; 0 without a GPU."""
    if not torch.cuda.is_available():
        return 0.0
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    call()
    torch.cuda.synchronize()
    return (torch.cuda.max_memory_allocated() - before) / 2**20


def measure(
    case: Case, place: Mapping[str, Any], impls: list[str] | None = None, clock: Clock = paced
) -> Iterator[Row]:
    """Rows of a case, one an implementation and pass, each as soon as it is known.

    An implementation that fails is named on stderr and left out. `error` is that of the output
    or, in `fwd_bwd`, of the gradient of x, and None where the sequence is too long for float64.
    """
    chosen = {name: impl for name, impl in case.impls.items() if impls is None or name in impls}
    want, want_grad, grad = _exact(case)
    for name, impl in chosen.items():
        for pass_ in case.costs:
            try:
                run, error = _prepare(case, impl, pass_, (want, want_grad, grad))
                yield _row(case, name, pass_, place, _times(case, impl, pass_, run, clock), error)
            except FAILURES as failure:
                print(f"{case.op} {name} {pass_} failed: {failure!r:.500}", file=sys.stderr)


def _exact(case: Case) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    """Output and gradient of x in float64, and the output's gradient, in the layout of ours."""
    if OURS not in case.impls:
        return None, None, None
    operands = case.exact_operands()
    if "fwd_bwd" not in case.costs or not case.is_whole:
        with torch.no_grad():
            return case.exact(**operands), None, None
    leaf = operands["x"].requires_grad_()
    want = case.exact(**operands)
    ours = case.impls[OURS]
    with torch.no_grad():
        grad = torch.randn_like(ours.call(**ours.operands))
    (want_grad,) = torch.autograd.grad(want, leaf, case.first(grad).double())
    return want.detach(), want_grad, grad


def _prepare(
    case: Case, impl: Impl, pass_: str, exact: tuple[Tensor | None, Tensor | None, Tensor | None]
) -> tuple[Callable[[], Any], float | None]:
    """What is timed, run once, and its error."""
    want, want_grad, grad = exact
    if pass_ == "fwd_bwd":
        leaves = {name: t.detach().requires_grad_() for name, t in impl.operands.items()}
        if grad is None:
            with torch.no_grad():
                grad = torch.randn_like(impl.call(**impl.operands))
        else:
            grad = impl.layout(grad)

        def both() -> tuple[Tensor, ...]:
            return torch.autograd.grad(impl.call(**leaves), list(leaves.values()), grad)

        got = impl.layout(both()[list(leaves).index(impl.x)])
        return both, _error(case.first(got), want_grad)

    # A step writes into its state, which all implementations share.
    own = {"state": impl.operands["state"].clone()} if pass_ == "decode" else {}

    def forward() -> Tensor:
        with torch.no_grad():
            return impl.call(**{**impl.operands, **own})

    return forward, _error(case.first(impl.layout(forward())), want)


def _error(got: Tensor, want: Tensor | None) -> float | None:
    if want is None:
        return None
    return ((got.double() - want).norm() / want.norm()).item()


def _times(
    case: Case, impl: Impl, pass_: str, run: Callable[[], Any], clock: Clock
) -> tuple[float, float, float, float]:
    """Median, percentiles, and peak memory in MiB."""
    peak = peak_of(run)
    if pass_ != "decode":
        return *clock(run), peak
    ms, low, high = clock(_replay(case, impl))
    return ms / IN_GRAPH, low / IN_GRAPH, high / IN_GRAPH, peak


def _replay(case: Case, impl: Impl) -> Callable[[], Any]:
    """IN_GRAPH calls of decoding as one CUDA graph, over `copies` states in turn."""
    states = [impl.operands["state"].clone() for _ in range(case.copies)]

    def steps() -> None:
        with torch.no_grad():
            for i in range(IN_GRAPH):
                impl.call(**{**impl.operands, "state": states[i % case.copies]})

    if not torch.cuda.is_available():
        return steps
    steps()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        steps()
    return graph.replay


def _row(
    case: Case,
    impl: str,
    pass_: str,
    place: Mapping[str, Any],
    times: tuple[float, float, float, float],
    error: float | None,
) -> Row:
    ms, low, high, peak = times
    cost = case.costs[pass_]
    return Row(
        op=case.op, impl=impl, pass_=pass_, shape=case.shape,
        dtype=str(case.dtype).removeprefix("torch."), ms=round(ms, 5), ms_low=round(low, 5),
        ms_high=round(high, 5), bytes_moved=cost.bytes_moved, flops=cost.flops,
        floor_ms=round(case.floor_ms(pass_, place["copy_tb_s"], place["matmul_tflop_s"]), 5),
        peak_mib=round(peak, 1), error=error,
        source_hash=source_hash(Path(__file__).parents[1] / case.op) if OURS in case.impls else "",
        **place,
    )  # fmt: skip
