"""A language model assembled from a pattern string, out of any mixers and channel mixers.

Letter i of the pattern is residual branch i:

    x ← x + part[pattern_i](norm(x))    (1)

so "M-M-*E" is Mamba, MLP, Mamba, MLP, attention, experts. A part is anything that maps (b, l, d) to
(b, l, d) and, if it keeps a state, has `allocate_state`, `prefill` and `step` as described in
`ssm_ref.language_model`. Nemotron-H writes its hybrids in such strings (arXiv 2504.03624).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import nn

from ssm_ref.attention.transformer import Attention, AttentionConfig, SwiGLU
from ssm_ref.expect import expect_counts
from ssm_ref.hybrid.moe import MoE, MoEConfig
from ssm_ref.language_model import LanguageModel, LanguageModelConfig
from ssm_ref.linear_attention.deltanet import DeltaNet, DeltaNetConfig
from ssm_ref.linear_attention.gated_deltanet import GatedDeltaNet, GatedDeltaNetConfig
from ssm_ref.linear_attention.gla import GatedLinearAttention
from ssm_ref.linear_attention.hgrn2 import HGRN2
from ssm_ref.linear_attention.kda import KDAConfig, KimiDeltaAttention
from ssm_ref.linear_attention.linear_attention import LinearAttention
from ssm_ref.linear_attention.mlstm import MLSTM, MLSTMConfig
from ssm_ref.linear_attention.retnet import RetNet
from ssm_ref.linear_attention.rwkv4 import TimeMix
from ssm_ref.linear_attention.rwkv6 import RWKV6ChannelMix, RWKV6Config, RWKV6TimeMix
from ssm_ref.recurrent.gru import GRU
from ssm_ref.recurrent.lstm import LSTM
from ssm_ref.recurrent.min_rnn import MinGRU, MinLSTM
from ssm_ref.recurrent.rg_lru import GriffinBlock, GriffinBlockConfig
from ssm_ref.recurrent.rnn import RNN
from ssm_ref.recurrent.slstm import SLSTM
from ssm_ref.selective.mamba import Mamba, MambaConfig
from ssm_ref.selective.mamba2 import Mamba2, Mamba2Config
from ssm_ref.selective.mamba3 import Mamba3, Mamba3Config
from ssm_ref.structured.lru import LRU, LRUConfig

Part = Callable[[], nn.Module]


@dataclass(frozen=True, kw_only=True, slots=True)
class Sizes:
    """Sizes that the standard parts share."""

    d_model: int
    d_state: int = 64
    d_head: int = 64
    n_kv_heads: int | None = None
    d_ff: int | None = None  # 4 d_model when not given
    window: int = 1024
    n_experts: int = 8
    top_k: int = 2

    def __post_init__(self) -> None:
        expect_counts(self, "d_model", "d_state", "d_head", "window", "n_experts", "top_k")

    @property
    def ff_width(self) -> int:
        """Hidden channels of SwiGLU and of every expert."""
        return 4 * self.d_model if self.d_ff is None else self.d_ff


def standard_parts(sizes: Sizes) -> dict[str, Part]:
    """One factory a letter: mixers M 2 3 * W R L G 4, channel mixers - E, and the two below."""
    d, n, p = sizes.d_model, sizes.d_state, sizes.d_head

    def attention(window: int | None, rope_base: float | None) -> nn.Module:
        cfg = AttentionConfig(
            d_model=d,
            n_heads=max(1, d // p),
            n_kv_heads=sizes.n_kv_heads,
            window=window,
            rope_base=rope_base,
        )
        return Attention(cfg)

    moe = MoEConfig(d_model=d, d_ff=sizes.ff_width, n_experts=sizes.n_experts, top_k=sizes.top_k)
    return {
        "M": lambda: Mamba(MambaConfig(d_model=d)),
        "2": lambda: Mamba2(Mamba2Config(d_model=d, d_state=n, d_head=p)),
        "3": lambda: Mamba3(Mamba3Config(d_model=d, d_state=n, d_head=p)),
        "*": lambda: attention(None, None),
        "W": lambda: attention(sizes.window, 10_000.0),
        "R": lambda: RNN(d, d),
        "L": lambda: LSTM(d, d),
        "G": lambda: GRU(d, d),
        "4": lambda: TimeMix(d),
        "-": lambda: SwiGLU(d, sizes.ff_width),
        "E": lambda: MoE(moe),
        **recurrent_parts(sizes),
        **matrix_parts(sizes),
    }


def recurrent_parts(sizes: Sizes) -> dict[str, Part]:
    """Mixers with a vector for a state.

    U LRU, F Griffin's block with the RG-LRU, n minGRU, l minLSTM, S sLSTM.
    """
    d, n, h = sizes.d_model, sizes.d_state, max(1, sizes.d_model // sizes.d_head)
    return {
        "U": lambda: LRU(LRUConfig(d_model=d, d_state=n)),
        "F": lambda: GriffinBlock(GriffinBlockConfig(d_model=d, n_heads=h)),
        "n": lambda: MinGRU(d, d),
        "l": lambda: MinLSTM(d, d),
        "S": lambda: SLSTM(d, d, n_heads=h),
    }


def matrix_parts(sizes: Sizes) -> dict[str, Part]:
    """Mixers with a matrix for a state.

    A linear attention, T RetNet, g GLA, H HGRN2, d DeltaNet, D Gated DeltaNet, K KDA,
    6 and c RWKV-6's mixers of tokens and of channels, X mLSTM.
    """
    d, p = sizes.d_model, sizes.d_head
    h = max(1, d // p)
    rwkv6 = RWKV6Config(d_model=d, d_head=min(d, p))
    return {
        "A": lambda: LinearAttention(d, h),
        "T": lambda: RetNet(d, h),
        "g": lambda: GatedLinearAttention(d, h),
        "H": lambda: HGRN2(d, min(d, p)),
        "d": lambda: DeltaNet(DeltaNetConfig(d_model=d, n_heads=h)),
        "D": lambda: GatedDeltaNet(GatedDeltaNetConfig(d_model=d, n_heads=h, d_head=p)),
        "K": lambda: KimiDeltaAttention(KDAConfig(d_model=d, n_heads=h, d_head=p)),
        "6": lambda: RWKV6TimeMix(rwkv6),
        "c": lambda: RWKV6ChannelMix(rwkv6),
        "X": lambda: MLSTM(MLSTMConfig(d_model=d, n_heads=h)),
    }


def build(
    pattern: str, cfg: LanguageModelConfig, parts: Mapping[str, Part] | None = None
) -> LanguageModel:
    """The model of `pattern`; `cfg.n_layers` must be its length.

    `parts` are factories by letter, `standard_parts` for cfg.d_model when not given. Raises
    `ValueError` for an empty pattern, an unknown letter or another number of layers.
    """
    parts = standard_parts(Sizes(d_model=cfg.d_model)) if parts is None else parts
    unknown = sorted(set(pattern) - parts.keys())
    if not pattern or unknown:
        raise ValueError(
            f"pattern must be made of {''.join(parts)!r}, at least one letter; got {pattern!r}"
            + (f" with unknown {unknown}" if unknown else "")
        )
    if cfg.n_layers != len(pattern):
        raise ValueError(
            f"cfg.n_layers must be the {len(pattern)} letters of {pattern!r}; got {cfg.n_layers}"
        )
    return LanguageModel(cfg, lambda layer: parts[pattern[layer]]())  # (1)
