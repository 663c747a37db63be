"""The lesion's part of its surroundings."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from pipelines.imaging.lesions.partition import LESION, OTHER, REPORTED, Markers, divide

NONE = np.empty((0, 3), dtype=np.int64)


def line(*values: float) -> np.ndarray:
    return np.array(values, dtype=np.float32).reshape(-1, 1, 1)


def field(seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return (ndimage.gaussian_filter(rng.random((14, 12, 10)), 1.2) * 20).astype(np.float32)


class TestDivide:
    def test_texture_of_the_lesion_is_the_lesions(self):
        made = divide(line(1, 6, 9, 8, 8.5, 6, 1), Markers((2, 0, 0), NONE), 2.0)
        assert made.mark.ravel().tolist() == [0, LESION, LESION, LESION, LESION, LESION, 0]

    def test_a_path_value_is_that_of_its_narrowest_pass(self):
        made = divide(line(1, 9, 7, 8.5, 6, 1), Markers((1, 0, 0), NONE), 2.0)
        assert made.hold_suv.ravel().tolist() == [0, 9, 7, 7, 6, 0]

    def test_what_is_hotter_is_not_the_lesions(self):
        made = divide(line(5, 9, 6, 14, 8), Markers((1, 0, 0), NONE), 2.0)
        assert made.mark.ravel().tolist() == [LESION, LESION, OTHER, OTHER, OTHER]

    def test_a_reported_lesion_is_not_the_lesions_though_it_is_no_maximum(self):
        made = divide(line(5, 9, 7, 6, 4), Markers((1, 0, 0), np.array([[3, 0, 0]])), 2.0)
        assert made.mark.ravel()[[1, 3]].tolist() == [LESION, REPORTED]

    def test_an_organ_of_the_label_map_is_not_the_lesions(self):
        values = line(5, 9, 7, 8, 8, 4)
        organ = np.array([0, 0, 0, 1, 1, 0], dtype=bool).reshape(-1, 1, 1)
        made = divide(values, Markers((1, 0, 0), NONE, organ), 2.0)
        assert made.mark.ravel()[[1, 3]].tolist() == [LESION, OTHER]

    def test_below_the_floor_nothing_is_held(self):
        made = divide(line(1, 1, 1), Markers((1, 0, 0), np.array([[2, 0, 0]])), 2.0)
        assert not made.hold_suv.any()

    @given(seed=st.integers(0, 10_000), at=st.tuples(st.integers(0, 13), st.integers(0, 11), st.integers(0, 9)))
    def test_the_region_of_any_threshold_is_one_part_around_the_peak_and_nowhere_hotter(self, seed, at):
        values = field(seed)
        made = divide(values, Markers(at, NONE), float(values.min()))
        assert made.hold_suv.max() <= values[at]
        assert (made.hold_suv <= values).all()
        for threshold in np.quantile(values, [0.2, 0.5, 0.8]):
            region = made.hold_suv >= threshold
            _, count = ndimage.label(region)
            assert count <= 1
            assert not region.any() or region[at]

    @given(seed=st.integers(0, 10_000))
    def test_turning_the_image_turns_the_partition(self, seed):
        values = field(seed)
        peak = tuple(int(n) for n in np.unravel_index(int(values.argmax()), values.shape))
        turned = np.ascontiguousarray(values[::-1].transpose(2, 0, 1))
        there = (peak[2], values.shape[0] - 1 - peak[0], peak[1])
        straight = divide(values, Markers(peak, NONE), 5.0).hold_suv
        again = divide(turned, Markers(there, NONE), 5.0).hold_suv
        np.testing.assert_array_equal(again.transpose(1, 2, 0)[::-1], straight)
