"""Places for the nodes of a graph: forces, seeded, the same for the same graph."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

EXACT = 700  # nodes up to which every pair repels; above, a seeded sample stands for all
SAMPLE = 48

Floats = NDArray[np.floating[Any]]


def place(
    groups: Sequence[str], edges: Sequence[tuple[int, int]], steps: int = 260
) -> list[tuple[float, float]]:
    """Return a place for each node; nodes of one group start in one sector and stay near it.

    `groups` has one name per node. Coordinates are in units in which neighbours are 1 apart.
    """
    count = len(groups)
    if count == 0:
        return []
    random = np.random.default_rng(7)
    names = sorted(set(groups))
    sector = np.array([names.index(group) for group in groups])
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
    return [(round(float(x), 3), round(float(y), 3)) for x, y in points]


def _start(
    sector: NDArray[np.int64], count: int, random: np.random.Generator
) -> tuple[Floats, Floats]:
    size = math.sqrt(len(sector))
    angle = 2 * math.pi * sector / max(count, 1)
    centres = np.stack([np.cos(angle), np.sin(angle)], axis=1) * size * (0.75 if count > 1 else 0)
    return centres + random.normal(scale=0.35 * size, size=centres.shape), centres


def _repulsion(points: Floats, random: np.random.Generator) -> Floats:
    count = len(points)
    if count <= EXACT:
        delta = points[:, None] - points[None]
        near = (delta**2).sum(-1) + 0.04
        force: Floats = (delta / near[..., None]).sum(axis=1)
        return force
    others = random.integers(0, count, size=(count, SAMPLE))
    delta = points[:, None] - points[others]
    near = (delta**2).sum(-1) + 0.04
    sampled: Floats = (delta / near[..., None]).sum(axis=1) * (count / SAMPLE)
    return sampled


def _attraction(points: Floats, links: NDArray[np.int64], degree: Floats) -> Floats:
    force = np.zeros_like(points)
    if len(links) == 0:
        return force
    a, b = links[:, 0], links[:, 1]
    delta = points[b] - points[a]
    pull = delta * np.linalg.norm(delta, axis=1, keepdims=True)
    np.add.at(force, a, pull / np.sqrt(degree[a])[:, None])
    np.add.at(force, b, -pull / np.sqrt(degree[b])[:, None])
    return 0.5 * force


def _apart(points: Floats) -> Floats:
    """Push nodes that lie closer than one unit away from each other, a few times."""
    if len(points) < 2 or len(points) > EXACT:
        return points
    nearest = 1.0
    for _ in range(40):
        delta = points[:, None] - points[None]
        # names are wide: nodes on one line must stay further apart than nodes above each other
        delta[..., 0] *= 0.55
        distance = np.sqrt((delta**2).sum(-1)) + np.eye(len(points)) * 9
        push = np.clip(nearest - distance, 0, None)[..., None] * delta / distance[..., None]
        points = points + 0.5 * push.sum(axis=1)
    return points
