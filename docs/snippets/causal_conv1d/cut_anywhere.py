# %% setup
import torch

from ssm_ref.selective.causal_conv1d import causal_conv1d

torch.manual_seed(0)

# %% shown
x = torch.randn(1, 10, 3)  # batch, length, channels
weight, bias = torch.randn(3, 4), torch.randn(3)

whole, _ = causal_conv1d(x, weight, bias, activation="silu")
first, tail = causal_conv1d(x[:, :5], weight, bias, activation="silu")
with_tail, _ = causal_conv1d(x[:, 5:], weight, bias, activation="silu", initial_state=tail)
without, _ = causal_conv1d(x[:, 5:], weight, bias, activation="silu")

print("state", tuple(tail.shape))
print(
    "error by token with the state:   ",
    [round(e.item(), 3) for e in (with_tail - whole[:, 5:]).abs().amax((0, 2))],
)
print(
    "error by token without the state:",
    [round(e.item(), 3) for e in (without - whole[:, 5:]).abs().amax((0, 2))],
)

# %% check
assert torch.allclose(with_tail, whole[:, 5:], atol=1e-6)
assert torch.allclose(without[:, 3:], whole[:, 8:], atol=1e-6)
