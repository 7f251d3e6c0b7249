# %% setup
import matplotlib.pyplot as plt
import torch
from torch.nn.functional import normalize

from ssm_ref.linear_attention.deltanet import delta_rule_case
from ssm_ref.linear_attention.recurrence import Case, recurrent

torch.manual_seed(0)

# %% shown
n, pairs, trials = 32, 64, 20  # key width, pairs written, repetitions
k = normalize(torch.randn(trials, pairs, 1, n), dim=-1)
v = torch.randn(trials, pairs, 1, n)
delta = delta_rule_case(k, k, v, torch.ones(trials, pairs, 1))
cases = {"sum": Case(k, k, v, torch.zeros(trials, pairs, 1, 1)), "delta rule": delta}

figure, axes = plt.subplots(figsize=(5.2, 3), layout="constrained")
error = {}
for name, case in cases.items():
    _, S = recurrent(case)
    read = torch.einsum("bhnp,blhn->blhp", S, k)
    error[name] = ((read - v).square().mean(-1) / v.square().mean(-1)).mean(0)[:, 0]
    axes.plot(range(pairs - 1, -1, -1), error[name], label=name)
axes.set(xlabel="writes since", ylabel="error of a read / the value", ylim=(0, None))
axes.set_title("The sum errs alike on all, the delta rule on the old")
axes.legend()
plt.show()

# %% check
assert error["delta rule"][-1] < 1e-6
assert error["delta rule"][-8:].mean() < 0.5 * error["sum"][-8:].mean()
