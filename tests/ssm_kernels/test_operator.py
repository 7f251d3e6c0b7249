"""`operator`: the short way of eager calls does what the registered operator does."""

import subprocess
import sys
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from ssm_kernels.operator import Operator, operator
from ssm_kernels.tiling import ceil_div, power_of_2

CALLS: list[str] = []


@operator("test_scaled")
def scaled(x: Tensor, weight: Tensor | None, by: float) -> tuple[Tensor, Tensor]:
    """by · x (· weight), and a copy of x."""
    CALLS.append("scaled")
    y = by * x if weight is None else by * x * weight
    return y, x.clone()


@scaled.register_fake
def _(x: Tensor, weight: Tensor | None, by: float) -> tuple[Tensor, Tensor]:
    return x.new_empty(x.shape), x.new_empty(x.shape)


def _save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    x, weight, ctx.by = inputs
    ctx.save_for_backward(x, weight)
    ctx.mark_non_differentiable(output[1])


def _gradients(ctx: Any, dy: Tensor, _: Tensor | None) -> tuple[Tensor | None, ...]:
    x, weight = ctx.saved_tensors
    if weight is None:
        return ctx.by * dy, None, None
    return ctx.by * dy * weight, ctx.by * dy * x, None


scaled.register_autograd(_gradients, setup_context=_save)


@operator("test_doubled_in_place", mutates_args=("x",))
def doubled(x: Tensor, y: Tensor) -> Tensor:
    """x doubled in place, and x + y before that."""
    out = x + y
    x.mul_(2)
    return out


@doubled.register_fake
def _(x: Tensor, y: Tensor) -> Tensor:
    return x.new_empty(x.shape)


class Seen(TorchDispatchMode):
    """The names of the operators that the dispatcher was asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:  # fmt: skip
        self.names.append(func.name())
        return func(*args, **(kwargs or {}))


class Wrapped(Tensor):
    """A subclass that notes which functions it was given to."""

    seen: ClassVar[list[Any]] = []

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        cls.seen.append(func)
        return super().__torch_function__(func, types, args, kwargs or {})


def leaves() -> tuple[Tensor, Tensor]:
    gen = torch.Generator().manual_seed(0)
    x, w = torch.randn(2, 3, 4, generator=gen)
    return x.requires_grad_(), w.requires_grad_()


@pytest.mark.parametrize("with_weight", [True, False])
def test_both_ways_give_the_same(with_weight: bool) -> None:
    x, w = leaves()
    weight, wanted = (w, [x, w]) if with_weight else (None, [x])
    short, long = scaled(x, weight, 3.0), torch.ops.ssm_kernels.test_scaled(x, weight, 3.0)
    for a, b in zip(short, long, strict=True):
        assert torch.equal(a, b)
        assert a.requires_grad == b.requires_grad
    grads = [torch.autograd.grad(y.square().sum(), wanted) for y in (short[0], long[0])]
    assert all(torch.equal(a, b) for a, b in zip(*grads, strict=True))


def test_the_short_way_passes_by_the_dispatcher() -> None:
    x, w = leaves()
    calls = len(CALLS)
    with torch.profiler.profile() as profile:
        scaled(x, w, 2.0)
        torch.ops.ssm_kernels.test_scaled(x, w, 2.0)
    assert len(CALLS) == calls + 2
    names = [event.name for event in profile.events()]
    assert names.count("ssm_kernels::test_scaled") == 1


def test_modes_tracers_and_subclasses_see_the_operator() -> None:
    x, w = leaves()
    with Seen() as seen:
        scaled(x.detach(), w.detach(), 2.0)
    assert "ssm_kernels::test_scaled" in seen.names
    scaled(x.detach().as_subclass(Wrapped), None, 2.0)
    assert torch.ops.ssm_kernels.test_scaled.default in Wrapped.seen
    graph = torch.fx.experimental.proxy_tensor.make_fx(lambda t: scaled(t, None, 2.0)[0])(
        x.detach()
    )
    assert any(node.target is scaled.overload for node in graph.graph.nodes)


def test_compiled_calls_and_registration() -> None:
    x, w = leaves()

    @torch.compile(fullgraph=True, backend="aot_eager")
    def twice(x: Tensor, w: Tensor) -> Tensor:
        return 2 * scaled(x, w, 3.0)[0]

    assert torch.equal(twice(x, w), 2 * scaled(x, w, 3.0)[0])
    torch.library.opcheck(scaled.overload, (x, w, 3.0))
    torch.library.opcheck(doubled.overload, (x.detach(), w.detach()))


def test_a_change_in_place_is_seen_by_autograd() -> None:
    x, w = leaves()
    state = x.detach().clone()
    before = state._version
    kept = (w * state).sum()  # needs state as it is now
    doubled(state, w.detach())
    assert torch.equal(state, 2 * x)
    assert state._version > before
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        kept.backward()


def test_no_gradient_is_an_error_and_not_a_zero() -> None:
    x, w = leaves()
    out = doubled(x.detach().clone(), w)
    with pytest.raises(RuntimeError, match="no autograd formula was registered"):
        out.sum().backward()


def test_eager_calls_do_without_the_compiler() -> None:
    source = (
        "import sys, torch\n"
        "from ssm_kernels.operator import operator\n"
        "def double(x: torch.Tensor) -> torch.Tensor:\n    return 2 * x\n"
        "double = operator('test_double')(double)\n"
        "double.register_autograd(lambda ctx, g: 2 * g, setup_context=lambda *a: None)\n"
        "double(torch.ones(1, requires_grad=True)).sum().backward()\n"
        "assert not {'torch._dynamo', 'torch._inductor'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", source], check=True, timeout=120)


def test_an_operator_names_its_schema() -> None:
    assert isinstance(scaled, Operator)
    assert str(doubled.overload._schema).startswith("ssm_kernels::test_doubled_in_place(Tensor(a")


@pytest.mark.parametrize(("size", "tile", "tiles", "power"), [
    (0, 4, 0, 1), (1, 4, 1, 1), (4, 4, 1, 4), (5, 4, 2, 8), (1025, 32, 33, 2048),
])  # fmt: skip
def test_tiles(size: int, tile: int, tiles: int, power: int) -> None:
    assert ceil_div(size, tile) == tiles
    assert power_of_2(size) == power
