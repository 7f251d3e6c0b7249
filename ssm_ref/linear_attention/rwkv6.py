"""RWKV-6 (Finch): a matrix state that fades by channel at a rate the input sets.

With x' the token before x, and • any of w, k, v, r, g:

    x_• = x + (x' - x) ⊙ (μ_• + tanh((x + (x' - x) ⊙ μ_x) A_•) B_•)    (1)
    w = exp(-exp(ω + tanh(x_w A) B))    (2)
    o_t = (S_{t-1} + (u ⊙ k_t) v_tᵀ)ᵀ r_t    (3)
    S_t = diag(w_t) S_{t-1} + k_t v_tᵀ    (4)
    y = W_o (GroupNorm(o) ⊙ SiLU(W_g x_g))    the norm over each head    (5)

The read comes before the step and the present token has a weight u of its own. RWKV-5 (Eagle) is
the same with μ and ω alone, which do not look at the input. The channel mixer:

    y = σ(W_r x_r) ⊙ W_v relu(W_k x_k)²    with plain token shifts    (6)

Source: Peng et al., Eagle and Finch, arXiv 2404.05892, and its published code.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from ssm_ref.expect import expect_axes, expect_counts, state_dtype
from ssm_ref.linear_attention.mixer import Mixer, Projected, Scan
from ssm_ref.linear_attention.recurrence import Case, chunked
from ssm_ref.linear_attention.token_shift import ShiftedMixer, shift

GROUP_NORM_EPS = 64e-5
MIXED = "wkvrg"


def rwkv6_recurrent(
    r: Float[Tensor, "b l h n"],
    k: Float[Tensor, "b l h n"],
    v: Float[Tensor, "b l h p"],
    w: Float[Tensor, "b l h n"],
    u: Float[Tensor, "h n"],
) -> Float[Tensor, "b l h p"]:
    """Eqs. (3) and (4) token by token: the definition."""
    expect_axes("r blhn, k blhn, v blhp, w blhn, u hn", r, k, v, w, u)
    S, o = v.new_zeros(*k[:, 0].shape, v.shape[-1]), []
    for t in range(r.shape[1]):
        pair = k[:, t, :, :, None] * v[:, t, :, None, :]
        o.append(torch.einsum("bhnp,bhn->bhp", S + u[..., None] * pair, r[:, t]))  # (3)
        S = w[:, t, :, :, None] * S + pair  # (4)
    return torch.stack(o, dim=1)


def rwkv6_case(
    r: Float[Tensor, "b l h n"],
    k: Float[Tensor, "b l h n"],
    v: Float[Tensor, "b l h p"],
    log_w: Float[Tensor, "b l h n"],
) -> Case:
    """Eq. (4) in the common recurrence, read before the step; Eq. (3) lacks only `bonus`.

    The decay comes as its logarithm: in float32 w itself is 0 for rates above e^4.7, and the
    logarithm of 0 has no gradient.
    """
    return Case(r, k, v, log_w, read_before=True)


def bonus(
    r: Float[Tensor, "b l h n"],
    k: Float[Tensor, "b l h n"],
    v: Float[Tensor, "b l h p"],
    u: Float[Tensor, "h n"],
) -> Float[Tensor, "b l h p"]:
    """What the present token hears of itself, the second term of Eq. (3)."""
    return (r * u * k).sum(dim=-1, keepdim=True) * v  # (3)


@dataclass(frozen=True, kw_only=True, slots=True)
class RWKV6Config:
    """Sizes of the mixers of an RWKV-6 model of `n_blocks`."""

    d_model: int
    n_blocks: int = 1
    d_head: int = 64
    mix_rank: int = 32
    decay_rank: int = 64

    def __post_init__(self) -> None:
        expect_counts(self, "d_model", "n_blocks", "d_head", "mix_rank", "decay_rank")
        if self.d_model % self.d_head:
            raise ValueError(f"d_head={self.d_head} must divide d_model={self.d_model}")

    @property
    def d_ff(self) -> int:
        """Hidden channels of the channel mixer: 3.5 d_model, down to a multiple of 32."""
        return max(32, int(3.5 * self.d_model) // 32 * 32)


class RWKV6TimeMix(Mixer):
    """The token mixer of block `index`, Eqs. (1) to (5)."""

    def __init__(self, cfg: RWKV6Config, index: int = 0, *, scan: Scan = chunked) -> None:
        d, n = cfg.d_model, cfg.d_head
        super().__init__(d, (d // n, n, n), (d,), scan=scan)
        self.cfg, self.index = cfg, index
        self.mix_x = nn.Parameter(torch.empty(d))
        self.mix = nn.Parameter(torch.empty(5, d))  # in the order of MIXED
        self.mix_down = nn.Parameter(torch.zeros(d, 5 * cfg.mix_rank))
        self.mix_up = nn.Parameter(torch.empty(5, cfg.mix_rank, d))
        self.decay = nn.Parameter(torch.empty(d))
        self.decay_down = nn.Parameter(torch.zeros(d, cfg.decay_rank))
        self.decay_up = nn.Parameter(torch.empty(cfg.decay_rank, d))
        self.u = nn.Parameter(torch.empty(d // n, n))
        self.receptance = nn.Linear(d, d, bias=False)
        self.key = nn.Linear(d, d, bias=False)
        self.value = nn.Linear(d, d, bias=False)
        self.gate = nn.Linear(d, d, bias=False)
        self.norm = nn.GroupNorm(d // n, d, eps=GROUP_NORM_EPS)
        self.o_proj = nn.Linear(d, d, bias=False)
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """The published start: decays spread over channels, low-rank maps and output zero."""
        d, blocks = self.cfg.d_model, self.cfg.n_blocks
        depth, rest = self.index / max(1, blocks - 1), 1 - self.index / blocks
        channel = torch.arange(d, dtype=torch.float32, device=self.mix_x.device)
        slow, fast = (channel / d) ** rest, (channel / d) ** (rest / 2)
        self.mix_x.copy_(1 - slow)
        # In the order of MIXED: w, k, v, r, g.
        self.mix.copy_(1 - torch.stack([slow, slow, slow + 0.3 * depth, fast, fast]))
        place = channel / max(1, d - 1)
        self.decay.copy_(-6 + 5 * place ** (0.7 + 1.3 * depth))
        zigzag = 0.1 * ((channel + 1) % 3 - 1)
        self.u.copy_((depth * (1 - place) + zigzag).view_as(self.u))
        for up in (self.mix_up, self.decay_up):
            nn.init.uniform_(up, -0.01, 0.01)
        for part, gain in (
            (self.receptance, 1),
            (self.key, 0.1),
            (self.value, 1),
            (self.gate, 0.1),
        ):
            nn.init.orthogonal_(part.weight, gain=gain)
        nn.init.zeros_(self.o_proj.weight)
        nn.init.constant_(self.norm.weight, ((1 + self.index) / blocks) ** 0.7)

    def project(self, u: Float[Tensor, "b l d"], past: Tensor) -> Projected:
        """The case of Eq. (4), the last input, and the gate and bonus for the output."""
        step = shift(u, past) - u
        low = torch.tanh((u + step * self.mix_x) @ self.mix_down).unflatten(-1, (5, -1))
        moved = self.mix + torch.einsum("blsr,srd->blsd", low, self.mix_up)
        x = dict(
            zip(MIXED, (u[:, :, None] + step[:, :, None] * moved).unbind(dim=2), strict=True)
        )  # (1)
        rate = self.decay + torch.tanh(x["w"] @ self.decay_down) @ self.decay_up
        log_w = -torch.exp(self.heads(rate).to(state_dtype(u)))  # (2)
        r, k, v = (
            self.heads(part(x[name]))
            for part, name in ((self.receptance, "r"), (self.key, "k"), (self.value, "v"))
        )
        rest = (F.silu(self.gate(x["g"])), bonus(r, k, v, self.u))
        return Projected(rwkv6_case(r, k, v, log_w), u[:, -1], rest)

    def output(self, o: Float[Tensor, "b l h p"], *rest: Tensor) -> Float[Tensor, "b l d"]:
        """Normalised by heads, gated, mixed.    (5)"""
        gate, own = rest
        o = (o + own).flatten(-2)
        o = self.norm(o.flatten(0, 1)).view_as(o)
        return self.o_proj(o * gate)  # (5)


class RWKV6ChannelMix(ShiftedMixer):
    """The channel mixer of block `index`, Eq. (6); its state is the last input."""

    def __init__(self, cfg: RWKV6Config, index: int = 0) -> None:
        super().__init__()
        d = cfg.d_model
        mix = 1 - (torch.arange(d) / d) ** (1 - index / cfg.n_blocks)
        self.mix_key, self.mix_receptance = nn.Parameter(mix), nn.Parameter(mix.clone())
        self.key = nn.Linear(d, cfg.d_ff, bias=False)
        self.receptance = nn.Linear(d, d, bias=False)
        self.value = nn.Linear(cfg.d_ff, d, bias=False)
        nn.init.orthogonal_(self.key.weight)
        nn.init.zeros_(self.receptance.weight)
        nn.init.zeros_(self.value.weight)

    def mix(
        self, u: Float[Tensor, "b l d"], before: Float[Tensor, "b l d"]
    ) -> Float[Tensor, "b l d"]:
        """Eq. (6)."""
        k = self.key(torch.lerp(u, before, self.mix_key.to(u.dtype)))
        r = self.receptance(torch.lerp(u, before, self.mix_receptance.to(u.dtype)))
        return torch.sigmoid(r) * self.value(torch.relu(k).square())  # (6)
