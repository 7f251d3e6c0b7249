"""Times the references on a CPU against the pure-PyTorch implementations people use.

Each pair runs alternately in this process and is compared by the ratio of medians; memory is the
growth of a process of its own. Run `make bench`, or this file with the name of a figure.
"""

import argparse
import gc
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from mambapy.mamba import MambaBlock as MambapyBlock
from mambapy.mamba import MambaConfig as MambapyConfig
from torch import Tensor, nn
from transformers import MambaConfig as HfConfig
from transformers.models.mamba.modeling_mamba import MambaMixer

from ssm_ref.language_model import LanguageModelConfig
from ssm_ref.selective.mamba import Mamba, MambaConfig, MambaLanguageModel
from ssm_ref.selective.selective_scan import (
    selective_scan,
    selective_scan_associative,
    selective_scan_chunked,
)

WIDTH, BATCH, LENGTH = 128, 2, 512
BLOCKS: dict[str, Callable[[], nn.Module]] = {
    "ssm_ref": lambda: Mamba(MambaConfig(d_model=WIDTH)),
    "mambapy": lambda: MambapyBlock(MambapyConfig(d_model=WIDTH, n_layers=1)),
    "transformers": lambda: MambaMixer(HfConfig(hidden_size=WIDTH, state_size=16), 0),
}


Scan = Callable[..., tuple[Tensor, Tensor]]


def forward_backward(block: nn.Module, u: Tensor) -> None:
    out = block(u)
    (out[0] if isinstance(out, tuple) else out).sum().backward()


def medians(calls: dict[str, Callable[[], object]], *, rounds: int) -> dict[str, float]:
    """Median seconds of each call, taken in turns so that a busy machine hits all alike."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds + 1):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            times[name].append(time.perf_counter() - start)
    return {name: statistics.median(taken[1:]) for name, taken in times.items()}


def line(name: str, value: float, unit: str, target: str, reached: bool) -> None:
    print(
        f"{name:58} {value:10.2f} {unit:6} target {target:12} {'reached' if reached else 'MISSED'}"
    )


def blocks() -> None:
    """Forward and backward of a Mamba block against the others."""
    u = torch.randn(BATCH, LENGTH, WIDTH)
    made = {name: make() for name, make in BLOCKS.items()}
    taken = medians(
        {name: lambda b=block: forward_backward(b, u) for name, block in made.items()}, rounds=3
    )
    peaks = {name: peak(name) for name in BLOCKS}
    for other in ("mambapy", "transformers"):
        ratio = taken["ssm_ref"] / taken[other]
        line(f"Mamba block forward+backward, time / {other}", ratio, "x", "<= 1.0", ratio <= 1)
        ratio = peaks["ssm_ref"] / peaks[other]
        line(f"Mamba block forward+backward, memory / {other}", ratio, "x", "<= 1.0", ratio <= 1)


def peak(name: str) -> float:
    """MiB by which forward and backward of a block raise the peak of a fresh process."""
    done = subprocess.run(
        [sys.executable, __file__, "--peak", name], capture_output=True, text=True, check=True
    )
    return float(done.stdout.split()[-1])


def print_peak(name: str) -> None:
    u = torch.randn(4 * BATCH, LENGTH, WIDTH)
    block = BLOCKS[name]()
    forward_backward(block, u[:, :8])
    gc.collect()
    before = resident("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here
    forward_backward(block, u)
    print(resident("VmHWM") - before)


def resident(field: str) -> float:
    """MiB of this process now (VmRSS) or at its peak (VmHWM)."""
    status = Path("/proc/self/status").read_text()
    row = next(row for row in status.splitlines() if row.startswith(field))
    return int(row.split()[1]) / 1024


def scans() -> None:
    """The algorithms against the loop that defines them, at length 16K."""
    b, l, d, n = 1, 16_384, 4, 4
    x, dt = torch.randn(b, l, d), torch.rand(b, l, d)
    A, B, C = -torch.rand(d, n), torch.randn(b, l, n), torch.randn(b, l, n)
    algorithms = {"associative": selective_scan_associative, "chunked": selective_scan_chunked}
    for what in ("forward", "forward+backward"):
        grad = what != "forward"
        operands = [t.clone().requires_grad_(grad) for t in (x, dt, A, B, C)]

        def run(
            scan: Callable[..., tuple[Tensor, Tensor]],
            operands: list[Tensor] = operands,
            grad: bool = grad,
        ) -> None:
            y = scan(*operands)[0]
            if grad:
                y.sum().backward()

        taken = medians({name: lambda s=s: run(s) for name, s in algorithms.items()}, rounds=3)
        loop = medians({"loop": lambda: run(selective_scan)}, rounds=1)["loop"]
        for name, seconds in taken.items():
            ratio = loop / seconds
            line(f"selective scan {what} at 16K, loop / {name}", ratio, "x", ">= 20", ratio >= 20)


def decode() -> None:
    """Numbers in the state after 10 and after 1000 tokens."""
    model = MambaLanguageModel(
        LanguageModelConfig(vocab_size=64, d_model=64, n_layers=2), MambaConfig(d_model=64)
    )
    sizes = []
    state = model.allocate_state(1)
    with torch.inference_mode():
        for t in range(1000):
            _, state = model.step(torch.tensor([t % 64]), state)
            if t + 1 in (10, 1000):
                sizes.append(sum(part.numel() for layer in state for part in layer))
    ratio = sizes[1] / sizes[0]
    line("Mamba decode state, 1000 tokens / 10 tokens", ratio, "x", "== 1.0", ratio == 1)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    figures = {"blocks": blocks, "scans": scans, "decode": decode}
    parser.add_argument("figure", nargs="?", choices=[*figures])
    parser.add_argument("--peak", choices=[*BLOCKS])
    args = parser.parse_args()
    torch.manual_seed(0)
    if args.peak:
        print_peak(args.peak)
    else:
        for name, figure in figures.items():
            if args.figure in (None, name):
                figure()
