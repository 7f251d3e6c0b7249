"""Letters of DNA as tokens, and the other strand of the same molecule.

    rc(x)_t = κ(x_{L-1-t}),   κ: A ↔ T, C ↔ G, everything else to itself    (1)

The two strands of DNA hold the same message in opposite directions: whoever knows x knows rc(x).
Ids are those of HyenaDNA and Caduceus: seven special tokens first, then A, C, G, T and N, the
letter for an unknown nucleotide.
"""

import torch
from jaxtyping import Int
from torch import Tensor

SPECIAL = ("[CLS]", "[SEP]", "[BOS]", "[MASK]", "[PAD]", "[RESERVED]", "[UNK]")
LETTERS = "ACGTN"
MASK, A, T, N = SPECIAL.index("[MASK]"), 7, 10, 11
VOCAB_SIZE = len(SPECIAL) + len(LETTERS)
AMBIGUOUS = "RYSWKMBDHV"  # codes of IUPAC for two or three possible nucleotides: read as N

_COMPLEMENT = {"A": "T", "C": "G", "G": "C", "T": "A", "N": "N"}


def complement_map(vocab_size: int = VOCAB_SIZE) -> Int[Tensor, " v"]:
    """κ of Eq. (1) as a table of ids; ids without a letter stand for themselves."""
    table = torch.arange(vocab_size)
    for letter, other in _COMPLEMENT.items():
        table[len(SPECIAL) + LETTERS.index(letter)] = len(SPECIAL) + LETTERS.index(other)
    return table


def encode(dna: str) -> Int[Tensor, " l"]:
    """Ids of a string of nucleotides in either case; ambiguous codes become N.

    Raises `ValueError` naming the first character that is no code for a nucleotide.
    """
    ids = {letter: len(SPECIAL) + i for i, letter in enumerate(LETTERS)}
    ids |= dict.fromkeys(AMBIGUOUS, N)
    upper = dna.upper()
    for place, letter in enumerate(upper):
        if letter not in ids:
            raise ValueError(
                f"dna must hold {', '.join(LETTERS)} or codes of IUPAC; "
                f"got {dna[place]!r} at place {place}"
            )
    return torch.tensor([ids[letter] for letter in upper], dtype=torch.long)


def decode(ids: Int[Tensor, " l"]) -> str:
    """The letters of ids, special tokens in brackets."""
    names = [*SPECIAL, *LETTERS]
    return "".join(names[i] for i in ids.tolist())


def reverse_complement(ids: Int[Tensor, "*b l"]) -> Int[Tensor, "*b l"]:
    """The other strand, read in its own direction: the inverse of itself.    (1)"""
    table = complement_map(max(VOCAB_SIZE, int(ids.max()) + 1) if ids.numel() else VOCAB_SIZE)
    return table.to(ids.device)[ids.flip(-1).long()].to(ids.dtype)  # (1)
