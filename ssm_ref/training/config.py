"""The config of a run: one TOML file, checked whole before anything is built.

Top level: `Settings`. Tables: `[model]` (`ssm_ref.training.models`), `[data]` (a task or files),
`[optimizer]`, any number of `[[evaluate]]` (keys of `[data]` changed after training, such as
another length), and `[variants.NAME]` with what a variant changes of all these.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ssm_ref.training import beyond_language, vision
from ssm_ref.training.batch import Source
from ssm_ref.training.files import Digits, Text
from ssm_ref.training.optimizer import Optimizer
from ssm_ref.training.reading import close_to, read, read_toml
from ssm_ref.training.tasks import (
    AssociativeRecall,
    Copying,
    InductionHeads,
    ModularArithmetic,
    Parity,
    SelectiveCopying,
    TaskSource,
)

TASKS: Mapping[str, type[Any]] = {
    "selective_copying": SelectiveCopying,
    "induction_heads": InductionHeads,
    "associative_recall": AssociativeRecall,
    "parity": Parity,
    "modular_arithmetic": ModularArithmetic,
    "copying": Copying,
}
FILES: Mapping[str, type[Any]] = {
    "text": Text,
    "digits": Digits,
    **vision.DATA,
    **beyond_language.DATA,
}
TABLES = ("model", "data", "optimizer", "evaluate", "variants")


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """How long, how often and on what a run goes."""

    steps: int
    batch_size: int
    seed: int = 0
    log_every: int = 10
    validate_every: int = 200
    validation_batches: int = 8
    checkpoint_every: int = 200
    device: Literal["auto", "cpu", "cuda"] = "auto"
    precision: Literal["auto", "float32", "bfloat16"] = "auto"  # auto: bfloat16 on a GPU
    places_at_once: int = 2**20  # tokens or pixels in one forward pass of validation, on a rank

    def __post_init__(self) -> None:
        for name in (
            "log_every",
            "validate_every",
            "validation_batches",
            "checkpoint_every",
            "places_at_once",
        ):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1; got {getattr(self, name)}")
        if self.steps < 1 or self.batch_size < 1 or self.seed < 0:
            raise ValueError(
                "steps and batch_size must be at least 1 and seed not negative; got "
                f"{self.steps}, {self.batch_size} and {self.seed}"
            )


@dataclass(frozen=True, slots=True)
class RunConfig:
    """One run: the file it comes from, the variant, and every table of it."""

    path: Path
    variant: str
    settings: Settings
    optimizer: Optimizer
    model: dict[str, Any]
    data: dict[str, Any]
    evaluate: tuple[dict[str, Any], ...]
    tables: dict[str, Any]  # as read, the variant applied

    @property
    def name(self) -> str:
        """File and variant: `copying-mamba`."""
        return f"{self.path.stem}-{self.variant}" if self.variant else self.path.stem

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the tables, first 16 hex digits: comments and order do not count."""
        text = json.dumps(self.tables, sort_keys=True, ensure_ascii=False)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def where(self, table: str) -> str:
        """The place of a table in messages."""
        return f"{self.path}: {table}"

    def open_data(self, **changes: Any) -> Source:
        """The data set, with `changes` to its keys; `ValueError` for what it cannot read."""
        options = {**self.data, **changes}
        name, where = options.pop("name", None), self.where("data")
        if name in TASKS:
            return TaskSource(read(TASKS[name], options, where, {}), self.settings.seed)
        if name in FILES:
            opened: Source = read(FILES[name], options, where, {}).open(
                self.path.parent, self.settings.seed, where
            )
            return opened
        known = close_to(str(name), [*TASKS, *FILES])
        raise ValueError(f"{where}.name = {name!r}: no such data; {known}")


def variants(path: Path) -> list[str]:
    """Names of the variants that a config declares, in its order; none is fine."""
    return list(_table(read_toml(path), "variants", path))


def load_config(path: Path, variant: str = "") -> RunConfig:
    """The run that `path` and one of its variants describe; raises `ValueError` naming the key."""
    tables = read_toml(path)
    changes = _table(tables, "variants", path)
    tables.pop("variants", None)
    if variant and variant not in changes:
        known = close_to(variant, changes) if changes else "it declares none"
        raise ValueError(f"{path}: there is no variant {variant!r}; {known}")
    if variant:
        tables = _merge(tables, _table(changes, variant, path))
    evaluate = tables.get("evaluate", [])
    if not isinstance(evaluate, list) or not all(isinstance(entry, dict) for entry in evaluate):
        raise ValueError(f"{path}: evaluate must be tables headed [[evaluate]]; got {evaluate!r}")
    top = {key: value for key, value in tables.items() if key not in TABLES}
    cfg = RunConfig(
        path=path,
        variant=variant,
        settings=read(Settings, top, f"{path}: top", {}),
        optimizer=read(Optimizer, _table(tables, "optimizer", path), f"{path}: optimizer", {}),
        model=_table(tables, "model", path),
        data=_table(tables, "data", path),
        evaluate=tuple(evaluate),
        tables=tables,
    )
    for name in ("model", "data"):
        if name not in tables:
            raise ValueError(f"{path}: the table [{name}] is missing")
    return cfg


def _table(tables: Mapping[str, Any], key: str, path: Path) -> dict[str, Any]:
    value = tables.get(key, {})
    if not isinstance(value, dict):
        raise ValueError(f"{path}: {key} = {value!r}: it must be a table")
    return value


def _merge(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """`old` with the leaves of `new` put in; a new model name starts a new table."""
    merged = dict(old)
    for key, value in new.items():
        before = merged.get(key)
        if isinstance(value, dict) and isinstance(before, dict) and "name" not in value:
            value = _merge(before, value)
        merged[key] = value
    return merged
