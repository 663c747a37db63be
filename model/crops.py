"""Crops of an exam as the towers see them: 3 mm grid, window to 0..1, resized, all in one separable pass over the
memory map.

An exam's grid is right-angled, so a crop is three one-dimensional weightings, one an axis: linear interpolation onto
the 3 mm grid, then the resize to the tower's input. Both are linear, so their product is applied at once, and only the
voxels that a crop covers are read. Arrays come in as (i, j, k) in RAS+ order and go out as (z, y, x) as a radiologist
reads them: z from the head down, y from the front, x from the patient's right.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from math import ceil
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from model.config import InputsConfig

Resize = Literal["area", "linear"]
Floats = NDArray[np.float32]
Triple = tuple[float, float, float]


@dataclass(frozen=True)
class Crop:
    """A box along an exam's grid axes (i, j, k), in mm from the centre of voxel 0, sampled with `voxels` per axis."""

    low_mm: Triple
    high_mm: Triple
    voxels: tuple[int, int, int]

    def overlaps(self, low_mm: Triple, high_mm: Triple) -> bool:
        """Whether a box in the same coordinates shares volume with this one."""
        return all(a < d and c < b for a, b, c, d in zip(self.low_mm, self.high_mm, low_mm, high_mm))


@dataclass(frozen=True)
class MaskBox:
    """A binary mask (i, j, k) cut to its box, and where the box begins on the exam's grid."""

    array: NDArray[np.uint8]
    origin: tuple[int, int, int]

    def extent_mm(self, spacing_mm: Triple) -> tuple[Triple, Triple]:
        """Low and high faces of the box, in mm from the centre of voxel 0."""
        low = tuple((o - 0.5) * s for o, s in zip(self.origin, spacing_mm))
        high = tuple((o + n - 0.5) * s for o, n, s in zip(self.origin, self.array.shape, spacing_mm))
        return low, high  # type: ignore[return-value]  # three axes


def global_crop(shape: tuple[int, int, int], spacing_mm: Triple, mask: MaskBox | None, config: InputsConfig) -> Crop:
    """The crop that shows where the lesion lies.

    `whole`: `field_voxels` of 3 mm, from the top slice down, centred in the axial plane; it needs no mask.
    `around`: the same in the plane, and `slices_around` voxels above and below the middle of the mask's box.
    """
    step = config.spacing_mm
    n_z, n_y, n_x = config.field_voxels
    middle = [(n - 1) / 2 * s for n, s in zip(shape, spacing_mm)]
    if config.global_crop == "whole":
        top = (shape[2] - 0.5) * spacing_mm[2]
        bottom = top - n_z * step
    else:
        if mask is None:
            raise ValueError("expected a mask: the crop around a lesion has no place without one")
        n_z = 2 * config.slices_around
        low, high = mask.extent_mm(spacing_mm)
        bottom = (low[2] + high[2]) / 2 - n_z / 2 * step
        top = bottom + n_z * step
    half_x, half_y = n_x * step / 2, n_y * step / 2
    return Crop(
        (middle[0] - half_x, middle[1] - half_y, bottom), (middle[0] + half_x, middle[1] + half_y, top), (n_x, n_y, n_z)
    )


def focal_crop(spacing_mm: Triple, mask: MaskBox, config: InputsConfig, rng: np.random.Generator | None = None) -> Crop:
    """The crop that shows the lesion close up; with `rng` it is jittered (training), without it is centred.

    `cube`: side r = the longest side of the mask's box and a margin on both ends; centre and side move by
    U(-jitter r, jitter r), then side and centre give way until the whole box is inside. `box`: each side of the mask's
    box and the margin, never jittered.
    """
    low, high = (np.array(face) for face in mask.extent_mm(spacing_mm))
    size, centre = high - low, (low + high) / 2
    margin = config.focal_margin_voxels * config.spacing_mm
    sides = size + 2 * margin
    if config.focal_crop == "cube":
        side = float(sides.max())
        if rng is not None:
            centre = centre + rng.uniform(-config.focal_jitter, config.focal_jitter, 3) * side
            side = side * (1 + rng.uniform(-config.focal_jitter, config.focal_jitter))
        side = max(side, float(size.max()))
        # The box is inside when the centre is within half a side of both its faces.
        centre = np.clip(centre, high - side / 2, low + side / 2)
        sides = np.full(3, side)
    voxels = np.maximum(np.round(sides / config.spacing_mm), 1).astype(int)
    return Crop(tuple((centre - sides / 2).tolist()), tuple((centre + sides / 2).tolist()), tuple(voxels.tolist()))


def _resize_weights(n_in: int, n_out: int, resize: Resize) -> Floats:
    """Weights (n_out, n_in). `area` averages what an output voxel covers when shrinking; enlarging is always linear."""
    if resize == "area" and n_out < n_in:
        edges = np.linspace(0, n_in, n_out + 1)
        cells = np.arange(n_in)
        weights = np.minimum(edges[1:, None], cells + 1) - np.maximum(edges[:-1, None], cells)
        weights = np.maximum(weights, 0)
        return (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)
    positions = np.clip((np.arange(n_out) + 0.5) * n_in / n_out - 0.5, 0, n_in - 1)
    return _linear_weights(positions, n_in)


def _linear_weights(positions: NDArray[np.float64], n_in: int) -> Floats:
    """Linear interpolation at index positions; half a voxel beyond the ends repeats the end, farther out is nothing."""
    inside = (positions > -0.5 - 1e-6) & (positions < n_in - 0.5 + 1e-6)
    clipped = np.clip(positions, 0, n_in - 1)
    lower = np.minimum(np.floor(clipped).astype(int), max(n_in - 2, 0))
    upper = np.minimum(lower + 1, n_in - 1)
    share = clipped - lower
    weights = np.zeros((len(positions), n_in), np.float32)
    rows = np.arange(len(positions))
    np.add.at(weights, (rows, lower), (1 - share) * inside)
    np.add.at(weights, (rows, upper), share * inside)
    return weights


@lru_cache(maxsize=4096)
def _axis_weights(
    n_in: int, spacing_mm: float, low_mm: float, high_mm: float, voxels: int, n_out: int, resize: Resize
) -> tuple[csr_array, int, int]:
    """Sparse weights (n_out, stop - start) over the voxels start..stop of an axis, output in falling order of index."""
    centres = low_mm + (np.arange(voxels) + 0.5) * (high_mm - low_mm) / voxels
    weights = _resize_weights(voxels, n_out, resize) @ _linear_weights(centres / spacing_mm, n_in)
    used = np.flatnonzero(weights.any(axis=0))
    start, stop = (int(used[0]), int(used[-1]) + 1) if len(used) else (0, 1)
    # Falling: from the head, from the front, from the patient's right.
    return csr_array(np.ascontiguousarray(weights[::-1, start:stop])), start, stop


def sample(
    array: NDArray[np.generic],
    spacing_mm: Triple,
    crop: Crop,
    shape_zyx: tuple[int, int, int],
    resize: Resize,
    window: Callable[[NDArray[np.generic]], Floats],
) -> Floats:
    """The crop of an array (i, j, k) as float32 (z, y, x). Only the voxels of the crop are read, then windowed, then
    resized.

    Beyond the array it is 0, the low end of the window.
    """
    axes = [
        _axis_weights(
            array.shape[a],
            round(spacing_mm[a], 6),
            round(crop.low_mm[a], 4),
            round(crop.high_mm[a], 4),
            crop.voxels[a],
            n,
            resize,
        )
        for a, n in zip((2, 1, 0), shape_zyx)
    ]
    (w_z, z0, z1), (w_y, y0, y1), (w_x, x0, x1) = axes
    block = window(array[x0:x1, y0:y1, z0:z1].T)
    # z first: it shrinks most, and it is the slowest axis in the file. Then plane by plane, which stays in the cache.
    slab = (w_z @ block.reshape(z1 - z0, -1)).reshape(-1, y1 - y0, x1 - x0)
    out = np.empty(shape_zyx, np.float32)
    for plane, target in zip(slab, out):
        target[:] = (w_x @ (w_y @ plane).T).T
    return out


def unit_window(low: float, high: float) -> Callable[[NDArray[np.generic]], Floats]:
    """A function that maps low..high to 0..1 as contiguous float32 and clips what lies outside; not-a-number becomes
    0.
    """

    def apply(values: NDArray[np.generic]) -> Floats:
        # In memory order of the file, then one pass each: this runs over millions of voxels a sample.
        out = np.array(values, dtype=np.float32, order="C")
        out -= low
        out *= 1.0 / (high - low)
        np.nan_to_num(out, copy=False, nan=0.0, posinf=1.0, neginf=0.0)
        return np.clip(out, 0.0, 1.0, out=out)

    return apply


def sample_mask(
    mask: MaskBox, shape: tuple[int, int, int], spacing_mm: Triple, crop: Crop, shape_zyx: tuple[int, int, int]
) -> Floats:
    """The mask in a crop, 0 or 1, as float32 (z, y, x): set where it fills half as much as where it fills most.

    So a large mask is cut at one half, and one smaller than an output voxel does not vanish. All 0 only outside the
    crop.
    """
    # Inside its own box the mask is padded by one voxel, so that its border falls off instead of being repeated.
    padded = np.pad(mask.array, 1)
    origin = [o - 1 for o in mask.origin]
    shifted = Crop(
        tuple(low - o * s for low, o, s in zip(crop.low_mm, origin, spacing_mm)),  # type: ignore[arg-type]  # three axes
        tuple(high - o * s for high, o, s in zip(crop.high_mm, origin, spacing_mm)),  # type: ignore[arg-type]
        # At least two points a voxel: on the 3 mm grid alone, a finer mask of one voxel could fall between two points.
        tuple(max(n, ceil(2 * (b - a) / s)) for n, a, b, s in zip(crop.voxels, crop.low_mm, crop.high_mm, spacing_mm)),  # type: ignore[arg-type]
    )
    filled = sample(padded, spacing_mm, shifted, shape_zyx, "area", lambda a: np.array(a, dtype=np.float32, order="C"))
    most = float(filled.max())
    if most <= 1e-6:
        return np.zeros(shape_zyx, np.float32)
    return (filled >= min(0.5, 0.5 * most)).astype(np.float32)
