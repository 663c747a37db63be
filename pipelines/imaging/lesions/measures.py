"""What is measured on a mask: volume, uptake, peak, position and extent, in the conventions of IBSI where it has
one."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import lru_cache
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from pipelines.imaging.lesions.faces import stepped
from pipelines.imaging.volume import Volume, by_axis

PEAK_RADIUS_MM = (3000.0 / (4.0 * np.pi)) ** (1.0 / 3.0)
"""Radius of a sphere of 1 mL: 6.2035 mm."""


@dataclass(frozen=True)
class Measures:
    """Measures of one lesion, named as the columns of `lesions`. Boxes are half-open, positions voxel or RAS
    mm."""

    peak_i: int
    peak_j: int
    peak_k: int
    peak_x_mm: float
    peak_y_mm: float
    peak_z_mm: float
    centroid_i: float
    centroid_j: float
    centroid_k: float
    centroid_x_mm: float
    centroid_y_mm: float
    centroid_z_mm: float
    box_i0: int
    box_j0: int
    box_k0: int
    box_i1: int
    box_j1: int
    box_k1: int
    n_voxels: int
    voxel_ml: float
    spacing_i_mm: float
    spacing_j_mm: float
    spacing_k_mm: float
    suvmax: float
    suvmean: float
    suvpeak: float
    mtv_ml: float
    tlg: float
    diameter_mm: float
    touches_border: bool

    def to_row(self) -> dict[str, Any]:
        """The measures by column name."""
        return {f.name: getattr(self, f.name) for f in fields(self)}


def measure(suv: Volume, mask: NDArray[np.bool_], corner: tuple[int, int, int]) -> Measures:
    """The measures of a mask (i, j, k), a box of the volume whose first voxel is at `corner`.

    suvpeak is the greatest mean over a sphere of 1 mL around a voxel of the mask (IBSI's global peak); the sphere
    counts the voxels whose centre lies inside, of the image and not only of the mask. Raises ValueError for an empty
    mask.
    """
    inside = np.argwhere(mask)
    if len(inside) == 0:
        raise ValueError("expected a mask with voxels, got an empty one: do not measure what was not contoured")
    low, high = inside.min(axis=0), inside.max(axis=0) + 1
    ijk = inside + np.array(corner)
    box_low, box_high = low + np.array(corner), high + np.array(corner)
    values = suv.array[ijk[:, 0], ijk[:, 1], ijk[:, 2]].astype(np.float64)
    peak = ijk[int(values.argmax())]
    centroid = ijk.mean(axis=0)
    voxel_ml = suv.voxel_ml
    mean = float(values.mean())
    return Measures(
        **by_axis("peak_{}", peak.tolist()),
        **by_axis("peak_{}_mm", suv.to_ras_mm(peak).tolist(), "xyz"),
        **by_axis("centroid_{}", centroid.tolist()),
        **by_axis("centroid_{}_mm", suv.to_ras_mm(centroid).tolist(), "xyz"),
        **by_axis("box_{}0", box_low.tolist()),
        **by_axis("box_{}1", box_high.tolist()),
        n_voxels=len(ijk),
        voxel_ml=voxel_ml,
        **by_axis("spacing_{}_mm", suv.spacing_mm),
        suvmax=float(values.max()),
        suvmean=mean,
        suvpeak=global_peak(suv, ijk),
        mtv_ml=len(ijk) * voxel_ml,
        tlg=mean * len(ijk) * voxel_ml,
        diameter_mm=largest_diameter_mm(mask[tuple(slice(a, b) for a, b in zip(low, high))], suv.spacing_mm),
        touches_border=bool((box_low == 0).any() or (box_high == np.array(suv.shape)).any()),
    )


@lru_cache(maxsize=8)
def _sphere(spacing_mm: tuple[float, float, float]) -> NDArray[np.int64]:
    """Offsets (n, 3) of the voxels whose centre lies within the sphere of 1 mL around a voxel."""
    grid = offsets_within(spacing_mm, PEAK_RADIUS_MM)
    return grid[((grid * np.array(spacing_mm)) ** 2).sum(axis=1) <= PEAK_RADIUS_MM**2]


def offsets_within(spacing_mm: Sequence[float], reach_mm: float) -> NDArray[np.int64]:
    """Offsets (n, 3) of the voxels of a box that reaches so many mm from a voxel to every side, and one voxel at
    least."""
    reach = [max(1, int(reach_mm / s)) for s in spacing_mm]
    return np.stack(np.meshgrid(*[np.arange(-r, r + 1) for r in reach], indexing="ij"), axis=-1).reshape(-1, 3)


def global_peak(suv: Volume, ijk: NDArray[np.int64]) -> float:
    """The greatest mean over a sphere of 1 mL around any of the voxels ijk (n, 3); voxels outside the image do not
    count."""
    return float(peak_means(suv, ijk).max())


def local_peak(suv: Volume, ijk: NDArray[np.int64]) -> float:
    """The mean over a sphere of 1 mL around the hottest of the voxels ijk (n, 3); of several as hot, the greatest
    mean."""
    values = suv.array[ijk[:, 0], ijk[:, 1], ijk[:, 2]]
    return float(peak_means(suv, ijk[values == values.max()]).max())


def peak_means(suv: Volume, ijk: NDArray[np.int64]) -> NDArray[np.float64]:
    """The mean over a sphere of 1 mL around each of the voxels ijk (n, 3), shape (n,); voxels outside the image do not
    count."""
    return np.asarray(_means(suv.array, ijk, _sphere(suv.spacing_mm)))


@numba.njit(cache=True)
def _means(array, ijk, offsets):
    """Mean (n,) of the voxels at the offsets from each voxel; NaN where none of them is in the image."""
    n_i, n_j, n_k = array.shape
    out = np.full(len(ijk), np.nan)
    for n in range(len(ijk)):
        total, count = 0.0, 0
        for m in range(len(offsets)):
            i, j, k = ijk[n, 0] + offsets[m, 0], ijk[n, 1] + offsets[m, 1], ijk[n, 2] + offsets[m, 2]
            if 0 <= i < n_i and 0 <= j < n_j and 0 <= k < n_k:
                total += array[i, j, k]
                count += 1
        if count > 0:
            out[n] = total / count
    return out


def largest_diameter_mm(mask: NDArray[np.bool_], spacing_mm: tuple[float, float, float]) -> float:
    """The largest distance between two points of the mask's surface in mm (IBSI's maximum 3D diameter).

    The vertices of the iso-surface of a binary mask at one half are the middles of its exposed faces, so no mesh is
    built.
    """
    faces = _exposed_faces(np.ascontiguousarray(mask), np.array(spacing_mm))
    distance = np.linalg.norm(faces - faces.mean(axis=0), axis=1)
    order = np.argsort(-distance)
    return float(_farthest(faces[order], distance[order]))


@numba.njit(cache=True)
def _exposed_faces(mask, spacing):
    n_i, n_j, n_k = mask.shape
    count = 0
    for fill in range(2):
        if fill == 1:
            faces = np.empty((count, 3), np.float64)
        count = 0
        for i in range(n_i):
            for j in range(n_j):
                for k in range(n_k):
                    if not mask[i, j, k]:
                        continue
                    for side in range(6):
                        a, b, c = stepped(i, j, k, side)
                        if 0 <= a < n_i and 0 <= b < n_j and 0 <= c < n_k and mask[a, b, c]:
                            continue
                        if fill == 1:
                            faces[count, 0] = 0.5 * (i + a) * spacing[0]
                            faces[count, 1] = 0.5 * (j + b) * spacing[1]
                            faces[count, 2] = 0.5 * (k + c) * spacing[2]
                        count += 1
    return faces


@numba.njit(cache=True)
def _farthest(points, distance):
    """Largest distance of two points, sorted by `distance` from their middle downwards: pairs that cannot win are
    skipped."""
    best = 0.0
    for a in range(len(points)):
        if 2.0 * distance[a] <= best:
            break
        for b in range(a + 1, len(points)):
            if distance[a] + distance[b] <= best:
                break
            x = points[a, 0] - points[b, 0]
            y = points[a, 1] - points[b, 1]
            z = points[a, 2] - points[b, 2]
            best = max(best, np.sqrt(x * x + y * y + z * z))
    return best


def mesh_volume_ml(mask: NDArray[np.bool_], spacing_mm: tuple[float, float, float]) -> float:
    """Volume in mL inside the triangle mesh of the mask's surface (marching cubes at one half; IBSI's mesh volume)."""
    from skimage.measure import marching_cubes

    padded = np.pad(mask, 1).astype(np.float32)
    vertices, faces, _, _ = marching_cubes(padded, 0.5, spacing=spacing_mm)
    a, b, c = (vertices[faces[:, n]].astype(np.float64) for n in range(3))
    return float(abs(np.einsum("ij,ij->i", a, np.cross(b, c)).sum()) / 6.0 / 1000.0)


def energy(values: NDArray[np.float64]) -> float:
    """Sum of the squared values of a mask's voxels (IBSI's energy)."""
    return float(np.square(np.asarray(values, dtype=np.float64)).sum())
