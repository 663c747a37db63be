"""Thresholds by side: a warm neighbour is left at its own edge, nothing else changes."""

import numpy as np
from scipy import ndimage

from pipelines.imaging.lesions.sides import cut_by_sides

SPACING = np.array([3.0, 3.0, 3.0])
PEAK = (18, 18, 18)


def cut(image: np.ndarray, background: float) -> tuple[np.ndarray, np.ndarray]:
    """A region above 5 of an image blurred by 6 mm, and what is left of it."""
    values = ndimage.gaussian_filter(image, 6.0 / 2.355 / SPACING).astype(np.float32)
    labels, _ = ndimage.label(values >= 5.0)
    mask = labels == labels[PEAK]
    return mask, cut_by_sides(values, mask, PEAK, SPACING, background, 12.0, 0.45, (4.0, 9.0), 0.2, 0.8)


def lesion() -> tuple[np.ndarray, np.ndarray]:
    distance = np.linalg.norm(np.indices((40, 40, 40)) - np.array(PEAK).reshape(3, 1, 1, 1), axis=0) * 3.0
    return np.where(distance <= 14, 12.0, 1.0), distance


class TestCutBySides:
    def test_leaves_a_lesion_in_cold_surroundings_as_it_is(self):
        image, _ = lesion()
        mask, left = cut(image, 1.0)
        np.testing.assert_array_equal(left, mask)

    def test_ends_where_a_warm_neighbour_begins(self):
        image, distance = lesion()
        wall = np.zeros(image.shape, dtype=bool)
        wall[23:] = True  # touches the lesion 15 mm from its middle
        image = np.where(wall & (distance > 14), 4.9, image)
        mask, left = cut(image, 1.0)
        beyond = wall & (distance > 14)
        assert (left & beyond).sum() < 0.5 * (mask & beyond).sum()
        np.testing.assert_array_equal(left[:18], mask[:18])

    def test_ignores_what_is_hotter_than_the_lesion(self):
        image, distance = lesion()
        image[25:] = 40.0
        values = image.astype(np.float32)
        mask = distance <= 14
        left = cut_by_sides(values, mask, PEAK, SPACING, 1.0, 12.0, 0.45, (4.0, 9.0), 0.2, 0.8)
        np.testing.assert_array_equal(left, mask)
