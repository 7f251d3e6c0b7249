# %% setup
import matplotlib.pyplot as plt
import torch

from ssm_ref.recurrent.lstm import lstm_cell

# %% shown
steps = 200
fig, ax = plt.subplots(figsize=(6.5, 3))
kept = {}
for forget in (0.0, 1.0, 3.0, 6.0):  # what goes into the sigmoid of the forget gate
    c, trace = torch.zeros(1, 1), []
    for t in range(steps):
        write = 9.0 if t == 0 else -9.0  # the input gate opens once
        pre = torch.tensor([[write, forget, 3.0, 0.0]])  # i, f, g, o
        c = lstm_cell(pre, c).c
        trace.append(c.item())
    kept[forget] = trace[-1]
    gate = torch.tensor(forget).sigmoid().item()
    ax.plot(trace, label=f"bias {forget:g}: f = {gate:.3f}")
ax.set(xlabel="steps since the writing", ylabel="what the cell holds")
ax.set_title("One number, written once")
ax.legend(title="forget gate")
fig.tight_layout()
print("after 200 steps:", {bias: round(value, 3) for bias, value in kept.items()})

# %% check
assert kept[0.0] < 0.03 < kept[6.0]
