"""Samba: the pattern it is, what it keeps and how far it sees."""

from typing import Any

import pytest
import torch

from ssm_ref.attention.transformer import Attention, AttentionConfig, SwiGLU
from ssm_ref.hybrid.modular import build
from ssm_ref.hybrid.samba import Samba, SambaConfig
from ssm_ref.selective.mamba import Mamba, MambaConfig


def config(**options: Any) -> SambaConfig:
    return SambaConfig(
        **{
            "vocab_size": 19,
            "n_blocks": 2,
            "d_ff": 12,
            "attention": AttentionConfig(d_model=8, n_heads=2, n_kv_heads=1, window=4),
            "mamba": MambaConfig(d_model=8, d_state=4),
            **options,
        }
    )


def test_is_a_pattern_of_the_modular_model() -> None:
    cfg = config()
    parts = {
        "M": lambda: Mamba(cfg.mamba),
        "W": lambda: Attention(cfg.attention),
        "-": lambda: SwiGLU(8, cfg.d_ff),
    }
    samba, modular = Samba(cfg), build(cfg.pattern, cfg.shell, parts)
    modular.load_state_dict(samba.state_dict())
    ids = torch.randint(19, (2, 9))
    torch.testing.assert_close(samba(ids), modular(ids))
    assert cfg.pattern == "M-W-M-W-"


@torch.no_grad()
@pytest.mark.parametrize("tokens", [1, 3, 4, 30])
def test_the_state_has_as_many_numbers_as_the_formula_says(tokens: int) -> None:
    model = Samba(config())
    _, state = model.prefill(torch.zeros(1, tokens, dtype=torch.long), model.allocate_state(1))
    kept = [part for layer in state if layer is not None for part in layer]
    numbers = sum(part.numel() for part in kept if isinstance(part, torch.Tensor))
    assert numbers == model.samba_cfg.state_numbers(tokens)


def test_the_state_stops_growing_at_the_window() -> None:
    cfg = config()
    sizes = [cfg.state_numbers(t) for t in (2, 3, 4, 100_000)]
    assert sizes[0] < sizes[1] == sizes[2] == sizes[3]


def test_windows_alone_reach_as_far_as_the_formula_says() -> None:
    """With the recurrence cut off, output t hangs on tokens t − reach … t and on no other."""
    model = Samba(config()).double()
    for layer in model.blocks:
        if isinstance(layer.branch, Mamba):
            torch.nn.init.zeros_(layer.branch.out_proj.weight)
    x = torch.randn(1, 12, 8, dtype=torch.float64, requires_grad=True)
    logits, _ = model.prefill_embedded(x, model.allocate_state(1))
    (grad,) = torch.autograd.grad(logits[0, -1].sum(), x)
    seen = grad[0].abs().sum(dim=1) > 0
    assert model.samba_cfg.reach == 6
    assert seen.tolist() == [False] * 5 + [True] * 7


@torch.no_grad()
@pytest.mark.parametrize("cut", [1, 3, 5, 8])
def test_cut_anywhere_and_steps(cut: int) -> None:
    model, ids = Samba(config()).double(), torch.randint(19, (2, 9))
    whole = model(ids)
    logits, state = model.prefill(ids[:, :cut], model.allocate_state(2))
    torch.testing.assert_close(logits, whole[:, :cut])
    for t in range(cut, 9):
        logits, state = model.step(ids[:, t], state)
        torch.testing.assert_close(logits, whole[:, t])


def test_refuses() -> None:
    with pytest.raises(ValueError, match="must have a window; got None"):
        config(attention=AttentionConfig(d_model=8, n_heads=2))
    with pytest.raises(ValueError, match="one d_model; got 4 and 8"):
        config(attention=AttentionConfig(d_model=4, n_heads=2, window=3))
