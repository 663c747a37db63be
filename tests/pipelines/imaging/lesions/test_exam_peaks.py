"""The product of an exam and its file."""

from pathlib import Path

import numpy as np
import pytest

from pipelines.imaging.lesions.exam_peaks import exam_peaks, load_exam_peaks, load_organ_labels, save_exam_peaks
from pipelines.imaging.volume import Volume

AFFINE = np.diag([4.0, 4.0, 4.0, 1.0])


@pytest.fixture
def volume() -> Volume:
    array = np.ones((12, 10, 8), np.float32)
    array[5, 5, 4], array[8, 3, 2] = 9.0, 6.0
    return Volume(array, AFFINE)


@pytest.fixture
def organ_map(volume: Volume) -> Volume:
    labels = np.zeros(volume.shape, np.uint8)
    labels[4:7, 4:7, 3:6] = 5
    return Volume(labels, AFFINE)


class TestFile:
    def test_gives_the_product_back(self, volume: Volume, organ_map: Volume, tmp_path: Path) -> None:
        made = exam_peaks(volume, organ_map)
        save_exam_peaks(made, "said", "key", tmp_path / "peaks.npz", organ_map)
        found = load_exam_peaks(tmp_path / "peaks.npz", "key")
        assert found is not None
        assert (found[0].peaks.suv.tolist(), found[1]) == (made.peaks.suv.tolist(), "said")
        assert load_exam_peaks(tmp_path / "peaks.npz", "another key") is None

    def test_gives_the_label_map_back(self, volume: Volume, organ_map: Volume, tmp_path: Path) -> None:
        save_exam_peaks(exam_peaks(volume, organ_map), None, "key", tmp_path / "peaks.npz", organ_map)
        assert np.array_equal(load_organ_labels(tmp_path / "peaks.npz"), organ_map.array)

    def test_of_an_exam_without_one_holds_none(self, volume: Volume, tmp_path: Path) -> None:
        save_exam_peaks(exam_peaks(volume), None, "key", tmp_path / "peaks.npz")
        assert load_organ_labels(tmp_path / "peaks.npz") is None

    def test_that_is_damaged_holds_nothing(self, tmp_path: Path) -> None:
        (tmp_path / "peaks.npz").write_bytes(b"PK\x03\x04 no archive")
        assert load_exam_peaks(tmp_path / "peaks.npz") is None
        assert load_organ_labels(tmp_path / "peaks.npz") is None
