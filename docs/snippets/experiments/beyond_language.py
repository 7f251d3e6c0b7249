# %% setup
from pathlib import Path

import ssm_ref
from ssm_ref.training.metrics import read_rows

EXPERIMENTS = Path(ssm_ref.__file__).parents[1] / "docs" / "experiments"
PAIRS = {
    "forecast": [(name, f"{name}_linear") for name in ("sunspots", "co2", "elnino", "macrodata")],
    "vowels": [("mamba", "linear"), ("s4d", "linear")],
    "yeast": [("sharing", "linear"), ("post_hoc", "linear"), ("one", "linear")],
    "coding": [("sharing", "linear"), ("one", "linear")],
    "spoken_digits": [("english", "english_linear"), ("russian", "russian_linear")],
    "spoken_language": [("audio_mamba", "linear")],
    "mnist_large": [("vision_mamba", "linear"), ("vmamba", "linear")],
    "brain_slices_large": [("vm_unet", "pixels")],
}

# %% shown
ahead = 0
print(f"{'':31} {'measure':9} {'network':>8} {'linear':>8}")
for experiment, pairs in PAIRS.items():
    found = {r["variant"]: r["final"] for r in read_rows(EXPERIMENTS / f"{experiment}.jsonl")}
    key = "accuracy" if "accuracy" in found[pairs[0][0]] else "loss"
    for name, linear in pairs:
        ours, theirs = found[name][key], found[linear][key]
        better = ours > theirs if key == "accuracy" else ours < theirs
        ahead += better
        measure = {"accuracy": "accuracy", "loss": "error"}[key]
        mark = "*" if better else " "
        print(f"{experiment + ', ' + name:31} {measure:9} {ours:8.4f}{mark}{theirs:8.4f}")
print(f"* the network is ahead: {ahead} of {sum(map(len, PAIRS.values()))}")

# %% check
scores = {
    experiment: {r["variant"]: r["final"] for r in read_rows(EXPERIMENTS / f"{experiment}.jsonl")}
    for experiment in PAIRS
}
losses = {name: final["loss"] for name, final in scores["forecast"].items()}
assert losses["co2"] < 0.8 * losses["co2_linear"]
for name in ("sunspots", "elnino", "macrodata"):
    assert losses[name] > 0.95 * losses[f"{name}_linear"]
yeast = {name: final["accuracy"] for name, final in scores["yeast"].items()}
assert min(v for name, v in yeast.items() if name != "linear") > yeast["linear"] + 0.01
for experiment in ("spoken_digits", "spoken_language"):
    for name, linear in PAIRS[experiment]:
        found = scores[experiment]
        assert found[name]["accuracy"] > found[linear]["accuracy"] + 0.015
for experiment in ("mnist_large", "brain_slices_large"):
    for name, linear in PAIRS[experiment]:
        found = scores[experiment]
        assert found[name]["accuracy"] > found[linear]["accuracy"] + 0.05
for experiment in ("vowels", "coding"):
    right = {name: final["accuracy"] for name, final in scores[experiment].items()}
    assert max(right.values()) < right["linear"] + 0.01
