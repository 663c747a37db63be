"""Local maxima of a SUV volume with prominence, saddle and size (0-dimensional persistent homology of its superlevel
sets, 26 neighbours): basins of steepest ascent among the voxels above a floor, joined by union-find, hottest first."""

from dataclasses import dataclass, fields, replace
from typing import Self

import numba
import numpy as np
from numpy.typing import NDArray

from pipelines.imaging.lesions.descending import descending
from pipelines.imaging.lesions.measures import peak_means
from pipelines.imaging.lesions.union_find import root_of
from pipelines.imaging.volume import Volume
from pipelines.settings import PeakSettings


@dataclass(frozen=True, eq=False)
class PeakList:
    """The local maxima of an exam, the hottest first; arrays of n peaks.

    A plateau is one peak, at its first voxel in the order of the file.
    """

    ijk: NDArray[np.int64]
    """Voxel of the peak, (n, 3)."""
    suv: NDArray[np.float64]
    """SUV of that voxel."""
    saddle_suv: NDArray[np.float64]
    """Highest level at which the peak is connected with a hotter one; the floor where it never is."""
    prominence_suv: NDArray[np.float64]
    """suv - saddle_suv."""
    voxels: NDArray[np.int64]
    """Voxels connected with the peak above its saddle."""
    hotter: NDArray[np.int64]
    """Index in this list of the peak that it is connected with at its saddle; -1: none."""
    suvpeak: NDArray[np.float64]
    """Mean over a sphere of 1 mL around the voxel (IBSI's local intensity peak)."""

    def __len__(self) -> int:
        return len(self.suv)

    def select(self, rows: NDArray[np.bool_]) -> Self:
        """The peaks of a mask (n,), `hotter` renumbered; -1 where that peak is not among them."""
        places = np.append(np.where(rows, np.cumsum(rows) - 1, -1), -1)
        kept = {f.name: getattr(self, f.name)[rows] for f in fields(self)}
        return type(self)(**{**kept, "hotter": places[kept["hotter"]]})


def find_peaks(volume: Volume, settings: PeakSettings = PeakSettings()) -> PeakList:
    """The local maxima of a SUV volume that are at least as prominent as the settings ask; voxels that are not a number
    count as cold.

    Args:
        volume: SUV, any orientation; the voxels of the result are indices of its array. Fastest where the array is in
            Fortran order, as volumes are read; else it is copied.
        settings: floor, and the least prominence.
    """
    flat = np.asfortranarray(volume.array, dtype=np.float32).ravel(order="F")
    floor = np.float32(settings.floor_suv)
    at = _above(flat, floor)
    values = flat[at]
    n_i, n_j, n_k = volume.shape
    cells, planes = _cells(at, n_i, n_j, n_k)
    top, basin = _basins(values, cells, planes, n_i, n_j)
    starts, touching = _touching(values, basin, cells, planes, n_i, n_j)
    saddle, joined, size = _merge(descending(values), values, basin, len(top), starts, touching, floor)
    by_heat = np.argsort(-values[top], kind="stable")
    place = np.append(np.empty_like(by_heat), -1)
    place[by_heat] = np.arange(len(by_heat))
    suv, saddle = values[top][by_heat].astype(np.float64), saddle[by_heat].astype(np.float64)
    ijk = np.stack(np.unravel_index(at[top][by_heat], volume.shape, order="F"), axis=-1).astype(np.int64)
    everything = PeakList(
        ijk, suv, saddle, suv - saddle, size[by_heat], place[joined[by_heat]], np.full(len(suv), np.nan)
    )
    # A peak joins one that is at least as hot and as prominent, so that the one it joins is kept wherever it is.
    found = everything.select(
        suv - saddle >= np.maximum(settings.least_prominence * suv, settings.least_prominence_suv)
    )
    return replace(found, suvpeak=peak_means(volume, found.ijk) if len(found) else np.zeros(0))


_CHUNK = 128
"""Voxels whose maximum is looked at before they are looked at one by one."""


@numba.njit(cache=True)
def _above(flat, floor):
    """Indices of the voxels above a positive floor, ascending."""
    # As integers, the bits of floats above 0 have the order of the floats, and a maximum of integers is vectorised.
    bits = flat.view(np.int32)
    least = np.array([floor]).view(np.int32)[0]
    n_chunks = len(flat) // _CHUNK
    hot = np.ones(n_chunks + 1, np.bool_)
    for r in range(n_chunks):
        chunk = bits[r * _CHUNK : (r + 1) * _CHUNK]
        highest = np.int32(0)
        for v in range(_CHUNK):
            highest = max(highest, chunk[v])
        hot[r] = highest > least
    at = np.empty(hot.sum() * _CHUNK, np.int64)
    end = 0
    for r in range(n_chunks + 1):
        if not hot[r]:
            continue
        for v in range(r * _CHUNK, min(len(flat), (r + 1) * _CHUNK)):
            at[end] = v
            end += flat[v] > floor
    return at[:end]


@numba.njit(cache=True)
def _cells(at, n_i, n_j, n_k):
    """(cells, starts): place of each voxel of `at` in its plane with a border of one voxel, and the row of `at` at
    which each plane starts."""
    cells = np.empty(len(at), np.int32)
    starts = np.zeros(n_k + 1, np.int64)
    for row in range(len(at)):
        line = at[row] // n_i
        k = line // n_j
        cells[row] = (line - k * n_j + 1) * (n_i + 2) + at[row] - line * n_i + 1
        starts[k + 1] += 1
    return cells, np.cumsum(starts)


@numba.njit(cache=True)
def _basins(values, cells, starts, n_i, n_j):
    """Local maxima, as rows, and for each row the number of the maximum that steepest ascent ends at.

    Of voxels as hot, the first in the order of the file counts as the hotter. Three planes at a time lie in dense
    arrays, which stay in the cache.
    """
    wide = n_i + 2
    plane = wide * (n_j + 2)
    heat, rows = np.zeros(3 * plane, np.float32), np.zeros(3 * plane, np.int32)
    up = np.empty(len(cells), np.int32)
    for k in range(-1, len(starts) - 1):
        here, new = (k + 3) % 3 * plane, (k + 4) % 3 * plane
        if k >= 2:
            for row in range(starts[k - 2], starts[k - 1]):
                heat[new + cells[row]] = 0
        if k + 2 < len(starts):
            for row in range(starts[k + 1], starts[k + 2]):
                heat[new + cells[row]], rows[new + cells[row]] = values[row], row
        if k < 0:
            continue
        old = (k + 2) % 3 * plane
        for row in range(starts[k], starts[k + 1]):
            hottest, best = np.float32(0), 0
            # From the last neighbour to the first, so that of several as hot the first is taken.
            for line in (new, here, old):
                for side in (wide, 0, -wide):
                    middle = line + cells[row] + side
                    for u in range(middle + 1, middle - 2, -1):
                        best = u if heat[u] >= hottest else best
                        hottest = max(hottest, heat[u])
            up[row] = rows[best]
    basin = np.full(len(cells), -1, np.int32)
    n_tops = 0
    for row in range(len(cells)):
        if up[row] == row:
            basin[row] = n_tops
            n_tops += 1
    top = np.empty(n_tops, np.int64)
    for row in range(len(cells)):
        end = row
        while basin[end] < 0:
            end = up[end]
        found = basin[end]
        end = row
        while basin[end] < 0:
            basin[end] = found
            end = up[end]
        if up[row] == row:
            top[found] = row
    return top, basin


@numba.njit(cache=True)
def _touching(values, basin, cells, plane_starts, n_i, n_j):
    """(starts, basins): of the n-th row, basins[starts[n]:starts[n + 1]] are those other than its own that hold a
    neighbour of it that is at least as hot: these and its own meet there at the latest."""
    wide = n_i + 2
    plane = wide * (n_j + 2)
    labels, heat = np.zeros(3 * plane, np.int32), np.zeros(3 * plane, np.float32)
    starts = np.zeros(len(cells) + 1, np.int32)
    touching = np.empty(2 * len(cells) + 27, np.int32)
    end = 0
    for k in range(-1, len(plane_starts) - 1):
        here, new, old = (k + 3) % 3 * plane, (k + 4) % 3 * plane, (k + 2) % 3 * plane
        if k >= 2:
            for row in range(plane_starts[k - 2], plane_starts[k - 1]):
                heat[new + cells[row]] = 0
        if k + 2 < len(plane_starts):
            for row in range(plane_starts[k + 1], plane_starts[k + 2]):
                labels[new + cells[row]], heat[new + cells[row]] = basin[row] + 1, values[row]
        for row in range(plane_starts[k] if k >= 0 else 0, plane_starts[k + 1]):
            if len(touching) - end < 27:
                touching = _longer(touching)
            own, value = basin[row] + 1, values[row]
            last = own
            # Without branches, which would be mispredicted: what is not wanted is overwritten by what follows.
            for line in (old, here, new):
                for side in (-wide, 0, wide):
                    middle = line + cells[row] + side
                    for u in range(middle - 1, middle + 2):
                        found = (heat[u] >= value) & (labels[u] != own) & (labels[u] != last)
                        touching[end] = labels[u] - 1
                        last = labels[u] if found else last
                        end += found
            starts[row + 1] = end
    return starts, touching[:end]


@numba.njit(cache=True)
def _merge(order, values, basin, n_basins, starts, touching, floor):
    """Of every basin's maximum: saddle, number of the maximum that it joins there (-1: none), voxels above the saddle.

    order: voxels from the hottest down. Of two that meet the one whose maximum comes later in it ends.
    """
    parent = np.arange(n_basins)
    heat = np.full(n_basins, -1, np.int64)
    saddle = np.full(n_basins, floor, np.float32)
    joined = np.full(n_basins, -1, np.int64)
    size = np.zeros(n_basins, np.int64)
    ended = np.empty(n_basins, np.int64)
    begin = 0
    while begin < len(order):
        # All voxels of one value together, so that the order of the file decides nothing but where a plateau's peak is.
        level = values[order[begin]]
        end, n_ended = begin, 0
        while end < len(order) and values[order[end]] == level:
            row = order[end]
            if heat[basin[row]] < 0:
                heat[basin[row]] = end  # a basin's first voxel is its maximum
            root = root_of(parent, basin[row])
            for at in range(starts[row], starts[row + 1]):
                other = root_of(parent, touching[at])
                if other != root:
                    low, high = (root, other) if heat[root] > heat[other] else (other, root)
                    saddle[low], parent[low] = level, high
                    ended[n_ended] = low
                    n_ended += 1
                    root = high
            end += 1
        for n in range(n_ended):
            joined[ended[n]] = root_of(parent, ended[n])
            size[joined[ended[n]]] += size[ended[n]]
        if end - begin == 1:
            size[root] += 1
        else:
            for n in range(begin, end):
                size[root_of(parent, basin[order[n]])] += 1
        begin = end
    return saddle, joined, size


@numba.njit(cache=True)
def _longer(values):
    grown = np.empty(2 * len(values), values.dtype)
    grown[: len(values)] = values
    return grown
