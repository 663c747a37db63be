"""Images as a page holds them: whole numbers, compressed by gzip, as base64 in a script.

Each value is the difference to the one before it (x runs fastest), its sign in the lowest bit, and all low bytes come
before all high bytes: neighbours differ little, so that a PET takes three quarters of what its plain values take.
"""

import base64
from dataclasses import dataclass
from typing import Any

import numpy as np
from isal import igzip
from numpy.typing import NDArray

from pipelines.imaging.volume import Box, Volume

LEVEL = 2
"""Of the compression: the highest that is fast (isal has 0 to 3)."""


@dataclass(frozen=True)
class PackedImage:
    """An image as the page unpacks it: shape (i, j, k), bytes of a value, base64 of the compressed values."""

    shape: tuple[int, ...]
    bytes: int
    data: str

    def to_json(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {"shape": list(self.shape), "bytes": self.bytes, "data": self.data}


def packed(values: NDArray[Any]) -> PackedImage:
    """Whole numbers (i, j, k) of 1, 2 or 4 bytes, packed; those of one byte as they are."""
    flat: NDArray[Any] = values.ravel(order="F")
    size = flat.dtype.itemsize
    if size > 1:
        flat = flat.astype(flat.dtype.newbyteorder("<"), copy=False)
        with np.errstate(over="ignore"):
            step = np.diff(flat, prepend=flat.dtype.type(0))
            coded = (step << 1) ^ (step >> (8 * size - 1))
        flat = coded.view(np.uint8).reshape(-1, size).T
    compressed = igzip.compress(np.ascontiguousarray(flat).tobytes(), LEVEL, mtime=0)
    return PackedImage(values.shape, size, base64.b64encode(compressed).decode())


def block_means(volume: Volume, factors: tuple[int, int, int]) -> Volume:
    """A volume of fewer voxels, each the mean of a block; what fills no block at an axis' end is left out.

    Args:
        factors: voxels of a block along i, j, k.
    """
    if factors == (1, 1, 1):
        return volume
    shape = tuple(max(1, n // f) for n, f in zip(volume.shape, factors))
    fi, fj, fk = (min(f, n) for f, n in zip(factors, volume.shape))
    out = np.empty(shape, np.float32)
    for k in range(shape[2]):
        slab = volume.array[: shape[0] * fi, : shape[1] * fj, k * fk : (k + 1) * fk].mean(axis=2, dtype=np.float32)
        out[:, :, k] = slab.reshape(shape[0], fi, shape[1], fj).mean(axis=(1, 3))
    affine = volume.affine.copy()
    affine[:3, :3] = affine[:3, :3] * (fi, fj, fk)
    affine[:3, 3] = volume.to_ras_mm([(fi - 1) / 2, (fj - 1) / 2, (fk - 1) / 2])
    return Volume(out, affine)


def smoothed_outside(values: NDArray[np.float32], factor: int, kept: list[Box]) -> NDArray[np.float32]:
    """The same grid with the means of blocks of `factor` voxels a side, but for the boxes, which stay as they are.

    A run of equal values takes next to no room, and what is read off inside a box is exact.
    """
    if factor == 1:
        return values
    n_i, n_j, n_k = values.shape
    out = np.empty_like(values)
    starts = [np.arange(0, n, factor) for n in (n_i, n_j)]
    counts = [np.diff(np.append(s, n)) for s, n in zip(starts, (n_i, n_j))]
    for k in range(0, n_k, factor):
        slab = values[:, :, k : k + factor].mean(axis=2, dtype=np.float32)
        means = np.add.reduceat(np.add.reduceat(slab, starts[0], axis=0), starts[1], axis=1)
        means /= np.outer(*counts)
        out[:, :, k : k + factor] = np.repeat(np.repeat(means, counts[0], axis=0), counts[1], axis=1)[:, :, None]
    for box in kept:
        out[box] = values[box]
    return out
