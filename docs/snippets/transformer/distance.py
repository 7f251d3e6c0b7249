# %% setup
import matplotlib.pyplot as plt
import torch

from ssm_ref.attention.transformer import rotate

# %% shown
ones = torch.ones(1, 1, 1, 128)
fig, ax = plt.subplots(figsize=(6.5, 3))
for base in (10_000, 500_000):
    queries = rotate(ones.expand(1, 1, 4096, 128), 0, base)  # the same query at every place
    score = (queries * ones).sum(-1)[0, 0] / 128  # against one key at place 0
    ax.plot(range(0, 4096, 8), score[::8], label=f"base {base:,}", lw=1)
    print(f"base {base:,}: a key 1,000 places back scores {score[1000]:.2f} of one here")
ax.set(xlabel="distance from key to query", ylabel="score of equal vectors")
ax.set_title("Rotary positions prefer what is near")
ax.legend()
fig.tight_layout()

# %% check
assert score[0] == 1
assert score.abs().max() <= 1.001
