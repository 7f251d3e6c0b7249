# %% setup
import pandas as pd

from ssm_ref.recurrent.gru import GRU
from ssm_ref.recurrent.lstm import LSTM
from ssm_ref.recurrent.min_rnn import MinGRU, MinLSTM

# %% shown
d = 256
layers = {"GRU": GRU, "minGRU": MinGRU, "LSTM": LSTM, "minLSTM": MinLSTM}
sizes = {name: sum(p.numel() for p in kind(d, d).parameters()) for name, kind in layers.items()}
table = pd.DataFrame({"parameters": sizes})
table["of the old cell"] = [1, sizes["minGRU"] / sizes["GRU"], 1, sizes["minLSTM"] / sizes["LSTM"]]
table.round(2)

# %% check
assert sizes["minGRU"] == 2 * d * (d + 1)
