"""Crops as the PETAR release makes them: whole voxels of the 3 mm grid, clipped at the exam's border, cut to PET > 0
and stretched to the tower's input.

The grid begins at the centre of the exam's first voxel and has a point every `spacing_mm`. Boxes on it are (i, j, k) in
RAS+, half-open; arrays of a crop are (z, y, x) with z from the head, y from the front and x from the patient's left.
After the release's preparation of its inputs (github.com/DanyalMaq/petar-release); windows are applied on the 3 mm
grid, before the resize and after the interpolation onto the grid.
"""

from dataclasses import dataclass
from math import ceil, floor

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import interpolate

from model.inputs.crops import MaskBox, Triple, focal_crop, linear_weights, resized, weighted
from model.inputs.windows import Floats, Window
from model.petar.config import InputsConfig, LayoutConfig, ModelConfig

_NEAR = 1e-6
"""Of a voxel: a point this close beyond the last voxel's centre lies on it."""


@dataclass(frozen=True)
class GridBox:
    """A box of grid points (i, j, k), half-open."""

    low: tuple[int, int, int]
    high: tuple[int, int, int]

    @property
    def shape(self) -> tuple[int, int, int]:
        """Points along each axis."""
        i, j, k = (b - a for a, b in zip(self.low, self.high))
        return i, j, k

    def inside(self, outer: "GridBox") -> tuple[slice, slice, slice]:
        """The box as slices of an array (z, y, x) of `outer`, z from the head and y from the front."""
        (i0, j0, k0), (i1, j1, k1) = self.low, self.high
        return (
            slice(outer.high[2] - k1, outer.high[2] - k0),
            slice(outer.high[1] - j1, outer.high[1] - j0),
            slice(i0 - outer.low[0], i1 - outer.low[0]),
        )


@dataclass(frozen=True)
class ExamArrays:
    """PET (SUV) and CT (HU) of an exam on one grid, (i, j, k) in RAS+."""

    pet: NDArray[np.generic]
    ct: NDArray[np.generic] | None
    spacing_mm: Triple


@dataclass(frozen=True)
class GridMask:
    """A mask on the grid, cut to its box; (i, j, k)."""

    array: NDArray[np.bool_]
    box: GridBox

    @classmethod
    def of(cls, array: NDArray[np.bool_], low: tuple[int, int, int]) -> "GridMask":
        """A mask that begins at a point of the grid, cut to what is set; there must be something."""
        spans = [np.flatnonzero(array.any(axis=tuple({0, 1, 2} - {axis}))) for axis in range(3)]
        slices = tuple(slice(int(s[0]), int(s[-1]) + 1) for s in spans)
        (i, j, k), (x, y, z) = ([n + getattr(s, end) for n, s in zip(low, slices)] for end in ("start", "stop"))
        return cls(array[slices], GridBox((i, j, k), (x, y, z)))

    def within(self, outer: GridBox) -> "GridMask":
        """The part of the mask in a box that it reaches into."""
        low = tuple(max(a, b) for a, b in zip(self.box.low, outer.low))
        high = (min(a, b) for a, b in zip(self.box.high, outer.high))
        cut = tuple(slice(a - m, b - m) for a, b, m in zip(low, high, self.box.low))
        return GridMask.of(self.array[cut], low)  # type: ignore[arg-type]  # three axes


def grid_of(shape: tuple[int, ...], spacing_mm: Triple, step_mm: float) -> GridBox:
    """All points of the grid: those within the exam's voxel centres, and one beyond where they do not end on one."""
    i, j, k = (ceil((n - 1) * s / step_mm - _NEAR) + 1 for n, s in zip(shape, spacing_mm))
    return GridBox((0, 0, 0), (i, j, k))


def mask_on_grid(mask: MaskBox, shape: tuple[int, ...], spacing_mm: Triple, step_mm: float) -> GridMask:
    """The mask at the nearest voxel of each grid point; one that falls between all points is its middle's nearest."""
    grid = grid_of(shape, spacing_mm, step_mm)
    chosen, voxels = [], []
    for axis, (n, s, origin) in enumerate(zip(shape, spacing_mm, mask.origin)):
        at = np.arange(grid.high[axis]) * (step_mm / s)
        nearest = np.floor(at + 0.5).astype(np.intp)
        held = (nearest >= origin) & (nearest < origin + mask.array.shape[axis]) & (at <= n - 1 + _NEAR)
        chosen.append(np.flatnonzero(held))
        voxels.append(nearest[held] - origin)
    array = mask.array[np.ix_(*voxels)] > 0
    if not array.any():
        middle = np.argwhere(mask.array).mean(axis=0) + mask.origin
        i, j, k = (min(round(float(m) * s / step_mm), n - 1) for m, s, n in zip(middle, spacing_mm, grid.high))
        return GridMask(np.ones((1, 1, 1), bool), GridBox((i, j, k), (i + 1, j + 1, k + 1)))
    # What the voxels of a mask give is without gaps: their points follow each other.
    return GridMask.of(array, tuple(int(c[0]) for c in chosen))  # type: ignore[arg-type]  # three axes


def global_box(grid: GridBox, mask: GridBox, inputs: InputsConfig) -> GridBox:
    """The crop that shows where the lesion lies: `field_voxels` from the head down, centred in the plane, and with
    `around` only `slices_around` above and below the middle slice of the lesion.

    An axis on which the field would cut the lesion off is not cut by it.
    """
    n_z, n_y, n_x = inputs.field_voxels
    low, high = list(grid.low), list(grid.high)
    for axis, most in enumerate((n_x, n_y, n_z)):
        n = grid.high[axis]
        start = max(n - most, 0) if axis == 2 else max((n - most) // 2, 0)
        stop = min(start + most, n)
        if start <= mask.low[axis] and mask.high[axis] <= stop:
            low[axis], high[axis] = start, stop
    if inputs.global_crop == "around":
        # Of an even number of slices the upper one, as it is where they are counted from the head.
        middle = (mask.low[2] + mask.high[2]) // 2
        low[2] = max(low[2], middle - inputs.slices_around)
        high[2] = min(high[2], middle + inputs.slices_around + 1)
    return GridBox((low[0], low[1], low[2]), (high[0], high[1], high[2]))


def focal_box(wide: GridBox, mask: GridBox, inputs: InputsConfig) -> GridBox:
    """The mask's box with the margin on each side, clipped to the global crop."""
    margin = inputs.focal_margin_voxels
    i, j, k = (max(m - margin, w) for m, w in zip(mask.low, wide.low))
    x, y, z = (min(m + margin, w) for m, w in zip(mask.high, wide.high))
    return GridBox((i, j, k), (x, y, z))


def on_grid(array: NDArray[np.generic], spacing_mm: Triple, step_mm: float, box: GridBox) -> Floats:
    """An exam's array at the grid points of a box, linear between voxels, (z, y, x); 0 beyond the last voxel."""
    axes = []
    for axis in (2, 1, 0):
        positions = np.arange(box.low[axis], box.high[axis], dtype=np.float64) * (step_mm / spacing_mm[axis])
        weights, start = linear_weights(positions, array.shape[axis], _NEAR)
        # From the head and from the front; x runs from the left as the exam's own axis does.
        axes.append((weights if axis == 0 else np.ascontiguousarray(weights[::-1]), start))
    (_, z), (_, y), (_, x) = axes
    stops = [start + weights.shape[1] for weights, start in axes]
    block = np.array(array[x : stops[2], y : stops[1], z : stops[0]].T, dtype=np.float32, order="C")
    block[~np.isfinite(block)] = 0
    return weighted(block, *(weights for weights, _ in axes))


def clipped_images(
    exam: ExamArrays, mask: MaskBox, config: ModelConfig, rng: np.random.Generator | None = None
) -> tuple[Tensor, Tensor | None]:
    """Global and focal images (3, z, y, x) in 0..1: PET, CT, mask; x as `config.layout.x_from` says.

    Args:
        exam: PET and CT; without a CT its channel is 0.
        mask: the lesion on the exam's grid.
        config: what its switches turn off is 0, and without the focal crop the second value is None.
        rng: jitters a focal crop that is a cube.
    """
    inputs, step = config.inputs, config.inputs.spacing_mm
    shape = exam.pet.shape
    lesion = mask_on_grid(mask, shape, exam.spacing_mm, step)
    wide = global_box(grid_of(shape, exam.spacing_mm, step), lesion.box, inputs)
    lesion = lesion.within(wide)
    block = np.zeros((3, *wide.shape[::-1]), np.float32)
    block[0] = Window(*inputs.pet_window_suv)(on_grid(exam.pet, exam.spacing_mm, step, wide))
    if config.use_ct and exam.ct is not None:
        block[1] = Window(*inputs.ct_window_hu)(on_grid(exam.ct, exam.spacing_mm, step, wide))
    if config.use_mask:
        block[2][lesion.box.inside(wide)] = lesion.array.T[::-1, ::-1]
    images = _stretched(block, config)
    if not config.use_focal:
        return images, None
    if inputs.focal_crop == "box":
        close = focal_box(wide, lesion.box, inputs)
    else:
        close = _cube(exam, mask, lesion.box, wide, inputs, rng)
    return images, _stretched(block[(slice(None), *close.inside(wide))], config)


def _cube(
    exam: ExamArrays,
    mask: MaskBox,
    lesion: GridBox,
    wide: GridBox,
    inputs: InputsConfig,
    rng: np.random.Generator | None,
) -> GridBox:
    """The cube of `focal_crop` in whole grid points, clipped to the global crop; the lesion stays inside."""
    crop = focal_crop(exam.spacing_mm, mask, inputs, rng)
    step = inputs.spacing_mm
    low = (max(min(ceil(c / step), m), w) for c, m, w in zip(crop.low_mm, lesion.low, wide.low))
    high = (min(max(floor(c / step) + 1, m), w) for c, m, w in zip(crop.high_mm, lesion.high, wide.high))
    (i, j, k), (x, y, z) = low, high
    return GridBox((i, j, k), (x, y, z))


def _stretched(block: Floats, config: ModelConfig) -> Tensor:
    """A crop (3, z, y, x), cut to its foreground, at the tower's input."""
    layout = config.layout
    if layout.foreground_crop:
        block = block[(slice(None), *_foreground(block[0]))]
    shape = config.vision.image_shape
    if layout.resize == "area":
        pictures = torch.from_numpy(np.stack([resized(channel, shape) for channel in block]))
        pictures[2] = (pictures[2] >= min(0.5, 0.5 * max(float(pictures[2].max()), 2e-6))).float()
    else:
        whole = torch.from_numpy(np.ascontiguousarray(block))[None]
        pictures = torch.cat(
            (
                interpolate(whole[:, :2], shape, mode="trilinear", align_corners=False),
                interpolate(whole[:, 2:], shape, mode="nearest"),
            ),
            dim=1,
        )[0]
    return pictures if layout.x_from == "left" else pictures.flip(-1)


def _foreground(pet: Floats) -> tuple[slice, ...]:
    """The box of PET > 0; all of it where there is none."""
    slices = []
    for axis in range(3):
        there = np.flatnonzero((pet > 0).any(axis=tuple({0, 1, 2} - {axis})))
        slices.append(slice(there[0], there[-1] + 1) if there.size else slice(None))
    return tuple(slices)


def flipped(images: Tensor, layout: LayoutConfig) -> Tensor:
    """Images (channels, z, y, x) whose x begins at the patient's right, as the layout has them."""
    return images if layout.x_from == "right" else images.flip(-1)
