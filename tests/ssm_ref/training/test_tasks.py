"""Synthetic tasks against answers found another way, from the inputs alone."""

import pytest
import torch

from ssm_ref.training.batch import IGNORED, generator
from ssm_ref.training.tasks import (
    AssociativeRecall,
    Copying,
    InductionHeads,
    ModularArithmetic,
    Parity,
    SelectiveCopying,
    Task,
    TaskSource,
    _few_distinct,
)

TASKS = {
    "selective": SelectiveCopying(length=20, items=5, vocab=7),
    "induction": InductionHeads(length=12, vocab=6),
    "recall": AssociativeRecall(length=32, pairs=6, vocab=20),
    "parity": Parity(length=9),
    "arithmetic": ModularArithmetic(numbers=7, modulus=5),
    "copying": Copying(shortest=2, longest=6, alphabet=4),
}


def drawn(task: Task) -> list[tuple[list[int], list[int]]]:
    inputs, targets = task.draw(50, generator(0, 0, 0))
    return list(zip(inputs.tolist(), targets.tolist(), strict=True))


@pytest.mark.parametrize("name", TASKS)
def test_tokens_lie_in_the_vocabulary_and_something_is_asked(name: str) -> None:
    task = TASKS[name]
    for row, wanted in drawn(task):
        assert all(0 <= token < task.vocab_size for token in row)
        assert all(t == IGNORED or 0 <= t < task.vocab_size for t in wanted)
        assert any(t != IGNORED for t in wanted)


def test_selective_copying_asks_for_the_items_in_order() -> None:
    for row, wanted in drawn(TASKS["selective"]):
        assert row[20:] == [6] * 5
        assert [t for t in row[:20] if t] == wanted[20:]
        assert wanted[:20] == [IGNORED] * 20


def test_induction_asks_for_what_followed_the_special_token() -> None:
    places = set()
    for row, wanted in drawn(TASKS["induction"]):
        place = row.index(5)
        places.add(place)
        assert row.count(5) == 2
        assert wanted == [IGNORED] * 11 + [row[place + 1]]
    assert min(places) == 0
    assert max(places) == 9


def test_recall_asks_for_the_value_of_each_key_once() -> None:
    for row, wanted in drawn(TASKS["recall"]):
        pairs = dict(zip(row[0:12:2], row[1:12:2], strict=True))
        assert len(pairs) == 6
        asked = {t: wanted[t] for t in range(32) if wanted[t] != IGNORED}
        assert sorted(row[t] for t in asked) == sorted(pairs)
        assert all(t >= 12 and pairs[row[t]] == value for t, value in asked.items())
        assert all(row[t] == 0 for t in range(12, 32) if t not in asked)


def test_rows_of_a_mixture_hold_more_and_more_pairs() -> None:
    mixture = AssociativeRecall(length=64, pairs=12, vocab=512, fewest=3)
    batch = mixture.draw(60, generator(0, 0, 0))
    for i, (row, wanted) in enumerate(zip(*(part.tolist() for part in batch), strict=True)):
        count = (3, 6, 12)[i % 3]
        pairs = dict(zip(row[0 : 2 * count : 2], row[1 : 2 * count : 2], strict=True))
        assert len(pairs) == len(set(pairs.values())) == count
        assert set(pairs) <= set(range(1, 256))
        assert set(pairs.values()) <= set(range(256, 512))
        asked = {t: wanted[t] for t in range(64) if wanted[t] != IGNORED}
        assert sorted(row[t] for t in asked) == sorted(pairs)
        assert all(t >= 2 * count and pairs[row[t]] == value for t, value in asked.items())
    one = AssociativeRecall(length=64, pairs=12, vocab=512, fewest=12)
    assert (one.draw(5, generator(0, 0, 0)).targets != IGNORED).sum(dim=1).tolist() == [12] * 5


def test_few_of_many_are_drawn_evenly_in_every_order() -> None:
    drawn = _few_distinct(20_000, 5, 2, generator(0, 0, 0))
    counts = torch.bincount(5 * drawn[:, 0] + drawn[:, 1], minlength=25).reshape(5, 5)
    assert counts.diagonal().sum() == 0
    off = counts[~torch.eye(5, dtype=torch.bool)].double()
    assert float(((off - 1000) ** 2 / 1000).sum()) < 45  # χ² of 19 degrees, p = 0.0007


def test_parity_is_the_running_sum_modulo_two() -> None:
    for row, wanted in drawn(TASKS["parity"]):
        assert wanted == [sum(row[: t + 1]) % 2 for t in range(9)]


def test_arithmetic_is_what_python_computes() -> None:
    for row, wanted in drawn(TASKS["arithmetic"]):
        text = "".join("+-*"[token - 5] if token >= 5 else str(token) for token in row)
        assert wanted[0::2] == [eval(text[: 2 * i + 1]) % 5 for i in range(7)]
        assert set(wanted[1::2]) == {IGNORED}


def test_copying_asks_for_the_string_and_the_stop() -> None:
    lengths = set()
    for row, wanted in drawn(TASKS["copying"]):
        start, bar, stop, padding = 4, 5, 6, 7
        k = row.index(bar) - 1
        lengths.add(k)
        string = row[1 : k + 1]
        assert row == [start, *string, bar, *string, *[padding] * (14 - 2 * k - 2)]
        answer = [*string, stop]
        assert wanted == [IGNORED] * (k + 1) + answer + [IGNORED] * (14 - 2 * k - 2)
    assert lengths == {2, 3, 4, 5, 6}


def test_batches_depend_on_seed_and_step_alone() -> None:
    source = TaskSource(TASKS["recall"], seed=3)
    assert torch.equal(source.training(7, 4).inputs, source.training(7, 4).inputs)
    others = [source.training(8, 4), TaskSource(TASKS["recall"], seed=4).training(7, 4)]
    others += list(source.validation(2, 4))
    for other in others:
        assert not torch.equal(other.inputs, source.training(7, 4).inputs)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: SelectiveCopying(length=3, items=4), "items ≤ length"),
        (lambda: InductionHeads(length=2), "length ≥ 3"),
        (lambda: AssociativeRecall(length=8, pairs=4), "length ≥ 4 pairs"),
        (lambda: AssociativeRecall(length=64, pairs=4, vocab=9), "vocab must be even"),
        (lambda: AssociativeRecall(length=64, pairs=12, fewest=5), "doubled any number"),
        (lambda: AssociativeRecall(length=64, pairs=12, fewest=0), "doubled any number"),
        (lambda: Parity(length=0), "at least 1"),
        (lambda: ModularArithmetic(modulus=1), "modulus ≥ 2"),
        (lambda: Copying(shortest=5, longest=4), "shortest ≤ longest"),
    ],
)
def test_refuses(make: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()
