"""Basins: who owns a voxel, and the level at which it hangs on to its peak."""

import numpy as np

from pipelines.imaging.lesions.basins import basin_of

STEPS_MM = (10.0, 1.0, 1.0)
NONE = np.empty((0, 3), dtype=np.int64)


def line(*values: float) -> np.ndarray:
    return np.array(values, dtype=np.float32).reshape(-1, 1, 1)


class TestBasinOf:
    def test_a_reported_neighbour_keeps_its_side_of_the_saddle(self):
        values = line(1, 5, 8, 5, 4, 6, 9, 6, 1)
        basin = basin_of(values, (2, 0, 0), np.array([[6, 0, 0]]), 0.5, 0.4, STEPS_MM)
        assert (basin.hold_suv.ravel()[:4] > 0).all()
        assert (basin.hold_suv.ravel()[5:8] == 0).all()
        assert basin.foreign.ravel()[5:8].all()

    def test_what_is_hotter_is_foreign_though_nobody_reported_it(self):
        values = line(1, 5, 8, 5, 4, 6, 20, 6, 1)
        basin = basin_of(values, (2, 0, 0), NONE, 0.5, 0.4, STEPS_MM)
        assert basin.foreign.ravel()[6]

    def test_a_shallow_dip_is_texture(self):
        values = line(1, 5, 8, 6, 7, 5, 1)
        basin = basin_of(values, (2, 0, 0), NONE, 0.5, 0.4, STEPS_MM)
        np.testing.assert_array_equal(basin.hold_suv.ravel(), [1, 5, 8, 6, 6, 5, 1])

    def test_a_deep_dip_parts_a_neighbour_that_nobody_reported(self):
        values = line(1, 5, 8, 2, 7, 5, 1)
        basin = basin_of(values, (2, 0, 0), NONE, 0.5, 0.4, STEPS_MM)
        assert basin.foreign.ravel()[4]

    def test_what_lies_below_the_floor_belongs_to_nobody(self):
        basin = basin_of(line(1, 5, 8, 5, 1), (2, 0, 0), NONE, 2.0, 0.4, STEPS_MM)
        assert basin.hold_suv.ravel()[0] == basin.hold_suv.ravel()[4] == 0
        assert not basin.foreign.any()

    def test_the_hold_is_the_lowest_level_of_the_best_path(self):
        values = np.ones((5, 5, 1), dtype=np.float32)
        values[:, 0, 0] = [9, 3, 6, 1, 1]
        values[0, :, 0] = [9, 7, 5, 1, 1]
        values[2, :3, 0] = [6, 5, 5]
        values[1, 2, 0] = 4
        hold = basin_of(values, (0, 0, 0), NONE, 0.5, 0.9, STEPS_MM).hold_suv
        assert hold[2, 0, 0] == 4, "over (0, 2), (1, 2), (2, 2), not over the 3 between"

    def test_texture_stays_with_the_lesion_that_it_hangs_on_to_however_like_the_other_one_it_is(self):
        """A bump of 6 on a lesion of 9, 4 above the saddle to a lesion of 6.5, is the hotter lesion's texture."""
        values = line(1, 7, 9, 7, 5.5, 6, 2.5, 4, 6.5, 4, 1)
        basin = basin_of(values, (2, 0, 0), np.array([[8, 0, 0]]), 0.5, 0.7, STEPS_MM)
        assert basin.hold_suv.ravel()[5] > 0
        assert basin.foreign.ravel()[8]

    def test_noise_on_the_plateau_of_a_colder_lesion_is_its_own(self):
        """The bump of 5.9 hangs a little firmer on the flank of 14 than on its own lesion, by no more than noise."""
        values = line(1, 9, 14, 9, 5.8, 5.9, 5.6, 6, 3, 1)
        basin = basin_of(values, (7, 0, 0), np.array([[2, 0, 0]]), 0.5, 0.4, STEPS_MM)
        assert basin.hold_suv.ravel()[5] > 0

    def test_bumps_of_two_lesions_are_not_joined_to_one_of_them(self):
        values = line(1, 7, 9, 7, 4, 4.5, 3, 4.4, 4, 7, 9, 7, 1)
        basin = basin_of(values, (2, 0, 0), np.array([[10, 0, 0]]), 0.5, 0.4, STEPS_MM)
        assert basin.hold_suv.ravel()[5] > 0
        assert basin.foreign.ravel()[7]


class TestFlanks:
    VALUES = line(1, 14, 16, 16, 14, 11, 8, 6.8, 6.2, 6, 6.1, 6, 3, 1)
    HOT, COLD = (2, 0, 0), (10, 0, 0)

    def test_of_a_hotter_neighbour_are_given_back_to_the_colder_one(self):
        basin = basin_of(self.VALUES, self.COLD, np.array([self.HOT]), 0.5, 0.4, (2.0, 1.0, 1.0))
        assert (basin.hold_suv.ravel()[8:13] > 0).all()
        assert basin.foreign.ravel()[1:6].all()

    def test_are_nobody_elses_in_the_hotter_ones_view(self):
        views = [
            basin_of(self.VALUES, peak, np.array([other]), 0.5, 0.4, (2.0, 1.0, 1.0))
            for peak, other in ((self.COLD, self.HOT), (self.HOT, self.COLD))
        ]
        np.testing.assert_array_equal(views[0].foreign, views[1].hold_suv > 0)
