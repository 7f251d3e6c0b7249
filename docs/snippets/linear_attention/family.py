# %% setup
import torch
from torch.nn.functional import normalize

from ssm_ref.linear_attention import (
    deltanet,
    gated_deltanet,
    gla,
    hgrn2,
    kda,
    linear_attention,
    mlstm,
    retnet,
    rwkv6,
)
from ssm_ref.linear_attention.recurrence import Case, chunked
from ssm_ref.linear_attention.rwkv7 import WKV7, wkv7_recurrent
from ssm_ref.selective.ssd import ssd

torch.manual_seed(0)
torch.set_default_dtype(torch.float64)
shape = (2, 40, 3, 8)  # batch, length, heads, key width
q, k, a = torch.randn(3, *shape)
v, unit = torch.randn(*shape[:3], 5), normalize(k, dim=-1)
fade, rate = torch.rand(2, *shape)  # decay and rate of every channel
kappa, square = normalize(a, dim=-1), torch.randn(shape)
phi_q, phi_k = (linear_attention.feature_map(x) for x in (q, k))
one, beta, dt, A = fade[..., 0].log(), rate[..., 0], rate[..., 0], -torch.rand(3)
start = torch.zeros(2, 3, 8, 8)
gates = torch.randn(2, 2, 40, 3)
m_case, m = mlstm.mlstm_case(q, k, v, *gates, torch.zeros(2, 3))
u = torch.randn(3, 8)
finish = {  # what a model adds to what was read
    "linear attention": linear_attention.normalised,
    "mLSTM": lambda o: mlstm.normalised(o, m),
    "RWKV-6": lambda o: o + rwkv6.bonus(q, k, v, u),
}

# %% shown
# A model's own loop, and the same model as a case: (q, k, v, log decay, a, b).
models = {
    "linear attention": (
        linear_attention.linear_attention_recurrent(phi_q, phi_k, v),
        linear_attention.linear_attention_case(phi_q, phi_k, v),
    ),
    "RetNet": (retnet.retention_recurrent(q, k, v), retnet.retention_case(q, k, v)),
    "Mamba-2": (
        ssd(v, dt, A, k, q)[0],
        Case(q, k, v * dt[..., None], (dt * A)[..., None]),
    ),
    "mLSTM": (mlstm.mlstm_recurrent(q, k, v, *gates), m_case),
    "GLA": (gla.gla_recurrent(q, k, v, fade.log()), gla.gla_case(q, k, v, fade.log())),
    "HGRN2": (hgrn2.hgrn2_recurrent(q, fade, v), hgrn2.hgrn2_case(q, fade, v)),
    "RWKV-6": (
        rwkv6.rwkv6_recurrent(q, k, v, fade, u),
        rwkv6.rwkv6_case(q, k, v, fade.log()),
    ),
    "DeltaNet": (
        deltanet.delta_rule_recurrent(q, unit, v, beta),
        deltanet.delta_rule_case(q, unit, v, beta),
    ),
    "Gated DeltaNet": (
        gated_deltanet.gated_delta_recurrent(q, unit, v, one, beta),
        gated_deltanet.gated_delta_case(q, unit, v, one, beta),
    ),
    "KDA": (
        kda.kda_recurrent(q, unit, v, fade.log(), beta),
        kda.kda_case(q, unit, v, fade.log(), beta),
    ),
    "RWKV-7": (
        wkv7_recurrent(WKV7(q, fade, k, square, kappa, rate), start)[0],
        Case(q, k, square, fade.log(), kappa, kappa * rate),
    ),
}

print(f"{'model':18}{'decay':12}{'erases':8}chunks differ by")
worst = 0.0
for name, (want, case) in models.items():
    o, _ = chunked(case, chunk_size=16)
    o = finish[name](o) if name in finish else o
    error = ((o - want).norm() / want.norm()).item()
    worst = max(worst, error)
    decay = "none" if not case.g.any() else "a head" if case.g.shape[-1] == 1 else "a channel"
    erases = "no" if case.a is None else "yes"
    print(f"{name:18}{decay:12}{erases:8}{error:.0e}")

# %% check
assert worst < 1e-12
