"""Mamba-3 against Mamba-2's recurrence, a turning state, and itself in pieces."""

import math
from typing import Any

import pytest
import torch

from ssm_ref.language_model import LanguageModelConfig
from ssm_ref.selective.mamba import parameter_groups
from ssm_ref.selective.mamba3 import (
    Inputs,
    Mamba3,
    Mamba3Config,
    Mamba3LanguageModel,
    Past,
    heavy_tail,
    trapezoidal_chunked,
    trapezoidal_recurrence,
    turn,
)
from ssm_ref.selective.ssd import ssd

F64 = torch.float64


def operands(l: int, r: int = 1, n: int = 4) -> tuple[Inputs, Past]:
    torch.manual_seed(l)
    b, h, p = 2, 3, 5
    x = torch.randn(b, l, h, r, p, dtype=F64)
    B, C = torch.randn(2, b, l, h, r, n, dtype=F64)
    dt, A, lam = torch.rand(3, b, l, h, dtype=F64)
    H, x0, B0 = (
        torch.randn(shape, dtype=F64) for shape in ((b, h, p, n), (b, h, r, p), (b, h, r, n))
    )
    return Inputs(x, B, C, dt, -A, lam), Past(H, x0, B0)


@pytest.mark.parametrize("chunk_size", [1, 4, 64])
@pytest.mark.parametrize("r", [1, 3])
@pytest.mark.parametrize("l", [1, 9])
def test_chunks_equal_the_recurrence(l: int, r: int, chunk_size: int) -> None:
    inputs, past = operands(l, r)
    want, last = trapezoidal_recurrence(inputs, past)
    got, H = trapezoidal_chunked(inputs, past, chunk_size=chunk_size)
    torch.testing.assert_close(got, want)
    torch.testing.assert_close(H, last)


def test_lambda_one_without_turning_is_the_recurrence_of_mamba2() -> None:
    inputs, past = operands(9)
    A = -torch.rand(3, dtype=F64)
    inputs = inputs._replace(A=A.expand_as(inputs.A), lam=torch.ones_like(inputs.lam))
    y, H = trapezoidal_recurrence(inputs, past)
    x, B, C = (part[..., 0, :] for part in inputs[:3])
    want, last = ssd(x, inputs.dt, A, B, C, initial_state=past.H)
    torch.testing.assert_close(y[..., 0, :], want)
    torch.testing.assert_close(H, last)


def test_lambda_half_is_the_trapezoid() -> None:
    inputs, past = operands(1)
    inputs = inputs._replace(lam=torch.full_like(inputs.lam, 0.5))
    _, H = trapezoidal_recurrence(inputs, past)
    dt, alpha = inputs.dt[:, 0, :, None, None], (inputs.dt * inputs.A)[:, 0].exp()[..., None, None]
    left, right = past.x.mT @ past.B, inputs.x[:, 0].mT @ inputs.B[:, 0]
    torch.testing.assert_close(H, alpha * past.H + dt / 2 * (alpha * left + right))


@pytest.mark.parametrize("adjacent", [True, False])
def test_turning_B_and_C_turns_the_state(adjacent: bool) -> None:
    """A state turned by -Δθ at every step gives the outputs of the turned B and C."""
    inputs, past = operands(6)
    inputs = inputs._replace(lam=torch.ones_like(inputs.lam))
    theta = torch.randn(2, 6, 3, 2, dtype=F64)
    phi = theta.cumsum(dim=1)
    turned = inputs._replace(
        B=turn(inputs.B, phi, adjacent=adjacent), C=turn(inputs.C, phi, adjacent=adjacent)
    )
    y, _ = trapezoidal_recurrence(turned, past)
    H = past.H
    for t in range(6):
        back = -theta[:, t : t + 1]
        H = turn(H[:, None], back, adjacent=adjacent)[:, 0]
        decay = (inputs.dt * inputs.A)[:, t].exp()[..., None, None]
        write = inputs.dt[:, t, :, None, None] * (inputs.x[:, t].mT @ inputs.B[:, t])
        H = decay * H + write
        torch.testing.assert_close(y[:, t], inputs.C[:, t] @ H.mT)


def test_rank_one_mimo_with_unit_vectors_is_siso_up_to_the_pairing() -> None:
    torch.manual_seed(0)
    sizes = {"d_model": 8, "d_state": 4, "d_head": 4, "rope_fraction": 1.0}
    siso = Mamba3(Mamba3Config(**sizes)).double()
    mimo = Mamba3(Mamba3Config(**sizes, mimo_rank=1)).double()
    mimo.load_state_dict(siso.state_dict(), strict=False)
    u = torch.randn(1, 6, 8, dtype=F64)
    order = torch.tensor([0, 2, 1, 3])  # pairs (0, 1), (2, 3) become (0, 2), (1, 3)
    with torch.no_grad():
        for start in (32, 36):  # rows of B and of C
            rows = mimo.in_proj.weight[start : start + 4].clone()
            mimo.in_proj.weight[start : start + 4] = rows[order]
    torch.testing.assert_close(mimo(u), siso(u))


def test_parity_is_a_turn_by_half_a_circle() -> None:
    """With φ turned by π for every one, the sign of the state counts ones modulo 2."""
    bits = torch.tensor([1, 0, 1, 1, 0, 1, 1, 1])
    phi = (math.pi * bits.to(F64)).cumsum(dim=0)[None, :, None, None]
    one = torch.tensor([1.0, 0.0], dtype=F64).expand(1, 8, 1, 1, 2)
    x = torch.zeros(1, 8, 1, 1, 1, dtype=F64)
    dt = torch.ones(1, 8, 1, dtype=F64)
    start = Past(one[:, 0, :, 0, None], x[:, 0], one[:, 0])
    C = turn(one, phi, adjacent=True)
    y, _ = trapezoidal_recurrence(Inputs(x, one, C, dt, 0 * dt, dt), start)
    assert y.flatten().round().tolist() == [1.0 - 2 * (int(k) % 2) for k in bits.cumsum(dim=0)]


def test_heavy_tail_is_positive_and_smooth_at_zero() -> None:
    x = torch.tensor([-1e3, -1.0, -1e-9, 0.0, 1e-9, 2.0], dtype=F64, requires_grad=True)
    y = heavy_tail(x)
    torch.testing.assert_close(y, torch.tensor([1 / 1001, 0.5, 1, 1, 1, 3], dtype=F64))
    y.sum().backward()
    assert x.grad is not None
    torch.testing.assert_close(x.grad[2:], torch.ones(4, dtype=F64))


BLOCKS = {
    "siso": {},
    "mimo": {"mimo_rank": 3},
    "groups and norm": {"n_groups": 2, "out_norm": True, "mimo_rank": 2},
    "softplus": {"A_activation": "softplus", "rope_fraction": 1.0},
}


@pytest.fixture(params=BLOCKS.values(), ids=BLOCKS.keys())
def block(request: pytest.FixtureRequest) -> Mamba3:
    torch.manual_seed(0)
    made = Mamba3(Mamba3Config(d_model=8, d_state=8, d_head=4, **request.param)).double()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return made


@pytest.mark.parametrize("cut", range(1, 7))
def test_cut_anywhere(block: Mamba3, cut: int) -> None:
    u = torch.randn(2, 7, 8, dtype=F64)
    head, state = block.prefill(u[:, :cut], block.allocate_state(2))
    tail, _ = block.prefill(u[:, cut:], state)
    torch.testing.assert_close(torch.cat([head, tail], dim=1), block(u))


def test_steps_equal_forward(block: Mamba3) -> None:
    u = torch.randn(2, 7, 8, dtype=F64)
    state, ys = block.allocate_state(2), []
    for t in range(7):
        y, state = block.step(u[:, t], state)
        ys.append(y)
    torch.testing.assert_close(torch.stack(ys, dim=1), block(u))


def test_causal_and_any_form_of_the_scan(block: Mamba3) -> None:
    u = torch.randn(1, 7, 8, dtype=F64)
    changed = u.clone()
    changed[:, 4] += 1
    torch.testing.assert_close(block(u)[:, :4], block(changed)[:, :4])
    other = Mamba3(block.cfg, scan=trapezoidal_recurrence).double()
    other.load_state_dict(block.state_dict())
    torch.testing.assert_close(other(u), block(u))


def test_the_state_does_not_grow(block: Mamba3) -> None:
    u = torch.randn(1, 30, 8, dtype=F64)
    sizes = {
        sum(part.numel() for part in block.prefill(u[:, :l], block.allocate_state(1))[1])
        for l in (1, 30)
    }
    assert len(sizes) == 1


def test_initial_values_are_the_published_ones() -> None:
    block = Mamba3(Mamba3Config(d_model=64, mimo_rank=4))
    assert block.B_bias.eq(1).all()
    assert block.C_bias.eq(1).all()
    assert block.mimo_x.eq(0.25).all()
    assert block.mimo_z.eq(1).all()
    dt = torch.nn.functional.softplus(block.dt_bias)
    assert 1e-3 * 0.99 <= dt.min() <= dt.max() <= 0.1 * 1.01
    assert block.cfg.n_angles == 32


def test_no_weight_decay_on_D_and_dt(block: Mamba3) -> None:
    _, spared = parameter_groups(block, weight_decay=0.1)
    assert {id(block.D), id(block.dt_bias)} <= {id(p) for p in spared["params"]}


def test_state_stays_float32_under_bf16_autocast(block: Mamba3) -> None:
    block, u = block.float(), torch.randn(2, 7, 8)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y, state = block.prefill(u, block.allocate_state(2))
    assert {part.dtype for part in state} == {torch.float32}
    torch.testing.assert_close(y.float(), block(u), rtol=0.2, atol=0.1)


def test_shapes_and_refusals(block: Mamba3) -> None:
    assert block(torch.randn(2, 1, 8).double()).shape == (2, 1, 8)
    assert block(torch.randn(0, 3, 8).double()).shape == (0, 3, 8)
    with pytest.raises(ValueError, match="Mamba3State; got int"):
        block.prefill(torch.zeros(2, 3, 8).double(), 1)
    with pytest.raises(ValueError, match=r"state.phase must have shape \(2, "):
        block.prefill(torch.zeros(2, 3, 8).double(), block.allocate_state(3))
    with pytest.raises(ValueError, match="d_state must be even"):
        Mamba3Config(d_model=8, d_head=4, d_state=7)


def small_model(**options: Any) -> Mamba3LanguageModel:
    torch.manual_seed(0)
    shell = LanguageModelConfig(vocab_size=19, d_model=8, n_layers=4, **options)
    return Mamba3LanguageModel(shell, Mamba3Config(d_model=8, d_state=4, d_head=4), d_ff=12)


def test_layer_checkpointing_changes_no_gradient() -> None:
    ids = torch.randint(19, (2, 5))
    plain, sparing = small_model(), small_model(checkpoint_layers=True)
    for model in (plain, sparing):
        model(ids).logsumexp(dim=-1).sum().backward()
    for a, b in zip(plain.parameters(), sparing.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad)


def test_compiles_without_graph_breaks() -> None:
    torch.compiler.reset()
    model = small_model()
    compiled = torch.compile(model, fullgraph=True, backend="eager")
    for length in (5, 9):  # the second length makes it symbolic
        ids = torch.randint(19, (2, length))
        torch.testing.assert_close(compiled(ids), model(ids), rtol=1e-4, atol=1e-5)
