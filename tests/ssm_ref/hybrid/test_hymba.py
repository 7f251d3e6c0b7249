"""Hymba's parallel heads, meta tokens and borrowed keys, and the model in pieces."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch.nn import functional

from ssm_ref.attention.transformer import Attention
from ssm_ref.hybrid.hymba import Hymba, HymbaConfig, HymbaMixer
from ssm_ref.selective.mamba import MambaConfig


def make(**options: Any) -> Hymba:
    torch.manual_seed(0)
    mamba = MambaConfig(d_model=8, d_state=4, d_conv=3)
    sizes = {"vocab_size": 19, "n_blocks": 5, "d_ff": 16, "n_heads": 4, "n_kv_heads": 2}
    limits = {"window": 3, "n_meta": 4}
    model = Hymba(HymbaConfig(mamba=mamba, **(sizes | limits | options)))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model.double()


@torch.no_grad()
@pytest.mark.parametrize("cut", range(1, 7))
def test_cut_anywhere(cut: int) -> None:
    model, ids = make(), torch.randint(19, (2, 7))
    head, state = model.prefill(ids[:, :cut], model.allocate_state(2))
    tail, _ = model.prefill(ids[:, cut:], state)
    torch.testing.assert_close(torch.cat([head, tail], dim=1), model(ids))


@torch.no_grad()
def test_steps_equal_forward() -> None:
    model, ids = make(), torch.randint(19, (2, 7))
    state, ys = model.allocate_state(2), []
    for t in range(7):
        y, state = model.step(ids[:, t], state)
        ys.append(y)
    torch.testing.assert_close(torch.stack(ys, dim=1), model(ids))


def test_meta_tokens_are_tokens_before_the_sequence() -> None:
    model, bare = make(), make(n_meta=0)
    bare.load_state_dict({n: v for n, v in model.state_dict().items() if n != "meta"}, strict=False)
    for layer in bare.layers[::2]:  # without tokens of its own it need not keep any in sight
        layer.branch.attention.cfg = replace(layer.branch.attention.cfg, pinned=4)
    ids = torch.randint(19, (2, 5))
    x = torch.cat([model.meta.expand(2, -1, -1), model.embed(ids)], dim=1)
    want, _ = bare.prefill_embedded(x, bare.allocate_state(2))
    torch.testing.assert_close(model(ids), want[:, 4:])


def test_meta_tokens_learn() -> None:
    model = make()
    model(torch.randint(19, (2, 5))).sin().sum().backward()
    assert model.meta.grad is not None
    assert model.meta.grad.abs().sum(dim=1).gt(0).all()


def test_which_layers_are_global_and_which_borrow() -> None:
    cfg = HymbaConfig(vocab_size=3, n_blocks=8, d_ff=8, mamba=MambaConfig(d_model=8), n_heads=2)
    assert [i for i in range(8) if cfg.is_global(i)] == [0, 4, 7]
    assert [i for i in range(8) if cfg.borrows(i)] == [2, 6]
    own = replace(cfg, borrowing_layers=(2, 3))
    assert [i for i in range(8) if own.borrows(i)] == [2, 3]
    none = replace(cfg, borrowing_layers=())
    assert not any(none.borrows(i) for i in range(8))


@torch.no_grad()
def test_windowed_layers_keep_the_meta_tokens_in_sight() -> None:
    """The mask of the authors' code: a window of 3 behind which the first two positions stay."""
    attention = Attention(replace(make().hymba_cfg, n_meta=2).attention(1)).double()
    u, empty = torch.randn(1, 8, 8, dtype=torch.float64), attention.allocate_state(1)
    t, s = torch.arange(8)[:, None], torch.arange(8)
    seen = (s <= t) & ((t - s < 3) | (s < 2))
    assert seen[5].tolist() == [True, True, False, True, True, True, False, False]
    k, v = attention.keys_and_values(u, empty)
    q = attention.queries(u, 0)
    want = functional.scaled_dot_product_attention(q, k, v, attn_mask=seen, enable_gqa=True)
    want = attention.o_proj(want.transpose(1, 2).flatten(2))
    torch.testing.assert_close(attention.prefill(u, empty)[0], want)
    for i in range(8):
        y, empty = attention.step(u[:, i], empty)
        torch.testing.assert_close(y, want[:, i])
    assert empty.k.shape[2] == 4


@torch.no_grad()
def test_borrowing_saves_cache() -> None:
    ids = torch.zeros(1, 20, dtype=torch.long)
    held = []
    for share in (False, True):
        borrowing = None if share else ()
        model = make(borrowing_layers=borrowing, n_blocks=4, global_layers=())
        _, state = model.prefill(ids, model.allocate_state(1))
        held.append(sum(s.kv.k.numel() for s in state if s is not None and s.kv is not None))
    assert held[1] * 2 == held[0]


def test_both_kinds_of_heads_count() -> None:
    mixer = HymbaMixer(make().hymba_cfg, 0).double()
    u = torch.randn(1, 6, 8, dtype=torch.float64)
    y, _, _ = mixer.prefill(u, mixer.allocate_state(1), None)
    for norm in (mixer.attention_norm, mixer.mamba_norm):
        assert norm.weight is not None
        with torch.no_grad():
            norm.weight.zero_()
        half, _, _ = mixer.prefill(u, mixer.allocate_state(1), None)
        assert not torch.allclose(half, y)
    assert half.abs().max() == 0


def test_causal() -> None:
    model, ids = make(), torch.randint(19, (1, 7))
    changed = ids.clone()
    changed[0, 4] = (ids[0, 4] + 1) % 19
    torch.testing.assert_close(model(ids)[:, :4], model(changed)[:, :4])


def test_refuses() -> None:
    with pytest.raises(ValueError, match="n_heads=5 must divide d_inner=16"):
        make(n_heads=5, n_kv_heads=5)
    with pytest.raises(ValueError, match=r"of which \[0, 5\] cannot"):
        make(borrowing_layers=(0, 5))
    model = make()
    mixer = model.layers[2].branch
    assert isinstance(mixer, HymbaMixer)
    with pytest.raises(ValueError, match="state must be a HymbaState; got int"):
        mixer.prefill(torch.zeros(1, 2, 8).double(), 3, None)
    ids = torch.zeros(1, 2, dtype=torch.long)
    state = model.allocate_state(1)
    with pytest.raises(ValueError, match="prefill takes no mask: padding would stand between"):
        model.prefill(ids, state, mask=torch.ones(1, 2).bool())
