"""Whole models of 130M parameters: prefill, and a training step without its optimiser.

Ours is the reference with `accelerate`; the peer's blocks stand in the same shell.
"""

import sys
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from ssm_kernels.accelerate import accelerate
from ssm_kernels.bench.case import OURS
from ssm_kernels.bench.measure import FAILURES, timed
from ssm_kernels.bench.peers import imported
from ssm_kernels.bench.row import Row, source_hash
from ssm_ref.language_model import LanguageModel, LanguageModelConfig
from ssm_ref.selective import mamba, mamba2

BATCH, LENGTH = 8, 2048
Make = Callable[[], nn.Module]


def makers(size: str = "130m") -> dict[tuple[int, str], Make]:
    """Generation of Mamba and implementation → what builds the model."""
    shell, block = mamba.published_config(size)
    shell2, block2 = mamba2.published_config(size)
    made: dict[tuple[int, str], Make] = {
        (1, OURS): lambda: accelerate(mamba.MambaLanguageModel(shell, block)),
        (2, OURS): lambda: accelerate(mamba2.Mamba2LanguageModel(shell2, block2)),
    }
    peers = {1: ("mamba_simple", "Mamba", shell), 2: ("mamba2", "Mamba2", shell2)}
    for generation, (module, name, cfg) in peers.items():
        if peer := imported(f"mamba_ssm.modules.{module}", name):
            made[generation, "mamba_ssm"] = partial(_in_shell, cfg, peer)
    return made


def _in_shell(cfg: LanguageModelConfig, block: Callable[..., nn.Module]) -> nn.Module:
    return LanguageModel(cfg, lambda _: block(d_model=cfg.d_model))


def passes(model: nn.Module, ids: Tensor) -> dict[str, Callable[[], Any]]:
    """The two passes over a batch of tokens."""

    def forward() -> None:
        with torch.no_grad():
            model(ids)

    def both() -> None:
        logits = model(ids)
        loss = cross_entropy(logits[:, :-1].flatten(0, 1).float(), ids[:, 1:].flatten())
        torch.autograd.grad(loss, list(model.parameters()))

    return {"fwd": forward, "fwd_bwd": both}


def model_rows(place: Mapping[str, Any]) -> Iterator[Row]:
    """One row a model and pass, in bfloat16; a model that fails is named on stderr."""
    ids = torch.randint(50_000, (BATCH, LENGTH), device="cuda")
    for (generation, impl), make in makers().items():
        try:
            model = make().to("cuda", torch.bfloat16)
            for name, run in passes(model, ids).items():
                run()
                torch.cuda.synchronize()
                torch.cuda.reset_peak_memory_stats()
                before = torch.cuda.memory_allocated()
                ms, low, high = timed(run)
                peak = (torch.cuda.max_memory_allocated() - before) / 2**20
                yield Row(
                    op="language_model", impl=impl, pass_=name,
                    shape={"mamba": generation, "b": BATCH, "l": LENGTH}, dtype="bfloat16",
                    ms=round(ms, 4), ms_low=round(low, 4), ms_high=round(high, 4), bytes_moved=0,
                    flops=0, floor_ms=0.0, peak_mib=round(peak, 1), error=None,
                    source_hash=source_hash(Path(__file__).parents[1]), **place,
                )  # fmt: skip
        except FAILURES as failure:
            print(f"mamba {generation} {impl} failed: {failure!r:.500}", file=sys.stderr)
