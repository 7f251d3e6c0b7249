# %% setup
import math

import torch

from ssm_ref.foundations.discretization import Rule, discretize, run_discrete

one = torch.ones(1, 1, dtype=torch.float64)


def exact(t, a=1.3):
    """The solution of x' = -a x + sin t with x(1) = 1."""

    def particular(t):
        return (a * math.sin(t) - math.cos(t)) / (a**2 + 1)

    return particular(t) + (1 - particular(1)) * math.exp(-a * (t - 1))


# %% shown
def error(rule, dt):
    """One step of x' = -1.3 x + sin t from x(1) = 1, against the exact solution."""
    system = discretize(-1.3 * one, one, dt, rule)
    u_before, u = math.sin(1) * one[0], math.sin(1 + dt) * one
    return abs(run_discrete(system, u, u_before, one[0]).item() - exact(1 + dt))


print(f"{'rule':26}{'Δ = 0.1':>10}{'Δ = 0.05':>10}{'exponent':>10}")
for rule in Rule:
    exponent = math.log2(error(rule, 0.002) / error(rule, 0.001))
    print(f"{rule:26}{error(rule, 0.1):10.2e}{error(rule, 0.05):10.2e}{exponent:10.2f}")

# %% check
assert abs(error(Rule.ZOH, 0.1) - 2.21e-3) < 5e-6
assert abs(error(Rule.EXPONENTIAL_EULER, 0.1) - 7.76e-3) < 5e-6
assert abs(error(Rule.EXPONENTIAL_TRAPEZOIDAL, 0.1) - 1.48e-4) < 5e-7
