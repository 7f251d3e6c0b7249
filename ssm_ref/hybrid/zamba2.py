"""Zamba2: Mamba-2 layers, and one or two attention blocks that all of them share.

Every layer i is a Mamba-2 branch. Before the layers h_0 < h_1 < … a shared block speaks first:

    x ← x + mamba2_i(norm_i(x))                                       elsewhere    (1)
    t = L_j block_{j mod s}(x, x_0),   x ← x + mamba2_i(norm_i(x + t))  at i = h_j   (2)

x_0 is the embedding, so t does not enter the residual stream itself. With s blocks in all,
block_b is attention and a gated MLP one after the other, on twice the width and without residuals,

    block(x, x_0) = mlp(norm(attention(norm([x, x_0]))))                            (3)

and every call j bends the shared matrices by a low-rank adapter of its own:

    W ← W + U_j D_j,   W of the MLP's input and, as an option, of q, k and v        (4)

Scores are divided by √(p/2): half of the head's width is that of x_0. Source: Glorioso et al.
2024, arXiv 2411.15242, and the published code.
"""

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from ssm_ref.attention.rope import rotate
from ssm_ref.attention.transformer import KVCache, attend
from ssm_ref.expect import expect_counts, expect_shape
from ssm_ref.language_model import LanguageModel, LanguageModelConfig, State
from ssm_ref.norm import RMSNorm
from ssm_ref.packing import run_apart
from ssm_ref.selective.mamba2 import Mamba2, Mamba2Config, Mamba2State


@dataclass(frozen=True, kw_only=True, slots=True)
class Zamba2Config:
    """Sizes of a Zamba2 model; `hybrid_layers` are those with a shared block before them."""

    vocab_size: int
    n_layers: int
    hybrid_layers: tuple[int, ...]
    n_heads: int
    d_ff: int
    mamba: Mamba2Config
    n_shared: int = 2
    adapter_rank: int = 128
    adapt_attention: bool = False
    rope_base: float | None = 10_000.0
    norm_eps: float = 1e-5
    checkpoint_layers: bool = False

    def __post_init__(self) -> None:
        expect_counts(self, "vocab_size", "n_layers", "n_heads", "d_ff", "adapter_rank")
        ordered = sorted(set(self.hybrid_layers))
        if list(self.hybrid_layers) != ordered or not set(ordered) <= set(range(self.n_layers)):
            raise ValueError(
                f"hybrid_layers must rise within 0 … {self.n_layers - 1}; got {self.hybrid_layers}"
            )
        if not 1 <= self.n_shared <= len(ordered):
            raise ValueError(f"1 <= n_shared <= {len(ordered)} hybrid layers; got {self.n_shared}")
        if self.d_model % self.n_heads:
            raise ValueError(f"n_heads={self.n_heads} must divide d_model={self.d_model}")

    @property
    def d_model(self) -> int:
        """Width of the residual stream; attention works on twice of it."""
        return self.mamba.d_model

    @property
    def head_width(self) -> int:
        """Channels of one head of the shared attention, p."""
        return 2 * self.d_model // self.n_heads

    def calls_of(self, block: int) -> list[int]:
        """The calls j that shared block `block` answers."""
        return [j for j in range(len(self.hybrid_layers)) if j % self.n_shared == block]

    @property
    def shell(self) -> LanguageModelConfig:
        """The shell: one residual branch a layer."""
        return LanguageModelConfig(
            vocab_size=self.vocab_size,
            d_model=self.d_model,
            n_layers=self.n_layers,
            pad_vocab_to=1,
            norm_eps=self.norm_eps,
            residual_in_fp32=False,
            checkpoint_layers=self.checkpoint_layers,
        )


class AdaptedLinear(nn.Linear):
    """A linear map without bias, plus the low-rank map of the call that asks.    (4)"""

    def __init__(self, d_in: int, d_out: int, rank: int, calls: list[int]) -> None:
        super().__init__(d_in, d_out, bias=False)
        self.adapters = nn.ModuleDict()
        for j in calls:
            down, up = nn.Linear(d_in, rank, bias=False), nn.Linear(rank, d_out, bias=False)
            nn.init.zeros_(up.weight)  # all calls start alike
            self.adapters[str(j)] = nn.Sequential(down, up)

    def of_call(self, u: Float[Tensor, "... m"], j: int) -> Float[Tensor, "... d"]:
        """The map of call `j`."""
        y = self(u)
        return y + self.adapters[str(j)](u) if len(self.adapters) else y  # (4)


class SharedBlock(nn.Module):
    """Attention and MLP of Eq. (3), number `index` of those the model shares."""

    def __init__(self, cfg: Zamba2Config, index: int) -> None:
        super().__init__()
        self.cfg = cfg
        d, rank, calls = cfg.d_model, cfg.adapter_rank, cfg.calls_of(index)
        adapted = calls if cfg.adapt_attention else []
        self.norm = RMSNorm(2 * d, eps=cfg.norm_eps)
        self.q_proj, self.k_proj, self.v_proj = (
            AdaptedLinear(2 * d, 2 * d, rank, adapted) for _ in range(3)
        )
        self.o_proj = nn.Linear(2 * d, d, bias=False)
        self.mlp_norm = RMSNorm(d, eps=cfg.norm_eps)
        self.gate_up_proj = AdaptedLinear(d, 2 * cfg.d_ff, rank, calls)
        self.down_proj = nn.Linear(cfg.d_ff, d, bias=False)

    def prefill(
        self, x: Float[Tensor, "b l d2"], cache: KVCache, j: int
    ) -> tuple[Float[Tensor, "b l d"], KVCache]:
        """The block in call `j` on [x, x_0] after `cache`, and the new cache of that call."""
        u = self.norm(x)
        q, k, v = (
            proj.of_call(u, j).unflatten(-1, (self.cfg.n_heads, -1)).transpose(1, 2)
            for proj in (self.q_proj, self.k_proj, self.v_proj)
        )  # b h l p
        if self.cfg.rope_base is not None:
            q, k = (rotate(part, cache.length, self.cfg.rope_base) for part in (q, k))
        k = torch.cat([cache.k.to(k.dtype), k], dim=2)
        v = torch.cat([cache.v.to(v.dtype), v], dim=2)
        y = self.o_proj(attend(math.sqrt(2) * q, k, v).transpose(1, 2).flatten(2))
        gate, up = self.gate_up_proj.of_call(self.mlp_norm(y), j).chunk(2, dim=-1)
        out = self.down_proj(functional.gelu(gate) * up)  # (3)
        return out, KVCache(k, v, cache.length + x.shape[1])


class HybridState(NamedTuple):
    """What a hybrid layer keeps: the cache of its call of a shared block, and Mamba-2's state."""

    kv: KVCache
    ssm: Mamba2State


class Zamba2(LanguageModel):
    """Mamba-2 branches in the shell of `LanguageModel`, with shared blocks between them."""

    def __init__(self, cfg: Zamba2Config) -> None:
        super().__init__(cfg.shell, lambda _: Mamba2(cfg.mamba))
        self.zamba_cfg = cfg
        self.shared = nn.ModuleList(SharedBlock(cfg, b) for b in range(cfg.n_shared))
        d = cfg.d_model
        self.links = nn.ModuleList(nn.Linear(d, d, bias=False) for _ in cfg.hybrid_layers)
        self.call = {layer: j for j, layer in enumerate(cfg.hybrid_layers)}

    def forward(
        self,
        ids: Int[Tensor, "b l"],
        *,
        mask: Bool[Tensor, "b l"] | None = None,
        cu_seqlens: Int[Tensor, " s1"] | None = None,
    ) -> Float[Tensor, "b l v"]:
        """Logits of the token after each one, from an empty past, as `LanguageModel.forward`."""
        self._check_ids(ids, ndim=2)
        if mask is not None or cu_seqlens is not None:
            return run_apart(self.forward, ids, mask=mask, cu_seqlens=cu_seqlens)
        return self.prefill(ids, self.allocate_state(ids.shape[0]))[0]

    def allocate_state(self, batch: int) -> State:
        """The state of an empty past: one cache a call, not one a block."""
        state: State = super().allocate_state(batch)
        empty = self.embedding.weight.new_empty(
            batch, self.zamba_cfg.n_heads, 0, self.zamba_cfg.head_width
        )
        for layer in self.call:
            state[layer] = HybridState(KVCache(empty, empty, 0), state[layer])
        return state

    def _resume(
        self, x: Tensor, dtype: torch.dtype, state: State, mask: Tensor | None
    ) -> tuple[Tensor, State]:
        if mask is not None:
            raise ValueError(
                "Zamba2.prefill takes no mask: shared attention would see the padding; "
                "ssm_ref.generation runs prompts of unequal length without padding"
            )
        self._check_state(state)
        one_token = x.ndim == 2
        x = first = x[:, None] if one_token else x
        after: State = []
        for i, past in enumerate(state):
            if self.cfg.checkpoint_layers and self.training:
                out = checkpoint(self._layer, i, x, first, past, dtype, use_reentrant=False)
            else:
                out = self._layer(i, x, first, past, dtype)
            x, past = out
            after.append(past)
        logits = self._logits(x, dtype)
        return (logits[:, 0] if one_token else logits), after

    def _layer(
        self, i: int, x: Tensor, first: Tensor, past: Any, dtype: torch.dtype
    ) -> tuple[Tensor, Any]:
        layer, u, kv = self.blocks[i], x, None
        if i in self.call:
            self._check_hybrid(past, i, x.shape[0])
            kv, past = past
            j = self.call[i]
            block: Any = self.shared[j % len(self.shared)]
            t, kv = block.prefill(torch.cat([x, first], dim=-1).to(dtype), kv, j)
            u = x + self.links[j](t)  # (2)
        y, past = layer.branch.prefill(layer.norm(u).to(dtype), past)
        return x + y, past if kv is None else HybridState(kv, past)  # (1)

    def _check_hybrid(self, past: object, i: int, batch: int) -> None:
        if not isinstance(past, HybridState):
            raise ValueError(f"state[{i}] must be a HybridState; got {type(past).__name__}")
        cfg = self.zamba_cfg
        for name, part in (("k", past.kv.k), ("v", past.kv.v)):
            shape = (batch, cfg.n_heads, past.kv.length, cfg.head_width)
            expect_shape(f"state[{i}].kv.{name}", part, shape)


def published_config() -> Zamba2Config:
    """Zamba2-2.7B, with two shared blocks."""
    return Zamba2Config(
        vocab_size=32_000,
        n_layers=54,
        hybrid_layers=(6, 12, 18, 24, 30, 36, 42, 47, 51),
        n_heads=32,
        d_ff=10_240,
        mamba=Mamba2Config(d_model=2560, d_state=64),
    )
