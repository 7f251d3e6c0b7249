"""The Transformer decoder that state space models are measured against ("Transformer++", Llama).

Causal attention over heads of width p, query t against the keys s it may see:

    y_t = Σ_{s ≤ t} softmax_s(q_tᵀ k_s / √p) v_s    (1)

With a sliding window w only s > t - w counts, and the first `pinned` keys where there are any.
Positions enter by rotation, which is `ssm_ref.attention.rope`: channels of q and k are turned in
pairs, in proportion to the position,

    θ_i = base^{-2i/p}    (2)
    x_i, x_{i+p/2} ← x_i cos tθ_i - x_{i+p/2} sin tθ_i, x_i sin tθ_i + x_{i+p/2} cos tθ_i    (3)

so that q_tᵀk_s depends on t - s alone. The channel mixer is SwiGLU:

    y = W_down (SiLU(W_gate u) ⊙ W_up u)    (4)

The state is the KV cache: every key and value so far (with a window, the last w - 1 and the pinned
ones). It grows by 2·h_kv·p numbers a token and layer. Sources: Vaswani et al. 2017 (1706.03762),
RoPE 2104.09864, grouped queries 2305.13245, sliding window as in Mistral 2310.06825.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from ssm_ref.attention.rope import RopeScaling, rotate
from ssm_ref.expect import (
    expect_axes,
    expect_batch,
    expect_counts,
    expect_features,
    expect_sequence,
    expect_shape,
    expect_token,
)
from ssm_ref.language_model import LanguageModel, LanguageModelConfig
from ssm_ref.packing import check_left_padding

Attend = Callable[..., Tensor]


@dataclass(frozen=True, kw_only=True, slots=True)
class AttentionConfig:
    """Sizes of one attention layer; `rope_base=None` leaves positions out (NoPE)."""

    d_model: int
    n_heads: int
    n_kv_heads: int | None = None  # as many as query heads when not given
    d_head: int | None = None  # d_model / n_heads when not given
    d_key: int | None = None  # of queries and keys; as wide as values when not given
    window: int | None = None
    pinned: int = 0  # so many first positions stay visible behind the window
    rope_base: float | None = 10_000.0
    rope_scaling: RopeScaling | None = None

    def __post_init__(self) -> None:
        expect_counts(self, "d_model", "n_heads", "n_kv_heads", "d_head", "d_key", "window")
        if self.rope_base is None and self.rope_scaling is not None:
            raise ValueError("rope_scaling needs a rope_base; got rope_base=None")
        if self.d_head is None and self.d_model % self.n_heads:
            raise ValueError(f"n_heads={self.n_heads} must divide d_model={self.d_model}")
        if self.n_heads % self.kv_heads:
            raise ValueError(f"n_kv_heads={self.kv_heads} must divide n_heads={self.n_heads}")
        if self.rope_base is not None and self.key_width % 2:
            raise ValueError(f"RoPE turns pairs: the head width {self.key_width} must be even")

    @property
    def kv_heads(self) -> int:
        """Heads of keys and values; every one serves n_heads / kv_heads query heads."""
        return self.n_heads if self.n_kv_heads is None else self.n_kv_heads

    @property
    def head_width(self) -> int:
        """Channels of one head."""
        return self.d_model // self.n_heads if self.d_head is None else self.d_head

    @property
    def key_width(self) -> int:
        """Channels of one head's queries and keys."""
        return self.head_width if self.d_key is None else self.d_key

    def kept(self, length: int) -> int:
        """How many of `length` keys are still needed by the next query."""
        return length if self.window is None else min(length, self.pinned + self.window - 1)


class KVCache(NamedTuple):
    """Keys and values still visible, and the number of tokens seen in all.

    `padding` counts the tokens at the start of each row that are none.
    """

    k: Float[Tensor, "b g s n"]
    v: Float[Tensor, "b g s p"]
    length: int
    padding: Int[Tensor, " b"] | None = None


def attend_one_by_one(
    q: Float[Tensor, "b h l n"],
    k: Float[Tensor, "b g s n"],
    v: Float[Tensor, "b g s p"],
    window: int | None = None,
    first: Int[Tensor, " b"] | None = None,
    pinned: int = 0,
) -> Float[Tensor, "b h l p"]:
    """Eq. (1) query by query, the last query beside the last key: the definition.

    Keys before `first`, a number a row, are seen by themselves alone; the first `pinned` stay
    visible behind the window.
    """
    _check_heads(q, k, v)
    k, v = (x.repeat_interleave(q.shape[1] // k.shape[1], dim=1) for x in (k, v))
    past, ys = k.shape[2] - q.shape[2], []
    for t in range(q.shape[2]):
        end = past + t + 1
        start = 0 if window is None else max(0, end - window)
        seen = [*range(min(pinned, start)), *range(start, end)]
        scores = torch.einsum("bhn,bhsn->bhs", q[:, :, t], k[:, :, seen]) / math.sqrt(q.shape[3])
        if first is not None:
            s = torch.tensor(seen, device=k.device)
            hidden = (s < first[:, None]) & (s != end - 1)
            scores = scores.masked_fill(hidden[:, None], -math.inf)
        ys.append(torch.einsum("bhs,bhsp->bhp", scores.softmax(dim=-1), v[:, :, seen]))  # (1)
    return torch.stack(ys, dim=2)


def attend(
    q: Float[Tensor, "b h l n"],
    k: Float[Tensor, "b g s n"],
    v: Float[Tensor, "b g s p"],
    window: int | None = None,
    first: Int[Tensor, " b"] | None = None,
    pinned: int = 0,
) -> Float[Tensor, "b h l p"]:
    """Eq. (1) for all queries at once, by PyTorch's fused attention; the rest as above."""
    _check_heads(q, k, v)
    l, s = q.shape[2], k.shape[2]
    grouped = q.shape[1] != k.shape[1]
    if l == s and (window is None or window >= s) and first is None:
        return F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=grouped)
    place = torch.arange(s, device=q.device)
    distance = place[s - l :, None] - place
    mask = distance >= 0
    if window is not None:
        mask = mask & ((distance < window) | (place < pinned))
    if first is not None:
        shown = place >= first[:, None]
        mask = (mask & shown[:, None] | (distance == 0))[:, None]  # b 1 l s
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, enable_gqa=grouped)


def _check_heads(q: Tensor, k: Tensor, v: Tensor) -> None:
    expect_axes("q bhln, k bgsn, v bgsp", q, k, v)
    if k.shape[1] < 1 or q.shape[1] % k.shape[1] or k.shape[2] < q.shape[2]:
        raise ValueError(
            "k must have heads that divide those of q and no fewer places; "
            f"got q {tuple(q.shape)} and k {tuple(k.shape)}"
        )


class Attention(nn.Module):
    """Causal self-attention with grouped queries, RoPE and a KV cache for a state."""

    def __init__(self, cfg: AttentionConfig, *, attend: Attend = attend) -> None:
        super().__init__()
        self.cfg, self.attend = cfg, attend
        self.q_proj = nn.Linear(cfg.d_model, cfg.n_heads * cfg.key_width, bias=False)
        self.k_proj = nn.Linear(cfg.d_model, cfg.kv_heads * cfg.key_width, bias=False)
        self.v_proj = nn.Linear(cfg.d_model, cfg.kv_heads * cfg.head_width, bias=False)
        self.o_proj = nn.Linear(cfg.n_heads * cfg.head_width, cfg.d_model, bias=False)

    def allocate_state(self, batch: int) -> KVCache:
        """A cache that has seen nothing."""
        expect_batch(batch)
        cfg, weight = self.cfg, self.k_proj.weight
        k = weight.new_empty(batch, cfg.kv_heads, 0, cfg.key_width)
        return KVCache(k, weight.new_empty(batch, cfg.kv_heads, 0, cfg.head_width), 0)

    def forward(self, u: Float[Tensor, "b l d"]) -> Float[Tensor, "b l d"]:
        """Attention of every position to itself and its past."""
        return self.prefill(u, self.allocate_state(u.shape[0]))[0]

    def prefill(
        self,
        u: Float[Tensor, "b l d"],
        state: KVCache,
        *,
        mask: Bool[Tensor, "b l"] | None = None,
    ) -> tuple[Float[Tensor, "b l d"], KVCache]:
        """Attention of every position to itself, its past and the cache; and the new cache.

        `mask` is False on padding, which stands on the left, after an empty past, and is never
        seen: RoPE makes it one what number the first real position has.
        """
        expect_sequence("u", u, self.cfg.d_model, self.q_proj.weight)
        past = self.checked_state(state, u.shape[0])
        if mask is not None:
            if self.cfg.pinned:
                raise ValueError("a mask does not fit pinned positions: padding would be pinned")
            check_left_padding(mask, u.shape[:2], past.k)
            past = past._replace(padding=(~mask).sum(dim=1))
        k, v = self.keys_and_values(u, past)
        length = past.length + u.shape[1]
        first = None if past.padding is None else past.padding - (length - k.shape[2])
        q, pinned = self.queries(u, past.length), self.cfg.pinned
        y = self.attend(q, k, v, self.cfg.window, first, pinned)
        cache = self.cache_of(k, v, length)._replace(padding=past.padding)
        return self.o_proj(y.transpose(1, 2).flatten(2)), cache

    def queries(self, u: Float[Tensor, "b l d"], start: int) -> Float[Tensor, "b h l n"]:
        """Rotated queries of positions start, start + 1, …"""
        return self._placed(_heads(self.q_proj(u), self.cfg.key_width), start)

    def keys_and_values(
        self, u: Float[Tensor, "b l d"], past: KVCache
    ) -> tuple[Float[Tensor, "b g s n"], Float[Tensor, "b g s p"]]:
        """Rotated keys and values of `past` and then of u."""
        k = self._placed(_heads(self.k_proj(u), self.cfg.key_width), past.length)
        v = _heads(self.v_proj(u), self.cfg.head_width)
        if past.length == 0:
            return k, v
        return torch.cat([past.k.to(k.dtype), k], dim=2), torch.cat([past.v.to(v.dtype), v], dim=2)

    def cache_of(
        self, k: Float[Tensor, "b g s n"], v: Float[Tensor, "b g s p"], length: int
    ) -> KVCache:
        """The cache after `length` tokens: all keys and values, or those that are still needed."""
        pinned, kept = self.cfg.pinned, self.cfg.kept(length)
        if k.shape[2] > kept:
            last = k.shape[2] - (kept - pinned)
            k, v = (torch.cat([x[:, :, :pinned], x[:, :, last:]], dim=2) for x in (k, v))
        return KVCache(k, v, length)

    def step(
        self, u_t: Float[Tensor, "b d"], state: KVCache
    ) -> tuple[Float[Tensor, "b d"], KVCache]:
        """One more position against the cache; costs O(tokens in the cache)."""
        expect_token("u_t", u_t, self.cfg.d_model, self.q_proj.weight)
        y, state = self.prefill(u_t[:, None], state)
        return y[:, 0], state

    def _placed(self, x: Tensor, start: int) -> Tensor:
        if self.cfg.rope_base is None:
            return x
        return rotate(x, start, self.cfg.rope_base, self.cfg.rope_scaling)  # (2), (3)

    def checked_state(self, state: object, batch: int) -> KVCache:
        """`state` if it is a cache of this layer for `batch` rows; else raises `ValueError`."""
        if not isinstance(state, KVCache):
            raise ValueError(f"state must be a KVCache; got {type(state).__name__}")
        cfg = self.cfg
        shape = (batch, cfg.kv_heads, cfg.kept(state.length))
        expect_shape("state.k", state.k, (*shape, cfg.key_width))
        expect_shape("state.v", state.v, (*shape, cfg.head_width))
        if state.padding is not None and state.padding.shape != (batch,):
            raise ValueError(
                f"state.padding must have shape {(batch,)}; got {tuple(state.padding.shape)}"
            )
        return state


def _heads(x: Tensor, width: int) -> Tensor:
    return x.unflatten(-1, (-1, width)).transpose(1, 2)  # b h l width


class SwiGLU(nn.Module):
    """The gated channel mixer of Eq. (4): d_model → d_ff → d_model, without biases."""

    def __init__(self, d_model: int, d_ff: int) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(d_model, d_ff, bias=False)
        self.up_proj = nn.Linear(d_model, d_ff, bias=False)
        self.down_proj = nn.Linear(d_ff, d_model, bias=False)

    def forward(self, u: Float[Tensor, "... d"]) -> Float[Tensor, "... d"]:
        """Eq. (4), position by position."""
        expect_features("u", u, self.gate_proj.in_features, self.gate_proj.weight)
        return self.down_proj(F.silu(self.gate_proj(u)) * self.up_proj(u))  # (4)


@dataclass(frozen=True, kw_only=True, slots=True)
class TransformerConfig:
    """Sizes of a decoder of `n_blocks` × (attention, SwiGLU)."""

    vocab_size: int
    n_blocks: int
    d_ff: int
    attention: AttentionConfig
    norm_eps: float = 1e-5
    tie_embeddings: bool = False
    checkpoint_layers: bool = False

    def __post_init__(self) -> None:
        expect_counts(self, "vocab_size", "n_blocks", "d_ff")

    @property
    def shell(self) -> LanguageModelConfig:
        """The shell: two residual branches a block."""
        return LanguageModelConfig(
            vocab_size=self.vocab_size,
            d_model=self.attention.d_model,
            n_layers=2 * self.n_blocks,
            pad_vocab_to=1,
            norm_eps=self.norm_eps,
            tie_embeddings=self.tie_embeddings,
            checkpoint_layers=self.checkpoint_layers,
        )


class Transformer(LanguageModel):
    """Pre-norm decoder: attention and SwiGLU by turns, RMSNorm, no biases (the Llama recipe).

    Weights start from N(0, 0.02²); the projections that write into the residual stream are divided
    by √(2 n_blocks) beside, so that its variance does not grow with depth.
    """

    def __init__(self, cfg: TransformerConfig, *, attend: Attend = attend) -> None:
        def branch(layer: int) -> nn.Module:
            if layer % 2:
                return SwiGLU(cfg.attention.d_model, cfg.d_ff)
            return Attention(cfg.attention, attend=attend)

        super().__init__(cfg.shell, branch)
        self.transformer_cfg = cfg
        for name, weight in self.named_parameters():
            if weight.ndim == 2:
                writes = name.endswith(("o_proj.weight", "down_proj.weight"))
                nn.init.normal_(weight, std=0.02 / math.sqrt(2 * cfg.n_blocks) if writes else 0.02)
