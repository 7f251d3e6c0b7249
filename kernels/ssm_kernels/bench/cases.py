"""The table of what is timed: one function an operator and shape, which returns its `Case`.

To add an operator, write such a function and name it in `HEADLINE`, and in `LENGTHS` if its time
is worth knowing against the length. The first have 32,768 tokens and published sizes.
"""

import importlib.util
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from ssm_kernels.bench.case import OURS, Case, Cost, Impl
from ssm_kernels.bench.decode_cases import conv_step_case, state_update_case
from ssm_kernels.bench.peers import compiled, imported
from ssm_kernels.causal_conv1d.op import causal_conv1d
from ssm_kernels.gated_rms_norm.op import gated_rms_norm
from ssm_kernels.selective_scan.op import selective_scan
from ssm_kernels.ssd.op import ssd
from ssm_ref.selective import causal_conv1d as conv_definition
from ssm_ref.selective import gated_rms_norm as norm_definition
from ssm_ref.selective.selective_scan import selective_scan_chunked
from ssm_ref.selective.ssd import ssd_chunked

HALF = torch.bfloat16
UNROLLED, LARGE = 32, 128  # chunks of which a compiler can unroll the steps, or what joins them
Make = Callable[[], Case]


def normals(device: str) -> Callable[..., Tensor]:
    """A source of the same normal numbers on every run."""
    gen = torch.Generator(device).manual_seed(0)
    return lambda *shape: torch.randn(shape, generator=gen, device=device)


def channel_first(t: Tensor) -> Tensor:
    """(b, l, d) as (b, d, l), or back."""
    return t.mT.contiguous()


def selective_scan_case(
    b: int, l: int, d: int, n: int, dtype: torch.dtype = HALF, device: str = "cuda"
) -> Case:
    """Mamba's scan with D, gate, bias and softplus: ours, and mamba-ssm's CUDA operator."""
    normal = normals(device)
    ours = {
        "x": normal(b, l, d).to(dtype),
        "dt": (normal(b, l, d) / 2).to(dtype),
        "A": -torch.arange(1, n + 1, device=device).float().repeat(d, 1),
        "B": normal(b, l, n).to(dtype),
        "C": normal(b, l, n).to(dtype),
        "D": normal(d),
        "z": normal(b, l, d).to(dtype),
        "dt_bias": normal(d) / 2 - 4,
    }

    def exact(**t: Any) -> Tensor:
        return selective_scan_chunked(**t, dt_softplus=True)[0]

    impls = {OURS: Impl(operands=ours, call=lambda **t: selective_scan(**t, dt_softplus=True)[0])}
    # The interface imports without its CUDA extension and fails only when it is called.
    built = importlib.util.find_spec("selective_scan_cuda") is not None
    if built and (peer := imported("mamba_ssm.ops.selective_scan_interface", "selective_scan_fn")):
        names = {"x": "u", "dt": "delta", "dt_bias": "delta_bias"}
        impls["mamba_ssm"] = Impl(
            operands={
                names.get(name, name): channel_first(t) if t.ndim == 3 else t
                for name, t in ours.items()
            },
            call=lambda **t: peer(**t, delta_softplus=True),
            x="u",
            layout=channel_first,
        )
    tokens, size = b * l, ours["x"].element_size()
    wide, narrow = tokens * d * size, tokens * n * size
    fwd, bwd = 4 * wide + 2 * narrow, 7 * wide + 4 * narrow
    return Case(
        op="selective_scan",
        shape={"b": b, "l": l, "d": d, "n": n},
        dtype=dtype,
        impls=impls | compiled(ours, partial(exact, chunk_size=UNROLLED), device),
        exact=exact,
        sliced=frozenset({"x", "dt", "B", "C", "z"}),
        costs={
            "fwd": Cost(bytes_moved=fwd, flops=9 * tokens * d * n),
            "fwd_bwd": Cost(bytes_moved=fwd + bwd, flops=33 * tokens * d * n),
        },
    )


def ssd_case(
    b: int, l: int, h: int, p: int, n: int, dtype: torch.dtype = HALF, device: str = "cuda"
) -> Case:
    """SSD with D, bias and softplus: ours, and mamba-ssm's chunks of 256."""
    normal = normals(device)
    ours = {
        "x": normal(b, l, h, p).to(dtype),
        "dt": (normal(b, l, h) / 2).to(dtype),
        "A": -torch.linspace(1, 16, h, device=device),
        "B": normal(b, l, 1, n).to(dtype),
        "C": normal(b, l, 1, n).to(dtype),
        "D": normal(h),
        "dt_bias": normal(h) / 2 - 4,
    }

    def exact(**t: Any) -> Tensor:
        return ssd_chunked(**t, dt_softplus=True)[0]

    impls = {OURS: Impl(operands=ours, call=lambda **t: ssd(**t, dt_softplus=True)[0])}
    if peer := imported("mamba_ssm.ops.triton.ssd_combined", "mamba_chunk_scan_combined"):
        impls["mamba_ssm"] = Impl(
            operands=ours, call=lambda **t: peer(**t, chunk_size=256, dt_softplus=True)
        )
    tokens, size = b * l, ours["x"].element_size()
    wide, narrow = tokens * h * p * size, tokens * n * size
    fwd, bwd = 2 * wide + tokens * h * size + 2 * narrow, 3 * wide + 2 * tokens * h * size
    flops = 4 * tokens * h * p * n
    return Case(
        op="ssd",
        shape={"b": b, "l": l, "h": h, "p": p, "n": n},
        dtype=dtype,
        impls=impls | compiled(ours, partial(exact, chunk_size=LARGE), device),
        exact=exact,
        sliced=frozenset({"x", "dt", "B", "C"}),
        costs={
            "fwd": Cost(bytes_moved=fwd, flops=flops),
            "fwd_bwd": Cost(bytes_moved=fwd + bwd + 4 * narrow, flops=3 * flops),
        },
        products=True,
    )


def conv_case(
    b: int, l: int, d: int, k: int, dtype: torch.dtype = HALF, device: str = "cuda"
) -> Case:
    """The convolution with bias and SiLU: ours, and causal-conv1d's in both of its layouts."""
    normal = normals(device)
    ours = {"x": normal(b, l, d), "weight": normal(d, k), "bias": normal(d)}
    ours = {name: t.to(dtype) for name, t in ours.items()}

    def exact(**t: Tensor) -> Tensor:
        return conv_definition.causal_conv1d(**t, activation="silu")[0]

    impls = {OURS: Impl(operands=ours, call=lambda **t: causal_conv1d(**t, activation="silu")[0])}
    if peer := imported("causal_conv1d", "causal_conv1d_fn"):
        call = partial(peer, activation="silu")
        first = ours | {"x": channel_first(ours["x"])}
        impls["causal_conv1d"] = Impl(operands=first, call=call, layout=channel_first)
        last = ours | {"x": ours["x"].mT}
        impls["causal_conv1d channel-last"] = Impl(operands=last, call=call, layout=lambda t: t.mT)
    if fla := imported("fla.modules.causal_conv1d", "causal_conv1d"):
        impls["fla-core"] = Impl(operands=ours, call=lambda **t: fla(**t, activation="silu")[0])
    wide = b * l * d * ours["x"].element_size()
    return Case(
        op="causal_conv1d",
        shape={"b": b, "l": l, "d": d, "k": k},
        dtype=dtype,
        impls=impls | compiled(ours, exact, device),
        exact=exact,
        sliced=frozenset({"x"}),
        costs={
            "fwd": Cost(bytes_moved=2 * wide, flops=2 * b * l * d * k),
            "fwd_bwd": Cost(bytes_moved=5 * wide, flops=6 * b * l * d * k),
        },
    )


def norm_case(
    rows: int,
    d: int,
    dtype: torch.dtype = HALF,
    device: str = "cuda",
    *,
    norm_first: bool = False,
) -> Case:
    """Gate first, then RMSNorm, as in Mamba-2, or the reverse: ours, mamba-ssm's and fla's."""
    normal = normals(device)
    ours = {"x": normal(rows, d).to(dtype), "weight": normal(d), "z": normal(rows, d).to(dtype)}
    call = partial(gated_rms_norm, norm_before_gate=norm_first)
    exact = partial(norm_definition.gated_rms_norm, norm_before_gate=norm_first)
    impls = {OURS: Impl(operands=ours, call=call)}
    if peer := imported("mamba_ssm.ops.triton.layernorm_gated", "rmsnorm_fn"):
        options = {"bias": None, "eps": 1e-5, "norm_before_gate": norm_first}
        impls["mamba_ssm"] = Impl(operands=ours, call=lambda **t: peer(**t, **options))
    fla = imported("fla.modules.norm.fused_norm_gate", "rms_norm_gated") if norm_first else None
    if fla is not None:
        theirs = {"x": ours["x"], "weight": ours["weight"], "g": ours["z"]}
        impls["fla-core"] = Impl(operands=theirs, call=lambda **t: fla(**t, bias=None, eps=1e-5))
    wide = rows * d * ours["x"].element_size()
    return Case(
        op="gated_rms_norm",
        shape={"rows": rows, "d": d, "norm_first": int(norm_first)},
        dtype=dtype,
        impls=impls | compiled(ours, exact, device),
        exact=exact,
        sliced=frozenset({"x", "z"}),
        rows=512,
        costs={
            "fwd": Cost(bytes_moved=3 * wide, flops=8 * rows * d),
            "fwd_bwd": Cost(bytes_moved=8 * wide, flops=24 * rows * d),
        },
    )


def attention_case(
    b: int, l: int, h: int, p: int, dtype: torch.dtype = HALF, device: str = "cuda"
) -> Case:
    """Causal flash attention, the rival of the scan at the same number of channels, h · p."""
    normal = normals(device)
    ours = {name: normal(b, h, l, p).to(dtype) for name in ("query", "key", "value")}
    call = partial(scaled_dot_product_attention, is_causal=True)
    wide, flops = b * h * l * p * ours["query"].element_size(), 2 * b * h * l * l * p
    return Case(
        op="attention",
        shape={"b": b, "l": l, "h": h, "p": p},
        dtype=dtype,
        impls={"sdpa": Impl(operands=ours, call=call, x="query")},
        exact=call,
        sliced=frozenset(),
        costs={
            "fwd": Cost(bytes_moved=4 * wide, flops=flops),
            "fwd_bwd": Cost(bytes_moved=12 * wide, flops=7 * flops // 2),
        },
        products=True,
    )


TOKENS = 32_768
BATCHES = (1, 64, 256)
LONG = (512, 2048, 8192, 32_768, 131_072)

HEADLINE: dict[str, list[Make]] = {
    "selective_scan": [partial(selective_scan_case, b, TOKENS // b, 2048, 16) for b in (16, 8)],
    "ssd": [partial(ssd_case, 8, 4096, 80, 64, 128)],
    "causal_conv1d": [
        partial(conv_case, 8, 4096, 4096, 4),
        *(partial(conv_step_case, b, 4096, 4) for b in BATCHES),
    ],
    "gated_rms_norm": [
        partial(norm_case, TOKENS, 5120),
        partial(norm_case, TOKENS, 5120, norm_first=True),
    ],
    "state_update": [partial(state_update_case, b, 80, 64, 128) for b in BATCHES],
}
# One sequence, the longest first, then constant tokens wherever that is another shape.
SIZES = [(1, l) for l in reversed(LONG)] + [(TOKENS // l, l) for l in LONG if l < TOKENS]
LENGTHS: dict[str, list[Make]] = {
    "ssd": [partial(ssd_case, b, l, 80, 64, 128) for b, l in SIZES],
    "selective_scan": [
        partial(selective_scan_case, b, l, 2048, 16) for b, l in SIZES if (b, l) != (16, 2048)
    ],
    "attention": [partial(attention_case, b, l, 16, 128) for b, l in SIZES],
}
