# %% setup
import torch

from ssm_ref.structured.s4 import S4, S4Config, dense, krylov

torch.manual_seed(0)

# %% shown
s4 = S4(S4Config(d_model=4, l_max=512, d_state=32)).double()
K = s4.kernel(512)  # generating function at 512 roots of unity

A_bar, B_bar = dense(s4.system())  # 32 by 32 matrices, one a channel
C = s4.C()
row = torch.cat([C, C.conj()], dim=-1)
powers = krylov(A_bar, B_bar, 512)  # B̄, ĀB̄, Ā²B̄, …
slow = torch.einsum("dm,dml->dl", row, powers).real
print(f"kernel {tuple(K.shape)}, largest difference from C Āⁱ B̄: {(K - slow).abs().max():.0e}")

u = torch.randn(1, 512, 4, dtype=torch.float64)
y, last = s4(u)
state = None
for t in range(512):
    y_t, state = s4.step(u[:, t], state, C=C)
print(f"512 steps against one convolution: {(y_t - y[:, -1]).abs().max():.0e}")

# %% check
torch.testing.assert_close(K, slow)
torch.testing.assert_close(y_t, y[:, -1])
