"""Operators of `torch.library` with a short way in for eager calls.

`operator` is `torch.library.custom_op`, with the same three steps, and a cheaper call:

    @operator("scale")                      # ssm_kernels::scale, its schema from the annotations
    def scale(x: Tensor, by: float) -> Tensor: ...            # allocates, launches

    @scale.register_fake
    def _(x: Tensor, by: float) -> Tensor: ...                # shapes for the compiler

    scale.register_autograd(gradients, setup_context=save)    # if it has gradients

and is called as `scale(x, 2.0)`. Under `torch.compile`, `torch.export`, modes and transforms, and
for subclasses of `Tensor`, that is `torch.ops.ssm_kernels.scale`, which they know how to treat. A
plain eager call goes straight to the function, or through one `autograd.Function`: the registered
way costs several times what a launch does, and its first call imports the compiler, which takes
seconds.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import Parameter

NAMESPACE = "ssm_kernels"


def operator(name: str, *, mutates_args: Sequence[str] = ()) -> Callable[..., "Operator"]:
    """Registers the decorated function as `ssm_kernels::<name>`.

    Its annotations give the schema, as for `custom_op`; its outputs must not be its inputs.
    """

    def register(launch: Callable[..., Any]) -> Operator:
        return Operator(name, launch, mutates_args)

    return register


class Operator:
    """A registered operator; calling it takes the short way where nothing needs the long one."""

    def __init__(self, name: str, launch: Callable[..., Any], mutates_args: Sequence[str]) -> None:
        self.launch = launch
        self.registered = torch.library.custom_op(
            f"{NAMESPACE}::{name}", self._on_its_device, mutates_args=mutates_args,
            schema=torch.library.infer_schema(launch, mutates_args=mutates_args),
        )  # fmt: skip
        self.overload = getattr(getattr(torch.ops, NAMESPACE), name).default
        names = [argument.name for argument in self.overload._schema.arguments]
        self.mutated = [names.index(mutated) for mutated in mutates_args]
        self.function: type[torch.autograd.Function] | None = None

    def register_fake(self, fake: Callable[..., Any]) -> Callable[..., Any]:
        """Gives the compiler the shapes and dtypes of the outputs."""
        self.registered.register_fake(fake)
        return fake

    def register_autograd(
        self, gradients: Callable[..., Any], *, setup_context: Callable[..., None]
    ) -> None:
        """Gives both ways the same gradients: `gradients(ctx, *output_grads)`, one per input."""
        self.registered.register_autograd(gradients, setup_context=setup_context)
        run = self._on_its_device

        class Recorded(torch.autograd.Function):
            @staticmethod
            def forward(ctx: Any, *args: Any) -> Any:
                output = run(*args)
                setup_context(ctx, args, output)
                return output

            backward = staticmethod(gradients)

        self.function = Recorded

    def __call__(self, *args: Any) -> Any:
        """The outputs for positional arguments, as the schema orders them."""
        if torch.compiler.is_compiling() or _is_watched(args):
            return self.overload(*args)
        recorded = False
        for a in args:
            kind = type(a)
            if kind is Tensor or kind is Parameter:
                recorded = recorded or a.requires_grad
            elif isinstance(a, Tensor):  # a subclass that need not be a tensor to Triton
                return self.overload(*args)
        if recorded and torch.is_grad_enabled():
            # Without gradients, the registered operator says so when they are asked for.
            return self.overload(*args) if self.function is None else self.function.apply(*args)
        output = self._on_its_device(*args)
        for i in self.mutated:
            torch.autograd.graph.increment_version(args[i])
        return output

    def _on_its_device(self, *args: Any) -> Any:
        """The launch: Triton takes the current device, which need not be that of the tensors."""
        first = args[0]
        if not first.is_cuda or first.get_device() == torch.cuda.current_device():
            return self.launch(*args)
        with torch.cuda.device(first.device):
            return self.launch(*args)


def _is_watched(args: tuple[Any, ...]) -> bool:
    """Whether a mode, transform or tracer must see this call."""
    return (
        torch._C._len_torch_dispatch_stack() > 0
        or torch._C._are_functorch_transforms_active()
        or torch._C._get_tracing_state() is not None
        or torch.overrides.has_torch_function(args)
    )
