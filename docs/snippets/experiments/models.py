# %% setup
import math
from pathlib import Path

import ssm_ref
from ssm_ref.training.config import variants
from ssm_ref.training.metrics import read_rows

EXPERIMENTS = Path(ssm_ref.__file__).parents[1] / "docs" / "experiments"

# %% shown
rows = {row["variant"]: row for row in read_rows(EXPERIMENTS / "models.jsonl")}
cells = [
    f"{name:17}{rows[name]['parameters']:8,}{rows[name]['final']['loss'] / math.log(2):6.2f}"
    for name in variants(EXPERIMENTS / "models.toml")
]
half = -(-len(cells) // 2)
print("   ".join([f"{'model':17}{'weights':>8}{'bits':>6}"] * 2))
for left, right in zip(cells[:half], [*cells[half:], ""], strict=False):
    print(f"{left}   {right}".rstrip())

# %% check
assert len(cells) == len(rows)
bits = {name: row["final"]["loss"] / math.log(2) for name, row in rows.items()}
assert max(bits.values()) < 4.2
