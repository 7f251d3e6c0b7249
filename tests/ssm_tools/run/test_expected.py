"""Expected output in comments: when it agrees, and how it is rewritten."""

from __future__ import annotations

import pytest

from ssm_tools.run.expected import agrees, expectations, rewrite
from ssm_tools.run.snippets import parse_text

ROWS = [
    ("1", "1", True),
    ("1", "2", False),
    ("100000", "100001", False),
    ("0.1429", "0.14286", True),
    ("0.5", "0.51", False),
    ("1e-3", "0.001", True),
    ("tensor([1., 2.])", "tensor([1.0001, 2.0])", True),
    ("tensor([1., 2.])", "tensor([1., 2., 3.])", False),
    ("-1.0", "1.0", False),
    ("a  b", "a b", True),
    ("a b", "a c", False),
    ("loss ... done", "loss 0.3\nmore\ndone", True),
    ("loss ... done", "loss 0.3", False),
    ("nan", "nan", True),
    ("shape (2, 3)", "shape (2, 4)", False),
]


@pytest.mark.parametrize(("wanted", "got", "expected"), ROWS)
def test_agrees(wanted: str, got: str, expected: bool) -> None:
    assert agrees(wanted, got) is expected


def test_each_block_has_the_output_since_the_last() -> None:
    text = "print(1)\n#> 1\nprint(2)\nprint(3)\n#> 2\n#> 4\n"
    snippet = parse_text(text, "a.py", "a/a")
    spoken = [(1, "1\n"), (3, "2\n"), (4, "3\n")]
    first, second = expectations(snippet, spoken)
    assert first.holds
    assert not second.holds
    assert (second.line, second.end) == (5, 6)
    assert second.diff() == "  2\n- 4\n+ 3"
    assert rewrite(text, [second]) == "print(1)\n#> 1\nprint(2)\nprint(3)\n#> 2\n#> 3\n"
