"""A body for tests of registration, and the same one as it lies at another exam."""

import numpy as np
from scipy import ndimage

from pipelines.imaging.volume import Volume

SPACING = 6.0
SHAPE = (48, 34, 90)


def body(seed: int = 0) -> Volume:
    """A trunk with two hot and some warm organs."""
    rng = np.random.default_rng(seed)
    i, j, k = np.ogrid[: SHAPE[0], : SHAPE[1], : SHAPE[2]]
    inside = ((i - 24) / 19.0) ** 2 + ((j - 17) / 12.0) ** 2 + 0.0 * k < 1
    array = inside.astype(np.float32) * 0.8
    for _ in range(24):
        at = rng.uniform((12, 10, 4), (36, 24, 86))
        size = rng.uniform(2, 6)
        array += rng.uniform(0.5, 5) * np.exp(-((i - at[0]) ** 2 + (j - at[1]) ** 2 + (k - at[2]) ** 2) / size**2)
    affine = np.diag([SPACING] * 3 + [1.0])
    affine[:3, 3] = (-140, -100, -600)
    return Volume(array.astype(np.float32), affine)


def turned(volume: Volume, degrees: float, shift_mm: tuple[float, float, float]) -> tuple[Volume, np.ndarray]:
    """The body turned about the long axis and moved within its scanner, and where its points went (4 x 4, RAS mm)."""
    turn = np.radians(degrees)
    moved = np.eye(4)
    moved[:2, :2] = [[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]
    middle = volume.to_ras_mm((np.array(volume.shape) - 1) / 2)
    moved[:3, 3] = middle - moved[:3, :3] @ middle + shift_mm
    back = np.linalg.inv(volume.affine) @ np.linalg.inv(moved) @ volume.affine
    array = ndimage.affine_transform(volume.array, back[:3, :3], back[:3, 3], order=1)
    return Volume(array, volume.affine), moved
