"""What of the surroundings belongs to a lesion: basins of the local maxima, joined from the most alike down.

Every local maximum starts a basin (watershed by descending value, 6 neighbours). Two basins that meet at a level are as
alike as that level over the higher of their two maxima (relative dynamics, Grimaud 1992).
"""

from dataclasses import dataclass

import numba
import numpy as np
from numpy.typing import NDArray

from pipelines.imaging.lesions.descending import descending
from pipelines.imaging.lesions.faces import stepped
from pipelines.imaging.lesions.union_find import root_of

LESION, OTHER, REPORTED = 1, 2, 3
"""Marks of what a voxel belongs to; 0: to nothing above the floor that the lesion meets."""


@dataclass(frozen=True, eq=False)
class Partition:
    """A box (i, j, k) divided between the lesion and what it must not enter."""

    hold_suv: NDArray[np.float32]
    """Of the lesion's voxels the lowest SUV on the best path to the peak (max-min path value), else 0: the region of
    any threshold is one comparison."""
    mark: NDArray[np.int8]
    """LESION, OTHER (an organ, or what is hotter than the lesion), REPORTED (another reported lesion) or 0."""


@dataclass(frozen=True)
class Markers:
    """Voxels (i, j, k) of the box that say whose a basin is."""

    peak: tuple[int, int, int]
    others: NDArray[np.int64]
    """Peaks of the other reported lesions, (n, 3)."""
    organs: NDArray[np.bool_] | None = None
    """Voxels of organs that the lesion does not lie in."""


def divide(values: NDArray[np.float32], markers: Markers, floor_suv: float) -> Partition:
    """The lesion's part of a box.

    Basins are joined from the most alike down; reported maxima are never joined with each other, and nothing joins a
    lesion whose maximum is hotter than the reported one or lies in an organ. An organ takes what is hotter than it, if
    that is more like it than like the lesion.

    Args:
        values: SUV, C order.
        markers: voxels inside the box.
        floor_suv: voxels at or below it belong to nothing.
    """
    flat = values.ravel()
    above = np.flatnonzero(flat > max(0.0, floor_suv))
    order = above[descending(flat[above])]
    at = int(np.ravel_multi_index(markers.peak, values.shape))
    others = np.ravel_multi_index(markers.others.T, values.shape)
    label, summit, met, first, second = _basins(flat, values.shape, order, np.append(others, at))
    top = flat[summit]
    top[0] = 0.0
    mark = np.zeros(len(top), np.int8)
    if markers.organs is not None:
        mark[1:][markers.organs.ravel()[summit[1:]]] = OTHER
    mark[label[others]] = REPORTED
    mark[label[at]], mark[0] = LESION, 0
    alike = met / np.maximum(top[first], top[second])
    joined = _join(top, mark, (first, second, np.argsort(-alike, kind="stable")))
    through = _passes(joined == LESION, label[at], met, first, second)
    hold, whose = _written(flat, label, through, joined, flat[at])
    return Partition(hold.reshape(values.shape), whose.reshape(values.shape))


@numba.njit(cache=True)
def _written(flat, label, through, joined, summit_suv):
    """Of each voxel the max-min path value, 0 where it is hotter than the peak, and the mark of its basin."""
    hold, mark = np.zeros(flat.size, np.float32), np.zeros(flat.size, np.int8)
    for at in range(flat.size):
        if label[at] > 0:
            mark[at] = joined[label[at]]
            if flat[at] <= summit_suv:
                hold[at] = min(flat[at], through[label[at]])
    return hold, mark


@numba.njit(cache=True)
def _basins(flat, shape, order, seeds):
    """Basin of each voxel (0: none), the voxel of each basin's maximum (from 1 on), and where two basins meet first:
    the level, from the highest down, and both. A seed starts a basin though it may be no maximum."""
    n_i, n_j, n_k = shape
    label = np.zeros(flat.size, np.int32)
    summit, n = np.zeros(64, np.int64), 1
    met, first, second, m = np.empty(64, np.float32), np.empty(64, np.int32), np.empty(64, np.int32), 0
    seen = set([np.int64(-1)])
    for seed in seeds:
        label[seed] = -1
    near = np.empty(6, np.int64)
    for at in order:
        rest, k = divmod(at, n_k)
        i, j = divmod(rest, n_j)
        best, height, count = 0, np.float32(-1), 0
        for side in range(6):
            a, b, c = stepped(i, j, k, side)
            if a < 0 or b < 0 or c < 0 or a >= n_i or b >= n_j or c >= n_k:
                continue
            to = (a * n_j + b) * n_k + c
            if label[to] > 0:
                near[count] = label[to]
                count += 1
                if flat[to] > height:
                    best, height = label[to], flat[to]
        if best == 0 or label[at] < 0:
            if n == len(summit):
                summit = np.append(summit, np.zeros(n, np.int64))
            best, summit[n] = n, at
            n += 1
        label[at] = best
        for other in near[:count]:
            if other == best:
                continue
            pair = np.int64(min(best, other)) * np.int64(flat.size) + max(best, other)
            if pair in seen:
                continue
            seen.add(pair)
            if m == len(met):
                met, first, second = np.append(met, met), np.append(first, first), np.append(second, second)
            met[m], first[m], second[m] = flat[at], best, other
            m += 1
    for seed in seeds:
        label[seed] = max(label[seed], 0)
    return label, summit[:n], met[:m], first[:m], second[:m]


@numba.njit(cache=True)
def _join(top, mark, meetings):
    """Mark of each basin after joining."""
    first, second, order = meetings
    parent = np.arange(len(top))
    for e in order:
        a, b = root_of(parent, first[e]), root_of(parent, second[e])
        if mark[b]:
            a, b = b, a
        if a == b or mark[b] or (mark[a] not in (0, OTHER) and top[b] > top[a]):
            continue
        parent[b] = a
        top[a] = max(top[a], top[b])
    out = np.empty(len(top), np.int8)
    for x in range(len(top)):
        out[x] = mark[root_of(parent, x)] or OTHER
    out[0] = 0
    return out


@numba.njit(cache=True)
def _passes(mine, start, met, first, second):
    """Of each basin of the lesion the highest level at which it is connected with the peak's inside of the lesion; 0
    for the others."""
    n = len(mine)
    through = np.zeros(n, np.float32)
    parent, after, last = np.arange(n), np.full(n, -1), np.arange(n)
    through[start] = np.inf
    for e in range(len(met)):
        if not (mine[first[e]] and mine[second[e]]):
            continue
        a, b = root_of(parent, first[e]), root_of(parent, second[e])
        if a == b:
            continue
        if root_of(parent, start) == b:
            a, b = b, a
        if root_of(parent, start) == a:
            x = b
            while x >= 0:
                through[x] = met[e]
                x = after[x]
        parent[b] = a
        after[last[a]], last[a] = b, last[b]
    return through
