"""A finished run as one row of data: what it was, where and when it ran, and what came out."""

import datetime
import hashlib
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ssm_ref.training.batch import Source
from ssm_ref.training.loop import Scores, Trainer
from ssm_ref.training.metrics import METRICS, Row, read_rows

CURVE_POINTS = 60


def record_row(
    trainer: Trainer,
    final: Scores,
    changed: list[tuple[dict[str, Any], Scores]],
    *,
    with_commit: bool,
) -> Row:
    """The row of a run: config, provenance, final scores and the curve; git is asked if wanted."""
    cfg, rows = trainer.cfg, read_rows(trainer.folder / METRICS)
    variant = f" --variant {cfg.variant}" if cfg.variant else ""
    files = source_files(trainer.model, trainer.source)
    return {
        "experiment": cfg.path.stem,
        "variant": cfg.variant,
        "config_hash": cfg.fingerprint,
        "data_hash": trainer.source.fingerprint,
        "source_hash": source_hash(files),
        "commit": commit(files) if with_commit else "",
        "device": _device_name(trainer.device),
        "ranks": trainer.ranks.size,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "seed": cfg.settings.seed,
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "command": f"python -m ssm_ref train {cfg.path.as_posix()}{variant}",
        "parameters": sum(p.numel() for p in trainer.model.parameters()),
        "steps": cfg.settings.steps,
        "seconds": max((row.get("seconds", 0.0) for row in rows), default=0.0),
        "final": final.as_row(),
        "evaluate": [{"changed": table, **scores.as_row()} for table, scores in changed],
        "curve": _thinned([(row["step"], row["loss"]) for row in rows if "loss" in row]),
        "validation": [
            (row["step"], row["validation_loss"], row.get("validation_accuracy"))
            for row in rows
            if "validation_loss" in row
        ],
    }


def source_files(model: nn.Module, source: Source) -> list[Path]:
    """Files of this package that decide what the model computes and the data hold.

    They are found from the classes in use, through everything that their modules import by name.
    """
    start: list[object] = [*model.modules(), source, getattr(source, "task", source)]
    waiting = {type(one).__module__ for one in start} | {"ssm_ref.training.optimizer"}
    seen: set[str] = set()
    while waiting:
        name = waiting.pop()
        if name in seen or name.split(".")[0] != "ssm_ref":
            continue
        seen.add(name)
        waiting |= {str(getattr(v, "__module__", "")) for v in vars(sys.modules[name]).values()}
    return sorted(Path(str(sys.modules[name].__file__)) for name in seen)


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
