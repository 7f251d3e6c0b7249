"""Compile before timing: kernels and every candidate of the peers' autotuners, in parallel.

`python -m ssm_kernels.bench.ready OP IMPL STAGE PART PARTS` compiles its part into Triton's cache,
or that of `torch.compile`, and launches no tuned kernel. The timing process then finds all of it
compiled, and only tunes.
"""

import itertools
import os
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Sequence
from functools import partial
from typing import Any

import torch
from triton.compiler.errors import TritonError
from triton.runtime.autotuner import Autotuner
from triton.testing import do_bench

from ssm_kernels.bench import layers, models
from ssm_kernels.bench.case import OURS, Case
from ssm_kernels.bench.cases import HEADLINE, LENGTHS, SIZES, Make
from ssm_kernels.bench.measure import FAILURES
from ssm_kernels.bench.peers import COMPILED

MOST = 20  # processes that share the memory of one card
Job = tuple[str, str, str, int, int]  # operator, implementation, stage, part, parts


def jobs(ops: Sequence[str], cores: int, skip: Collection[str] = ()) -> list[Job]:
    """The processes that compile for these operators and stages, the longest first.

    What is tuned over many candidates is shared out, most of all mamba-ssm's SSD.
    """
    shares, parts = max(1, cores // 2), max(1, cores // 4)
    headline, lengths = "headline" not in skip, "lengths" not in skip
    found: list[Job] = []
    if "ssd" in ops and headline:
        found += [("ssd", "mamba_ssm", "headline", part, shares) for part in range(shares)]
    if "layer" in ops:
        found += [("layer", "RWKV-7, fla-core", "layers", part, parts) for part in range(parts)]
        found += [("layer", name, "layers", 0, 1) for name in ("Mamba", "Mamba-2")]
    for op in (op for op in ops if op in HEADLINE and headline):
        found += [(op, OURS if op == "ssd" else "", "headline", 0, 1)]
    if "language_model" in ops:
        found += [("language_model", OURS, stage, 0, 1) for stage in ("mamba1", "mamba2")]
        found += [("language_model", "mamba_ssm", "mamba2", part, parts) for part in range(parts)]
        found += [("language_model", "mamba_ssm", "mamba1", 0, 1)]
    for op in (op for op in ops if op in HEADLINE and op in LENGTHS and lengths):
        found += [(op, OURS, "lengths", part, 3) for part in range(3)]
    if "ssd" in ops and lengths:
        found += [("ssd", "mamba_ssm", "peer_lengths", part, shares) for part in range(shares)]
    if "language_model" in ops:
        found += [("language_model", "transformers", "mamba1", 0, 1)]
        found += [("language_model", "transformers", "mamba2", p, parts) for p in range(parts)]
    if "compiled" not in skip:
        found += [(op, COMPILED, "compiled", 0, 1) for op in HEADLINE if op in ops]
    return found


def compile_ahead(
    ops: Sequence[str], *, end: float, spare: Callable[[], int], skip: Collection[str] = ()
) -> None:
    """Run the jobs in their order until `end` of the clock, on all cores but `spare` of them.

    How long each took is said on stderr, and which were stopped.
    """
    cores, start = min(os.cpu_count() or 1, MOST), time.perf_counter()
    waiting = jobs(ops, cores, skip)
    running: list[tuple[Job, subprocess.Popen[bytes]]] = []

    def say(job: Job, what: str) -> None:
        seconds = time.perf_counter() - start
        print(f"{seconds:.0f} s, {what}: {' '.join(map(str, job))}", file=sys.stderr, flush=True)

    while (waiting or running) and time.perf_counter() < end:
        for job, process in running:
            if process.poll() is not None:
                say(job, "compiled" if process.returncode == 0 else "failed")
        running = [one for one in running if one[1].returncode is None]
        while waiting and len(running) < max(1, cores - spare()):
            job = waiting.pop(0)
            command = [sys.executable, "-m", "ssm_kernels.bench.ready", *map(str, job)]
            running.append((job, subprocess.Popen(command)))
        time.sleep(0.1)
    for job, process in running:
        process.kill()
        process.wait()
        say(job, "stopped")
    for job in waiting:
        say(job, "not begun")


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


def run_model(generation: int, impl: str) -> None:
    """Every pass of a whole model, once; what fails is named on stderr."""
    subject = models.makers()[generation, impl]()
    subject.model.to("cuda", torch.bfloat16)
    rows = models.BATCH if impl == OURS else 2  # ours is cut by the number of rows
    ids = torch.randint(models.VOCABULARY, (rows, models.LENGTH), device="cuda")
    for name, _, prepare in models.passes(subject, ids):
        try:
            prepare()()
            torch.cuda.synchronize()
        except FAILURES as failure:
            print(f"mamba {generation} {impl} {name}: {failure!r:.300}", file=sys.stderr)


def run_layer(kind: str) -> None:
    """Every pass of a layer, once, at lengths short, cut in few parts and cut in many."""
    subject = layers.kinds(layers.WIDTH)[kind]()
    subject.layer.to("cuda", layers.dtype_of(kind))
    # What is tuned runs in many processes, which share the memory of one card.
    for length in (512, 2048) if kind.startswith("RWKV") else (512, 8192, 32_768):
        u = torch.randn(1, length, layers.WIDTH, device="cuda", dtype=layers.dtype_of(kind))
        for name, prepare in layers.passes(subject, u):
            try:
                prepare()[0]()
                torch.cuda.synchronize()
            except FAILURES as failure:
                print(f"{kind} {length} {name}: {failure!r:.300}", file=sys.stderr)


def main(argv: list[str]) -> int:
    """Compile one job's part."""
    op, impl, stage, part, parts = *argv[:3], int(argv[3]), int(argv[4])
    if stage not in ("lengths", "compiled"):
        compile_only(part, parts)
    if stage == "layers":
        run_layer(impl)
    elif stage.startswith("mamba"):
        run_model(int(stage[-1]), impl)
    elif stage == "lengths":
        run_cases(LENGTHS[op][part::parts], [impl])
    elif stage == "peer_lengths":
        short = [make for make, (_, l) in zip(LENGTHS[op], SIZES, strict=True) if l <= 8192]
        run_cases(short, [impl])  # the longest differ in nothing that is compiled in
    else:
        run_cases(HEADLINE[op], [impl] if impl else [])
    return 0


def run_cases(makes: Sequence[Make], impls: list[str]) -> None:
    """Every pass of these implementations; of all but `torch.compile`'s if none is named."""
    for make in makes:
        case = make()
        for name in case.impls:
            if name in impls or (not impls and name != COMPILED):
                call_once(case, name)
        del case
        torch.cuda.empty_cache()


if __name__ == "__main__":
    code = main(sys.argv[1:])
    # Not by way of destructors: threads that wait for gradients have ended a process in them.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
