"""mLSTM: its forms, what the stabiliser may not change, and the layer of transformers."""

import pytest
import torch
from transformers import xLSTMConfig
from transformers.models.xlstm.modeling_xlstm import xLSTMLayer

from ssm_ref.linear_attention.mlstm import (
    MLSTM,
    MLSTMConfig,
    mlstm_case,
    mlstm_parallel,
    mlstm_recurrent,
    normalised,
    stabiliser,
)
from ssm_ref.linear_attention.recurrence import chunked, parallel, recurrent

EXACT = {"rtol": 1e-10, "atol": 1e-10}


def operands(l: int = 19) -> tuple[torch.Tensor, ...]:
    q, k = torch.randn(2, 2, l, 3, 4, dtype=torch.float64)
    i, f = 3 * torch.randn(2, 2, l, 3, dtype=torch.float64)
    return q / 2, k, torch.randn(2, l, 3, 5, dtype=torch.float64), i, f


def test_the_forms_agree() -> None:
    parts = operands()
    torch.testing.assert_close(mlstm_parallel(*parts), mlstm_recurrent(*parts), **EXACT)


def test_is_a_case_of_the_common_recurrence() -> None:
    parts = operands()
    want = mlstm_recurrent(*parts)
    case, m = mlstm_case(*parts, torch.zeros(2, 3, dtype=torch.float64))
    for form in (recurrent, parallel, chunked):
        torch.testing.assert_close(normalised(form(case)[0], m), want, **EXACT)


def test_without_the_stabiliser_it_is_the_same() -> None:
    """The paper's first form: exponential gate, no m, a floor of one (the ε is left out here)."""
    q, k, v, i, f = operands(8)
    C, n = torch.zeros(2, 3, 4, 5).double(), torch.zeros(2, 3, 4).double()
    want = mlstm_recurrent(q, k, v, i, f)
    for t in range(8):
        keep, write = torch.sigmoid(f[:, t])[..., None], i[:, t].exp()[..., None]
        C = keep[..., None] * C + (write * k[:, t])[..., None] * v[:, t, :, None]
        n = keep * n + write * k[:, t]
        floor = (n * q[:, t]).sum(dim=-1).abs().clamp(min=1)
        h = torch.einsum("bhnp,bhn->bhp", C, q[:, t]) / floor[..., None]
        torch.testing.assert_close(h, want[:, t], rtol=1e-4, atol=1e-5)


def test_the_stabiliser_is_the_running_maximum() -> None:
    _, _, _, i, f = operands()
    m = torch.randn(2, 3, dtype=torch.float64)
    got = stabiliser(i, f, m)
    for t in range(19):
        m = torch.maximum(torch.nn.functional.logsigmoid(f[:, t]) + m, i[:, t])
        torch.testing.assert_close(got[:, t], m)


def test_no_gate_overflows_in_float32() -> None:
    """Input gates up to ±800, whose exponentials no float32 holds."""
    q, k, v, i, f = operands(64)
    parts = (q, k, v, 100 * i, f)
    want = mlstm_recurrent(*parts)
    case, m = mlstm_case(*(x.float() for x in parts), torch.zeros(2, 3))
    got = normalised(chunked(case)[0], m)
    assert (got - want).norm() / want.norm() < 1e-4


def test_a_constant_on_all_input_gates_changes_nothing() -> None:
    """Wherever the sum of weights is above its floor, as it is with gates this open."""
    q, k, v, i, f = operands()
    q, k = q.abs(), k.abs()
    i = i + 20
    got = mlstm_recurrent(q, k, v, i + 7, f)
    torch.testing.assert_close(got, mlstm_recurrent(q, k, v, i, f), rtol=1e-4, atol=1e-5)


def test_transformers_layer_and_gradients() -> None:
    config = xLSTMConfig(
        hidden_size=16,
        num_heads=2,
        mode="train",
        chunkwise_kernel="chunkwise--native_autograd",
        return_last_states=True,
        autocast_kernel_dtype="float32",
        chunk_size=8,
    )
    theirs = xLSTMLayer(config)
    ours = MLSTM(MLSTMConfig(d_model=16, n_heads=2))
    names = {
        "q_proj": "q",
        "k_proj": "k",
        "v_proj": "v",
        "og_proj": "ogate_preact",
        "i_proj": "igate_preact",
        "f_proj": "fgate_preact",
        "norm_weight": "multihead_norm.weight",
        "o_proj": "out_proj",
    }
    weights = theirs.state_dict()
    with torch.no_grad():
        for name, parameter in ours.named_parameters():
            part, _, kind = name.partition(".")
            parameter.copy_(weights[names[part] + (f".{kind}" if kind else "")])
    u = torch.randn(2, 24, 16)
    ours(u).sin().sum().backward()
    theirs(u)[0].sin().sum().backward()
    torch.testing.assert_close(ours(u), theirs(u)[0], rtol=1e-4, atol=1e-5)
    for mine, other in ((ours.q_proj, theirs.q), (ours.i_proj, theirs.igate_preact)):
        torch.testing.assert_close(mine.weight.grad, other.weight.grad, rtol=1e-3, atol=1e-4)


def test_start_and_shapes_of_the_published_layer() -> None:
    layer = MLSTM(MLSTMConfig(d_model=16, n_heads=2))
    assert sum(p.numel() for p in layer.parameters()) == 4 * 256 + 2 * (16 * 2 + 2) + 16
    case = layer.project(torch.randn(1, 5, 16), torch.zeros(1, 2)).case
    assert case.g.exp().min() > 0.9
    with pytest.raises(ValueError, match="n_heads=3 must divide d_model=16 and d_qk=8"):
        MLSTMConfig(d_model=16, n_heads=3)
