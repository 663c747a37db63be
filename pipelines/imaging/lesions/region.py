"""A contoured region of a volume, why it ended, and the boxes that it is looked for in."""

from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from pipelines.imaging.volume import Box

Ijk = tuple[int, int, int]


class StopReason(StrEnum):
    """Why a contour stopped growing; only the first leaves a lesion."""

    CONVERGED = "converged"
    LEAK = "leak"
    BORDER = "border"
    FLAT = "flat"
    TOO_SMALL = "too small"
    NO_LIVER = "no liver found"
    """The method asks for the liver's uptake, and none was found."""


@dataclass(frozen=True)
class HotNeighbour:
    """What is connected with a lesion above its threshold, belongs to no reported lesion and is not in its mask."""

    volume_ml: float
    suvmax: float


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
    neighbour: HotNeighbour | None = None


def union(first: Contour, second: Contour) -> Contour:
    """Both regions as one, with the threshold, the background and the stop of the first. What touches it above its
    threshold is not known of it."""
    low = np.minimum(first.corner, second.corner)
    high = np.maximum(*(np.add(one.corner, one.mask.shape) for one in (first, second)))
    mask = np.zeros(high - low, dtype=bool)
    for one in (first, second):
        i, j, k = (slice(c, c + n) for c, n in zip(one.corner - low, one.mask.shape))
        mask[i, j, k] |= one.mask
    i0, j0, k0 = (int(v) for v in low)
    return replace(first, mask=mask, corner=(i0, j0, k0), neighbour=None)


def box_around(shape: Ijk, peak: Ijk, half_mm: float, spacing_mm: tuple[float, float, float]) -> Box:
    """The box that reaches half_mm from a voxel to every side, cut at the border of an image of that shape."""
    i, j, k = (
        slice(max(0, p - int(np.ceil(half_mm / s))), min(n, p + int(np.ceil(half_mm / s)) + 1))
        for p, s, n in zip(peak, spacing_mm, shape)
    )
    return i, j, k


def reaches_inner_border(mask: NDArray[np.bool_], box: Box, shape: Ijk) -> bool:
    """Whether a mask touches a side of its box that is not a side of the image: the box was too small."""
    for axis in range(3):
        if box[axis].start > 0 and mask.take(0, axis).any():
            return True
        if box[axis].stop < shape[axis] and mask.take(-1, axis).any():
            return True
    return False


def border_part(mask: NDArray[np.bool_], box: Box, shape: Ijk) -> float:
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
