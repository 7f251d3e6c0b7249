"""The cases of decoding: one token a row, from a state that is updated in place."""

from typing import Any

import torch
from torch import Tensor

from ssm_kernels.bench.case import OURS, Case, Cost, Impl
from ssm_kernels.bench.peers import compiled, imported
from ssm_kernels.causal_conv1d.op import causal_conv1d_step
from ssm_kernels.state_update.op import state_update
from ssm_ref.selective import causal_conv1d as conv_definition
from ssm_ref.selective.ssd import ssd_step

CACHE_BYTES = 2**28  # several times the second-level cache of a card


def state_update_case(
    b: int, h: int, p: int, n: int, dtype: torch.dtype = torch.bfloat16, device: str = "cuda"
) -> Case:
    """One step of Mamba-2 with a float32 state: ours, and mamba-ssm's."""
    gen = torch.Generator(device).manual_seed(0)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=gen, device=device)

    ours = {
        "state": normal(b, h, p, n),
        "x": normal(b, h, p).to(dtype),
        "dt": (normal(b, h) / 2).to(dtype),
        "A": -torch.linspace(1, 16, h, device=device),
        "B": normal(b, 1, n).to(dtype),
        "C": normal(b, 1, n).to(dtype),
        "D": normal(h),
        "dt_bias": normal(h) / 2 - 4,
    }

    def definition(state: Tensor, **t: Any) -> Tensor:
        y, after = ssd_step(state, **t, dt_softplus=True)
        state.copy_(after)
        return y

    impls = {OURS: Impl(operands=ours, call=lambda **t: state_update(**t, dt_softplus=True))}
    if peer := imported("mamba_ssm.ops.triton.selective_state_update", "selective_state_update"):
        # Strides of zero tell it that a head has one step size and one A.
        theirs = ours | {
            "dt": ours["dt"][:, :, None].expand(-1, -1, p),
            "A": ours["A"][:, None, None].expand(-1, p, n),
            "D": ours["D"][:, None].expand(-1, p),
            "dt_bias": ours["dt_bias"][:, None].expand(-1, p),
        }
        impls["mamba_ssm"] = Impl(operands=theirs, call=lambda **t: peer(**t, dt_softplus=True))
    state_bytes = ours["state"].nbytes
    rest = 2 * ours["x"].nbytes + sum(ours[name].nbytes for name in ("dt", "B", "C"))
    return Case(
        op="state_update",
        shape={"b": b, "h": h, "p": p, "n": n},
        dtype=dtype,
        impls=impls | compiled(ours, definition, device),
        exact=lambda **t: ssd_step(**t, dt_softplus=True)[0],
        sliced=frozenset({"state", "x", "dt", "B", "C"}),
        costs={"decode": Cost(bytes_moved=2 * state_bytes + rest, flops=6 * b * h * p * n)},
        copies=max(1, min(20, CACHE_BYTES // state_bytes)),
    )


def conv_step_case(
    b: int, d: int, k: int, dtype: torch.dtype = torch.bfloat16, device: str = "cuda"
) -> Case:
    """One step of the convolution with bias and SiLU: ours, and causal-conv1d's."""
    gen = torch.Generator(device).manual_seed(0)
    shapes = {"x": (b, d), "state": (b, k - 1, d), "weight": (d, k), "bias": (d,)}
    ours = {
        name: torch.randn(shape, generator=gen, device=device).to(dtype)
        for name, shape in shapes.items()
    }

    def definition(state: Tensor, **t: Tensor) -> Tensor:
        y, after = conv_definition.causal_conv1d_step(state=state, **t, activation="silu")
        state.copy_(after)
        return y

    impls = {
        OURS: Impl(operands=ours, call=lambda **t: causal_conv1d_step(**t, activation="silu")[0])
    }
    if peer := imported("causal_conv1d", "causal_conv1d_update"):
        theirs = ours | {"state": ours["state"].mT.contiguous()}

        def update(state: Tensor, **t: Tensor) -> Tensor:
            y: Tensor = peer(conv_state=state, **t, activation="silu")
            return y

        impls["causal_conv1d"] = Impl(operands=theirs, call=update)
    return Case(
        op="causal_conv1d",
        shape={"b": b, "d": d, "k": k},
        dtype=dtype,
        impls=impls | compiled(ours, definition, device),
        exact=lambda **t: conv_definition.causal_conv1d_step(**t, activation="silu")[0],
        sliced=frozenset({"x", "state"}),
        costs={
            "decode": Cost(
                bytes_moved=2 * ours["x"].nbytes + 2 * ours["state"].nbytes, flops=2 * b * d * k
            )
        },
        copies=20,
    )
