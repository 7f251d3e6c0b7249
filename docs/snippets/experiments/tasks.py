# %% setup
from ssm_ref.training.batch import IGNORED, generator
from ssm_ref.training.tasks import (
    AssociativeRecall,
    Copying,
    InductionHeads,
    ModularArithmetic,
    Parity,
    SelectiveCopying,
)

# %% shown
tasks = {
    "selective copying": SelectiveCopying(length=12, items=3, vocab=8),
    "induction heads": InductionHeads(length=12, vocab=8),
    "associative recall": AssociativeRecall(length=14, pairs=3, vocab=20),
    "parity": Parity(length=12),
    "modular arithmetic": ModularArithmetic(numbers=6, modulus=5),
    "copying": Copying(shortest=3, longest=5, alphabet=26),
}
for name, task in tasks.items():
    inputs, targets = (row[0].tolist() for row in task.draw(1, generator(2, 0, 0)))
    print(f"{name:18}", " ".join(f"{token:2}" for token in inputs))
    print(f"{'':18}", " ".join(" ." if t == IGNORED else f"{t:2}" for t in targets))

# %% check
assert sum(t != IGNORED for t in targets) == inputs.index(27)
