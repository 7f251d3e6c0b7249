"""Kept launches: they ask Triton again wherever Triton itself would compile anew."""

import itertools
import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import triton
import triton.language as tl
from torch import Tensor
from triton.backends.compiler import GPUTarget

from ssm_kernels import launcher
from ssm_kernels.launcher import Launcher, kept, kinds

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

    def __init__(self, backend: str = "cuda") -> None:
        self.params = [SimpleNamespace(name=n, is_constexpr=n.isupper()) for n in "xTnAB"]
        self.pre_run_hooks: list[Any] = []
        self.metadata = SimpleNamespace(target=SimpleNamespace(backend=backend))
        self.by_triton: list[tuple[Any, ...]] = []
        self.direct: list[tuple[Any, ...]] = []

    def __getitem__(self, grid: tuple[int, ...]) -> Any:
        def call(*args: Any, stream: str | None = None, **constants: Any) -> Any:
            if stream is None:
                self.by_triton.append((grid, args, constants))
                return self
            self.direct.append((grid, args, stream))
            return None

        return call


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A driver whose current device can be set."""
    current = SimpleNamespace(index=0)
    active = SimpleNamespace(
        get_current_device=lambda: current.index,
        get_current_stream=lambda index: f"stream of {index}",
    )
    monkeypatch.setattr(launcher, "driver", SimpleNamespace(active=active))
    return current


def test_the_second_call_is_direct(device: SimpleNamespace) -> None:
    stub, x = Stub(), torch.zeros(64)
    launch = Launcher(stub)
    launch[(3,)](x, 8, 5, B=7, A=6, num_warps=2)
    launch[(4, 2)](x, 8, 9, B=7, A=6, num_warps=2)
    assert stub.by_triton == [((3,), (x, 8, 5), {"B": 7, "A": 6, "num_warps": 2})]
    assert stub.direct == [((4, 2, 1), (x, 8, 9, 6, 7), "stream of 0")]


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
    assert len(stub.by_triton) == len(stub.direct) == len(launch.compiled) == 2
    last = first | change
    assert [id(a) for a in stub.direct[1][1]] == [id(last[name]) for name in "xTnAB"]


def test_devices_and_switches_are_kinds(
    device: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    stub, x = Stub(), torch.zeros(64)
    launch = Launcher(stub)
    launch[(1,)](x, 8, 5, A=6, B=7)
    device.index = 1
    launch[(1,)](x, 8, 5, A=6, B=7)
    launch[(1,)](x, 8, 5, A=6, B=7)
    assert stub.direct[-1][2] == "stream of 1"
    with triton.knobs.runtime.scope():
        triton.knobs.runtime.debug = True
        launch[(1,)](x, 8, 5, A=6, B=7)
    assert len(stub.by_triton) == 3
    assert len(stub.direct) == 1


def test_what_is_left_to_triton(device: SimpleNamespace) -> None:
    x = torch.zeros(64)
    hooked, amd = Stub(), Stub("hip")
    launch = Launcher(hooked)
    for _ in range(2):
        launch[(1,)](x, 8, 5, A=6, B=7)
        Launcher(amd)[(1,)](x, 8, 5, A=6, B=7)
    assert len(hooked.direct) == 1
    hooked.pre_run_hooks.append(print)
    launch[(1,)](x, 8, 5, A=6, B=7)
    assert len(hooked.direct) == 1
    assert not amd.direct
    with pytest.raises(AssertionError, match="3 arguments come by position, not 4"):
        Launcher(Stub())[(1,)](x, 8, 5, 6, B=7)


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
    asked = [(kinds([v])[0], native_specialize_impl(backend, v, False, True, True)) for v in values]
    for (ours, triton_s), (other, other_s) in itertools.combinations(asked, 2):
        assert ours != other or triton_s == other_s
    assert kinds([rows, 7, 1.0]) == kinds([rows[:, :3].clone(), 9, math.nan])


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
