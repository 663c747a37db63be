"""Candidates of drawn bodies: which peaks are one, what is measured on each, what is missing."""

import numpy as np
import pytest

from pipelines.imaging.candidates.candidates import Candidates, find_candidates
from pipelines.imaging.candidates.organ_veto import is_vetoed
from pipelines.imaging.lesions.exam_peaks import exam_peaks
from pipelines.imaging.organ_labels import LABELS
from pipelines.imaging.volume import Volume
from pipelines.tables.candidate_features import CT_FEATURES, FEATURES, MAP_FEATURES, PET_FEATURES

SPACING_MM = (4.0, 4.0, 4.0)
SHAPE = (60, 40, 50)
MIDDLE_I = 29.5

Spot = tuple[tuple[float, float, float], float, float]
"""Voxel of its middle, height above the body [SUV], standard deviation [voxels]."""


def drawn(spots: list[Spot]) -> Volume:
    """An oval body of SUV 1 with Gaussian spots."""
    i, j, k = np.ogrid[: SHAPE[0], : SHAPE[1], : SHAPE[2]]
    inside = ((i - MIDDLE_I) / 26.0) ** 2 + ((j - 19.5) / 17.0) ** 2 + 0.0 * k < 1
    array = inside.astype(np.float32)
    for (a, b, c), height, sigma in spots:
        array = array + height * np.exp(-((i - a) ** 2 + (j - b) ** 2 + (k - c) ** 2) / (2 * sigma**2))
    affine = np.diag([*SPACING_MM, 1.0])
    affine[:3, 3] = (-118.0, -80.0, -100.0)
    return Volume(np.asfortranarray(array, dtype=np.float32), affine)


def found_in(volume: Volume, ct: Volume | None = None, labels: Volume | None = None) -> Candidates:
    return find_candidates(volume, exam_peaks(volume, labels), ct, labels)


def feature(found: Candidates, name: str) -> np.ndarray:
    return found.features[:, list(FEATURES).index(name)]


class TestGroups:
    def test_summits_of_one_region_are_one_group(self) -> None:
        mass: list[Spot] = [((20, 20, 20), 8.0, 1.5), ((24, 20, 20), 7.2, 1.5), ((20, 24, 20), 6.8, 1.5)]
        found = found_in(drawn([*mass, ((45, 20, 40), 5.0, 1.5)]))
        assert found.group.tolist() == [0, 0, 0, 3]

    def test_lesion_beside_a_hot_organ_is_a_group_of_its_own(self) -> None:
        found = found_in(drawn([((20, 20, 20), 12.0, 3.5), ((31, 20, 20), 7.0, 1.2)]))
        assert found.group.tolist() == [0, 1]

    def test_region_holds_no_hotter_peak(self) -> None:
        rng = np.random.default_rng(3)
        volume = drawn([])
        noisy = Volume(np.asfortranarray(volume.array * rng.gamma(4, 1.2, SHAPE), dtype=np.float32), volume.affine)
        exam = exam_peaks(noisy)
        found = find_candidates(noisy, exam)
        assert len(found) > 50
        assert (found.regions.level_suv > exam.peaks.saddle_suv[found.rows]).all()
        assert (exam.peaks.suv[found.rows[found.regions.within]] >= exam.peaks.suv[found.rows]).all()

    def test_image_without_a_peak_has_none(self) -> None:
        found = found_in(drawn([]))
        assert (len(found), found.features.shape) == (0, (0, len(FEATURES)))


class TestFeatures:
    @pytest.fixture
    def volume(self) -> Volume:
        return drawn([((14, 20, 20), 7.0, 1.5), ((45, 20, 20), 6.0, 1.5), ((29, 12, 35), 4.0, 2.0)])

    def test_are_ratios(self, volume: Volume) -> None:
        """Twice the uptake everywhere changes the SUV alone, and what the floor of the list of peaks cuts off."""
        once = found_in(volume)
        twice = found_in(Volume(volume.array * np.float32(2.0), volume.affine))
        others = [n for n, name in enumerate(FEATURES) if name not in ("log_uptake", "prominence", "log_above_saddle")]
        assert feature(twice, "log_uptake") == pytest.approx(feature(once, "log_uptake") + np.log(2.0))
        np.testing.assert_allclose(twice.features[:3, others], once.features[:, others], rtol=0.02, atol=0.02)

    def test_what_is_missing_is_no_number(self, volume: Volume) -> None:
        found = found_in(volume)
        for name in (*CT_FEATURES, *MAP_FEATURES):
            assert np.isnan(feature(found, name)).all()
        known = [name for name in PET_FEATURES if name != "along"]
        assert all(np.isfinite(feature(found, name)).all() for name in known)

    def test_mirrored_side(self, volume: Volume) -> None:
        high = feature(found_in(volume), "mirror_high")
        assert high[0] == pytest.approx(7.0 / 8.0, rel=0.1)
        assert high[1] == pytest.approx(8.0 / 7.0, rel=0.1)

    def test_ct_numbers(self, volume: Volume) -> None:
        array = np.full(SHAPE, 40, np.int16)
        array[:30] = -800
        found = found_in(volume, ct=Volume(array, volume.affine))
        assert feature(found, "ct_mean")[:2].tolist() == [-800.0, 40.0]
        assert feature(found, "ct_air")[:2].tolist() == [1.0, 0.0]
        assert feature(found, "ct_mirror")[:2].tolist() == [40.0, -800.0]

    def test_label_map(self, volume: Volume) -> None:
        labels = np.zeros(SHAPE, np.uint8)
        labels[8:20, 14:26, 14:26] = LABELS["urinary_bladder"]
        exam = exam_peaks(volume, Volume(labels, volume.affine))
        found = find_candidates(volume, exam, labels=Volume(labels, volume.affine))
        assert feature(found, "to_bladder_mm")[0] == 0.0
        assert feature(found, "to_bladder_mm")[1] > 50.0
        assert feature(found, "over_organ")[0] > 1.0
        assert np.isnan(feature(found, "over_organ")[1])
        assert [is_vetoed(exam.organs, int(peak)) for peak in found.rows[:2]] == [True, False]

    def test_place_in_the_body(self, volume: Volume) -> None:
        found = found_in(volume)
        assert feature(found, "across")[0] < 0 < feature(found, "across")[1]
        assert abs(feature(found, "across")[2]) < 0.1
        assert feature(found, "to_end_mm").tolist() == [80.0, 80.0, 56.0]
