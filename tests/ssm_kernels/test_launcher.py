"""Kept launches: they ask Triton again wherever Triton itself would compile anew."""

import ctypes
import itertools
import math
import struct
import threading
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import triton
import triton.language as tl
from torch import Tensor
from triton.backends.compiler import GPUTarget

from ssm_kernels import function, launcher
from ssm_kernels.launcher import Launcher, described, kept

LARGE = 2**31


@triton.jit
def scale_kernel(x_ptr, y_ptr, size, by, BLOCK: tl.constexpr, TWICE: tl.constexpr):
    """y = by · x, or twice that, for `size` values in blocks of BLOCK."""
    o = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    b_x = tl.load(x_ptr + o, mask=o < size, other=0.0).to(tl.float32) * by
    if TWICE:
        b_x = 2 * b_x
    tl.store(y_ptr + o, b_x.to(y_ptr.dtype.element_ty), mask=o < size)


class Stub:
    """A kernel f(x, T, n, A, B), constants in capitals, and what it is compiled to, in one."""

    def __init__(self) -> None:
        self.params = [SimpleNamespace(name=n, is_constexpr=n.isupper()) for n in "xTnAB"]
        self.pre_run_hooks: list[Any] = []
        self.compiled: list[tuple[Any, ...]] = []
        self.by_triton: list[tuple[Any, ...]] = []
        self.direct: list[tuple[Any, ...]] = []
        self.loads, self.has_context = True, True

    def warmup(self, *args: Any, grid: tuple[int, ...], **constants: Any) -> Any:
        self.compiled.append((args, constants))
        return self

    def __getitem__(self, grid: tuple[int, ...]) -> Any:
        return lambda *args, **constants: self.by_triton.append((grid, args, constants))

    def launch(self, grid: tuple[int, ...], stream: str, values: list[Any]) -> bool:
        self.direct.append((grid, stream, values))
        return self.has_context


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A driver whose current device can be set, and stubs as functions of it."""
    current = SimpleNamespace(index=0)
    active = SimpleNamespace(
        get_current_device=lambda: current.index,
        get_current_stream=lambda index: f"stream of {index}",
    )
    monkeypatch.setattr(launcher, "driver", SimpleNamespace(active=active))
    monkeypatch.setattr(function, "load", lambda stub, count, index: stub if stub.loads else None)
    return current


def test_every_kind_is_compiled_once(device: SimpleNamespace) -> None:
    stub, x = Stub(), torch.zeros(64)
    launch = Launcher(stub)
    launch[(3,)](x, 8, 5, B=7, A=6, num_warps=2)
    launch[(4, 2)](x, 8, 9, B=7, A=6, num_warps=2)
    assert stub.compiled == [((x, 8, 5), {"B": 7, "A": 6, "num_warps": 2})]
    assert stub.direct == [
        ((3,), "stream of 0", [x.data_ptr(), 8, 5]),
        ((4, 2), "stream of 0", [x.data_ptr(), 8, 9]),
    ]
    assert not stub.by_triton


@pytest.mark.parametrize("change", [
    {"x": torch.zeros(65)[1:]},
    {"x": torch.zeros(64, dtype=torch.float16)},
    {"x": torch.zeros(65, dtype=torch.float16)[1:]},
    {"x": None},
    {"T": 24},
    {"n": 1},
    {"n": 32},
    {"n": LARGE},
    {"n": 5.0},
    {"n": True},
    {"A": 8},
    {"B": 6, "A": 7},
    {"num_warps": 4},
    {"num_stages": 2},
], ids=str)  # fmt: skip
def test_another_kind_is_asked_for(device: SimpleNamespace, change: dict[str, Any]) -> None:
    stub = Stub()
    launch = Launcher(stub)
    first = {"x": torch.zeros(64), "T": 8, "n": 5, "A": 6, "B": 7, "num_warps": 2}
    for call in (first, first | change, first, first | change):
        positional = [call[name] for name in "xTn"]
        launch[(1,)](*positional, **{k: v for k, v in call.items() if k not in "xTn"})
    assert len(stub.compiled) == len(launch.compiled) == 2
    assert len(stub.direct) == 4
    last = first | change
    address = None if last["x"] is None else last["x"].data_ptr()
    assert stub.direct[3][2] == [address, last["T"], last["n"]]


def test_devices_and_switches_are_kinds(
    device: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    stub, x = Stub(), torch.zeros(64)
    launch = Launcher(stub)
    launch[(1,)](x, 8, 5, A=6, B=7)
    device.index = 1
    launch[(1,)](x, 8, 5, A=6, B=7)
    launch[(1,)](x, 8, 5, A=6, B=7)
    assert stub.direct[-1][1] == "stream of 1"
    with triton.knobs.runtime.scope():
        triton.knobs.runtime.debug = True
        launch[(1,)](x, 8, 5, A=6, B=7)
    assert len(stub.compiled) == 3


def test_what_is_left_to_triton(device: SimpleNamespace) -> None:
    """Kernels that cannot be loaded, that have hooks, and threads that have no context."""
    x = torch.zeros(64)
    for change in ({"loads": False}, {"has_context": False}, {"pre_run_hooks": [print]}):
        stub = Stub()
        for name, value in change.items():
            setattr(stub, name, value)
        launch = Launcher(stub)
        for _ in range(2):
            launch[(1,)](x, 8, 5, A=6, B=7)
        assert stub.by_triton == [((1,), (x, 8, 5), {"A": 6, "B": 7})] * 2
        assert len(stub.compiled) == (name != "pre_run_hooks")
    stub = Stub()
    launch = Launcher(stub)
    entered = triton.knobs.runtime.launch_enter_hook
    entered.add(print)
    try:
        launch[(1,)](x, 8, 5, A=6, B=7)
    finally:
        entered.remove(print)
    launch[(1,)](x, 8, 5, A=6, B=7)
    assert len(stub.by_triton) == len(stub.direct) == 1
    with pytest.raises(AssertionError, match="3 arguments come by position, not 4"):
        Launcher(Stub())[(1,)](x, 8, 5, 6, B=7)


class Driver:
    """CUDA's driver, which notes what it is given to launch."""

    def __init__(self, offsets: list[int], code: int = 0) -> None:
        self.offsets, self.code, self.size = offsets, code, 0
        self.launches: list[tuple[Any, ...]] = []
        self.read: list[bytes] = []

    def cuLaunchKernel(self, *args: Any) -> int:
        pointers = (ctypes.c_void_p * len(self.offsets)).from_address(args[9])
        start = pointers[0]
        assert [p - start for p in pointers] == self.offsets
        self.read.append(ctypes.string_at(start, self.size))
        self.launches.append(args)
        return self.code

    def cuFuncGetParamInfo(self, handle: Any, i: Any, offset: Any, size: Any) -> int:
        if i.value == len(self.offsets):
            return 1
        offset._obj.value = self.offsets[i.value]
        return 0

    def cuGetErrorString(self, code: int, text: Any) -> int:
        text._obj.value = b"out of luck"
        return 0


OFFSETS = [0, 8, 12, 16, 24, 32]  # a pointer, an int, a float, a long, and two for scratch


def compiled(**changes: Any) -> SimpleNamespace:
    """f(x, n, T, by, none, m), of which T is a constant and the argument none is None."""
    metadata = SimpleNamespace(
        target=SimpleNamespace(backend="cuda"), num_ctas=1, num_warps=4, shared=1024,
        global_scratch_size=0, profile_scratch_size=0,
    )  # fmt: skip
    types = ["*bf16", "i32", "constexpr", "fp32", "constexpr", "i64", "constexpr"]
    signature = dict(zip("xnTbymA", types, strict=True))
    for name, value in changes.items():
        if name == "type":
            signature["n"] = value
        else:
            setattr(metadata, name, value)
    return SimpleNamespace(
        metadata=metadata, src=SimpleNamespace(signature=signature), name="f", kernel=b"code"
    )


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> Driver:
    """A driver of which compiled kernels can become functions."""
    driver = Driver(OFFSETS)
    driver.size = 40
    monkeypatch.setattr(function, "cuda", lambda: driver)
    utils = SimpleNamespace(
        get_device_properties=lambda index: {"max_shared_mem": 2048},
        load_binary=lambda name, code, shared, index: (1, 77, 32, 0, 1024),
    )
    monkeypatch.setattr(function, "driver", SimpleNamespace(active=SimpleNamespace(utils=utils)))
    return driver


def test_a_function_lays_arguments_where_the_code_looks(loads: Driver) -> None:
    found = function.load(compiled(), 6, 0)
    assert found is not None
    assert found.launch((5, 2), 9, [1 << 40, -3, 64, 0.5, None, 1 << 35])
    (launch,) = loads.launches
    assert launch[:9] == (77, 5, 2, 1, 128, 1, 1, 1024, 9)
    assert launch[10] is None
    assert struct.unpack("@Qifqqq", loads.read[0]) == (1 << 40, -3, 0.5, 1 << 35, 0, 0)
    assert found.launch((0, 2), 9, [0] * 6)
    assert len(loads.launches) == 1


def test_a_refused_launch_is_an_error_and_a_lost_context_is_not(loads: Driver) -> None:
    found = function.load(compiled(), 6, 0)
    assert found is not None
    loads.code = function.LOST_CONTEXT
    assert not found.launch((1,), 0, [0, 0, 0, 0.0, None, 0])
    loads.code = 2
    with pytest.raises(RuntimeError, match=r"launch over \(1,\): out of luck \(2\)"):
        found.launch((1,), 0, [0, 0, 0, 0.0, None, 0])


@pytest.mark.parametrize("change", [
    {"target": SimpleNamespace(backend="hip")}, {"num_ctas": 2}, {"launch_pdl": True},
    {"global_scratch_size": 8}, {"shared": 4096}, {"num_warps": 64}, {"type": "u1"},
    {"type": ("i32", "i32")},
], ids=str)  # fmt: skip
def test_what_is_no_function(loads: Driver, change: dict[str, Any]) -> None:
    assert function.load(compiled(**change), 6, 0) is None


def test_other_offsets_are_no_function(loads: Driver, monkeypatch: pytest.MonkeyPatch) -> None:
    for offsets in ([0, 8, 16, 24, 32, 40], OFFSETS[:5], [*OFFSETS, 40]):
        loads.offsets = offsets
        assert function.load(compiled(), 6, 0) is None
    monkeypatch.setattr(function, "cuda", lambda: SimpleNamespace(cuLaunchKernel=print))
    assert function.load(compiled(), 6, 0) is None


def test_floats_are_rounded_as_in_c() -> None:
    for x in (0.1, math.inf, -math.inf, 1e300, -1e300, 3.4028235e38):
        assert struct.pack("f", function.as_float32(x)) == bytes(ctypes.c_float(x))
    assert math.isnan(function.as_float32(math.nan))


def test_interpreted_and_tuned_kernels_stay_as_they_are() -> None:
    tuned = triton.autotune(configs=[triton.Config({"BLOCK": 64})], key=[])(scale_kernel)
    assert kept(tuned) is tuned
    interpreted = not isinstance(scale_kernel, triton.JITFunction)
    assert (kept(scale_kernel) is scale_kernel) == interpreted


def test_kinds_tell_apart_what_triton_tells_apart() -> None:
    """Two arguments of one kind have one specialization in Triton, and not all are one kind."""
    from triton._C.libtriton import native_specialize_impl
    from triton.compiler import make_backend

    backend = make_backend(GPUTarget("cuda", 90, 32))
    sizes = [0, 1, 2, 7, 16, 24, 48, -1, -16, LARGE - 1, LARGE, LARGE + 16, -LARGE, 2**40, 2**63]
    rows = torch.zeros(4, 65)
    tensors: list[Tensor] = [
        rows.to(dtype).flatten()[start:]
        for dtype in (torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.bool)
        for start in (0, 1, 16, 65)
    ]
    values = [
        *sizes, *tensors, torch.nn.Parameter(rows), None, True, False, 1.0, math.nan, math.inf,
    ]  # fmt: skip
    asked = [
        (described([v])[0][0], native_specialize_impl(backend, v, False, True, True))
        for v in values
    ]
    for (ours, triton_s), (other, other_s) in itertools.combinations(asked, 2):
        assert ours != other or triton_s == other_s
    assert described([rows, 7, 1.0])[0] == described([rows[:, :3].clone(), 9, math.nan])[0]


@pytest.mark.gpu
def test_on_the_device_every_kind_is_right() -> None:
    launch = kept(scale_kernel)
    entered: list[Any] = []
    wide = torch.randn(4097, device="cuda")
    for by, twice, start, dtype in itertools.product(
        (1.5, math.nan), (False, True), (0, 1, 4), (torch.float32, torch.float16, torch.bfloat16)
    ):
        x = wide.to(dtype)[start:]
        for size in (x.numel(), 16, 1):
            y = torch.full_like(x, 3.0)
            launch[(triton.cdiv(size, 256),)](x, y, size, by, BLOCK=256, TWICE=twice)
            want = torch.full_like(x, 3.0)
            want[:size] = (x[:size].float() * by * (1 + twice)).to(dtype)
            assert torch.equal(y.isnan(), want.isnan())
            assert torch.equal(y.nan_to_num(), want.nan_to_num())
    triton.knobs.runtime.launch_enter_hook.add(entered.append)
    try:
        launch[(1,)](wide, y := torch.empty_like(wide), 16, 2.0, BLOCK=256, TWICE=False)
    finally:
        triton.knobs.runtime.launch_enter_hook.remove(entered.append)
    assert len(entered) == 1
    assert torch.equal(y[:16], 2 * wide[:16])


@pytest.mark.gpu
def test_on_the_device_kernels_are_functions_on_every_thread() -> None:
    launch = kept(scale_kernel)
    x = torch.randn(1024, device="cuda")
    y = torch.zeros(8, 1024, device="cuda")
    launch[(4,)](x, y[0], 1024, 0.0, BLOCK=256, TWICE=False)
    assert all(launch.compiled.values())

    def run(i: int) -> None:
        for _ in range(200):
            launch[(4,)](x, y[i], 1024, float(i), BLOCK=256, TWICE=False)

    threads = [threading.Thread(target=run, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    torch.cuda.synchronize()
    assert torch.equal(y, x * torch.arange(8.0, device="cuda")[:, None])
