"""The liver's uptake, found in the exam: the reference of PERCIST."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from pipelines.imaging.lesions.region import Ijk, box_around
from pipelines.imaging.organ_labels import LABELS
from pipelines.imaging.volume import Volume

SPHERE_MM = 15.0
"""Radius of the sphere that the liver is measured in (PERCIST 1.0, Wahl 2009: 3 cm in diameter, right lobe)."""
LIVER_SUV = (1.0, 6.0)
"""Mean uptake of a liver at 60 min, any common tracer; outside of it what was found is none."""
EVEN = 0.2
"""Coefficient of variation up to which a liver is even: noise, no lesions."""
AROUND_MM = 30.0
"""A cube of this half side lies within the right lobe alone: spleen, heart and kidneys are smaller."""
GRID_MM = 8.0
BODY_SUV = 0.3
"""Above it a voxel of that grid is body."""


@dataclass(frozen=True)
class LiverUptake:
    """Uptake in a sphere of 3 cm in the right lobe, and its middle in RAS mm."""

    mean_suv: float
    sd_suv: float
    centre_mm: tuple[float, float, float]


def find_liver(suv: Volume, labels: NDArray[np.uint8] | None = None) -> LiverUptake | None:
    """The liver's uptake; None where no liver is found.

    With a label map (on the volume's grid) the sphere lies where the liver is deepest, without one in the most even
    place with a liver's uptake on the right of the body that is as large as a right lobe.

    Args:
        suv: RAS+ volume.
        labels: organ_labels.CLASSES.
    """
    centre = _deepest(suv, labels) if labels is not None else _most_even(suv)
    if centre is None:
        return None
    box = box_around(suv.shape, centre, SPHERE_MM, suv.spacing_mm)
    away = sum(((x - c) * s) ** 2 for x, c, s in zip(np.ogrid[box], centre, suv.spacing_mm))
    inside = suv.array[box][away <= SPHERE_MM**2]
    mean, sd = float(inside.mean()), float(inside.std())
    if not LIVER_SUV[0] <= mean <= LIVER_SUV[1] or sd > EVEN * mean:
        return None
    x, y, z = suv.to_ras_mm(centre)
    return LiverUptake(mean, sd, (float(x), float(y), float(z)))


def _deepest(suv: Volume, labels: NDArray[np.uint8]) -> Ijk | None:
    """The voxel of the liver that is farthest from its surface, where the sphere fits into the liver."""
    liver = labels == LABELS["liver"]
    if not liver.any():
        return None
    (box,) = ndimage.find_objects(liver.view(np.uint8))
    depth = ndimage.distance_transform_edt(np.pad(liver[box], 1), sampling=suv.spacing_mm)[1:-1, 1:-1, 1:-1]
    if depth.max() < SPHERE_MM:
        return None
    i, j, k = np.unravel_index(int(depth.argmax()), depth.shape)
    return int(i) + box[0].start, int(j) + box[1].start, int(k) + box[2].start


def _most_even(suv: Volume) -> Ijk | None:
    """The middle of the cube with the smallest variation among those of a liver's uptake on the right of the body."""
    step = [max(1, round(GRID_MM / s)) for s in suv.spacing_mm]
    shape = [n // s * s for n, s in zip(suv.shape, step)]
    i, j, k = (n // s for n, s in zip(shape, step))
    coarse = suv.array[: shape[0], : shape[1], : shape[2]].reshape(i, step[0], j, step[1], k, step[2])
    values = coarse.mean(axis=(1, 3, 5), dtype=np.float64)
    size = [2 * round(AROUND_MM / (s * n)) + 1 for s, n in zip(suv.spacing_mm, step)]
    mean = ndimage.uniform_filter(values, size, mode="constant")
    variance = ndimage.uniform_filter(values**2, size, mode="constant") - mean**2
    body = values > BODY_SUV
    if not body.any():
        return None
    right = np.arange(i)[:, None, None] > np.nonzero(body)[0].mean()
    liver = right & (mean >= LIVER_SUV[0]) & (mean <= LIVER_SUV[1])
    spread = np.where(liver, np.sqrt(np.maximum(variance, 0.0)) / np.maximum(mean, LIVER_SUV[0]), np.inf)
    best = np.unravel_index(int(spread.argmin()), spread.shape)
    if spread[best] > EVEN:
        return None
    a, b, c = (int(n) * s + s // 2 for n, s in zip(best, step))
    return a, b, c
