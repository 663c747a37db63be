"""Maximum intensity projections of a PET volume."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipelines.imaging.volume import Volume

_MIP_STEP_MM = 2.5
_AIR_SUV = 0.3
_MARGIN_MM = 16.0
Extent = tuple[float, float, float, float]


@dataclass(frozen=True, eq=False)
class Mip:
    """Maximum intensity projections of one exam, ready to be drawn: rows from the head down, columns as seen.

    `coronal` looks from the front (patient's left on the right), `sagittal` from the patient's left (front on the
    left). Extents are (left, right, bottom, top) in mm of the volume's own axes, counted from its first voxel.
    """

    coronal: NDArray[np.float32]
    sagittal: NDArray[np.float32]
    coronal_extent_mm: Extent
    sagittal_extent_mm: Extent


def mip_of(suv: Volume) -> Mip:
    """The projections of a SUV volume (RAS+), without the air beside the body, thinned to about 2.5 mm by maxima."""
    spacing = suv.spacing_mm
    array = np.asarray(suv.array, np.float32)
    planes = []
    for axis, across in ((1, 0), (0, 1)):
        shadow = array.max(axis)
        first, last = _body_range(shadow, spacing[across])
        thin = _thin(shadow[first:last], (spacing[across], spacing[2]))
        planes.append(
            (thin.T[::-1, ::-1], (last * spacing[across], first * spacing[across], 0.0, suv.shape[2] * spacing[2]))
        )
    return Mip(planes[0][0], planes[1][0], planes[0][1], planes[1][1])


def _body_range(shadow: NDArray[np.float32], spacing_mm: float) -> tuple[int, int]:
    """First and one past the last column of a projection (columns, slices) that hold the body, and a margin of air."""
    columns = np.flatnonzero(shadow.max(1) > _AIR_SUV)
    if len(columns) == 0:
        return 0, shadow.shape[0]
    margin = round(_MARGIN_MM / spacing_mm)
    return max(0, int(columns[0]) - margin), min(shadow.shape[0], int(columns[-1]) + 1 + margin)


def _thin(plane: NDArray[np.float32], spacing_mm: tuple[float, float]) -> NDArray[np.float32]:
    """Maxima over blocks, so that a small hot focus is never lost to thinning."""
    steps = [max(1, round(_MIP_STEP_MM / s)) for s in spacing_mm]
    pad = [(0, -n % step) for n, step in zip(plane.shape, steps)]
    padded = np.pad(plane, pad, mode="edge")
    a, b = (n // step for n, step in zip(padded.shape, steps))
    blocks: NDArray[np.float32] = padded.reshape(a, steps[0], b, steps[1]).max((1, 3))
    return blocks
