"""Mixture of experts: a channel mixer that runs k of its E sub-networks for every token.

    π = softmax(W_r u)                                            (1)
    y = Σ_{e ∈ top-k(π)} π_e FFN_e(u),  FFN_e a SwiGLU            (2)

With `renormalize` the k weights are divided by their sum. Parameters grow with E, work with k.
Training adds a loss that is least when tokens spread evenly:

    L = E Σ_e f_e P_e                                             (3)

f_e is the number of choices that fell on e, per token, and P_e the mean of π_e. No token is ever
dropped. Source: Lieber et al. 2024, arXiv 2403.19887, and the published code of Jamba.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from ssm_ref.expect import expect_counts, expect_features


@dataclass(frozen=True, kw_only=True, slots=True)
class MoEConfig:
    """Sizes of a mixture of `n_experts` SwiGLU networks, `top_k` of which see a token."""

    d_model: int
    d_ff: int
    n_experts: int
    top_k: int = 2
    renormalize: bool = False

    def __post_init__(self) -> None:
        expect_counts(self, "d_model", "d_ff", "n_experts")
        if not 1 <= self.top_k <= self.n_experts:
            raise ValueError(f"1 <= top_k <= n_experts; got {self.top_k} and {self.n_experts}")


class MoE(nn.Module):
    """The sparse channel mixer of Eqs. (1) and (2), tokens sorted by expert."""

    def __init__(self, cfg: MoEConfig) -> None:
        super().__init__()
        self.cfg = cfg
        self.router = nn.Linear(cfg.d_model, cfg.n_experts, bias=False)
        self.gate_proj = nn.Parameter(torch.empty(cfg.n_experts, cfg.d_ff, cfg.d_model))
        self.up_proj = nn.Parameter(torch.empty(cfg.n_experts, cfg.d_ff, cfg.d_model))
        self.down_proj = nn.Parameter(torch.empty(cfg.n_experts, cfg.d_model, cfg.d_ff))
        for weight in self.parameters():
            nn.init.normal_(weight, std=0.02)

    def route(
        self, u: Float[Tensor, "s d"]
    ) -> tuple[Float[Tensor, "s e"], Float[Tensor, "s k"], Int[Tensor, "s k"]]:
        """Probabilities π, and weights and numbers of the chosen experts; in float32 or wider."""
        logits = self.router(u)
        pi = logits.to(torch.promote_types(logits.dtype, torch.float32)).softmax(dim=-1)  # (1)
        weights, chosen = pi.topk(self.cfg.top_k, dim=-1)
        if self.cfg.renormalize:
            weights = weights / weights.sum(dim=-1, keepdim=True)
        return pi, weights, chosen

    def forward(self, u: Float[Tensor, "*batch d"]) -> Float[Tensor, "*batch d"]:
        """Eq. (2), token by token."""
        expect_features("u", u, self.cfg.d_model, self.gate_proj)
        tokens = u.reshape(-1, self.cfg.d_model)
        _, weights, chosen = self.route(tokens)
        if torch.compiler.is_compiling():  # sizes that depend on the data would break the graph
            return self._dense(tokens, weights, chosen).view_as(u)
        y = torch.zeros_like(tokens)
        for e in range(self.cfg.n_experts):
            token, place = torch.where(chosen == e)
            if token.numel():
                out = self._expert(tokens[token], e) * weights[token, place, None].to(u.dtype)
                y = y.index_add(0, token, out.to(y.dtype))  # (2)
        return y.view_as(u)

    def _dense(self, tokens: Tensor, weights: Tensor, chosen: Tensor) -> Tensor:
        """Every expert for every token, those not chosen weighted by zero."""
        share = weights.new_zeros(len(tokens), self.cfg.n_experts).scatter(1, chosen, weights)
        parts = (
            self._expert(tokens, e) * share[:, e, None].to(tokens.dtype)
            for e in range(self.cfg.n_experts)
        )
        return torch.stack(list(parts)).sum(dim=0)  # (2)

    def _expert(self, tokens: Tensor, e: int) -> Tensor:
        hidden = F.silu(F.linear(tokens, self.gate_proj[e])) * F.linear(tokens, self.up_proj[e])
        return F.linear(hidden, self.down_proj[e])


def mixture_sum(moe: MoE, u: Float[Tensor, "s d"]) -> Float[Tensor, "s d"]:
    """Eqs. (1) and (2) for one token after another: the definition."""
    ys = []
    for u_t in u:
        pi = (moe.router.weight @ u_t).softmax(dim=-1)  # (1)
        best = sorted(range(len(pi)), key=lambda e: -pi[e])[: moe.cfg.top_k]
        total = sum(pi[e] for e in best) if moe.cfg.renormalize else 1
        y = torch.zeros_like(u_t)
        for e in best:
            hidden = F.silu(moe.gate_proj[e] @ u_t) * (moe.up_proj[e] @ u_t)
            y = y + pi[e] / total * (moe.down_proj[e] @ hidden)  # (2)
        ys.append(y)
    return torch.stack(ys)


def load_balancing_loss(pi: Float[Tensor, "s e"], chosen: Int[Tensor, "s k"]) -> Float[Tensor, ""]:
    """Eq. (3): top_k when every expert gets its share, up to E · top_k when few get all."""
    if pi.ndim != 2 or chosen.ndim != 2 or len(pi) != len(chosen) or len(pi) == 0:
        raise ValueError(
            f"pi (s, e) and chosen (s, k) must describe the same tokens, at least one; "
            f"got {tuple(pi.shape)} and {tuple(chosen.shape)}"
        )
    counts = F.one_hot(chosen, pi.shape[1]).sum(dim=1).to(pi.dtype)
    return pi.shape[1] * (counts.mean(dim=0) * pi.mean(dim=0)).sum()  # (3)
