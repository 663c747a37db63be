"""Smooth random fields: uneven uptake of organs and tumours, rough surfaces."""

import numpy as np
from scipy import ndimage

from pipelines.phantom.body import Floats


def smooth_field(
    shape: tuple[int, int, int], spacing_mm: tuple[float, float, float], length_mm: float, rng: np.random.Generator
) -> Floats:
    """A random field of mean 0 and standard deviation 1 on a grid, float32; it varies over about `length_mm`."""
    coarse = [max(2, int(np.ceil((n - 1) * s / length_mm)) + 1) for n, s in zip(shape, spacing_mm)]
    # Values every `length_mm`, spline between: quick on large grids, and smooth.
    seeds = rng.standard_normal(coarse, dtype=np.float32)
    field = ndimage.zoom(seeds, [n / c for n, c in zip(shape, coarse)], order=1, grid_mode=False, mode="nearest")
    field -= field.mean()
    deviation = float(field.std())
    return (field / deviation if deviation > 0 else field).astype(np.float32)


def uneven(field: Floats, variation: Floats | float) -> Floats:
    """Factors of mean 1 (log-normal) from a field of deviation 1; `variation` is the deviation of the logarithm."""
    return np.exp(np.float32(1) * variation * field - 0.5 * np.square(variation, dtype=np.float32)).astype(np.float32)
