"""Checks of public edges: what they let through and what they say of the rest."""

from dataclasses import dataclass
from typing import Any

import pytest

from ssm_ref.expect import expect_counts, expect_sizes


@dataclass(frozen=True)
class Widths:
    d_model: int = 8
    n_layers: int = 0
    eps: float = 1e-5


@pytest.mark.parametrize("wrong", [0, -1, 2.0, "2", None, True])
def test_sizes_are_integers_of_at_least_one(wrong: Any) -> None:
    expect_sizes(d_in=1, d_model=8)
    with pytest.raises(ValueError, match="d_in and d_model must be integers of at least 1; got 8"):
        expect_sizes(d_in=8, d_model=wrong)
    with pytest.raises(ValueError, match=f"rank must be integers of at least 1; got {wrong!r}$"):
        expect_sizes(rank=wrong)


def test_counts_named_at_least_one_are_fields() -> None:
    expect_counts(Widths(), "d_model")
    with pytest.raises(ValueError, match="n_layers must be at least 1; got 0"):
        expect_counts(Widths(), "d_model", "n_layers")
    with pytest.raises(ValueError, match="must name fields of Widths; got d_modle, width"):
        expect_counts(Widths(), "width", "d_model", "d_modle")
