"""Whole models of 130M parameters: a training step, prefill, and one token of decoding.

Ours is the reference model, as it is (`reference`) and with `accelerate`; beside it stand the
models of mamba-ssm and transformers. A training step is the loss and all gradients, without the
optimiser; `decode` is a step as Python calls it, `decode_graph` one replayed as a CUDA graph.
"""

import importlib
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from ssm_kernels.accelerate import accelerate
from ssm_kernels.bench.case import OURS
from ssm_kernels.bench.measure import FAILURES, GROWTH, is_too_slow, reading
from ssm_kernels.bench.row import Row, whole_row
from ssm_ref.language_model import LanguageModel
from ssm_ref.selective import mamba, mamba2

BATCH, LENGTH = 8, 2048
DECODED = (1, 64)  # rows of a decoding batch
VOCABULARY = 50_277
Call = Callable[[], Any]


@dataclass(frozen=True, slots=True)
class Subject:
    """A model, what gives its logits, and what prepares prefill and decoding of a batch."""

    model: nn.Module
    logits: Callable[[Tensor], Tensor]
    prefill: Callable[[Tensor], Call]
    decode: Callable[[Tensor], Call]


def ours(model: LanguageModel) -> Subject:
    """A model of `ssm_ref`."""

    def prefill(ids: Tensor) -> Call:
        state = model.allocate_state(ids.shape[0])
        return lambda: model.prefill(ids, state)

    def decode(ids: Tensor) -> Call:
        state = model.allocate_state(ids.shape[0])
        return lambda: model.step(ids, state)

    return Subject(model, model, prefill, decode)


def reference(build: Callable[[], LanguageModel], *, fast: bool = False) -> Subject:
    """A new model of `ssm_ref`, with our operators if it is to be fast."""
    model = build()
    if fast:
        accelerate(model)
    return ours(model)


def mamba_ssm(generation: int) -> Subject:
    """The model of mamba-ssm, which keeps its states in `InferenceParams`."""
    config = importlib.import_module("mamba_ssm.models.config_mamba").MambaConfig
    module = importlib.import_module("mamba_ssm.models.mixer_seq_simple")
    params = importlib.import_module("mamba_ssm.utils.generation").InferenceParams
    shell, _ = mamba.published_config("130m")
    model = module.MambaLMHeadModel(
        config(
            d_model=shell.d_model,
            n_layer=shell.n_layers,
            vocab_size=VOCABULARY,
            ssm_cfg={"layer": f"Mamba{generation}" if generation > 1 else "Mamba1"},
        )
    )

    def cached(rows: int, offset: int) -> Any:
        cache = model.allocate_inference_cache(rows, LENGTH, dtype=torch.bfloat16)
        return params(
            max_seqlen=LENGTH,
            max_batch_size=rows,
            seqlen_offset=offset,
            key_value_memory_dict=cache,
        )

    def prefill(ids: Tensor) -> Call:
        state = cached(ids.shape[0], 0)
        return lambda: model(ids, inference_params=state)

    def decode(ids: Tensor) -> Call:
        state = cached(ids.shape[0], 1)
        return lambda: model(ids[:, None], inference_params=state)

    return Subject(model, lambda ids: model(ids).logits, prefill, decode)


def transformers(generation: int) -> Subject:
    """The model of transformers, by whatever path it finds installed."""
    library = importlib.import_module("transformers")
    name = "Mamba" if generation == 1 else "Mamba2"
    shell, _ = mamba.published_config("130m")
    sizes: dict[str, Any] = {
        "hidden_size": shell.d_model,
        "num_hidden_layers": shell.n_layers,
        "tie_word_embeddings": True,  # as in the others; not the default of Mamba2Config
    }
    if generation == 2:
        sizes |= {"num_heads": 2 * shell.d_model // 64, "head_dim": 64, "n_groups": 1}
    config = getattr(library, f"{name}Config")(vocab_size=shell.padded_vocab_size, **sizes)
    model = getattr(library, f"{name}ForCausalLM")(config)

    def prefill(ids: Tensor) -> Call:
        return lambda: model(ids, use_cache=True)

    def decode(ids: Tensor) -> Call:
        cache = model(ids[:, None].expand(-1, 4), use_cache=True).cache_params
        return lambda: model(ids[:, None], cache_params=cache, use_cache=True)

    return Subject(model, lambda ids: model(ids).logits, prefill, decode)


def makers() -> dict[tuple[int, str], Callable[[], Subject]]:
    """Generation of Mamba and implementation → what builds the subject, the fastest first."""
    made: dict[tuple[int, str], Callable[[], Subject]] = {}
    for generation, build in published().items():
        made[generation, OURS] = partial(reference, build, fast=True)
        made[generation, "mamba_ssm"] = partial(mamba_ssm, generation)
    return made | {(g, "transformers"): partial(transformers, g) for g in published()}


def definitions() -> dict[tuple[int, str], Callable[[], Subject]]:
    """The same for the models of `ssm_ref` as they are."""
    return {(g, "reference"): partial(reference, build) for g, build in published().items()}


def published() -> dict[int, Callable[[], LanguageModel]]:
    """Generation of Mamba → what builds its published model of 130M parameters."""
    return {
        1: lambda: mamba.MambaLanguageModel(*mamba.published_config("130m")),
        2: lambda: mamba2.Mamba2LanguageModel(*mamba2.published_config("130m")),
    }


def trained(subject: Subject, ids: Tensor) -> Call:
    """A training step without its optimiser: the loss of the next token and all gradients."""
    parameters = list(subject.model.parameters())

    def step() -> None:
        logits = subject.logits(ids)
        loss = cross_entropy(logits[:, :-1].flatten(0, 1).float(), ids[:, 1:].flatten())
        torch.autograd.grad(loss, parameters)

    return step


def without_gradients(call: Call) -> Call:
    """`call`, recording nothing."""

    def run() -> Any:
        with torch.no_grad():
            return call()

    return run


def replayed(call: Call) -> Call:
    """`call` recorded as a CUDA graph, after three calls that tune and allocate."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            call()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        call()
    return graph.replay


def decoding(subject: Subject, ids: Tensor, *, graph: bool = False) -> Call:
    """One token a row, from a state that is prepared here."""
    with torch.no_grad():
        step = without_gradients(subject.decode(ids))
    return replayed(step) if graph else step


def passes(
    subject: Subject, ids: Tensor
) -> Iterator[tuple[str, dict[str, int], Callable[[], Call]]]:
    """Name, sizes and maker of every pass that is timed."""
    b, l = ids.shape
    yield "fwd_bwd", {"b": b, "l": l}, lambda: trained(subject, ids)
    yield "prefill", {"b": b, "l": l}, lambda: without_gradients(subject.prefill(ids))
    for rows in DECODED:
        one = ids.flatten()[:rows].contiguous()

        yield "decode", {"b": rows}, partial(decoding, subject, one)
        if ids.is_cuda:
            yield "decode_graph", {"b": rows}, partial(decoding, subject, one, graph=True)


def model_rows(place: Mapping[str, Any], left: Callable[[], float]) -> Iterator[Row]:
    """Rows of the models that somebody would use."""
    return rows_of(makers(), [batch_of(LENGTH)], place, left)


def definition_rows(place: Mapping[str, Any], left: Callable[[], float]) -> Iterator[Row]:
    """Rows of the models as they are defined, first at a length that tells what a longer costs."""
    return rows_of(definitions(), [batch_of(LENGTH // GROWTH), batch_of(LENGTH)], place, left)


def batch_of(length: int) -> Tensor:
    """Tokens (b, l) at random, on the GPU."""
    return torch.randint(VOCABULARY, (BATCH, length), device="cuda")


def rows_of(
    made: Mapping[tuple[int, str], Callable[[], Subject]],
    batches: Sequence[Tensor],
    place: Mapping[str, Any],
    left: Callable[[], float],
) -> Iterator[Row]:
    """One row a model and pass, in bfloat16, while time is left; failures are named on stderr.

    Of a pass over sequences one a batch; what would take too long on the next is left out.
    """
    device = batches[0].device
    for (generation, impl), make in made.items():
        if left() <= 0:
            return
        try:
            subject = make()
            subject.model.to(device, torch.bfloat16)
        except FAILURES as failure:
            print(f"mamba {generation} {impl}: {failure!r:.300}", file=sys.stderr)
            continue
        times: dict[str, list[float]] = defaultdict(list)
        for ids in batches:
            for name, sizes, prepare in passes(subject, ids):
                what = f"mamba {generation} {impl} {name}"
                if left() <= 0:
                    return
                if ("l" in sizes or ids is batches[-1]) and not is_too_slow(times[name], what):
                    try:
                        found = reading(prepare())
                    except FAILURES as failure:
                        print(f"{what}: {failure!r:.300}", file=sys.stderr)
                        continue
                    if "l" in sizes:
                        times[name].append(found[0])
                    shape = {"mamba": generation, **sizes}
                    yield whole_row("language_model", impl, name, shape, found, place)
        del subject, prepare
        if device.type == "cuda":
            torch.cuda.empty_cache()
