"""Label maps of organs that exams bring: placed on the PET's grid, or refused."""

import numpy as np
import pytest

from pipelines.imaging.organ_labels import LABELS
from pipelines.imaging.organ_map import OrganMapError, on_pet_grid, whole_labels
from pipelines.imaging.volume import SliceGrid, Volume

LIVER = LABELS["liver"]
PET = Volume(np.ones((20, 16, 30), np.float32), np.diag([4.0, 4.0, 4.0, 1.0]))


def liver_map(shape: tuple[int, int, int], spacing_mm: float, z_mm: float = 0.0) -> Volume:
    """A map with a liver at 20 to 40 mm along x and y and from `z_mm` + 40 to + 80 mm."""
    labels = np.zeros(shape, np.uint8)
    a, b, c = (round(mm / spacing_mm) for mm in (20.0, 40.0, 80.0))
    labels[a:b, a:b, b:c] = LIVER
    affine = np.diag([spacing_mm, spacing_mm, spacing_mm, 1.0])
    # The outer side of the first voxel lies where that of the PET does.
    affine[:3, 3] = [spacing_mm / 2 - 2.0, spacing_mm / 2 - 2.0, spacing_mm / 2 - 2.0 + z_mm]
    return Volume(labels, affine)


class TestOnPetGrid:
    def test_leaves_a_map_on_this_grid_as_it_is(self) -> None:
        labels = liver_map(PET.shape, 4.0)
        assert np.array_equal(on_pet_grid(labels, PET, None, "E1").array, labels.array)

    @pytest.mark.parametrize("spacing_mm", [1.0, 2.0])
    def test_resamples_a_map_of_the_same_field_of_view(self, spacing_mm: float) -> None:
        shape = tuple(round(n * 4.0 / spacing_mm) for n in PET.shape)
        found = on_pet_grid(liver_map(shape, spacing_mm), PET, None, "E1")
        assert found.same_grid(PET)
        assert set(np.unique(found.array)) == {0, LIVER}
        assert (found.array > 0).sum() * found.voxel_ml == pytest.approx(20 * 20 * 40 / 1000, rel=0.3)

    def test_resamples_a_map_of_the_ct_that_covers_less(self) -> None:
        labels = liver_map((40, 32, 45), 2.0, z_mm=20.0)
        ct = SliceGrid(45, float(labels.affine[2, 3]), 2.0)
        found = on_pet_grid(labels, PET, ct, "E1")
        k = np.flatnonzero((found.array > 0).any(axis=(0, 1)))
        assert PET.to_ras_mm([0, 0, k[0]])[2] == pytest.approx(60.0, abs=4.0)

    def test_turns_a_map_of_another_orientation(self) -> None:
        labels = liver_map(PET.shape, 4.0)
        turned = Volume(labels.array[::-1], labels.affine @ np.array(
            [[-1, 0, 0, PET.shape[0] - 1], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]], dtype=float
        ))  # fmt: skip
        assert np.array_equal(on_pet_grid(turned, PET, None, "E1").array, labels.array)

    @pytest.mark.parametrize(
        "other", [liver_map((20, 16, 26), 4.0), liver_map((40, 32, 45), 2.0), liver_map((20, 16, 30), 4.0, z_mm=-60.0)]
    )
    def test_refuses_a_map_of_another_exam_with_both_shapes(self, other: Volume) -> None:
        with pytest.raises(OrganMapError) as error:
            on_pet_grid(other, PET, SliceGrid(60, -1.0, 2.0), "E1")
        assert str(PET.shape) in str(error.value)
        assert str(other.shape) in str(error.value)
        assert "in exam E1" in str(error.value)

    def test_refuses_a_map_that_lies_beside_the_image(self) -> None:
        labels = liver_map(PET.shape, 4.0)
        beside = labels.affine.copy()
        beside[0, 3] += 70.0
        with pytest.raises(OrganMapError):
            on_pet_grid(Volume(labels.array, beside), PET, None, "E1")


class TestWholeLabels:
    def test_takes_floats_that_are_whole(self) -> None:
        found = whole_labels(Volume(np.full((2, 2, 2), 5.0, np.float32), np.eye(4)), "TOTALSEG.nii.gz", "E1")
        assert (found.array.dtype, int(found.array.max())) == (np.uint8, 5)

    @pytest.mark.parametrize("value", [0.5, -1.0, 256.0, np.nan])
    def test_refuses_what_is_no_label(self, value: float) -> None:
        with pytest.raises(OrganMapError, match=r"whole labels 0\.\.255 in TOTALSEG.nii.gz of exam E1"):
            whole_labels(Volume(np.full((2, 2, 2), value, np.float32), np.eye(4)), "TOTALSEG.nii.gz", "E1")
