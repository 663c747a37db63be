"""The contour of the weak-labelling paper (arXiv 2502.00528; Jentzen 2015), step by step, for comparison."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from pipelines.imaging.lesions.region import Contour, Ijk, StopReason
from pipelines.imaging.volume import Box, Volume

FACE = ndimage.generate_binary_structure(3, 1)
CUBE = ndimage.generate_binary_structure(3, 3)
FIRST_BOX_VOXELS, MARGIN_VOXELS, MOST_ITERATIONS = 24, 8, 500


def published_contour(suv: Volume, peak: Ijk) -> Contour:
    """T = S (0.078 / V + 0.617 B / S + 0.316), S = min(SUVmax, 10), renewed while the region grows.

    From the 3 x 3 x 3 voxels around the peak, one layer of face neighbours above T at a time. B is the mean on the
    boundary of the cubes that reach 3 voxels from each voxel of the region (4 for fewer than 20 voxels with
    B > 0.8 S). A voxel of less than 0.04 mL counts as 0.0435 mL. It ends when T changes by less than 1 % and rejects
    T > 0.9 S. Neighbours are not kept out.
    """
    voxel_ml = suv.voxel_ml if suv.voxel_ml >= 0.04 else 0.0435
    s = min(float(suv.array[peak]), 10.0)
    half = FIRST_BOX_VOXELS
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
        while iteration < MOST_ITERATIONS:
            iteration += 1
            count = int(region.sum())
            background = _shell_mean(values, region, 3)
            if count < 20 and background > 0.8 * s:
                background = _shell_mean(values, region, 4)
            ratio = 0.078 / (count * voxel_ml) + 0.617 * background / s + 0.316
            if ratio > 0.9:
                stop = StopReason.FLAT
                threshold = ratio * s
                break
            settled = abs(ratio * s - threshold) < 0.01 * threshold
            threshold = ratio * s
            region = region | (ndimage.binary_dilation(region, FACE) & (values > threshold))
            if settled:
                break
            edge = np.argwhere(region)
            low, high = edge.min(axis=0), edge.max(axis=0)
            if any(
                (box[a].start > 0 and low[a] < MARGIN_VOXELS)
                or (box[a].stop < suv.shape[a] and high[a] >= values.shape[a] - MARGIN_VOXELS)
                for a in range(3)
            ):
                enlarge = True
                break
        if not enlarge:
            break
        half *= 2
    corner = (box[0].start, box[1].start, box[2].start)
    return Contour(region, corner, threshold, background, iteration, stop, "published")


def _shell_mean(values: NDArray[np.float32], region: NDArray[np.bool_], distance: int) -> float:
    """Mean on the boundary of the cubes of so many voxels around each voxel of a region."""
    inner = ndimage.binary_dilation(region, CUBE, iterations=distance - 1)
    shell = ndimage.binary_dilation(inner, CUBE) & ~inner
    return float(values[shell].mean()) if shell.any() else 0.0
