"""A compiled kernel as a function of CUDA's driver, launched by `ctypes`.

Triton builds a launcher in C for every signature of a kernel: a run of the C compiler in the first
call, and in every later one hooks, dictionaries and a question to the driver about each pointer.
`Function` hands the driver what it wants: a buffer with the arguments, at the offsets that the
driver itself states for the compiled code.
"""

import ctypes
import functools
import struct
import threading
from collections.abc import Sequence
from operator import itemgetter
from typing import Any

from triton.runtime import driver

# How Triton's types lie in memory; a kernel with another is launched by Triton.
FORMATS = {
    "i8": "b", "i16": "h", "i32": "i", "i64": "q", "u64": "Q", "fp32": "f", "fp64": "d",
}  # fmt: skip
POINTER = "P"
SCRATCH = 2  # pointers that Triton adds to every kernel; null where it asks for no memory
LOST_CONTEXT = 201  # CUDA_ERROR_INVALID_CONTEXT: this thread has not used the device yet
FLOAT32_MAX = 3.4028234663852886e38


class Function:
    """One kernel on one device: `launch(grid, stream, values)`, of which pointers are integers.

    `values` are all arguments of the kernel by position up to the last that is no constant; those
    that Triton compiled in are passed over.
    """

    def __init__(self, handle: int, formats: Sequence[str | None], threads: int, shared: int):
        passed = [i for i, form in enumerate(formats) if form is not None]
        kinds = [form for form in formats if form is not None]
        self.pick = itemgetter(*passed) if len(passed) > 1 else lambda v: [v[i] for i in passed]
        layout = struct.Struct("@" + "".join(kinds) + POINTER * SCRATCH)
        self.offsets = offsets_of(kinds + [POINTER] * SCRATCH)
        self.pack_into = layout.pack_into
        self.buffer = ctypes.create_string_buffer(layout.size)
        start = ctypes.addressof(self.buffer)
        self.pointers = (ctypes.c_void_p * len(self.offsets))(*(start + o for o in self.offsets))
        self.address = ctypes.addressof(self.pointers)
        self.handle, self.threads, self.shared = handle, threads, shared
        self.lock = threading.Lock()  # of the buffer
        self.call = cuda().cuLaunchKernel

    def launch(self, grid: tuple[int, ...], stream: int, values: Sequence[Any]) -> bool:
        """Whether the device took it; False where this thread has no context yet."""
        x, y, z = (*grid, 1, 1)[:3]
        if x * y * z == 0:
            return True
        with self.lock:
            self.pack_into(self.buffer, 0, *self.pick(values), 0, 0)
            code = self.call(
                self.handle, x, y, z, self.threads, 1, 1, self.shared, stream, self.address, None
            )
        if code and code != LOST_CONTEXT:
            raise RuntimeError(f"CUDA refused a launch over {grid}: {message(code)}")
        return not code


def load(compiled: Any, count: int, device: int) -> Function | None:
    """`compiled` on `device`, as a function of its first `count` arguments.

    None where only Triton can launch it: another backend than CUDA, clusters or other attributes of
    a launch, scratch memory, a type not in FORMATS, more shared memory than there is, or code whose
    parameters lie otherwise than is said here.
    """
    formats = formats_of(compiled, count)
    if formats is None:
        return None
    utils, metadata = driver.active.utils, compiled.metadata
    if metadata.shared > utils.get_device_properties(device)["max_shared_mem"]:
        return None
    _, handle, _, _, most = utils.load_binary(
        compiled.name, compiled.kernel, metadata.shared, device
    )
    threads = 32 * metadata.num_warps
    found = Function(handle, formats, threads, metadata.shared)
    return found if threads <= most and found.offsets == stated_offsets(handle) else None


def formats_of(compiled: Any, count: int) -> list[str | None] | None:
    """Of every argument how it is packed, None for one that is compiled in; or None in all."""
    metadata = compiled.metadata
    special = ("launch_cooperative_grid", "launch_pdl", "global_scratch_size",
               "profile_scratch_size", "tensordesc_meta")  # fmt: skip
    if metadata.target.backend != "cuda" or metadata.num_ctas != 1:
        return None
    if any(getattr(metadata, name, None) for name in special):
        return None
    types = list(compiled.src.signature.values())[:count]
    formats: list[str | None] = []
    for one in types:
        if not isinstance(one, str) or not (one[0] == "*" or one in FORMATS or one == "constexpr"):
            return None
        formats.append(POINTER if one[0] == "*" else FORMATS.get(one))
    return formats


def offsets_of(kinds: Sequence[str]) -> list[int]:
    """Where C puts members of these kinds, one after another."""
    sizes = [struct.calcsize("@" + "".join(kinds[: i + 1])) for i in range(len(kinds))]
    return [end - struct.calcsize(kind) for end, kind in zip(sizes, kinds, strict=True)]


def stated_offsets(handle: int) -> list[int] | None:
    """Where the compiled code looks for its parameters; None if the driver cannot tell."""
    ask = getattr(cuda(), "cuFuncGetParamInfo", None)  # since CUDA 12.4
    if ask is None:
        return None
    offset, size = ctypes.c_size_t(), ctypes.c_size_t()
    found: list[int] = []
    while ask(
        ctypes.c_void_p(handle), ctypes.c_size_t(len(found)),
        ctypes.byref(offset), ctypes.byref(size),
    ) == 0:  # fmt: skip
        found.append(offset.value)
    return found


def as_float32(x: float) -> float:
    """x as C converts it: infinite where it is too large, which `struct` refuses."""
    return x if -FLOAT32_MAX <= x <= FLOAT32_MAX else ctypes.c_float(x).value


@functools.cache
def cuda() -> Any:
    """CUDA's driver."""
    library = ctypes.CDLL("libcuda.so.1")
    number, pointer = ctypes.c_uint, ctypes.c_void_p
    library.cuLaunchKernel.argtypes = [
        pointer, *[number] * 7, pointer, pointer, pointer,
    ]  # fmt: skip
    return library


def message(code: int) -> str:
    """What CUDA calls an error."""
    text = ctypes.c_char_p()
    cuda().cuGetErrorString(code, ctypes.byref(text))
    return (text.value or b"unknown error").decode() + f" ({code})"
