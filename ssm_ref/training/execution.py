"""How a run is carried out: what a machine needs, and what changes no number of it but rounding.

None of this belongs to the config, so a checkpoint made one way goes on in any other.
"""

import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Generic, TypeVar

from torch import nn

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True, slots=True)
class Execution:
    """Ranks, threads, time and operators."""

    sequence_ranks: int = 1  # ranks that share one sequence; the rest share the rows of a batch
    sharded: bool = False  # parameters, gradients and moments shared out over all ranks (FSDP2)
    captured: bool = False  # a step as one CUDA graph, launched whole
    answers_only: bool = False  # a language model's head only where an answer is wanted
    workers: int = 0  # threads that draw batches ahead of their step
    seconds: float | None = None  # training stops after so many, as after its last step
    prepare: Callable[[nn.Module], nn.Module] | None = None  # such as ssm_kernels' `accelerate`

    def __post_init__(self) -> None:
        if self.workers < 0 or (self.seconds is not None and self.seconds <= 0):
            raise ValueError(
                "workers must not be negative and seconds must be positive; got "
                f"{self.workers} and {self.seconds}"
            )


class Ahead(Generic[T]):
    """Values of `draw(step)`, computed ahead of their step by threads."""

    def __init__(self, draw: Callable[[int], T], workers: int) -> None:
        self.draw, self.depth = draw, 2 * workers
        self.pool = ThreadPoolExecutor(workers) if workers else None
        self.drawn: dict[int, Future[T]] = {}

    def take(self, step: int) -> T:
        """The value of `step`; steps are taken in their order."""
        if self.pool is None:
            return self.draw(step)
        for later in range(step, step + self.depth):
            if later not in self.drawn:
                self.drawn[later] = self.pool.submit(self.draw, later)
        return self.drawn.pop(step).result()

    def stop(self) -> None:
        """Draw no more."""
        if self.pool is not None:
            self.pool.shutdown(wait=False, cancel_futures=True)


@contextmanager
def signals_noted() -> Iterator[list[int]]:
    """The signals that asked to stop, SIGINT or SIGTERM, kept for the end of a step.

    A second one stops at once, by `KeyboardInterrupt`.
    """
    noted: list[int] = []

    def note(number: int, _: object) -> None:
        if noted:
            raise KeyboardInterrupt(number)
        noted.append(number)

    if threading.current_thread() is not threading.main_thread():  # only that one may listen
        yield noted
        return
    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield noted
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
