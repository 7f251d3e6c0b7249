# %% setup
import torch
import torch.nn.functional as F

from ssm_ref.selective.mamba2 import Mamba2, Mamba2Config

torch.manual_seed(0)


# %% shown
def ssd(x, a, B, C, c):
    """Chunks of c tokens. x is Δ·x (b l h p), a is Δ·A (b l h), B and C are (b l h n)."""
    x, a, B, C = (t.unflatten(1, (-1, c)) for t in (x, a, B, C))  # l = k chunks of c
    sums = a.cumsum(2).permute(0, 1, 3, 2)  # b k h c
    L = (sums[..., :, None] - sums[..., None, :]).tril().exp().tril()  # who hears whom, and how
    y = torch.einsum("bkhts,bkthn,bkshn,bkshp->bkthp", L, C, B, x)  # attention inside a chunk
    to_end = (sums[..., -1:] - sums).exp()
    S = torch.einsum("bkht,bkthn,bkthp->bkhpn", to_end, B, x)  # what each chunk leaves
    H, before = torch.zeros_like(S[:, 0]), []
    for k in range(S.shape[1]):  # a recurrence over chunks
        before.append(H)
        H = sums[:, k, :, -1, None, None].exp() * H + S[:, k]
    H = torch.stack(before, 1)
    y = y + torch.einsum("bkht,bkthn,bkhpn->bkthp", sums.exp(), C, H)  # what was before the chunk
    return y.flatten(1, 2)


def mamba2(u, w, h, p, n, c=32):
    d = h * p
    z, xBC, dt = (u @ w["in_proj.weight"].T).split([d, d + 2 * n, h], -1)
    past = F.pad(xBC.mT, (w["conv_weight"].shape[1] - 1, 0))  # nothing comes before the start
    xBC = F.conv1d(past, w["conv_weight"][:, None], w["conv_bias"], groups=d + 2 * n).mT
    x, B, C = F.silu(xBC).split([d, n, n], -1)
    x = x.unflatten(-1, (h, p))
    B, C = (t[:, :, None].expand(-1, -1, h, -1) for t in (B, C))  # one group: shared by all heads
    dt = F.softplus(dt + w["dt_bias"])
    A = -w["A_log"].exp()
    y = ssd(x * dt[..., None], dt * A, B, C, c) + w["D"][:, None] * x
    y = y.flatten(-2) * F.silu(z)
    y = y * (y.square().mean(-1, keepdim=True) + 1e-5).rsqrt() * w["norm.weight"]
    return y @ w["out_proj.weight"].T


block = Mamba2(Mamba2Config(d_model=64, d_state=32, d_head=16)).double()
u = torch.randn(2, 128, 64, dtype=torch.float64)
weights = dict(block.state_dict())
out = mamba2(u, weights, h=8, p=16, n=32)
print(f"from memory against the reference: {(out - block(u)).abs().max():.0e}")

# %% check
torch.testing.assert_close(out, block(u))
