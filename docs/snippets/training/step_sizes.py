# %% setup
import matplotlib.pyplot as plt

from ssm_ref.training.optimizer import Optimizer, learning_rate

# %% shown
STEPS = 1000
fig, ax = plt.subplots(figsize=(6.5, 2.6))
for cfg, label in (
    (Optimizer(lr=1e-3, warmup=100), "warm-up 100, cosine to a tenth"),
    (Optimizer(lr=1e-3, warmup=0, schedule="constant"), "constant"),
):
    ax.plot([learning_rate(cfg, s, STEPS) for s in range(1, STEPS + 1)], label=label)
ax.set(xlabel="step", ylabel="lr", ylim=(0, None))
ax.legend()
fig.tight_layout()

# %% check
assert learning_rate(Optimizer(lr=1e-3, warmup=100), STEPS, STEPS) == 1e-3 * 0.1
