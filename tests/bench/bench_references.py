"""Times the references on a CPU against the pure-PyTorch implementations people use.

Each pair runs alternately in this process and is compared by the ratio of medians; memory is the
growth of a process of its own. Run `make bench`, or this file with the name of a figure.
"""

import argparse
import gc
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from mambapy.mamba import MambaBlock as MambapyBlock
from mambapy.mamba import MambaConfig as MambapyConfig
from torch import Tensor, nn
from transformers import AutoModelForCausalLM
from transformers import MambaConfig as HfConfig
from transformers.models.mamba.modeling_mamba import MambaMixer

from ssm_ref.attention.transformer import AttentionConfig, Transformer, TransformerConfig
from ssm_ref.checkpoint import save_pretrained
from ssm_ref.foundations.convolution import (
    DiagonalSystem,
    run_convolution,
    run_recurrence,
    run_scan,
)
from ssm_ref.foundations.scan import linear_recurrence, linear_scan
from ssm_ref.hybrid.jamba import Jamba, JambaConfig
from ssm_ref.language_model import LanguageModelConfig
from ssm_ref.linear_attention.rwkv4 import (
    RWKV4,
    RWKV4Config,
    empty_wkv,
    wkv_parallel,
    wkv_recurrent,
)
from ssm_ref.linear_attention.rwkv7 import WKV7, wkv7_chunked, wkv7_recurrent
from ssm_ref.selective.mamba import Mamba, MambaConfig, MambaLanguageModel
from ssm_ref.selective.mamba2 import Mamba2Config, Mamba2LanguageModel
from ssm_ref.selective.mamba3 import Inputs, Past, trapezoidal_chunked, trapezoidal_recurrence
from ssm_ref.selective.selective_scan import (
    selective_scan,
    selective_scan_associative,
    selective_scan_chunked,
)
from ssm_ref.selective.ssd import ssd, ssd_chunked

Form = Callable[..., object]
WIDTH, BATCH, LENGTH, VOCAB = 128, 2, 512, 64
BLOCKS: dict[str, Callable[[], nn.Module]] = {
    "ssm_ref": lambda: Mamba(MambaConfig(d_model=WIDTH)),
    "mambapy": lambda: MambapyBlock(MambapyConfig(d_model=WIDTH, n_layers=1)),
    "transformers": lambda: MambaMixer(HfConfig(hidden_size=WIDTH, state_size=16), 0),
}
SHELL = LanguageModelConfig(vocab_size=VOCAB, d_model=WIDTH, n_layers=2)
ATTENTION = AttentionConfig(d_model=WIDTH, n_heads=4, n_kv_heads=2)
NO_POSITIONS = AttentionConfig(d_model=WIDTH, n_heads=4, n_kv_heads=2, rope_base=None)
MODELS: dict[str, Callable[[], nn.Module]] = {
    "Mamba": lambda: MambaLanguageModel(SHELL, MambaConfig(d_model=WIDTH)),
    "Falcon-Mamba": lambda: MambaLanguageModel(SHELL, MambaConfig(d_model=WIDTH, ssm_norm="plain")),
    "Mamba-2": lambda: Mamba2LanguageModel(
        SHELL, Mamba2Config(d_model=WIDTH, d_state=64, d_head=32)
    ),
    "Jamba": lambda: Jamba(
        JambaConfig(
            vocab_size=VOCAB,
            n_blocks=2,
            d_ff=2 * WIDTH,
            attention=NO_POSITIONS,
            mamba=MambaConfig(d_model=WIDTH, ssm_norm="learned"),
            n_experts=4,
            attention_period=2,
            attention_offset=1,
        )
    ),
    "RWKV-4": lambda: RWKV4(RWKV4Config(vocab_size=VOCAB, d_model=WIDTH, n_blocks=2)),
    "Transformer (Llama)": lambda: Transformer(
        TransformerConfig(vocab_size=VOCAB, n_blocks=2, d_ff=2 * WIDTH, attention=ATTENTION)
    ),
}
SIDES = ("ssm_ref", "transformers")
# What a process frees, it gives back at once: else glibc's holes are counted for memory in use.
GIVE_BACK = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}


def forward_backward(block: nn.Module, u: Tensor) -> None:
    out = block(u)
    (out[0] if isinstance(out, tuple) else out).sum().backward()


def medians(calls: dict[str, Callable[[], object]], *, rounds: int) -> dict[str, float]:
    """Median seconds of each call, taken in turns so that a busy machine hits all alike.

    Short calls get more than `rounds` rounds, two seconds of them.
    """
    times: dict[str, list[float]] = {name: [] for name in calls}
    for call in calls.values():
        call()
    end = time.perf_counter() + 2
    while len(next(iter(times.values()))) < rounds or time.perf_counter() < end:
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            times[name].append(time.perf_counter() - start)
    return {name: statistics.median(taken) for name, taken in times.items()}


def line(name: str, value: float, unit: str, target: str, reached: bool) -> None:
    print(
        f"{name:62} {value:10.2f} {unit:6} target {target:12} {'reached' if reached else 'MISSED'}"
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
    command = [sys.executable, __file__, "--peak", name]
    whole = os.environ | GIVE_BACK
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=whole)
    return float(done.stdout.split()[-1])


def print_peak(name: str) -> None:
    kind, _, side = name.partition("/")
    if side:
        model, u, call = (
            make_model(kind, side),
            torch.randint(VOCAB, (BATCH, LENGTH)),
            loss_backward,
        )
    else:
        model, u, call = BLOCKS[name](), torch.randn(4 * BATCH, LENGTH, WIDTH), forward_backward
    call(model, u[:, :8])
    gc.collect()
    before = resident("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here
    call(model, u)
    print(resident("VmHWM") - before)


def resident(field: str) -> float:
    """MiB of this process now (VmRSS) or at its peak (VmHWM)."""
    status = Path("/proc/self/status").read_text()
    row = next(row for row in status.splitlines() if row.startswith(field))
    return int(row.split()[1]) / 1024


def models() -> None:
    """Forward and backward of whole models against transformers' own path, with equal weights."""
    ids = torch.randint(VOCAB, (BATCH, LENGTH))
    for kind in MODELS:
        pair = {side: make_model(kind, side) for side in SIDES}
        taken = medians(
            {side: lambda m=model: loss_backward(m, ids) for side, model in pair.items()}, rounds=2
        )
        ratio = taken["ssm_ref"] / taken["transformers"]
        line(f"{kind} forward+backward, time / transformers", ratio, "x", "<= 1.0", ratio <= 1)
        peaks = {side: peak(f"{kind}/{side}") for side in pair}
        ratio = peaks["ssm_ref"] / peaks["transformers"]
        line(f"{kind} forward+backward, memory / transformers", ratio, "x", "<= 1.0", ratio <= 1)


def make_model(kind: str, side: str) -> nn.Module:
    """One of `MODELS` here, or the same read by transformers from our checkpoint of it."""
    torch.manual_seed(0)
    ours = MODELS[kind]()
    if side == "ssm_ref":
        return ours.train()
    with tempfile.TemporaryDirectory() as folder:
        save_pretrained(ours, folder)
        theirs: nn.Module = AutoModelForCausalLM.from_pretrained(folder)
    return theirs.float().train()


def loss_backward(model: nn.Module, ids: Tensor) -> None:
    out = model(ids)
    (out if isinstance(out, Tensor) else out.logits).logsumexp(dim=-1).sum().backward()


def scans() -> None:
    """The parallel algorithms against the loops that define them, at length 16K."""
    for name, (loop, fast, operands) in loops().items():
        for grad in (False, True):
            given = [t.requires_grad_() if grad else t for t in operands]
            taken = medians({"fast": lambda f=fast, g=given: run(f, g)}, rounds=2)["fast"]
            start = time.perf_counter()
            run(loop, given)
            ratio = (time.perf_counter() - start) / taken
            what = f"{name} {'forward+backward' if grad else 'forward'} at 16K, loop / it"
            line(what, ratio, "x", ">= 20", ratio >= 20)


def wide() -> None:
    """The same where one step of the loop is wide work already, beside the most that can be had.

    A narrow loop is slow because a call costs about a microsecond however little it computes, which
    is what chunks save. A step of RWKV-4 is some 22 calls, whose arithmetic weighs as much as they
    do from some hundreds of channels on. No algorithm does without three exponentials a number, one
    read of k and v and one write of y: the loop over the time of these is the ceiling. Here a
    number takes 27 passes, ten of them to find where each chunk starts.

    Mamba-3 writes x Bᵀ into a state and reads C from it, 4 r p n operations a token and head, and
    within a chunk of q r rows multiplies 2 q r (n + p) more a row. The ceiling is these at the rate
    of a large matrix product, and one copy of the operands, which puts the rows of a head together:
    at rank 4 it is below the target.
    """
    l = 16_384
    for d in (512, 1024):
        k, v = torch.randn(2, 1, l, d)
        operands, room = [k, v, torch.rand(d) + 0.01, torch.randn(d)], torch.empty(1, 64, d)

        def exponentials(
            parts: tuple[Tensor, ...] = k.split(64, dim=1), out: Tensor = room
        ) -> None:
            for part in parts:
                torch.exp(part, out=out)

        least = 3 * seconds(exponentials) + seconds(lambda k=k, v=v: k * v)
        forms = of_wkv4(wkv_recurrent), of_wkv4(wkv_parallel)
        over_loop(f"RWKV-4 of {d} channels", *forms, operands, least)
    square = torch.randn(1024, 1024)
    rate = 2 * 1024**3 / seconds(lambda: square @ square)
    h, p, n = 2, 64, 128
    for r in (1, 4):
        operands = [torch.randn(1, l, h, r, width) for width in (p, n, n)]
        moved = seconds(lambda x=operands[:]: [t.clone() for t in x])
        operands += [torch.rand(1, l, h), -torch.rand(1, l, h), torch.rand(1, l, h)]
        products = l * h * r * (4 * p * n + 2 * max(16 * r, 32) * (n + p))
        forms = of_mamba3(trapezoidal_recurrence), of_mamba3(trapezoidal_chunked)
        over_loop(f"Mamba-3 of rank {r}, 64 x 128", *forms, operands, products / rate + moved)


def over_loop(name: str, loop: Form, fast: Form, operands: list[Tensor], least: float) -> None:
    slow, quick = seconds(lambda: run(loop, operands)), seconds(lambda: run(fast, operands))
    ceiling = f"(ceiling {slow / least:.0f})"
    line(
        f"{name}, forward at 16K, loop / it {ceiling}",
        slow / quick,
        "x",
        ">= 20",
        slow / quick >= 20,
    )


def seconds(call: Callable[[], object]) -> float:
    return medians({"": call}, rounds=2)[""]


def run(form: Form, operands: list[Tensor]) -> None:
    out = form(*operands)
    y = out[0] if isinstance(out, tuple) else out
    if y.requires_grad:
        (y.real if y.is_complex() else y).sum().backward()


def loops() -> dict[str, tuple[Form, Form, list[Tensor]]]:
    """Definition, algorithm and operands of every parallel form."""
    l, h, n = 16_384, 2, 16
    x, dt = torch.randn(1, l, 4), torch.rand(1, l, 4)
    selective = [x, dt, -torch.rand(4, 4), torch.randn(1, l, 4), torch.randn(1, l, 4)]
    heads = [torch.randn(1, l, h, n), torch.rand(1, l, h), -torch.rand(h)]
    groups = [torch.randn(1, l, 1, n), torch.randn(1, l, 1, n)]
    wkv4 = [*torch.randn(2, 1, l, 64), torch.rand(64) + 0.01, torch.randn(64)]
    wkv7 = [*torch.randn(2, 1, l, h, n), *torch.rand(2, 1, l, h, n), *torch.rand(2, 1, l, h, n)]
    wkv7[1] = 0.55 + 0.45 * torch.rand(1, l, h, n)
    wkv7[4] = nn.functional.normalize(wkv7[4], dim=-1)
    lti = [0.99 * torch.rand(4, 4), torch.randn(4, 4), torch.randn(4, 4), torch.randn(4)]
    rows: dict[str, tuple[Form, Form, list[Tensor]]] = {
        "selective scan, associative": (selective_scan, selective_scan_associative, selective),
        "selective scan, chunked": (selective_scan, selective_scan_chunked, selective),
        "SSD, chunked": (ssd, ssd_chunked, heads + groups),
        "linear scan": (linear_recurrence, linear_scan, [torch.rand(1, l, 16), heads[0][:, :, 0]]),
        "LTI layer, convolution": (
            of_system(run_recurrence),
            of_system(run_convolution),
            [*lti, x],
        ),
        "LTI layer, scan": (of_system(run_recurrence), of_system(run_scan), [*lti, x]),
        "RWKV-4, spans": (of_wkv4(wkv_recurrent), of_wkv4(wkv_parallel), wkv4),
        "RWKV-7, chunked": (of_wkv7(wkv7_recurrent), of_wkv7(wkv7_chunked), wkv7),
    }
    for name, r in (("Mamba-3, chunked", 1), ("Mamba-3 of rank 4, chunked", 4)):
        operands = [torch.randn(1, l, h, r, n) for _ in range(3)]
        operands += [torch.rand(1, l, h), -torch.rand(1, l, h), torch.rand(1, l, h)]
        rows[name] = (of_mamba3(trapezoidal_recurrence), of_mamba3(trapezoidal_chunked), operands)
    return rows


def of_system(form: Form) -> Form:
    return lambda A, B, C, D, u: form(DiagonalSystem(A, B, C, D), u)


def of_wkv4(form: Form) -> Form:
    return lambda k, v, w, u: form(k, v, w, u, empty_wkv(k[:, 0].detach()))


def of_wkv7(form: Form) -> Form:
    return lambda *x: form(WKV7(*x), x[0].new_zeros(1, *x[0].shape[2:], x[0].shape[-1]))


def of_mamba3(form: Form) -> Form:
    def call(x: Tensor, B: Tensor, C: Tensor, dt: Tensor, A: Tensor, lam: Tensor) -> object:
        H = x.new_zeros(1, x.shape[2], x.shape[4], B.shape[4])
        past = Past(H, torch.zeros_like(x[:, 0]), torch.zeros_like(B[:, 0]))
        return form(Inputs(x, B, C, dt, A, lam), past)

    return call


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
    figures = {"blocks": blocks, "models": models, "scans": scans, "wide": wide, "decode": decode}
    parser.add_argument("figure", nargs="?", choices=[*figures])
    parser.add_argument(
        "--peak", choices=[*BLOCKS, *(f"{kind}/{side}" for kind in MODELS for side in SIDES)]
    )
    args = parser.parse_args()
    torch.manual_seed(0)
    if args.peak:
        print_peak(args.peak)
    else:
        for name, figure in figures.items():
            if args.figure in (None, name):
                figure()
