"""How fast a step is on one GPU and on all of them: rows of `ranks.jsonl`, as the page shows them.

    torchrun --nproc-per-node 2 docs/experiments/ranks.py --commit HASH

Takes `bytes_large.toml` (russian, whose texts `texts.sh` fetches): the rows of a batch shared, the
parameters shared as well (FSDP2), twice the batch, and long sequences cut in as many parts as there
are ranks, or in two where four ranks make a grid; then the rows of a model sixteen times as large,
which fills a GPU, unlike the first. Rank 0 takes the same steps alone first, while the others wait.
Operators are those of `ssm_kernels`, and for the long sequences those of the reference as well.
`--layouts` picks some of them; `--small` is a rehearsal, on CPUs as well.
"""

import argparse
import dataclasses
import datetime
import json
import tempfile
import time
from pathlib import Path
from typing import Any, cast

import torch
import torch.distributed as dist
from torch.cuda import nccl

from ssm_kernels.train import accelerate_parts
from ssm_ref.training.config import RunConfig, load_config
from ssm_ref.training.execution import Ahead, Execution
from ssm_ref.training.loop import Trainer, start_ranks
from ssm_ref.training.ranks import Ranks

HERE = Path(__file__).parent
WARM_UP, STEPS = 4, 12
LONG_WARM_UP, LONG_STEPS = 2, 5  # of the reference on 16,384 places: half a second each


SHARDED = Execution(prepare=accelerate_parts, sharded=True)


def on_gpu() -> bool:
    """Whether this runs where it is meant to."""
    return torch.cuda.is_available()


def measured(cfg: RunConfig, ranks: Ranks, how: Execution) -> dict[str, Any]:
    """The milliseconds of a step, the memory and the loss after the last of them."""
    slow = how.prepare is None
    warm_up, steps = (LONG_WARM_UP, LONG_STEPS) if slow else (WARM_UP, STEPS)
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(cfg, Path(folder), ranks, how)
        drawn = trainer._draw(0)
        ahead: Any = Ahead(lambda _: drawn, 0)  # drawing is the same whatever the layout
        if ranks.size > 1:
            dist.barrier()
        spent = []
        if on_gpu():
            torch.cuda.reset_peak_memory_stats()
        for _ in range(warm_up + steps):
            began = time.perf_counter()
            loss, places = trainer._advance(ahead)
            if on_gpu():
                torch.cuda.synchronize()
            spent.append(time.perf_counter() - began)
        ms = 1e3 * sorted(spent[warm_up:])[steps // 2]
        row = {
            "ranks": ranks.size,
            "operators": "reference" if how.prepare is None else "triton",
            "batch": cfg.settings.batch_size,
            "length": cfg.data["length"],
            "parameters": sum(p.numel() for p in trainer.model.parameters()),
            "ms": round(ms, 2),
            "tokens_a_second": round(1e3 * places / ms),
            "gib": round(torch.cuda.max_memory_allocated() / 2**30, 2) if on_gpu() else 0.0,
            "loss": round(trainer._checked(loss), 5),
        }
    if on_gpu():
        torch.cuda.empty_cache()
    return row


def changed(cfg: RunConfig, batch: int, length: int) -> RunConfig:
    """The config with another batch, and windows of another length."""
    settings = dataclasses.replace(cfg.settings, batch_size=batch)
    return dataclasses.replace(cfg, settings=settings, data={**cfg.data, "length": length})


def smaller(cfg: RunConfig) -> RunConfig:
    """The config with a model and windows that a CPU steps through in no time."""
    data = {**cfg.data, "length": min(64, int(cfg.data["length"]))}
    model = cfg.model | {"pattern": "2-", "d_model": 64, "d_state": 16, "d_head": 32, "d_ff": 64}
    return dataclasses.replace(cfg, data=data, model=model)


def main() -> None:
    """Measure every layout and print its row, rank 0 to a file as well."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--commit", required=True)
    parser.add_argument("--record", type=Path, default=HERE / "ranks.jsonl")
    parser.add_argument("--layouts", nargs="+", type=int, help="places in the list below")
    parser.add_argument("--small", action="store_true", help="tiny batches, to see that it ends")
    args = parser.parse_args()
    world, cfg = start_ranks(), load_config(HERE / "bytes_large.toml", "russian")
    alone = Ranks(0, 1)
    few, many, long = (4, 8, (4, 64)) if args.small else (32, 64, (2, 16384))
    split = Execution(sequence_ranks=world.size)
    layouts = [
        ("one GPU", changed(cfg, few, 1024), alone, Execution(prepare=accelerate_parts)),
        ("rows", changed(cfg, few, 1024), world, Execution(prepare=accelerate_parts)),
        ("rows and parameters", changed(cfg, few, 1024), world, SHARDED),
        ("one GPU", changed(cfg, many, 1024), alone, Execution(prepare=accelerate_parts)),
        ("rows", changed(cfg, many, 1024), world, Execution(prepare=accelerate_parts)),
        ("one GPU", changed(cfg, *long), alone, Execution()),
        ("time", changed(cfg, *long), world, split),
    ]
    wide = dataclasses.replace(cfg, model=cfg.model | {"d_model": 2048, "d_ff": 4096})
    layouts += [
        ("one GPU", wide, alone, Execution(prepare=accelerate_parts)),
        ("rows", wide, world, Execution(prepare=accelerate_parts)),
        ("rows and parameters", wide, world, SHARDED),
    ]
    fast = Execution(prepare=accelerate_parts)
    layouts += [
        ("one GPU", changed(cfg, *long), alone, fast),
        ("time", changed(cfg, *long), world, dataclasses.replace(split, prepare=accelerate_parts)),
    ]
    if world.size == 4:
        layouts.append(("grid", changed(cfg, *long), world, Execution(sequence_ranks=2)))
    for i in args.layouts or range(len(layouts)):
        layout, config, ranks, how = layouts[i]
        if args.small:
            config = smaller(config)
        if world.rank < ranks.size:
            row = {"layout": layout, **measured(config, ranks, how)}
        if world.size > 1:
            dist.barrier()
        if world.rank == 0:
            row |= {
                "device": torch.cuda.get_device_name() if on_gpu() else "cpu",
                "torch": torch.__version__,
                "nccl": ".".join(map(str, cast("Any", nccl).version())) if on_gpu() else "",
                "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
                "commit": args.commit,
            }
            print(json.dumps(row), flush=True)
            with args.record.open("a") as file:
                file.write(json.dumps(row) + "\n")
    if dist.is_initialized():
        dist.destroy_process_group()


if __name__ == "__main__":
    main()
