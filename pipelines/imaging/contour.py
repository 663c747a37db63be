"""The contour of a lesion, grown from its peak: a mask with the threshold and background that made it and why it
stopped.

Contours have names. `published` is the iterative threshold of the weak-labelling paper, step by step, for comparison.
`basin` is the project's own: inside the watershed basin of the peak, so that neighbours and hot organs are kept out,
at the threshold chosen in docs/contours.md by evidence.
"""

from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from pipelines.imaging import basins
from pipelines.imaging.basins import basin_of
from pipelines.imaging.volume import Box, Volume

LOGIC_VERSION = f"contour-1 {basins.LOGIC_VERSION}"

Ijk = tuple[int, int, int]


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


@dataclass(frozen=True)
class ContourSettings:
    """method: `basin` or `published`. The other constants are those of `basin`.

    swallow: a maximum that rises by less than this part of itself above its saddle is texture of its neighbour.
    shell_mm: the background is read between these distances from the contour. fewest_voxels: fewer are no region.
    flattest: a threshold above this part of the peak is no contour. largest_mm: half the side of the largest box
    looked at.
    """

    method: str = "basin"
    swallow: float = 0.4
    edge: float = 0.45
    shell_mm: tuple[float, float] = (5.0, 12.0)
    converged: float = 0.01
    most_iterations: int = 20
    fewest_voxels: int = 3
    flattest: float = 0.9
    first_box_mm: float = 32.0
    largest_mm: float = 256.0

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise ValueError(f"expected a contour of {', '.join(METHODS)}, got {self.method}: set contour.method")

    def to_dict(self) -> dict[str, Any]:
        """The settings as plain values, for hashing."""
        return asdict(self)


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
        too_large = _reaches_inner_border(result.mask, box, suv.shape)
        if not too_large:
            return result
        if half_mm >= settings.largest_mm:
            return Contour(
                result.mask,
                result.corner,
                result.threshold_suv,
                result.background_suv,
                result.iterations,
                StopReason.LEAK,
                result.method,
            )
        half_mm *= 2.0


def _in_box(suv: Volume, peak: Ijk, others: NDArray[np.int64], settings: ContourSettings, box: Box) -> Contour:
    corner = (box[0].start, box[1].start, box[2].start)
    values = np.ascontiguousarray(suv.array[box], dtype=np.float32)
    at = (peak[0] - corner[0], peak[1] - corner[1], peak[2] - corner[2])
    top = float(values[at])
    inside = others - np.array(corner) if len(others) else np.empty((0, 3), dtype=np.int64)
    inside = inside[((inside >= 0) & (inside < np.array(values.shape))).all(axis=1)]
    inside = inside[(inside != np.array(at)).any(axis=1)]
    basin = basin_of(values, at, inside, floor=0.15 * top, swallow=settings.swallow)
    hottest = float(values[basin.hold_suv >= 0.7 * top].mean())
    threshold, background, iteration = 0.42 * hottest, 0.0, 0
    mask = basin.hold_suv >= threshold
    for iteration in range(1, settings.most_iterations + 1):  # noqa: B007
        background = _background(values, mask, basin.foreign, suv.spacing_mm, settings)
        renewed = background + settings.edge * (hottest - background)
        change = abs(renewed - threshold)
        threshold = renewed
        mask = basin.hold_suv >= threshold
        if change <= settings.converged * threshold:
            break
    stop = StopReason.CONVERGED
    if threshold > settings.flattest * top:
        stop = StopReason.FLAT
    elif int(mask.sum()) < settings.fewest_voxels:
        stop = StopReason.TOO_SMALL
    return Contour(mask, corner, threshold, background, iteration, stop, "basin")


def _background(
    values: NDArray[np.float32],
    mask: NDArray[np.bool_],
    foreign: NDArray[np.bool_],
    spacing_mm: tuple[float, float, float],
    settings: ContourSettings,
) -> float:
    """Median SUV of the shell around a region, neighbours left out."""
    near, far = settings.shell_mm
    bounds = ndimage.find_objects(mask.astype(np.uint8))[0]
    grown: Any = tuple(
        slice(max(0, b.start - int(np.ceil(far / s))), b.stop + int(np.ceil(far / s)))
        for b, s in zip(bounds, spacing_mm)
    )
    distance = ndimage.distance_transform_edt(~mask[grown], sampling=spacing_mm)
    shell = (distance >= near) & (distance <= far) & ~foreign[grown]
    if not shell.any():
        shell = (distance > 0) & (distance <= far)
    return float(np.median(values[grown][shell])) if shell.any() else float(values.min())


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
