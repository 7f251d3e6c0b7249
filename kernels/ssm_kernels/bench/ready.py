"""Compile before timing: kernels and every candidate of the peers' autotuners, in parallel.

`python -m ssm_kernels.bench.ready OP IMPL STAGE PART PARTS` compiles its part into Triton's cache
and launches no tuned kernel. The timing process then finds all of it compiled, and only tunes.
"""

import itertools
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from triton.compiler.errors import TritonError
from triton.runtime.autotuner import Autotuner
from triton.testing import do_bench

from ssm_kernels.bench.case import OURS, Case
from ssm_kernels.bench.cases import HEADLINE, LENGTHS

STAGES = {"headline": HEADLINE, "lengths": LENGTHS}
Job = tuple[str, str, str, int, int]


def jobs(ops: Sequence[str], cores: int) -> list[Job]:
    """The processes that compile for these operators: half of the cores for the largest peer."""
    shares = max(1, cores // 2)
    found: list[Job] = []
    for op in (op for op in ops if op in HEADLINE):
        if op == "ssd":
            found += [(op, "mamba_ssm", "headline", part, shares) for part in range(shares)]
        found += [(op, OURS if op == "ssd" else "", "headline", 0, 1)]
    for op in (op for op in ops if op in HEADLINE and op in LENGTHS):
        found += [(op, OURS, "lengths", part, 3) for part in range(3)]
    return found


def compile_ahead(ops: Sequence[str], *, end: float, spare: int) -> None:
    """Run the jobs in their order until `end` of the clock, all cores but `spare` at a time."""
    cores = os.cpu_count() or 1
    waiting = jobs(ops, cores)
    running: list[subprocess.Popen[bytes]] = []
    while (waiting or running) and time.perf_counter() < end:
        running = [process for process in running if process.poll() is None]
        while waiting and len(running) < max(1, cores - spare):
            command = [sys.executable, "-m", "ssm_kernels.bench.ready", *map(str, waiting.pop(0))]
            running.append(subprocess.Popen(command))
        time.sleep(0.1)
    for process in running:
        process.kill()
        process.wait()


def tune_quickly() -> None:
    """Let autotuners time each candidate for 25 ms instead of 100."""
    Autotuner.do_bench = property(lambda self: partial(do_bench, warmup=5, rep=25))


def compile_only(part: int, parts: int) -> None:
    """Let autotuners compile every `parts`-th candidate and launch none; outputs stay unwritten."""
    count = itertools.count()

    def run(self: Any, *args: Any, **kwargs: Any) -> None:
        self.nargs = dict(zip(self.arg_names, args, strict=False))
        configs = self.prune_configs(kwargs)
        for config in configs:
            if next(count) % parts != part:
                continue
            try:
                self.fn.run(*args, **{**kwargs, "warmup": True}, **config.all_kwargs())
            except TritonError as error:
                print(f"{self.base_fn.__name__}: {error!r:.200}", file=sys.stderr)
        self.best_config = configs[0]

    Autotuner.run = run


def call_once(case: Case, impl: str) -> None:
    """Every pass of one implementation, once."""
    chosen = case.impls[impl]
    for pass_ in case.costs:
        if pass_ != "fwd_bwd":
            with torch.no_grad():
                chosen.call(**chosen.operands)
            continue
        leaves = {name: t.detach().requires_grad_() for name, t in chosen.operands.items()}
        y = chosen.call(**leaves)
        torch.autograd.grad(y, list(leaves.values()), torch.ones_like(y))
    torch.cuda.synchronize()


def main(argv: list[str]) -> int:
    """Compile one job's part."""
    op, impl, stage, part, parts = *argv[:3], int(argv[3]), int(argv[4])
    makes = STAGES[stage][op]
    if stage == "headline":
        compile_only(part, parts)
    else:
        makes = makes[part::parts]
    for make in makes:
        case = make()
        for name in case.impls:
            if name == impl or (not impl and name != "torch.compile"):
                call_once(case, name)
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
