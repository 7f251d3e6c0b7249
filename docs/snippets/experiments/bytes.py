# %% setup
import math
from pathlib import Path

import matplotlib.pyplot as plt

import ssm_ref
from ssm_ref.training.metrics import read_rows

EXPERIMENTS = Path(ssm_ref.__file__).parents[1] / "docs" / "experiments"

# %% shown
runs = {row["variant"]: row for row in read_rows(EXPERIMENTS / "bytes.jsonl")}

fig, ax = plt.subplots(figsize=(6.5, 2.6))
for language, run in runs.items():
    bits = run["final"]["loss"] / math.log(2)
    print(f"{language:8} {bits:.2f} bits per byte, next byte right {run['final']['accuracy']:.1%}")
    steps, losses, _ = zip(*run["validation"], strict=True)
    ax.plot(steps, [loss / math.log(2) for loss in losses], marker="o", label=language)
ax.set(xlabel="step (1,024 bytes each)", ylabel="bits per byte, held out")
ax.legend()
fig.tight_layout()

# %% check
assert set(runs) == {"english", "russian"}
