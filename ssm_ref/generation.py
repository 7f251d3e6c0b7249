"""Text from any language model here: one prefill, then steps of constant cost.

Prompts of unequal length need no padding: the part that all rows have is prefilled at once, then
every row steps, and a row whose prompt goes on takes its own next token instead of a sample. The
state never sees a token that is not the row's own, so a batch gives what each prompt gives alone.

    p = softmax(logits / temperature), cut to the top_k largest and the top_p mass    (1)
"""

import math
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ssm_ref.expect import is_integer
from ssm_ref.language_model import LanguageModel


@dataclass(frozen=True, kw_only=True, slots=True)
class Sampling:
    """How a token is chosen; temperature 0 is greedy, and without a seed every run differs."""

    temperature: float = 0.0
    top_k: int | None = None
    top_p: float = 1.0
    seed: int | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.temperature < math.inf:
            raise ValueError(f"temperature must be finite and ≥ 0; got {self.temperature}")
        for name in ("top_k", "seed"):
            if (value := getattr(self, name)) is not None and not is_integer(value):
                raise ValueError(f"{name} must be an integer; got {value!r}")
        if self.top_k is not None and self.top_k < 1:
            raise ValueError(f"top_k must be at least 1; got {self.top_k}")
        if not 0 < self.top_p <= 1:
            raise ValueError(f"top_p must be in (0, 1]; got {self.top_p}")


def probabilities(logits: Float[Tensor, "b v"], sampling: Sampling) -> Float[Tensor, "b v"]:
    """The distribution of Eq. (1); all mass on the largest logit when temperature is 0."""
    if sampling.temperature == 0:
        return torch.zeros_like(logits).scatter(1, logits.argmax(dim=1, keepdim=True), 1.0)
    scaled = logits.to(torch.promote_types(logits.dtype, torch.float32)) / sampling.temperature
    if sampling.top_k is not None and sampling.top_k < scaled.shape[1]:
        least = scaled.topk(sampling.top_k, dim=1).values[:, -1:]
        scaled = scaled.masked_fill(scaled < least, -torch.inf)
    p = scaled.softmax(dim=1)
    if sampling.top_p < 1:
        ordered, order = p.sort(dim=1, descending=True, stable=True)
        outside = ordered.cumsum(dim=1) - ordered >= sampling.top_p  # the largest always stays
        p = torch.zeros_like(p).scatter(1, order, ordered.masked_fill(outside, 0))
        p = p / p.sum(dim=1, keepdim=True)  # (1)
    return p


def stream(
    model: LanguageModel,
    prompts: Sequence[Sequence[int]] | Int[Tensor, "b l"],
    *,
    max_new_tokens: int,
    sampling: Sampling | None = None,
    stop: Collection[int] = frozenset(),
) -> Iterator[list[int | None]]:
    """New tokens as they come: at each time one a row, or None where a row gives none.

    A row gives none while its prompt lasts, after a token of `stop` (which it still gives), and
    after `max_new_tokens`. Raises `ValueError` at once for no prompts, an empty one, or what is no
    token or number of tokens.
    """
    rows = prompts.tolist() if isinstance(prompts, Tensor) else list(prompts)
    for row in rows:
        if not isinstance(row, Sequence) or not all(map(is_integer, row)):
            raise ValueError(f"a prompt must be a sequence of token ids; got {row!r}")
    if not rows or not all(rows):
        raise ValueError("prompts must be at least one, each of at least one token")
    if not is_integer(max_new_tokens) or max_new_tokens < 0:
        raise ValueError(f"max_new_tokens must be a whole number ≥ 0; got {max_new_tokens}")
    if not isinstance(stop, Collection) or not all(map(is_integer, stop)):
        raise ValueError(f"stop must be a collection of token ids; got {stop!r}")
    return _stream(model, rows, max_new_tokens, sampling or Sampling(), stop)


@torch.no_grad()
def _stream(
    model: LanguageModel,
    prompts: Sequence[Sequence[int]],
    max_new_tokens: int,
    sampling: Sampling,
    stop: Collection[int],
) -> Iterator[list[int | None]]:
    device = model.embedding.weight.device
    generator = torch.Generator(device)
    if sampling.seed is None:
        generator.seed()
    else:
        generator.manual_seed(sampling.seed)
    t = min(map(len, prompts))
    left = [max_new_tokens] * len(prompts)
    shared = torch.tensor([list(prompt[:t]) for prompt in prompts], device=device)
    logits, state = model.prefill(shared, model.allocate_state(len(prompts)))
    logits = logits[:, -1]
    while any(left):
        drawn = _draw(probabilities(logits, sampling), sampling, generator).tolist()
        given: list[int | None] = [None] * len(prompts)
        for row, prompt in enumerate(prompts):
            if t < len(prompt):
                drawn[row] = prompt[t]
            elif left[row]:
                given[row] = drawn[row]
                left[row] = 0 if drawn[row] in stop else left[row] - 1
        if any(token is not None for token in given):
            yield given
        t += 1
        if any(left):
            logits, state = model.step(torch.tensor(drawn, device=device), state)


def _draw(
    p: Float[Tensor, "b v"], sampling: Sampling, generator: torch.Generator
) -> Int[Tensor, " b"]:
    if sampling.temperature == 0:
        return p.argmax(dim=1)
    return torch.multinomial(p, 1, generator=generator)[:, 0]


def generate(
    model: LanguageModel,
    prompts: Sequence[Sequence[int]] | Int[Tensor, "b l"],
    *,
    max_new_tokens: int,
    sampling: Sampling | None = None,
    stop: Collection[int] = frozenset(),
) -> list[list[int]]:
    """The new tokens of every row, its stop token included."""
    rows: list[list[int]] = [[] for _ in prompts]
    for given in stream(
        model, prompts, max_new_tokens=max_new_tokens, sampling=sampling, stop=stop
    ):
        for row, token in zip(rows, given, strict=True):
            if token is not None:
                row.append(token)
    return rows
