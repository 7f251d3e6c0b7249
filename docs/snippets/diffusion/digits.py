# %% setup
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

import ssm_ref
from ssm_ref.training.metrics import read_rows

EXPERIMENTS = Path(ssm_ref.__file__).parents[1] / "docs" / "experiments"

# %% shown
for file in ("generated_digits_large", "generated_digits"):
    (run,) = read_rows(EXPERIMENTS / f"{file}.jsonl")
    measured = run["measured"]
    height, width = measured["shape"][2:]
    print(
        f"{height} × {width}: {run['parameters']:,} parameters, {run['steps']:,} steps of training"
    )
    print(f"  {measured['sampling_steps']} steps to draw, guidance {measured['guidance']}")
    print(f"  {'':10} {'class as asked':>15} {'Fréchet':>9} {'nearest':>9} {'closest':>9}")
    for name, row in measured["judged"].items():
        distances = f"{row['nearest']:9.2f} {row['closest']:9.2f}"
        print(f"  {name:10} {row['agreement']:15.3f} {row['frechet']:9.2f} {distances}")

pictures = np.frombuffer(bytes.fromhex(measured["pictures"]), np.uint8).reshape(measured["shape"])
framed = np.pad(pictures[:, 0], ((0, 0), (1, 1), (1, 1)), constant_values=90)
rows = framed.reshape(4, 10, *framed.shape[1:])
figure, ax = plt.subplots(figsize=(6.5, 2.7), layout="constrained")
ax.imshow(np.concatenate([np.concatenate(row, axis=1) for row in rows]), cmap="gray")
ax.set(xticks=4.5 + 10 * np.arange(10), xticklabels=range(10), yticks=[], xlabel="class asked for")
plt.show()

# %% check
assert set(measured["judged"]) == {"drawn", "held out", "noise"}
