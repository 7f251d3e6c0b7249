"""The shell of a language model: embedding, residual blocks, norm, head.

    x⁰ = E[ids]                                 (1)
    xⁱ⁺¹ = xⁱ + fᵢ(norm(xⁱ))                    (2)
    logits = norm(xⁿ) Eᵀ                        (3)

Each branch fᵢ comes from a factory, so every architecture here shares this file. A branch that
mixes tokens over time offers four calls with one meaning:

    branch(u)                    (b, l, m) → (b, l, m), from an empty past
    branch.allocate_state(b)     the state of an empty past
    branch.prefill(u, state)     (b, l, m) → the same output after that past, and the new state
    branch.step(u, state)        (b, m) → one token of it, and the new state

States are values: no call changes the one it was given. A branch without `allocate_state` (an
MLP) acts on each token by itself. `forward` may take `cu_seqlens` and `prefill` a `mask`; a
branch whose `forward` does not is given packed sequences one a row.
"""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from ssm_ref.expect import expect_batch, expect_counts, expect_sequence, readable
from ssm_ref.norm import RMSNorm
from ssm_ref.packing import run_apart

State = list[Any]
# (x, y) → x + y and, as the branch reads it, norm(x + y): of a norm, x, y or None, and a dtype.
Join = Callable[[nn.Module, Tensor, Tensor | None, torch.dtype], tuple[Tensor, Tensor]]


@dataclass(frozen=True, kw_only=True, slots=True)
class LanguageModelConfig:
    """Sizes and options of the shell."""

    vocab_size: int
    d_model: int
    n_layers: int
    pad_vocab_to: int = 8
    norm_eps: float = 1e-5
    residual_in_fp32: bool = True
    tie_embeddings: bool = True
    checkpoint_layers: bool = False  # recompute each layer in the backward pass

    def __post_init__(self) -> None:
        expect_counts(self, "vocab_size", "d_model", "n_layers", "pad_vocab_to")

    @property
    def padded_vocab_size(self) -> int:
        """Rows of the embedding: `vocab_size` rounded up to a multiple of `pad_vocab_to`."""
        return -(-self.vocab_size // self.pad_vocab_to) * self.pad_vocab_to


class ResidualBranch(nn.Module):
    """x + f(norm(x)), where f may keep a state.    (2)"""

    branch: Any  # an nn.Module with, if it keeps a state, the four calls above

    def __init__(self, norm: nn.Module, branch: nn.Module) -> None:
        super().__init__()
        self.norm = norm
        self.branch = branch
        self.takes_packed = "cu_seqlens" in inspect.signature(branch.forward).parameters

    @property
    def has_state(self) -> bool:
        """Whether the branch mixes tokens over time."""
        return hasattr(self.branch, "allocate_state")

    @property
    def has_hooks(self) -> bool:
        """Whether somebody acts on this layer or its norm: probes, parameters shared over ranks."""
        return any(
            module._forward_pre_hooks or module._forward_hooks
            or module._backward_pre_hooks or module._backward_hooks
            for module in (self, self.norm)
        )  # fmt: skip

    def forward(
        self,
        x: Float[Tensor, "*b m"],
        dtype: torch.dtype,
        cu_seqlens: Int[Tensor, " s1"] | None = None,
    ) -> Float[Tensor, "*b m"]:
        """The residual after this layer; the branch computes in `dtype`."""
        return x + self.mix(self.norm(x).to(dtype), cu_seqlens)  # (2)

    def mix(
        self, u: Float[Tensor, "*b m"], cu_seqlens: Int[Tensor, " s1"] | None = None
    ) -> Float[Tensor, "*b m"]:
        """What the branch adds, from what the norm gave it."""
        if cu_seqlens is None or not self.has_state:
            return self.branch(u)
        if self.takes_packed:
            return self.branch(u, cu_seqlens=cu_seqlens)
        return run_apart(self.branch, u, cu_seqlens=cu_seqlens)

    def resume(
        self,
        x: Float[Tensor, "*b m"],
        state: Any,
        dtype: torch.dtype,
        mask: Bool[Tensor, "b l"] | None = None,
    ) -> tuple[Float[Tensor, "*b m"], Any]:
        """The same after the past in `state`: several tokens (b, l, m) or one (b, m)."""
        if not self.has_state:
            return self(x, dtype), state
        y, state = self.advance(self.norm(x).to(dtype), state, mask)
        return x + y, state

    def advance(
        self, u: Float[Tensor, "*b m"], state: Any, mask: Bool[Tensor, "b l"] | None = None
    ) -> tuple[Float[Tensor, "*b m"], Any]:
        """`mix` after the past in `state`, and the new state."""
        if not self.has_state:
            return self.mix(u), state
        y: Tensor
        if u.ndim == 2:
            y, state = self.branch.step(u, state)
        elif mask is None:
            y, state = self.branch.prefill(u, state)
        else:
            y, state = self._masked_prefill(u, state, mask)
        return y, state

    def _masked_prefill(self, u: Tensor, state: Any, mask: Tensor) -> tuple[Tensor, Any]:
        if "mask" not in inspect.signature(self.branch.prefill).parameters:
            raise ValueError(
                f"{type(self.branch).__name__}.prefill takes no mask; "
                "ssm_ref.generation runs prompts of unequal length without padding"
            )
        y, state = self.branch.prefill(u, state, mask=mask)
        return y, state


class LanguageModel(nn.Module):
    """Eqs. (1) to (3) around branches made by `branch(layer)`, with norms made by `norm()`.

    `join`, if it is set, adds what one layer's branch gave and normalises it for the next at once,
    in the stead of layers that have no hooks, nor on their norms.
    """

    join: Join | None = None

    def __init__(
        self,
        cfg: LanguageModelConfig,
        branch: Callable[[int], nn.Module],
        *,
        norm: Callable[[], nn.Module] | None = None,
    ) -> None:
        super().__init__()
        self.cfg = cfg
        make_norm = norm or (lambda: RMSNorm(cfg.d_model, eps=cfg.norm_eps))
        self.embedding = nn.Embedding(cfg.padded_vocab_size, cfg.d_model)
        self.layers = nn.ModuleList(
            ResidualBranch(make_norm(), branch(i)) for i in range(cfg.n_layers)
        )
        self.norm = make_norm()
        self.head = (
            None
            if cfg.tie_embeddings
            else nn.Linear(cfg.d_model, cfg.padded_vocab_size, bias=False)
        )
        nn.init.normal_(self.embedding.weight, std=0.02)

    @property
    def blocks(self) -> list[ResidualBranch]:
        """The layers, first to last."""
        return cast("list[ResidualBranch]", list(self.layers))

    def forward(
        self,
        ids: Int[Tensor, "b l"],
        *,
        mask: Bool[Tensor, "b l"] | None = None,
        cu_seqlens: Int[Tensor, " s1"] | None = None,
    ) -> Float[Tensor, "b l v"]:
        """Logits of the token after each one, from an empty past.

        `mask` is False where a row is padding, on any side: the logits there are zero and the
        others those of the row alone. `cu_seqlens` tells sequences packed into one row apart.
        Raises `ValueError` for ids of another shape or out of range, and for both at once.
        """
        if mask is not None:
            self._check_ids(ids, ndim=2)
            return run_apart(self.forward, ids, mask=mask, cu_seqlens=cu_seqlens)
        dtype, x = self._embed(ids, ndim=2)
        y: Tensor | None = None  # of the last branch, where `join` has yet to add it
        for layer in self.blocks:
            if self.cfg.checkpoint_layers and self.training:
                x = checkpoint(layer, x, dtype, cu_seqlens, use_reentrant=False)
            elif self.join is None or layer.has_hooks:
                x, y = layer(x if y is None else x + y, dtype, cu_seqlens), None
            else:
                x, u = self.join(layer.norm, x, y, dtype)
                y = layer.mix(u, cu_seqlens)
        return self._logits(x if y is None else x + y, dtype)

    def allocate_state(self, batch: int) -> State:
        """State of an empty past, one entry a layer (None where a layer keeps none)."""
        expect_batch(batch)
        return [
            layer.branch.allocate_state(batch) if layer.has_state else None for layer in self.blocks
        ]

    def prefill(
        self, ids: Int[Tensor, "b l"], state: State, *, mask: Bool[Tensor, "b l"] | None = None
    ) -> tuple[Float[Tensor, "b l v"], State]:
        """`forward` after the past in `state`, and the state after the last token.

        `mask` is False on padding, which must stand on the left and follow an empty past; the
        state is then that of the real tokens alone.
        """
        dtype, x = self._embed(ids, ndim=2)
        return self._resume(x, dtype, state, mask)

    def embed(self, ids: Int[Tensor, "b l"]) -> Float[Tensor, "b l m"]:
        """Embeddings of tokens, for `prefill_embedded`.    (1)"""
        return self._embed(ids, ndim=2)[1]

    def prefill_embedded(
        self, x: Float[Tensor, "b l m"], state: State
    ) -> tuple[Float[Tensor, "b l v"], State]:
        """`prefill` from vectors in the place of embeddings, such as those of a picture."""
        weight = self.embedding.weight
        expect_sequence("x", x, self.cfg.d_model)
        if x.device != weight.device:
            raise ValueError(f"x must be on {weight.device} like the model; got {x.device}")
        return self._resume(x, weight.dtype, state, None)

    def step(self, ids: Int[Tensor, " b"], state: State) -> tuple[Float[Tensor, "b v"], State]:
        """Logits after one more token a row, and the new state."""
        dtype, x = self._embed(ids, ndim=1)
        return self._resume(x, dtype, state, None)

    def _resume(
        self, x: Tensor, dtype: torch.dtype, state: State, mask: Tensor | None
    ) -> tuple[Tensor, State]:
        self._check_state(state)
        after: State = []
        y: Tensor | None = None
        for layer, past in zip(self.blocks, state, strict=True):
            if self.join is None or layer.has_hooks:
                x, past = layer.resume(x if y is None else x + y, past, dtype, mask)
                y = None
            else:
                x, u = self.join(layer.norm, x, y, dtype)
                y, past = layer.advance(u, past, mask)
            after.append(past)
        return self._logits(x if y is None else x + y, dtype), after

    def _check_state(self, state: object) -> None:
        if not isinstance(state, list) or len(state) != len(self.layers):
            got = f"{len(state)}" if isinstance(state, list) else type(state).__name__
            raise ValueError(
                f"state must be a list of one entry for each of {len(self.layers)} layers; "
                f"got {got}"
            )
        for i, (layer, past) in enumerate(zip(self.blocks, state, strict=True)):
            if (past is not None) != layer.has_state:
                wanted = "a state" if layer.has_state else "None"
                raise ValueError(f"state[{i}] must be {wanted}; got {type(past).__name__}")

    def _check_ids(self, ids: Tensor, *, ndim: int) -> None:
        if not isinstance(ids, Tensor):
            raise ValueError(f"ids must be a tensor of token ids; got {type(ids).__name__}")
        if ids.ndim != ndim or ids.dtype not in (torch.int32, torch.int64):
            shape = "(b, l)" if ndim == 2 else "(b,)"
            raise ValueError(
                f"ids must be int32 or int64 of shape {shape}; got {ids.dtype} {tuple(ids.shape)}"
            )
        if ndim == 2 and ids.shape[1] == 0:
            raise ValueError("ids must hold at least one token a row; got none")
        device = self.embedding.weight.device
        if ids.device != device:
            raise ValueError(f"ids must be on {device} like the model; got {ids.device}")
        if readable(ids) and ids.numel():  # elsewhere the embedding checks the range
            low, high = (int(end) for end in torch.aminmax(ids))
            if low < 0 or high >= self.cfg.vocab_size:
                raise ValueError(
                    f"ids must be in 0 … {self.cfg.vocab_size - 1}; got {low} … {high}"
                )

    def _embed(self, ids: Tensor, *, ndim: int) -> tuple[torch.dtype, Tensor]:
        self._check_ids(ids, ndim=ndim)
        x = self.embedding(ids)  # (1)
        dtype = x.dtype
        wide = torch.promote_types(dtype, torch.float32)
        return dtype, x.to(wide) if self.cfg.residual_in_fp32 else x

    def _logits(self, x: Tensor, dtype: torch.dtype) -> Tensor:
        weight = self.embedding.weight if self.head is None else self.head.weight
        # Rows that only pad the vocabulary are cut off: no sampler may draw them.
        return functional.linear(self.norm(x).to(dtype), weight)[..., : self.cfg.vocab_size]  # (3)
