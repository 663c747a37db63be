"""Masks that come with an exam, as files."""

from pathlib import Path

import numpy as np
import pytest

from pipelines.imaging.problems import ExamError
from pipelines.imaging.reading.given_masks import read_given_mask
from pipelines.imaging.volume import Volume, save_nifti

REFERENCE = Volume(np.ones((6, 6, 4), dtype=np.float32), np.diag([5.0, 5.0, 5.0, 1.0]))


def saved(folder: Path, *values: float) -> Path:
    array = np.zeros(REFERENCE.shape, dtype=np.float32)
    array[1, 1, 1 : 1 + len(values)] = values
    return save_nifti(Volume(array, REFERENCE.affine), folder / "SEG.nii.gz")


class TestDecimalMasks:
    def test_labels_that_a_scale_in_the_header_rounded_are_whole(self, tmp_path: Path) -> None:
        found = read_given_mask(saved(tmp_path, 0.9999, 2.0002), "SEG", REFERENCE, None, "labels")
        assert [(region.label, region.corner, int(region.mask.sum())) for region in found] == [
            (1, (1, 1, 1), 1),
            (2, (1, 1, 2), 1),
        ]

    @pytest.mark.parametrize("value", [0.5, 1.01, np.nan, np.inf])
    def test_shares_of_a_voxel_are_told(self, value: float, tmp_path: Path) -> None:
        with pytest.raises(ExamError, match="expected whole numbers in the given mask SEG"):
            read_given_mask(saved(tmp_path, 1.0, value), "SEG", REFERENCE, None, "components")
