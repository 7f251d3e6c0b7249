"""Hymba: attention heads and Mamba heads side by side in every layer, on the same input.

    y = W_out (norm(attention(u)) + norm(mamba(u))) / 2    (1)

Both halves work in d_inner channels and leave their own output projections out. M learned vectors,
the meta tokens, stand before every sequence; since they are the same for all, running them once
gives the state that every sequence starts from:

    state_0 = state after (e_1, …, e_M)    (2)

Attention is global in the first, middle and last layer and has a window elsewhere, behind which
the meta tokens alone stay visible. Of two neighbouring layers of one kind the second attends to
the keys and values of the first:

    attention_{i+1}(u) = attend(W_q u, K_i, V_i)    (3)

Every mixer is followed by a SwiGLU branch. Source: Dong et al. 2024, arXiv 2411.13676; mask and
norms are those of the authors' barebones code, whose window holds one key more for the same number
and which normalises δ, B and C (`ssm_norm="learned"`).
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ssm_ref.attention.transformer import Attention, AttentionConfig, KVCache, SwiGLU
from ssm_ref.expect import expect_batch, expect_counts, expect_sequence
from ssm_ref.language_model import LanguageModel, LanguageModelConfig, ResidualBranch, State
from ssm_ref.norm import RMSNorm
from ssm_ref.packing import run_apart
from ssm_ref.selective.mamba import Mamba, MambaConfig, MambaState


@dataclass(frozen=True, kw_only=True, slots=True)
class HymbaConfig:
    """Sizes of a Hymba model.

    `global_layers` default to the first, middle and last, and `borrowing_layers` to every second
    of neighbours of one kind.
    """

    vocab_size: int
    n_blocks: int
    d_ff: int
    mamba: MambaConfig
    n_heads: int
    n_kv_heads: int | None = None
    d_key: int | None = None
    window: int = 1024
    global_layers: tuple[int, ...] | None = None
    borrowing_layers: tuple[int, ...] | None = None
    n_meta: int = 128
    norm_eps: float = 1e-6
    checkpoint_layers: bool = False

    def __post_init__(self) -> None:
        expect_counts(self, "vocab_size", "n_blocks", "d_ff", "n_heads", "n_kv_heads", "window")
        if self.mamba.d_inner % self.n_heads:
            raise ValueError(f"n_heads={self.n_heads} must divide d_inner={self.mamba.d_inner}")
        if wrong := [i for i in self.borrowing_layers or () if not self._may_borrow(i)]:
            raise ValueError(
                "a layer borrows from the one before, of its own kind; "
                f"got borrowing_layers={self.borrowing_layers}, of which {wrong} cannot"
            )

    def is_global(self, block: int) -> bool:
        """Whether the attention of `block` sees the whole past."""
        if self.global_layers is not None:
            return block in self.global_layers
        return block in (0, self.n_blocks // 2, self.n_blocks - 1)

    def borrows(self, block: int) -> bool:
        """Whether `block` attends to the keys and values of the block before it.    (3)"""
        if self.borrowing_layers is not None:
            return block in self.borrowing_layers
        return self._may_borrow(block) and not self.borrows(block - 1)

    def _may_borrow(self, block: int) -> bool:
        return 0 < block < self.n_blocks and self.is_global(block) == self.is_global(block - 1)

    def attention(self, block: int) -> AttentionConfig:
        """Sizes of the attention heads of `block`, as wide as the Mamba heads."""
        return AttentionConfig(
            d_model=self.mamba.d_model,
            n_heads=self.n_heads,
            n_kv_heads=self.n_kv_heads,
            d_head=self.mamba.d_inner // self.n_heads,
            d_key=self.d_key,
            window=None if self.is_global(block) else self.window,
            pinned=self.n_meta,
        )

    @property
    def shell(self) -> LanguageModelConfig:
        """The shell: two residual branches a block."""
        return LanguageModelConfig(
            vocab_size=self.vocab_size,
            d_model=self.mamba.d_model,
            n_layers=2 * self.n_blocks,
            pad_vocab_to=1,
            norm_eps=self.norm_eps,
            checkpoint_layers=self.checkpoint_layers,
        )


class HymbaState(NamedTuple):
    """What one mixer keeps: its own KV cache (none if it borrows) and the Mamba state."""

    kv: KVCache | None
    ssm: MambaState


class Keys(NamedTuple):
    """Keys and values that a layer lends to the next, and the position of the first query."""

    k: Float[Tensor, "b g s n"]
    v: Float[Tensor, "b g s p"]
    start: int


class HymbaMixer(nn.Module):
    """The parallel heads of Eq. (1) in block `block`."""

    def __init__(self, cfg: HymbaConfig, block: int) -> None:
        super().__init__()
        self.attention = Attention(cfg.attention(block))
        self.mamba = Mamba(cfg.mamba)
        self.borrows = cfg.borrows(block)
        d_inner, d_model = cfg.mamba.d_inner, cfg.mamba.d_model
        self.attention.o_proj = self.mamba.out_proj = nn.Identity()  # type: ignore[assignment]
        if self.borrows:
            del self.attention.k_proj, self.attention.v_proj
        self.attention_norm = RMSNorm(d_inner, eps=cfg.norm_eps)
        self.mamba_norm = RMSNorm(d_inner, eps=cfg.norm_eps)
        self.out_proj = nn.Linear(d_inner, d_model, bias=False)

    def allocate_state(self, batch: int) -> HymbaState:
        """The state of an empty past."""
        kv = None if self.borrows else self.attention.allocate_state(batch)
        return HymbaState(kv, self.mamba.allocate_state(batch))

    def prefill(
        self, u: Float[Tensor, "b l d"], state: HymbaState, lent: Keys | None
    ) -> tuple[Float[Tensor, "b l d"], HymbaState, Keys]:
        """Eq. (1) after `state`, with the keys of the layer before where this one borrows."""
        expect_sequence("u", u, self.mamba.cfg.d_model, self.mamba.conv_weight)
        if not isinstance(state, HymbaState):
            raise ValueError(f"state must be a HymbaState; got {type(state).__name__}")
        if self.borrows:
            if lent is None:
                raise ValueError("this layer borrows its keys and values; got none")
            kv, keys = None, lent
        else:
            kv, keys = self._own_keys(u, state.kv)
        seen, ssm = self.mamba.prefill(u, state.ssm)
        heads = self.attention_norm(self._attend(u, keys)) + self.mamba_norm(seen)
        return self.out_proj(heads / 2), HymbaState(kv, ssm), keys  # (1)

    def _own_keys(self, u: Tensor, cache: KVCache | None) -> tuple[KVCache, Keys]:
        past = self.attention.checked_state(cache, u.shape[0])
        k, v = self.attention.keys_and_values(u, past)
        return self.attention.cache_of(k, v, past.length + u.shape[1]), Keys(k, v, past.length)

    def _attend(self, u: Tensor, keys: Keys) -> Tensor:
        cfg, q = self.attention.cfg, self.attention.queries(u, keys.start)
        y = self.attention.attend(q, keys.k, keys.v, cfg.window, None, cfg.pinned)  # (3)
        return y.transpose(1, 2).flatten(2)


class Hymba(LanguageModel):
    """Hymba's blocks, meta tokens and borrowed keys in the shell of `LanguageModel`."""

    def __init__(self, cfg: HymbaConfig) -> None:
        def branch(layer: int) -> nn.Module:
            if layer % 2:
                return SwiGLU(cfg.mamba.d_model, cfg.d_ff)
            return HymbaMixer(cfg, layer // 2)

        super().__init__(cfg.shell, branch)
        self.hymba_cfg = cfg
        self.meta = nn.Parameter(0.02 * torch.randn(cfg.n_meta, cfg.mamba.d_model))

    def forward(
        self,
        ids: Int[Tensor, "b l"],
        *,
        mask: Bool[Tensor, "b l"] | None = None,
        cu_seqlens: Int[Tensor, " s1"] | None = None,
    ) -> Float[Tensor, "b l v"]:
        """Logits of the token after each one, after the meta tokens; as `LanguageModel.forward`.

        Every packed or padded sequence has the meta tokens before it.
        """
        self._check_ids(ids, ndim=2)
        if mask is not None or cu_seqlens is not None:
            return run_apart(self.forward, ids, mask=mask, cu_seqlens=cu_seqlens)
        return self.prefill(ids, self.allocate_state(ids.shape[0]))[0]

    def allocate_state(self, batch: int) -> State:
        """The state after the meta tokens, through which they are trained.    (2)"""
        expect_batch(batch)
        state: State = [
            layer.branch.allocate_state(batch) if isinstance(layer.branch, HymbaMixer) else None
            for layer in self.blocks
        ]
        if self.hymba_cfg.n_meta == 0:
            return state
        x = self.meta.expand(batch, -1, -1)
        wide = torch.promote_types(x.dtype, torch.float32)
        return self._run(x.to(wide), x.dtype, state)[1]  # (2)

    def _resume(
        self, x: Tensor, dtype: torch.dtype, state: State, mask: Tensor | None
    ) -> tuple[Tensor, State]:
        if mask is not None:
            raise ValueError(
                "Hymba.prefill takes no mask: padding would stand between meta tokens and text; "
                "ssm_ref.generation runs prompts of unequal length without padding"
            )
        self._check_state(state)
        y, state = self._run(x if x.ndim == 3 else x[:, None], dtype, state)
        logits = self._logits(y, dtype)
        return (logits if x.ndim == 3 else logits[:, 0]), state

    def _run(self, x: Tensor, dtype: torch.dtype, state: State) -> tuple[Tensor, State]:
        after: State = []
        lent: Keys | None = None
        for layer, past in zip(self.blocks, state, strict=True):
            if self.cfg.checkpoint_layers and self.training:
                out = checkpoint(self._layer, layer, x, past, lent, dtype, use_reentrant=False)
            else:
                out = self._layer(layer, x, past, lent, dtype)
            x, past, lent = out
            after.append(past)
        return x, after

    @staticmethod
    def _layer(
        layer: ResidualBranch, x: Tensor, past: Any, lent: Keys | None, dtype: torch.dtype
    ) -> tuple[Tensor, Any, Keys | None]:
        u = layer.norm(x).to(dtype)
        if not isinstance(layer.branch, HymbaMixer):
            return x + layer.branch(u), past, lent
        y, past, lent = layer.branch.prefill(u, past, lent)
        return x + y, past, lent


def published_config() -> HymbaConfig:
    """Hymba 1.5B as released: keys half as wide as values, and once two layers borrow in a row."""
    return HymbaConfig(
        vocab_size=32_001,
        n_blocks=32,
        d_ff=5504,
        mamba=MambaConfig(d_model=1600, ssm_norm="learned"),
        n_heads=25,
        n_kv_heads=5,
        d_key=64,
        global_layers=(0, 15, 31),
        borrowing_layers=(*range(2, 15, 2), 17, 18, *range(20, 31, 2)),
    )
