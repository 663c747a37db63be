"""The basin of a peak: which voxels belong to it and not to a neighbour, and the level at which each hangs on to it.

A watershed by descending flooding. Water falls from the highest voxel of a box down to a floor; every local maximum
founds a basin, and where two meet, the lesser is swallowed if it is only noise or texture (it rises little above the
saddle) and kept apart if it stands out, if it was reported as a lesion of its own, or if it is hotter than the
lesion looked for. What is far below a marked peak is no texture of it while another marked peak may claim it; and a
lesion on the flank of a large, colder organ does not swallow the organ.
"""

from dataclasses import dataclass

import numba
import numpy as np
from numpy.typing import NDArray

from pipelines.imaging.faces import flat_step

LOGIC_VERSION = "basins-3"

N_LEVELS = 4096
KEEP_PART = 0.85
"""A summit below this part of a marked one is left to other marked peaks first: it lies outside of the hotter one's
edge."""
SADDLE_PART = 0.1
"""And only where it hangs on to the other one as firmly, within this part of its value (noise): what hangs on to the
hotter one by more is its texture."""
LESION_ML, ORGAN_ML, ORGAN_RATIO = 3.0, 100.0, 3.0
"""What a region of LESION_ML meets, colder, and that comes to ORGAN_ML and to ORGAN_RATIO times its size, is an
organ."""
OWN, OTHER, FREE = 1, 2, 0


@dataclass(frozen=True, eq=False)
class Basin:
    """What a peak owns in a box. hold_suv (i, j, k): the level down to which a voxel is connected to the peak inside
    its basin, 0 outside; region at threshold T is hold_suv >= T. foreign (i, j, k): voxels that belong to another
    peak."""

    hold_suv: NDArray[np.float32]
    foreign: NDArray[np.bool_]


def basin_of(
    values: NDArray[np.float32],
    peak: tuple[int, int, int],
    others: NDArray[np.int64],
    floor: float,
    swallow: float,
    voxel_ml: float,
) -> Basin:
    """The basin of `peak` among `others` (n, 3) and all that is hotter, above `floor`.

    values: C-contiguous box (i, j, k). swallow: a maximum that rises by less than this part of its value above the
    saddle to its neighbour is texture of the neighbour.
    """
    labels = _flood(values, np.array(peak, dtype=np.int64), others, np.float32(floor), np.float32(swallow), voxel_ml)
    hold = _hold(values, labels, np.array(peak, dtype=np.int64), np.float32(floor))
    return Basin(hold, labels == OTHER)


@numba.njit(cache=True)
def _order(values, floor):
    """Flat indices of the voxels above `floor` from the highest down, to within one of N_LEVELS levels."""
    flat = values.ravel()
    top = floor
    n = 0
    for v in flat:
        if v > floor:
            n += 1
            if v > top:
                top = v
    counts = np.zeros(N_LEVELS + 1, np.int64)
    scale = np.float32((N_LEVELS - 1) / max(top - floor, np.float32(1e-6)))
    for v in flat:
        if v > floor:
            counts[N_LEVELS - 1 - int((v - floor) * scale) + 1] += 1
    for level in range(N_LEVELS):
        counts[level + 1] += counts[level]
    order = np.empty(n, np.int64)
    for at in range(flat.size):
        v = flat[at]
        if v > floor:
            level = N_LEVELS - 1 - int((v - floor) * scale)
            order[counts[level]] = at
            counts[level] += 1
    return order


@numba.njit(cache=True)
def _root(parents, label):
    while parents[label] != label:
        parents[label] = parents[parents[label]]
        label = parents[label]
    return label


@numba.njit(cache=True)
def _flood(values, peak, others, floor, swallow, voxel_ml):
    """Owner of each voxel of the box: OWN, OTHER or 0 (below the floor)."""
    n_i, n_j, n_k = values.shape
    flat = values.ravel()
    order = _order(values, floor)
    label = np.zeros(flat.size, np.int32)
    parents = np.zeros(len(order) + 1, np.int32)
    summit = np.zeros(len(order) + 1, np.float32)
    mark = np.zeros(len(order) + 1, np.int8)
    claim = np.zeros(len(order) + 1, np.int32)
    size_ml = np.zeros(len(order) + 1, np.float32)
    met_ml = np.zeros(len(order) + 1, np.float32)
    met_at = np.zeros(len(order) + 1, np.float32)
    own_at = (peak[0] * n_j + peak[1]) * n_k + peak[2]
    own_value = flat[own_at]
    seeds = np.zeros(flat.size, np.int8)
    for n in range(len(others)):
        seeds[(others[n, 0] * n_j + others[n, 1]) * n_k + others[n, 2]] = OTHER
    seeds[own_at] = OWN
    n_labels = 0
    for at in order:
        value = flat[at]
        best = 0
        best_value = np.float32(-1.0)
        for side in range(6):
            near = flat_step(at, side, n_i, n_j, n_k)
            if near < 0 or label[near] == 0:
                continue
            root = _root(parents, label[near])
            if best == 0:
                best, best_value = root, flat[near]
                continue
            if root == best:
                best_value = max(best_value, flat[near])
                continue
            merged = _meet(parents, summit, mark, claim, size_ml, met_ml, met_at, best, root, value, swallow)
            if merged != 0:
                best = merged
                best_value = max(best_value, flat[near])
            elif flat[near] > best_value:
                best, best_value = root, flat[near]
        if best == 0 or (seeds[at] != 0 and mark[best] != seeds[at]):
            # A new summit; or a reported peak on the flank of another one, which founds its basin all the same.
            n_labels += 1
            parents[n_labels] = n_labels
            summit[n_labels] = value
            mark[n_labels] = seeds[at]
            if seeds[at] == 0 and value > own_value:
                mark[n_labels] = OTHER
            best = n_labels
        label[at] = best
        size_ml[best] += voxel_ml
    # What no other marked peak took goes to the one that it met first, unless that is a lesion and this an organ.
    owners = np.zeros(n_labels + 1, np.int8)
    for n in range(1, n_labels + 1):
        root = _root(parents, n)
        steps = 0
        while mark[root] == 0 and claim[root] != 0 and steps < 100:
            to = _root(parents, claim[root])
            organ = size_ml[root] >= ORGAN_ML and size_ml[root] >= ORGAN_RATIO * size_ml[to]
            if organ and met_ml[root] >= LESION_ML:
                break
            root = to
            steps += 1
        owners[n] = OWN if mark[root] == OWN else OTHER
    owner = np.zeros(flat.size, np.int8)
    for at in order:
        owner[at] = owners[label[at]]
    return owner.reshape(values.shape)


@numba.njit(cache=True)
def _meet(parents, summit, mark, claim, size_ml, met_ml, met_at, a, b, level, swallow):
    """The root after two basins met at `level`: the greater one where the lesser is swallowed, 0 where both stay."""
    if mark[a] != 0 and mark[b] != 0:
        if mark[a] == OTHER and mark[b] == OTHER:
            great, less = (a, b) if summit[a] >= summit[b] else (b, a)
            return _join(parents, claim, size_ml, met_ml, met_at, great, less)
        return 0
    if mark[a] != 0 or mark[b] != 0:
        great, less = (a, b) if mark[a] != 0 else (b, a)
    else:
        great, less = (a, b) if summit[a] >= summit[b] else (b, a)
        if claim[a] != 0 and claim[b] != 0 and _root(parents, claim[a]) != _root(parents, claim[b]):
            # Bumps on the flanks of two lesions: joined, all of them would go to one of the two.
            return 0
    if summit[less] - level >= swallow * summit[less]:
        return 0
    if mark[great] != 0 and summit[less] < KEEP_PART * summit[great]:
        if claim[less] == 0:
            claim[less] = great
            met_ml[less] = size_ml[great]
            met_at[less] = level
        return 0
    if mark[great] != 0 and claim[less] != 0 and level < met_at[less] - SADDLE_PART * summit[less]:
        return 0
    return _join(parents, claim, size_ml, met_ml, met_at, great, less)


@numba.njit(cache=True)
def _join(parents, claim, size_ml, met_ml, met_at, great, less):
    parents[less] = great
    size_ml[great] += size_ml[less]
    if claim[great] == 0:
        claim[great] = claim[less]
        met_ml[great] = met_ml[less]
        met_at[great] = met_at[less]
    return great


@numba.njit(cache=True)
def _hold(values, owner, peak, floor):
    """Level at which each own voxel hangs together with the peak: the highest lowest value over all paths inside the
    basin."""
    n_i, n_j, n_k = values.shape
    flat = values.ravel()
    own = owner.ravel()
    hold = np.zeros(flat.size, np.float32)
    start = (peak[0] * n_j + peak[1]) * n_k + peak[2]
    top = flat[start]
    scale = np.float32((N_LEVELS - 1) / max(top - floor, np.float32(1e-6)))
    # A queue of buckets, one a level, as linked lists: first[level] -> voxel -> following[voxel].
    first = np.full(N_LEVELS, -1, np.int64)
    following = np.full(flat.size, -1, np.int64)
    queued = np.zeros(flat.size, np.bool_)
    level = N_LEVELS - 1
    first[level] = start
    queued[start] = True
    water = top
    while level >= 0:
        at = first[level]
        if at < 0:
            level -= 1
            continue
        first[level] = following[at]
        water = min(water, flat[at])
        hold[at] = water
        for side in range(6):
            near = flat_step(at, side, n_i, n_j, n_k)
            if near < 0 or queued[near] or own[near] != OWN:
                continue
            queued[near] = True
            to = min(level, int((min(flat[near], top) - floor) * scale))
            following[near] = first[to]
            first[to] = near
    return hold.reshape(values.shape)
