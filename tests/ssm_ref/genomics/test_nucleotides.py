import pytest
import torch

from ssm_ref.genomics.nucleotides import (
    MASK,
    VOCAB_SIZE,
    complement_map,
    decode,
    encode,
    reverse_complement,
)


def test_ids_are_those_of_the_published_tokenizer() -> None:
    assert encode("ACGTN").tolist() == [7, 8, 9, 10, 11]
    assert (MASK, VOCAB_SIZE) == (3, 12)


def test_letters_survive_and_ambiguous_codes_become_n() -> None:
    assert decode(encode("gattACA")) == "GATTACA"
    assert decode(encode("ARYT")) == "ANNT"
    assert decode(torch.tensor([MASK, 7])) == "[MASK]A"


@pytest.mark.parametrize(
    ("strand", "other"), [("", ""), ("A", "T"), ("AACGN", "NCGTT"), ("GAATTC", "GAATTC")]
)
def test_the_other_strand(strand: str, other: str) -> None:
    """Answers by hand; the last is the palindrome that EcoRI cuts."""
    assert decode(reverse_complement(encode(strand))) == other


def test_twice_the_other_strand_is_the_strand() -> None:
    ids = torch.randint(VOCAB_SIZE, (3, 8), generator=torch.Generator().manual_seed(0))
    assert torch.equal(reverse_complement(reverse_complement(ids)), ids)
    assert torch.equal(complement_map(16)[complement_map(16)], torch.arange(16))
    assert reverse_complement(torch.tensor([[MASK, 7, 15]])).tolist() == [[15, 10, MASK]]


def test_refuses_what_is_no_nucleotide() -> None:
    with pytest.raises(ValueError, match="got 'X' at place 2"):
        encode("ACX")
