"""Lesions of hard exams: lobulated and rough, with soft edges, uneven uptake and necrosis whose rim may be open."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from pipelines.imaging.organ_labels import LABELS
from pipelines.phantom.body import Floats, Grid, Painted, Point
from pipelines.phantom.hard.texture import smooth_field, uneven
from pipelines.phantom.tumours import HOT, Box, Tumour

_SMOOTHEST_EDGE = 1.2
"""Voxels over which the sharpest edge falls: an edge that falls within a voxel would alias."""


@dataclass(frozen=True)
class HardTumour(Tumour):
    """A lesion of a hard exam.

    Args:
        edge_mm: Width over which the uptake falls at the surface.
        rough_mm: Standard deviation of the surface about the blobs.
        variation: Deviation of the logarithm of the uptake inside, which varies over `grain_mm`.
        core_offset_mm: Centre of the core from the lesion's centre; `core` is its radius over that of the first blob.
        seed: Of the surface and the uptake.
        straight_mm: Where its centre lies in the straight body (body mm); another visit has it in another posture.
    """

    edge_mm: float = 2.0
    rough_mm: float = 0.0
    variation: float = 0.0
    grain_mm: float = 10.0
    core_offset_mm: Point = (0.0, 0.0, 0.0)
    seed: int = 0
    straight_mm: Point = (0.0, 0.0, 0.0)


@dataclass(frozen=True)
class HardShape:
    """A lesion on a grid: the share of each voxel of `box` that it fills, its ideal SUV there, and its true mask."""

    box: Box
    occupancy: Floats
    suv: Floats
    mask: NDArray[np.bool_]


def shape_of(tumour: HardTumour, grid: Grid, scale: Point, background_suv: float) -> HardShape | None:
    """The lesion on `grid`; None where it does not lie on it. The true mask is where the uptake is above the middle of
    its edge, without the core.
    """
    steps = [float(axis[1] - axis[0]) for axis in (grid.x, grid.y, grid.z)]
    reach = tumour.reach_mm + 0.5 * tumour.edge_mm + 2.5 * tumour.rough_mm
    margins = [reach / s + step for s, step in zip(scale, steps)]
    low = [c - m for c, m in zip(tumour.center, margins)]
    high = [c + m for c, m in zip(tumour.center, margins)]
    box = grid.box((low[0], low[1], low[2]), (high[0], high[1], high[2]))
    if any(b.stop - b.start < 2 for b in box):
        return None
    spacing = (steps[0] * scale[0], steps[1] * scale[1], steps[2] * scale[2])
    points = np.stack(np.broadcast_arrays(*grid.open(box)), -1).astype(np.float64)
    points = (points - tumour.center) * scale
    rng = np.random.default_rng(tumour.seed)
    field = smooth_field(points.shape[:3], spacing, max(tumour.grain_mm, 1.5 * max(spacing)), rng)
    surface = smooth_field(points.shape[:3], spacing, max(8.0, 0.5 * tumour.radius_mm), rng)
    edge = max(tumour.edge_mm, _SMOOTHEST_EDGE * float(np.mean(spacing)))
    depth = _outside_mm(tumour, points) + np.clip(tumour.rough_mm * surface, -2.5, 2.5)
    occupancy = np.clip(0.5 - depth / edge, 0, 1)
    core = np.zeros_like(occupancy)
    if tumour.core > 0:
        inner = tumour.core * tumour.radius_mm
        distance = np.linalg.norm(points - np.array(tumour.core_offset_mm), axis=-1) - inner
        core = np.clip(0.5 - (distance + tumour.rough_mm * surface) / max(edge, 3.0), 0, 1)
    mask = _largest_part((depth < 0) & (core < 0.5))
    ramp = points[..., 0] / max(reach, 1.0)
    suv = tumour.suv * (1 + tumour.gradient * ramp) * uneven(field, tumour.variation)
    suv = suv * (1 - core) + min(1.2 * background_suv, 0.4 * tumour.suv) * core
    return HardShape(box, occupancy.astype(np.float32), suv.astype(np.float32), mask)


def _outside_mm(tumour: Tumour, points: NDArray[np.float64]) -> NDArray[np.float64]:
    """About how far outside of the blobs points lie (mm, negative inside)."""
    nearest = np.full(points.shape[:3], np.inf)
    for blob in tumour.blobs:
        local = (points - np.array(blob.offset_mm)) @ np.array(blob.rotation).T
        rho = np.sqrt(((local / np.array(blob.radii_mm)) ** 2).sum(-1))
        # First-order distance to an ellipsoid: (rho - 1) over the slope of rho.
        slope = np.sqrt(((local / np.square(blob.radii_mm)) ** 2).sum(-1)) / np.maximum(rho, 1e-6)
        np.minimum(nearest, (rho - 1) / np.maximum(slope, 1e-6), out=nearest)
    return nearest


def _largest_part(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    labels, count = ndimage.label(mask)
    if count < 2:
        return mask
    return labels == 1 + int(np.bincount(labels.ravel())[1:].argmax())


def lies_well(tumour: Tumour, shape: HardShape, painted: Painted, scale: Point) -> bool:
    """Whether a lesion lies in the body, off the hot organs, mostly in its host, off the image's edge."""
    box, mask = shape.box, shape.mask
    if any(b.start < 2 or b.stop > n - 2 for b, n in zip(box, painted.labels.shape)) or not mask.any():
        return False
    inside = painted.labels[box][mask]
    in_air = (painted.hu[box][mask] < -900) & (inside == 0)
    if in_air.mean() > 0.01 or np.isin(inside, [LABELS[h] for h in HOT]).mean() > 0.01:
        return False
    if tumour.site.host and tumour.site.inside > 0:
        share = float((inside == LABELS[tumour.site.host]).mean())
        # What is larger than an organ part grows out of it.
        return share >= tumour.site.inside * min(1.0, 14.0 / tumour.radius_mm)
    return True


def gap_mm(a: Tumour, b: Tumour, scale: Point) -> float:
    """Distance between the surfaces of two lesions, taken as spheres (mm, negative where they overlap)."""
    distance = float(np.linalg.norm((np.array(a.center) - b.center) * scale))
    return distance - a.radius_mm - b.radius_mm


def keeps_apart(tumour: Tumour, others: Sequence[Tumour], scale: Point, gap_mm: float) -> bool:
    """Whether a lesion keeps `gap_mm` to all others, by the spheres that hold them."""
    for other in others:
        distance = float(np.linalg.norm((np.array(tumour.center) - other.center) * scale))
        if distance < tumour.reach_mm + other.reach_mm + gap_mm:
            return False
    return True
