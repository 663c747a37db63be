"""The basin of a peak: which voxels belong to it and not to a neighbour, and the level at which each hangs on to it.

A watershed by descending flooding. Water falls from the highest voxel of a box down to a floor; every local maximum
founds a basin, and where two meet, the lesser is swallowed if it is only noise or texture (it rises little above the
saddle) and kept apart if it stands out, if it was reported as a lesion of its own, or if it is hotter than the
lesion looked for. What is far below a marked peak is no texture of it while another marked peak may claim it; and a
lesion on the flank of a large, colder organ does not swallow the organ.

Water runs down the blurred flank of a hotter neighbour into the colder one that it touches, and takes a part of it.
That part is given back: between two plateaus that touch, the true border lies half way from one to the other.
"""

from dataclasses import dataclass
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from pipelines.imaging.lesions.faces import flat_step, stepped

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
NEARBY_MM, NEARBY_STEP_MM = 8.0, 4.0
"""Half the side of the box in which the plateau of an owner is looked for, and about how far apart."""
FLANK_RISE = 1.25
"""A neighbour whose plateau nearby is so many times as high is hotter."""
FLANK_LEVEL = 0.5
"""What is hotter than this part of the way from the colder plateau to the hotter one belongs to the hotter."""
FLANK_LEAST, FLANK_CORE = 0.4, 0.7
"""Parts of the colder plateau: below the first nothing is given back, above the second a voxel is well inside."""
FLANK_MM, FLANK_RATIO = 5.5, 0.7
"""Given back is what lies so near to the inside of the colder one, and so many times nearer than to the hotter one's.
"""
OWN, OTHER, FREE = 1, 2, 0
"""Owners of voxels; OTHER is all that no reported peak owns, and OTHER + 1 + n the n-th of the other reported peaks."""


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
    spacing_mm: tuple[float, float, float],
) -> Basin:
    """The basin of `peak` among `others` (n, 3) and all that is hotter, above `floor`.

    values: C-contiguous box (i, j, k). swallow: a maximum that rises by less than this part of its value above the
    saddle to its neighbour is texture of the neighbour.
    """
    voxel_ml = float(np.prod(spacing_mm)) / 1000.0
    labels = _flood(values, np.array(peak, dtype=np.int64), others, np.float32(floor), np.float32(swallow), voxel_ml)
    _give_back_flanks(values, labels, spacing_mm)
    labels[tuple(others.T)] = OTHER
    labels[peak] = OWN
    hold = _hold(values, labels, np.array(peak, dtype=np.int64), np.float32(floor))
    return Basin(hold, labels > OWN)


def _give_back_flanks(
    values: NDArray[np.float32], owner: NDArray[np.int16], spacing_mm: tuple[float, float, float]
) -> None:
    """Changes the owner of the voxels on a hotter one's flank that lie in the colder one, in place.

    Decided voxel by voxel from what all owners have nearby, so that every lesion's own view of it is the same and no
    two take one voxel.
    """
    met = _meeting_box(owner)
    if met[0, 0] < 0:
        return
    reach = [int(np.ceil(NEARBY_MM / s)) for s in spacing_mm]
    box = tuple(slice(max(0, int(a) - 2 * n), int(b) + 2 * n + 1) for a, b, n in zip(met[0], met[1], reach))
    steps = [max(1, round(NEARBY_STEP_MM / s)) for s in spacing_mm]
    around = [np.arange(-(n // t) * t, n + 1, t) for n, t in zip(reach, steps)]
    nearby = np.stack(np.meshgrid(*around, indexing="ij"), axis=-1).reshape(-1, 3)
    offsets, lengths_mm = offsets_within(FLANK_MM / FLANK_RATIO, spacing_mm)
    part, mine = np.ascontiguousarray(values[box]), np.ascontiguousarray(owner[box])
    corner = np.array([b.start for b in box])
    flank = [int(np.ceil(FLANK_MM / s)) for s in spacing_mm]
    low, high = met[0] - corner - flank, met[1] - corner + flank + 1
    owner[box] = _without_flanks(part, mine, low, high, nearby, offsets, lengths_mm)


def offsets_within(reach_mm: float, spacing_mm: tuple[float, float, float]) -> tuple[NDArray[np.int64], NDArray[Any]]:
    """Offsets (n, 3) in voxels up to a distance, the nearest first and without the voxel itself, and their lengths in
    mm."""
    around = [np.arange(-int(reach_mm / s), int(reach_mm / s) + 1) for s in spacing_mm]
    grid = np.stack(np.meshgrid(*around, indexing="ij"), axis=-1).reshape(-1, 3)
    lengths = np.linalg.norm(grid * np.array(spacing_mm), axis=1)
    kept = np.flatnonzero((lengths <= reach_mm) & (lengths > 0))
    kept = kept[np.argsort(lengths[kept], kind="stable")]
    return grid[kept], lengths[kept]


@numba.njit(cache=True)
def _meeting_box(owner):
    """Lowest and highest index (2, 3) of the voxels at which OWN meets another owner; -1 where it does not."""
    n_i, n_j, n_k = owner.shape
    found = np.full((2, 3), -1, np.int64)
    for i in range(n_i):
        for j in range(n_j):
            for k in range(n_k):
                if owner[i, j, k] == FREE:
                    continue
                for side in range(1, 6, 2):
                    a, b, c = stepped(i, j, k, side)
                    if a >= n_i or b >= n_j or c >= n_k:
                        continue
                    if owner[a, b, c] == FREE or (owner[a, b, c] == OWN) == (owner[i, j, k] == OWN):
                        continue
                    if found[0, 0] < 0:
                        found[0, 0], found[0, 1], found[0, 2] = i, j, k
                        found[1, 0], found[1, 1], found[1, 2] = a, b, c
                    found[0, 0], found[1, 0] = min(found[0, 0], i), max(found[1, 0], a)
                    found[0, 1], found[1, 1] = min(found[0, 1], j), max(found[1, 1], b)
                    found[0, 2], found[1, 2] = min(found[0, 2], k), max(found[1, 2], c)
    return found


@numba.njit(cache=True)
def _without_flanks(values, owner, low, high, nearby, offsets, lengths_mm):
    """Owners with the flanks given back from low to high (3,); of those that OWN has no part in, nothing is changed.

    nearby (n, 3): offsets at which the owners' plateaus are looked for. offsets, lengths_mm: where their insides are.
    """
    n_i, n_j, n_k = values.shape
    moved = owner.copy()
    n_owners = 0
    for o in owner.ravel():
        n_owners = max(n_owners, o + 1)
    top = np.zeros(n_owners, np.float32)
    middle = np.zeros(n_owners, np.float32)
    hot_mm = np.zeros(n_owners, np.float64)
    for i in range(max(0, low[0]), min(n_i, high[0])):
        for j in range(max(0, low[1]), min(n_j, high[1])):
            for k in range(max(0, low[2]), min(n_k, high[2])):
                hot = owner[i, j, k]
                if hot == FREE:
                    continue
                value = values[i, j, k]
                top[:] = 0.0
                for n in range(len(nearby)):
                    a, b, c = i + nearby[n, 0], j + nearby[n, 1], k + nearby[n, 2]
                    if a >= 0 and b >= 0 and c >= 0 and a < n_i and b < n_j and c < n_k:
                        o = owner[a, b, c]
                        if values[a, b, c] > top[o]:
                            top[o] = values[a, b, c]
                if top[OWN] == 0:
                    continue
                any_cold = False
                for o in range(1, n_owners):
                    middle[o] = 0.0
                    hot_mm[o] = -1.0
                    if o == hot or top[o] == 0 or top[hot] <= FLANK_RISE * top[o] or value <= FLANK_LEAST * top[o]:
                        continue
                    level = top[o] + FLANK_LEVEL * (top[hot] - top[o])
                    if value < level:
                        middle[o] = level
                        any_cold = any_cold or hot == OWN or o == OWN
                if not any_cold:
                    continue
                to, inside_mm, inside_suv = FREE, -1.0, np.float32(0.0)
                for n in range(len(offsets)):
                    if to != FREE and (lengths_mm[n] * FLANK_RATIO >= inside_mm or hot_mm[to] >= 0):
                        break
                    a, b, c = i + offsets[n, 0], j + offsets[n, 1], k + offsets[n, 2]
                    if a < 0 or b < 0 or c < 0 or a >= n_i or b >= n_j or c >= n_k or owner[a, b, c] == FREE:
                        continue
                    o, near = owner[a, b, c], values[a, b, c]
                    if o == hot:
                        for cold in range(1, n_owners):
                            if middle[cold] > 0 and near >= middle[cold] and hot_mm[cold] < 0:
                                hot_mm[cold] = lengths_mm[n]
                    elif middle[o] > 0 and near >= FLANK_CORE * top[o] and lengths_mm[n] <= FLANK_MM and hot_mm[o] < 0:
                        # Of two as near, the one that is hotter there, whatever the order of the axes.
                        tie = to != FREE and lengths_mm[n] <= inside_mm + 1e-6 and near > inside_suv
                        if to == FREE or tie:
                            to, inside_mm, inside_suv = o, lengths_mm[n], near
                # Where the inside of the hotter one is as near, it is its own flank.
                if to != FREE and (hot_mm[to] < 0 or inside_mm <= FLANK_RATIO * hot_mm[to]):
                    moved[i, j, k] = to
    return moved


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
    """Owner of each voxel of the box: OWN, OTHER, OTHER + 1 + n or FREE (below the floor)."""
    n_i, n_j, n_k = values.shape
    flat = values.ravel()
    order = _order(values, floor)
    label = np.zeros(flat.size, np.int32)
    parents = np.zeros(len(order) + 1, np.int32)
    summit = np.zeros(len(order) + 1, np.float32)
    mark = np.zeros(len(order) + 1, np.int16)
    claim = np.zeros(len(order) + 1, np.int32)
    size_ml = np.zeros(len(order) + 1, np.float32)
    met_ml = np.zeros(len(order) + 1, np.float32)
    met_at = np.zeros(len(order) + 1, np.float32)
    own_at = (peak[0] * n_j + peak[1]) * n_k + peak[2]
    own_value = flat[own_at]
    seeds = np.zeros(flat.size, np.int16)
    for n in range(len(others)):
        seeds[(others[n, 0] * n_j + others[n, 1]) * n_k + others[n, 2]] = OTHER + 1 + n
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
    owners = np.zeros(n_labels + 1, np.int16)
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
        owners[n] = mark[root] if mark[root] != 0 else OTHER
    owner = np.zeros(flat.size, np.int16)
    for at in order:
        owner[at] = owners[label[at]]
    return owner.reshape(values.shape)


@numba.njit(cache=True)
def _meet(parents, summit, mark, claim, size_ml, met_ml, met_at, a, b, level, swallow):
    """The root after two basins met at `level`: the greater one where the lesser is swallowed, 0 where both stay."""
    if mark[a] != 0 and mark[b] != 0:
        great, less = (a, b) if summit[a] >= summit[b] else (b, a)
        # What was not reported and is hotter than the lesion looked for may be the texture of another reported one.
        texture = mark[great] > OTHER and summit[less] - level < swallow * summit[less]
        if mark[less] == OTHER and (mark[great] == OTHER or texture):
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
