"""`python -m ssm_kernels.bench [op ...]`: time operators and their peers, and append rows.

The rows of most value come first, and each is written as soon as it is known, so that a run that
is cut short keeps what it has: first calls with an empty cache, which are timed while the rest is
compiled, the headline shapes, one layer of every kind (`layer`), the lengths, whole models
(`language_model`), `torch.compile` of the definitions, and models as they are defined. Stages can
be skipped; a single call of more than ten seconds is not timed, and stderr says so.
"""

import argparse
import datetime
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Collection, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch

from ssm_kernels.bench import cold
from ssm_kernels.bench.cases import HEADLINE, LENGTHS, Make
from ssm_kernels.bench.compiled import compiled_rows
from ssm_kernels.bench.layers import layer_rows
from ssm_kernels.bench.measure import FAILURES, measure, timed
from ssm_kernels.bench.models import definition_rows, model_rows
from ssm_kernels.bench.peers import COMPILED
from ssm_kernels.bench.ready import compile_ahead, tune_quickly
from ssm_kernels.bench.row import Row, installed

OPS = [*dict.fromkeys([*HEADLINE, *LENGTHS]), "language_model", "layer"]
SKIPPABLE = ("cold", "headline", "lengths", "compiled", "definitions")


def main(argv: list[str] | None = None) -> int:
    """Time the named operators and print a table; returns 2 without a CUDA device."""
    start = time.perf_counter()
    args = parse(argv)
    if not torch.cuda.is_available():
        print("the benchmark needs a CUDA device; none is visible", file=sys.stderr)
        return 2
    ops = args.op or OPS
    first_calls = [] if "cold" in args.skip else [op for op in cold.OPS if op in ops]
    found = get_ready(ops, first_calls, args.skip, start + min(600.0, args.budget / 3))
    tune_quickly()
    place = provenance(args.commit, " ".join(sys.argv[1:] if argv is None else argv))
    print(f"ready after {time.perf_counter() - start:.0f} s: {place}", flush=True)

    def left() -> float:
        return float(args.budget) - (time.perf_counter() - start)

    write(args.results, (cold.cold_row(*one, place) for one in found))
    write(args.results, stages(ops, place, left, skip=args.skip))
    return 0


def get_ready(
    ops: list[str], first_calls: list[str], skip: Collection[str], end: float
) -> list[tuple[str, str, dict[str, Any]]]:
    """Compile what is timed, while first calls are timed beside it; nothing else is timed yet."""
    with tempfile.TemporaryDirectory() as folder:
        running = cold.start(first_calls, Path(folder))
        compile_ahead(ops, end=end, spare=partial(cold.running_now, running), skip=skip)
        return cold.finish(running, end=end)


def parse(argv: list[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m ssm_kernels.bench", description=__doc__)
    parser.add_argument("op", nargs="*", choices=[[], *OPS], help="operators; all if none")
    parser.add_argument(
        "--results", type=Path, default=Path("kernels/results"), help="folder, or one *.jsonl"
    )
    parser.add_argument("--commit", default=None, help="commit of the tree, where git is absent")
    parser.add_argument(
        "--budget", type=float, default=1800.0, help="seconds after which no further case begins"
    )
    parser.add_argument(
        "--skip", nargs="+", choices=SKIPPABLE, default=[], help="stages to leave out"
    )
    return parser.parse_args(argv)


def stages(
    ops: list[str],
    place: dict[str, Any],
    left: Callable[[], float],
    *,
    skip: Collection[str] = (),
) -> Iterator[Row]:
    """All rows but those of first calls, those of most value first, while time is left.

    A peer that is compiled anew for every length comes after all others.
    """

    def is_slow(op: str, impl: str) -> bool:
        return (op, impl) == ("ssd", "mamba_ssm")

    def is_timed(op: str, impl: str) -> bool:
        return impl != COMPILED and not is_slow(op, impl)

    def share(part: float) -> Callable[[], float]:
        """What is left of this part of the time that is left now."""
        rest = (1 - part) * left()
        return lambda: left() - rest

    headline = {} if "headline" in skip else HEADLINE
    lengths = {} if "lengths" in skip else LENGTHS
    yield from timed_cases(headline, ops, place, left, lambda _, impl: impl != COMPILED)
    if "layer" in ops:
        yield from layer_rows(place, share(0.4))
    yield from timed_cases(lengths, ops, place, share(0.5), is_timed)
    if "language_model" in ops:
        yield from model_rows(place, share(0.6))
    yield from timed_cases(lengths, ops, place, share(0.6), is_slow)
    if "compiled" not in skip:
        yield from compiled_rows(ops, place, share(0.9))
    if "language_model" in ops and "definitions" not in skip:
        yield from definition_rows(place, left)


def timed_cases(
    table: dict[str, list[Make]],
    ops: list[str],
    place: dict[str, Any],
    left: Callable[[], float],
    wanted: Callable[[str, str], bool],
) -> Iterator[Row]:
    """Rows of the table's cases, of the implementations that are wanted of an operator."""
    for op, makes in table.items():
        for make in makes if op in ops else []:
            if left() <= 0:
                return
            try:
                case = make()
                impls = [name for name in case.impls if wanted(op, name)]
                if impls:
                    yield from measure(case, place, impls)
                del case
            except FAILURES as failure:
                print(f"{op}: {failure!r:.500}", file=sys.stderr)
            if torch.cuda.is_available():
                torch.cuda.empty_cache()


def write(folder: Path, rows: Iterable[Row]) -> None:
    """Append each row to its operator's file, and print it, as it comes.

    A `folder` named *.jsonl is one file that takes them all.
    """
    single = folder.suffix == ".jsonl"
    (folder.parent if single else folder).mkdir(parents=True, exist_ok=True)
    for row in rows:
        path = folder if single else folder / f"{row.op}.jsonl"
        with path.open("a", encoding="utf-8") as file:
            file.write(row.as_json() + "\n")
        shape = " ".join(f"{name}{size}" for name, size in row.shape.items())
        print(
            f"{time.strftime('%X')} {row.op} {shape} {row.impl} {row.pass_}: {row.ms:.4f} ms, "
            f"{row.floor_ms / row.ms:.0%}, {row.peak_mib:.0f} MiB, error {row.error}",
            flush=True,
        )


def provenance(commit: str | None, arguments: str) -> dict[str, Any]:
    """What all rows of this run share, with the card's two ceilings measured now."""
    smi = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    drivers = subprocess.run(smi, capture_output=True, text=True, check=True).stdout.split()
    git = ["git", "rev-parse", "HEAD"]
    src = torch.empty(2**30, dtype=torch.bfloat16, device="cuda").normal_()
    dst = torch.empty_like(src)
    copy_ms, *_ = timed(lambda: dst.copy_(src))
    m = src[: 8192 * 8192].view(8192, 8192)
    matmul_ms, *_ = timed(lambda: m @ m)
    return {
        "device": torch.cuda.get_device_name(),
        "driver": drivers[0],  # one a card
        "torch": torch.__version__,
        "triton": installed("triton"),
        "commit": commit
        or subprocess.run(git, capture_output=True, text=True, check=True).stdout.strip(),
        "command": f"python -m ssm_kernels.bench {arguments}".strip(),
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d"),
        "run": uuid.uuid4().hex[:12],
        "copy_tb_s": round(4 * src.numel() / copy_ms / 1e9, 3),
        "matmul_tflop_s": round(2 * 8192**3 / matmul_ms / 1e9, 1),
    }


if __name__ == "__main__":
    raise SystemExit(main())
