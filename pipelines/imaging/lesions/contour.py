"""The contour of a lesion, grown from its peak: a mask with the threshold and background that made it and why it
stopped.

Contours have names. `published` is the iterative threshold of the weak-labelling paper, step by step, for comparison.
`basin` is the project's own: inside the watershed basin of the peak, so that neighbours and hot organs are kept out,
at the threshold chosen in docs/contours.md by evidence.
"""

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from pipelines.imaging.lesions.basins import basin_of, offsets_within
from pipelines.imaging.lesions.faces import stepped
from pipelines.imaging.lesions.sides import cut_by_sides
from pipelines.imaging.volume import Box, Volume
from pipelines.settings import ContourSettings

Ijk = tuple[int, int, int]

APART_LEAST = 0.3
"""Part of a surface that must lie apart from neighbours for the edge to be read there alone."""
NOTHING_AROUND = -1.0
"""Background of a region that fills the image."""


class StopReason(StrEnum):
    """Why a contour stopped growing; only the first and a cut by the border leave a lesion."""

    CONVERGED = "converged"
    LEAK = "leak"
    BORDER = "border"
    FLAT = "flat"
    TOO_SMALL = "too small"


@dataclass(frozen=True, eq=False)
class Contour:
    """A region of a volume: mask (i, j, k) in the box that begins at `corner`, and how it came about."""

    mask: NDArray[np.bool_]
    corner: Ijk
    threshold_suv: float
    background_suv: float | None
    iterations: int
    stop_reason: StopReason
    method: str


def contour(suv: Volume, peak: Ijk, others: NDArray[np.int64], settings: ContourSettings) -> Contour:
    """The contour around `peak` by the method of the settings. others (n, 3): peaks of other lesions, kept out.

    suv: RAS+ float volume. Never raises for a lesion that cannot be contoured: the stop reason says so.
    """
    return METHODS[settings.method](suv, peak, others, settings)


def _box_around(shape: tuple[int, int, int], peak: Ijk, half_mm: float, spacing_mm: tuple[float, float, float]) -> Box:
    i, j, k = (
        slice(max(0, p - int(np.ceil(half_mm / s))), min(n, p + int(np.ceil(half_mm / s)) + 1))
        for p, s, n in zip(peak, spacing_mm, shape)
    )
    return i, j, k


def _reaches_inner_border(mask: NDArray[np.bool_], box: Box, shape: tuple[int, int, int]) -> bool:
    """Whether a mask touches a side of its box that is not a side of the image: the box was too small."""
    for axis in range(3):
        if box[axis].start > 0 and mask.take(0, axis).any():
            return True
        if box[axis].stop < shape[axis] and mask.take(-1, axis).any():
            return True
    return False


def _basin_contour(suv: Volume, peak: Ijk, others: NDArray[np.int64], settings: ContourSettings) -> Contour:
    half_mm = settings.first_box_mm
    while True:
        box = _box_around(suv.shape, peak, half_mm, suv.spacing_mm)
        result = _in_box(suv, peak, others, settings, box)
        if not _reaches_inner_border(result.mask, box, suv.shape):
            return result
        if half_mm >= settings.largest_mm:
            return replace(result, stop_reason=StopReason.LEAK)
        half_mm *= 2.0


def _in_box(suv: Volume, peak: Ijk, others: NDArray[np.int64], settings: ContourSettings, box: Box) -> Contour:
    corner = (box[0].start, box[1].start, box[2].start)
    values = np.ascontiguousarray(suv.array[box], dtype=np.float32)
    at = (peak[0] - corner[0], peak[1] - corner[1], peak[2] - corner[2])
    top = float(values[at])
    inside = others - np.array(corner) if len(others) else np.empty((0, 3), dtype=np.int64)
    inside = inside[((inside >= 0) & (inside < np.array(values.shape))).all(axis=1)]
    inside = inside[(inside != np.array(at)).any(axis=1)]
    chained = in_conglomerate(peak, others, suv.spacing_mm, settings)
    gradual_level = settings.conglomerate_level if chained else settings.gradual_level
    # No threshold can lie below `lowest`; a higher floor that the surroundings suggest is tried first, as it is faster.
    seen = min(settings.plateau_cap_suv, (settings.plateau_cap_suv * settings.plateau * top) ** 0.5)
    lowest = 0.99 * gradual_level * seen
    around = float(np.median(values[::2, ::2, ::2]))
    guess = 0.9 * (around + gradual_level * (seen - around))
    for floor in sorted({max(lowest, min(guess, 0.4 * top)), lowest}, reverse=True):
        basin = basin_of(values, at, inside, floor, settings.swallow, suv.spacing_mm)
        level, width_mm, apart_mm = settings.sharp_level, settings.edge_width_mm, settings.apart_mm
        if chained:
            first = basin.hold_suv >= settings.sharp_level * settings.plateau * top
            if len(inside) > 0 and _cut_part(first, basin.foreign) > settings.touching_part:
                level = settings.touching_level
            width_mm, apart_mm = settings.conglomerate_width_mm, 0.0
        threshold, background, plateau, iterations = _edge_threshold(
            values,
            basin.hold_suv,
            basin.foreign,
            offsets_within(apart_mm, suv.spacing_mm)[0],
            np.array(suv.spacing_mm),
            top,
            settings.plateau,
            level,
            gradual_level,
            width_mm[0],
            width_mm[1],
            settings.plateau_cap_suv,
            settings.shell_mm[0],
            settings.shell_mm[1],
            settings.converged,
            settings.most_iterations,
        )
        if threshold > floor:
            break
    threshold = max(threshold, floor)
    retreat = _level_before_leak(
        basin.hold_suv, top, threshold, suv.voxel_ml, settings.leak_ml, np.array(settings.leak_jumps)
    )
    mask = basin.hold_suv >= max(threshold, retreat)
    stop = StopReason.CONVERGED
    threshold = max(threshold, retreat)
    if background != NOTHING_AROUND and not chained and mask.any():
        mask = cut_by_sides(
            values,
            mask,
            at,
            np.array(suv.spacing_mm),
            background,
            plateau,
            settings.sharp_level,
            settings.side_mm,
            settings.warm_side,
            settings.hot_side,
        )
    organ_suv, body = 0.0, _large_body(values, mask, suv.spacing_mm, settings)
    # In a box that is too small for it the region is not what it will be; a larger one comes.
    if body is not None and not chained and not _reaches_inner_border(mask, box, suv.shape):
        organ_suv = _organ_around(body, top, settings)
    if organ_suv > 0.0:
        # The lesion lies in an organ that was taken with it: the organ is its background.
        plateau = float(basin.hold_suv[basin.hold_suv >= 0.5 * (organ_suv + top)].mean())
        threshold, background = organ_suv + settings.sharp_level * (plateau - organ_suv), organ_suv
        inside_organ = basin.hold_suv >= threshold
        if 2 * int(inside_organ.sum()) < int(mask.sum()):
            mask, body = inside_organ, _large_body(values, inside_organ, suv.spacing_mm, settings)
        else:
            stop = StopReason.LEAK
    if retreat > settings.flattest * top or stop is StopReason.LEAK:
        stop = StopReason.LEAK
    elif threshold > settings.flattest * top:
        stop = StopReason.FLAT
    elif int(mask.sum()) < settings.fewest_voxels:
        stop = StopReason.TOO_SMALL
    elif (
        background == NOTHING_AROUND
        # Hemmed in by lesions that were reported, it is one of them and no shoulder of something else.
        or (_cut_part(mask, basin.foreign) > settings.most_cut and not chained)
        or (body is not None and _hangs_on_an_organ(body, at, settings))
    ):
        stop = StopReason.LEAK
    elif _border_part(mask, box, suv.shape) > settings.most_border:
        stop = StopReason.BORDER
    seen = None if background == NOTHING_AROUND else float(background)
    return Contour(mask, corner, float(threshold), seen, int(iterations), stop, "basin")


def in_conglomerate(
    peak: Ijk, others: NDArray[np.int64], spacing_mm: tuple[float, float, float], settings: ContourSettings
) -> bool:
    """Whether a peak belongs to a chain of enough reported lesions, each near the next (also beyond the box that is
    contoured in)."""
    found = np.array([peak], dtype=float) * spacing_mm
    rest = np.asarray(others, dtype=float).reshape(-1, 3) * spacing_mm
    while len(found) < settings.conglomerate_least and len(rest):
        near = (np.linalg.norm(rest[:, None] - found[None], axis=-1) <= settings.conglomerate_link_mm).any(axis=1)
        if not near.any():
            return False
        found, rest = np.concatenate([found, rest[near]]), rest[~near]
    return len(found) >= settings.conglomerate_least


@dataclass(frozen=True, eq=False)
class _Body:
    """A region in its own box: its values, and how deep in it each voxel lies (mm; a rim of one voxel of 0 around)."""

    values: NDArray[np.float32]
    depth_mm: NDArray[np.float64]
    corner: Ijk
    spacing_mm: tuple[float, float, float]

    def core(self, part: float) -> NDArray[np.float32]:
        """Values of the voxels that lie deeper than this part of the depth of the deepest."""
        return self.values[self.depth_mm[1:-1, 1:-1, 1:-1] >= part * float(self.depth_mm.max())]


def _large_body(
    values: NDArray[np.float32],
    mask: NDArray[np.bool_],
    spacing_mm: tuple[float, float, float],
    settings: ContourSettings,
) -> _Body | None:
    """The region as a body where it is as large as an organ, else None."""
    if int(mask.sum()) * float(np.prod(spacing_mm)) / 1000.0 < settings.organ_ml:
        return None
    inside = np.argwhere(mask)
    low, high = inside.min(axis=0), inside.max(axis=0)
    box: Any = tuple(slice(int(a), int(b) + 1) for a, b in zip(low, high))
    depth_mm = ndimage.distance_transform_edt(np.pad(mask[box], 1), sampling=spacing_mm)
    return _Body(values[box], depth_mm, (int(low[0]), int(low[1]), int(low[2])), spacing_mm)


def _organ_around(body: _Body, top: float, settings: ContourSettings) -> float:
    """The uptake of a large even body that was taken for the lesion though the peak stands far out of its noise; 0
    where the region is none."""
    core = body.core(0.25)
    middle = float(np.median(core))
    spread = 1.4826 * float(np.median(np.abs(core - middle)))
    even = spread <= settings.organ_variation * middle
    return middle if even and top > middle * (1.0 + settings.organ_rise) and top > middle + 6.0 * spread else 0.0


def _hangs_on_an_organ(body: _Body, peak: Ijk, settings: ContourSettings) -> bool:
    """Whether a large region of even uptake is a body that the peak's part hangs on to: a lesion ran into an organ of
    its own uptake, where no level shows a jump."""
    core = body.core(0.5)
    if float(core.std()) > settings.organ_variation * float(core.mean()):
        return False
    deepest = float(body.depth_mm.max())
    away = ndimage.distance_transform_edt(body.depth_mm < 0.5 * deepest, sampling=body.spacing_mm)
    at = tuple(p - c + 1 for p, c in zip(peak, body.corner))
    return float(away[at]) > 0.5 * deepest + max(settings.organ_beyond_mm, max(body.spacing_mm))


def _border_part(mask: NDArray[np.bool_], box: Box, shape: tuple[int, int, int]) -> float:
    """The part of a mask's exposed faces that lies on the border of the image."""
    on_border = 0
    for axis in range(3):
        if box[axis].start == 0:
            on_border += int(np.count_nonzero(mask.take(0, axis)))
        if box[axis].stop == shape[axis]:
            on_border += int(np.count_nonzero(mask.take(-1, axis)))
    if on_border == 0:
        return 0.0
    padded = np.pad(mask, 1)
    exposed = sum(int(np.count_nonzero(padded != np.roll(padded, 1, axis))) for axis in range(3))
    return on_border / exposed


@numba.njit(cache=True)
def _level_before_leak(hold, top, threshold, voxel_ml, leak_ml, jumps):
    """The level just above the one at which a region ran into an organ; 0 where it did not.

    Volumes are taken at levels a fortieth of the maximum apart. The jump is the largest growth within a tenth of the
    maximum.
    """
    n = 40
    volume = np.zeros(n + 2, np.float64)
    total = 0.0
    for v in hold.ravel():
        if v >= threshold and v > 0:
            total += voxel_ml
            volume[min(n, int(v / top * n))] += voxel_ml
    if total < leak_ml:
        return 0.0
    for at in range(n - 1, -1, -1):
        volume[at] += volume[at + 1]
    best, level = 0.0, 0.0
    for at in range(int(threshold / top * n) + 1, n):
        # A lesion hardly grows before the jump; the hottest grains of a noisy plateau do nothing else.
        if volume[at] > 2.0 * volume[min(n, at + 3)]:
            continue
        below = volume[max(0, at - n // 10)]
        for row in range(len(jumps)):
            least = max(jumps[row, 1] * volume[at], jumps[row, 2])
            if volume[at] >= jumps[row, 0] and below >= least and below / volume[at] > best:
                best, level = below / volume[at], at / n * top
    return level


@numba.njit(cache=True)
def _cut_part(mask, foreign):
    """The part of a mask's exposed faces that lies against a neighbour: there it ends because it was cut off."""
    n_i, n_j, n_k = mask.shape
    faces, cut = 0, 0
    for i in range(n_i):
        for j in range(n_j):
            for k in range(n_k):
                if not mask[i, j, k]:
                    continue
                for side in range(6):
                    a, b, c = stepped(i, j, k, side)
                    if a < 0 or b < 0 or c < 0 or a >= n_i or b >= n_j or c >= n_k or mask[a, b, c]:
                        continue
                    faces += 1
                    if foreign[a, b, c]:
                        cut += 1
    return cut / faces if faces else 0.0


@numba.njit(cache=True)
def _edge_threshold(
    values,
    hold,
    foreign,
    near,
    spacing,
    top,
    plateau_part,
    sharp_level,
    gradual_level,
    sharp_mm,
    gradual_mm,
    cap,
    near_mm,
    far_mm,
    converged,
    most_iterations,
):
    """Threshold, background, plateau and number of iterations of the `basin` contour.

    T = B + c (P - B): P the plateau, B the median of the shell around the region above T, and c between the sharp
    and the gradual level by the width of the edge.
    """
    total, count = 0.0, 0
    for v in hold.ravel():
        if v >= plateau_part * top and v > 0:
            total += v
            count += 1
    plateau = total / count
    threshold = sharp_level * plateau
    background = 0.0
    iteration = 0
    while iteration < most_iterations:
        iteration += 1
        background = _shell_median(values, hold, foreign, spacing, threshold, near_mm, far_mm)
        if background == NOTHING_AROUND:
            break
        if background >= plateau:
            threshold = plateau
            break
        width = _edge_width_mm(hold, foreign, near[:0], spacing, background, plateau)
        if width > sharp_mm and len(near) > 0:
            width = _edge_width_mm(hold, foreign, near, spacing, background, plateau)
        gradual = min(1.0, max(0.0, (width - sharp_mm) / (gradual_mm - sharp_mm)))
        sharp_t = background + sharp_level * (plateau - background)
        # Reported by eye, a contour hardly rises with the uptake once that is far above the background.
        seen = min(cap, np.sqrt(cap * plateau))
        gradual_t = background + gradual_level * max(0.0, seen - background)
        renewed = (1.0 - gradual) * sharp_t + gradual * min(sharp_t, gradual_t)
        change = abs(renewed - threshold)
        threshold = renewed
        if change <= converged * threshold:
            break
    return threshold, background, plateau, iteration


@numba.njit(cache=True)
def _edge_width_mm(hold, foreign, near, spacing, background, plateau):
    """Mean distance over which the uptake falls from 0.7 to 0.2 of the plateau: the volume between both levels over the
    surface half way, without the part of it that lies against neighbours.

    near (n, 3): offsets within which a neighbour makes a place no edge; all count where less than APART_LEAST of the
    surface is left.
    """
    low = background + 0.2 * (plateau - background)
    middle = background + 0.45 * (plateau - background)
    high = background + 0.7 * (plateau - background)
    n_i, n_j, n_k = hold.shape
    between, between_apart = 0, 0
    surface, surface_apart = 0.0, 0.0
    face = (spacing[1] * spacing[2], spacing[0] * spacing[2], spacing[0] * spacing[1])
    for i in range(n_i):
        for j in range(n_j):
            for k in range(n_k):
                v = hold[i, j, k]
                if v < low:
                    continue
                apart = True
                for n in range(len(near)):
                    a, b, c = i + near[n, 0], j + near[n, 1], k + near[n, 2]
                    inside = a >= 0 and b >= 0 and c >= 0 and a < n_i and b < n_j and c < n_k
                    if inside and foreign[a, b, c]:
                        apart = False
                        break
                if v < high:
                    between += 1
                    between_apart += apart
                if v < middle:
                    continue
                for axis in range(3):
                    for way in (-1, 1):
                        a = i + (way if axis == 0 else 0)
                        b = j + (way if axis == 1 else 0)
                        c = k + (way if axis == 2 else 0)
                        if a < 0 or b < 0 or c < 0 or a >= n_i or b >= n_j or c >= n_k:
                            continue
                        if hold[a, b, c] < middle and not foreign[a, b, c]:
                            surface += face[axis]
                            if apart:
                                surface_apart += face[axis]
    if surface == 0.0:
        return 0.0
    if surface_apart >= APART_LEAST * surface:
        between, surface = between_apart, surface_apart
    # The faces of voxels have 3/2 of the area of the smooth surface that they follow.
    return between * spacing[0] * spacing[1] * spacing[2] / (surface * 2.0 / 3.0)


@numba.njit(cache=True)
def _shell_median(values, hold, foreign, spacing, threshold, near_mm, far_mm):
    """Median of the voxels between near_mm and far_mm from the region hold >= threshold, neighbours left out."""
    n_i, n_j, n_k = hold.shape
    low = np.array([n_i, n_j, n_k])
    high = np.zeros(3, np.int64)
    for i in range(n_i):
        for j in range(n_j):
            for k in range(n_k):
                if hold[i, j, k] >= threshold:
                    low[0], low[1], low[2] = min(low[0], i), min(low[1], j), min(low[2], k)
                    high[0], high[1], high[2] = max(high[0], i), max(high[1], j), max(high[2], k)
    for axis in range(3):
        reach = int(np.ceil(far_mm / spacing[axis]))
        low[axis] = max(0, low[axis] - reach)
        high[axis] = min(hold.shape[axis] - 1, high[axis] + reach)
    if high[0] < low[0]:
        return NOTHING_AROUND
    distance = squared_distance(
        hold[low[0] : high[0] + 1, low[1] : high[1] + 1, low[2] : high[2] + 1], threshold, spacing
    )
    found = np.empty(distance.size, np.float32)
    for attempt in range(2):
        n = 0
        for i in range(distance.shape[0]):
            for j in range(distance.shape[1]):
                for k in range(distance.shape[2]):
                    d = distance[i, j, k]
                    if d == 0.0 or d > far_mm * far_mm:
                        continue
                    if attempt == 0 and (d < near_mm * near_mm or foreign[i + low[0], j + low[1], k + low[2]]):
                        continue
                    found[n] = values[i + low[0], j + low[1], k + low[2]]
                    n += 1
        # Hemmed in by neighbours on all sides: what is around counts, whatever it is.
        if n >= 10:
            break
    return np.median(found[:n]) if n > 0 else NOTHING_AROUND


@numba.njit(cache=True)
def squared_distance(hold, threshold, spacing):
    """Squared distance in mm2 of every voxel to the region hold >= threshold (lower envelope of parabolas, axis by
    axis)."""
    n_i, n_j, n_k = hold.shape
    far = np.float64(1e12)
    out = np.empty((n_i, n_j, n_k), np.float64)
    for i in range(n_i):
        for j in range(n_j):
            for k in range(n_k):
                out[i, j, k] = 0.0 if hold[i, j, k] >= threshold else far
    longest = max(n_i, max(n_j, n_k))
    line = np.empty(longest, np.float64)
    site = np.empty(longest, np.int64)
    bound = np.empty(longest + 1, np.float64)
    for axis in range(3):
        n = hold.shape[axis]
        n_a = n_j if axis == 0 else n_i
        n_b = n_j if axis == 2 else n_k
        step = spacing[axis] * spacing[axis]
        for a in range(n_a):
            for b in range(n_b):
                for x in range(n):
                    if axis == 0:
                        line[x] = out[x, a, b]
                    elif axis == 1:
                        line[x] = out[a, x, b]
                    else:
                        line[x] = out[a, b, x]
                m = -1
                for x in range(n):
                    if line[x] >= far:
                        continue
                    edge = -np.inf
                    while m >= 0:
                        s = site[m]
                        edge = (line[x] - line[s] + step * (x * x - s * s)) / (2.0 * step * (x - s))
                        if edge > bound[m]:
                            break
                        m -= 1
                    if m < 0:
                        edge = -np.inf
                    m += 1
                    site[m] = x
                    bound[m] = edge
                if m < 0:
                    continue
                last = m
                m = 0
                for x in range(n):
                    while m < last and bound[m + 1] < x:
                        m += 1
                    value = step * (x - site[m]) ** 2 + line[site[m]]
                    if axis == 0:
                        out[x, a, b] = value
                    elif axis == 1:
                        out[a, x, b] = value
                    else:
                        out[a, b, x] = value
    return out


def _published_contour(suv: Volume, peak: Ijk, others: NDArray[np.int64], settings: ContourSettings) -> Contour:
    """The paper's contour: T = S (0.078 / V + 0.617 B / S + 0.316), S = min(SUVmax, 10), renewed while it grows.

    From the 3 x 3 x 3 voxels around the peak, one layer of face neighbours above T at a time; B is the mean of the
    layer that lies 3 voxels out (4 for fewer than 20 voxels with B > 0.8 S); a voxel of less than 0.04 mL counts as
    0.0435 mL; it ends when T changes by less than 1 % and rejects T > 0.9 S. Neighbours are not kept out: `others`
    is not used.
    """
    del others
    voxel_ml = suv.voxel_ml if suv.voxel_ml >= 0.04 else 0.0435
    margin = 8
    face = ndimage.generate_binary_structure(3, 1)
    s = min(float(suv.array[peak]), 10.0)
    half = 24
    region: NDArray[np.bool_] | None = None
    threshold, background = float("inf"), 0.0
    iteration = 0
    stop = StopReason.CONVERGED
    box: Box = (slice(0, 0), slice(0, 0), slice(0, 0))
    while True:
        fresh: Any = tuple(slice(max(0, p - half), min(n, p + half + 1)) for p, n in zip(peak, suv.shape))
        values = np.ascontiguousarray(suv.array[fresh], dtype=np.float32)
        grown = np.zeros(values.shape, dtype=bool)
        if region is None:
            around: Any = tuple(slice(max(0, p - b.start - 1), p - b.start + 2) for p, b in zip(peak, fresh))
            grown[around] = True
        else:
            grown[tuple(slice(o.start - f.start, o.stop - f.start) for o, f in zip(box, fresh))] = region
        region, box = grown, fresh
        enlarge = False
        while iteration < 500:
            iteration += 1
            count = int(region.sum())
            background = _layer_mean(values, region, 3)
            if count < 20 and background > 0.8 * s:
                background = _layer_mean(values, region, 4)
            ratio = 0.078 / (count * voxel_ml) + 0.617 * background / s + 0.316
            if ratio > 0.9:
                stop = StopReason.FLAT
                threshold = ratio * s
                break
            settled = abs(ratio * s - threshold) < 0.01 * threshold
            threshold = ratio * s
            region = region | (ndimage.binary_dilation(region, face) & (values > threshold))
            if settled:
                break
            edge = np.argwhere(region)
            low, high = edge.min(axis=0), edge.max(axis=0)
            if any(
                (box[a].start > 0 and low[a] < margin)
                or (box[a].stop < suv.shape[a] and high[a] >= values.shape[a] - margin)
                for a in range(3)
            ):
                enlarge = True
                break
        if not enlarge:
            break
        half *= 2
    corner = (box[0].start, box[1].start, box[2].start)
    return Contour(region, corner, threshold, background, iteration, stop, "published")


def _layer_mean(values: NDArray[np.float32], region: NDArray[np.bool_], distance: int) -> float:
    """Mean of the layer of voxels that lies `distance` face steps out of a region."""
    face = ndimage.generate_binary_structure(3, 1)
    inner = ndimage.binary_dilation(region, face, iterations=distance - 1)
    layer = ndimage.binary_dilation(inner, face) & ~inner
    return float(values[layer].mean()) if layer.any() else 0.0


METHODS = {"basin": _basin_contour, "published": _published_contour}
