"""What a run says while it goes: a line on the terminal, rows in a file, a plot of them."""

import json
import math
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any, TextIO

from ssm_ref.training.saving import write_atomically

Row = dict[str, Any]
METRICS = "metrics.jsonl"


def read_rows(path: Path) -> list[Row]:
    """The rows of a JSONL file; a last line that a kill cut short is left out."""
    if not path.is_file():
        return []
    lines = path.read_text(encoding="utf-8").split("\n")
    return [json.loads(line) for line in lines[:-1] if line]


class Metrics:
    """Rows appended to `metrics.jsonl` of a folder, from `step` on: later ones are dropped."""

    def __init__(self, folder: Path, step: int) -> None:
        self.path = folder / METRICS
        kept = [row for row in read_rows(self.path) if row["step"] <= step]
        text = "".join(json.dumps(row) + "\n" for row in kept)
        write_atomically(self.path, text.encode())

    def add(self, row: Row) -> None:
        """Append one row."""
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")

    @property
    def rows(self) -> list[Row]:
        """All rows so far."""
        return read_rows(self.path)


class Progress:
    """Loss, speed and time left: one line that rewrites itself on a terminal, else plain lines."""

    def __init__(self, steps: int, start: int, stream: TextIO | None = None) -> None:
        self.stream = sys.stderr if stream is None else stream
        self.steps, self.start = steps, start
        self.began = time.monotonic()
        self.width = 0

    def show(self, step: int, loss: float, places: int) -> None:
        """The state after `step`; `places` is what one step trains on."""
        spent = time.monotonic() - self.began
        rate = (step - self.start) / max(spent, 1e-9)
        left = duration((self.steps - step) / max(rate, 1e-9))
        text = (
            f"step {step}/{self.steps}  loss {loss:.4f}  {rate:.1f} steps/s  "
            f"{rate * places:,.0f} places/s  {left} left"
        )
        if self.stream.isatty():
            self.stream.write("\r" + text.ljust(self.width))
            self.width = len(text)
        else:
            self.stream.write(text + "\n")
        self.stream.flush()

    def say(self, text: str) -> None:
        """A line of its own."""
        gap = "\n" if self.width else ""
        self.width = 0
        self.stream.write(f"{gap}{text}\n")
        self.stream.flush()


def duration(seconds: float) -> str:
    """Seconds for a reader: `42 s`, `3 min 05 s`, `2 h 10 min`."""
    whole = math.ceil(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def plot(rows: Iterable[Row], path: Path, title: str) -> None:
    """Loss and validation accuracy against the step, as the SVG or PNG that `path` names.

    Raises `ValueError` without matplotlib.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ValueError("a plot needs matplotlib: pip install matplotlib") from error
    rows = list(rows)
    figure = Figure(figsize=(6.5, 3.2), layout="constrained")
    axes = figure.add_subplot(title=title, xlabel="step", ylabel="loss")
    for key, style in (("loss", {"alpha": 0.6}), ("validation_loss", {"marker": "."})):
        points = [(row["step"], row[key]) for row in rows if key in row]
        if points:
            axes.plot(*zip(*points, strict=True), label=key.replace("_", " "), **style)
    if any("loss" in row for row in rows):
        axes.set_yscale("log")
    accuracy = [(r["step"], r["validation_accuracy"]) for r in rows if "validation_accuracy" in r]
    if accuracy:
        right = axes.twinx()
        right.plot(*zip(*accuracy, strict=True), color="C2", label="validation accuracy")
        right.set(ylabel="accuracy", ylim=(0, 1.02))
    if axes.lines or accuracy:
        figure.legend(loc="outside lower center", ncols=3)
    figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)
