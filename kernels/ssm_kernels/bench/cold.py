"""What the first call costs with an empty cache: compilation and tuning, in a fresh process.

Left out is what PyTorch does the first time gradients are asked for (it imports sympy), and all
imports of the peer: they are paid once, whatever the operator.

`python -m ssm_kernels.bench.cold OP IMPL` prints one line of JSON for each pass as it ends.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch

from ssm_kernels.bench.case import OURS
from ssm_kernels.bench.cases import HEADLINE
from ssm_kernels.bench.row import Row, source_hash

OPS = ("ssd", "selective_scan", "gated_rms_norm", "causal_conv1d", "state_update")
PEERS = {"causal_conv1d": "causal_conv1d"}  # mamba-ssm where nothing else is said


class Running(NamedTuple):
    """A process that makes its first calls, and the file it writes its findings to."""

    op: str
    impl: str
    process: subprocess.Popen[bytes]
    out: Path


def start(ops: Sequence[str], folder: Path) -> list[Running]:
    """One process an operator and implementation, side by side, each with a cache in `folder`."""
    running = []
    for op in ops:
        for impl in (OURS, PEERS.get(op, "mamba_ssm")):
            cache = folder / f"{op}-{impl}"
            command = [sys.executable, "-m", "ssm_kernels.bench.cold", op, impl]
            env = os.environ | {"TRITON_CACHE_DIR": str(cache)}
            path = cache.with_suffix(".out")
            with path.open("w") as out:
                running.append(
                    Running(op, impl, subprocess.Popen(command, env=env, stdout=out), path)
                )
    return running


def running_now(running: Sequence[Running]) -> int:
    """How many of the processes have not ended."""
    return sum(one.process.poll() is None for one in running)


def finish(running: Sequence[Running], *, end: float) -> list[tuple[str, str, dict[str, Any]]]:
    """What the processes found until `end` of the clock; those still running are stopped."""
    found = []
    for one in running:
        try:
            one.process.wait(max(0.0, end - time.perf_counter()))
        except subprocess.TimeoutExpired:
            one.process.kill()
            one.process.wait()
            print(f"{one.op} {one.impl}: first calls not done in time", file=sys.stderr)
        found += [(one.op, one.impl, json.loads(line)) for line in one.out.read_text().splitlines()]
    return found


def cold_row(op: str, impl: str, found: dict[str, Any], place: Mapping[str, Any]) -> Row:
    """One of the findings as a row of `cold_fwd` or `cold_fwd_bwd`."""
    ms = round(found["ms"], 1)
    return Row(
        op=op, impl=impl, pass_=f"cold_{found['pass']}", shape=found["shape"],
        dtype=found["dtype"], ms=ms, ms_low=ms, ms_high=ms, bytes_moved=0, flops=0, floor_ms=0.0,
        peak_mib=0.0, error=None, source_hash=source_hash(Path(__file__).parents[1] / op), **place,
    )  # fmt: skip


def main(argv: list[str]) -> int:
    """Time the first call of each pass by the wall clock."""
    op, impl = argv
    case = HEADLINE[op][0]()
    if impl not in case.impls:
        return 1
    chosen = case.impls[impl]
    with_gradients = "fwd_bwd" in case.costs
    leaves = {
        name: t.detach().requires_grad_(with_gradients) for name, t in chosen.operands.items()
    }
    grad = torch.ones_like(chosen.layout(next(iter(case.impls.values())).operands["x"]))
    one = torch.ones(1, device=grad.device, requires_grad=True)
    torch.autograd.grad(2 * one, one, torch.ones_like(one))
    torch.cuda.synchronize()
    for pass_ in case.costs:
        start = time.perf_counter()
        with torch.set_grad_enabled(pass_ == "fwd_bwd"):
            y = chosen.call(**leaves)
        if pass_ == "fwd_bwd":
            torch.autograd.grad(y, list(leaves.values()), grad)
        torch.cuda.synchronize()
        line = {
            "pass": pass_,
            "ms": 1e3 * (time.perf_counter() - start),
            "shape": case.shape,
            "dtype": str(case.dtype).removeprefix("torch."),
        }
        print(json.dumps(line), flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
