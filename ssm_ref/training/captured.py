"""A training step recorded once as a CUDA graph, then launched whole.

A step of a small model is hundreds of kernels of a few microseconds each, and launching them one by
one takes longer than running them. A graph repeats the recorded kernels on the recorded memory, so
inputs are copied into it and shapes may not change.
"""

from collections.abc import Callable

import torch
from torch import Tensor

WARM_UP = 3  # steps before the recording: they tune kernels and allocate the moments

Step = Callable[..., Tensor]


class CapturedStep:
    """`step` on operands of fixed shapes; all its work must be on one CUDA device."""

    def __init__(self, step: Step) -> None:
        self.step = step
        self.left = WARM_UP
        self.stream = torch.cuda.Stream()
        self.graph: torch.cuda.CUDAGraph | None = None
        self.given: tuple[Tensor, ...] = ()
        self.result = torch.empty(0)

    def __call__(self, *operands: Tensor) -> Tensor:
        """The step's result for these operands; raises `ValueError` when a shape has changed."""
        if self.left:
            self.left -= 1
            return self._aside(operands)
        if self.graph is None:
            self._capture(operands)
        if [t.shape for t in operands] != [t.shape for t in self.given]:
            wanted, got = ([tuple(t.shape) for t in ts] for ts in (self.given, operands))
            raise ValueError(f"a captured step takes shapes {wanted}; got {got}")
        for own, new in zip(self.given, operands, strict=True):
            own.copy_(new, non_blocking=True)
        assert self.graph is not None
        self.graph.replay()
        return self.result.clone()

    def _aside(self, operands: tuple[Tensor, ...]) -> Tensor:
        """The step on the stream that will record it."""
        current = torch.cuda.current_stream()
        self.stream.wait_stream(current)
        with torch.cuda.stream(self.stream):
            result = self.step(*operands)
        current.wait_stream(self.stream)
        return result

    def _capture(self, operands: tuple[Tensor, ...]) -> None:
        self.given = tuple(t.clone() for t in operands)
        self.graph = torch.cuda.CUDAGraph()
        torch.cuda.synchronize()
        # "thread_local": threads that draw batches ahead may pin their memory meanwhile.
        mode = "thread_local"
        with torch.cuda.graph(self.graph, stream=self.stream, capture_error_mode=mode):
            self.result = self.step(*self.given)
