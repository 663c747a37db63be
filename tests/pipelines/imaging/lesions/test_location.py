"""The localisation: the published rule as a flood, beside a labelling of the whole volume, and the basins."""

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy import ndimage

from pipelines.imaging.lesions.location import Locator, t0_suv
from pipelines.imaging.volume import Volume
from pipelines.settings import LocateSettings

SETTINGS = LocateSettings()


def locator_of(array: np.ndarray) -> Locator:
    return Locator(Volume(array.astype(np.float32), np.diag([4.0, 4.0, 4.0, 1.0])), SETTINGS)


def labelled(array: np.ndarray, k: int, suvmax: float) -> tuple[set[tuple[int, int, int]], np.ndarray]:
    """The peaks that the published rule gives when the whole volume is labelled, and the voxels of their components."""
    labels, count = ndimage.label(array > t0_suv(SETTINGS, suvmax))
    peaks, members = set(), np.zeros(array.shape, dtype=bool)
    for n in range(1, count + 1):
        inside = labels == n
        top = float(array[inside].max())
        if inside[:, :, k].any() and abs(top - suvmax) <= 0.1 + 1e-4:
            peaks.add(tuple(int(i) for i in np.argwhere(inside & (array == top))[0]))
            members |= inside
    return peaks, members


class TestPublished:
    @settings(max_examples=40, deadline=None)
    @given(st.integers(0, 10_000), st.integers(0, 11), st.floats(3.0, 12.0))
    @example(3, 0, 12.0)
    def test_finds_what_labelling_the_whole_volume_finds(self, seed, k, suvmax):
        rng = np.random.default_rng(seed)
        array = ndimage.gaussian_filter(rng.random((14, 13, 12)), 1.0)
        array = (12.0 * (array - array.min()) / np.ptp(array)).astype(np.float32)
        found = {c.peak_ijk for c in locator_of(array).published(k, suvmax) if c.rule == "published"}
        peaks, members = labelled(array, k, suvmax)
        assert peaks <= found
        # Lesions that touch share one component; each that stands out is a candidate beside its top.
        assert all(members[p] and abs(float(array[p]) - suvmax) <= 0.1 + 1e-4 for p in found - peaks)

    def test_leaves_no_trace_for_the_next_finding(self):
        array = ndimage.gaussian_filter(np.random.default_rng(0).random((14, 13, 12)), 1.0)
        array = 12.0 * (array - array.min()) / np.ptp(array)
        locator = locator_of(array)
        suvmax = float(array[:, :, 5].max())
        first = locator.published(5, suvmax), locator.basins(5, suvmax)
        locator.published(5, 4.0)
        assert (locator.published(5, suvmax), locator.basins(5, suvmax)) == first

    def test_does_not_wrap_around_the_border(self):
        array = np.ones((10, 10, 10))
        array[0, 5, 5] = 8.0
        array[9, 5, 5] = 12.0
        assert [c.peak_ijk for c in locator_of(array).published(5, 8.0)] == [(0, 5, 5)]

    def test_a_plateau_lies_on_each_of_its_slices(self):
        array = np.ones((20, 20, 20))
        array[8:12, 8:12, 5:15] = 8.0
        for k in (5, 10, 14):
            (found,) = locator_of(array).published(k, 8.0)
            assert found.slices_away == 0

    def test_keeps_to_the_formula(self):
        assert t0_suv(SETTINGS, 10.0) == pytest.approx(0.617 + 3.16)


class TestBasins:
    def scene(self, saddle: float) -> np.ndarray:
        """A peak of 8 beside one of 12, joined at `saddle`."""
        array = np.ones((15, 9, 9))
        array[3:6, 3:6, 3:6] = 6.0
        array[4, 4, 4] = 8.0
        array[9:12, 3:6, 3:6] = 6.0
        array[10, 4, 4] = 12.0
        array[6:9, 4, 4] = saddle
        return array

    def test_finds_the_flank_that_the_published_rule_loses(self):
        locator = locator_of(self.scene(5.0))
        assert locator.published(4, 8.0) == []
        (found,) = locator.basins(4, 8.0)
        assert (found.peak_ijk, found.saddle_suv, found.rule) == ((4, 4, 4), 5.0, "basin")

    def test_must_reach_the_slice(self):
        assert locator_of(self.scene(5.0)).basins(8, 8.0) == []

    def test_a_value_on_a_slope_is_no_peak(self):
        slope = np.broadcast_to(np.linspace(1, 15, 15)[:, None, None], (15, 9, 9))
        assert locator_of(slope).basins(4, 8.0) == []

    def test_a_plateau_that_bends_is_one_peak(self):
        array = np.ones((30, 20, 20))
        array[10:13, 10:20, 10:20] = array[17:20, 10:20, 10:20] = array[13:17, 17:20, 10:20] = 8.0
        array[20:26, 10:20, 10:20] = 6.0
        array[26:30, 10:20, 10:20] = 12.0
        (found,) = locator_of(array).basins(14, 8.0)
        assert (found.saddle_suv, found.slices_away) == (6.0, 0)


class TestNearestMiss:
    def test_tells_the_value_on_the_slice_and_the_slice_of_the_value(self):
        array = np.ones((9, 9, 9))
        array[4, 4, 2] = 5.0
        array[4, 4, 7] = 9.0
        miss = locator_of(array).nearest_miss(2, 9.0)
        assert (miss.suvmax_on_slice, miss.k_with_suvmax) == (5.0, 7)

    def test_tells_that_the_value_is_nowhere(self):
        assert locator_of(np.ones((5, 5, 5))).nearest_miss(2, 9.0).k_with_suvmax is None
