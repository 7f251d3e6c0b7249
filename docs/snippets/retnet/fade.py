# %% setup
import math

import matplotlib.pyplot as plt
import torch

from ssm_ref.linear_attention.retnet import retention_log_decay

# %% shown
log_gamma = retention_log_decay(8)
age = torch.logspace(0, 4, 200)
figure, axes = plt.subplots(figsize=(5.2, 3), layout="constrained")
for h, rate in enumerate(log_gamma.tolist()):
    half_life = -math.log(2) / rate
    axes.semilogx(age, (rate * age).exp(), label=f"head {h}: half in {half_life:.0f}")
axes.set(xlabel="tokens since the write", ylabel="what is left of it")
axes.set_title("What each head still hears of a write")
axes.legend(fontsize=7)
plt.show()

# %% check
assert round(-math.log(2) / log_gamma[0].item()) == 22
