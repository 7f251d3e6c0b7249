"""The training loop: batches by step, AdamW, validation, and a state that can stop and go on.

All ranks of a `torchrun` draw the same batch and take their own part of it, rows or time steps. A
rank's loss is its own sum over the whole batch's count times the ranks, so that the mean which
DistributedDataParallel takes of gradients is the gradient of one process.
"""

import math
import os
import time
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.nn.parallel import DistributedDataParallel

from ssm_ref.training.batch import IGNORED, Batch, Source
from ssm_ref.training.config import RunConfig
from ssm_ref.training.metrics import Metrics, Progress, Row
from ssm_ref.training.models import build_model
from ssm_ref.training.optimizer import decay_groups, learning_rate
from ssm_ref.training.ranks import Ranks
from ssm_ref.training.saving import load_checkpoint, newest_checkpoint, save_checkpoint


@dataclass(frozen=True, slots=True)
class Scores:
    """How a model did on some batches."""

    loss: float  # nats a target, or squared error a number
    accuracy: float | None  # of targets; None where numbers are wanted and not classes
    exact: float | None  # of rows, all targets right

    def as_row(self, prefix: str = "") -> Row:
        """Rounded, under names that start with `prefix`; what is None is left out."""
        named = {"loss": self.loss, "accuracy": self.accuracy, "exact": self.exact}
        return {f"{prefix}{k}": round(v, 6) for k, v in named.items() if v is not None}


def start_ranks() -> Ranks:
    """This process among those of `torchrun`, its group started; alone without it."""
    if "RANK" not in os.environ:
        return Ranks(0, 1)
    if not dist.is_initialized():
        dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
    return Ranks.of_world()


class Trainer:
    """One run in its folder: built from the config or from the newest checkpoint there.

    Raises `ValueError` before anything is trained: for a config, data or batch that do not fit, and
    for a folder whose checkpoint another config made.
    """

    def __init__(self, cfg: RunConfig, folder: Path, ranks: Ranks) -> None:
        self.cfg, self.folder, self.ranks = cfg, folder, ranks
        torch.manual_seed(cfg.settings.seed)
        self.device = torch.device(_device(cfg, ranks))
        self.source = cfg.open_data()
        self.changed = [(table, cfg.open_data(**table)) for table in cfg.evaluate]
        self._check_parts()
        splits = ranks if cfg.settings.split == "sequence" and ranks.size > 1 else None
        self.model = build_model(cfg.model, cfg.where("model"), self.source.sizes, splits)
        self.model.to(self.device)
        wanted = cfg.optimizer
        self.optimizer = torch.optim.AdamW(
            decay_groups(self.model, wanted.weight_decay), lr=wanted.lr, betas=wanted.betas
        )
        folder.mkdir(parents=True, exist_ok=True)
        self.step = self._resume()
        self.trained: nn.Module = self.model
        if ranks.size > 1:
            self.trained = DistributedDataParallel(self.model)

    def run(self, progress: Progress) -> Scores:
        """Train to the last step and return the scores on the validation data.

        On Ctrl-C the state is saved first. Raises `ValueError` when the loss is no number any more.
        """
        metrics = Metrics(self.folder, self.step) if self.ranks.rank == 0 else None
        spent = _seconds_before(metrics) - time.process_time()
        settings = self.cfg.settings
        try:
            while self.step < settings.steps:
                loss, places = self._advance()
                if self._due(settings.log_every):
                    row = self._logged(loss, progress, places) | {
                        "seconds": round(spent + time.process_time(), 3)
                    }
                    _add(metrics, row)
                if self._due(settings.validate_every):
                    scores = self.validate(self.source)
                    _add(metrics, {"step": self.step, **scores.as_row("validation_")})
                if self._due(settings.checkpoint_every):
                    self.save()
        except KeyboardInterrupt:
            self.save()
            raise
        return self.validate(self.source)

    def save(self) -> None:
        """Write a checkpoint of this step, on rank 0."""
        if self.ranks.rank == 0:
            save_checkpoint(self.folder, self.step, self.cfg.tables, self.model, self.optimizer)

    @torch.no_grad()
    def validate(self, source: Source) -> Scores:
        """Scores on the validation batches of `source`."""
        self.model.eval()
        settings, totals = self.cfg.settings, torch.zeros(5, dtype=torch.float64)
        numbers = False
        for batch in source.validation(settings.validation_batches, settings.batch_size):
            part, numbers = self._part(batch), _numbers(batch.targets)
            with self._autocast():
                logits = self.model(part.inputs)
            totals += self._tally(logits.float(), part.targets).cpu()
        self.model.train()
        if self.ranks.size > 1:
            dist.all_reduce(totals)
        loss, right, asked, rows_right, rows = totals.tolist()
        if numbers:
            return Scores(loss / asked, None, None)
        return Scores(loss / asked, right / asked, rows_right / rows)

    def _advance(self) -> tuple[Tensor, int]:
        """One step; the loss of the whole batch and the number of its inputs."""
        settings, wanted = self.cfg.settings, self.cfg.optimizer
        batch = self.source.training(self.step, settings.batch_size)
        part, asked = self._part(batch), int(_asked(batch.targets).sum())
        self.step += 1
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(wanted, self.step, settings.steps)
        with self._autocast():
            logits = self.trained(part.inputs)
        total = _total_loss(logits.float(), part.targets)
        self.optimizer.zero_grad(set_to_none=True)
        (total * (self.ranks.size / asked)).backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), wanted.clip)
        self.optimizer.step()
        return total.detach() / asked, batch.inputs.numel()

    def _logged(self, loss: Tensor, progress: Progress, places: int) -> Row:
        if self.ranks.size > 1:
            dist.all_reduce(loss)
        value = float(loss)
        if not math.isfinite(value):
            raise ValueError(
                f"the loss is {value} at step {self.step}: lower optimizer.lr or raise warmup, and "
                "start with --fresh"
            )
        if self.ranks.rank == 0:
            progress.show(self.step, value, places)
        lr = self.optimizer.param_groups[0]["lr"]
        return {"step": self.step, "loss": value, "lr": lr}

    def _tally(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Sums over this part: loss, right, asked, rows all right, rows."""
        asked = _asked(targets)
        answers = logits if _numbers(targets) else logits.argmax(dim=-1)
        right = (answers == targets) & asked
        wrong = (asked & ~right).reshape(len(targets), -1).sum(dim=1)
        if self.cfg.settings.split == "sequence" and self.ranks.size > 1:
            dist.all_reduce(wrong)  # a row is right when all its parts are
        counted = self.cfg.settings.split == "data" or self.ranks.rank == 0
        sums = [_total_loss(logits, targets), right.sum(), asked.sum()]
        sums += [(wrong == 0).sum() * counted, torch.tensor(len(targets) * counted)]
        return torch.stack([value.double().cpu() for value in sums])

    def _part(self, batch: Batch) -> Batch:
        """This rank's rows, or its part of every row."""
        axis = 0 if self.cfg.settings.split == "data" else 1
        parts = (t.tensor_split(self.ranks.size, dim=axis)[self.ranks.rank] for t in batch)
        return Batch(*(t.to(self.device) for t in parts))

    def _check_parts(self) -> None:
        """Raise `ValueError` for a batch that the ranks cannot share evenly."""
        size, settings = self.ranks.size, self.cfg.settings
        batch = self.source.training(0, settings.batch_size)
        if settings.split == "data" and settings.batch_size % size:
            raise ValueError(
                f"{self.cfg.where('batch_size')} = {settings.batch_size}: it must be a multiple of "
                f"the {size} ranks"
            )
        if settings.split == "sequence" and (
            batch.targets.ndim != 2 or batch.inputs.shape[1] % size
        ):
            raise ValueError(
                f"{self.cfg.where('split')} = 'sequence': inputs of shape "
                f"{tuple(batch.inputs.shape)} cannot be cut into {size} equal parts along time"
            )

    def _resume(self) -> int:
        saved = newest_checkpoint(self.folder)
        if saved is None:
            return 0
        tables = self.cfg.tables
        other = sorted(k for k in saved.tables | tables if saved.tables.get(k) != tables.get(k))
        if other:
            raise ValueError(
                f"{saved.path} was made by another config ({', '.join(other)} differ): "
                "choose another --out, or start anew with --fresh"
            )
        load_checkpoint(saved, self.model, self.optimizer)
        return saved.step

    def _due(self, every: int) -> bool:
        return self.step % every == 0 or self.step == self.cfg.settings.steps

    def _autocast(self) -> AbstractContextManager[Any]:
        precision = self.cfg.settings.precision
        if precision == "bfloat16" or (precision == "auto" and self.device.type == "cuda"):
            return torch.autocast(self.device.type, dtype=torch.bfloat16)
        return nullcontext()


def _asked(targets: Tensor) -> Tensor:
    """Where an answer is wanted: everywhere, if numbers are."""
    return torch.ones_like(targets, dtype=torch.bool) if _numbers(targets) else targets != IGNORED


def _numbers(targets: Tensor) -> bool:
    return targets.is_floating_point()


def _total_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Cross entropy of classes, or the squared error of numbers, summed."""
    if _numbers(targets):
        return (logits - targets).square().sum()
    flat = logits.reshape(-1, logits.shape[-1])
    return cross_entropy(flat, targets.reshape(-1), ignore_index=IGNORED, reduction="sum")


def _device(cfg: RunConfig, ranks: Ranks) -> str:
    wanted = cfg.settings.device
    if wanted == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"{cfg.where('device')} = 'cuda': PyTorch sees no GPU here")
    if wanted == "cpu" or not torch.cuda.is_available():
        return "cpu"
    torch.cuda.set_device(ranks.rank % torch.cuda.device_count())
    return f"cuda:{torch.cuda.current_device()}"


def _seconds_before(metrics: Metrics | None) -> float:
    rows = metrics.rows if metrics else []
    return float(max((row.get("seconds", 0.0) for row in rows), default=0.0))


def _add(metrics: Metrics | None, row: Row) -> None:
    if metrics is not None:
        metrics.add(row)
