# %% setup
import torch

from ssm_ref.linear_attention.deltanet import delta_rule_case
from ssm_ref.linear_attention.recurrence import Case, recurrent

torch.manual_seed(0)

# %% shown
key, other = torch.eye(8)[:2]  # two orthogonal keys of unit length
keys = torch.stack([key, other, key])[None, :, None]  # batch, length, heads, width
values = torch.tensor([[1.0, 2, 3], [4.0, 5, 6], [9.0, 9, 9]])[None, :, None]
rate = torch.ones(1, 3, 1)

added = Case(keys, keys, values, torch.zeros(1, 3, 1, 1))  # linear attention
for name, case in (("sum  ", added), ("delta", delta_rule_case(keys, keys, values, rate))):
    S = recurrent(case)[1][0, 0]
    print(f"{name} key reads {(S.T @ key).tolist()}, the other {(S.T @ other).tolist()}")

S = torch.outer(key, torch.tensor([1.0, 2, 3]))[None, None]
empty = delta_rule_case(keys[:, :1], keys[:, :1], 0 * values[:, :1], 2 * rate[:, :1])
print("rate 2, nothing written: key reads", (recurrent(empty, S)[1][0, 0].T @ key).tolist())

# %% check
read = recurrent(delta_rule_case(keys, keys, values, rate))[0][0, :, 0]
assert torch.allclose(read, values[0, :, 0])
assert torch.allclose(recurrent(empty, S)[1], -S)
