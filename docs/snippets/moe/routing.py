# %% setup
import torch

from ssm_ref.hybrid.moe import MoE, MoEConfig, load_balancing_loss

torch.manual_seed(0)

# %% shown
moe = MoE(MoEConfig(d_model=16, d_ff=32, n_experts=8, top_k=2))
u = torch.randn(1000, 16)  # tokens, d_model
y = moe(u)
pi, weights, chosen = moe.route(u)
print("out", tuple(y.shape), " experts of token 0:", chosen[0].tolist())
print("tokens an expert:", chosen.flatten().bincount(minlength=8).tolist())
print(f"balancing loss {load_balancing_loss(pi, chosen).item():.2f}, least possible 2 for k = 2")

total = sum(p.numel() for p in moe.parameters())
idle = (8 - 2) * 3 * 16 * 32
print(f"parameters {total}, of which {total - idle} work on a token")

# %% check
assert load_balancing_loss(pi, chosen) >= 1.9
