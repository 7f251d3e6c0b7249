"""RWKV-7: a matrix state that decays by channel and corrects what it has written (delta rule).

Per head of width n, with r, w, k, v, a, κ̂ ∈ R^n from the input and S ∈ R^{n×n} (value × key):

    w = exp(-e^{-1/2} σ(w_0 + tanh(x_w W_1) W_2)),  a = σ(a_0 + x_a A_1 A_2)    (1)
    κ̂ = (k ⊙ k_k) / ‖k ⊙ k_k‖,  k ← k ⊙ (1 + (a - 1) ⊙ k_a)    (2)
    v ← v + (v_first - v) ⊙ σ(v_0 + x_v V_1 V_2)    from the second block on    (3)
    S_t = S_{t-1} diag(w_t) - (S_{t-1} κ̂_t) (κ̂_t ⊙ a_t)ᵀ + v_t k_tᵀ    (4)
    y_t = S_t r_t    (5)
    out = W_o ((GroupNorm(y) + (Σ r ⊙ k ⊙ r_k) v) ⊙ g),  g = σ(x_g G_1) G_2    (6)

Eq. (4) first removes what the state answers to κ̂, as far as a says, and then writes. All x_• are
token shifts x_t + μ_• ⊙ (x_{t-1} - x_t). The channel mixer has one shift and no gate:

    out = W_v relu(W_k x_k)²    (7)

Within a chunk let z_t = S_{t-1} κ̂_t and W_t the product of decays from its start. Then Z solves a
unit lower-triangular system, and outputs and the last state are matrix products:

    (I + tril₋₁(κ̃ b̃ᵀ)) Z = κ̃ S_0ᵀ + tril₋₁(κ̃ k̃ᵀ) V    (8)
    Y = r̃ S_0ᵀ + tril(r̃ k̃ᵀ) V - tril(r̃ b̃ᵀ) Z    (9)

with κ̃ = κ̂ ⊙ W_{t-1}, r̃ = r ⊙ W_t, k̃ = k / W_t, b̃ = (κ̂ ⊙ a) / W_t. Source: Peng et al. 2025,
arXiv 2503.14456, and its published code.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ssm_ref.expect import (
    expect_axes,
    expect_batch,
    expect_counts,
    expect_sequence,
    expect_shape,
    expect_token,
    state_dtype,
)
from ssm_ref.language_model import LanguageModel, LanguageModelConfig, ResidualBranch, State
from ssm_ref.linear_attention.token_shift import ShiftedMixer, shift
from ssm_ref.packing import check_left_padding, run_apart
from ssm_ref.precision import without_autocast

SLOWEST = math.exp(-0.5)  # -log w is at most this
GROUP_NORM_EPS = 64e-5


class WKV7(NamedTuple):
    """The operands of Eqs. (4) and (5), each (b, l, h, n)."""

    r: Tensor
    w: Tensor
    k: Tensor
    v: Tensor
    kappa: Tensor
    a: Tensor


Scan = Callable[[WKV7, Tensor], tuple[Tensor, Tensor]]
WKV7_AXES = "r blhn, w blhn, k blhn, v blhn, kappa blhn, a blhn, S bhnn"


def wkv7_recurrent(
    x: WKV7, S: Float[Tensor, "b h n n"]
) -> tuple[Float[Tensor, "b l h n"], Float[Tensor, "b h n n"]]:
    """Eqs. (4) and (5) token by token: the definition."""
    expect_axes(WKV7_AXES, *x, S)
    ys = []
    for r, w, k, v, kappa, a in zip(*(part.unbind(dim=1) for part in x), strict=True):
        read = torch.einsum("bhvn,bhn->bhv", S, kappa)
        S = S * w[:, :, None] - read[..., None] * (kappa * a)[:, :, None]
        S = S + v[..., None] * k[:, :, None]  # (4)
        ys.append(torch.einsum("bhvn,bhn->bhv", S, r))  # (5)
    return torch.stack(ys, dim=1), S


def wkv7_chunked(
    x: WKV7, S: Float[Tensor, "b h n n"], *, chunk_size: int = 32
) -> tuple[Float[Tensor, "b l h n"], Float[Tensor, "b h n n"]]:
    """The same by chunks, Eqs. (8) and (9); from chunk to chunk the state passes as S M + N.

    As w > 0.54, the factor 1 / W stays below 3e8 in a chunk of 32.
    """
    expect_axes(WKV7_AXES, *x, S)
    if chunk_size < 1:
        raise ValueError(f"chunk_size must be at least 1; got {chunk_size}")
    l = x.r.shape[1]
    q = min(chunk_size, l)
    # Padding neither decays the state (w = 1) nor erases, writes or reads (all else 0).
    r, w, k, v, kappa, a = (
        F.pad(part, (0, 0, 0, 0, 0, -l % q), value=float(name == "w"))
        .unflatten(1, (-1, q))
        .transpose(2, 3)  # b c h q n
        for name, part in x._asdict().items()
    )
    log_W = w.log().cumsum(dim=-2)
    W = log_W.exp()
    kappa, b = kappa * (log_W - w.log()).exp(), kappa * a / W
    r, k, end = r * W, k / W, W[..., -1:, :]
    strict = (kappa @ b.mT).tril(-1)
    known = torch.cat([kappa, (kappa @ k.mT).tril(-1) @ v], dim=-1)
    solved = torch.linalg.solve_triangular(strict, known, upper=False, unitriangular=True)
    U, Z = solved.split([kappa.shape[-1], v.shape[-1]], dim=-1)  # Z of Eq. (8) is U S_0ᵀ + Z
    keep = torch.diag_embed(end[..., 0, :]) - U.mT @ (b * end)
    write = v.mT @ (k * end) - Z.mT @ (b * end)
    starts = []
    for keep_c, write_c in zip(keep.unbind(dim=1), write.unbind(dim=1), strict=True):
        starts.append(S)
        S = S @ keep_c + write_c
    S_0 = torch.stack(starts, dim=1)
    Z = U @ S_0.mT + Z  # (8)
    y = r @ S_0.mT + (r @ k.mT).tril() @ v - (r @ b.mT).tril() @ Z  # (9)
    return y.transpose(2, 3).flatten(1, 2)[:, :l], S


@dataclass(frozen=True, kw_only=True, slots=True)
class RWKV7Config:
    """Sizes of an RWKV-7 language model; low-rank widths follow from d_model when not given."""

    vocab_size: int
    d_model: int
    n_blocks: int
    d_head: int = 64
    decay_rank: int | None = None
    a_rank: int | None = None
    v_rank: int | None = None
    gate_rank: int | None = None
    norm_eps: float = 1e-5
    checkpoint_layers: bool = False

    def __post_init__(self) -> None:
        expect_counts(self, "vocab_size", "d_model", "n_blocks", "d_head")
        if self.d_model % self.d_head:
            raise ValueError(f"d_head={self.d_head} must divide d_model={self.d_model}")

    @property
    def ranks(self) -> dict[str, int]:
        """Widths of the four low-rank maps w, a, v, g."""
        given = {"w": self.decay_rank, "a": self.a_rank, "v": self.v_rank, "g": self.gate_rank}
        scale = {"w": 2.5, "a": 2.5, "v": 1.7, "g": 5.0}
        root = math.sqrt(self.d_model)
        return {
            name: max(32, 32 * round(scale[name] * root / 32)) if rank is None else rank
            for name, rank in given.items()
        }

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
    """What a time mixer keeps: the last input, and S in float32 or wider."""

    x: Float[Tensor, "b d"]
    S: Float[Tensor, "b h n n"]


class TimeMix(nn.Module):
    """The token mixer, Eqs. (1) to (6), of block `index`; `scan` is `wkv7_recurrent` or alike."""

    def __init__(self, cfg: RWKV7Config, index: int, *, scan: Scan = wkv7_chunked) -> None:
        super().__init__()
        self.cfg, self.index, self.scan = cfg, index, scan
        d = cfg.d_model
        self.mix = nn.ParameterDict({name: torch.empty(d) for name in "rwkvag"})
        maps = [name for name in "wavg" if name != "v" or index > 0]
        self.down = nn.ParameterDict({n: torch.zeros(d, cfg.ranks[n]) for n in maps})
        self.up = nn.ParameterDict({n: torch.empty(cfg.ranks[n], d) for n in maps})
        self.offset = nn.ParameterDict({n: torch.empty(d) for n in maps if n != "g"})
        self.k_k, self.k_a, self.r_k = (nn.Parameter(torch.empty(d)) for _ in range(3))
        self.receptance = nn.Linear(d, d, bias=False)
        self.key = nn.Linear(d, d, bias=False)
        self.value = nn.Linear(d, d, bias=False)
        self.output = nn.Linear(d, d, bias=False)
        self.norm = nn.GroupNorm(d // cfg.d_head, d, eps=GROUP_NORM_EPS)
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """The published start: decays spread over channels, low-rank maps and output zero."""
        cfg, d = self.cfg, self.cfg.d_model
        like = self.k_k
        channel = torch.arange(d, device=like.device, dtype=like.dtype)
        fade = 1 - self.index / cfg.n_blocks
        depth = self.index / max(1, cfg.n_blocks - 1)
        for name, power in {"r": 0.2, "w": 0.9, "k": 0.7, "v": 0.7, "a": 0.9, "g": 0.2}.items():
            self.mix[name].copy_(1 - (channel / d) ** (power * fade))
        linear = channel / max(1, d - 1) - 0.5
        half = max(1, cfg.d_head - 1) / 2
        zigzag = (channel % cfg.d_head - half) / half
        zigzag = zigzag * zigzag.abs()
        slope = (channel / max(1, d - 1)) ** (1 + depth**0.3)
        self.offset["w"].copy_(-6 + 6 * slope + 0.5 + 2.5 * zigzag)
        self.offset["a"].copy_(-0.19 + 0.3 * zigzag + 0.4 * linear)
        if "v" in self.offset:
            self.offset["v"].copy_(0.73 - 0.4 * linear)
        for up in self.up.values():
            nn.init.orthogonal_(up, gain=0.1 * max(1.0, math.sqrt(up.shape[0] / d)))
        self.k_k.copy_(0.71 - 0.1 * linear)
        nn.init.constant_(self.k_a, 1.02)
        nn.init.constant_(self.r_k, -0.04)
        for layer, bound in ((self.receptance, 0.5), (self.key, 0.05), (self.value, 0.5)):
            nn.init.uniform_(layer.weight, -bound / math.sqrt(d), bound / math.sqrt(d))
        nn.init.zeros_(self.output.weight)

    def allocate_state(self, batch: int) -> TimeMixState:
        """The state of an empty past: zeros."""
        expect_batch(batch)
        weight, n = self.output.weight, self.cfg.d_head
        shape = (batch, self.cfg.d_model // n, n, n)
        return TimeMixState(
            weight.new_zeros(batch, self.cfg.d_model),
            weight.new_zeros(shape, dtype=state_dtype(weight)),
        )

    def prefill(
        self, u: Float[Tensor, "b l d"], state: TimeMixState, v_first: Tensor | None
    ) -> tuple[Float[Tensor, "b l d"], TimeMixState, Tensor]:
        """The mixer after `state`; also takes and returns the first block's values, Eq. (3)."""
        expect_sequence("u", u, self.cfg.d_model, self.k_k)
        self._check(state, u.shape[0])
        return self._run(u, state, v_first, self.scan)

    def step(
        self, u: Float[Tensor, "b d"], state: TimeMixState, v_first: Tensor | None
    ) -> tuple[Float[Tensor, "b d"], TimeMixState, Tensor]:
        """One more token, by Eqs. (4) and (5)."""
        expect_token("u", u, self.cfg.d_model, self.k_k)
        self._check(state, u.shape[0])
        first = None if v_first is None else v_first[:, None]
        y, state, first = self._run(u[:, None], state, first, wkv7_recurrent)
        return y[:, 0], state, first[:, 0]

    def _run(
        self, u: Tensor, state: TimeMixState, v_first: Tensor | None, scan: Scan
    ) -> tuple[Tensor, TimeMixState, Tensor]:
        before = shift(u, state.x)
        x = {name: torch.lerp(u, before, mix.to(u.dtype)) for name, mix in self.mix.items()}
        r, k, v = self.receptance(x["r"]), self.key(x["k"]), self.value(x["v"])
        wide = state.S.dtype
        rate = torch.sigmoid(self._low_rank(x["w"], "w", torch.tanh).to(wide))
        w = torch.exp(-SLOWEST * rate)  # (1)
        a = torch.sigmoid(self._low_rank(x["a"], "a"))  # (1)
        g = torch.sigmoid(x["g"] @ self.down["g"]) @ self.up["g"]
        if self.index:
            if v_first is None:
                raise ValueError(f"block {self.index} needs the values of the first block")
            v = v + (v_first - v) * torch.sigmoid(self._low_rank(x["v"], "v"))  # (3)
        else:
            v_first = v
        kappa = F.normalize(self._heads(k * self.k_k), dim=-1)  # (2)
        k = k * (1 + (a - 1) * self.k_a)  # (2)
        r, w, k, v, a = (self._heads(t) for t in (r, w, k, v, a))
        with without_autocast(u):  # products of the scan in float32 too
            y, S = scan(WKV7(*(t.to(wide) for t in (r, w, k, v, kappa, a))), state.S)  # (4), (5)
        y = self.norm(y.to(u.dtype).flatten(0, 1).flatten(1)).view_as(u)
        bonus = (r * k * self._heads(self.r_k)).sum(dim=-1, keepdim=True)
        out = self.output((y + (bonus * v).flatten(-2)) * g)  # (6)
        return out, TimeMixState(u[:, -1], S), v_first

    def _low_rank(
        self, x: Tensor, name: str, inner: Callable[[Tensor], Tensor] | None = None
    ) -> Tensor:
        hidden = x @ self.down[name]
        return self.offset[name] + (inner(hidden) if inner else hidden) @ self.up[name]

    def _heads(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (-1, self.cfg.d_head))

    def _check(self, state: TimeMixState, batch: int) -> None:
        if not isinstance(state, TimeMixState):
            raise ValueError(f"state must be a TimeMixState; got {type(state).__name__}")
        n = self.cfg.d_head
        expect_shape("state.x", state.x, (batch, self.cfg.d_model))
        expect_shape("state.S", state.S, (batch, self.cfg.d_model // n, n, n))


class ChannelMix(ShiftedMixer):
    """The channel mixer, Eq. (7); its state is the last input."""

    def __init__(self, cfg: RWKV7Config, index: int) -> None:
        super().__init__()
        d = cfg.d_model
        power = (1 - index / cfg.n_blocks) ** 4
        self.mix_key = nn.Parameter(1 - (torch.arange(d) / d) ** power)
        self.key = nn.Linear(d, 4 * d, bias=False)
        self.value = nn.Linear(4 * d, d, bias=False)
        nn.init.uniform_(self.key.weight, -0.5 / math.sqrt(d), 0.5 / math.sqrt(d))
        nn.init.zeros_(self.value.weight)

    def mix(
        self, u: Float[Tensor, "b l d"], before: Float[Tensor, "b l d"]
    ) -> Float[Tensor, "b l d"]:
        """Eq. (7)."""
        x = torch.lerp(u, before, self.mix_key.to(u.dtype))
        return self.value(torch.relu(self.key(x)).square())  # (7)


class RWKV7(LanguageModel):
    """RWKV-7: LayerNorm after the embedding, then time and channel mixers by turns."""

    def __init__(self, cfg: RWKV7Config, *, scan: Scan = wkv7_chunked) -> None:
        def branch(layer: int) -> nn.Module:
            kind = ChannelMix if layer % 2 else partial(TimeMix, scan=scan)
            return kind(cfg, layer // 2)

        def norm() -> nn.Module:
            return nn.LayerNorm(cfg.d_model, eps=cfg.norm_eps)

        super().__init__(cfg.shell, branch, norm=norm)
        self.rwkv_cfg = cfg
        self.input_norm = norm()
        nn.init.uniform_(self.embedding.weight, -1e-4, 1e-4)

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

    def _resume(
        self, x: Tensor, dtype: torch.dtype, state: State, mask: Tensor | None
    ) -> tuple[Tensor, State]:
        self._check_state(state)
        after: State = []
        v_first: Tensor | None = None
        run: Callable[..., tuple[Tensor, Any, Tensor | None]]
        for layer, past in zip(self.blocks, state, strict=True):
            if self.cfg.checkpoint_layers and self.training:
                run = partial(checkpoint, self._layer, use_reentrant=False)
            else:
                run = self._layer
            x, past, v_first = run(layer, x, past, v_first, dtype, mask)
            after.append(past)
        return self._logits(x, dtype), after

    @staticmethod
    def _layer(
        layer: ResidualBranch,
        x: Tensor,
        past: Any,
        v_first: Tensor | None,
        dtype: torch.dtype,
        mask: Tensor | None,
    ) -> tuple[Tensor, Any, Tensor | None]:
        run = layer.branch.step if x.ndim == 2 else layer.branch.prefill
        u = layer.norm(x).to(dtype)
        if mask is not None:  # no map has a bias that could write: zeros leave an empty past empty
            check_left_padding(mask, u.shape[:2], past[-1] if isinstance(past, tuple) else past)
            u = u.masked_fill(~mask[..., None], 0)
        if isinstance(layer.branch, TimeMix):
            y, past, v_first = run(u, past, v_first)
        else:
            y, past = run(u, past)
        return x + y, past, v_first

    def _embed(self, ids: Tensor, *, ndim: int) -> tuple[torch.dtype, Tensor]:
        dtype, x = super()._embed(ids, ndim=ndim)
        return dtype, self.input_norm(x.to(dtype)).to(x.dtype)
