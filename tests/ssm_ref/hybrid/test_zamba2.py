"""Zamba2 against transformers, and what it means that a block is shared."""

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import Zamba2Config as TheirConfig
from transformers import Zamba2ForCausalLM

from ssm_ref.checkpoint import from_pretrained
from ssm_ref.hybrid.zamba2 import AdaptedLinear, HybridState, Zamba2, Zamba2Config, published_config
from ssm_ref.selective.mamba2 import Mamba2Config

KINDS = ["linear_attention", "hybrid", "hybrid", "linear_attention", "hybrid"]


@pytest.fixture(params=[True, False], ids=["rope and adapters", "neither"])
def pair(request: Any, tmp_path: Path) -> tuple[Any, Zamba2]:
    torch.manual_seed(0)
    theirs = Zamba2ForCausalLM(
        TheirConfig(
            vocab_size=31,
            hidden_size=16,
            num_hidden_layers=5,
            layers_block_type=KINDS,
            mamba_d_state=4,
            n_mamba_heads=4,
            mamba_ngroups=2,
            time_step_min=1e-30,  # else the full path alone clamps Δ
            intermediate_size=20,
            num_attention_heads=4,
            num_mem_blocks=2,
            use_shared_attention_adapter=request.param,
            use_mem_rope=request.param,
            adapter_rank=3,
            initializer_range=0.2,
            pad_token_id=None,
        )
    )
    theirs.save_pretrained(tmp_path)
    ours = from_pretrained(tmp_path)
    assert isinstance(ours, Zamba2)
    return theirs, ours


def test_transformers_logits_and_gradients(pair: tuple[Any, Zamba2], against: Any) -> None:
    theirs, ours = pair
    shared = "model.layers.1.shared_transformer"
    adapter = "gate_up_proj_adapter_list"
    pairs = {
        "embedding.weight": "model.embed_tokens.weight",
        "layers.1.branch.A_log": "model.layers.1.mamba_decoder.mamba.A_log",
        "links.2.weight": "model.layers.4.linear.weight",
        "shared.0.q_proj.weight": f"{shared}.self_attn.q_proj.weight",
        "shared.0.gate_up_proj.adapters.2.1.weight": f"{shared}.feed_forward.{adapter}.2.1.weight",
    }
    against.gradients(theirs, ours, torch.randint(31, (2, 9)), pairs)


def test_transformers_cached_decoding_and_reading_back(
    pair: tuple[Any, Zamba2], tmp_path: Path, against: Any
) -> None:
    theirs, ours = pair
    ids = torch.randint(31, (2, 9))
    against.decoding(theirs, ours, ids)
    against.reading_back(Zamba2ForCausalLM, ours, ids, tmp_path / "saved")


def small(**options: Any) -> Zamba2:
    torch.manual_seed(0)
    sizes: dict[str, Any] = {"vocab_size": 19, "n_layers": 4, "hybrid_layers": (1, 2, 3)}
    sizes |= {"n_heads": 2, "d_ff": 12, "adapter_rank": 2}
    mamba = Mamba2Config(d_model=8, d_state=4, d_head=4)
    return Zamba2(Zamba2Config(mamba=mamba, **(sizes | options)))


@torch.no_grad()
@pytest.mark.parametrize("cut", [1, 4, 6])
def test_cut_anywhere(cut: int) -> None:
    model, ids = small().double(), torch.randint(19, (2, 7))
    head, state = model.prefill(ids[:, :cut], model.allocate_state(2))
    tail, state = model.prefill(ids[:, cut:], state)
    torch.testing.assert_close(torch.cat([head, tail], dim=1), model(ids))
    assert [isinstance(part, HybridState) for part in state] == [False, True, True, True]


def test_weights_are_shared_but_caches_are_not() -> None:
    model = small(n_shared=1)
    _, state = model.prefill(torch.randint(19, (1, 5)), model.allocate_state(1))
    caches = [state[i].kv.k for i in (1, 2, 3)]
    assert not torch.allclose(caches[0], caches[1])
    assert len(model.shared) == 1


def test_calls_take_turns_at_the_shared_blocks() -> None:
    cfg = small().zamba_cfg
    assert [cfg.calls_of(b) for b in range(2)] == [[0, 2], [1]]


def test_a_fresh_adapter_changes_nothing_and_a_trained_one_only_its_call() -> None:
    layer, u = AdaptedLinear(4, 6, 2, [0, 3]), torch.randn(5, 4)
    torch.testing.assert_close(layer.of_call(u, 0), layer(u))
    torch.nn.init.normal_(layer.adapters["3"][1].weight)
    torch.testing.assert_close(layer.of_call(u, 0), layer(u))
    down, up = layer.adapters["3"]
    torch.testing.assert_close(layer.of_call(u, 3), u @ (layer.weight + up.weight @ down.weight).T)


def test_published_size_is_2_7_billion_of_which_little_is_attention() -> None:
    with torch.device("meta"):
        model = Zamba2(published_config())
    count = sum(p.numel() for p in model.parameters())
    shared = sum(p.numel() for p in model.shared.parameters())
    assert round(count / 1e9, 1) == 2.7
    assert round(shared / count, 2) == 0.14


def test_layer_checkpointing_changes_no_gradient() -> None:
    ids = torch.randint(19, (2, 5))
    plain, sparing = small(), small(checkpoint_layers=True)
    for model in (plain, sparing):
        model(ids).logsumexp(dim=-1).sum().backward()
    for (name, a), b in zip(plain.named_parameters(), sparing.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad, msg=name)


def test_refuses() -> None:
    with pytest.raises(ValueError, match=r"must rise within 0 … 3; got \(2, 1\)"):
        small(hybrid_layers=(2, 1))
    with pytest.raises(ValueError, match="1 <= n_shared <= 3 hybrid layers; got 4"):
        small(n_shared=4)
    with pytest.raises(ValueError, match="n_heads=3 must divide d_model=8"):
        small(n_heads=3)
    model = small()
    state = model.allocate_state(1)
    state[1] = state[1].ssm
    with pytest.raises(ValueError, match=r"state\[1\] must be a HybridState; got Mamba2State"):
        model.prefill(torch.zeros(1, 2, dtype=torch.long), state)
