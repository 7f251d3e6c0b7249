"""Selective scan: every algorithm against the definition, values and gradients, in float64."""

from typing import Any

import pytest
import torch
from torch import Tensor

from ssm_ref.selective.selective_scan import (
    selective_scan,
    selective_scan_associative,
    selective_scan_chunked,
    selective_scan_step,
)

SHAPES = [(1, 1, 1, 1, 1), (2, 7, 3, 1, 2), (1, 33, 4, 2, 3), (2, 16, 6, 3, 1), (0, 5, 2, 1, 2)]
OPTIONS = ("D", "z", "dt_bias", "dt_softplus", "initial_state")
ALGORITHMS = {
    "associative": selective_scan_associative,
    "chunked": selective_scan_chunked,
    "chunk of 4": lambda *a, **k: selective_scan_chunked(*a, chunk_size=4, **k),
}


def operands(
    b: int, l: int, d: int, g: int, n: int, *, complex_A: bool = False, seed: int = 0
) -> tuple[list[Tensor], dict[str, Any]]:
    rng = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=rng, dtype=torch.float64)

    A = -torch.rand(d, n, generator=rng, dtype=torch.float64) - 0.1
    A = torch.complex(A, normal(d, n)) if complex_A else A
    h = torch.complex(normal(b, d, n), normal(b, d, n)) if complex_A else normal(b, d, n)
    groups = () if g == 1 else (g,)
    args = [normal(b, l, d), normal(b, l, d), A, normal(b, l, *groups, n), normal(b, l, *groups, n)]
    options = {
        "D": normal(d),
        "z": normal(b, l, d),
        "dt_bias": normal(d),
        "dt_softplus": True,
        "initial_state": h,
    }
    return args, options


def loss_and_gradients(scan: Any, args: list[Tensor], options: dict[str, Any]) -> list[Tensor]:
    leaves = [t.clone().requires_grad_() for t in args]
    named = {
        key: value.clone().requires_grad_() if isinstance(value, Tensor) else value
        for key, value in options.items()
    }
    y, h = scan(*leaves, **named)
    rng = torch.Generator().manual_seed(1)
    weight_y = torch.randn(y.shape, generator=rng, dtype=y.dtype)
    weight_h = torch.randn(h.shape, generator=rng, dtype=h.dtype)
    ((y * weight_y).sum() + (h * weight_h.conj()).real.sum()).backward()
    tensors = [*leaves, *(v for v in named.values() if isinstance(v, Tensor) and v.requires_grad)]
    return [y.detach(), h.detach(), *(t.grad for t in tensors)]


@pytest.mark.parametrize("complex_A", [False, True], ids=["real", "complex"])
@pytest.mark.parametrize("name", ALGORITHMS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_algorithms_agree_with_the_definition(shape: Any, name: str, complex_A: bool) -> None:
    args, options = operands(*shape, complex_A=complex_A)
    wanted = loss_and_gradients(selective_scan, args, options)
    got = loss_and_gradients(ALGORITHMS[name], args, options)
    for a, b in zip(got, wanted, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-10)


def test_definition_by_hand() -> None:
    x, dt = torch.tensor([[[1.0], [2.0]]]), torch.tensor([[[0.5], [1.0]]])
    A, B, C = torch.tensor([[-1.0]]), torch.ones(1, 2, 1), torch.tensor([[[3.0], [1.0]]])
    y, h = selective_scan(x, dt, A, B, C)
    last = 0.5 * torch.exp(torch.tensor(-1.0)) + 2.0
    torch.testing.assert_close(y.flatten(), torch.stack([torch.tensor(1.5), last]))
    torch.testing.assert_close(h.flatten()[0], last)


def test_is_exponential_euler_and_not_zero_order_hold() -> None:
    one = torch.ones(1, 1, 1, dtype=torch.float64)
    _, h = selective_scan(one, one, -one[0], one, one)
    zoh = 1 - torch.exp(torch.tensor(-1.0, dtype=torch.float64))
    assert h.item() == 1.0
    assert abs(zoh.item() - 0.632) < 1e-3


@pytest.mark.parametrize("name", ["definition", *ALGORITHMS])
def test_gradcheck(name: str) -> None:
    args, options = operands(1, 5, 2, 1, 2)
    scan = ALGORITHMS.get(name, selective_scan)
    keys = ["D", "z", "dt_bias", "initial_state"]
    leaves = [t.requires_grad_() for t in (*args, *(options[k] for k in keys))]

    def run(*tensors: Tensor) -> Any:
        named = dict(zip(keys, tensors[5:], strict=True))
        return scan(*tensors[:5], dt_softplus=True, **named)

    assert torch.autograd.gradcheck(run, leaves)


@pytest.mark.parametrize("complex_A", [False, True], ids=["real", "complex"])
@pytest.mark.parametrize("name", ALGORITHMS)
def test_second_derivatives_are_those_of_the_definition(name: str, complex_A: bool) -> None:
    """Also where the loss is linear in y, and where one tensor is B and C."""
    (x, dt, A, B, _), options = operands(1, 6, 2, 1, 3, complex_A=complex_A)
    options = {key: options[key] for key in ("dt_bias", "dt_softplus", "initial_state")}

    def second(scan: Any) -> tuple[Tensor, ...]:
        x_, dt_, A_, B_ = leaves = [t.clone().requires_grad_() for t in (x, dt, A, B)]
        y, h = scan(x_, dt_, A_, B_, B_, **options)
        loss = y.sum() + h.abs().square().sum()
        first = torch.autograd.grad(loss, leaves, create_graph=True)
        return torch.autograd.grad(sum(g.abs().square().sum() for g in first), leaves)

    for got, wanted in zip(second(ALGORITHMS[name]), second(selective_scan), strict=True):
        torch.testing.assert_close(got, wanted, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("alone", range(5), ids=["x", "dt", "A", "B", "C"])
@pytest.mark.parametrize("name", ALGORITHMS)
def test_second_derivatives_where_one_operand_alone_is_trained(name: str, alone: int) -> None:
    """C reaches y but not the last state."""
    args, _ = operands(2, 5, 2, 1, 3)

    def second(scan: Any) -> Tensor:
        one = args[alone].clone().requires_grad_()
        y, _ = scan(*args[:alone], one, *args[alone + 1 :], dt_softplus=True)
        (first,) = torch.autograd.grad(y.sin().sum(), one, create_graph=True)
        return torch.autograd.grad(first.square().sum(), one)[0]

    torch.testing.assert_close(second(ALGORITHMS[name]), second(selective_scan))


@pytest.mark.parametrize("name", ALGORITHMS)
def test_gradients_by_torch_func(name: str) -> None:
    args, options = operands(2, 9, 4, 2, 3)
    scan = ALGORITHMS[name]

    def loss(*args: Tensor) -> Tensor:
        return scan(*args, **options)[0].sin().sum()

    got = torch.func.grad(loss, argnums=(0, 1, 2, 3, 4))(*args)
    leaves = [t.requires_grad_() for t in args]
    wanted = torch.autograd.grad(selective_scan(*leaves, **options)[0].sin().sum(), leaves)
    torch.testing.assert_close(got, wanted)


@pytest.mark.parametrize(
    "missing",
    [*((name,) for name in OPTIONS), OPTIONS],
    ids=str,
)
def test_every_option_may_be_left_out(missing: tuple[str, ...]) -> None:
    args, options = operands(2, 9, 4, 2, 3)
    options = {k: v for k, v in options.items() if k not in missing}
    wanted, got = selective_scan(*args, **options), selective_scan_chunked(*args, **options)
    torch.testing.assert_close(got, wanted)


@pytest.mark.parametrize("chunk_size", [1, 2, 7, 20, 21, 50])
def test_chunk_size_changes_nothing(chunk_size: int) -> None:
    args, options = operands(2, 20, 3, 1, 4)
    wanted = selective_scan(*args, **options)
    got = selective_scan_chunked(*args, chunk_size=chunk_size, **options)
    torch.testing.assert_close(got, wanted, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("cut", range(1, 9))
def test_cut_anywhere_and_hand_the_state_over(cut: int) -> None:
    (x, dt, A, B, C), options = operands(2, 9, 3, 1, 2)
    z, h = options.pop("z"), options.pop("initial_state")
    y, last = selective_scan(x, dt, A, B, C, z=z, initial_state=h, **options)
    ys = []
    for part in (slice(None, cut), slice(cut, None)):
        y_part, h = selective_scan_chunked(
            x[:, part],
            dt[:, part],
            A,
            B[:, part],
            C[:, part],
            z=z[:, part],
            initial_state=h,
            **options,
        )
        ys.append(y_part)
    torch.testing.assert_close((torch.cat(ys, 1), h), (y, last))


def test_a_loop_of_steps_is_the_scan() -> None:
    (x, dt, A, B, C), options = operands(2, 6, 4, 2, 3)
    y, last = selective_scan(x, dt, A, B, C, **options)
    h, z = options.pop("initial_state"), options.pop("z")
    for t in range(6):
        y_t, h = selective_scan_step(
            h, x[:, t], dt[:, t], A, B[:, t], C[:, t], z=z[:, t], **options
        )
        torch.testing.assert_close(y_t, y[:, t])
    torch.testing.assert_close(h, last)


@pytest.mark.parametrize("scan", [selective_scan, *ALGORITHMS.values()])
def test_packed_sequences_do_not_meet(scan: Any) -> None:
    (x, dt, A, B, C), options = operands(1, 12, 4, 2, 3)
    cu_seqlens = torch.tensor([0, 1, 6, 12])
    z, h = options.pop("z"), torch.randn(3, 4, 3, dtype=torch.float64)
    options.pop("initial_state")
    y, last = scan(x, dt, A, B, C, z=z, initial_state=h, cu_seqlens=cu_seqlens, **options)
    for i, (start, end) in enumerate([(0, 1), (1, 6), (6, 12)]):
        part = slice(start, end)
        wanted = selective_scan(
            x[:, part],
            dt[:, part],
            A,
            B[:, part],
            C[:, part],
            z=z[:, part],
            initial_state=h[i, None],
            **options,
        )
        torch.testing.assert_close((y[:, part], last[i, None]), wanted)


@pytest.mark.parametrize("scan", [selective_scan, *ALGORITHMS.values()])
def test_the_future_does_not_reach_the_past(scan: Any) -> None:
    (x, *rest), options = operands(1, 8, 3, 1, 2)
    later = x.clone()
    later[:, 5] += 1
    y, y_later = scan(x, *rest, **options)[0], scan(later, *rest, **options)[0]
    assert torch.equal(y[:, :5], y_later[:, :5])
    assert not torch.equal(y[:, 5:], y_later[:, 5:])


def test_half_precision_keeps_a_float32_state() -> None:
    l = 4_000
    x, dt = torch.ones(1, l, 1, dtype=torch.bfloat16), torch.full((1, l, 1), 1e-3).bfloat16()
    one = torch.ones(1, l, 1, dtype=torch.bfloat16)
    y, h = selective_scan_chunked(x, dt, torch.tensor([[-1.0]]), one, one)
    assert y.dtype == torch.bfloat16
    assert h.dtype == torch.float32
    assert abs(h.item() - 0.98) < 0.01  # a bf16 state would have stopped near 0.25


def test_non_contiguous_operands() -> None:
    args, options = operands(2, 9, 4, 1, 3)
    strided = [t.transpose(0, -1).contiguous().transpose(0, -1) for t in args]
    torch.testing.assert_close(
        selective_scan_chunked(*strided, **options), selective_scan(*args, **options)
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"x": torch.ones(2, 5)}, "x must be floating point"),
        ({"x": torch.ones(2, 0, 4)}, "l > 0"),
        ({"x": torch.ones(2, 5, 4, dtype=torch.int64)}, "floating point"),
        ({"dt": torch.ones(2, 4, 4)}, "dt must have shape"),
        ({"A": torch.ones(3, 2)}, "A must have shape"),
        ({"B": torch.ones(2, 5, 3)}, "B must have shape"),
        ({"B": torch.ones(2, 5, 3, 2), "C": torch.ones(2, 5, 3, 2)}, "divides d=4"),
        ({"C": torch.ones(2, 5, 2, 2)}, "share a number of groups"),
        ({"D": torch.ones(5)}, "D must have shape"),
        ({"z": torch.ones(2, 5, 3)}, "z must have shape"),
        ({"dt_bias": torch.ones(4, dtype=torch.int64)}, "dt_bias must be floating"),
        ({"initial_state": torch.ones(1, 4, 2)}, "initial_state must have shape"),
        ({"initial_state": torch.ones(2, 4, 2) * 1j}, "initial_state must be real"),
        ({"cu_seqlens": torch.tensor([0, 5])}, "batch must be 1"),
        ({"x": torch.ones(2, 5, 4, device="meta")}, "must be on"),
        ({"chunk_size": 0}, "chunk_size"),
    ],
    ids=str,
)
def test_bad_operands(change: dict[str, Any], message: str) -> None:
    ones = torch.ones
    good = {"x": ones(2, 5, 4), "dt": ones(2, 5, 4), "A": -ones(4, 2)}
    good |= {"B": ones(2, 5, 2), "C": ones(2, 5, 2)}
    with pytest.raises(ValueError, match=message):
        selective_scan_chunked(**(good | change))


@pytest.mark.parametrize("ends", [[0, 3], [1, 5], [0, 3, 3, 5], [0, 4, 2, 5], [5]], ids=str)
def test_bad_cu_seqlens(ends: list[int]) -> None:
    x, A, B = torch.ones(1, 5, 4), -torch.ones(4, 2), torch.ones(1, 5, 2)
    with pytest.raises(ValueError, match="cu_seqlens must"):
        selective_scan(x, x, A, B, B, cu_seqlens=torch.tensor(ends))
