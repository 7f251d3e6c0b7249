# %% setup
import matplotlib.pyplot as plt
import torch

from ssm_ref.foundations.discretization import Rule, discretize, run_discrete

f64 = torch.float64
one = torch.ones(1, 1, dtype=f64)


def exact(t):
    """The solution of x' = −x + sin 3t with x(0) = 0."""
    return (3 * torch.exp(-t) + torch.sin(3 * t) - 3 * torch.cos(3 * t)) / 10


# %% shown
rules = (Rule.ZOH, Rule.EXPONENTIAL_EULER, Rule.EXPONENTIAL_TRAPEZOIDAL)
counts = [8 * 2**k for k in range(7)]  # steps over 8 units of time
errors = {}
fig, ax = plt.subplots(figsize=(6.5, 3))
for rule in rules:
    errors[rule] = []
    for count in counts:
        t = torch.arange(1, count + 1, dtype=f64) * 8 / count
        system = discretize(-one, one, 8 / count, rule)
        x = run_discrete(system, torch.sin(3 * t)[:, None], 0 * one[0], 0 * one[0])
        errors[rule].append((x[:, 0] - exact(t)).abs().max().item())
    ax.loglog([8 / c for c in counts], errors[rule], marker="o", label=rule.replace("_", " "))
    print(f"{rule:26} half the step divides the error by {errors[rule][-2] / errors[rule][-1]:.2f}")
ax.set(xlabel="Δ", ylabel="largest error", title="First order and second")
ax.legend()
fig.tight_layout()

# %% check
assert 3.8 < errors[rules[2]][-2] / errors[rules[2]][-1] < 4.2
assert 1.8 < errors[rules[1]][-2] / errors[rules[1]][-1] < 2.2
