# snippet: timeout=180
# %% setup
from pathlib import Path

import torch
from statsmodels.tsa.ar_model import AutoReg

import ssm_ref
from ssm_ref.training.config import load_config
from ssm_ref.training.metrics import read_rows

EXPERIMENTS = Path(ssm_ref.__file__).parents[1] / "docs" / "experiments"
recorded = {
    row["variant"]: row["final"]["loss"] for row in read_rows(EXPERIMENTS / "forecast.jsonl")
}


def naive(train, season):
    """The last season once more."""
    return lambda past, horizon: past[-season:].repeat(-(-horizon // season))[:horizon]


def autoregression(train, season):
    """AR(p) with a trend by least squares on the training part; p by the Bayesian criterion."""
    orders = range(1, min(3 * season, 36) + 1)
    fits = [AutoReg(train.numpy(), p, trend="ct").fit() for p in orders]
    best = min(fits, key=lambda fit: fit.bic)
    level, slope, *lags = best.params
    lags = torch.tensor(lags).flip(0)

    def forecast(past, horizon):
        values = past
        for _ in range(horizon):
            following = level + slope * (len(values) + 1) + lags @ values[-len(lags) :]
            values = torch.cat([values, following[None]])
        return values[-horizon:]

    return forecast


def error(source, method, season):
    """Mean squared error over the windows on which the networks were judged."""
    h, errors = source.task.horizon, []
    for series in source.values.double().T:
        forecast = method(series[: source.cut], season)
        for end in range(source.cut, len(series) - h + 1):
            errors.append((forecast(series[:end], h) - series[end : end + h]).square().mean())
    return torch.stack(errors).mean().item()


# %% shown
print(f"{'':10} {'last season':>12} {'AR(p)':>8} {'one matrix':>11} {'S-Mamba':>8}")
table = {}
for name, season in {"sunspots": 11, "co2": 12, "elnino": 12, "macrodata": 1}.items():
    source = load_config(EXPERIMENTS / "forecast.toml", name).open_data()
    row = [error(source, naive, season), error(source, autoregression, season)]
    row += [recorded[f"{name}_linear"], recorded[name]]
    table[name] = row
    print(f"{name:10} {row[0]:12.4f} {row[1]:8.4f} {row[2]:11.4f} {row[3]:8.4f}")

# %% check
best = {name: min(range(4), key=row.__getitem__) for name, row in table.items()}
assert best == {"sunspots": 2, "co2": 3, "elnino": 1, "macrodata": 1}
