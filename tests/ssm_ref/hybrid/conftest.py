"""What every hybrid is held to against its model in transformers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from ssm_ref.checkpoint import save_pretrained
from ssm_ref.language_model import LanguageModel


class Against:
    """Comparisons of one of our models with one of transformers that has its weights."""

    @staticmethod
    def gradients(theirs: Any, ours: nn.Module, ids: torch.Tensor, pairs: dict[str, str]) -> None:
        """Logits, and gradients of parameters: our name to theirs."""
        want, got = theirs(ids).logits, ours(ids)
        torch.testing.assert_close(got, want, rtol=1e-3, atol=1e-4)
        want.sin().sum().backward()
        got.sin().sum().backward()
        for mine, their in pairs.items():
            a, b = ours.get_parameter(mine).grad, theirs.get_parameter(their).grad
            torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-3)

    @staticmethod
    @torch.no_grad()
    def decoding(theirs: Any, ours: LanguageModel, ids: torch.Tensor) -> Any:
        """A prefill of four tokens, then steps over the rest with the cache; our last state."""
        _, state = ours.prefill(ids[:, :4], ours.allocate_state(ids.shape[0]))
        cache = theirs(ids[:, :4], use_cache=True).past_key_values
        for t in range(4, ids.shape[1]):
            logits, state = ours.step(ids[:, t], state)
            out = theirs(ids[:, t : t + 1], past_key_values=cache, use_cache=True)
            cache = out.past_key_values
            torch.testing.assert_close(logits, out.logits[:, 0], rtol=1e-3, atol=1e-4)
        return state

    @staticmethod
    @torch.no_grad()
    def reading_back(kind: Any, ours: LanguageModel, ids: torch.Tensor, folder: Path) -> None:
        """What we save is read by transformers."""
        save_pretrained(ours, folder)
        again = kind.from_pretrained(folder)
        torch.testing.assert_close(again(ids).logits, ours(ids), rtol=1e-3, atol=1e-4)


@pytest.fixture
def against() -> type[Against]:
    return Against
