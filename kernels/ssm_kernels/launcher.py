"""Launches that ask Triton once for every kind of call.

Triton works out anew at every launch which of its compiled kernels fits the arguments, which costs
more than the launch itself. `kept(kernel)[grid](...)` does the same once, keeps the answer, and
launches it as a `Function` of CUDA's driver.
"""

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import triton
from torch import Tensor
from torch.nn import Parameter
from triton import knobs
from triton.runtime import driver

from ssm_kernels import function


def kept(kernel: Any) -> Any:
    """`kernel`, called as before: by position up to the last argument that is no constant of the
    compiler, and by name after it.

    Interpreted and autotuned kernels are returned as they are.
    """
    return Launcher(kernel) if isinstance(kernel, triton.JITFunction) else kernel


class Launcher:
    """A jitted kernel, and what it was compiled to for every kind of call so far.

    A kind is the device, Triton's switches for debugging, constants and options, and of every
    argument what Triton compiles for. What has hooks around a launch or before a run is left to
    Triton, and so are AMD's devices, whose code also depends on the size of tensors. Unlike Triton,
    a kept launch does not look whether a global constant was changed.
    """

    def __init__(self, kernel: Any) -> None:
        self.kernel = kernel
        constant = [p.is_constexpr for p in kernel.params]
        self.count = 1 + max(i for i, fixed in enumerate(constant) if not fixed)
        self.between = [i for i in range(self.count) if constant[i]]
        self.compiled: dict[tuple[Any, ...], function.Function | None] = {}

    def __getitem__(self, grid: tuple[int, ...]) -> Callable[..., None]:
        return partial(self.launch, grid)

    def launch(self, grid: tuple[int, ...], /, *args: Any, **constants: Any) -> None:
        """One launch over `grid`."""
        active, runtime = driver.active, knobs.runtime
        device = active.get_current_device()
        kinds, values = described(args)
        key = (
            device, runtime.debug, knobs.compilation.instrumentation_mode,
            *constants, *constants.values(), *kinds, *[args[i] for i in self.between],
        )  # fmt: skip
        if self._is_watched(runtime):
            self.kernel[grid](*args, **constants)
            return
        if key in self.compiled:
            found = self.compiled[key]
        else:
            found = self.compiled[key] = self._load(grid, args, constants, device)
        stream = active.get_current_stream(device)
        if found is None or not found.launch(grid, stream, values):
            # What is no function, and threads without a context, which Triton gives them.
            self.kernel[grid](*args, **constants)

    def _load(
        self, grid: tuple[int, ...], args: tuple[Any, ...], constants: dict[str, Any], device: int
    ) -> function.Function | None:
        assert len(args) == self.count, f"{self.count} arguments come by position, not {len(args)}"
        compiled = self.kernel.warmup(*args, grid=grid, **constants)
        return None if compiled is None else function.load(compiled, self.count, device)

    def _is_watched(self, runtime: Any) -> bool:
        """Whether somebody hooked on to launches, as a chain of calls or as one."""
        hooks = runtime.launch_enter_hook, runtime.launch_exit_hook
        return bool(self.kernel.pre_run_hooks) or any(
            getattr(hook, "calls", hook) for hook in hooks
        )


def described(args: Iterable[Any]) -> tuple[list[object], list[Any]]:
    """What Triton compiles for, and what is handed to the device, for every argument.

    The first is the dtype and alignment of a tensor, the class of an int, else the type: an int
    stands for itself where it is 1 (a constant to Triton) or wider than 32 bits, otherwise 16 or 2
    for those that 16 divides, or not. The second is a tensor's address.
    """
    kinds: list[object] = []
    values: list[Any] = []
    for a in args:
        type_ = type(a)
        if type_ is Tensor or type_ is Parameter or isinstance(a, Tensor):
            address = a.data_ptr()
            kinds.append(a.dtype if address % 16 == 0 else (a.dtype,))
            values.append(address)
        elif type_ is int:
            kinds.append(a if a == 1 or a.bit_length() > 31 else 2 if a % 16 else 16)
            values.append(a)
        else:
            kinds.append(type_)
            values.append(function.as_float32(a) if type_ is float else a)
    return kinds, values
