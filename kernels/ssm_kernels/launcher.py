"""Launches that ask Triton once for every kind of call.

Triton works out anew at every launch which of its compiled kernels fits the arguments, which costs
more than the launch itself. `kept(kernel)[grid](...)` does the same once and keeps the answer.
"""

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import triton
from torch import Tensor
from torch.nn import Parameter
from triton import knobs
from triton.runtime import driver


def kept(kernel: Any) -> Any:
    """`kernel`, called as before: by position up to the last argument that is no constant of the
    compiler, and by name after it.

    Interpreted and autotuned kernels are returned as they are.
    """
    return Launcher(kernel) if isinstance(kernel, triton.JITFunction) else kernel


class Launcher:
    """A jitted kernel, and what it was compiled to for every kind of call so far.

    A kind is the device, Triton's switches for debugging, constants and options, and of every
    argument what Triton compiles for. Hooks around a launch run as ever; kernels with a hook before
    every run are left to Triton, and so are AMD's devices, whose code also depends on the size of
    tensors. Unlike Triton, a kept launch does not look whether a global constant was changed.
    """

    def __init__(self, kernel: Any) -> None:
        self.kernel = kernel
        constant = [p.is_constexpr for p in kernel.params]
        self.count = 1 + max(i for i, fixed in enumerate(constant) if not fixed)
        self.between = [i for i in range(self.count) if constant[i]]
        self.compiled: dict[tuple[Any, ...], tuple[Any, list[Any]]] = {}

    def __getitem__(self, grid: tuple[int, ...]) -> Callable[..., None]:
        return partial(self.launch, grid)

    def launch(self, grid: tuple[int, ...], /, *args: Any, **constants: Any) -> None:
        """One launch over `grid`."""
        device = driver.active.get_current_device()
        switches = knobs.runtime.debug, knobs.compilation.instrumentation_mode
        between = [args[i] for i in self.between]
        key = (device, switches, *constants, *constants.values(), *kinds(args), *between)
        found = self.compiled.get(key)
        if found is None or self.kernel.pre_run_hooks:
            compiled = self.kernel[grid](*args, **constants)
            if compiled is not None and compiled.metadata.target.backend == "cuda":
                self.compiled[key] = compiled, self._rest(args, constants)
            return
        compiled, rest = found
        stream = driver.active.get_current_stream(device)
        compiled[(*grid, 1, 1)[:3]](*args, *rest, stream=stream)

    def _rest(self, args: tuple[Any, ...], constants: dict[str, Any]) -> list[Any]:
        """The constants after the arguments, in the order of the kernel's signature."""
        assert len(args) == self.count, f"{self.count} arguments come by position, not {len(args)}"
        return [constants[p.name] for p in self.kernel.params[self.count :]]


def kinds(args: Iterable[Any]) -> list[object]:
    """What Triton compiles for: dtype and alignment of a tensor, class of an int, else the type.

    An int stands for itself where it is 1 (a constant to Triton) or wider than 32 bits, otherwise
    16 or 2 for those that 16 divides, or not.
    """
    found: list[object] = []
    for a in args:
        type_ = type(a)
        if type_ is Tensor or type_ is Parameter or isinstance(a, Tensor):
            found.append(a.dtype if a.data_ptr() % 16 == 0 else (a.dtype,))
        elif type_ is int:
            found.append(a if a == 1 or a.bit_length() > 31 else 2 if a % 16 else 16)
        else:
            found.append(type_)
    return found
