# %% setup
import torch

from ssm_ref.linear_attention.rwkv4 import empty_wkv, wkv_parallel, wkv_recurrent, wkv_sums

torch.manual_seed(0)

# %% shown
k, v = 3 * torch.randn(2, 1, 50, 8)  # batch, length, channels
w, u = torch.rand(8), torch.randn(8)  # decay and bonus, one a channel

want = wkv_sums(k.double(), v.double(), w.double(), u.double())  # Eq. (2) as it stands
for form in (wkv_recurrent, wkv_parallel):
    y, state = form(k, v, w, u, empty_wkv(k[:, 0]))
    print(f"{form.__name__}: differs by {(y - want).abs().max():.1e}")

print("with keys of 100, in float32:")
print("  sums     ", wkv_sums(k + 100, v, w, u)[0, -1, :3])
print("  recurrent", wkv_recurrent(k + 100, v, w, u, empty_wkv(k[:, 0]))[0][0, -1, :3])

# %% check
assert (y - want).abs().max() < 1e-5
