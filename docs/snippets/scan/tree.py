# %% setup
import matplotlib.pyplot as plt


def hillis_steele(l):
    """Edges (round, from, to) of the algorithm that joins every place with the one 2**k before."""
    edges, reach, row = [], 1, 0
    while reach < l:
        edges += [(row, t - reach, t) for t in range(reach, l)]
        reach, row = 2 * reach, row + 1
    return edges, row


def blelloch(l):
    """Edges of the tree: up with growing stride, then down to fill the gaps."""
    edges, stride, row = [], 1, 0
    while stride < l:
        edges += [(row, t - stride, t) for t in range(2 * stride - 1, l, 2 * stride)]
        stride, row = 2 * stride, row + 1
    while stride > 1:
        stride //= 2
        joined = [(row, t - stride, t) for t in range(3 * stride - 1, l, 2 * stride)]
        if joined:
            edges, row = edges + joined, row + 1
    return edges, row


# %% shown
l = 16
fig, axes = plt.subplots(1, 2, figsize=(8, 3.6), sharey=True)
algorithms = (("Hillis–Steele", hillis_steele), ("Blelloch", blelloch))
for ax, (name, build) in zip(axes, algorithms, strict=True):
    edges, rows = build(l)
    for row, start, end in edges:
        ax.plot([start, end], [row, row + 1], color="tab:blue", lw=0.9)
        ax.plot(end, row + 1, "o", color="tab:blue", ms=3)
    ax.plot(range(l), [0] * l, "o", color="tab:gray", ms=3)
    ax.set(title=f"{name}: {rows} rounds, {len(edges)} joins", xlabel="t", xticks=range(0, l, 3))
axes[0].set_ylabel("round")
axes[0].invert_yaxis()
fig.tight_layout()

# %% check
for build in (hillis_steele, blelloch):
    spans = [(t, t) for t in range(l)]
    edges, rows = build(l)
    for row in range(rows):
        before = list(spans)
        for r, start, end in edges:
            if r == row:
                assert before[start][1] + 1 == before[end][0]
                spans[end] = (before[start][0], before[end][1])
    assert spans == [(0, t) for t in range(l)]
