"""Synthetic tasks: sequences drawn at random whose answers are known, each testing one ability.

Every task draws (inputs, targets) of shape (n, l) as tokens; where nothing is asked the target is
`IGNORED`. The setups are those of the papers, the sizes are free: selective copying and induction
heads of Mamba (arXiv 2312.00752, section 4.1), multi-query associative recall of Zoology (arXiv
2312.04927), parity and modular arithmetic of Grazzi et al. (arXiv 2411.12537), copying of Repeat
After Me (arXiv 2402.01032).
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Generator, Tensor

from ssm_ref.training.batch import IGNORED, Batch, generator

Distinct = Callable[[int, int, int, Generator], Tensor]


class Task(Protocol):
    """A distribution of sequences and answers."""

    @property
    def vocab_size(self) -> int:
        """Tokens that can occur."""

    def draw(self, n: int, g: Generator) -> Batch:
        """`n` sequences and what is to be answered, from `g`."""


@dataclass(frozen=True, slots=True)
class TaskSource:
    """A task as data: fresh sequences at every step."""

    task: Task
    seed: int

    @property
    def sizes(self) -> dict[str, Any]:
        """The vocabulary."""
        return {"vocab_size": self.task.vocab_size}

    @property
    def fingerprint(self) -> str:
        """Empty: the seed says it all."""
        return ""

    def training(self, step: int, size: int) -> Batch:
        """Fresh sequences of this step."""
        return self.task.draw(size, generator(self.seed, 0, step))

    def validation(self, count: int, size: int) -> Iterator[Batch]:
        """Sequences of a stream of their own."""
        for i in range(count):
            yield self.task.draw(size, generator(self.seed, 1, i))


@dataclass(frozen=True, kw_only=True, slots=True)
class SelectiveCopying:
    """Repeat the `items` tokens that stand at random places among `length` tokens, in order.

    Noise is 0, the last token asks for the next item; published: length 4096, 16 items, 16 tokens.
    """

    length: int = 4096
    items: int = 16
    vocab: int = 16

    def __post_init__(self) -> None:
        if not 1 <= self.items <= self.length or self.vocab < 3:
            raise ValueError(
                "1 ≤ items ≤ length and vocab ≥ 3 are wanted; got "
                f"items={self.items}, length={self.length}, vocab={self.vocab}"
            )

    @property
    def vocab_size(self) -> int:
        """Noise, items and the asking token."""
        return self.vocab

    def draw(self, n: int, g: Generator) -> Batch:
        """Items among noise, then `items` times the asking token."""
        tokens = torch.randint(1, self.vocab - 1, (n, self.items), generator=g)
        places = _distinct(n, self.length, self.items, g)
        inputs = torch.zeros(n, self.length + self.items, dtype=torch.long)
        inputs.scatter_(1, places.sort(dim=1).values, tokens)
        inputs[:, self.length :] = self.vocab - 1
        targets = torch.full_like(inputs, IGNORED)
        targets[:, self.length :] = tokens
        return Batch(inputs, targets)


@dataclass(frozen=True, kw_only=True, slots=True)
class InductionHeads:
    """At the end, name the token that followed the special one, which stood once before.

    Published: length 256, 16 tokens, the last of them special.
    """

    length: int = 256
    vocab: int = 16

    def __post_init__(self) -> None:
        if self.length < 3 or self.vocab < 3:
            raise ValueError(
                f"length ≥ 3 and vocab ≥ 3 are wanted; got {self.length} and {self.vocab}"
            )

    @property
    def vocab_size(self) -> int:
        """Plain tokens and the special one."""
        return self.vocab

    def draw(self, n: int, g: Generator) -> Batch:
        """Plain tokens, the special one at a random place and at the end."""
        inputs = torch.randint(self.vocab - 1, (n, self.length), generator=g)
        place = torch.randint(self.length - 2, (n, 1), generator=g)
        targets = torch.full_like(inputs, IGNORED)
        targets[:, -1:] = inputs.gather(1, place + 1)
        inputs.scatter_(1, place, self.vocab - 1)
        inputs[:, -1] = self.vocab - 1
        return Batch(inputs, targets)


@dataclass(frozen=True, kw_only=True, slots=True)
class AssociativeRecall:
    """Multi-query associative recall: pairs of key and value first, then keys among zeros.

    Keys are 1 … vocab/2 - 1, values vocab/2 … vocab - 1; the distance to the question follows a
    power law with exponent `power` - 1. With `fewest`, rows by turns hold `fewest` pairs, twice as
    many, … up to `pairs`. Published: 8192 tokens, (length, pairs) = (64, 4), (128, 8), (256, 16),
    power 0.01; a mixture of 4 to 64 pairs in Based (arXiv 2402.18668).
    """

    length: int = 64
    pairs: int = 4
    vocab: int = 8192
    power: float = 0.01
    fewest: int | None = None

    def __post_init__(self) -> None:
        if self.pairs < 1 or self.length < 4 * self.pairs:
            raise ValueError(
                f"length ≥ 4 pairs ≥ 4 is wanted; got length={self.length}, pairs={self.pairs}"
            )
        if self.vocab < 2 * self.pairs + 2 or self.vocab % 2:
            raise ValueError(
                f"vocab must be even, at least 2 pairs + 2; got {self.vocab} for {self.pairs} pairs"
            )
        if self.fewest is not None and self.pairs not in self.counts:
            raise ValueError(
                "pairs must be fewest, doubled any number of times; got "
                f"fewest={self.fewest}, pairs={self.pairs}"
            )

    @property
    def vocab_size(self) -> int:
        """Zero, keys and values."""
        return self.vocab

    @property
    def counts(self) -> list[int]:
        """Pairs that a row may hold."""
        if self.fewest is None or self.fewest < 1:
            return [self.pairs] if self.fewest is None else []
        doublings = (self.pairs // self.fewest).bit_length()
        return [self.fewest << i for i in range(doublings)]

    def draw(self, n: int, g: Generator) -> Batch:
        """The pairs, then each key once more, at distances of the power law."""
        if self.fewest is None:
            return self._draw(n, self.pairs, _distinct, g)
        mixed = torch.empty(2, n, self.length, dtype=torch.long)
        for i, pairs in enumerate(self.counts):
            rows = mixed[:, i :: len(self.counts)]
            rows.copy_(torch.stack(self._draw(rows.shape[1], pairs, _few_distinct, g)))
        return Batch(*mixed)

    def _draw(self, n: int, pairs: int, distinct: Distinct, g: Generator) -> Batch:
        half, start = self.vocab // 2, 2 * pairs
        keys = 1 + distinct(n, half - 1, pairs, g)
        values = half + distinct(n, half, pairs, g)
        gaps = torch.arange(1, (self.length - start) // 2 + 1, dtype=torch.float64)
        weights = (gaps ** (self.power - 1)).expand(n, -1)
        places = start + 2 * torch.multinomial(weights, pairs, generator=g)
        inputs = torch.zeros(n, self.length, dtype=torch.long)
        inputs[:, 0:start:2], inputs[:, 1:start:2] = keys, values
        inputs.scatter_(1, places, keys)
        return Batch(inputs, torch.full_like(inputs, IGNORED).scatter(1, places, values))


@dataclass(frozen=True, kw_only=True, slots=True)
class Parity:
    """After every bit, whether the number of ones so far is odd; the first `after` ask nothing.

    Published: trained on 3 to 40 bits, tested on 40 to 256, asked at the end. Asked after every
    bit, one row of 40 holds all the lengths before it.
    """

    length: int = 40
    after: int = 0

    def __post_init__(self) -> None:
        if self.length < 1:
            raise ValueError(f"length must be at least 1; got {self.length}")
        if not 0 <= self.after < self.length:
            raise ValueError(
                f"0 ≤ after < length is wanted; got after={self.after}, length={self.length}"
            )

    @property
    def vocab_size(self) -> int:
        """Two bits."""
        return 2

    def draw(self, n: int, g: Generator) -> Batch:
        """Random bits and their running sum modulo 2."""
        inputs = torch.randint(2, (n, self.length), generator=g)
        targets = inputs.cumsum(dim=1) % 2
        targets[:, : self.after] = IGNORED
        return Batch(inputs, targets)


@dataclass(frozen=True, kw_only=True, slots=True)
class ModularArithmetic:
    """After every number, the value so far of an expression in +, - and × without brackets.

    Numbers are 0 … modulus - 1; × binds first; `numbers` of them stand at even places, and the
    first `after` ask nothing. Published: modulus 5, trained on 3 to 40 signs and numbers, tested on
    40 to 256, asked at the end.
    """

    numbers: int = 20
    modulus: int = 5
    after: int = 0

    def __post_init__(self) -> None:
        if self.numbers < 1 or self.modulus < 2:
            raise ValueError(
                f"numbers ≥ 1 and modulus ≥ 2 are wanted; got {self.numbers} and {self.modulus}"
            )
        if not 0 <= self.after < self.numbers:
            raise ValueError(
                f"0 ≤ after < numbers is wanted; got after={self.after}, numbers={self.numbers}"
            )

    @property
    def vocab_size(self) -> int:
        """Numbers and three signs."""
        return self.modulus + 3

    def draw(self, n: int, g: Generator) -> Batch:
        """Numbers and signs by turns; the value is kept as a finished sum and an open product."""
        m = self.modulus
        numbers = torch.randint(m, (n, self.numbers), generator=g)
        signs = torch.randint(3, (n, self.numbers - 1), generator=g)  # + - ×
        done, open_, value = torch.zeros(n, dtype=torch.long), numbers[:, 0], [numbers[:, 0]]
        for i in range(1, self.numbers):
            x, sign = numbers[:, i], signs[:, i - 1]
            times = sign == 2
            done = torch.where(times, done, (done + open_) % m)
            open_ = torch.where(times, open_ * x, torch.where(sign == 0, x, -x)) % m
            value.append((done + open_) % m)
        inputs = torch.empty(n, 2 * self.numbers - 1, dtype=torch.long)
        inputs[:, 0::2], inputs[:, 1::2] = numbers, m + signs
        targets = torch.full_like(inputs, IGNORED)
        targets[:, 2 * self.after :: 2] = torch.stack(value[self.after :], dim=1)
        return Batch(inputs, targets)


@dataclass(frozen=True, kw_only=True, slots=True)
class Copying:
    """$string|string. : repeat a string of `shortest` … `longest` letters after the bar.

    Letters are 0 … alphabet - 1, then $ | . and padding. Published: 26 letters, 5 to 20 of them.
    """

    shortest: int = 5
    longest: int = 20
    alphabet: int = 26

    def __post_init__(self) -> None:
        if not 1 <= self.shortest <= self.longest or self.alphabet < 1:
            raise ValueError(
                "1 ≤ shortest ≤ longest and alphabet ≥ 1 are wanted; got "
                f"shortest={self.shortest}, longest={self.longest}, alphabet={self.alphabet}"
            )

    @property
    def vocab_size(self) -> int:
        """Letters, three signs and padding."""
        return self.alphabet + 4

    def draw(self, n: int, g: Generator) -> Batch:
        """One string a row, padded behind its end."""
        start, bar, stop, padding = range(self.alphabet, self.alphabet + 4)
        width = 2 * self.longest + 2
        letters = torch.randint(self.alphabet, (n, self.longest), generator=g)
        count = torch.randint(self.shortest, self.longest + 1, (n, 1), generator=g)
        t = torch.arange(width)[None]
        again = (t - count - 2).clamp(0, self.longest - 1)  # the letter that stands at t once more
        first = (t - 1).clamp(0, self.longest - 1).expand(n, -1)
        inputs = torch.where(t <= count, letters.gather(1, first), letters.gather(1, again))
        inputs = inputs.masked_fill(t == 0, start).masked_fill(t == count + 1, bar)
        inputs = inputs.masked_fill(t > 2 * count + 1, padding)
        following = torch.cat([inputs[:, 1:], inputs.new_full((n, 1), stop)], dim=1)
        following = following.masked_fill(t == 2 * count + 1, stop)
        asked = (t >= count + 1) & (t <= 2 * count + 1)
        return Batch(inputs, _where(asked, following))


def _distinct(n: int, below: int, count: int, g: Generator) -> Tensor:
    """`count` different numbers of 0 … below - 1 a row, in random order."""
    return torch.rand(n, below, generator=g).topk(count, dim=1, largest=False).indices


def _few_distinct(n: int, below: int, count: int, g: Generator) -> Tensor:
    """The same without ordering all numbers: rows that hold one twice are drawn again."""
    if count * count > 2 * below:  # most rows would
        return _distinct(n, below, count, g)
    drawn = torch.randint(below, (n, count), generator=g)
    while True:
        twice = (drawn.sort(dim=1).values.diff(dim=1) == 0).any(dim=1)
        if not twice.any():
            return drawn
        drawn[twice] = torch.randint(below, (int(twice.sum()), count), generator=g)


def _where(asked: Tensor, targets: Tensor) -> Tensor:
    return targets.masked_fill(~asked, IGNORED)
