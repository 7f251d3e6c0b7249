# %% setup
from pathlib import Path

import ssm_ref
from ssm_ref.training.metrics import read_rows

EXPERIMENTS = Path(ssm_ref.__file__).parents[1] / "docs" / "experiments"

# %% shown
configs = sorted(EXPERIMENTS.glob("*.toml"))
rows = [row for path in configs for row in read_rows(path.with_suffix(".jsonl"))]
print(f"{'experiment':24} {'variant':17} {'steps':>17} {'time':>5}  {'date':10}  commit")
for row in rows:
    dirty = "+" if row["commit"].endswith("+") else ""
    planned = row.get("planned", row["steps"])
    steps = f"{row['steps']:,}" + (f" of {planned:,}" if planned > row["steps"] else "")
    print(
        f"{row['experiment']:24} {row['variant']:17} {steps:>17} {row['seconds']:3.0f} s  "
        f"{row['date']}  {row['commit'][:9]}{dirty}"
    )
for device in sorted({row["device"] for row in rows}):
    names = sorted({row["experiment"] for row in rows if row["device"] == device})
    print(f"{device}: {', '.join(names)}")
print("torch:", *sorted({row["torch"] for row in rows}))

# %% check
assert all(row["commit"] and row["source_hash"] for row in rows)
