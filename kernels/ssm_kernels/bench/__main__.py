"""`python -m ssm_kernels.bench [op ...] --results DIR --commit HASH`: time and append rows."""

import argparse
import datetime
import subprocess
import sys
import uuid
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ssm_kernels.bench.cases import CASES, Case
from ssm_kernels.bench.row import Row, installed, source_hash


def main(argv: list[str] | None = None) -> int:
    """Time the named operators and print a table; returns 2 without a CUDA device."""
    parser = argparse.ArgumentParser(prog="python -m ssm_kernels.bench", description=__doc__)
    parser.add_argument("op", nargs="*", choices=[[], *CASES], help="operators; all if none")
    parser.add_argument("--results", type=Path, default=Path("kernels/results"))
    parser.add_argument("--commit", default=None, help="commit of the tree, where git is absent")
    args = parser.parse_args(argv)
    if not torch.cuda.is_available():
        print("the benchmark needs a CUDA device; none is visible", file=sys.stderr)
        return 2
    place = provenance(args.commit, args.op)
    args.results.mkdir(parents=True, exist_ok=True)
    for op in args.op or CASES:
        with (args.results / f"{op}.jsonl").open("a", encoding="utf-8") as file:
            for case in CASES[op]():
                for row in measure(case, place):
                    file.write(row.as_json() + "\n")
                    share = row.floor_ms / row.ms
                    print(f"{op} {row.shape} {row.impl} {row.pass_}: {row.ms:.3f} ms, {share:.0%}")
    return 0


def provenance(commit: str | None, ops: list[str]) -> dict[str, Any]:
    """What all rows of this run share, with the card's two ceilings measured now."""
    smi = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    git = ["git", "rev-parse", "HEAD"]
    src = torch.empty(2**30, dtype=torch.bfloat16, device="cuda").normal_()
    dst = torch.empty_like(src)
    copy_ms, *_ = timed(lambda: dst.copy_(src))
    m = src[: 8192 * 8192].view(8192, 8192)
    matmul_ms, *_ = timed(lambda: m @ m)
    return {
        "device": torch.cuda.get_device_name(),
        "driver": subprocess.run(smi, capture_output=True, text=True, check=True).stdout.strip(),
        "torch": torch.__version__,
        "triton": installed("triton"),
        "commit": commit
        or subprocess.run(git, capture_output=True, text=True, check=True).stdout.strip(),
        "command": " ".join(["python -m ssm_kernels.bench", *ops]),
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d"),
        "run": uuid.uuid4().hex[:12],
        "copy_tb_s": round(4 * src.numel() / copy_ms / 1e9, 3),
        "matmul_tflop_s": round(2 * 8192**3 / matmul_ms / 1e9, 1),
    }


def timed(call: Any) -> tuple[float, float, float]:
    """Median, 20th and 80th percentile of one call in milliseconds, by device events."""
    from triton.testing import do_bench

    median, low, high = do_bench(call, warmup=25, rep=100, quantiles=[0.5, 0.2, 0.8])
    return median, low, high


def measure(case: Case, place: dict[str, Any]) -> list[Row]:
    """Rows of one case: forward, and forward with backward, for every implementation."""
    want = case.reference()
    rows = []
    for impl, (operands, call) in case.impls.items():
        with torch.no_grad():
            out = call(**operands)
            error = ((out[:1].double() - want).norm() / want.norm()).item()
            grad = torch.randn_like(out)
        leaves = {name: t.detach().requires_grad_() for name, t in operands.items()}

        def forward(call: Any = call, operands: dict[str, Tensor] = operands) -> None:
            with torch.no_grad():
                call(**operands)

        def both(call: Any = call, leaves: dict[str, Tensor] = leaves, g: Tensor = grad) -> None:
            torch.autograd.grad(call(**leaves), list(leaves.values()), g)

        bytes_both, flops_both = case.bytes_fwd + case.bytes_bwd, case.flops_fwd + case.flops_bwd
        passes: dict[str, tuple[Any, int, int]] = {
            "fwd": (forward, case.bytes_fwd, case.flops_fwd),
            "fwd_bwd": (both, bytes_both, flops_both),
        }
        for pass_, (run, moved, flops) in passes.items():
            torch.cuda.reset_peak_memory_stats()
            before = torch.cuda.memory_allocated()
            run()
            peak = torch.cuda.max_memory_allocated() - before
            ms, low, high = timed(run)
            floor = moved / place["copy_tb_s"] / 1e9
            rows.append(
                Row(
                    op=case.op, impl=impl, pass_=pass_, shape=case.shape,
                    dtype=str(case.dtype).removeprefix("torch."), ms=round(ms, 4),
                    ms_low=round(low, 4), ms_high=round(high, 4), bytes_moved=moved, flops=flops,
                    floor_ms=round(floor, 4), peak_mib=round(peak / 2**20, 1), error=error,
                    source_hash=source_hash(Path(__file__).parents[1] / case.op), **place,
                )
            )  # fmt: skip
    return rows


if __name__ == "__main__":
    raise SystemExit(main())
