# %% setup
from pathlib import Path

import ssm_ref
from ssm_ref.training.metrics import read_rows

EXPERIMENTS = Path(ssm_ref.__file__).parents[1] / "docs" / "experiments"

# %% shown
rows = read_rows(EXPERIMENTS / "ranks.jsonl")
small = read_rows(EXPERIMENTS / "bytes_large.jsonl")[0]["parameters"]


def task(row):
    return row.get("parameters", small), row["batch"], row["length"]


alone = {task(row): row for row in rows if row["ranks"] == 1}
print(f"{'shared':20} {'GPUs':>4} {'ms a step':>10} {'tokens/s':>10} {'GiB':>6}   gain")
for parameters, batch, length in dict.fromkeys(map(task, rows)):
    print(f"{parameters / 1e6:.0f} million parameters, {batch} rows of {length:,}")
    one = alone[parameters, batch, length]
    of_task = [row for row in rows if task(row) == (parameters, batch, length)]
    for row in sorted(of_task, key=lambda row: (row["ranks"], row["layout"])):
        gain = f"{one['ms'] / row['ms']:7.2f}" if row["ranks"] > 1 else ""
        what = "nothing" if row["ranks"] == 1 else row["layout"]
        print(
            f"  {what:18} {row['ranks']:4} {row['ms']:10.1f} {row['tokens_a_second']:10,} "
            f"{row['gib']:6.2f}{gain}".rstrip()
        )
print({key: rows[-1][key] for key in ("device", "torch", "nccl", "date")})

# %% check
for row in rows:
    assert abs(row["loss"] / alone[task(row)]["loss"] - 1) < 0.02
