"""Windows: values of an exam as 0 to 1."""

from dataclasses import dataclass

import numba
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Bounds = tuple[tuple[int, int], tuple[int, int], tuple[int, int]]


@dataclass(frozen=True)
class Window:
    """What maps low..high to 0..1 as float32 and clips what lies outside; not-a-number becomes 0."""

    low: float
    high: float

    def __call__(self, values: NDArray[np.generic]) -> Floats:
        """The values in the window; a new array."""
        # In memory order of the file, then one pass each: this runs over millions of voxels a sample.
        out = np.array(values, dtype=np.float32, order="C")
        out -= self.low
        out *= 1.0 / (self.high - self.low)
        # fmax and fmin take the number where the other is none.
        np.fmax(out, 0.0, out=out)
        return np.fmin(out, 1.0, out=out)

    def weighted(self, array: NDArray[np.generic], bounds: Bounds, weights: Floats) -> Floats:
        """Part of an array in the window, under weights of its first axis: (out, y, x).

        In one pass over the voxels: reading a whole body costs a sample most of its time.

        Args:
            array: (z, y, x).
            bounds: of each axis, first voxel and the one after the last.
            weights: (out, z of the part).
        """
        if array.dtype not in _READ_AS_THEY_ARE or not array.flags.c_contiguous:
            array = np.ascontiguousarray(array[tuple(slice(*bound) for bound in bounds)], np.float32)
            bounds = tuple((0, n) for n in array.shape)  # type: ignore[assignment]  # three axes
        source = np.asarray(array).view()
        # One type for the compiler, of memory maps and arrays.
        source.flags.writeable = False
        low, scale = np.float32(self.low), np.float32(1.0 / (self.high - self.low))
        return _weighted(source, bounds, weights, low, scale)  # type: ignore[no-any-return]  # numba


_READ_AS_THEY_ARE = (np.dtype(np.float32), np.dtype(np.int16))
"""How the lake stores PET and CT; others are copied."""


@numba.njit(cache=True, nogil=True)
def _weighted(array, bounds, weights, low, scale):  # type: ignore[no-untyped-def]
    (z0, z1), (y0, y1), (x0, x1) = bounds
    n_y, n_x = y1 - y0, x1 - x0
    out = np.zeros((len(weights), n_y, n_x), np.float32)
    row = np.empty(n_x, np.float32)
    into = np.empty(len(weights), np.intp)
    zero, one = np.float32(0), np.float32(1)
    for z in range(z1 - z0):
        n = 0
        for o in range(len(weights)):
            if weights[o, z] != 0:
                into[n] = o
                n += 1
        if n == 0:
            continue
        for y in range(n_y):
            line = array[z0 + z, y0 + y, x0:x1]
            for x in range(n_x):
                value = (np.float32(line[x]) - low) * scale
                # In this order not-a-number becomes 0.
                value = value if value > zero else zero
                row[x] = value if value < one else one
            for i in range(n):
                weight, target = weights[into[i], z], out[into[i], y]
                for x in range(n_x):
                    target[x] += weight * row[x]
    return out
