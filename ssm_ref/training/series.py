"""Real time series that ship in packages: four to forecast (statsmodels), others to tell apart.

Forecasting follows the long-term benchmarks: the end of a series is held out, all of it is brought
to mean 0 and deviation 1 by its beginning, and an error is that of one such number.
"""

import hashlib
import importlib.util
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from ssm_ref.training.batch import Batch, generator
from ssm_ref.training.labelled import LabelledSource

SETS = ("sunspots", "co2", "elnino", "macrodata")
LEVELS = ("realgdp", "realcons", "realinv", "realgovt", "realdpi", "cpi", "m1", "pop")
RATES = ("tbilrate", "unemp", "infl", "realint")


def load_series(name: str) -> Tensor:
    """A series of statsmodels as (steps, variates), float64; `ValueError` without the package.

    sunspots: yearly. co2: monthly means at Mauna Loa, gaps filled by lines. elnino: monthly
    temperatures of the sea. macrodata: quarters of the United States, logarithms of eight levels
    and four rates.
    """
    if name not in SETS:
        raise ValueError(f"no series {name!r}; choose one of {', '.join(SETS)}")
    try:
        from statsmodels import datasets
    except ImportError as error:
        raise ValueError("these series need statsmodels: pip install statsmodels") from error
    frame: Any = getattr(datasets, name).load_pandas().data
    match name:
        case "sunspots":
            values = frame["SUNACTIVITY"].to_numpy()
        case "co2":
            values = frame["co2"].resample("MS").mean().interpolate().to_numpy()
        case "elnino":
            values = frame.drop(columns="YEAR").to_numpy().reshape(-1)
        case _:
            levels = torch.tensor(frame[list(LEVELS)].to_numpy(), dtype=torch.float64).log()
            rates = torch.tensor(frame[list(RATES)].to_numpy(), dtype=torch.float64)
            return torch.cat([levels, rates], dim=1)
    return torch.tensor(values.copy(), dtype=torch.float64)[:, None]


@dataclass(frozen=True, kw_only=True, slots=True)
class Forecast:
    """Windows of `lookback` steps of a series and the `horizon` steps that follow them."""

    series: Literal["sunspots", "co2", "elnino", "macrodata"]
    lookback: int
    horizon: int
    held_out: float = 0.25

    def __post_init__(self) -> None:
        if self.lookback < 2 or self.horizon < 1 or not 0 < self.held_out < 1:
            raise ValueError(
                "lookback ≥ 2, horizon ≥ 1 and 0 < held_out < 1 are wanted; got "
                f"{self.lookback}, {self.horizon}, {self.held_out}"
            )

    def open(self, folder: Path, seed: int, where: str) -> "ForecastSource":
        """The series; `ValueError` if it is too short or statsmodels is not there."""
        try:
            values = load_series(self.series)
        except ValueError as error:
            raise ValueError(f"{where}: {error}") from error
        cut = math.floor(len(values) * (1 - self.held_out))
        least = self.lookback + self.horizon
        if cut < least or len(values) - cut < self.horizon:
            raise ValueError(
                f"{where}: {self.series} has {cut} steps for training and {len(values) - cut} held "
                f"out; lookback + horizon = {least} and horizon = {self.horizon} have to fit"
            )
        past = values[:cut]
        standard = (values - past.mean(dim=0)) / past.std(dim=0, unbiased=False)
        return ForecastSource(self, standard.float(), cut, seed)


@dataclass(frozen=True, slots=True)
class ForecastSource:
    """Windows anywhere before the cut for training; all that forecast beyond it for validation."""

    task: Forecast
    values: Tensor  # steps variates
    cut: int
    seed: int

    @property
    def sizes(self) -> dict[str, Any]:
        """What a forecaster reads and answers."""
        return {
            "lookback": self.task.lookback,
            "horizon": self.task.horizon,
            "variates": self.values.shape[1],
        }

    @property
    def fingerprint(self) -> str:
        """A hash of the series."""
        return hashlib.sha256(self.values.numpy().tobytes()).hexdigest()[:16]

    def training(self, step: int, size: int) -> Batch:
        """Windows at random places, window and forecast both before the cut."""
        places = self.cut - self.task.lookback - self.task.horizon + 1
        return self._windows(
            torch.randint(places, (size,), generator=generator(self.seed, 0, step))
        )

    def validation(self, count: int, size: int) -> Iterator[Batch]:
        """Every window whose whole forecast lies behind the cut, or as many spread evenly."""
        first = self.cut - self.task.lookback
        last = len(self.values) - self.task.lookback - self.task.horizon
        starts = torch.arange(first, last + 1)
        spread = torch.linspace(0, len(starts) - 1, min(len(starts), count * size)).round().long()
        for part in starts[spread].split(size):
            yield self._windows(part)

    def _windows(self, starts: Tensor) -> Batch:
        lookback, horizon = self.task.lookback, self.task.horizon
        rows = self.values[starts[:, None] + torch.arange(lookback + horizon)]
        return Batch(rows[:, :lookback], rows[:, lookback:])


@dataclass(frozen=True, kw_only=True, slots=True)
class ClassifiedSeries:
    """A set of the UEA and UCR archives in its published split: NAME_TRAIN.ts and NAME_TEST.ts.

    `folder` holds the folder NAME, from the folder of the config; without it the sets that ship in
    the package aeon are read.
    """

    series: str = "JapaneseVowels"
    folder: str | None = None

    def open(self, folder: Path, seed: int, where: str) -> LabelledSource:
        """Both files, channels at mean 0 and deviation 1; `ValueError` for what is missing."""
        home = (folder / self.folder if self.folder else _aeon(where)) / self.series
        parts = [_read_ts(home / f"{self.series}_{part}.ts", where) for part in ("TRAIN", "TEST")]
        names = sorted({label for _, labels in parts for label in labels})
        series = [one for rows, _ in parts for one in rows]
        if len({one.shape[1] for one in series}) > 1:
            raise ValueError(f"{where}: series of {self.series} have different channels")
        labels = torch.tensor([names.index(label) for _, given in parts for label in given])
        kept = torch.arange(len(parts[0][0]))
        steps = torch.cat([series[i] for i in kept])
        mean, deviation = steps.mean(dim=0), steps.std(dim=0, unbiased=False).clamp_min(1e-8)
        length = max(len(one) for one in series)
        inputs = torch.full((len(series), length, steps.shape[1]), torch.nan)
        for row, one in zip(inputs, series, strict=True):
            row[: len(one)] = (one - mean) / deviation
        held = torch.arange(len(kept), len(series))
        sizes = {"channels": steps.shape[1], "n_classes": len(names)}
        return LabelledSource(self, inputs, labels, kept, held, sizes, seed)


def _aeon(where: str) -> Path:
    found = importlib.util.find_spec("aeon")
    if found is None or not found.submodule_search_locations:
        raise ValueError(
            f"{where}: these series ship in the package aeon: pip install --no-deps aeon, "
            "or give their folder"
        )
    return Path(found.submodule_search_locations[0]) / "datasets" / "data"


def _read_ts(path: Path, where: str) -> tuple[list[Tensor], list[str]]:
    """Series (length, channels) and labels of a .ts file: channels between colons, label last."""
    if not path.is_file():
        raise ValueError(f"{where}: there is no {path}")
    text = path.read_text(encoding="utf-8").partition("@data")[2]
    series, labels = [], []
    for line in filter(None, map(str.strip, text.splitlines())):
        *channels, label = line.split(":")
        numbers = [[float(value) for value in channel.split(",")] for channel in channels]
        if not numbers or len({len(channel) for channel in numbers}) > 1:
            raise ValueError(f"{where}: {path} holds a series whose channels differ in length")
        series.append(torch.tensor(numbers).T)
        labels.append(label)
    if not series:
        raise ValueError(f"{where}: {path} holds no series behind @data")
    return series, labels
