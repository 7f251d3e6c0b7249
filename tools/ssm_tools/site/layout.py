"""Places for the nodes of a graph: forces, seeded, the same for the same graph."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

EXACT = 700  # nodes up to which every pair repels; above, a seeded sample stands for all
SAMPLE = 256

Floats = NDArray[np.floating[Any]]


@lru_cache(maxsize=8)
def place(
    groups: tuple[str, ...], edges: tuple[tuple[int, int], ...], steps: int = 260
) -> tuple[tuple[float, float], ...]:
    """Return a place for each node; nodes of one group start in one sector and stay near it.

    `groups` has one name per node. Coordinates are in units in which neighbours are 1 apart. Two
    languages with the same graph are placed once, and alike.
    """
    count = len(groups)
    if count == 0:
        return ()
    random = np.random.default_rng(7)
    names = {name: number for number, name in enumerate(sorted(set(groups)))}
    sector = np.array([names[group] for group in groups])
    points, centres = _start(sector, len(names), random)
    links = np.array(edges, dtype=np.int64).reshape(-1, 2)
    degree = np.bincount(links.ravel(), minlength=count) + 1.0
    steps = steps if count <= EXACT else max(60, steps * EXACT // count)
    for step in range(steps):
        heat = 0.35 * (1 - step / steps) + 0.01
        force = _repulsion(points, random) + _attraction(points, links, degree)
        force += 0.03 * (centres - points) - 0.008 * points
        length = np.linalg.norm(force, axis=1, keepdims=True) + 1e-9
        points = points + force / length * np.minimum(length, heat * 3)
    points = _apart(points - points.mean(axis=0))
    return tuple((round(float(x), 3), round(float(y), 3)) for x, y in points)


def _start(
    sector: NDArray[np.int64], count: int, random: np.random.Generator
) -> tuple[Floats, Floats]:
    size = math.sqrt(len(sector))
    angle = 2 * math.pi * sector / max(count, 1)
    centres = np.stack([np.cos(angle), np.sin(angle)], axis=1) * size * (0.75 if count > 1 else 0)
    return centres + random.normal(scale=0.35 * size, size=centres.shape), centres


def _repulsion(points: Floats, random: np.random.Generator) -> Floats:
    """Every node is pushed by all others, or by a sample of them that changes with each step."""
    count = len(points)
    if count <= EXACT:
        return _pushed(points, points, 1 / (_squares(points, points) + 0.04))
    others = points[random.choice(count, SAMPLE, replace=False)]
    return _pushed(points, others, (count / SAMPLE) / (_squares(points, others) + 0.04))


def _squares(points: Floats, others: Floats) -> Floats:
    """Squared distances of every point from every other."""
    found: Floats = points[:, :1] - others[:, 0]
    found *= found
    aside: Floats = points[:, 1:] - others[:, 1]
    aside *= aside
    found += aside
    return found


def _pushed(points: Floats, others: Floats, weights: Floats) -> Floats:
    """The sum over others of weight times the way from it to the point."""
    force: Floats = points * weights.sum(axis=1, keepdims=True) - weights @ others
    return force


def _attraction(points: Floats, links: NDArray[np.int64], degree: Floats) -> Floats:
    force = np.zeros_like(points)
    if len(links) == 0:
        return force
    a, b = links[:, 0], links[:, 1]
    delta = points[b] - points[a]
    pull = delta * np.linalg.norm(delta, axis=1, keepdims=True)
    for ends, sign in ((a, 1.0), (b, -1.0)):
        weighted = sign * pull / np.sqrt(degree[ends])[:, None]
        for axis in (0, 1):
            force[:, axis] += np.bincount(ends, weighted[:, axis], minlength=len(points))
    return 0.5 * force


def _apart(points: Floats) -> Floats:
    """Push nodes that lie closer than one unit away from each other, a few times."""
    if len(points) < 2 or len(points) > EXACT:
        return points
    shape = np.array([0.55, 1.0])  # names are wide: on one line they need more room than above
    for _ in range(40):
        flat = points * shape
        distance = np.sqrt(_squares(flat, flat)) + 1e-9
        np.fill_diagonal(distance, 9)
        points = points + 0.5 * _pushed(flat, flat, np.clip(1.0 - distance, 0, None) / distance)
    return points
