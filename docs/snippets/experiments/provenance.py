# %% setup
from pathlib import Path

import ssm_ref
from ssm_ref.training.metrics import read_rows

EXPERIMENTS = Path(ssm_ref.__file__).parents[1] / "docs" / "experiments"

# %% shown
rows = [row for path in sorted(EXPERIMENTS.glob("*.jsonl")) for row in read_rows(path)]
print(f"{'experiment':18} {'variant':17} {'steps':>5} {'CPU time':>8}  {'date':10}  commit")
for row in rows:
    dirty = "+" if row["commit"].endswith("+") else ""
    print(
        f"{row['experiment']:18} {row['variant']:17} {row['steps']:5} {row['seconds']:6.0f} s  "
        f"{row['date']}  {row['commit'][:9]}{dirty}"
    )
print("device:", *sorted({row["device"] for row in rows}), sep="\n  ")
print("torch:", *sorted({row["torch"] for row in rows}))

# %% check
assert all(row["seed"] == 0 for row in rows)
