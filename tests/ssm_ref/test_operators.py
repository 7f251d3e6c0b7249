"""What every operator over time refuses, whatever it computes: one row, all refusals."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from ssm_ref.attention.transformer import attend, attend_one_by_one
from ssm_ref.foundations import scan
from ssm_ref.linear_attention import (
    deltanet,
    gated_deltanet,
    gla,
    hgrn2,
    kda,
    linear_attention,
    mlstm,
    recurrence,
    retnet,
    rwkv4,
    rwkv6,
    rwkv7,
)
from ssm_ref.recurrent import gru, lstm, min_rnn, rnn, slstm
from ssm_ref.selective import causal_conv1d, mamba3, selective_scan, ssd

B, L, H, N, P = 2, 5, 2, 3, 4
SHAPES = {"b": B, "l": L, "h": H, "n": N, "p": P, "r": 2, "1": 1, "3": 3, "f": 4 * P, "g": 3 * P}


def by_wkv7(form: Callable[..., Any]) -> Callable[..., Any]:
    return lambda *x: form(rwkv7.WKV7(*x), torch.zeros(x[0].shape[0], H, N, N))


def by_wkv4(form: Callable[..., Any]) -> Callable[..., Any]:
    return lambda *x: form(*x, rwkv4.empty_wkv(torch.zeros(x[0].shape[0], P)))


def by_case(form: Callable[..., Any]) -> Callable[..., Any]:
    return lambda *x: form(recurrence.Case(*x))


def by_past(form: Callable[..., Any]) -> Callable[..., Any]:
    def call(*x: Tensor) -> Any:
        b, r = x[0].shape[0], SHAPES["r"]
        past = [torch.zeros(b, H, P, N), torch.zeros(b, H, r, P), torch.zeros(b, H, r, N)]
        return form(mamba3.Inputs(*x), mamba3.Past(*past))

    return call


def by_lstm(u: Tensor, W: Tensor, U: Tensor, b: Tensor) -> Any:
    zeros = torch.zeros(u.shape[0], P)
    return lstm.lstm_recurrence(u, lstm.LSTMState(zeros, zeros), W, U, b)


def by_gru(u: Tensor, W: Tensor, U: Tensor, b: Tensor) -> Any:
    return gru.gru_recurrence(u, torch.zeros(u.shape[0], P), (W, U), (b, b))


def by_rnn(u: Tensor, W: Tensor, U: Tensor, b: Tensor) -> Any:
    return rnn.elman_recurrence(u, torch.zeros(u.shape[0], P), W, U, b)


def by_min_rnn(form: Callable[..., Any]) -> Callable[..., Any]:
    return lambda a, w: form(a, w, torch.zeros(a.shape[0], P))


QKV = "blhn blhn blhp"
# An operator, and the axes of operands that fit it.
OPERATORS: dict[str, tuple[Callable[..., Any], str]] = {
    "selective scan": (selective_scan.selective_scan, "blp blp pn bln bln"),
    "selective scan, associative": (
        selective_scan.selective_scan_associative,
        "blp blp pn bln bln",
    ),
    "selective scan, chunked": (selective_scan.selective_scan_chunked, "blp blp pn bln bln"),
    "ssd": (ssd.ssd, "blhp blh h bl1n bl1n"),
    "ssd, quadratic": (ssd.ssd_quadratic, "blhp blh h bl1n bl1n"),
    "ssd, chunked": (ssd.ssd_chunked, "blhp blh h bl1n bl1n"),
    "convolution": (causal_conv1d.causal_conv1d, "blp p3"),
    "linear recurrence": (scan.linear_recurrence, "blp blp"),
    "linear scan": (scan.linear_scan, "blp blp"),
    "gla": (gla.gla_recurrent, f"{QKV} blhn"),
    "gla, parallel": (gla.gla_parallel, f"{QKV} blhn"),
    "delta rule": (deltanet.delta_rule_recurrent, f"{QKV} blh"),
    "gated delta rule": (gated_deltanet.gated_delta_recurrent, f"{QKV} blh blh"),
    "gated delta rule, parallel": (gated_deltanet.gated_delta_parallel, f"{QKV} blh blh"),
    "kda": (kda.kda_recurrent, f"{QKV} blhn blh"),
    "retention": (retnet.retention_recurrent, QKV),
    "retention, parallel": (retnet.retention_parallel, QKV),
    "hgrn2": (hgrn2.hgrn2_recurrent, QKV),
    "linear attention": (linear_attention.linear_attention_recurrent, QKV),
    "linear attention, parallel": (linear_attention.linear_attention_parallel, QKV),
    "mlstm": (mlstm.mlstm_recurrent, f"{QKV} blh blh"),
    "mlstm, parallel": (mlstm.mlstm_parallel, f"{QKV} blh blh"),
    "rwkv4": (by_wkv4(rwkv4.wkv_recurrent), "blp blp p p"),
    "rwkv4, sums": (rwkv4.wkv_sums, "blp blp p p"),
    "rwkv4, spans": (by_wkv4(rwkv4.wkv_parallel), "blp blp p p"),
    "rwkv6": (rwkv6.rwkv6_recurrent, f"{QKV} blhn hn"),
    "rwkv7": (by_wkv7(rwkv7.wkv7_recurrent), "blhn blhn blhn blhn blhn blhn"),
    "rwkv7, chunked": (by_wkv7(rwkv7.wkv7_chunked), "blhn blhn blhn blhn blhn blhn"),
    "any recurrence": (by_case(recurrence.recurrent), f"{QKV} blhn"),
    "any recurrence, chunked": (by_case(recurrence.chunked), f"{QKV} blhn"),
    "mamba3": (by_past(mamba3.trapezoidal_recurrence), "blhrp blhrn blhrn blh blh blh"),
    "mamba3, chunked": (by_past(mamba3.trapezoidal_chunked), "blhrp blhrn blhrn blh blh blh"),
    "rnn": (by_rnn, "bln pn pp p"),
    "lstm": (by_lstm, "bln fn fp f"),
    "gru": (by_gru, "bln gn gp g"),
    "slstm": (slstm.slstm_recurrence, "blf fp"),
    "minimal": (by_min_rnn(min_rnn.weighted_mean), "blp blp"),
    "minimal, in logarithms": (by_min_rnn(min_rnn.log_space_scan), "blp blp"),
    "attention": (attend, "bhln bhln bhlp"),
    "attention one by one": (attend_one_by_one, "bhln bhln bhlp"),
}


def operands(axes: str, **sizes: int) -> list[Tensor]:
    lengths = SHAPES | sizes
    return [torch.rand(*(lengths[a] for a in letters)) + 0.1 for letters in axes.split()]


def rank(axes: str) -> list[Tensor]:
    first, *rest = operands(axes)
    return [first[0], *rest]


def integers(axes: str) -> list[Tensor]:
    first, *rest = operands(axes)
    return [first.long(), *rest]


def device(axes: str) -> list[Tensor]:
    first, second, *rest = operands(axes)
    return [first, second.to("meta"), *rest]


def width(axes: str) -> list[Tensor]:
    first, second, *rest = operands(axes)
    return [first, torch.cat([second, second[..., :1]], dim=-1), *rest]


def lengths(axes: str) -> list[Tensor]:
    """The first operand is longer than the others; alone of its length, it has no such fault."""
    first = operands(axes, l=L + 1)[0]
    return [first, *operands(axes)[1:]]


def empty(axes: str) -> list[Tensor]:
    return operands(axes, l=0)


FAULTS = {f.__name__: f for f in (rank, integers, device, width, lengths, empty)}
# A convolution takes any number of taps, and the coefficients of a recurrence are broadcast.
FREE = (("convolution", "width"), ("linear recurrence", "rank"), ("linear scan", "rank"))


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("name", OPERATORS)
def test_operators_refuse(name: str, fault: str) -> None:
    operator, axes = OPERATORS[name]
    alone = sum("l" in letters for letters in axes.split()) == 1
    if (name, fault) in FREE or (fault == "lengths" and alone):
        operator(*FAULTS[fault](axes))
        return
    with pytest.raises(ValueError, match=r"must|empty|takes"):
        operator(*FAULTS[fault](axes))


@pytest.mark.parametrize("sizes", [{"l": 1}, {"b": 0}], ids=["one place", "no row"])
@pytest.mark.parametrize("name", OPERATORS)
def test_operators_take(name: str, sizes: dict[str, int]) -> None:
    operator, axes = OPERATORS[name]
    y = operator(*operands(axes, **sizes))
    y = y[0] if isinstance(y, tuple) else y
    time = axes.split()[0].index("l")
    assert (y.shape[0], y.shape[time]) == (sizes.get("b", B), sizes.get("l", L))
