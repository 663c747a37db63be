"""Where a hot spot of a known side lands in a projection."""

import numpy as np

from pipelines.imaging.projections import mip_of
from pipelines.imaging.volume import Volume
from tests.support.volumes import body


class TestMipOf:
    def test_the_patients_right_is_on_the_left_of_the_coronal_view(self):
        _, column = np.unravel_index(mip_of(body()).coronal.argmax(), mip_of(body()).coronal.shape)
        assert column < mip_of(body()).coronal.shape[1] / 2

    def test_the_front_is_on_the_left_of_the_sagittal_view(self):
        _, column = np.unravel_index(mip_of(body()).sagittal.argmax(), mip_of(body()).sagittal.shape)
        assert column < mip_of(body()).sagittal.shape[1] / 2

    def test_the_head_is_up(self):
        row, _ = np.unravel_index(mip_of(body()).coronal.argmax(), mip_of(body()).coronal.shape)
        assert row < mip_of(body()).coronal.shape[0] / 2

    def test_thinning_a_fine_grid_loses_no_hot_voxel(self):
        array = np.full((64, 64, 64), 0.5, np.float32)
        array[31, 17, 45] = 9.0
        mip = mip_of(Volume(array, np.diag([1.0, 1.0, 1.0, 1.0])))
        assert mip.coronal.shape == (32, 32)
        assert mip.coronal.max() == mip.sagittal.max() == 9.0

    def test_extents_are_those_of_the_body_in_the_volume_with_a_margin_of_air(self):
        """The body spans i 10..50 and j 10..44, that is 40..200 and 40..176 mm; k is never cut."""
        mip = mip_of(body())
        assert mip.coronal_extent_mm == (216.0, 24.0, 0.0, 600.0)
        assert mip.sagittal_extent_mm == (192.0, 24.0, 0.0, 600.0)

    def test_a_volume_of_air_is_shown_whole(self):
        mip = mip_of(Volume(np.zeros((20, 30, 40), np.float32), np.eye(4)))
        assert mip.coronal_extent_mm == (20.0, 0.0, 0.0, 40.0)
