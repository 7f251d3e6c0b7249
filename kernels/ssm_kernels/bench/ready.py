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
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from triton.compiler.errors import TritonError
from triton.runtime.autotuner import Autotuner
from triton.testing import do_bench

from ssm_kernels.bench import layers, models
from ssm_kernels.bench.case import OURS, Case
from ssm_kernels.bench.cases import COMPILED, HEADLINE, LENGTHS
from ssm_kernels.bench.measure import FAILURES

STAGES = {"headline": HEADLINE, "lengths": LENGTHS, "compiled": HEADLINE}
Job = tuple[str, str, str, int, int]


def jobs(ops: Sequence[str], cores: int) -> list[Job]:
    """The processes that compile for these operators: half of the cores for the largest peer."""
    shares = max(1, cores // 2)
    found: list[Job] = []
    for op in (op for op in ops if op in HEADLINE):
        if op == "ssd":
            found += [(op, "mamba_ssm", "headline", part, shares) for part in range(shares)]
        found += [(op, OURS if op == "ssd" else "", "headline", 0, 1)]
    if "language_model" in ops:
        found += [("language_model", OURS, stage, 0, 1) for stage in ("mamba1", "mamba2")]
        found += [("language_model", "mamba_ssm", "mamba2", part, 4) for part in range(4)]
        found += [("language_model", "mamba_ssm", "mamba1", 0, 1)]
    if "layer" in ops:
        found += [("layer", name, "layers", 0, 1) for name in layers.TRITON]
    for op in (op for op in ops if op in HEADLINE and op in LENGTHS):
        found += [(op, OURS, "lengths", part, 3) for part in range(3)]
    if "language_model" in ops:
        found += [("language_model", "transformers", f"mamba{g}", 0, 1) for g in (1, 2)]
    found += [(op, COMPILED, "compiled", 0, 1) for op in cases_compiled(ops)]
    return found


def cases_compiled(ops: Sequence[str]) -> list[str]:
    """The operators whose definition is timed through `torch.compile`."""
    return [op for op in ("causal_conv1d", "gated_rms_norm") if op in ops]


def compile_ahead(ops: Sequence[str], *, end: float, spare: Callable[[], int]) -> None:
    """Run the jobs in their order until `end` of the clock, on all cores but `spare` of them.

    How long each took is said on stderr, and which were stopped.
    """
    cores, start = os.cpu_count() or 1, time.perf_counter()
    waiting = jobs(ops, cores)
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
    ids = torch.randint(models.VOCABULARY, (models.BATCH, models.LENGTH), device="cuda")
    for name, _, prepare in models.passes(subject, ids):
        try:
            prepare()()
            torch.cuda.synchronize()
        except FAILURES as failure:
            print(f"mamba {generation} {impl} {name}: {failure!r:.300}", file=sys.stderr)


def run_layer(kind: str) -> None:
    """Every pass of a layer, once, short and long enough to be cut."""
    subject = layers.kinds(layers.WIDTH)[kind]()
    subject.layer.to("cuda", torch.bfloat16)
    for length in (512, 8192):
        u = torch.randn(1, length, layers.WIDTH, device="cuda", dtype=torch.bfloat16)
        for _, run, _ in layers.passes(subject, u):
            run()
        torch.cuda.synchronize()


def main(argv: list[str]) -> int:
    """Compile one job's part."""
    op, impl, stage, part, parts = *argv[:3], int(argv[3]), int(argv[4])
    if stage in ("headline", "mamba1", "mamba2", "layers"):
        compile_only(part, parts)
    if stage == "layers":
        run_layer(impl)
    elif stage.startswith("mamba"):
        run_model(int(stage[-1]), impl)
    else:
        makes = STAGES[stage][op]
        for make in makes[part::parts] if stage == "lengths" else makes:
            case = make()
            for name in case.impls:
                if name == impl or (not impl and name != COMPILED):
                    call_once(case, name)
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
