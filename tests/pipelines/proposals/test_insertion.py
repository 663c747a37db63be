"""Lesions put into an image: where they lie, and that each is there."""

import numpy as np
import pytest
from scipy import ndimage

from pipelines.imaging.lesions.exam_peaks import exam_peaks
from pipelines.imaging.volume import Volume
from pipelines.proposals.insertion import LEAST_SUVMAX, insert_lesions, quality_of

SHAPE = (70, 50, 60)


@pytest.fixture(scope="module")
def volume() -> Volume:
    """A noisy oval body with a hot organ."""
    rng = np.random.default_rng(2)
    i, j, k = np.ogrid[: SHAPE[0], : SHAPE[1], : SHAPE[2]]
    body = ((i - 35) / 31.0) ** 2 + ((j - 25) / 22.0) ** 2 + 0.0 * k < 1
    array = body.astype(np.float32)
    array[30:40, 20:30, 20:30] = 14.0
    array = ndimage.gaussian_filter(array, 0.8) + 0.1 * rng.normal(size=SHAPE) * body
    return Volume(np.asfortranarray(np.maximum(array, 0), dtype=np.float32), np.diag([4.0, 4.0, 4.0, 1.0]))


def test_lesions_are_peaks_apart_from_each_other_and_from_what_was_hot(volume: Volume) -> None:
    exam = exam_peaks(volume)
    changed, lesions = insert_lesions(volume, exam, 12, np.random.default_rng(1))
    assert len(lesions) >= 6
    taken = np.zeros(SHAPE, int)
    for lesion in lesions:
        taken[lesion.box] += lesion.mask
        assert changed.array[lesion.box][lesion.mask].max() >= LEAST_SUVMAX
    assert taken.max() == 1
    assert not taken[30:40, 20:30, 20:30].any()
    peaks = exam_peaks(changed).peaks
    assert sum(lesion.holds(peaks.ijk).any() for lesion in lesions) >= len(lesions) - 1
    np.testing.assert_allclose(changed.array[30:40, 20:30, 20:30], volume.array[30:40, 20:30, 20:30], atol=0.3)


def test_same_seed_gives_the_same_image(volume: Volume) -> None:
    exam = exam_peaks(volume)
    first, _ = insert_lesions(volume, exam, 5, np.random.default_rng(4))
    second, _ = insert_lesions(volume, exam, 5, np.random.default_rng(4))
    assert np.array_equal(first.array, second.array)


def test_noise_is_that_of_the_image(volume: Volume) -> None:
    quality = quality_of(volume, exam_peaks(volume))
    assert quality.noise == pytest.approx(0.1, rel=0.3)
