"""RWKV-4: attention whose weights fade exponentially with distance, as a recurrence computes it.

With decay w > 0 and bonus u, one number a channel, and x'_t = x_{t-1} (token shift):

    r, k, v = W_r(μ_r x + (1-μ_r) x'), W_k(μ_k x + (1-μ_k) x'), W_v(μ_v x + (1-μ_v) x')    (1)
    wkv_t = (Σ_{i<t} e^{k_i - (t-1-i)w} v_i + e^{u+k_t} v_t) / (the same sums without v)    (2)
    out = W_o (σ(r) ⊙ wkv)    (3)

The numerator p and the denominator q of Eq. (2) are states; both are kept divided by e^o, where o
is the largest exponent so far, so that no exponential exceeds 1:

    m = max(o, u + k_t);  wkv_t = (e^{o-m} p + e^{u+k_t-m} v_t) / (e^{o-m} q + e^{u+k_t-m})    (4)
    o' = max(o - w, k_t);  p ← e^{o-w-o'} p + e^{k_t-o'} v_t;  q ← e^{o-w-o'} q + e^{k_t-o'}    (5)

Long sequences are cut into chunks that run side by side: `ssm_ref.linear_attention.wkv_chunks`.

In the letters of `ssm_ref.linear_attention.recurrence` each channel is a head with n = 1, k = e^k,
v = (v, 1) and g = -w that reads before the step and adds a bonus.

The channel mixer, with its own token shift:

    out = σ(W_r x_r) ⊙ W_v relu(W_k x_k)²    (6)

Source: Peng et al. 2023, arXiv 2305.13048, and the published code: w = exp(time_decay).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ssm_ref.causal_layer import CausalLayer
from ssm_ref.expect import (
    expect_axes,
    expect_batch,
    expect_counts,
    expect_shape,
    expect_token,
    state_dtype,
)
from ssm_ref.language_model import LanguageModel, LanguageModelConfig
from ssm_ref.linear_attention.token_shift import ShiftedMixer, shift
from ssm_ref.linear_attention.wkv_chunks import SMALLEST_EXPONENT, WKVChunks

# Numbers of k between two states that are kept for the gradients.
SPAN_SIZE = 1 << 20


class WKVState(NamedTuple):
    """Numerator and denominator of Eq. (2), both divided by e^o; float32 or wider."""

    p: Float[Tensor, "b d"]
    q: Float[Tensor, "b d"]
    o: Float[Tensor, "b d"]


WKV = Callable[[Tensor, Tensor, Tensor, Tensor, WKVState], tuple[Tensor, WKVState]]
WKV_AXES = "k bld, v bld, w d, u d, p bd, q bd, o bd"


def empty_wkv(like: Float[Tensor, "b d"]) -> WKVState:
    """The state before the first token."""
    p, q = (torch.zeros_like(like, dtype=state_dtype(like)) for _ in range(2))
    return WKVState(p, q, torch.full_like(p, SMALLEST_EXPONENT))


def wkv_sums(
    k: Float[Tensor, "b l d"],
    v: Float[Tensor, "b l d"],
    w: Float[Tensor, " d"],
    u: Float[Tensor, " d"],
) -> Float[Tensor, "b l d"]:
    """Eq. (2) as it stands: the definition. Overflows once e^k does."""
    expect_axes("k bld, v bld, w d, u d", k, v, w, u)
    ys = []
    for t in range(k.shape[1]):
        age = torch.arange(t - 1, -1, -1, device=k.device, dtype=k.dtype)[:, None]
        weight = torch.cat([(k[:, :t] - age * w).exp(), (u + k[:, t : t + 1]).exp()], dim=1)
        ys.append((weight * v[:, : t + 1]).sum(dim=1) / weight.sum(dim=1))  # (2)
    return torch.stack(ys, dim=1)


def wkv_recurrent(
    k: Float[Tensor, "b l d"],
    v: Float[Tensor, "b l d"],
    w: Float[Tensor, " d"],
    u: Float[Tensor, " d"],
    state: WKVState,
) -> tuple[Float[Tensor, "b l d"], WKVState]:
    """Eq. (2) token by token in constant memory, by Eqs. (4) and (5)."""
    expect_axes(WKV_AXES, k, v, w, u, *state)
    (p, q, o), ys = state, []
    for k_t, v_t in zip(k.unbind(dim=1), v.unbind(dim=1), strict=True):
        ys.append(_read(p, q, o, k_t + u, v_t))
        o_next = torch.maximum(o - w, k_t)  # (5)
        keep, write = (o - w - o_next).exp(), (k_t - o_next).exp()
        p, q, o = keep * p + write * v_t, keep * q + write, o_next  # (5)
    return torch.stack(ys, dim=1), WKVState(p, q, o)


def wkv_parallel(
    k: Float[Tensor, "b l d"],
    v: Float[Tensor, "b l d"],
    w: Float[Tensor, " d"],
    u: Float[Tensor, " d"],
    state: WKVState,
) -> tuple[Float[Tensor, "b l d"], WKVState]:
    """The same in chunks side by side, by Eqs. (7) to (9) of `ssm_ref.linear_attention.wkv_chunks`.

    Only the operands and a state a span of time are kept for the gradients.
    """
    expect_axes(WKV_AXES, k, v, w, u, *state)
    k, v, w, u = (x.to(state.o.dtype) for x in (k, v, w, u))
    span = max(64, SPAN_SIZE // max(1, k[:, 0].numel()))
    ys = []
    for k_s, v_s in zip(k.split(span, dim=1), v.split(span, dim=1), strict=True):
        y, *sums = WKVChunks.apply(k_s, v_s, w, u, *state)
        state = WKVState(*sums)
        ys.append(y)
    return torch.cat(ys, dim=1), state


def _read(p: Tensor, q: Tensor, o: Tensor, bonus: Tensor, v: Tensor) -> Tensor:
    m = torch.maximum(o, bonus)
    old, new = (o - m).exp(), (bonus - m).exp()
    return (old * p + new * v) / (old * q + new)  # (4)


@dataclass(frozen=True, kw_only=True, slots=True)
class RWKV4Config:
    """Sizes of an RWKV-4 language model of `n_blocks` × (time mix, channel mix)."""

    vocab_size: int
    d_model: int
    n_blocks: int
    d_ff: int | None = None  # 4 d_model when not given
    norm_eps: float = 1e-5
    checkpoint_layers: bool = False

    def __post_init__(self) -> None:
        expect_counts(self, "vocab_size", "d_model", "n_blocks", "d_ff")

    @property
    def ff_width(self) -> int:
        """Hidden channels of the channel mixer."""
        return 4 * self.d_model if self.d_ff is None else self.d_ff

    @property
    def shell(self) -> LanguageModelConfig:
        """The shell: two residual branches a block, a head of its own."""
        return LanguageModelConfig(
            vocab_size=self.vocab_size,
            d_model=self.d_model,
            n_layers=2 * self.n_blocks,
            pad_vocab_to=1,
            norm_eps=self.norm_eps,
            tie_embeddings=False,
            checkpoint_layers=self.checkpoint_layers,
        )


class TimeMixState(NamedTuple):
    """What a time mixer keeps: the last input and the sums of Eq. (4)."""

    x: Float[Tensor, "b d"]
    wkv: WKVState


class TimeMix(CausalLayer):
    """The token mixer, Eqs. (1) to (3); `wkv` has the contract of `wkv_recurrent`."""

    def __init__(self, d_model: int, depth: float = 0.0, *, wkv: WKV = wkv_parallel) -> None:
        super().__init__()
        self.d_model, self.wkv = d_model, wkv
        self.time_decay = nn.Parameter(torch.empty(d_model))
        self.time_first = nn.Parameter(torch.empty(d_model))
        self.mix_key = nn.Parameter(torch.empty(d_model))
        self.mix_value = nn.Parameter(torch.empty(d_model))
        self.mix_receptance = nn.Parameter(torch.empty(d_model))
        self.key = nn.Linear(d_model, d_model, bias=False)
        self.value = nn.Linear(d_model, d_model, bias=False)
        self.receptance = nn.Linear(d_model, d_model, bias=False)
        self.output = nn.Linear(d_model, d_model, bias=False)
        self.reset_parameters(depth)

    @torch.no_grad()
    def reset_parameters(self, depth: float) -> None:
        """The published start; `depth` runs from 0 in the first block towards 1 in the last."""
        d = self.d_model
        place = torch.arange(d, device=self.time_decay.device) / max(1, d - 1)
        self.time_decay.copy_(-5 + 8 * place ** (0.7 + 1.3 * depth))
        zigzag = 0.5 * (torch.arange(1, d + 1, device=self.time_first.device) % 3 - 1)
        self.time_first.copy_(math.log(0.3) + zigzag)
        channel = torch.arange(d, device=self.mix_key.device) / d
        self.mix_key.copy_(channel ** (1 - depth))
        self.mix_value.copy_(channel ** (1 - depth) + 0.3 * depth)
        self.mix_receptance.copy_(channel ** (0.5 * (1 - depth)))
        for linear in (self.key, self.receptance, self.output):
            nn.init.zeros_(linear.weight)

    @property
    def reads(self) -> tuple[int, Tensor]:
        """Channels of an input, and a weight whose dtype and device it must have."""
        return self.d_model, self.mix_key

    def step(
        self, u: Float[Tensor, "b d"], state: TimeMixState
    ) -> tuple[Float[Tensor, "b d"], TimeMixState]:
        """One more token, by Eqs. (4) and (5)."""
        expect_token("u", u, *self.reads)
        self._check_state(state, u.shape[0])
        y, state = self._through(wkv_recurrent, u[:, None], state, None)
        return y[:, 0], state

    def allocate_state(self, batch: int) -> TimeMixState:
        """The state of an empty past: zeros, and the smallest exponent."""
        expect_batch(batch)
        zeros = self.output.weight.new_zeros(batch, self.d_model)
        return TimeMixState(zeros, empty_wkv(zeros))

    def _run(
        self,
        u: Tensor,
        state: TimeMixState | None,
        mask: Tensor | None,
        cu_seqlens: Tensor | None = None,
    ) -> tuple[Tensor, TimeMixState]:
        state = self.allocate_state(u.shape[0]) if state is None else state
        return self._through(self.wkv, u, state, mask)

    def _through(
        self, wkv: WKV, x: Tensor, state: TimeMixState, mask: Tensor | None
    ) -> tuple[Tensor, TimeMixState]:
        """Eqs. (1) to (3); keys of padding are the smallest exponent and so have no weight."""
        x = x if mask is None else x.masked_fill(~mask[..., None], 0)
        before = shift(x, state.x)
        k, v, r = (
            linear(torch.lerp(before, x, mix.to(x.dtype)))  # (1)
            for linear, mix in (
                (self.key, self.mix_key),
                (self.value, self.mix_value),
                (self.receptance, self.mix_receptance),
            )
        )
        wide = state.wkv.p.dtype
        w, u = self.time_decay.to(wide).exp(), self.time_first.to(wide)
        k = k.to(wide)
        k = k if mask is None else k.masked_fill(~mask[..., None], SMALLEST_EXPONENT)
        y, sums = wkv(k, v.to(wide), w, u, state.wkv)  # (2)
        out = self.output(torch.sigmoid(r) * y.to(r.dtype))  # (3)
        return out, TimeMixState(x[:, -1], sums)

    def _check_state(self, state: TimeMixState, batch: int) -> None:
        if not isinstance(state, TimeMixState):
            raise ValueError(f"state must be a TimeMixState; got {type(state).__name__}")
        expect_shape("state.x", state.x, (batch, self.d_model))
        for name, part in zip("pqo", state.wkv, strict=True):
            expect_shape(f"state.wkv.{name}", part, (batch, self.d_model))

    def _memory(self, state: TimeMixState) -> Tensor:
        return state.wkv.q


class ChannelMix(ShiftedMixer):
    """The channel mixer, Eq. (6); its state is the last input."""

    def __init__(self, d_model: int, d_ff: int, depth: float = 0.0) -> None:
        super().__init__()
        self.d_model = d_model
        channel = torch.arange(d_model) / d_model
        self.mix_key = nn.Parameter(channel ** (1 - depth))
        self.mix_receptance = nn.Parameter(channel ** (1 - depth))
        self.key = nn.Linear(d_model, d_ff, bias=False)
        self.receptance = nn.Linear(d_model, d_model, bias=False)
        self.value = nn.Linear(d_ff, d_model, bias=False)
        for linear in (self.receptance, self.value):
            nn.init.zeros_(linear.weight)

    def mix(
        self, u: Float[Tensor, "b l d"], before: Float[Tensor, "b l d"]
    ) -> Float[Tensor, "b l d"]:
        """Eq. (6)."""
        x_k, x_r = (
            torch.lerp(before, u, mix.to(u.dtype)) for mix in (self.mix_key, self.mix_receptance)
        )
        hidden = torch.relu(self.key(x_k)).square()
        return torch.sigmoid(self.receptance(x_r)) * self.value(hidden)  # (6)


class RWKV4(LanguageModel):
    """RWKV-4: LayerNorm after the embedding, then time and channel mixers by turns."""

    def __init__(self, cfg: RWKV4Config, *, wkv: WKV = wkv_parallel) -> None:
        def branch(layer: int) -> nn.Module:
            depth = (layer // 2) / max(1, cfg.n_blocks - 1)
            if layer % 2:
                return ChannelMix(cfg.d_model, cfg.ff_width, depth)
            return TimeMix(cfg.d_model, depth, wkv=wkv)

        def norm() -> nn.Module:
            return nn.LayerNorm(cfg.d_model, eps=cfg.norm_eps)

        super().__init__(cfg.shell, branch, norm=norm)
        self.rwkv_cfg = cfg
        self.input_norm = norm()
        nn.init.uniform_(self.embedding.weight, -1e-4, 1e-4)

    def _embed(self, ids: Tensor, *, ndim: int) -> tuple[torch.dtype, Tensor]:
        dtype, x = super()._embed(ids, ndim=ndim)
        return dtype, self.input_norm(x.to(dtype)).to(x.dtype)
