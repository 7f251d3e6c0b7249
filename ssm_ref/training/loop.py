"""The training loop: batches by step, AdamW, validation, and a state that can stop and go on.

All ranks of a `torchrun` draw the same batch and take their own part of it: of rows, of time, or of
both. A rank's loss is its own sum over the whole batch's count times the ranks, so that the mean
which DistributedDataParallel or FSDP2 takes of gradients is the gradient of one process.
"""

import math
import os
import time
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from ssm_ref.selective.mamba import parameter_groups
from ssm_ref.training.answers import answers_of, has_answers, logits_at
from ssm_ref.training.batch import Batch, Source
from ssm_ref.training.captured import CapturedStep, Step
from ssm_ref.training.config import RunConfig
from ssm_ref.training.execution import Ahead, Execution, signals_noted
from ssm_ref.training.metrics import Metrics, Progress, Row
from ssm_ref.training.models import build_model
from ssm_ref.training.optimizer import learning_rate
from ssm_ref.training.ranks import Grid, Ranks
from ssm_ref.training.saving import load_checkpoint, newest_checkpoint, save_checkpoint
from ssm_ref.training.scores import (
    Scores,
    count_asked,
    scores_of,
    sum_loss,
    sums_of,
    wants_numbers,
)
from ssm_ref.training.sharding import shard

ALONE = Execution()
LATE = 1  # why a run ends: its time is over; other reasons are the numbers of SIGINT and SIGTERM


def start_ranks() -> Ranks:
    """This process among those of `torchrun`, its GPU chosen and its group started; alone without.

    NCCL is used where there are GPUs, gloo elsewhere.
    """
    if "RANK" not in os.environ:
        return Ranks(0, 1)
    if not dist.is_initialized():
        if torch.cuda.is_available():  # before anything is sent: NCCL asks which GPU is this rank's
            own = os.environ.get("LOCAL_RANK", os.environ["RANK"])
            torch.cuda.set_device(int(own) % torch.cuda.device_count())
        dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
    return Ranks.of_world()


class Drawn(NamedTuple):
    """A rank's part of a training batch, and what the whole batch asks for and holds."""

    part: Batch
    asked: int
    places: int
    answers: Tensor | None = None  # their places, where only those get logits


class Trainer:
    """One run in its folder: built from the config or from the newest checkpoint there.

    Raises `ValueError` before anything is trained: for a config, data, batch or execution that do
    not fit, and for a folder whose checkpoint another config made.
    """

    def __init__(self, cfg: RunConfig, folder: Path, ranks: Ranks, how: Execution = ALONE) -> None:
        self.cfg, self.folder, self.ranks, self.how = cfg, folder, ranks, how
        torch.manual_seed(cfg.settings.seed)
        self.device = torch.device(_device(cfg))
        self._check_execution()
        self.source = cfg.open_data()
        self.changed = [(table, cfg.open_data(**table)) for table in cfg.evaluate]
        self.grid = Grid.of(ranks, how.sequence_ranks)
        self._check_parts()
        splits = self.grid.time if self.grid.time.size > 1 else None
        self.model = build_model(cfg.model, cfg.where("model"), self.source.sizes, splits)
        if how.prepare is not None:
            self.model = how.prepare(self.model)
        if how.answers_only and not has_answers(self.model):
            raise ValueError(
                f"{cfg.where('model')}: answers only are for a language model of one shell; got "
                f"{type(self.model).__name__}"
            )
        self.model.to(self.device)
        if how.sharded:
            shard(self.model, self.device)
        self.optimizer = self._make_optimizer()
        folder.mkdir(parents=True, exist_ok=True)
        self.step = self._resume()
        self.trained: nn.Module = self.model
        if ranks.size > 1 and not how.sharded:
            self.trained = DistributedDataParallel(self.model)
        self.update: Step = CapturedStep(self._update) if how.captured else self._update

    def run(self, progress: Progress) -> Scores:
        """Train to the last step, or as long as is given, and return the validation scores.

        After SIGINT or SIGTERM the step at hand is ended and saved, and `KeyboardInterrupt` raised
        with the signal's number. Raises `ValueError` when the loss is no number any more.
        """
        metrics = Metrics(self.folder, self.step) if self.ranks.rank == 0 else None
        spent, began = _seconds_before(metrics), time.monotonic()
        start = spent - self._clock()
        settings, ahead = self.cfg.settings, Ahead(self._draw, self.how.workers)
        with signals_noted() as noted:
            stop = 0
            while self.step < settings.steps and not stop:
                loss, places = self._advance(ahead)
                if self._due(settings.log_every):
                    row = self._logged(loss, progress, places)
                    _add(metrics, row | {"seconds": round(start + self._clock(), 3)})
                elif self._due(settings.checkpoint_every):
                    self._checked(loss)
                if self._due(settings.validate_every):
                    scores = self.validate(self.source)
                    _add(metrics, {"step": self.step, **scores.as_row("validation_")})
                late = self.how.seconds is not None and time.monotonic() - began > self.how.seconds
                stop = self._agreed(noted[0] if noted else LATE if late else 0)
                if stop or self._due(settings.checkpoint_every):
                    self.save()
        ahead.stop()
        if stop > LATE:
            raise KeyboardInterrupt(stop)
        return self.validate(self.source)

    def save(self) -> None:
        """Write a checkpoint of this step; all ranks call it."""
        save_checkpoint(
            self.folder,
            self.step,
            self.cfg.tables,
            self.model,
            self.optimizer,
            rank=self.ranks.rank,
        )

    @torch.no_grad()
    def validate(self, source: Source) -> Scores:
        """Scores on the validation batches of `source`."""
        self.model.eval()
        settings, totals = self.cfg.settings, torch.zeros(5, dtype=torch.float64)
        numbers = False
        for batch in source.validation(settings.validation_batches, settings.batch_size):
            for part in self._slices(batch):
                with self._autocast():
                    logits = self.model(part.inputs)
                totals += sums_of(self.model, logits.float(), part, self.grid.time)
            numbers = wants_numbers(batch.targets)
        self.model.train()
        if self.ranks.size > 1:
            totals = totals.to(self.device)
            dist.all_reduce(totals)
        return scores_of(totals, numbers=numbers)

    def _advance(self, ahead: Ahead[Drawn]) -> tuple[Tensor, int]:
        """One step; the loss of the whole batch, this rank's share, and the number of inputs."""
        part, asked, places, answers = ahead.take(self.step)
        lr = learning_rate(self.cfg.optimizer, self.step + 1, self.cfg.settings.steps)
        for group in self.optimizer.param_groups:
            if self.how.captured:
                group["lr"].fill_(lr)
            else:
                group["lr"] = lr
        given = [t.to(self.device, non_blocking=True) for t in (*part, answers) if t is not None]
        scale = torch.full((), self.ranks.size / asked, device=self.device)
        total = self.update(scale, *given)
        self.step += 1
        return total / asked, places

    def _update(
        self, scale: Tensor, inputs: Tensor, targets: Tensor, answers: Tensor | None = None
    ) -> Tensor:
        """One step of the optimiser; the sum of losses of this part."""
        with self._autocast():
            if answers is None:
                logits = self.trained(inputs)
            else:
                assert has_answers(self.model)
                logits = logits_at(self.model, inputs, answers)
        total = sum_loss(self.model, logits.float(), targets)
        self.optimizer.zero_grad(set_to_none=True)
        (total * scale).backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), self.cfg.optimizer.clip)
        self.optimizer.step()
        return total.detach()

    def _draw(self, step: int) -> Drawn:
        batch = self.source.training(step, self.cfg.settings.batch_size)
        asked = count_asked(self.model, batch)
        part, answers = self._part(batch), None
        if self.how.answers_only:
            part, answers = answers_of(part)
        if self.device.type == "cuda":
            part = Batch(*(t.pin_memory() for t in part))
            answers = None if answers is None else answers.pin_memory()
        return Drawn(part, asked, batch.inputs.numel(), answers)

    def _logged(self, loss: Tensor, progress: Progress, places: int) -> Row:
        value = self._checked(loss)
        if self.ranks.rank == 0:
            progress.show(self.step, value, places)
        lr = float(self.optimizer.param_groups[0]["lr"])
        return {"step": self.step, "loss": value, "lr": lr}

    def _checked(self, loss: Tensor) -> float:
        """The loss of the whole batch; `ValueError` when it is no number any more."""
        if self.ranks.size > 1:
            dist.all_reduce(loss)
        value = float(loss)
        if not math.isfinite(value):
            raise ValueError(
                f"the loss is {value} at step {self.step}: lower optimizer.lr or raise warmup, and "
                "start with --fresh"
            )
        return value

    def _agreed(self, stop: int) -> int:
        """Why the run ends here, for all ranks alike: several ask each other now and then."""
        if self.ranks.size == 1:
            return stop
        if not self._due(self.cfg.settings.log_every):
            return 0
        asked = torch.tensor(stop, device=self.device)
        dist.all_reduce(asked, dist.ReduceOp.MAX)
        return int(asked)

    def _part(self, batch: Batch) -> Batch:
        """This rank's rows, and its part of each where time is shared too."""
        rows, time_ranks = self.grid.rows, self.grid.time
        parts = [t.tensor_split(rows.size)[rows.rank] for t in batch]
        if time_ranks.size > 1:
            parts = [t.tensor_split(time_ranks.size, dim=1)[time_ranks.rank] for t in parts]
        return Batch(*parts)

    def _slices(self, batch: Batch) -> list[Batch]:
        """This rank's part on its device, in as many slices on every rank as memory asks for."""
        most = -(-batch.inputs.numel() // self.ranks.size)
        count = min(len(batch.inputs), -(-most // self.cfg.settings.places_at_once))
        cut = [t.to(self.device).tensor_split(max(1, count)) for t in self._part(batch)]
        return [Batch(*slices) for slices in zip(*cut, strict=True)]

    def _check_execution(self) -> None:
        how, size = self.how, self.ranks.size
        if how.captured and (self.device.type != "cuda" or size > 1):
            raise ValueError(f"a captured step takes one CUDA device; got {self.device} × {size}")
        if how.answers_only and size > 1:
            raise ValueError(f"answers only are computed by one process; got {size}")
        if how.sharded and not dist.is_initialized():
            raise ValueError("sharded parameters want the ranks of torchrun; got one process")
        talk = dist.get_backend() if dist.is_initialized() else "gloo"
        if size > 1 and self.device.type == "cpu" and talk == "nccl":
            raise ValueError(
                f"{self.cfg.where('device')} = 'cpu': ranks talk over NCCL where there are GPUs; "
                "hide them with CUDA_VISIBLE_DEVICES= to train on CPUs"
            )

    def _check_parts(self) -> None:
        """Raise `ValueError` for a batch that the ranks cannot share evenly."""
        rows, parts, settings = self.grid.rows.size, self.grid.time.size, self.cfg.settings
        batch = self.source.training(0, settings.batch_size)
        if settings.batch_size % rows:
            raise ValueError(
                f"{self.cfg.where('batch_size')} = {settings.batch_size}: it must be a multiple of "
                f"the {rows} ranks that share the rows"
            )
        if parts > 1 and (batch.targets.ndim != 2 or batch.inputs.shape[1] % parts):
            raise ValueError(
                f"{self.cfg.where('data')}: inputs of shape {tuple(batch.inputs.shape)} cannot be "
                f"cut into {parts} equal parts along time"
            )

    def _make_optimizer(self) -> torch.optim.AdamW:
        wanted, captured = self.cfg.optimizer, self.how.captured
        return torch.optim.AdamW(
            parameter_groups(self.model, weight_decay=wanted.weight_decay),
            lr=torch.tensor(wanted.lr, device=self.device) if captured else wanted.lr,
            betas=wanted.betas,
            fused=captured or None,
            capturable=captured,
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

    def _clock(self) -> float:
        """Seconds of this process's work on a CPU, of anybody's where a GPU does it."""
        return time.process_time() if self.device.type == "cpu" else time.monotonic()

    def _due(self, every: int) -> bool:
        return self.step % every == 0 or self.step == self.cfg.settings.steps

    def _autocast(self) -> AbstractContextManager[Any]:
        precision = self.cfg.settings.precision
        if precision == "bfloat16" or (precision == "auto" and self.device.type == "cuda"):
            return torch.autocast(self.device.type, dtype=torch.bfloat16)
        return nullcontext()


def _device(cfg: RunConfig) -> str:
    wanted = cfg.settings.device
    if wanted == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"{cfg.where('device')} = 'cuda': PyTorch sees no GPU here")
    if wanted == "cpu" or not torch.cuda.is_available():
        return "cpu"
    return f"cuda:{torch.cuda.current_device()}"


def _seconds_before(metrics: Metrics | None) -> float:
    rows = metrics.rows if metrics else []
    return float(max((row.get("seconds", 0.0) for row in rows), default=0.0))


def _add(metrics: Metrics | None, row: Row) -> None:
    if metrics is not None:
        metrics.add(row)
