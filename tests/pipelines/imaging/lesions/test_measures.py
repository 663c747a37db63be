"""Measures of masks, beside values worked out by hand."""

import numpy as np
import pytest

from pipelines.imaging.lesions.measures import (
    PEAK_RADIUS_MM,
    global_peak,
    largest_diameter_mm,
    local_peak,
    measure,
    mesh_volume_ml,
)
from pipelines.imaging.masks import mask_name, place_mask, save_mask
from pipelines.imaging.problems import ExamError
from pipelines.imaging.volume import Volume, load_nifti

AFFINE = np.array([[2.0, 0, 0, -20], [0, 2, 0, -20], [0, 0, 3, -30], [0, 0, 0, 1]])


@pytest.fixture
def suv() -> Volume:
    array = np.ones((20, 20, 20), dtype=np.float32)
    array[8:12, 8:12, 8:12] = 4.0
    array[9, 10, 11] = 6.0
    return Volume(array, AFFINE)


class TestMeasure:
    def test_of_a_box(self, suv):
        mask = np.zeros((6, 6, 6), dtype=bool)
        mask[1:5, 1:5, 1:5] = True
        m = measure(suv, mask, (7, 7, 7))
        assert (m.n_voxels, m.voxel_ml, m.mtv_ml) == (64, pytest.approx(0.012), pytest.approx(0.768))
        assert (m.suvmax, m.suvmean) == (6.0, pytest.approx((63 * 4 + 6) / 64))
        assert m.tlg == pytest.approx(m.suvmean * m.mtv_ml)
        assert (m.peak_i, m.peak_j, m.peak_k) == (9, 10, 11)
        assert (m.peak_x_mm, m.peak_y_mm, m.peak_z_mm) == (-2, 0, 3)
        assert (m.box_i0, m.box_j0, m.box_k0, m.box_i1, m.box_j1, m.box_k1) == (8, 8, 8, 12, 12, 12)
        assert (m.centroid_i, m.centroid_x_mm) == (9.5, -1.0)
        assert m.touches_border is False

    def test_tells_a_mask_at_the_border(self, suv):
        assert measure(suv, np.ones((2, 2, 2), dtype=bool), (0, 5, 5)).touches_border
        assert measure(suv, np.ones((2, 2, 2), dtype=bool), (5, 5, 18)).touches_border

    def test_refuses_an_empty_mask(self, suv):
        with pytest.raises(ValueError, match="empty"):
            measure(suv, np.zeros((2, 2, 2), dtype=bool), (0, 0, 0))


class TestPeak:
    def test_is_the_mean_of_the_voxels_within_a_sphere_of_one_ml(self, suv):
        assert 4 / 3 * np.pi * PEAK_RADIUS_MM**3 == pytest.approx(1000)
        offsets = [
            (i, j, k)
            for i in range(-4, 5)
            for j in range(-4, 5)
            for k in range(-3, 4)
            if (2 * i) ** 2 + (2 * j) ** 2 + (3 * k) ** 2 <= PEAK_RADIUS_MM**2
        ]
        expected = np.mean([suv.array[9 + i, 10 + j, 11 + k] for i, j, k in offsets])
        assert local_peak(suv, np.array([[9, 10, 11], [8, 8, 8]])) == pytest.approx(expected)

    def test_global_is_never_below_local(self, suv):
        ijk = np.argwhere(suv.array >= 4)
        assert global_peak(suv, ijk) >= local_peak(suv, ijk)

    def test_at_the_border_counts_the_voxels_that_are_there(self, suv):
        assert local_peak(suv, np.array([[0, 0, 0]])) == 1.0


class TestLargestDiameter:
    def test_of_a_row_is_its_length(self):
        assert largest_diameter_mm(np.ones((5, 1, 1), dtype=bool), (2.0, 3.0, 4.0)) == pytest.approx(10.0)

    def test_of_a_ball_is_its_diameter(self):
        x = np.arange(-10, 11)
        ball = x[:, None, None] ** 2 + x[None, :, None] ** 2 + x[None, None, :] ** 2 <= 64
        assert largest_diameter_mm(ball, (1.0, 1.0, 1.0)) == pytest.approx(16.5, abs=1.0)

    def test_is_the_largest_of_all_pairs(self):
        rng = np.random.default_rng(3)
        mask = rng.random((6, 7, 5)) < 0.3
        padded = np.pad(mask, 1)
        faces = []
        for axis in range(3):
            for way in (-1, 1):
                for at in np.argwhere(padded & ~np.roll(padded, -way, axis)):
                    middle = at.astype(float) - 1
                    middle[axis] += way / 2
                    faces.append(middle * (2.0, 3.0, 4.0))
        points = np.array(faces)
        expected = np.linalg.norm(points[:, None] - points[None], axis=-1).max()
        assert largest_diameter_mm(mask, (2.0, 3.0, 4.0)) == pytest.approx(expected)


class TestMeshVolume:
    def test_of_a_box_lies_just_under_that_of_its_voxels(self):
        volume = mesh_volume_ml(np.ones((10, 10, 10), dtype=bool), (2.0, 2.0, 2.0))
        assert 0.95 * 8.0 < volume < 8.0


class TestMasks:
    def test_find_their_place_again(self, tmp_path, suv):
        whole = np.zeros(suv.shape, dtype=bool)
        whole[3:6, 4:9, 5:7] = True
        box = (slice(3, 6), slice(4, 9), slice(5, 7))
        path = save_mask(Volume(whole[box].astype(np.uint8), suv.crop(box).affine), tmp_path, "E:abcd")
        np.testing.assert_array_equal(place_mask(load_nifti(path), suv), whole)

    def test_of_another_grid_are_refused(self, suv):
        other = Volume(np.ones((2, 2, 2), dtype=np.uint8), np.diag([2.0, 2.0, 2.0, 1.0]))
        with pytest.raises(ExamError, match="grid"):
            place_mask(other, suv)

    def test_that_are_empty_are_refused(self, tmp_path):
        with pytest.raises(ValueError, match="empty"):
            save_mask(Volume(np.zeros((2, 2, 2), dtype=np.uint8), np.eye(4)), tmp_path, "E:a")

    @pytest.mark.parametrize(
        ("finding_id", "name"),
        [("E-1:0a1b2c3d", "0a1b2c3d.nii.gz"), ("E:0a1b2c3d#2", "0a1b2c3d-2.nii.gz"), ("../x", "x.nii.gz")],
    )
    def test_are_named_after_the_finding(self, finding_id, name):
        assert mask_name(finding_id) == name
