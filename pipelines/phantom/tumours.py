"""Lesions: their shapes, where they fit, how they look on a grid, and whether a sentence about them can be located."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from pipelines.imaging.organ_labels import LABELS
from pipelines.phantom.body import Floats, Grid, Point
from pipelines.phantom.sites import Site

Box = tuple[slice, slice, slice]
_SUBSAMPLES = 3

HOT = ("brain", "kidney_right", "kidney_left", "urinary_bladder", "heart")
"""Organs that no lesion may lie in: their own uptake would hide it."""


@dataclass(frozen=True)
class Blob:
    """One ellipsoid of a lesion: offset from the lesion's centre and radii in real mm, turned by a rotation matrix
    (rows).
    """

    offset_mm: Point
    radii_mm: Point
    rotation: tuple[Point, Point, Point]


@dataclass(frozen=True)
class Tumour:
    """A lesion of one exam: a union of blobs around `center` (body mm), with an inactive core where `core` > 0.

    `suv` is the ideal activity, before blur and noise; `gradient` its relative change from one end to the other.
    `touches` names the lesion it was put beside; `is_followed` says that an earlier exam has it too.
    """

    lesion_id: str
    site: Site
    center: Point
    blobs: tuple[Blob, ...]
    suv: float
    core: float = 0.0
    gradient: float = 0.0
    touches: str = ""
    is_followed: bool = False

    @property
    def reach_mm(self) -> float:
        """No point of the lesion lies farther from its centre."""
        return max(float(np.linalg.norm(b.offset_mm)) + max(b.radii_mm) for b in self.blobs)

    @property
    def radius_mm(self) -> float:
        """Mean radius of its main blob."""
        return float(np.cbrt(np.prod(self.blobs[0].radii_mm)))


def draw_blobs(radius_mm: float, lobulated: bool, rng: np.random.Generator) -> tuple[Blob, ...]:
    """One turned ellipsoid of about `radius_mm`, or that with two or three smaller ones on its surface."""
    blobs = [_blob((0.0, 0.0, 0.0), radius_mm, rng)]
    if lobulated:
        for _ in range(int(rng.integers(2, 4))):
            direction = rng.normal(size=3)
            x, y, z = direction / np.linalg.norm(direction) * 0.75 * radius_mm
            blobs.append(_blob((float(x), float(y), float(z)), radius_mm * float(rng.uniform(0.5, 0.7)), rng))
    return tuple(blobs)


def _blob(offset_mm: Point, radius_mm: float, rng: np.random.Generator) -> Blob:
    ratios = rng.uniform(0.82, 1.22, 3)
    a, b, c = radius_mm * ratios / np.cbrt(ratios.prod())
    q, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    rows = tuple((float(r[0]), float(r[1]), float(r[2])) for r in q)
    return Blob(offset_mm, (float(a), float(b), float(c)), rows)  # type: ignore[arg-type]  # three rows


_T = TypeVar("_T", bound=Tumour)
_HOTTEST_SUV = 38.0
"""No lesion becomes hotter than this by growing."""


def resize(tumour: _T, factor: float) -> _T:
    """The same lesion grown (or shrunk) in every direction."""
    blobs = tuple(
        Blob(
            tuple(factor * v for v in b.offset_mm),  # type: ignore[arg-type]
            tuple(factor * v for v in b.radii_mm),  # type: ignore[arg-type]
            b.rotation,
        )
        for b in tumour.blobs
    )
    return replace(tumour, blobs=blobs)


def at_next_visit(tumour: _T, rng: np.random.Generator) -> _T | None:
    """A lesion at the next visit: gone (None), hotter and larger, cooler and smaller, or much the same."""
    fate = rng.random()
    if fate < 0.15:
        return None
    size, activity_ratio = 1.0, float(rng.uniform(0.95, 1.05))
    if fate < 0.45:
        size, activity_ratio = float(rng.uniform(1.05, 1.2)), float(rng.uniform(1.3, 1.7))
    elif fate < 0.75:
        size, activity_ratio = float(rng.uniform(0.88, 0.98)), float(rng.uniform(0.6, 0.78))
    hottest = max(_HOTTEST_SUV, tumour.suv)
    return replace(resize(tumour, size), suv=min(hottest, tumour.suv * activity_ratio), is_followed=True)


@dataclass(frozen=True)
class Shape:
    """A lesion on a grid: occupancy (0..1) of the voxels of `box`, and `mask`, the voxels that it fills by half or
    more.
    """

    box: Box
    occupancy: Floats
    core: Floats
    mask: NDArray[np.bool_]


def shape_on(tumour: Tumour, grid: Grid, scale: Point) -> Shape:
    """The lesion on `grid`, each voxel sampled at 3 x 3 x 3 points. The inactive core is not part of its mask."""
    reach = tumour.reach_mm
    steps = [float(axis[1] - axis[0]) for axis in (grid.x, grid.y, grid.z)]
    low = [c - reach / s - step for c, s, step in zip(tumour.center, scale, steps)]
    high = [c + reach / s + step for c, s, step in zip(tumour.center, scale, steps)]
    box = grid.box((low[0], low[1], low[2]), (high[0], high[1], high[2]))
    axes = []
    for axis, part, center, s, step in zip((grid.x, grid.y, grid.z), box, tumour.center, scale, steps):
        fine = axis[part][:, None] + step * (np.arange(_SUBSAMPLES) - (_SUBSAMPLES - 1) / 2) / _SUBSAMPLES
        axes.append(((fine.ravel() - center) * s).astype(np.float64))
    points = np.stack(np.meshgrid(*axes, indexing="ij"), -1)
    whole = np.zeros(points.shape[:3], bool)
    core = np.zeros(points.shape[:3], bool)
    for n, blob in enumerate(tumour.blobs):
        local = (points - np.array(blob.offset_mm)) @ np.array(blob.rotation).T / np.array(blob.radii_mm)
        distance2 = (local**2).sum(-1)
        whole |= distance2 < 1
        if n == 0 and tumour.core > 0:
            core = distance2 < tumour.core**2
    occupancy, core_share = _share(whole), _share(core)
    return Shape(box, occupancy, core_share, (occupancy - core_share) >= 0.5)


def _share(fine: NDArray[np.bool_]) -> Floats:
    n = _SUBSAMPLES
    i, j, k = (s // n for s in fine.shape)
    return fine.reshape(i, n, j, n, k, n).mean((1, 3, 5), dtype=np.float32)


def activity(tumour: Tumour, shape: Shape, background_suv: float) -> Floats:
    """Ideal SUV inside the lesion on the voxels of its box: a gradient along its longest blob axis, and a cold core."""
    sizes = shape.occupancy.shape
    ramp = np.linspace(-0.5, 0.5, sizes[0], dtype=np.float32)[:, None, None]
    suv = tumour.suv * (1 + tumour.gradient * ramp)
    with np.errstate(invalid="ignore", divide="ignore"):
        cold = np.where(shape.occupancy > 0, shape.core / shape.occupancy, 0)
    return (suv * (1 - cold) + 1.2 * background_suv * cold).astype(np.float32)


def fits(tumour: Tumour, shape: Shape, labels: NDArray[np.uint8], suv: Floats, grid: Grid) -> bool:
    """Whether the lesion lies inside the body and its host, off the hot organs, and two slices from the edge of the
    image.
    """
    box = shape.box
    if any(b.start < 2 or b.stop > n - 2 for b, n in zip(box, grid.shape)) or not shape.mask.any():
        return False
    inside = labels[box][shape.mask]
    if (suv[box][shape.mask] <= 0).any() or np.isin(inside, [LABELS[h] for h in HOT]).any():
        return False
    if tumour.site.host and tumour.site.inside > 0:
        return float((inside == LABELS[tumour.site.host]).mean()) >= tumour.site.inside
    return True


def draw_center(site: Site, labels: NDArray[np.uint8], grid: Grid, rng: np.random.Generator) -> Point | None:
    """A centre (body mm) in the site's host or around its point; None where this grid does not hold the host."""
    if site.point is not None:
        x, y, z = np.array(site.point) + np.clip(rng.normal(0, 0.5, 3), -1, 1) * site.spread_mm
        return float(x), float(y), float(z)
    voxels = np.flatnonzero(labels == LABELS[site.host])
    if len(voxels) == 0:
        return None
    i, j, k = np.unravel_index(int(rng.choice(voxels)), labels.shape)
    return float(grid.x[i]), float(grid.y[j]), float(grid.z[k])


@dataclass(frozen=True)
class Peak:
    """The hottest voxel of a lesion and its SUV in the noisy image."""

    ijk: tuple[int, int, int]
    suvmax: float


def peak_of(image: Floats, box: Box, mask: NDArray[np.bool_]) -> Peak | None:
    """The lesion's hottest voxel, or None where a hotter voxel touches it: then it is another structure's slope, not
    a peak.
    """
    values = np.where(mask, image[box], -1)
    i, j, k = (int(v) + b.start for v, b in zip(np.unravel_index(int(values.argmax()), values.shape), box))
    around = image[max(0, i - 1) : i + 2, max(0, j - 1) : j + 2, max(0, k - 1) : k + 2]
    value = float(image[i, j, k])
    return Peak((i, j, k), value) if value >= float(around.max()) else None


def hot_slices(image: Floats, box: Box, mask: NDArray[np.bool_], suvmax: float) -> list[int]:
    """The k of the slices in which the lesion reaches 80 % of its maximum."""
    tops = np.where(mask, image[box], 0).max((0, 1))
    return [box[2].start + int(k) for k in np.flatnonzero(tops >= 0.8 * suvmax)]


class Maxima:
    """The local maxima of an image (26 neighbours), to ask which of them a slice and a SUVmax could mean."""

    def __init__(self, image: Floats, floor_suv: float = 1.5) -> None:
        self._image = image
        top = ndimage.maximum_filter(image, 3, mode="nearest")
        self._ijk = np.argwhere((image == top) & (image > floor_suv))
        self._suv = image[tuple(self._ijk.T)]

    def of_suv(self, suvmax: float, tolerance_suv: float) -> NDArray[np.intp]:
        """Voxels (n, 3) of the maxima within `tolerance_suv` of a SUVmax."""
        return self._ijk[np.abs(self._suv - suvmax) <= tolerance_suv]

    def matching(self, slice_k: int, suvmax: float, tolerance_suv: float = 0.16) -> list[tuple[int, int, int]]:
        """Maxima within `tolerance_suv` of a SUVmax whose 6-connected component above 0.617 + 0.316 SUVmax meets
        slice `slice_k`.

        The threshold is the published one of the localisation, so that nothing which it could take for the lesion is
        missed.
        """
        near = np.flatnonzero(np.abs(self._suv - suvmax) <= tolerance_suv)
        if len(near) == 0:
            return []
        components, _ = ndimage.label(self._image > min(0.617 + 0.316 * suvmax, 0.9 * suvmax))
        crossing = np.unique(components[:, :, slice_k])
        found = components[tuple(self._ijk[near].T)]
        return [tuple(int(v) for v in self._ijk[n]) for n, c in zip(near, found) if c > 0 and c in crossing]  # type: ignore[misc]


def far_enough(center: Point, reach_mm: float, others: Sequence[Tumour], scale: Point, gap_mm: float) -> bool:
    """Whether a lesion keeps `gap_mm` to all others."""
    for other in others:
        distance = float(np.linalg.norm((np.array(center) - other.center) * scale))
        if distance < reach_mm + other.reach_mm + gap_mm:
            return False
    return True


def axial_size_mm(filled: NDArray[np.bool_], spacing_mm: tuple[float, float, float]) -> tuple[float, float]:
    """Long and short axis (mm) of a lesion on its largest axial slice, from its area moments."""
    plane = filled[:, :, int(filled.sum((0, 1)).argmax())]
    points = np.argwhere(plane) * np.array(spacing_mm[:2])
    if len(points) < 3:
        return 2 * spacing_mm[0], spacing_mm[0]
    spread = np.sqrt(np.maximum(np.linalg.eigvalsh(np.cov(points.T)), 1.0)) * 4
    return float(spread[1]), float(spread[0])


def overlap(a: Box, b: Box) -> bool:
    """Whether two boxes have a voxel in common."""
    return all(x.start < y.stop and y.start < x.stop for x, y in zip(a, b))


class Filled(Protocol):
    """What fills voxels of a box: their share, and the voxels that are its own."""

    @property
    def box(self) -> Box: ...
    @property
    def occupancy(self) -> Floats: ...
    @property
    def mask(self) -> NDArray[np.bool_]: ...


def subtract(occupied: Floats, mask: NDArray[np.bool_], box: Box, other: Filled) -> None:
    """Takes out of a lesion's voxels what another lesion already fills."""
    if not overlap(box, other.box):
        return
    mine, theirs = [], []
    for a, b in zip(box, other.box):
        low, high = max(a.start, b.start), min(a.stop, b.stop)
        mine.append(slice(low - a.start, high - a.start))
        theirs.append(slice(low - b.start, high - b.start))
    here, there = tuple(mine), tuple(theirs)
    occupied[here] = np.minimum(occupied[here], 1 - other.occupancy[there])
    mask[here] &= ~other.mask[there]
