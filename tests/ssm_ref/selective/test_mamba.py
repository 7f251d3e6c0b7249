"""Mamba: against transformers' model, its own step, cuts, padding, packing, sizes, Δ at init."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from ssm_ref.foundations.discretization import Rule, discretize_diagonal
from ssm_ref.language_model import LanguageModelConfig
from ssm_ref.selective.mamba import (
    PUBLISHED,
    Mamba,
    MambaConfig,
    MambaLanguageModel,
    parameter_groups,
    published_config,
)
from ssm_ref.selective.selective_scan import selective_scan, selective_scan_associative
from ssm_ref.structured.s5 import S5, S5Config

SMALL = MambaConfig(d_model=8, d_state=3)


def block(**options: Any) -> Mamba:
    torch.manual_seed(0)
    return Mamba(SMALL, **options).double()


def inputs(b: int, l: int, seed: int = 1) -> Tensor:
    return torch.randn(b, l, 8, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def model(**options: Any) -> MambaLanguageModel:
    torch.manual_seed(0)
    shell = LanguageModelConfig(vocab_size=19, d_model=8, n_layers=2, **options)
    return MambaLanguageModel(shell, SMALL)


# --- claims ---------------------------------------------------------------------------------


def test_what_depends_on_the_input() -> None:
    seen: list[dict[str, Tensor]] = []

    def spy(x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, **options: Any) -> Any:
        seen.append({"dt": dt, "A": A, "B": B, "C": C, "D": options["D"]})
        return selective_scan(x, dt, A, B, C, **options)

    mamba = block(scan=spy)
    mamba(inputs(1, 5, seed=1))
    mamba(inputs(1, 5, seed=2))
    changed = {name for name in seen[0] if not torch.equal(seen[0][name], seen[1][name])}
    assert changed == {"dt", "B", "C"}


def test_state_size_does_not_depend_on_the_length() -> None:
    mamba = block()
    sizes = {
        tuple(t.shape for t in mamba.prefill(inputs(1, l), mamba.allocate_state(1))[1])
        for l in (1, 5, 40)
    }
    assert sizes == {((1, 3, 16), (1, 16, 3))}


def test_state_is_h_and_the_tail_of_the_convolution() -> None:
    mamba, u = block(), inputs(1, 12)
    wanted = mamba(u)
    _, state = mamba.prefill(u[:, :6], mamba.allocate_state(1))
    no_tail = state._replace(conv=torch.zeros_like(state.conv))
    no_h = state._replace(ssm=torch.zeros_like(state.ssm))
    torch.testing.assert_close(mamba.prefill(u[:, 6:], state)[0], wanted[:, 6:])
    for wrong in (no_tail, no_h):
        error = (mamba.prefill(u[:, 6:], wrong)[0] - wanted[:, 6:]).abs().amax((0, 2))
        assert error[-1] > 1e-6  # still there after the taps


def test_dt_starts_in_its_range() -> None:
    for cfg in (MambaConfig(d_model=256), published_config("130m")[1]):
        dt = functional.softplus(Mamba(cfg).dt_bias)
        assert 0.9e-3 < dt.min() < 3e-3
        assert 0.05 < dt.max() < 0.1001
    inside = model().layers[0].branch.dt_bias
    assert functional.softplus(inside).max() < 0.1001


def test_gate_of_a_one_state_channel_is_a_sigmoid() -> None:
    v = torch.linspace(-4, 4, 9, dtype=torch.float64)
    step, A, B = functional.softplus(v), torch.tensor(-1.0).double(), torch.tensor(1.0).double()
    exact = discretize_diagonal(A, B, step, Rule.ZOH)
    torch.testing.assert_close(exact.A_bar, 1 - torch.sigmoid(v))
    torch.testing.assert_close(exact.B_bar, torch.sigmoid(v))
    # The rule of the published code writes with the weight Δ itself, which exceeds one.
    _, h = selective_scan(
        torch.ones(9, 1, 1).double(), step[:, None, None], A.view(1, 1), *[B.expand(9, 1, 1)] * 2
    )
    torch.testing.assert_close(h.flatten(), step)
    assert (h.flatten() - torch.sigmoid(v)).abs().max() > 1


@pytest.mark.parametrize(
    ("size", "count"),
    [
        ("130m", 129_135_360),
        ("370m", 371_516_416),
        ("790m", 793_204_224),
        ("1.4b", 1_372_178_432),
        ("2.8b", 2_768_345_600),
    ],
)
def test_published_parameter_counts(size: str, count: int) -> None:
    with torch.device("meta"):
        built = MambaLanguageModel(*published_config(size))
    assert sum(p.numel() for p in built.parameters()) == count
    assert set(PUBLISHED) >= {size}


# --- one meaning of forward, prefill and step -----------------------------------------------


def test_loop_of_steps_is_the_forward_pass() -> None:
    mamba, u = block(), inputs(2, 7)
    wanted, last = mamba.prefill(u, mamba.allocate_state(2))
    torch.testing.assert_close(mamba(u), wanted)
    state = mamba.allocate_state(2)
    for t in range(7):
        y, state = mamba.step(u[:, t], state)
        torch.testing.assert_close(y, wanted[:, t])
    torch.testing.assert_close(state, last)


@pytest.mark.parametrize("cut", range(1, 7))
def test_cut_anywhere(cut: int) -> None:
    mamba, u = block(), inputs(2, 7)
    y1, state = mamba.prefill(u[:, :cut], mamba.allocate_state(2))
    y2, _ = mamba.prefill(u[:, cut:], state)
    torch.testing.assert_close(torch.cat([y1, y2], 1), mamba(u))


def test_gradients_reach_the_state_handed_over() -> None:
    mamba, u = block(), inputs(1, 6)
    state = mamba.allocate_state(1)
    leaves = [t.normal_(generator=torch.Generator().manual_seed(3)).requires_grad_() for t in state]
    y, last = mamba.prefill(u, type(state)(*leaves))
    (y.sum() + last.conv.sum() + last.ssm.sum()).backward()
    assert all(t.grad is not None and t.grad.abs().sum() > 0 for t in leaves)


@pytest.mark.parametrize("scan", [selective_scan, selective_scan_associative])
def test_the_scan_is_an_argument(scan: Any) -> None:
    u = inputs(2, 9)
    torch.testing.assert_close(block(scan=scan)(u), block()(u))


def test_causal() -> None:
    mamba, u = block(), inputs(1, 8)
    later = u.clone()
    later[:, 5] += 1
    y, y_later = mamba(u), mamba(later)
    assert torch.equal(y[:, :5], y_later[:, :5])
    assert not torch.equal(y[:, 5], y_later[:, 5])


def test_left_padding_changes_nothing() -> None:
    mamba, u = block(), inputs(1, 5)
    wanted, last = mamba.prefill(u, mamba.allocate_state(1))
    padded = torch.cat([inputs(1, 3, seed=9), u], dim=1)
    mask = torch.tensor([[False] * 3 + [True] * 5])
    y, state = mamba.prefill(padded, mamba.allocate_state(1), mask=mask)
    torch.testing.assert_close((y[:, 3:], state), (wanted, last))
    torch.testing.assert_close(mamba(padded, mask=mask)[:, 3:], wanted)


def test_right_padding_leaves_real_outputs_alone() -> None:
    mamba, u = block(), inputs(1, 5)
    padded = torch.cat([u, inputs(1, 3, seed=9)], dim=1)
    mask = torch.tensor([[True] * 5 + [False] * 3])
    torch.testing.assert_close(mamba(padded, mask=mask)[:, :5], mamba(u))


def test_packed_is_separate() -> None:
    mamba, u = block(), inputs(1, 11)
    y = mamba(u, cu_seqlens=torch.tensor([0, 2, 3, 11]))
    wanted = [mamba(u[:, start:end]) for start, end in ((0, 2), (2, 3), (3, 11))]
    torch.testing.assert_close(y, torch.cat(wanted, dim=1))


def test_wrapped_projections_take_effect() -> None:
    u = inputs(1, 4)
    for name in ("in_proj", "x_proj", "dt_proj", "out_proj"):
        mamba = block()
        before = mamba(u)
        inner = getattr(mamba, name)
        setattr(mamba, name, torch.nn.Sequential(inner, torch.nn.Dropout(0.5)))
        assert not torch.allclose(mamba.train()(u), before), name


# --- the language model ---------------------------------------------------------------------


def hugging_face(layers: int = 2) -> Any:
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = transformers.MambaConfig(
        vocab_size=24, hidden_size=8, state_size=3, num_hidden_layers=layers, use_mambapy=False
    )
    return transformers.MambaForCausalLM(config).eval()


def names_of_hugging_face(name: str) -> str:
    name = name.replace("layers.", "backbone.layers.").replace(".branch.", ".mixer.")
    name = name.replace("conv_weight", "conv1d.weight").replace("conv_bias", "conv1d.bias")
    name = name.replace("dt_bias", "dt_proj.bias").replace("embedding.", "backbone.embeddings.")
    return "backbone.norm_f.weight" if name == "norm.weight" else name


def test_logits_and_gradients_of_transformers() -> None:
    theirs = hugging_face()
    shell = LanguageModelConfig(vocab_size=24, d_model=8, n_layers=2)
    ours = MambaLanguageModel(shell, SMALL)
    source = dict(theirs.named_parameters())
    with torch.no_grad():
        for name, parameter in ours.named_parameters():
            parameter.copy_(source[names_of_hugging_face(name)].view_as(parameter))
    ids = torch.randint(24, (2, 13), generator=torch.Generator().manual_seed(0))
    wanted, got = theirs(ids).logits, ours(ids)
    torch.testing.assert_close(got, wanted, rtol=1e-4, atol=1e-5)
    for logits in (wanted, got):
        functional.cross_entropy(logits[:, :-1].flatten(0, 1), ids[:, 1:].flatten()).backward()
    for name, parameter in ours.named_parameters():
        gradient = source[names_of_hugging_face(name)].grad.view_as(parameter)
        torch.testing.assert_close(parameter.grad, gradient, rtol=1e-3, atol=1e-6)


def test_generation_is_prefill_then_steps() -> None:
    net = model()
    ids = torch.randint(19, (3, 9), generator=torch.Generator().manual_seed(0))
    wanted = net(ids)
    logits, state = net.prefill(ids[:, :4], net.allocate_state(3))
    torch.testing.assert_close(logits, wanted[:, :4])
    for t in range(4, 9):
        logits, state = net.step(ids[:, t], state)
        torch.testing.assert_close(logits, wanted[:, t], rtol=1e-4, atol=1e-5)


def test_padded_vocabulary_is_never_seen() -> None:
    net = model()
    assert net.embedding.weight.shape == (24, 8)
    assert net(torch.zeros(1, 2, dtype=torch.int64)).shape == (1, 2, 19)
    assert "head.weight" in dict(model(tie_embeddings=False).named_parameters())


def test_checkpointing_changes_no_gradient() -> None:
    ids = torch.randint(19, (2, 6), generator=torch.Generator().manual_seed(0))
    gradients = []
    for checkpoint_layers in (False, True):
        net = model(checkpoint_layers=checkpoint_layers)
        net(ids).square().sum().backward()
        gradients.append([p.grad for p in net.parameters()])
    torch.testing.assert_close(gradients[0], gradients[1])


def test_bfloat16_keeps_residual_and_state_wide() -> None:
    net = model().bfloat16()
    logits, state = net.prefill(torch.zeros(1, 3, dtype=torch.int64), net.allocate_state(1))
    assert logits.dtype == torch.bfloat16
    assert state[0].ssm.dtype == torch.float32
    with torch.autocast("cpu", torch.bfloat16):
        assert model()(torch.zeros(1, 3, dtype=torch.int64)).isfinite().all()


def test_parameter_groups_spare_the_dynamics() -> None:
    net = model()
    decayed, kept = parameter_groups(net, weight_decay=0.1)
    assert decayed["weight_decay"] == 0.1
    assert kept["weight_decay"] == 0.0
    spared = {id(p) for p in kept["params"]}
    names = {name.rsplit(".", 1)[-1] for name, p in net.named_parameters() if id(p) in spared}
    assert names == {"A_log", "D", "dt_bias", "conv_bias", "weight"}
    assert all(p.ndim < 2 or p.shape == (16, 3) for p in kept["params"])
    assert len(decayed["params"]) + len(kept["params"]) == len(list(net.parameters()))
    lti = S5(S5Config(d_model=8, d_state=4))
    decayed, _ = parameter_groups(nn.Sequential(lti), weight_decay=0.1)
    names = {n for n, p in lti.named_parameters() if any(p is q for q in decayed["params"])}
    assert names.isdisjoint(lti.no_weight_decay)


def test_compiles_without_graph_breaks() -> None:
    net = model()
    torch.compiler.reset()
    compiled = torch.compile(net, backend="eager", fullgraph=True)
    for length in (4, 9, 30):  # the second length makes it symbolic
        ids = torch.zeros(1, length, dtype=torch.int64)
        torch.testing.assert_close(compiled(ids), net(ids))


@pytest.mark.parametrize("norm", ["plain", "learned"])
def test_norms_of_falcon_mamba_and_jamba(norm: Any) -> None:
    mamba = Mamba(MambaConfig(d_model=8, d_state=3, ssm_norm=norm)).double()
    extra = sum(p.numel() for p in mamba.ssm_norms.parameters())
    assert extra == (0 if norm == "plain" else 1 + 3 + 3)
    assert mamba(inputs(1, 4)).isfinite().all()


# --- edges and bad input --------------------------------------------------------------------


@pytest.mark.parametrize(("b", "l"), [(0, 3), (2, 1), (1, 1)])
def test_batch_zero_and_length_one(b: int, l: int) -> None:
    assert block()(inputs(b, l)).shape == (b, l, 8)
    assert model()(torch.zeros(b, l, dtype=torch.int64)).shape == (b, l, 19)


@pytest.mark.parametrize(
    ("u", "message"),
    [
        (torch.ones(2, 8), "shape"),
        (torch.ones(2, 0, 8), "at least one"),
        (torch.ones(2, 3, 7), "shape"),
    ],
    ids=str,
)
def test_bad_block_input(u: Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        block()(u.double())


def test_bad_mask_step_and_state() -> None:
    mamba, u = block(), inputs(2, 3)
    with pytest.raises(ValueError, match=r"mask must be torch.bool of shape \(2, 3\)"):
        mamba(u, mask=torch.ones(2, 4, dtype=torch.bool))
    with pytest.raises(ValueError, match=r"u must have shape \(batch, 8\)"):
        mamba.step(u, mamba.allocate_state(2))
    with pytest.raises(ValueError, match=r"state\.conv must have shape"):
        mamba.prefill(u, mamba.allocate_state(1))
    other = Mamba(MambaConfig(d_model=8, d_state=5)).double()
    with pytest.raises(ValueError, match=r"state\.ssm must have shape"):
        mamba.step(u[:, 0], other.allocate_state(2))


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        (torch.tensor([[0, 19]]), "0 … 18"),
        (torch.tensor([[-1, 3]]), "0 … 18"),
        (torch.tensor([[0.5]]), "int32 or int64"),
        (torch.tensor([1]), "shape"),
        (torch.zeros(1, 0, dtype=torch.int64), "at least one token"),
    ],
    ids=str,
)
def test_bad_ids(ids: Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        model()(ids)


def test_bad_configs_and_states() -> None:
    with pytest.raises(ValueError, match="d_model must be at least 1"):
        MambaConfig(d_model=0)
    with pytest.raises(ValueError, match="dt_min"):
        MambaConfig(d_model=8, dt_min=0.2)
    with pytest.raises(ValueError, match="ssm_norm"):
        MambaConfig(d_model=8, ssm_norm="batch")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="n_layers"):
        LanguageModelConfig(vocab_size=1, d_model=1, n_layers=0)
    with pytest.raises(ValueError, match="one d_model"):
        MambaLanguageModel(LanguageModelConfig(vocab_size=9, d_model=4, n_layers=1), SMALL)
    with pytest.raises(ValueError, match="size must be one of"):
        published_config("7b")
    net = model()
    with pytest.raises(ValueError, match="each of 2 layers"):
        net.step(torch.zeros(1, dtype=torch.int64), net.allocate_state(1)[:1])
