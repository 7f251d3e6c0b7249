# %% setup
import torch

from ssm_ref.recurrent.rnn import RNN

torch.manual_seed(0)

# %% shown
norms = {}
for scale in (0.5, 0.9, 1.5):
    layer = RNN(4, 32)
    with torch.no_grad():  # U = scale × an orthogonal matrix
        layer.weight_hh.copy_(scale * torch.linalg.qr(torch.randn(32, 32))[0])
    h = torch.zeros(1, 32, requires_grad=True)
    layer.prefill(0.1 * torch.randn(1, 50, 4), h)[1].sum().backward()
    norms[scale] = h.grad.norm().item()
    print(f"U = {scale} · Q: gradient of h_50 with respect to h_0 has norm {norms[scale]:.1e}")

# %% check
assert norms[0.5] < norms[0.9] < 1
