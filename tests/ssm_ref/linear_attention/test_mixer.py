"""Every layer of the family, as a part of a model: in pieces, padded, packed and in any form."""

from collections.abc import Callable

import pytest
import torch

from ssm_ref.linear_attention.deltanet import DeltaNet, DeltaNetConfig
from ssm_ref.linear_attention.gated_deltanet import GatedDeltaNet, GatedDeltaNetConfig
from ssm_ref.linear_attention.gla import GatedLinearAttention
from ssm_ref.linear_attention.hgrn2 import HGRN2
from ssm_ref.linear_attention.kda import KDAConfig, KimiDeltaAttention
from ssm_ref.linear_attention.linear_attention import LinearAttention
from ssm_ref.linear_attention.mixer import Mixer, MixerState
from ssm_ref.linear_attention.mlstm import MLSTM, MLSTMConfig
from ssm_ref.linear_attention.recurrence import chunked, parallel, recurrent
from ssm_ref.linear_attention.retnet import RetNet
from ssm_ref.linear_attention.rwkv6 import RWKV6Config, RWKV6TimeMix

GATED = GatedDeltaNetConfig(d_model=8, n_heads=1, d_head=4, n_value_heads=2)
LAYERS: dict[str, Callable[..., Mixer]] = {
    "linear_attention": lambda **o: LinearAttention(8, 2, **o),
    "retnet": lambda **o: RetNet(8, 2, **o),
    "gla": lambda **o: GatedLinearAttention(8, 2, **o),
    "hgrn2": lambda **o: HGRN2(8, 4, **o),
    "deltanet": lambda **o: DeltaNet(DeltaNetConfig(d_model=8, n_heads=2), **o),
    "gated_deltanet": lambda **o: GatedDeltaNet(GATED, **o),
    "mlstm": lambda **o: MLSTM(MLSTMConfig(d_model=8, n_heads=2), **o),
    "rwkv6": lambda **o: RWKV6TimeMix(RWKV6Config(d_model=8, d_head=4), **o),
    "kda": lambda **o: KimiDeltaAttention(KDAConfig(d_model=8, n_heads=2, d_head=4), **o),
}


def build(name: str, **options: object) -> Mixer:
    torch.manual_seed(0)
    layer = LAYERS[name](**options).double()
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return layer


@pytest.fixture(params=LAYERS)
def layer(request: pytest.FixtureRequest) -> Mixer:
    return build(request.param)


def draw(b: int = 2, l: int = 11) -> torch.Tensor:
    return torch.randn(b, l, 8, dtype=torch.float64)


@torch.no_grad()
def test_pieces_and_steps_equal_the_whole(layer: Mixer) -> None:
    u = draw()
    want = layer(u)
    head, state = layer.prefill(u[:, :4], layer.allocate_state(2))
    ys = [head]
    for t in range(4, 8):
        y, state = layer.step(u[:, t], state)
        ys.append(y[:, None])
    tail, _ = layer.prefill(u[:, 8:], state)
    torch.testing.assert_close(torch.cat([*ys, tail], dim=1), want, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("scan", [recurrent, parallel])
def test_the_form_changes_nothing(name: str, scan: Callable[..., object]) -> None:
    u = draw()
    torch.testing.assert_close(build(name, scan=scan)(u), build(name)(u), rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("name", LAYERS)
def test_gradients_of_the_forms_agree(name: str) -> None:
    u, grads = draw(1, 7), []
    for scan in (recurrent, chunked):
        layer = build(name, scan=scan)
        layer(u).sin().sum().backward()
        grads.append([p.grad for p in layer.parameters()])
    for a, b in zip(*grads, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-8, atol=1e-9)


def test_causal(layer: Mixer) -> None:
    u = draw(1, 7)
    changed = u.clone()
    changed[0, 4] += 1
    torch.testing.assert_close(layer(u)[:, :4], layer(changed)[:, :4])


@torch.no_grad()
def test_padding_on_the_left_changes_nothing(layer: Mixer) -> None:
    u = draw(1, 6)
    padded = torch.cat([torch.randn(1, 3, 8, dtype=torch.float64), u], dim=1)
    mask = torch.tensor([[False] * 3 + [True] * 6])
    y, state = layer.prefill(padded, layer.allocate_state(1), mask=mask)
    want, alone = layer.prefill(u, layer.allocate_state(1))
    torch.testing.assert_close(y[:, 3:], want)
    torch.testing.assert_close(layer.step(u[:, 0], state)[0], layer.step(u[:, 0], alone)[0])


@torch.no_grad()
def test_padding_on_any_side_leaves_the_rows_alone(layer: Mixer) -> None:
    u, mask = draw(2, 6), torch.ones(2, 6, dtype=torch.bool)
    mask[0, 4:] = mask[1, 2] = False
    got = layer(u, mask=mask)
    torch.testing.assert_close(got[:1, :4], layer(u[:1, :4]))
    torch.testing.assert_close(got[1:, mask[1]], layer(u[1:, mask[1]]))
    assert not got[~mask].any()


@torch.no_grad()
def test_packed_sequences_stand_alone(layer: Mixer) -> None:
    u = draw(1, 9)
    got = layer(u, cu_seqlens=torch.tensor([0, 4, 9]))
    torch.testing.assert_close(got, torch.cat([layer(u[:, :4]), layer(u[:, 4:])], dim=1))


def test_state_does_not_grow_and_is_not_changed(layer: Mixer) -> None:
    state = layer.allocate_state(1)
    _, after = layer.prefill(draw(1, 30), state)
    assert [x.shape for x in after] == [x.shape for x in state]
    assert not state.S.any()


def test_state_stays_float32_under_bf16_autocast(layer: Mixer) -> None:
    layer = layer.float()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y, state = layer.prefill(draw().float(), layer.allocate_state(2))
    assert state.S.dtype == torch.float32
    assert y.isfinite().all()


def test_every_parameter_receives_a_gradient(layer: Mixer) -> None:
    layer(draw()).sin().sum().backward()
    for name, parameter in layer.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.any(), name


def test_refuses(layer: Mixer) -> None:
    with pytest.raises(ValueError, match="u must have shape"):
        layer(torch.zeros(1, 2, 7, dtype=torch.float64))
    with pytest.raises(ValueError, match="MixerState; got int"):
        layer.prefill(draw(), 1)  # type: ignore[arg-type]
    state = layer.allocate_state(2)
    with pytest.raises(ValueError, match="S must have shape"):
        layer.step(draw()[:, 0], MixerState(state.past, state.S[:, :, :1]))
    with pytest.raises(ValueError, match="past must have shape"):
        layer.step(draw()[:, 0], MixerState(torch.zeros(3, 7, 7), state.S))
    with pytest.raises(ValueError, match="mask must"):
        layer(draw(), mask=torch.ones(2, 2).bool())
    with pytest.raises(ValueError, match="on the left alone"):
        layer.prefill(draw(1, 2), layer.allocate_state(1), mask=torch.tensor([[True, False]]))
    with pytest.raises(ValueError, match=r"must be torch.float64 like the layer"):
        layer(draw().float())
    with pytest.raises(ValueError, match="at least one time step"):
        layer(draw(2, 0))
    with pytest.raises(ValueError, match="no NaN"):
        layer(draw().index_fill(1, torch.tensor(1), torch.nan))
    assert layer(draw(0)).shape == (0, 11, 8)
