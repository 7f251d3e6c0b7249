"""SSD: one function in three forms, held to transformers and to its own invariants in float64."""

import math
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers.models.mamba2.modeling_mamba2 import mamba2_chunk_scan

from ssm_ref.selective.ssd import segsum, ssd, ssd_chunked, ssd_quadratic, ssd_step

ALGORITHMS = {
    "quadratic": ssd_quadratic,
    "chunk1": partial(ssd_chunked, chunk_size=1),
    "chunk7": partial(ssd_chunked, chunk_size=7),
    "chunkL": partial(ssd_chunked, chunk_size=23),
    "chunk>L": partial(ssd_chunked, chunk_size=64),
}
SHAPE = (2, 23, 6, 5, 3, 4)  # b l h p g n: the groups are neither 1 nor h


def inputs(
    shape: tuple[int, ...] = SHAPE, dtype: torch.dtype = torch.float64, seed: int = 0
) -> tuple[tuple[Tensor, ...], dict[str, Any]]:
    b, length, h, p, g, n = shape
    gen = torch.Generator().manual_seed(seed)

    def normal(*size: int) -> Tensor:
        return torch.randn(*size, generator=gen, dtype=dtype)

    operands = (
        normal(b, length, h, p),
        normal(b, length, h),
        -torch.rand(h, generator=gen, dtype=dtype) * 2 - 0.1,
        normal(b, length, g, n),
        normal(b, length, g, n),
    )
    options = {
        "D": normal(h, p),
        "z": normal(b, length, h, p),
        "dt_bias": normal(h),
        "dt_softplus": True,
        "dt_limit": (0.05, 2.0),
        "initial_state": normal(b, h, p, n),
    }
    return operands, options


def gradients(form: Any, operands: tuple[Tensor, ...], options: dict[str, Any]) -> list[Tensor]:
    leaves = [t.clone().requires_grad_() for t in operands]
    kept = {
        k: v.clone().requires_grad_() if isinstance(v, Tensor) and v.is_floating_point() else v
        for k, v in options.items()
    }
    y, state = form(*leaves, **kept)
    gen = torch.Generator().manual_seed(9)
    loss = (y * torch.randn(y.shape, generator=gen, dtype=y.dtype)).sum()
    loss = loss + (state * torch.randn(state.shape, generator=gen, dtype=y.dtype)).sum()
    wanted = leaves + [v for v in kept.values() if isinstance(v, Tensor) and v.requires_grad]
    return list(torch.autograd.grad(loss, wanted))


@pytest.mark.parametrize("name", ALGORITHMS)
def test_algorithm_is_the_definition(name: str) -> None:
    operands, options = inputs()
    for got, want in zip(
        ALGORITHMS[name](*operands, **options), ssd(*operands, **options), strict=True
    ):
        torch.testing.assert_close(got, want, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("name", ALGORITHMS)
def test_algorithm_has_the_gradients_of_the_definition(name: str) -> None:
    operands, options = inputs()
    got, want = (gradients(f, operands, options) for f in (ALGORITHMS[name], ssd))
    for g, w in zip(got, want, strict=True):
        torch.testing.assert_close(g, w, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("form", [ssd, ssd_chunked], ids=["definition", "chunked"])
def test_gradcheck(form: Any) -> None:
    operands, options = inputs((1, 5, 2, 2, 1, 3))
    leaves = [t.requires_grad_() for t in operands]
    state = options.pop("initial_state").requires_grad_()
    assert torch.autograd.gradcheck(
        lambda *args: form(*args[:5], initial_state=args[5], **options), (*leaves, state)
    )


def test_definition_by_hand() -> None:
    one = torch.ones(1, 3, 1, 1, dtype=torch.float64)
    dt = torch.full((1, 3, 1), 0.5, dtype=torch.float64)
    A = torch.tensor([-2.0], dtype=torch.float64)
    y, state = ssd(one, dt, A, one, 2 * one, D=torch.ones(1, dtype=torch.float64))
    r = math.exp(-1)
    want = torch.tensor([0.5, 0.5 + 0.5 * r, 0.5 + 0.5 * r + 0.5 * r * r], dtype=torch.float64)
    torch.testing.assert_close(y.flatten(), 2 * want + 1)
    torch.testing.assert_close(state.flatten(), want[-1:])


@pytest.mark.parametrize("chunk_size", [4, 32])
def test_agrees_with_transformers(chunk_size: int) -> None:
    operands, options = inputs(dtype=torch.float32)
    options.pop("z")
    options["D"] = options["D"][:, 0]
    x, dt, A, B, C = operands
    want, last = mamba2_chunk_scan(
        x,
        dt,
        A,
        B,
        C,
        chunk_size,
        D=options["D"],
        dt_bias=options["dt_bias"],
        initial_states=options["initial_state"],
        dt_softplus=True,
        dt_limit=options["dt_limit"],
        return_final_states=True,
    )
    y, state = ssd(*operands, **options)
    torch.testing.assert_close(y, want, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(state, last, rtol=1e-4, atol=1e-4)


def test_heads_of_a_group_share_its_rows() -> None:
    operands, options = inputs()
    x, dt, A, B, C = operands
    wide = (m.repeat_interleave(2, dim=2) for m in (B, C))
    for got, want in zip(
        ssd_chunked(x, dt, A, *wide, **options), ssd(*operands, **options), strict=True
    ):
        torch.testing.assert_close(got, want)


@pytest.mark.parametrize("form", [ssd, ssd_chunked], ids=["definition", "chunked"])
@pytest.mark.parametrize("cut", [1, 8, 22])
def test_a_cut_anywhere_changes_nothing(form: Any, cut: int) -> None:
    operands, options = inputs()
    x, dt, A, B, C = operands
    z, state = options.pop("z"), options.pop("initial_state")
    want, last = form(*operands, z=z, initial_state=state, **options)
    ys = []
    for part in (slice(0, cut), slice(cut, None)):
        y, state = form(
            x[:, part],
            dt[:, part],
            A,
            B[:, part],
            C[:, part],
            z=z[:, part],
            initial_state=state,
            **options,
        )
        ys.append(y)
    torch.testing.assert_close(torch.cat(ys, dim=1), want)
    torch.testing.assert_close(state, last)


@pytest.mark.parametrize("form", [ssd, ssd_chunked, ssd_quadratic])
@pytest.mark.parametrize("dtype", [torch.int32, torch.int64], ids=str)
def test_packed_is_separate(form: Any, dtype: torch.dtype) -> None:
    operands, options = inputs((1, 23, 6, 5, 3, 4))
    x, dt, A, B, C = operands
    z = options.pop("z")
    bounds = [0, 1, 9, 23]
    options["initial_state"] = inputs((3, 1, 6, 5, 3, 4), seed=3)[1]["initial_state"]
    y, state = form(*operands, z=z, cu_seqlens=torch.tensor(bounds, dtype=dtype), **options)
    for i in range(3):
        row = slice(bounds[i], bounds[i + 1])
        alone = options | {"initial_state": options["initial_state"][i : i + 1]}
        want, last = ssd(x[:, row], dt[:, row], A, B[:, row], C[:, row], z=z[:, row], **alone)
        torch.testing.assert_close(y[:, row], want)
        torch.testing.assert_close(state[i : i + 1], last)


def test_steps_are_the_sequence() -> None:
    operands, options = inputs()
    want, last = ssd(*operands, **options)
    x, dt, A, B, C = operands
    z, state = options.pop("z"), options.pop("initial_state")
    for t in range(x.shape[1]):
        y, state = ssd_step(state, x[:, t], dt[:, t], A, B[:, t], C[:, t], z=z[:, t], **options)
        torch.testing.assert_close(y, want[:, t])
    torch.testing.assert_close(state, last)


def test_is_causal() -> None:
    operands, options = inputs()
    before, _ = ssd_chunked(*operands, **options)
    operands[0][:, 11] += 1
    after, _ = ssd_chunked(*operands, **options)
    assert torch.equal(before[:, :11], after[:, :11])
    assert not torch.equal(before[:, 11:], after[:, 11:])


def test_segsum_is_never_positive_and_keeps_its_digits() -> None:
    a = -torch.rand(3, 40, generator=torch.Generator().manual_seed(0)) * 1e6
    a[:, -1] = -1e-3
    sums = segsum(a)
    assert (sums <= 0).all()
    assert (sums[:, -1, -2] == a[:, -1]).all(), "a difference of cumulative sums gives 0 here"
    assert sums[:, 0, 1].isneginf().all()


def test_large_decay_stays_finite() -> None:
    (x, dt, A, B, C), _ = inputs(dtype=torch.float32)
    y, state = ssd_chunked(x, dt.abs() * 100, A * 100, B, C)
    assert y.isfinite().all()
    assert state.isfinite().all()


def test_state_stays_wide_where_bf16_would_stop() -> None:
    length, a = 4000, 0.999
    one = torch.ones(1, length, 1, 1, dtype=torch.bfloat16)
    dt = torch.full((1, length, 1), -math.log(a))
    A = -torch.ones(1)
    y, state = ssd_chunked(one, dt, A, one, one)
    assert (y.dtype, state.dtype) == (torch.bfloat16, torch.float32)
    want = -math.log(a) * (1 - a**length) / (1 - a)
    assert state.item() == pytest.approx(want, rel=1e-3)


def test_batch_may_be_empty_and_length_one() -> None:
    for shape in [(0, 3, 2, 2, 1, 3), (2, 1, 2, 2, 1, 3), (1, 1, 1, 1, 1, 1)]:
        operands, options = inputs(shape)
        for got, want in zip(
            ssd_chunked(*operands, **options), ssd(*operands, **options), strict=True
        ):
            torch.testing.assert_close(got, want)


@pytest.mark.parametrize("form", [ssd, partial(ssd_chunked, chunk_size=5)], ids=["loop", "chunk5"])
def test_nan_reaches_what_follows_and_nothing_before_its_chunk(form: Any) -> None:
    operands, options = inputs()
    operands[0][0, 10, 0, 0] = math.nan
    y, _ = form(*operands, **options)
    assert y[:, :10].isfinite().all()
    assert y[0, 10:, 0, 0].isnan().all()
    assert y[1].isfinite().all()


BAD: list[tuple[dict[str, Any], str]] = [
    ({"x": torch.zeros(2, 23, 6)}, "x must have shape"),
    ({"x": torch.zeros(2, 0, 6, 5)}, "may be empty"),
    ({"x": torch.zeros(2, 23, 6, 5, dtype=torch.long)}, "x must be floating point"),
    ({"dt": torch.zeros(2, 22, 6)}, r"dt must have shape \(2, 23, 6\)"),
    ({"A": torch.zeros(5)}, "A must have shape"),
    ({"B": torch.zeros(2, 23, 4, 4)}, "must divide h=6; got 4"),
    ({"C": torch.zeros(2, 23, 3, 5)}, "C must have shape"),
    ({"C": torch.zeros(2, 23, 3, 4, device="meta")}, "C must be on cpu"),
    ({"D": torch.zeros(6, 1)}, r"\(6,\) or \(6, 5\)"),
    ({"z": torch.zeros(2, 23, 6, 4)}, "z must have shape"),
    ({"dt_bias": torch.zeros(1)}, "dt_bias must have shape"),
    ({"dt_limit": (1.0, 0.5)}, "dt_limit must be"),
    ({"dt_limit": (-1.0, 0.5)}, "dt_limit must be"),
    ({"initial_state": torch.zeros(1, 6, 5, 4)}, "initial_state must have shape"),
    ({"cu_seqlens": torch.tensor([0, 23]), "initial_state": None}, "batch must be 1"),
]


@pytest.mark.parametrize(("change", "message"), BAD)
def test_bad_input_says_what_was_wanted(change: dict[str, Any], message: str) -> None:
    operands, options = inputs()
    named = dict(zip(("x", "dt", "A", "B", "C"), operands, strict=True)) | options | change
    with pytest.raises(ValueError, match=message):
        ssd(**named)


@pytest.mark.parametrize("bounds", [[0, 5], [1, 23], [0, 9, 9, 23], [0, 12, 6, 23]], ids=str)
def test_bad_packing(bounds: list[int]) -> None:
    operands, _ = inputs((1, 23, 6, 5, 3, 4))
    with pytest.raises(ValueError, match="cu_seqlens must increase"):
        ssd(*operands, cu_seqlens=torch.tensor(bounds))


def test_chunk_size_and_options_are_checked() -> None:
    operands, _ = inputs()
    with pytest.raises(ValueError, match="chunk_size must be at least 1"):
        ssd_chunked(*operands, chunk_size=0)
    with pytest.raises(TypeError, match="unknown options"):
        ssd(*operands, gate=None)  # type: ignore[call-arg]
    with pytest.raises(ValueError, match="a step takes x"):
        ssd_step(torch.zeros(2, 6, 5, 4, dtype=torch.float64), *operands)
