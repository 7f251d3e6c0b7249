"""`python -m ssm_ref train CONFIG`: one run, or every variant of a config in turn."""

import argparse
import json
import re
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch.distributed as dist
from torch import nn

from ssm_ref.training.config import RunConfig, load_config, variants
from ssm_ref.training.execution import Execution
from ssm_ref.training.loop import Trainer, start_ranks
from ssm_ref.training.metrics import METRICS, Progress, plot, read_rows
from ssm_ref.training.ranks import Ranks
from ssm_ref.training.record import record_row
from ssm_ref.training.scores import Scores


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `train`."""
    parser.add_argument("config", type=Path, help="a TOML file, see docs/experiments")
    parser.add_argument(
        "--variant", action="append", help="a variant of the config (all of them when not given)"
    )
    parser.add_argument("--out", type=Path, help="folder of the run (build/runs/NAME)")
    parser.add_argument("--fresh", action="store_true", help="drop what the folder holds")
    parser.add_argument("--plot", choices=["svg", "png"], default="svg")
    parser.add_argument("--record", type=Path, help="append the finished run to this JSONL file")
    parser.add_argument(
        "--commit",
        metavar="HASH",
        help="what the record names as the commit of the code, where git is not at hand",
    )
    parser.add_argument(
        "--seconds", type=float, help="stop training after so many, as after its last step"
    )
    parser.add_argument(
        "--sequence-ranks",
        type=int,
        default=1,
        metavar="N",
        help="under torchrun: ranks that share one sequence; the rest share the rows of a batch",
    )
    parser.add_argument(
        "--sharded", action="store_true", help="under torchrun: share out the parameters (FSDP2)"
    )
    parser.add_argument(
        "--captured", action="store_true", help="on a GPU: launch a step as one CUDA graph"
    )
    parser.add_argument(
        "--answers-only",
        action="store_true",
        help="a language model's logits only where an answer is wanted: for tasks that ask little",
    )
    parser.add_argument(
        "--workers", type=int, default=0, metavar="N", help="threads that draw batches ahead"
    )
    parser.set_defaults(program=parser.prog)


def run(
    args: argparse.Namespace, *, prepare: Callable[[nn.Module], nn.Module] | None = None
) -> int:
    """Train what `args` name, each model handed to `prepare` once it is built.

    Returns 0 when all runs ended, 128 and the signal's number when one was told to stop. Raises
    `ValueError` for misuse and `OSError` for a folder or record that cannot be written.
    """
    how = Execution(
        sequence_ranks=args.sequence_ranks,
        sharded=args.sharded,
        captured=args.captured,
        answers_only=args.answers_only,
        workers=args.workers,
        seconds=args.seconds,
        prepare=prepare,
    )
    names = args.variant or variants(args.config) or [""]
    configs = [load_config(args.config, name) for name in names]  # all are checked before any runs
    if args.commit is not None and not re.fullmatch("[0-9a-f]{40}", args.commit):
        raise ValueError(f"--commit must be 40 hexadecimal digits; got {args.commit!r}")
    if args.record:
        with Path(args.record).open("a"):
            pass  # it can be written: to learn that after the training would be late
    given = dist.is_initialized()
    ranks = start_ranks()
    try:
        for cfg in configs:
            folder = _folder(cfg, args, several=len(configs) > 1)
            _run_one(cfg, folder, ranks, how, args)
    except KeyboardInterrupt as stop:
        if ranks.rank == 0:
            print("\nstopped: the same command goes on from what is saved", file=sys.stderr)
        return 128 + (stop.args[0] if stop.args else signal.SIGINT)
    finally:
        if dist.is_initialized() and not given:
            dist.destroy_process_group()
    return 0


def _folder(cfg: RunConfig, args: argparse.Namespace, *, several: bool) -> Path:
    if args.out is None:
        return Path("build") / "runs" / cfg.name
    return Path(args.out) / cfg.variant if several else Path(args.out)


def _run_one(
    cfg: RunConfig, folder: Path, ranks: Ranks, how: Execution, args: argparse.Namespace
) -> None:
    if args.fresh and ranks.rank == 0:
        shutil.rmtree(folder, ignore_errors=True)
    if args.fresh and ranks.size > 1:
        dist.barrier()
    trainer = Trainer(cfg, folder, ranks, how)
    progress = Progress(cfg.settings.steps, trainer.step)
    if ranks.rank == 0:
        count = sum(p.numel() for p in trainer.model.parameters())
        start = f"going on from step {trainer.step}" if trainer.step else "from the start"
        progress.say(f"{cfg.name}: {count:,} parameters, {trainer.device}, {start}, in {folder}")
    final = trainer.run(progress)
    changed = [(table, trainer.validate(source)) for table, source in trainer.changed]
    if ranks.rank == 0:
        _finish(trainer, final, changed, progress, args)


def _finish(
    trainer: Trainer,
    final: Scores,
    changed: list[tuple[dict[str, Any], Scores]],
    progress: Progress,
    args: argparse.Namespace,
) -> None:
    row = record_row(
        trainer,
        final,
        changed,
        with_commit=args.record is not None,
        given_commit=args.commit,
        program=args.program,
    )
    (trainer.folder / "result.json").write_text(json.dumps(row, indent=1) + "\n", encoding="utf-8")
    progress.say(f"{trainer.cfg.name}: {_words(final)}")
    for table, scores in changed:
        what = ", ".join(f"{key} = {value}" for key, value in table.items())
        progress.say(f"  {what}: {_words(scores)}")
    try:
        rows = read_rows(trainer.folder / METRICS)
        plot(rows, trainer.folder / f"curve.{args.plot}", trainer.cfg.name)
    except ValueError as error:
        progress.say(f"no plot: {error}")
    if args.record:
        with Path(args.record).open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")


def _words(scores: Scores) -> str:
    words = f"loss {scores.loss:.4f}"
    if scores.accuracy is None:
        return f"{words} (squared error)"
    return f"{words}, accuracy {scores.accuracy:.4f}, whole rows {scores.exact:.4f}"
