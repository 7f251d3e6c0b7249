# %% setup
import math

import torch

from ssm_ref.selective.mamba3 import Inputs, Past, trapezoidal_recurrence, turn

# %% shown
bits = torch.tensor([1, 0, 1, 1, 0, 1, 1, 1])
phase = (math.pi * bits).cumsum(0)[None, :, None, None]  # a one turns by half a circle

start = torch.tensor([1.0, 0.0])  # what the state holds, n = 2
read = turn(start.expand(1, 8, 1, 1, 2), phase, adjacent=True)
nothing, ones = torch.zeros(1, 8, 1, 1, 1), torch.ones(1, 8, 1)
inputs = Inputs(nothing, read, read, ones, 0 * ones, ones)  # nothing is written, nothing decays
past = Past(start.view(1, 1, 1, 2), nothing[:, 0], read[:, 0])
y, _ = trapezoidal_recurrence(inputs, past)
parity = ((1 - y.flatten()) / 2).round().int()
print("bits  ", bits.tolist())
print("parity", parity.tolist())

# %% check
assert parity.tolist() == (bits.cumsum(0) % 2).tolist()
