# snippet: device=cuda timeout=300
# %% setup
import os
from functools import partial
from statistics import median

import torch

gpu = torch.cuda.is_available()
if not gpu:  # then the kernel's code is interpreted on the CPU: right, and slow
    os.environ["TRITON_INTERPRET"] = "1"

from ssm_kernels.selective_scan.op import selective_scan as by_kernel
from ssm_ref.selective.selective_scan import selective_scan, selective_scan_chunked

torch.manual_seed(0)
ways = {
    "loop": selective_scan,
    "chunks": selective_scan_chunked,
    "kernel": partial(by_kernel, backend="triton"),
}


def cost(scan, *operands, z, times=5):
    """What a scan returns, its median time in ms, and its memory at the peak in MiB."""
    y, _ = scan(*operands, z=z)  # the call that compiles is not timed
    if not gpu:
        return y, "–", "–"
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before, found = torch.cuda.memory_allocated(), []
    for _ in range(times):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        scan(*operands, z=z)
        end.record()
        torch.cuda.synchronize()
        found.append(start.elapsed_time(end))
    return y, median(found), (torch.cuda.max_memory_allocated() - before) / 2**20


# %% shown
b, d, n = (4, 2048, 16) if gpu else (1, 6, 4)  # batch, channels, state
device = "cuda" if gpu else "cpu"
rows = []
for l in (512, 2048, 8192) if gpu else (24,):
    x, z = torch.randn(2, b, l, d, device=device)
    B, C = torch.randn(2, b, l, n, device=device)
    dt, A = torch.rand_like(x) / 8, -torch.rand(d, n, device=device)
    want = None
    for name, scan in ways.items():
        y, ms, mib = cost(scan, x, dt, A, B, C, z=z)
        want = y if want is None else want  # the loop is the definition
        error = ((y - want).norm() / want.norm()).item()
        rows.append({"tokens": l, "way": name, "ms": ms, "peak, MiB": mib, "differs by": error})

rows

# %% check
assert all(row["differs by"] < 1e-3 for row in rows)
