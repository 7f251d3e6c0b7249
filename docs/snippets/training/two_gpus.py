# %% setup
from pathlib import Path

import ssm_ref
from ssm_ref.training.metrics import read_rows

ROWS = Path(ssm_ref.__file__).parents[1] / "docs" / "experiments" / "ranks.jsonl"

# %% shown
rows = read_rows(ROWS)
alone = {(row["batch"], row["length"]): row for row in rows if row["ranks"] == 1}
print(
    f"{'shared':20} {'GPUs':>4} {'batch':>9} {'ms a step':>10} {'tokens/s':>10} {'GiB':>6}   gain"
)
for row in rows:
    one = alone[row["batch"], row["length"]]
    gain = f"{one['ms'] / row['ms']:6.2f}" if row["ranks"] > 1 else ""
    what = "nothing" if row["ranks"] == 1 else row["layout"]
    size = f"{row['batch']} × {row['length']}"
    print(
        f"{what:20} {row['ranks']:4} {size:>9} {row['ms']:10.1f} {row['tokens_a_second']:10,} "
        f"{row['gib']:6.2f} {gain}".rstrip()
    )
print({key: rows[0][key] for key in ("device", "torch", "nccl", "date")}, rows[0]["commit"][:9])

# %% check
for row in rows:
    assert abs(row["loss"] / alone[row["batch"], row["length"]]["loss"] - 1) < 0.02
