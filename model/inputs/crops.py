"""Crops of an exam as the towers see them: 3 mm grid, window to 0..1, resized, all in one separable pass over the
memory map.

An exam's grid is right-angled, so a crop is three one-dimensional weightings, one an axis: linear interpolation onto
the 3 mm grid, then the resize to the tower's input. Both are linear, so their product is applied at once, and only the
voxels that a crop covers are read. Arrays come in as (i, j, k) in RAS+ order and go out as (z, y, x) as a radiologist
reads them: z from the head down, y from the front, x from the patient's right.
"""

from dataclasses import dataclass
from functools import lru_cache
from math import ceil

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from model.inputs.windows import Floats, Window
from model.petar.config import InputsConfig

Triple = tuple[float, float, float]


@dataclass(frozen=True)
class Crop:
    """A box along an exam's grid axes (i, j, k), in mm from the centre of voxel 0, sampled with `voxels` per axis."""

    low_mm: Triple
    high_mm: Triple
    voxels: tuple[int, int, int]


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
    A lesion beyond that field (a foot, an arm) moves it along that axis until the mask's box is inside.
    """
    step = config.spacing_mm
    n_z, n_y, n_x = config.field_voxels
    middle = [(n - 1) / 2 * s for n, s in zip(shape, spacing_mm)]
    if config.global_crop == "whole":
        middle[2] = (shape[2] - 0.5) * spacing_mm[2] - n_z * step / 2
    else:
        if mask is None:
            raise ValueError("expected a mask: the crop around a lesion has no place without one")
        n_z = 2 * config.slices_around
        low, high = mask.extent_mm(spacing_mm)
        middle[2] = (low[2] + high[2]) / 2
    voxels = (n_x, n_y, n_z)
    half = [n * step / 2 for n in voxels]
    if mask is not None:
        middle = [_held(m, h, low, high) for m, h, low, high in zip(middle, half, *mask.extent_mm(spacing_mm))]
    low_mm, high_mm = (tuple(m + sign * h for m, h in zip(middle, half)) for sign in (-1, 1))
    return Crop(low_mm, high_mm, voxels)  # type: ignore[arg-type]  # three axes


def _held(middle: float, half: float, low: float, high: float) -> float:
    """The middle of a field nearest to `middle` that holds low..high; the middle of both where the field is too
    small.
    """
    if high - low >= 2 * half:
        return (low + high) / 2
    return min(max(middle, high - half), low + half)


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


@lru_cache(maxsize=1024)
def _resize_weights(n_in: int, n_out: int) -> Floats:
    """Weights (n_out, n_in): the mean of what an output voxel covers when shrinking, linear when enlarging."""
    if n_out < n_in:
        edges = np.linspace(0, n_in, n_out + 1)
        cells = np.arange(n_in)
        weights = np.minimum(edges[1:, None], cells + 1) - np.maximum(edges[:-1, None], cells)
        weights = np.maximum(weights, 0)
        return (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)
    positions = np.clip((np.arange(n_out) + 0.5) * n_in / n_out - 0.5, 0, n_in - 1)
    return linear_weights(positions, n_in)[0]


def resized(array: Floats, shape: tuple[int, int, int]) -> Floats:
    """An array (z, y, x) at another shape: the mean of what a voxel covers when shrinking, linear when enlarging."""
    z, y, x = (_resize_weights(n, m) for n, m in zip(array.shape, shape))
    return weighted(array, z, y, x)


def linear_weights(positions: NDArray[np.float64], n_in: int, beyond: float = 0.5 + 1e-6) -> tuple[Floats, int]:
    """Weights (positions, voxels from `start` on) of linear interpolation at rising index positions, and `start`.

    Up to `beyond` voxels past the ends the end is repeated, farther out is nothing.
    """
    inside = (positions > -beyond) & (positions < n_in - 1 + beyond)
    clipped = np.clip(positions, 0, n_in - 1)
    lower = np.minimum(clipped.astype(np.intp), max(n_in - 2, 0))
    upper = np.minimum(lower + 1, n_in - 1)
    share = clipped - lower
    start = int(lower[0])
    weights = np.zeros((len(positions), int(upper[-1]) + 1 - start), np.float32)
    rows = np.arange(len(positions))
    weights[rows, lower - start] = (1 - share) * inside
    # A single voxel is its own neighbour.
    weights[rows, upper - start] += share * inside
    return weights, start


@lru_cache(maxsize=4096)
def _axis_weights(
    n_in: int, spacing_mm: float, low_mm: float, high_mm: float, voxels: int, n_out: int
) -> tuple[Floats, int, int]:
    """Weights (n_out, stop - start) over the voxels start..stop of an axis, output in falling order of index."""
    centres = low_mm + (np.arange(voxels) + 0.5) * (high_mm - low_mm) / voxels
    linear, start = linear_weights(centres / spacing_mm, n_in)
    weights = _resize_weights(voxels, n_out) @ linear
    # Falling: from the head, from the front, from the patient's right.
    return np.ascontiguousarray(weights[::-1]), start, start + weights.shape[1]


_DENSE_SIDE = 64
"""Up to this side of the output dense products are quicker than sparse ones."""


def sample(
    array: NDArray[np.generic], spacing_mm: Triple, crop: Crop, shape_zyx: tuple[int, int, int], window: Window
) -> Floats:
    """The crop of an array (i, j, k) as float32 (z, y, x). Only voxels of the crop are read, then windowed, then
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
        )
        for a, n in zip((2, 1, 0), shape_zyx)
    ]
    (w_z, z0, z1), (w_y, y0, y1), (w_x, x0, x1) = axes
    return _in_plane(window.weighted(array.T, ((z0, z1), (y0, y1), (x0, x1)), w_z), w_y, w_x)


def weighted(block: Floats, w_z: Floats, w_y: Floats, w_x: Floats) -> Floats:
    """A block (z, y, x) under the weights (out, in) of its axes."""
    n_z, n_y, n_x = block.shape
    # z first: it shrinks most, and it is the slowest axis in the file.
    flat = block.reshape(n_z, -1)
    is_dense = max(len(w_z), len(w_y), len(w_x)) <= _DENSE_SIDE
    return _in_plane(((w_z if is_dense else csr_array(w_z)) @ flat).reshape(-1, n_y, n_x), w_y, w_x)


def _in_plane(slab: Floats, w_y: Floats, w_x: Floats) -> Floats:
    """A slab (z, y, x) under the weights (out, in) of its last axes."""
    if max(len(slab), len(w_y), len(w_x)) <= _DENSE_SIDE:
        return np.matmul(np.matmul(w_y, slab), w_x.T)
    # Each output voxel is of few: sparse, and plane by plane, which stays in the cache.
    sparse_y, sparse_x = csr_array(w_y), csr_array(w_x)
    out = np.empty((len(slab), len(w_y), len(w_x)), np.float32)
    for plane, target in zip(slab, out):
        target[:] = (sparse_x @ (sparse_y @ plane).T).T
    return out


_UNCHANGED = Window(0, 1)
"""Of a mask."""


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
    filled = sample(padded, spacing_mm, shifted, shape_zyx, _UNCHANGED)
    most = float(filled.max())
    if most <= 1e-6:
        return np.zeros(shape_zyx, np.float32)
    return (filled >= min(0.5, 0.5 * most)).astype(np.float32)
