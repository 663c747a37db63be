"""Small volumes with a hot cube."""

import numpy as np

from pipelines.imaging.volume import Volume

SPACING_MM = (4.0, 4.0, 5.0)


def body(hot_ijk: tuple[int, int, int] = (45, 40, 90), suv: float = 15.0) -> Volume:
    """A box of SUV 1 with one hot cube; i = 45 of 60 lies to the patient's right, k = 90 of 120 near the head."""
    array = np.zeros((60, 50, 120), np.float32)
    array[10:50, 10:44, 5:115] = 1.0
    i, j, k = hot_ijk
    array[i - 2 : i + 3, j - 2 : j + 3, k - 2 : k + 3] = suv
    affine = np.diag([*SPACING_MM, 1.0])
    affine[:3, 3] = (-120, -100, -600)
    return Volume(array, affine)


def mask_of(volume: Volume) -> Volume:
    hot = np.argwhere(volume.array > 10)
    box = tuple(slice(a - 1, b + 2) for a, b in zip(hot.min(0), hot.max(0)))
    return Volume((volume.crop(box).array > 10).astype(np.uint8), volume.crop(box).affine)
