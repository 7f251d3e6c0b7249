"""One layer of every kind at one width against the length: training, prefill, one more token.

Time, memory and what is kept between tokens, for one sequence of bfloat16 (S4D: float32, whose
convolution has no narrower form). Layers are those of `ssm_ref`, Mamba's with the operators of this
package; attention is PyTorch's fused one or, `naive`, a matrix of scores. Decoding replays a CUDA
graph, so that the host's time is left out; its keys and values lie in a cache allocated before.
"""

import importlib
import math
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from ssm_kernels.accelerate import accelerate
from ssm_kernels.bench.measure import FAILURES, is_too_slow, reading
from ssm_kernels.bench.models import replayed, without_gradients
from ssm_kernels.bench.row import Row, whole_row
from ssm_ref.attention.transformer import Attention, AttentionConfig, KVCache, attend
from ssm_ref.linear_attention.rwkv7 import WKV7, RWKV7Config, TimeMix, wkv7_chunked
from ssm_ref.selective.mamba import Mamba, MambaConfig
from ssm_ref.selective.mamba2 import Mamba2, Mamba2Config
from ssm_ref.structured.s4d import S4D, S4DConfig

WIDTH, HEAD = 2048, 128
LENGTHS = (512, 2048, 8192, 32_768, 131_072)
NAIVE_LIMIT = 32_768  # where the scores of one layer are 32 GiB, and softmax makes as much again
Call = Callable[[], Any]


@dataclass(frozen=True, slots=True)
class Subject:
    """A layer and its three passes over u (1, l, d); `decode` prepares one token after l."""

    layer: nn.Module
    forward: Callable[[Tensor], Tensor]
    prefill: Callable[[Tensor], tuple[Tensor, Any]]
    decode: Callable[[Tensor, Any], Call]
    longest: int = LENGTHS[-1]


def naive_attend(q: Tensor, k: Tensor, v: Tensor, *_: object) -> Tensor:
    """Softmax of a whole matrix of scores, its future masked."""
    future = torch.ones(q.shape[2], k.shape[2], dtype=torch.bool, device=q.device).triu(1)
    scores = (q @ k.mT / math.sqrt(q.shape[3])).masked_fill(future, -math.inf)
    return scores.softmax(dim=-1) @ v


def attention(
    d: int, *, how: Callable[..., Tensor] = attend, longest: int = LENGTHS[-1]
) -> Subject:
    """Attention of d / 128 heads; decoding writes into a cache as long as the context."""
    layer = Attention(AttentionConfig(d_model=d, n_heads=max(1, d // HEAD)), attend=how)

    def prefill(u: Tensor) -> tuple[Tensor, Any]:
        return layer.prefill(u, layer.allocate_state(u.shape[0]))

    def decode(u: Tensor, state: KVCache) -> Call:
        past, token = state.length - 1, u[:, -1:]
        empty = layer.allocate_state(u.shape[0])._replace(length=past)

        def step() -> Tensor:
            k, v = layer.keys_and_values(token, empty)
            state.k[:, :, past:], state.v[:, :, past:] = k, v
            y = scaled_dot_product_attention(layer.queries(token, past), state.k, state.v)
            return layer.o_proj(y.transpose(1, 2).flatten(2))

        return step

    return Subject(layer, layer, prefill, decode, longest)


def s4d(d: int) -> Subject:
    """S4D with 64 states a channel."""
    layer = S4D(S4DConfig(d_model=d, d_state=64))
    return Subject(
        layer, lambda u: layer(u)[0], layer, lambda u, state: lambda: layer.step(u[:, -1], state)
    )


def mamba(layer: Mamba | Mamba2) -> Subject:
    """Either Mamba, its operators ours."""
    accelerate(layer)
    return Subject(
        layer,
        layer,
        lambda u: layer.prefill(u, layer.allocate_state(u.shape[0])),
        lambda u, state: lambda: layer.step(u[:, -1], state),
    )


def rwkv7(d: int, *, scan: Callable[..., Any] = wkv7_chunked) -> Subject:
    """The time mixing of RWKV-7, heads of 64."""
    layer = TimeMix(RWKV7Config(vocab_size=1, d_model=d, n_blocks=24), 0, scan=scan)

    def prefill(u: Tensor) -> tuple[Tensor, Any]:
        return layer.prefill(u, layer.allocate_state(u.shape[0]), None)[:2]

    return Subject(
        layer,
        lambda u: prefill(u)[0],
        prefill,
        lambda u, state: lambda: layer.step(u[:, -1], state, None),
    )


def fla_rwkv7(d: int) -> Subject:
    """The same with the kernel of fla-core, which takes -κ and κ a for a and b."""
    kernel = importlib.import_module("fla.ops.rwkv7").chunk_rwkv7

    def scan(x: WKV7, S: Tensor) -> tuple[Tensor, Tensor]:
        half = (x.r, x.w.log(), x.k, x.v, -x.kappa, x.kappa * x.a)
        y, last = kernel(*(t.bfloat16() for t in half), output_final_state=True)
        return y.to(S.dtype), last.mT

    return rwkv7(d, scan=scan)


def kinds(d: int) -> dict[str, Callable[[], Subject]]:
    """What is timed, by the name that its rows carry."""
    return {
        "Mamba": lambda: mamba(Mamba(MambaConfig(d_model=d))),
        "Mamba-2": lambda: mamba(Mamba2(Mamba2Config(d_model=d))),
        "attention, flash": partial(attention, d),
        "attention, naive": partial(attention, d, how=naive_attend, longest=NAIVE_LIMIT),
        "S4D": partial(s4d, d),
        "RWKV-7": partial(rwkv7, d),
        "RWKV-7, fla-core": partial(fla_rwkv7, d),
    }


def mebibytes(state: object) -> float:
    """Of all tensors in a state."""
    if isinstance(state, Tensor):
        return state.nbytes / 2**20
    return sum(map(mebibytes, state)) if isinstance(state, tuple | list) else 0.0


def passes(
    subject: Subject, u: Tensor
) -> Iterator[tuple[str, Callable[[], tuple[Call, float | None]]]]:
    """Name of prefill, decoding and training, and what makes its call and says the kept MiB."""
    parameters = list(subject.layer.parameters())
    prefill = without_gradients(lambda: subject.prefill(u))

    def decode() -> tuple[Call, float]:
        _, state = prefill()
        step = without_gradients(subject.decode(u, state))
        return replayed(step) if u.is_cuda else step, mebibytes(state)

    def train() -> None:
        leaf = u.detach().requires_grad_()
        loss = subject.forward(leaf).float().square().mean()
        torch.autograd.grad(loss, [leaf, *parameters], allow_unused=True)

    yield "prefill", lambda: (prefill, mebibytes(prefill()[1]))
    yield "decode", decode
    yield "fwd_bwd", lambda: (train, None)


def layer_rows(place: Mapping[str, Any], left: Callable[[], float]) -> Iterator[Row]:
    """One row a layer, length and pass, while time is left; what fails is named on stderr."""
    for name, make in kinds(WIDTH).items():
        try:
            subject = make()
            subject.layer.to("cuda", dtype_of(name))
        except FAILURES as failure:
            print(f"layer {name}: {failure!r:.300}", file=sys.stderr)
            continue
        yield from rows_of(name, subject, [(1, l, WIDTH) for l in LENGTHS], place, left)
        del subject
        torch.cuda.empty_cache()


def read(
    prepare: Callable[[], tuple[Call, float | None]],
) -> tuple[tuple[float, float, float, float], float | None]:
    """The times and peak of the call that is prepared, and what it keeps."""
    call, kept = prepare()  # a graph lives, with its memory, until this returns
    return reading(call), kept


def dtype_of(kind: str) -> torch.dtype:
    """What a kind's rows are computed in."""
    return torch.float32 if kind == "S4D" else torch.bfloat16


def rows_of(
    name: str,
    subject: Subject,
    shapes: Sequence[tuple[int, int, int]],
    place: Mapping[str, Any],
    left: Callable[[], float],
) -> Iterator[Row]:
    """The rows of one layer, shorter shapes first.

    A pass that failed, or would take too long, is left out at longer shapes.
    """
    like = next(subject.layer.parameters())
    times: dict[str, list[float]] = defaultdict(list)
    failed: set[str] = set()
    for b, l, d in shapes:
        u = torch.randn(b, l, d, device=like.device, dtype=like.dtype)
        for pass_, prepare in passes(subject, u):
            what = f"layer {name} {l} {pass_}"
            if left() <= 0:
                return
            if pass_ in failed or l > subject.longest or is_too_slow(times[pass_], what):
                continue
            try:
                found, kept = read(prepare)
            except FAILURES as failure:
                print(f"{what}: {failure!r:.300}", file=sys.stderr)
                failed.add(pass_)
                continue
            finally:
                if u.is_cuda:
                    torch.cuda.empty_cache()
            times[pass_].append(found[0])
            dtype = str(like.dtype).removeprefix("torch.")
            shape = {"b": b, "l": l, "d": d}
            yield whole_row("layer", name, pass_, shape, found, place, dtype=dtype, state_mib=kept)
