"""What a page can show: text, values with shape and dtype, tables, markup and figures."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from ssm_tools.run import Outcome, Output
from ssm_tools.run.session import as_on_a_terminal

RunText = Callable[[str], Outcome]


def outputs(outcome: Outcome) -> tuple[Output, ...]:
    assert outcome.result is not None, outcome.findings
    return outcome.result.outputs


def test_text_and_value_in_order(run_text: RunText) -> None:
    text = """
        # %% setup
        import os, torch
        print("hidden")
        # %% shown
        print("from above", end=" ")
        os.system if False else os.write(1, b"from below\\n")
        print("after")
        # %% shown
        x = torch.zeros(2, 3, dtype=torch.float64)
        x
        # %% check
        print("hidden")
        x
    """
    first, second = outputs(run_text(text))
    assert (first.kind, first.cell, first.line) == ("text", 1, 5)
    assert first.data == "from above from below\nafter\n"
    assert (second.kind, second.cell, second.line) == ("repr", 2, 10)
    assert second.name == "Tensor (2, 3) float64"
    assert second.data.startswith("tensor([[0., 0., 0.],")


def test_error_stream_is_named(run_text: RunText) -> None:
    (output,) = outputs(run_text("import sys\nprint('oh', file=sys.stderr)\n"))
    assert (output.kind, output.data, output.name) == ("text", "oh\n", "stderr")


def test_text_is_what_a_terminal_leaves(run_text: RunText) -> None:
    text = r"""
        print("\x1b[1;31mred\x1b[0m", "\x1b]8;;http://x\x07link\x1b]8;;\x07")
        print(" 5 %\r50 %\r9", end="\r\n")
        print("bell\a")
    """
    (output,) = outputs(run_text(text))
    assert output.data == "red link\n90 %\nbell\ufffd\n"


def test_declared_error_and_warning(run_text: RunText) -> None:
    text = """
        # snippet: raises=ZeroDivisionError warns=UserWarning
        # %% shown
        import warnings

        warnings.warn("mind")
        print("before")
        1 / 0
        # %% shown
        print("after")
    """
    found = [(one.kind, one.data, one.name) for one in outputs(run_text(text))]
    assert found == [
        ("text", "UserWarning: mind\n", "UserWarning"),
        ("text", "before\n", ""),
        ("error", "ZeroDivisionError: division by zero", "ZeroDivisionError"),
        ("text", "after\n", ""),
    ]


def test_table(run_text: RunText) -> None:
    text = '[{"model": "S4", "err": 0.123456}, {"model": "S5", "n": 2}]\n'
    (output,) = outputs(run_text(text))
    assert output.kind == "table"
    assert json.loads(output.data) == {
        "columns": ["model", "err", "n"],
        "rows": [["S4", "0.1235", ""], ["S5", "", "2"]],
    }


def test_html(run_text: RunText) -> None:
    text = "class H:\n    def _repr_html_(self):\n        return '<b>x</b>'\n\n\nH()\n"
    (output,) = outputs(run_text(text))
    assert (output.kind, output.data, output.name) == ("html", "<b>x</b>", "H")


def test_figure_in_both_schemes(run_text: RunText) -> None:
    text = """
        import matplotlib.pyplot as plt

        fig, ax = plt.subplots()
        ax.plot([1, 2, 3])
        ax.set_title("Растёт")
    """
    (output,) = outputs(run_text(text))
    assert (output.kind, output.name, output.line) == ("svg", "Растёт", 3)
    assert output.data_dark is not None
    assert output.data.startswith("<svg")
    assert "Растёт" in output.data
    assert "#1b1b1c" in output.data
    assert "#1b1b1c" not in output.data_dark
    again = outputs(run_text(text))
    assert again == (output,)


def test_source_of_a_function_is_found(run_text: RunText) -> None:
    text = """
        import inspect

        def double(x):
            return 2 * x

        print(inspect.getsource(double))
        #> def double(x):
        #>     return 2 * x
    """
    assert outputs(run_text(text))


def test_kernel_runs_in_the_interpreter(run_text: RunText) -> None:
    text = """
        import torch
        import triton
        import triton.language as tl


        @triton.jit
        def double(x_ptr, y_ptr, N: tl.constexpr):
            o = tl.arange(0, N)
            tl.store(y_ptr + o, 2 * tl.load(x_ptr + o))


        x, y = torch.arange(4.0), torch.empty(4)
        double[(1,)](x, y, N=4)
        y
        #> tensor([0., 2., 4., 6.])
    """
    (output,) = outputs(run_text(text))
    assert output.name == "Tensor (4,) float32"


@pytest.mark.parametrize(
    ("written", "left"),
    [
        ("50 percent\r\x1b[Kdone\n", "done\n"),
        ("50 percent\x1b[2K\rdone\n", "done\n"),
        ("1 %\b\b\b2 %\n", "2 %\n"),
        ("50 %\r", "50 %"),
        ("\bx", "x"),
    ],
)
def test_what_is_erased_is_gone(written: str, left: str) -> None:
    assert as_on_a_terminal(written) == left
