"""How fast a step is on one GPU and on all of them: rows of `ranks.jsonl`, as the page shows them.

    torchrun --nproc-per-node 2 docs/experiments/ranks.py --commit HASH

Takes `bytes_large.toml` (russian, whose texts `texts.sh` fetches): the rows of a batch shared, the
parameters shared as well (FSDP2), twice the batch, and one long sequence cut in two. Rank 0 takes
the same steps alone first, while the others wait. Operators are those of `ssm_kernels`, but for the
sequence, which only the reference splits.
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

from ssm_kernels.accelerate import accelerate
from ssm_ref.training.config import RunConfig, load_config
from ssm_ref.training.execution import Ahead, Execution
from ssm_ref.training.loop import Trainer, start_ranks
from ssm_ref.training.ranks import Ranks

HERE = Path(__file__).parent
WARM_UP, STEPS = 4, 12


def measured(cfg: RunConfig, ranks: Ranks, how: Execution) -> dict[str, Any]:
    """The milliseconds of a step, the memory and the loss after the last of them."""
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(cfg, Path(folder), ranks, how)
        drawn = trainer._draw(0)
        ahead: Any = Ahead(lambda _: drawn, 0)  # drawing is the same whatever the layout
        if ranks.size > 1:
            dist.barrier()
        spent = []
        torch.cuda.reset_peak_memory_stats()
        for _ in range(WARM_UP + STEPS):
            torch.cuda.synchronize()
            began = time.perf_counter()
            loss, places = trainer._advance(ahead)
            torch.cuda.synchronize()
            spent.append(time.perf_counter() - began)
        ms = 1e3 * sorted(spent[WARM_UP:])[STEPS // 2]
        row = {
            "ranks": ranks.size,
            "batch": cfg.settings.batch_size,
            "length": cfg.data["length"],
            "ms": round(ms, 2),
            "tokens_a_second": round(1e3 * places / ms),
            "gib": round(torch.cuda.max_memory_allocated() / 2**30, 2),
            "loss": round(trainer._checked(loss), 5),
        }
    torch.cuda.empty_cache()
    return row


def changed(cfg: RunConfig, batch: int, length: int) -> RunConfig:
    """The config with another batch, and windows of another length."""
    settings = dataclasses.replace(cfg.settings, batch_size=batch)
    return dataclasses.replace(cfg, settings=settings, data={**cfg.data, "length": length})


def main() -> None:
    """Measure every layout and print its row, rank 0 to a file as well."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--commit", required=True)
    parser.add_argument("--record", type=Path, default=HERE / "ranks.jsonl")
    args = parser.parse_args()
    world, cfg = start_ranks(), load_config(HERE / "bytes_large.toml", "russian")
    alone, library = Ranks(0, 1), cast("Any", nccl).version()
    layouts = [
        ("one GPU", cfg, alone, Execution(prepare=accelerate)),
        ("rows", cfg, world, Execution(prepare=accelerate)),
        ("rows and parameters", cfg, world, Execution(prepare=accelerate, sharded=True)),
        ("one GPU", changed(cfg, 64, 1024), alone, Execution(prepare=accelerate)),
        ("rows", changed(cfg, 64, 1024), world, Execution(prepare=accelerate)),
        ("one GPU", changed(cfg, 2, 16384), alone, Execution()),
        ("time", changed(cfg, 2, 16384), world, Execution(sequence_ranks=world.size)),
    ]
    for layout, config, ranks, how in layouts:
        if world.rank < ranks.size:
            row = {"layout": layout, **measured(config, ranks, how)}
        dist.barrier()
        if world.rank == 0:
            row |= {
                "device": torch.cuda.get_device_name(),
                "torch": torch.__version__,
                "nccl": ".".join(map(str, library)),
                "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
                "commit": args.commit,
            }
            print(json.dumps(row), flush=True)
            with args.record.open("a") as file:
                file.write(json.dumps(row) + "\n")
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
