"""The contour of a lesion, grown from its peak: a mask with the threshold and background that made it and why it
stopped.

Inside the lesion's part of its surroundings (`partition.py`) the mask is what is connected with the peak above one
threshold. Its level has a name (`levels.py`): `adaptive` is the project's own (docs/contours.md), the others are
for users who must follow a protocol. `published` is the iterative threshold of the weak-labelling paper, step by step
(`published.py`), for comparison.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numba
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from pipelines.imaging.lesions.faces import stepped
from pipelines.imaging.lesions.flags import MOST_RATIO
from pipelines.imaging.lesions.levels import NAMED_LEVELS, Around, Level, OwnOrgan, adaptive, grown_box, lowered
from pipelines.imaging.lesions.liver import LiverUptake
from pipelines.imaging.lesions.measures import largest_diameter_mm, local_peak
from pipelines.imaging.lesions.partition import LESION, OTHER, REPORTED, Markers, Partition, divide
from pipelines.imaging.lesions.published import published_contour
from pipelines.imaging.lesions.region import (
    Contour,
    HotNeighbour,
    Ijk,
    StopReason,
    border_part,
    box_around,
    reaches_inner_border,
)
from pipelines.imaging.organ_labels import PHYSIOLOGIC
from pipelines.imaging.volume import Box, Volume
from pipelines.settings import ContourSettings

BOXES = 4
"""Boxes that are tried, each twice as wide as the one before."""
ORGAN_STEP_MM = 4.0
"""The uptake of an organ is read from every so many mm of it."""


@dataclass(frozen=True, eq=False)
class ExamOrgans:
    """What is known of an exam's organs."""

    labels: NDArray[np.uint8] | None = None
    """Label map on the image's grid (organ_labels.CLASSES)."""
    liver: LiverUptake | None = None
    uptake: Mapping[int, "OrganUptake"] | None = None
    """Label value -> uptake of the physiologic organs of the map; None: not measured, all their voxels are theirs."""


@dataclass(frozen=True)
class OrganUptake:
    """What an organ's voxels have: the lower part of them at most `low_suv`, all but its hottest ones `high_suv`."""

    low_suv: float
    high_suv: float


NO_ORGANS = ExamOrgans()


def measured_organs(organs: ExamOrgans, suv: Volume, settings: ContourSettings) -> ExamOrgans:
    """The same with the uptake of the label map's organs, read from the image (RAS+)."""
    if organs.labels is None:
        return organs
    step = tuple(slice(None, None, max(1, round(ORGAN_STEP_MM / s))) for s in suv.spacing_mm)
    labels, values = organs.labels[step], suv.array[step]
    parts = settings.background_part, settings.organ_part
    inside = {label: values[labels == label] for label in PHYSIOLOGIC}
    uptake = {n: OrganUptake(*(float(q) for q in np.quantile(v, parts))) for n, v in inside.items() if len(v)}
    return replace(organs, uptake=uptake)


@dataclass(frozen=True)
class Described:
    """What the sentence says of a lesion."""

    size_mm: float | None = None
    """Largest diameter."""
    in_organ: bool = False
    """It lies in an organ that has uptake of its own (`location_words.has_own_uptake`)."""


def contour(
    suv: Volume,
    peak: Ijk,
    others: NDArray[np.int64],
    settings: ContourSettings,
    organs: ExamOrgans = NO_ORGANS,
    described: Described = Described(),
) -> Contour:
    """The contour around `peak` by the method of the settings.

    Never raises for a lesion that cannot be contoured: the stop reason says so. The background of `adaptive` is the
    lower quartile of the surroundings. It is their median where the sentence places the lesion in an organ, for that
    surrounds it, and where the quartile gives a leak, a cut at the image's border, or a region whose diameter
    contradicts the reported size; of two regions the one nearer to that size is taken.

    Args:
        suv: RAS+ float volume.
        others: peaks of the other reported lesions, (n, 3), kept out.
        organs: label map, whose organs are kept out unless the peak lies in them, and the liver's uptake for PERCIST.
        described: what the sentence says.
    """
    if settings.method == "published":
        return published_contour(suv, peak)
    lesion = _Lesion(suv, peak, others, settings, organs)
    if settings.method != "adaptive":
        return lesion.grown(settings)
    median = settings.changed(background_part=0.5)
    made = lesion.grown(median if described.in_organ else settings)
    off = _off_size(made, suv, described.size_mm)
    stopped = made.stop_reason in (StopReason.LEAK, StopReason.BORDER)
    if not described.in_organ and (stopped or off > np.log(MOST_RATIO)):
        again = lesion.grown(median)
        is_nearer = made.stop_reason is not StopReason.CONVERGED or _off_size(again, suv, described.size_mm) < off
        if again.stop_reason is StopReason.CONVERGED and is_nearer:
            return again
    return made


def _off_size(made: Contour, suv: Volume, size_mm: float | None) -> float:
    """Logarithm of how many times a region's diameter is larger or smaller than the reported one; 0 where none is."""
    if not size_mm or not made.mask.any():
        return 0.0
    box = ndimage.find_objects(made.mask.view(np.uint8))[0]
    return float(abs(np.log(largest_diameter_mm(made.mask[box], suv.spacing_mm) / size_mm)))


@dataclass(frozen=True, eq=False)
class _Boxed:
    """A box about a lesion: what a level is made of there, whose each voxel is, and the lowest threshold."""

    box: Box
    around: Around
    partition: Partition
    floor_suv: float
    level: Level | None
    """Where the method has a level that needs no partition."""


@dataclass(frozen=True, eq=False)
class _Lesion:
    """A peak with its image: its contours by several backgrounds share what is made of each box."""

    suv: Volume
    peak: Ijk
    others: NDArray[np.int64]
    settings: ContourSettings
    organs: ExamOrgans
    boxes: dict[float, _Boxed] = field(default_factory=dict)

    def grown(self, settings: ContourSettings) -> Contour:
        """The contour, in the smallest box that holds it."""
        half_mm = settings.largest_mm / 2 ** (BOXES - 1)
        while True:
            if half_mm not in self.boxes:
                self.boxes[half_mm] = self._boxed(half_mm)
            boxed = self.boxes[half_mm]
            made = self._in_box(boxed, settings)
            if not reaches_inner_border(made.mask, boxed.box, self.suv.shape):
                return self._with_neighbour(made, boxed)
            if half_mm >= settings.largest_mm:
                return replace(made, stop_reason=StopReason.LEAK)
            half_mm *= 2.0

    def _boxed(self, half_mm: float) -> _Boxed:
        suv, organs, settings = self.suv, self.organs, self.settings
        box = box_around(suv.shape, self.peak, half_mm, suv.spacing_mm)
        corner = np.array([b.start for b in box])
        values = np.ascontiguousarray(suv.array[box], dtype=np.float32)
        i, j, k = (int(v) for v in np.array(self.peak) - corner)
        at = i, j, k
        inside = self.others.reshape(-1, 3) - corner
        inside = inside[((inside >= 0) & (inside < np.array(values.shape))).all(axis=1) & (inside != at).any(axis=1)]
        labels = organs.labels[box] if organs.labels is not None else None
        markers = Markers(at, inside, _other_organs(values, labels, at, organs.uptake))
        suv_peak = local_peak(suv, np.array([self.peak]))
        own_organ = _own_organ(labels, at, suv_peak, organs.uptake)
        around = Around(values, values, at, suv_peak, suv.spacing_mm, organs.liver, own_organ)
        if settings.method == "adaptive":
            floor = settings.lowest_part * suv_peak
            partition = divide(values, markers, floor)
            return _Boxed(box, replace(around, hold_suv=partition.hold_suv), partition, floor, None)
        level = NAMED_LEVELS[settings.method](around)
        floor = suv_peak if level.threshold_suv is None else level.threshold_suv
        partition = divide(values, markers, float(np.nextafter(np.float32(floor), np.float32(0.0))))
        return _Boxed(box, replace(around, hold_suv=partition.hold_suv), partition, floor, level)

    def _in_box(self, made: _Boxed, settings: ContourSettings) -> Contour:
        around, partition = made.around, made.partition
        level = made.level or adaptive(around, settings)
        threshold = around.suv_peak if level.threshold_suv is None else max(level.threshold_suv, made.floor_suv)
        mask = partition.hold_suv >= threshold
        if level.excess_suv > 0.0:
            parts, _ = ndimage.label(lowered(around, level.excess_suv) >= threshold)
            mask = parts == parts[around.peak]
        stop = level.stop or _stop(mask, partition, threshold / around.suv_max, settings)
        if stop is StopReason.CONVERGED and border_part(mask, made.box, self.suv.shape) > settings.most_border:
            stop = StopReason.BORDER
        i, j, k = (b.start for b in made.box)
        return Contour(mask, (i, j, k), threshold, level.background_suv, level.iterations, stop, settings.method)

    def _with_neighbour(self, made: Contour, boxed: _Boxed) -> Contour:
        if made.stop_reason is not StopReason.CONVERGED:
            return made
        found = made.mask, boxed.partition, made.threshold_suv
        return replace(made, neighbour=_hot_neighbour(self.suv, boxed.box, self.peak, found, self.settings.largest_mm))


def _own_organ(
    labels: NDArray[np.uint8] | None, peak: Ijk, suv_peak: float, uptake: Mapping[int, OrganUptake] | None
) -> OwnOrgan | None:
    """The physiologic organ that the peak lies in; None where the peak is no hotter than it: the organ is reported."""
    if labels is None or uptake is None or int(labels[peak]) not in uptake:
        return None
    own = uptake[int(labels[peak])]
    return OwnOrgan(labels == labels[peak], own.low_suv) if suv_peak > own.high_suv else None


def _other_organs(
    values: NDArray[np.float32],
    labels: NDArray[np.uint8] | None,
    peak: Ijk,
    uptake: Mapping[int, OrganUptake] | None,
) -> NDArray[np.bool_] | None:
    """Voxels of the organs with uptake of their own that the peak does not lie in. What is hotter than the organ
    elsewhere is not counted: the lesion may have grown into it."""
    if labels is None:
        return None
    warmest = np.full(256, -np.inf, np.float32)
    for label in PHYSIOLOGIC:
        if label != labels[peak]:
            warmest[label] = uptake[label].high_suv if uptake and label in uptake else np.inf
    return np.asarray(values <= warmest[labels])


def _stop(
    mask: NDArray[np.bool_], partition: Partition, part_of_maximum: float, settings: ContourSettings
) -> StopReason:
    if int(mask.sum()) < settings.fewest_voxels:
        return StopReason.TOO_SMALL
    if part_of_maximum > settings.flattest:
        return StopReason.FLAT
    if _cut_part(mask, partition.mark) > settings.most_cut:
        return StopReason.LEAK
    return StopReason.CONVERGED


def _hot_neighbour(
    suv: Volume, box: Box, peak: Ijk, made: tuple[NDArray[np.bool_], Partition, float], largest_mm: float
) -> HotNeighbour | None:
    """What a mask touches above its threshold, is connected with that above it, and is no reported lesion's."""
    mask, partition, threshold = made
    near = grown_box(mask, suv.spacing_mm, 0.0)
    taken = mask[near] | np.isin(partition.mark[near], (LESION, REPORTED))
    starts = ndimage.binary_dilation(mask[near]) & ~taken & (suv.array[box][near] >= threshold)
    if not starts.any():
        return None
    own = mask | (partition.mark == LESION) | (partition.mark == REPORTED)
    window = box_around(suv.shape, peak, largest_mm / 2.0, suv.spacing_mm)
    values = suv.array[window]
    blocked = np.zeros(values.shape, dtype=bool)
    shift = [b.start - w.start for b, w in zip(box, window)]
    theirs = tuple(slice(max(0, s), s + n) for s, n in zip(shift, own.shape))
    mine = tuple(slice(max(0, -s), max(0, m - s)) for s, m in zip(shift, values.shape))
    blocked[theirs] = own[mine]
    begin = np.argwhere(starts) + [n.start + s for n, s in zip(near, shift)]
    begin = begin[((begin >= 0) & (begin < np.array(values.shape))).all(axis=1)]
    if not len(begin):
        return None
    count, top = _connected(values, begin, blocked, np.float32(threshold))
    return HotNeighbour(count * suv.voxel_ml, float(top))


@numba.njit(cache=True)
def _connected(array, starts, blocked, threshold):
    """Number of voxels at or above a threshold that are connected with the starts through such ones that are not
    blocked, and the highest value."""
    n_i, n_j, n_k = array.shape
    queue = np.empty((max(64, len(starts)), 3), np.int64)
    queue[: len(starts)] = starts
    for at in starts:
        blocked[at[0], at[1], at[2]] = True
    n, done, top = len(starts), 0, np.float32(0)
    while done < n:
        i, j, k = queue[done]
        done += 1
        top = max(top, array[i, j, k])
        for side in range(6):
            a, b, c = stepped(i, j, k, side)
            if a < 0 or b < 0 or c < 0 or a >= n_i or b >= n_j or c >= n_k or blocked[a, b, c]:
                continue
            if array[a, b, c] < threshold:
                continue
            blocked[a, b, c] = True
            if n == len(queue):
                queue = np.append(queue, np.empty_like(queue), axis=0)
            queue[n, 0], queue[n, 1], queue[n, 2] = a, b, c
            n += 1
    return n, top


@numba.njit(cache=True)
def _cut_part(mask, mark):
    """The part of a mask's exposed faces that lies against what is not the lesion's and no reported lesion: there it
    ends because it was cut off."""
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
                    if mark[a, b, c] == OTHER:
                        cut += 1
    return cut / faces if faces else 0.0
