"""Shape annotations held to what passes through them while tests run, and only then.

`install("ssm_ref")` makes every later import of the package check its functions: a call whose
tensors do not have the annotated shapes and dtypes, and that the function takes all the same, is
an error. What the function itself refuses stays its own refusal. Compiled graphs are not checked:
the same code has been, uncompiled.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import wraps
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from types import CodeType, ModuleType
from typing import Any, ParamSpec, TypeVar

MARK = "_checked_annotations"
P = ParamSpec("P")
R = TypeVar("R")


def install(package: str) -> None:
    """Check the annotations of a package that is not imported yet.

    Raises:
        ImportError: it is imported already, so that some of it would go unchecked.
    """
    if package in sys.modules:
        raise ImportError(f"{package} was imported before its annotations could be checked")
    sys.meta_path.insert(0, Finder(package))


class Finder(MetaPathFinder):
    """Finds the modules of one package as Python does, and has `Loader` load them."""

    def __init__(self, package: str) -> None:
        self.package = package

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return the spec of a module of the package, None for every other."""
        if fullname != self.package and not fullname.startswith(f"{self.package}."):
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is not None and isinstance(spec.loader, SourceFileLoader):
            spec.loader = Loader(spec.loader.name, spec.loader.path)
        return spec


class Loader(SourceFileLoader):
    """Compiles a module with the mark on every function whose annotations name a tensor."""

    def get_code(self, fullname: str) -> CodeType:
        """Return the module's code, made anew: kept bytecode would carry the mark elsewhere."""
        path = self.get_filename(fullname)
        tree = ast.parse(self.get_data(path), path)
        for node in _functions(tree):
            if _names_a_tensor(node):
                node.decorator_list.append(ast.copy_location(ast.Name(MARK, ast.Load()), node))
        code: CodeType = compile(tree, path, "exec", dont_inherit=True)
        return code

    def exec_module(self, module: ModuleType) -> None:
        """Run the module with the mark in reach."""
        module.__dict__[MARK] = checked
        super().exec_module(module)


def _functions(node: ast.Module | ast.ClassDef) -> Iterator[ast.FunctionDef]:
    """Yield the functions of a module and of its classes, but for those inside functions."""
    for inner in node.body:
        if isinstance(inner, ast.FunctionDef):
            yield inner
        elif isinstance(inner, ast.ClassDef):
            yield from _functions(inner)


def _names_a_tensor(node: ast.FunctionDef) -> bool:
    """Return whether an annotation is like `Float[Tensor, "b l d"]`."""
    arguments = (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)
    places = [argument.annotation for argument in arguments] + [node.returns]
    return any(
        isinstance(inner, ast.Tuple)
        and isinstance(inner.elts[0], ast.Name)
        and inner.elts[0].id == "Tensor"
        and isinstance(inner.elts[1], ast.Constant)
        for place in places
        if place is not None
        for inner in ast.walk(place)
    )


def checked(function: Callable[P, R]) -> Callable[P, R]:
    """Return the function with its annotations checked at every call."""
    from beartype import beartype
    from jaxtyping import TypeCheckError, jaxtyped

    strict = jaxtyped(function, typechecker=beartype)
    compiling = sys.modules["torch"].compiler.is_compiling

    @wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        if compiling():
            return function(*args, **kwargs)
        try:
            return strict(*args, **kwargs)
        except TypeCheckError:
            function(*args, **kwargs)  # what it refuses by itself, it refuses in its own words
            raise

    # One code object each: the compiler keeps, and counts, what it compiled by code object.
    own: Any = call
    own.__code__ = own.__code__.replace(co_name=f"checked_{function.__name__}")
    return call
