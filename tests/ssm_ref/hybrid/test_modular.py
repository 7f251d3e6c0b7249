"""Models from pattern strings: every part fits, and prefill equals decode for all of them."""

import pytest
import torch

from ssm_ref.hybrid.modular import Sizes, build, standard_parts
from ssm_ref.language_model import LanguageModelConfig

SIZES = Sizes(d_model=8, d_state=4, d_head=4, d_ff=12, window=3, n_experts=3)


def shell(pattern: str) -> LanguageModelConfig:
    return LanguageModelConfig(vocab_size=19, d_model=8, n_layers=len(pattern))


@torch.no_grad()
@pytest.mark.parametrize(
    "pattern", ["M-M-*E", "23W", "R-L-G-", "4-*", "E", "AT-gH", "dDK-", "6cX-", "UFnlS-"]
)
def test_prefill_in_pieces_equals_decode(pattern: str) -> None:
    torch.manual_seed(0)
    model = build(pattern, shell(pattern), standard_parts(SIZES)).double()
    ids = torch.randint(19, (2, 7))
    whole = model(ids)
    logits, state = model.prefill(ids[:, :3], model.allocate_state(2))
    torch.testing.assert_close(logits, whole[:, :3])
    for t in range(3, 7):
        logits, state = model.step(ids[:, t], state)
        torch.testing.assert_close(logits, whole[:, t])


@torch.no_grad()
def test_causal() -> None:
    pattern = "M-23*EWRLG4"
    model = build(pattern, shell(pattern), standard_parts(SIZES)).double()
    ids = torch.randint(19, (1, 7))
    changed = ids.clone()
    changed[0, 4] = (ids[0, 4] + 1) % 19
    torch.testing.assert_close(model(ids)[:, :4], model(changed)[:, :4])


def test_refuses() -> None:
    with pytest.raises(ValueError, match=r"unknown \['x'\]"):
        build("Mx", shell("Mx"), standard_parts(SIZES))
    with pytest.raises(ValueError, match="at least one letter; got ''"):
        build("", shell("M"), standard_parts(SIZES))
    with pytest.raises(ValueError, match="the 2 letters of 'M-'; got 1"):
        build("M-", shell("M"), standard_parts(SIZES))
