"""accelerate: a model computes the same with the Triton operators in it."""

import pytest
import torch
from torch import nn

from ssm_kernels.accelerate import accelerate
from ssm_ref.language_model import LanguageModelConfig
from ssm_ref.selective.mamba import MambaConfig, MambaLanguageModel


def small(device: torch.device) -> MambaLanguageModel:
    torch.manual_seed(0)
    shell = LanguageModelConfig(vocab_size=11, d_model=4, n_layers=1)
    return MambaLanguageModel(shell, MambaConfig(d_model=4, d_state=2)).to(device)


def test_same_logits_and_gradients(device: torch.device) -> None:
    ids = torch.tensor([[1, 2, 3, 4, 5]], device=device)
    plain, fast = small(device), accelerate(small(device), backend="triton")
    want, got = plain(ids), fast(ids)
    torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-5)
    want.square().sum().backward()
    got.square().sum().backward()
    for a, b in zip(plain.parameters(), fast.parameters(), strict=True):
        torch.testing.assert_close(b.grad, a.grad, rtol=1e-3, atol=1e-5)


def test_same_decode(device: torch.device) -> None:
    ids = torch.tensor([[1, 2, 3]], device=device)
    plain, fast = small(device), accelerate(small(device), backend="triton")
    with torch.no_grad():
        want, state = plain.prefill(ids, plain.allocate_state(1))
        got, fast_state = fast.prefill(ids, fast.allocate_state(1))
        torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-5)
        want, _ = plain.step(ids[:, 0], state)
        got, _ = fast.step(ids[:, 0], fast_state)
    torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-5)


def test_bad_arguments() -> None:
    with pytest.raises(ValueError, match="Mamba blocks"):
        accelerate(nn.Linear(1, 1))
    with pytest.raises(ValueError, match="backend must be"):
        accelerate(small(torch.device("cpu")), backend="fast")
