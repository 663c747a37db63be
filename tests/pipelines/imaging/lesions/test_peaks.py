"""Local maxima beside a slow reference: connected components of superlevel sets, level by level."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from pipelines.imaging.lesions.peaks import PeakList, find_peaks
from pipelines.imaging.volume import Volume
from pipelines.settings import PeakSettings

FLOOR = 1.5
EVERY = PeakSettings(least_prominence=1e-6, least_prominence_suv=1e-6)
SHAPES = st.tuples(st.integers(1, 5), st.integers(1, 6), st.integers(1, 7))
SEEDS = st.integers(0, 2**31)


def volume(array: np.ndarray, spacing_mm: float = 4.0) -> Volume:
    return Volume(np.asfortranarray(array, dtype=np.float32), np.diag([spacing_mm] * 3 + [1.0]))


def distinct(shape: tuple[int, ...], seed: int) -> np.ndarray:
    """Every value another one, half of them above the floor."""
    rng = np.random.default_rng(seed)
    return rng.permutation(np.linspace(0.1, 2.9, int(np.prod(shape)))).reshape(shape).astype(np.float32)


def plateaus(shape: tuple[int, ...], seed: int) -> np.ndarray:
    """Few values, so that many neighbours are equal."""
    return np.random.default_rng(seed).integers(0, 7, shape).astype(np.float32)


def components(array: np.ndarray, above: float) -> np.ndarray:
    return ndimage.label(array > above, np.ones((3, 3, 3)))[0]


def reference(array: np.ndarray) -> dict[tuple[int, ...], tuple[float, float, int, float | None]]:
    """First voxel of each maximum -> (SUV, saddle, voxels above the saddle, SUV of what it meets there)."""
    levels = np.unique(array[array > FLOOR])
    found = {}
    plateaus = [p for level in levels for p in _plateaus(array, level)]
    for voxels in plateaus:
        value = array[tuple(voxels[0])]
        # The first in the order of the file; a hotter voxel or an equal one that comes before ends it.
        first = tuple(int(v) for v in min(voxels.tolist(), key=lambda v: v[::-1]))
        saddle, size, met = FLOOR, None, None
        for level in [*levels[levels < value][::-1], FLOOR]:
            # Joined at `level`: in one component of what is at least that high.
            labels = components(array, np.nextafter(np.float32(level), np.float32(0)) if level > FLOOR else FLOOR)
            own = labels == labels[first]
            rivals = (array > value) | ((array == value) & _before(array.shape, first))
            rivals &= own
            if rivals.any():
                saddle = float(level)
                met = float(array[rivals].max())
                break
        above = components(array, saddle)
        size = int((above == above[first]).sum())
        found[first] = (float(value), saddle, size, met)
    return found


def _before(shape: tuple[int, ...], first: tuple[int, ...]) -> np.ndarray:
    order = np.arange(int(np.prod(shape))).reshape(shape, order="F")
    return order < order[first]


def _plateaus(array: np.ndarray, level: float) -> list[np.ndarray]:
    """Voxels of each connected part at a level that no hotter voxel touches."""
    labels, n = ndimage.label(array == level, np.ones((3, 3, 3)))
    hotter = ndimage.binary_dilation(array > level, np.ones((3, 3, 3)))
    return [np.argwhere(labels == m) for m in range(1, n + 1) if not (hotter & (labels == m)).any()]


def as_dict(peaks: PeakList) -> dict[tuple[int, ...], tuple[float, float]]:
    return {tuple(at): (suv, saddle) for at, suv, saddle in zip(peaks.ijk.tolist(), peaks.suv, peaks.saddle_suv)}


class TestFindPeaks:
    @given(shape=SHAPES, seed=SEEDS)
    @settings(max_examples=100, deadline=None)
    def test_gives_values_and_saddles_of_all_maxima_also_of_plateaus(self, shape, seed):
        array = plateaus(shape, seed)
        expected = {at: (suv, saddle) for at, (suv, saddle, _, _) in reference(array).items()}
        assert as_dict(find_peaks(volume(array), EVERY)) == expected

    @given(shape=SHAPES, seed=SEEDS)
    @settings(max_examples=60, deadline=None)
    def test_counts_the_voxels_above_the_saddle(self, shape, seed):
        array = plateaus(shape, seed)
        peaks = find_peaks(volume(array), EVERY)
        expected = {at: size for at, (_, _, size, _) in reference(array).items()}
        assert dict(zip(map(tuple, peaks.ijk.tolist()), peaks.voxels.tolist())) == expected

    @given(shape=SHAPES, seed=SEEDS)
    @settings(max_examples=30, deadline=None)
    def test_names_the_hotter_peak_of_the_component_that_is_joined(self, shape, seed):
        array = distinct(shape, seed)
        peaks = find_peaks(volume(array), EVERY)
        met = [None if h < 0 else peaks.suv[h] for h in peaks.hotter]
        expected = [reference(array)[tuple(at)][3] for at in peaks.ijk.tolist()]
        assert met == pytest.approx(expected)

    @given(shape=SHAPES, seed=SEEDS)
    @settings(max_examples=25, deadline=None)
    def test_is_the_same_whatever_the_order_of_the_axes(self, shape, seed):
        array = distinct(shape, seed)
        turned = find_peaks(volume(array[::-1].transpose(2, 0, 1)), EVERY)
        peaks = find_peaks(volume(array), EVERY)
        np.testing.assert_array_equal(turned.suv, peaks.suv)
        np.testing.assert_array_equal(turned.saddle_suv, peaks.saddle_suv)
        np.testing.assert_array_equal(turned.voxels, peaks.voxels)
        np.testing.assert_array_equal(turned.hotter, peaks.hotter)

    @given(shape=SHAPES, seed=SEEDS, part=st.floats(0.01, 0.5))
    @settings(max_examples=25, deadline=None)
    def test_keeps_with_a_prominent_peak_the_one_that_it_joins(self, shape, seed, part):
        array = distinct(shape, seed)
        least = PeakSettings(least_prominence=part, least_prominence_suv=0.01)
        peaks = find_peaks(volume(array), least)
        every = as_dict(find_peaks(volume(array), EVERY))
        kept = {at: v for at, v in every.items() if v[0] - v[1] >= max(part * v[0], 0.01)}
        assert as_dict(peaks) == kept
        assert all(h < 0 or peaks.suv[h] >= s for h, s in zip(peaks.hotter, peaks.suv))
        assert (peaks.hotter < 0).sum() == len(np.unique(components(array, FLOOR)[tuple(peaks.ijk.T)]))

    def test_leaves_small_ripples_out(self):
        array = np.full((9, 9, 9), 2.0)
        array[2, 2, 2], array[6, 6, 6] = 10.0, 2.05
        assert as_dict(find_peaks(volume(array))) == {(2, 2, 2): (10.0, FLOOR)}

    def test_finds_nothing_in_a_cold_volume(self):
        peaks = find_peaks(volume(np.ones((4, 4, 4))))
        assert len(peaks) == 0
        assert peaks.ijk.shape == (0, 3)

    def test_takes_what_is_not_a_number_as_cold(self):
        array = np.full((5, 5, 5), np.nan)
        array[2, 2, 2] = 4.0
        assert as_dict(find_peaks(volume(array))) == {(2, 2, 2): (4.0, FLOOR)}

    def test_measures_the_mean_of_a_millilitre_around_each_peak(self):
        array = np.zeros((20, 20, 20))
        array[10, 10, 10] = 8.0
        assert find_peaks(volume(array, 2.0)).suvpeak == pytest.approx([8.0 / 123])

    def test_a_peak_on_an_edge_of_the_image_has_no_neighbours_beyond_it(self):
        array = np.zeros((4, 5, 6))
        array[0, 0, 0], array[3, 0, 0] = 5.0, 4.0
        array[3, 4, 5], array[0, 4, 5] = 3.0, 2.0
        assert len(find_peaks(volume(array))) == 4


class TestPeakList:
    def test_select_renumbers_the_hotter_peaks(self):
        array = np.zeros((15, 3, 3))
        array[[1, 3, 5, 7, 9], 1, 1] = (5.0, 2.0, 4.0, 2.0, 3.0)
        array[[2, 4, 6, 8], 1, 1] = 1.8
        peaks = find_peaks(volume(array), EVERY)
        kept = peaks.select(peaks.suv != 4.0)
        assert [s for s, h in zip(kept.suv, kept.hotter) if h == 0] == [s for s in kept.suv if s != 5.0]
