"""What every layer and every model here promises, whatever is inside: one row, all promises."""

import copy
import importlib
import itertools
import pkgutil
import re
from collections.abc import Callable
from dataclasses import fields, is_dataclass, replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

import ssm_ref
from ssm_ref.attention.rope import RopeScaling
from ssm_ref.attention.transformer import (
    Attention,
    AttentionConfig,
    SwiGLU,
    Transformer,
    TransformerConfig,
)
from ssm_ref.audio.audio_mamba import AudioMamba, AudioMambaConfig
from ssm_ref.hybrid import modular
from ssm_ref.hybrid.falcon_h1 import FalconH1, FalconH1Config, FalconH1Mixer, WideMamba2Config
from ssm_ref.hybrid.hymba import Hymba, HymbaConfig
from ssm_ref.hybrid.jamba import Jamba, JambaConfig
from ssm_ref.hybrid.kimi_linear import (
    KimiLinear,
    KimiLinearConfig,
    LatentAttention,
    LatentAttentionConfig,
)
from ssm_ref.hybrid.moe import MoE, MoEConfig
from ssm_ref.hybrid.nemotron_h import NemotronH, NemotronHConfig, SquaredReLU
from ssm_ref.hybrid.qwen3_next import (
    GatedAttention,
    GatedAttentionConfig,
    GatedExpertMoE,
    Qwen3Next,
    Qwen3NextConfig,
)
from ssm_ref.hybrid.samba import Samba, SambaConfig
from ssm_ref.hybrid.zamba2 import Zamba2, Zamba2Config
from ssm_ref.language_model import LanguageModel, LanguageModelConfig
from ssm_ref.linear_attention import rwkv4
from ssm_ref.linear_attention.deltanet import DeltaNet, DeltaNetConfig
from ssm_ref.linear_attention.gated_deltanet import GatedDeltaNet, GatedDeltaNetConfig
from ssm_ref.linear_attention.gla import GatedLinearAttention
from ssm_ref.linear_attention.hgrn2 import HGRN2
from ssm_ref.linear_attention.kda import KDAConfig, KimiDeltaAttention
from ssm_ref.linear_attention.linear_attention import LinearAttention
from ssm_ref.linear_attention.mlstm import MLSTM, MLSTMConfig
from ssm_ref.linear_attention.retnet import RetNet
from ssm_ref.linear_attention.rwkv4 import RWKV4, RWKV4Config
from ssm_ref.linear_attention.rwkv6 import RWKV6ChannelMix, RWKV6Config, RWKV6TimeMix
from ssm_ref.linear_attention.rwkv7 import RWKV7, RWKV7Config
from ssm_ref.multimodal.multimodal_mamba import MlpConnector, ScanConnector
from ssm_ref.recurrent.gru import GRU
from ssm_ref.recurrent.lstm import LSTM
from ssm_ref.recurrent.min_rnn import MinGRU, MinLSTM
from ssm_ref.recurrent.rg_lru import GriffinBlock, GriffinBlockConfig
from ssm_ref.recurrent.rnn import RNN
from ssm_ref.recurrent.slstm import SLSTM
from ssm_ref.selective.mamba import Mamba, MambaConfig, MambaLanguageModel
from ssm_ref.selective.mamba2 import Mamba2, Mamba2Config, Mamba2LanguageModel
from ssm_ref.selective.mamba3 import Mamba3, Mamba3Config, Mamba3LanguageModel
from ssm_ref.structured.lru import LRU, LRUConfig
from ssm_ref.structured.s4 import S4, S4Config
from ssm_ref.structured.s4d import S4D, S4DConfig
from ssm_ref.structured.s5 import S5, S5Config
from ssm_ref.time_series.series_classifier import SeriesClassifierConfig
from ssm_ref.vision.bidirectional_mamba import BidirectionalMamba, BidirectionalMambaConfig
from ssm_ref.vision.detection import FCOSConfig
from ssm_ref.vision.ss2d import SS2DConfig
from ssm_ref.vision.vision_mamba import VisionMamba, VisionMambaConfig

D, VOCAB = 8, 19
MAMBA = MambaConfig(d_model=D, d_state=4)
MAMBA2 = Mamba2Config(d_model=D, d_state=4, d_head=4, n_groups=2)
MAMBA3 = Mamba3Config(d_model=D, d_state=4, d_head=4)
RWKV6 = RWKV6Config(d_model=D, d_head=4)
MIMO = Mamba3Config(d_model=D, d_state=4, d_head=4, mimo_rank=2)
ATTENTION = AttentionConfig(d_model=D, n_heads=2, n_kv_heads=1)
WINDOW = AttentionConfig(d_model=D, n_heads=2, window=3)
NO_POSITIONS = AttentionConfig(d_model=D, n_heads=2, n_kv_heads=1, rope_base=None)
GATED = GatedAttentionConfig(d_model=D, n_heads=4, n_kv_heads=2, d_head=4, rope_dims=2)
LATENT = LatentAttentionConfig(d_model=D, n_heads=2, rank=6, d_shared=2, d_key=4, d_value=4)
EXPERTS = MoEConfig(d_model=D, d_ff=16, n_experts=3, renormalize=True)
FALCON = FalconH1Config(
    vocab_size=VOCAB,
    n_blocks=2,
    d_ff=16,
    attention=ATTENTION,
    mamba=WideMamba2Config(d_model=D, d_ssm=12, d_state=4, d_head=4),
)

LAYERS: dict[str, Callable[[], nn.Module]] = {
    "mamba": lambda: Mamba(MAMBA),
    "mamba2": lambda: Mamba2(MAMBA2),
    "mamba3": lambda: Mamba3(MAMBA3),
    "mamba3 mimo": lambda: Mamba3(MIMO),
    "rwkv4 time mix": lambda: rwkv4.TimeMix(D),
    "rwkv4 channel mix": lambda: rwkv4.ChannelMix(D, 16),
    "rwkv6 time mix": lambda: RWKV6TimeMix(RWKV6),
    "rwkv6 channel mix": lambda: RWKV6ChannelMix(RWKV6),
    "linear attention": lambda: LinearAttention(D, 2),
    "retnet": lambda: RetNet(D, 2),
    "gla": lambda: GatedLinearAttention(D, 2),
    "hgrn2": lambda: HGRN2(D, 4),
    "mlstm": lambda: MLSTM(MLSTMConfig(d_model=D, n_heads=2)),
    "deltanet": lambda: DeltaNet(DeltaNetConfig(d_model=D, n_heads=2)),
    "gated deltanet": lambda: GatedDeltaNet(GatedDeltaNetConfig(d_model=D, n_heads=2, d_head=4)),
    "kda": lambda: KimiDeltaAttention(KDAConfig(d_model=D, n_heads=2, d_head=4)),
    "attention": lambda: Attention(ATTENTION),
    "attention in a window": lambda: Attention(WINDOW),
    "swiglu": lambda: SwiGLU(D, 16),
    "moe": lambda: MoE(MoEConfig(d_model=D, d_ff=16, n_experts=3)),
    "rnn": lambda: RNN(D, D),
    "lstm": lambda: LSTM(D, D),
    "gru": lambda: GRU(D, D),
    "min gru": lambda: MinGRU(D, D),
    "min lstm": lambda: MinLSTM(D, D),
    "slstm": lambda: SLSTM(D, D, n_heads=2),
    "griffin": lambda: GriffinBlock(GriffinBlockConfig(d_model=D, n_heads=2)),
    "lru": lambda: LRU(LRUConfig(d_model=D, d_state=4)),
    "gated attention": lambda: GatedAttention(GATED),
    "latent attention": lambda: LatentAttention(LATENT),
    "attention beside mamba2": lambda: FalconH1Mixer(FALCON),
    "squared relu": lambda: SquaredReLU(D, 16),
    "gated expert": lambda: GatedExpertMoE(EXPERTS, 16),
    "s4": lambda: S4(S4Config(d_model=D, l_max=8, d_state=4)),
    "s4d": lambda: S4D(S4DConfig(d_model=D, d_state=4)),
    "s5": lambda: S5(S5Config(d_model=D, d_state=4)),
    "both ways": lambda: BidirectionalMamba(BidirectionalMambaConfig(d_model=D, d_state=4)),
    "both ways, shared": lambda: BidirectionalMamba(
        BidirectionalMambaConfig(d_model=D, d_state=4, sharing="shared")
    ),
    "scan connector": lambda: ScanConnector(D, D),
    "mlp connector": lambda: MlpConnector(D, D),
}


def shell(n_layers: int, **options: Any) -> LanguageModelConfig:
    return LanguageModelConfig(vocab_size=VOCAB, d_model=D, n_layers=n_layers, **options)


def jamba(**options: Any) -> Jamba:
    return Jamba(
        JambaConfig(
            vocab_size=VOCAB,
            n_blocks=3,
            d_ff=16,
            attention=AttentionConfig(d_model=D, n_heads=2, n_kv_heads=1, rope_base=None),
            mamba=MambaConfig(d_model=D, d_state=4, ssm_norm="learned"),
            n_experts=3,
            attention_period=3,
            attention_offset=1,
            **options,
        )
    )


def hymba(**options: Any) -> Hymba:
    return Hymba(
        HymbaConfig(
            vocab_size=VOCAB,
            n_blocks=4,
            d_ff=16,
            mamba=MAMBA,
            n_heads=2,
            window=3,
            n_meta=2,
            **options,
        )
    )


def assembled(pattern: str, **options: Any) -> LanguageModel:
    parts = modular.standard_parts(
        modular.Sizes(d_model=D, d_state=4, d_head=4, d_ff=16, window=3, n_experts=3)
    )
    return modular.build(pattern, shell(len(pattern), **options), parts)


def nemotron_h(**options: Any) -> NemotronH:
    return NemotronH(
        NemotronHConfig(
            vocab_size=VOCAB,
            pattern="M-*M",
            d_ff=16,
            attention=NO_POSITIONS,
            mamba=MAMBA2,
            **options,
        )
    )


def zamba2(**options: Any) -> Zamba2:
    return Zamba2(
        Zamba2Config(
            vocab_size=VOCAB,
            n_layers=3,
            hybrid_layers=(1, 2),
            n_shared=1,
            n_heads=2,
            d_ff=16,
            adapter_rank=2,
            mamba=MAMBA2,
            **options,
        )
    )


def qwen3_next(**options: Any) -> Qwen3Next:
    return Qwen3Next(
        Qwen3NextConfig(
            vocab_size=VOCAB,
            n_blocks=2,
            attention_every=2,
            attention=GATED,
            delta=GatedDeltaNetConfig(d_model=D, n_heads=2, d_head=4, n_value_heads=4),
            experts=EXPERTS,
            d_shared=16,
            **options,
        )
    )


def kimi_linear(**options: Any) -> KimiLinear:
    return KimiLinear(
        KimiLinearConfig(
            vocab_size=VOCAB,
            n_blocks=2,
            attention_layers=(1,),
            attention=LATENT,
            delta=KDAConfig(d_model=D, n_heads=2, d_head=4),
            experts=EXPERTS,
            d_ff=16,
            d_shared=16,
            **options,
        )
    )


MODELS: dict[str, Callable[..., LanguageModel]] = {
    "mamba": lambda **o: MambaLanguageModel(shell(2, **o), MAMBA),
    "mamba2": lambda **o: Mamba2LanguageModel(shell(2, **o), MAMBA2),
    "mamba3": lambda **o: Mamba3LanguageModel(shell(2, **o), MAMBA3, d_ff=16),
    "mamba3 mimo": lambda **o: Mamba3LanguageModel(shell(2, **o), MIMO),
    "rwkv4": lambda **o: RWKV4(RWKV4Config(vocab_size=VOCAB, d_model=D, n_blocks=2, **o)),
    "rwkv7": lambda **o: RWKV7(RWKV7Config(vocab_size=VOCAB, d_model=D, n_blocks=2, d_head=4, **o)),
    "transformer": lambda **o: Transformer(
        TransformerConfig(vocab_size=VOCAB, n_blocks=2, d_ff=16, attention=ATTENTION, **o)
    ),
    "jamba": jamba,
    "hymba": hymba,
    "modular": lambda **o: assembled("M2-3*EWR4-LG", **o),
    "matrix states": lambda **o: assembled("ATgHdDK6cX", **o),
    "nemotron_h": nemotron_h,
    "falcon_h1": lambda **o: FalconH1(replace(FALCON, **o)),
    "zamba2": zamba2,
    "samba": lambda **o: Samba(
        SambaConfig(vocab_size=VOCAB, n_blocks=1, d_ff=16, attention=WINDOW, mamba=MAMBA, **o)
    ),
    "qwen3_next": qwen3_next,
    "kimi_linear": kimi_linear,
}
TAKE_A_MASK_IN_PREFILL = ("mamba", "mamba2", "mamba3", "mamba3 mimo", "rwkv4", "rwkv7")
TAKE_A_MASK_IN_PREFILL += (
    "matrix states",
    "transformer",
    "jamba",
    "nemotron_h",
    "falcon_h1",
    "samba",
)


def make(name: str, **options: Any) -> LanguageModel:
    """The model with weights large enough that no part of it is silent."""
    torch.manual_seed(0)
    model = MODELS[name](**options)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model


def output(out: Any) -> Tensor:
    return out[0] if isinstance(out, tuple) else out


def tensors(state: Any) -> list[Tensor]:
    if isinstance(state, Tensor):
        return [state]
    return [t for part in state for t in tensors(part)] if isinstance(state, tuple | list) else []


# --- layers ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", LAYERS)
def test_layers_take_one_token_and_no_row(name: str) -> None:
    layer = LAYERS[name]()
    assert output(layer(torch.randn(2, 1, D))).shape == (2, 1, D)
    assert output(layer(torch.randn(0, 3, D))).shape == (0, 3, D)
    if hasattr(layer, "allocate_state"):
        y, state = layer.step(torch.randn(0, D), layer.allocate_state(0))
        assert y.shape == (0, D)
        assert all(t.shape[0] == 0 for t in tensors(state))


WRONG_BATCHES: list[tuple[Any, str]] = [
    (-1, "batch must not be negative; got -1"),
    (1.5, "batch must be an integer; got 1.5"),
    (None, "batch must be an integer; got None"),
    (True, "batch must be an integer; got True"),
]


@pytest.mark.parametrize("name", [n for n in LAYERS if hasattr(LAYERS[n](), "allocate_state")])
def test_layers_refuse_a_state_for_no_number_of_rows(name: str) -> None:
    for batch, words in WRONG_BATCHES:
        with pytest.raises(ValueError, match=words):
            LAYERS[name]().allocate_state(batch)


WIDTHS: dict[str, tuple[Callable[[Any], nn.Module], str]] = {  # of layers without a config
    "rnn": (lambda n: RNN(n, D), "d_in and d_model must be integers of at least 1; got {} and 8"),
    "gru": (lambda n: GRU(D, n), "d_in and d_model must be integers of at least 1; got 8 and {}"),
    "min_gru": (lambda n: MinGRU(n, D), "d_in and d_model must be integers of at least 1; got {}"),
    "slstm": (lambda n: SLSTM(D, D, n_heads=n), "n_heads={} must divide d_model=8"),
    "hgrn2": (
        lambda n: HGRN2(n, 1),
        "d_model and d_head must be integers of at least 1; got {} and 1",
    ),
}


@pytest.mark.parametrize("name", WIDTHS)
def test_layers_refuse_widths_that_count_nothing(name: str) -> None:
    make, words = WIDTHS[name]
    for wrong in (0, -8, 8.0, 2.5, True):
        with pytest.raises(ValueError, match=re.escape(words.format(wrong))):
            make(wrong)


WRONG_INPUTS = {
    "rank": (lambda: torch.randn(3, D + 1), "must have shape"),
    "width": (lambda: torch.randn(2, 3, D + 1), "must have shape"),
    "integers": (lambda: torch.ones(2, 3, D, dtype=torch.long), "must be floating point"),
    "dtype": (lambda: torch.randn(2, 3, D).double(), "must be torch.float32 like the layer"),
    "device": (lambda: torch.randn(2, 3, D, device="meta"), "must be on cpu like the layer"),
    "NaN": (
        lambda: torch.randn(2, 3, D).index_fill(1, torch.tensor(1), torch.nan),
        "no NaN; got 16",
    ),
}


@pytest.mark.parametrize("wrong", WRONG_INPUTS)
@pytest.mark.parametrize("name", LAYERS)
def test_layers_refuse(name: str, wrong: str) -> None:
    u, words = WRONG_INPUTS[wrong]
    with pytest.raises(ValueError, match=words):
        LAYERS[name]()(u())


@pytest.mark.parametrize(
    "name", [n for n in LAYERS if n not in ("swiglu", "moe", "squared relu", "gated expert")]
)
def test_layers_over_time_refuse_an_empty_sequence(name: str) -> None:
    with pytest.raises(ValueError, match="at least one time step"):
        LAYERS[name]()(torch.randn(2, 0, D))


@pytest.mark.parametrize("name", LAYERS)
def test_layers_compute_in_bf16_under_autocast_and_keep_the_state_wide(name: str) -> None:
    layer, u = LAYERS[name](), torch.randn(2, 3, D)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = output(layer(u))
        wide = layer.allocate_state(2) if hasattr(layer, "allocate_state") else ()
    assert y.isfinite().all()
    torch.testing.assert_close(y.float(), output(layer(u)).float(), rtol=0.1, atol=0.1)
    kinds = (torch.float32, torch.complex64, torch.long)
    assert all(t.dtype in kinds for t in tensors(wide))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", LAYERS)
def test_layers_hold_their_weights_in_half_precision(name: str, dtype: torch.dtype) -> None:
    layer = LAYERS[name]().to(dtype)
    u = torch.randn(2, 5, D, dtype=dtype)
    y = output(layer(u))
    assert y.dtype == dtype
    want = output(copy.deepcopy(layer).float()(u.float()))
    torch.testing.assert_close(y.float(), want, rtol=0.1, atol=0.1)
    y.float().sum().backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in layer.parameters())
    if hasattr(layer, "step"):
        state = layer.allocate_state(2) if hasattr(layer, "allocate_state") else None
        for t in range(u.shape[1]):
            y_t, state = layer.step(u[:, t], state)
            assert y_t.dtype == dtype
            torch.testing.assert_close(y_t.float(), want[:, t], rtol=0.1, atol=0.1)


@pytest.mark.parametrize("name", [n for n in LAYERS if n not in ("moe", "gated expert")])
def test_layers_give_shapes_without_numbers(name: str) -> None:
    layer = LAYERS[name]().to("meta")
    u = torch.randn(2, 5, D, device="meta")
    assert output(layer(u)).shape == u.shape
    if hasattr(layer, "allocate_state"):
        assert layer.step(u[:, 0], layer.allocate_state(2))[0].shape == (2, D)


@pytest.mark.parametrize("name", LAYERS)
def test_layers_compile_without_graph_breaks(name: str) -> None:
    torch.compiler.reset()
    layer, u = LAYERS[name](), torch.randn(2, 5, D)
    whole = torch.compile(layer, fullgraph=True, backend="eager")
    torch.testing.assert_close(output(whole(u)), output(layer(u)))
    if hasattr(layer, "allocate_state"):
        step = torch.compile(layer.step, fullgraph=True, backend="eager")
        got, want = (f(u[:, 0], layer.allocate_state(2)) for f in (step, layer.step))
        torch.testing.assert_close(got, want)


@pytest.mark.parametrize("name", LAYERS)
def test_layers_have_their_gradients_from_torch_func(name: str) -> None:
    layer, u = LAYERS[name](), torch.randn(2, 5, D)
    got = torch.func.grad(lambda u: output(layer(u)).sin().sum())(u)
    (want,) = torch.autograd.grad(output(layer(u.requires_grad_())).sin().sum(), u)
    torch.testing.assert_close(got, want)


@pytest.mark.parametrize("name", LAYERS)
def test_second_derivatives_of_layers(name: str) -> None:
    """Along a direction, against central differences of the first ones."""
    layer = LAYERS[name]().double()
    with torch.no_grad():  # no part of it is silent
        for parameter in layer.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    u, along, weight = torch.randn(3, 2, 4, D, dtype=torch.float64)

    def gradient(u: Tensor) -> Tensor:
        u.requires_grad_()
        with sdpa_kernel(SDPBackend.MATH):  # PyTorch's fused attention has first derivatives alone
            (g,) = torch.autograd.grad((output(layer(u)) * weight).sum(), u, create_graph=True)
        return g

    (got,) = torch.autograd.grad((gradient(u) * along).sum(), u, materialize_grads=True)
    u = u.detach()
    far = (gradient(u + 1e-5 * along) - gradient(u - 1e-5 * along)) / 2e-5
    torch.testing.assert_close(got, far, rtol=1e-4, atol=1e-5)


# --- models ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", MODELS)
@torch.no_grad()
def test_models_take_one_token_and_no_row(name: str) -> None:
    model = make(name)
    for batch, l in ((2, 1), (0, 3)):
        ids = torch.randint(VOCAB, (batch, l))
        assert model(ids).shape == (batch, l, VOCAB)
        logits, state = model.prefill(ids, model.allocate_state(batch))
        assert logits.shape == (batch, l, VOCAB)
        assert model.step(ids[:, 0], state)[0].shape == (batch, VOCAB)


WRONG_IDS = {
    "rank": (lambda: torch.zeros(3, dtype=torch.long), r"int32 or int64 of shape \(b, l\)"),
    "dtype": (lambda: torch.zeros(1, 3), "got torch.float32"),
    "too large": (lambda: torch.tensor([[3, VOCAB]]), r"ids must be in 0 … 18; got 3 … 19"),
    "negative": (lambda: torch.tensor([[-1, 3]]), r"ids must be in 0 … 18; got -1 … 3"),
    "empty": (lambda: torch.zeros(1, 0, dtype=torch.long), "at least one token a row"),
    "device": (lambda: torch.zeros(1, 3, dtype=torch.long, device="meta"), "must be on cpu"),
}


@pytest.mark.parametrize("wrong", WRONG_IDS)
@pytest.mark.parametrize("name", MODELS)
def test_models_refuse(name: str, wrong: str) -> None:
    ids, words = WRONG_IDS[wrong]
    model: Any = make(name)
    with pytest.raises(ValueError, match="ids must be a tensor of token ids; got list"):
        model([[1, 2]])
    with pytest.raises(ValueError, match=words):
        model(ids())
    with pytest.raises(ValueError, match=words):
        model.prefill(ids(), model.allocate_state(1))


@pytest.mark.parametrize("name", MODELS)
@torch.no_grad()
def test_models_refuse_the_state_of_another(name: str) -> None:
    model, ids = make(name), torch.zeros(2, 3, dtype=torch.long)
    for other in MODELS:
        if other == name:
            continue
        with pytest.raises(ValueError, match="state"):
            model.prefill(ids, make(other).allocate_state(2))
    for state in (model.allocate_state(3), None, [], model.allocate_state(2)[:-1]):
        with pytest.raises(ValueError, match="state"):
            model.prefill(ids, state)
        with pytest.raises(ValueError, match="state"):
            model.step(ids[:, 0], state)
    for batch, words in WRONG_BATCHES:
        with pytest.raises(ValueError, match=words):
            model.allocate_state(batch)


MASK = torch.tensor([[0, 0, 0, 1, 1], [1, 1, 0, 0, 0], [1, 1, 1, 1, 1], [0, 1, 0, 1, 1]]).bool()


@pytest.mark.parametrize("name", MODELS)
@torch.no_grad()
def test_padding_on_any_side_changes_nothing(name: str) -> None:
    model, ids = make(name).double(), torch.randint(VOCAB, MASK.shape)
    logits = model(ids, mask=MASK)
    assert logits[~MASK].abs().max() == 0
    for row, kept, got in zip(ids, MASK, logits, strict=True):
        torch.testing.assert_close(got[kept], model(row[None, kept])[0])


@pytest.mark.parametrize("name", MODELS)
@torch.no_grad()
def test_packed_sequences_know_nothing_of_each_other(name: str) -> None:
    model, ids = make(name).double(), torch.randint(VOCAB, (1, 11))
    ends = [0, 4, 5, 11]
    logits = model(ids, cu_seqlens=torch.tensor(ends))
    for start, end in itertools.pairwise(ends):
        torch.testing.assert_close(logits[:, start:end], model(ids[:, start:end]))


@pytest.mark.parametrize("name", TAKE_A_MASK_IN_PREFILL)
@torch.no_grad()
def test_left_padded_prompts_are_continued_as_alone(name: str) -> None:
    model, ids, new = (
        make(name).double(),
        torch.randint(VOCAB, (2, 5)),
        torch.randint(VOCAB, (2, 4)),
    )
    mask = MASK[[0, 2]]
    logits, state = model.prefill(ids, model.allocate_state(2), mask=mask)
    for row in range(2):
        prompt = ids[row : row + 1, mask[row]]
        want, past = model.prefill(prompt, model.allocate_state(1))
        torch.testing.assert_close(logits[row, mask[row]], want[0])
        after = state
        for t in range(4):
            got, after = model.step(new[:, t], after)
            want, past = model.step(new[row : row + 1, t], past)
            torch.testing.assert_close(got[row], want[0])


@pytest.mark.parametrize("name", MODELS)
@torch.no_grad()
def test_masks_that_cannot_be_honoured_are_refused(name: str) -> None:
    model, ids = make(name), torch.zeros(4, 5, dtype=torch.long)
    with pytest.raises(ValueError, match=r"mask must be torch.bool of shape \(4, 5\)"):
        model(ids, mask=MASK.long())
    with pytest.raises(ValueError, match="give one of them"):
        model(ids, mask=MASK, cu_seqlens=torch.tensor([0, 5]))
    with pytest.raises(ValueError, match="batch must be 1; got 4"):
        model(ids, cu_seqlens=torch.tensor([0, 5]))
    with pytest.raises(ValueError, match=r"takes (padding on the left alone|no mask)"):
        model.prefill(ids, model.allocate_state(4), mask=MASK)
    _, state = model.prefill(ids, model.allocate_state(4))
    with pytest.raises(ValueError, match=r"takes (a mask from an empty past alone|no mask)"):
        model.prefill(ids, state, mask=MASK[[0, 0, 0, 0]])


@pytest.mark.parametrize("name", MODELS)
def test_models_train_under_bf16_autocast(name: str) -> None:
    model, ids = make(name), torch.randint(VOCAB, (2, 6))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits, state = model.prefill(ids, model.allocate_state(2))
    torch.testing.assert_close(logits.float(), model(ids), rtol=0.2, atol=0.2)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        model(ids).float().logsumexp(dim=-1).sum().backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())
    for s in state:
        inner = getattr(s, "ssm", None)
        kept = inner if isinstance(inner, tuple) else s  # attention and a recurrence in one layer
        for part in ("ssm", "S", "wkv", "h", "c"):
            assert all(t.dtype == torch.float32 for t in tensors(getattr(kept, part, ())))


@pytest.mark.parametrize("name", MODELS)
def test_layer_checkpointing_changes_no_gradient(name: str) -> None:
    ids, gradients = torch.randint(VOCAB, (2, 5)), []
    for model in (make(name), make(name, checkpoint_layers=True)):
        model(ids).logsumexp(dim=-1).sum().backward()
        gradients.append([p.grad for p in model.parameters()])
    torch.testing.assert_close(gradients[1], gradients[0])


ASSEMBLED = ("modular", "matrix states")  # of layers that are all compiled above


@pytest.mark.parametrize("name", [name for name in MODELS if name not in ASSEMBLED])
def test_models_compile_without_graph_breaks(name: str) -> None:
    torch.compiler.reset()
    model, ids = make(name), torch.randint(VOCAB, (2, 5))
    whole = torch.compile(model, fullgraph=True, backend="eager")
    torch.testing.assert_close(whole(ids), model(ids), rtol=1e-4, atol=1e-5)
    step = torch.compile(model.step, fullgraph=True, backend="eager")
    got, want = (f(ids[:, 0], model.allocate_state(2))[0] for f in (step, model.step))
    torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-5)


# --- what sees pictures and hears ----------------------------------------------------------------

PICTURE = VisionMambaConfig(image=(8, 8), patch=(4, 4), d_model=D, n_layer=1, n_classes=3)
SOUND = AudioMambaConfig(frames=8, n_mels=8, patch=(4, 4), d_model=D, n_layer=1, n_classes=3)
ENCODERS = {
    "picture": (lambda: VisionMamba(PICTURE), (3, 8, 8)),
    "sound": (lambda: AudioMamba(SOUND), (8, 8)),
}


@pytest.mark.parametrize("name", ENCODERS)
def test_encoders_keep_the_same_promises(name: str) -> None:
    make_one, shape = ENCODERS[name]
    model, batch = make_one(), torch.randn(2, *shape)
    assert model(batch[:0]).shape == (0, 3)
    wrong: list[tuple[Tensor, str]] = [
        (batch[0], "must have shape"),
        (batch[..., :-1], "must have shape"),
        (batch.long(), "must be floating point"),
        (batch.double(), "must be torch.float32 like the layer"),
        (batch.to("meta"), "must be on cpu like the layer"),
        (batch * torch.nan, "no NaN"),
    ]
    for u, words in wrong:
        with pytest.raises(ValueError, match=words):
            model(u)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        narrow = model(batch).float()
    torch.testing.assert_close(narrow, model(batch), rtol=0.1, atol=0.1)


# --- configs -------------------------------------------------------------------------------------

SHELL = {"vocab_size": VOCAB, "n_blocks": 1, "d_ff": 16}
MADE: list[Any] = [  # from what has no default
    *(f().cfg for f in (LAYERS["mlstm"], LAYERS["deltanet"], LAYERS["gated deltanet"])),
    *(f().cfg for f in (LAYERS["kda"], LAYERS["griffin"], LAYERS["lru"], LAYERS["s4"])),
    *(f().cfg for f in (LAYERS["s4d"], LAYERS["s5"], LAYERS["both ways"])),
    *(MAMBA, MAMBA2, MAMBA3, RWKV6, ATTENTION, GATED, LATENT, EXPERTS, FALCON, FALCON.mamba),
    *(PICTURE, SOUND, shell(1), modular.Sizes(d_model=D)),
    RWKV4Config(vocab_size=VOCAB, d_model=D, n_blocks=1),
    RWKV7Config(vocab_size=VOCAB, d_model=D, n_blocks=1, d_head=4),
    TransformerConfig(**SHELL, attention=ATTENTION),
    JambaConfig(**SHELL, attention=NO_POSITIONS, mamba=MAMBA),
    HymbaConfig(**SHELL, mamba=MAMBA, n_heads=2, window=3),
    nemotron_h().nemotron_cfg,
    zamba2().zamba_cfg,
    SambaConfig(**SHELL, attention=WINDOW, mamba=MAMBA),
    qwen3_next().qwen_cfg,
    kimi_linear().kimi_cfg,
    RopeScaling(kind="linear", factor=2.0),
    SeriesClassifierConfig(channels=3, n_classes=4),
    FCOSConfig(n_classes=3),
    SS2DConfig(d_model=D),
]


def counting_fields(kind: type) -> list[str]:
    return [f.name for f in fields(kind) if re.search(r"\bint\b", str(f.type).replace("'", ""))]


def config_classes() -> list[type]:
    """Every frozen set of options of ssm_ref that counts something."""
    foreign = ("ssm_ref.training", "ssm_ref.layouts", "ssm_ref.__main__")
    names = [m.name for m in pkgutil.walk_packages(ssm_ref.__path__, "ssm_ref.")]
    modules = [importlib.import_module(name) for name in names if not name.startswith(foreign)]
    return [
        kind
        for module in modules
        for kind in vars(module).values()
        if isinstance(kind, type) and is_dataclass(kind) and kind.__module__ == module.__name__
        if counting_fields(kind)
    ]


@pytest.mark.parametrize("kind", config_classes(), ids=lambda kind: kind.__name__)
def test_configs_take_integers_alone_where_they_count(kind: Any) -> None:
    cfg = next((made for made in MADE if type(made) is kind), None) or kind()
    for name in counting_fields(kind):
        for wrong in (8.0, 2.5, "8", True, (1.5, 2)):
            with pytest.raises(ValueError, match=rf"{name} must be (an integer|integers); got "):
                replace(cfg, **{name: wrong})
        for wrong in (-1, (-1, 1)) if name != "seed" else ():
            words = "be an integer|be integers|not be negative|be at least 1"
            with pytest.raises(ValueError, match=rf"{name} must ({words}); got "):
                replace(cfg, **{name: wrong})
        if name in ("d_model", "vocab_size", "n_blocks", "n_layers", "n_heads", "d_state"):
            with pytest.raises(ValueError, match=rf"\b{name}\b.* must .*[; ]got"):
                replace(cfg, **{name: 0})
