"""Shape annotations: what breaks them fails, what refuses by itself keeps its own words."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import ModuleType

import pytest
import torch
from jaxtyping import TypeCheckError

from ssm_tools import annotations

MakeProject = Callable[[Mapping[str, str]], Path]

MODULE = '''
    """Functions whose annotations say more, less or just what they take."""

    import torch
    from jaxtyping import Float
    from torch import Tensor, nn


    def double(x: Float[Tensor, "b l"]) -> Float[Tensor, "b l"]:
        return 2 * x


    def strict(x: Float[Tensor, "b l"]) -> Float[Tensor, "b l"]:
        if x.ndim != 2:
            raise ValueError(f"x must have shape (b, l); got {tuple(x.shape)}")
        return x


    def transposed(x: Float[Tensor, "b l"]) -> Float[Tensor, "b l"]:
        return x.mT


    def plain(x: int) -> str:
        return x


    class Layer(nn.Module):
        def forward(self, x: Float[Tensor, "b l"]) -> Float[Tensor, "b l"]:
            return double(x)
'''


@pytest.fixture
def shapes(make_project: MakeProject, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    root = make_project({"shape_examples/__init__.py": "", "shape_examples/shapes.py": MODULE})
    monkeypatch.syspath_prepend(root)
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
    annotations.install("shape_examples")
    import shape_examples.shapes

    yield shape_examples.shapes
    for name in ("shape_examples", "shape_examples.shapes"):
        del sys.modules[name]


def test_what_fits_passes_and_what_does_not_fails(shapes: ModuleType) -> None:
    x = torch.ones(2, 3)
    torch.testing.assert_close(shapes.double(x), 2 * x)
    torch.testing.assert_close(shapes.Layer()(x), 2 * x)
    for call in (shapes.double, shapes.Layer()):
        with pytest.raises(TypeCheckError, match=r"double|forward"):
            call(torch.ones(2, 3, 4))
    with pytest.raises(TypeCheckError, match="return value"):
        shapes.transposed(x)


def test_a_refusal_keeps_its_own_words(shapes: ModuleType) -> None:
    with pytest.raises(ValueError, match=r"x must have shape \(b, l\); got \(3,\)"):
        shapes.strict(torch.ones(3))


def test_other_annotations_and_compiled_graphs_are_left_alone(shapes: ModuleType) -> None:
    assert shapes.plain(1) == 1
    compiled = torch.compile(shapes.Layer(), fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(torch.ones(2, 3)), torch.full((2, 3), 2.0))


def test_nothing_of_it_is_kept_as_bytecode(shapes: ModuleType) -> None:
    assert not list(Path(str(shapes.__file__)).parent.rglob("*.pyc"))


def test_the_references_are_checked_in_every_test() -> None:
    from ssm_ref.norm import rms_norm

    with pytest.raises(ImportError, match="before its annotations could be checked"):
        annotations.install("ssm_ref")
    assert rms_norm.__code__.co_name == "checked_rms_norm"
