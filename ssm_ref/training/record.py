"""A finished run as one row of data: what it was, where and when it ran, and what came out."""

import datetime
import hashlib
import platform
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import nn

from ssm_ref.training.batch import Source
from ssm_ref.training.loop import Trainer
from ssm_ref.training.metrics import METRICS, Row, read_rows
from ssm_ref.training.scores import Scores

CURVE_POINTS = 60


def record_row(
    trainer: Trainer,
    final: Scores,
    changed: list[tuple[dict[str, Any], Scores]],
    *,
    with_commit: bool,
    given_commit: str | None = None,
    program: str = "python -m ssm_ref train",
) -> Row:
    """The row of a run: config, provenance, final scores and the curve.

    Git is asked for the commit if that is wanted and none is given.
    """
    cfg, rows = trainer.cfg, read_rows(trainer.folder / METRICS)
    files = source_files(trainer.model, trainer.source, trainer.how.prepare)
    measured = _measured(trainer)
    return {
        "experiment": cfg.path.stem,
        "variant": cfg.variant,
        "config_hash": cfg.fingerprint,
        "data_hash": trainer.source.fingerprint,
        "source_hash": source_hash(files),
        "commit": given_commit or (commit(files) if with_commit else ""),
        "device": _device_name(trainer.device),
        "ranks": trainer.ranks.size,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "seed": cfg.settings.seed,
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "command": " ".join([program, cfg.path.as_posix(), *_options(trainer)]),
        "parameters": sum(p.numel() for p in trainer.model.parameters()),
        "steps": trainer.step,
        "planned": cfg.settings.steps,
        "seconds": max((row.get("seconds", 0.0) for row in rows), default=0.0),
        "final": final.as_row(),
        **({"measured": measured} if measured else {}),
        "evaluate": [{"changed": table, **scores.as_row()} for table, scores in changed],
        "curve": _thinned([(row["step"], row["loss"]) for row in rows if "loss" in row]),
        "validation": [
            (row["step"], row["validation_loss"], row.get("validation_accuracy"))
            for row in rows
            if "validation_loss" in row
        ],
    }


@torch.no_grad()
def _measured(trainer: Trainer) -> Row:
    """What the data set measures of the finished model beside the scores, if anything."""
    measure = getattr(trainer.source, "measure", None)
    if measure is None:
        return {}
    trainer.model.eval()
    found: Row = measure(trainer.model, trainer.device)
    trainer.model.train()
    return found


def source_files(
    model: nn.Module, source: Source, prepare: Callable[..., object] | None = None
) -> list[Path]:
    """Files of this package, and of that of `prepare`, that decide what a run computes.

    They are found from the classes in use, through everything that their modules import by name.
    """
    start: list[object] = [*model.modules(), source, getattr(source, "task", source)]
    waiting = {type(one).__module__ for one in start} | {"ssm_ref.training.optimizer"}
    packages = {"ssm_ref"}
    if prepare is not None:
        waiting.add(prepare.__module__)
        packages.add(prepare.__module__.split(".")[0])
    seen: set[str] = set()
    while waiting:
        name = waiting.pop()
        if name in seen or name.split(".")[0] not in packages:
            continue
        seen.add(name)
        waiting |= {_home(value) for value in vars(sys.modules[name]).values()}
    return sorted(Path(str(sys.modules[name].__file__)) for name in seen)


def _home(value: object) -> str:
    """The module that `value` is, or comes from."""
    return (
        value.__name__ if isinstance(value, ModuleType) else str(getattr(value, "__module__", ""))
    )


def source_hash(files: list[Path]) -> str:
    """SHA-256 over names and bytes of files, first 16 hex digits."""
    digest = hashlib.sha256()
    for path in files:
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]


def commit(files: list[Path]) -> str:
    """The commit of the source tree, with + where `files` differ from it; empty outside git."""
    here = Path(__file__).parent

    def git(*arguments: str | Path) -> str:
        done = subprocess.run(["git", *arguments], cwd=here, capture_output=True, text=True)
        return done.stdout.strip() if done.returncode == 0 else ""

    head = git("rev-parse", "HEAD")
    return head + ("+" if head and git("status", "--porcelain", "--", *files) else "")


def _options(trainer: Trainer) -> list[str]:
    how, variant = trainer.how, trainer.cfg.variant
    given = {
        "--variant": variant,
        "--seconds": how.seconds and f"{how.seconds:g}",
        "--sequence-ranks": how.sequence_ranks > 1 and f"{how.sequence_ranks}",
    }
    flags = {
        "--sharded": how.sharded,
        "--captured": how.captured,
        "--answers-only": how.answers_only,
    }
    return [f"{name} {value}" for name, value in given.items() if value] + [
        name for name, on in flags.items() if on
    ]


def _thinned(points: list[tuple[int, float]]) -> list[tuple[int, float]]:
    stride = max(1, -(-len(points) // CURVE_POINTS))
    return [(step, round(loss, 5)) for step, loss in points[stride - 1 :: stride]]


def _device_name(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    name = names[0] if names else platform.machine()
    return f"{name}, {torch.get_num_threads()} thread(s)"
