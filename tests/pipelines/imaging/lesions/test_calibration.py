"""How reports are read: recovered from findings of drawn peaks."""

import numpy as np
import pytest

from pipelines.imaging.lesions.calibration import (
    Calibration,
    CalibrationSource,
    Likelihood,
    Reported,
    calibrate,
    conventions_of,
    estimate,
    exam_likelihood,
    log_prior,
    no_likelihood,
    predicted_scales,
    relative_to,
    reported_slices,
)
from pipelines.imaging.volume import SliceGrid
from pipelines.settings import CalibrationSettings, Origin, SliceConvention

PET = SliceGrid(300, 0.0, 3.0)
SETTINGS = CalibrationSettings()
CONVENTIONS = conventions_of(SliceConvention())
N_PEAKS = 120


def drawn(seed: int, n: int, scale=1.0, offset=0, origin=Origin.HEAD, with_slice=True, of_the_exam=True) -> Likelihood:
    """Likelihood of an exam whose report names n of its peaks in a workstation's numbers."""
    rng = np.random.default_rng(seed)
    suv, k = rng.uniform(2.5, 20, N_PEAKS), rng.integers(20, 280, N_PEAKS)
    told = np.arange(n) if of_the_exam else N_PEAKS - 1 - np.arange(n)
    values = suv if of_the_exam else np.random.default_rng(seed + 999).uniform(2.5, 20, N_PEAKS)
    used = SliceConvention(origin=origin)
    numbers = reported_slices(used, k, PET, None)
    assert numbers is not None
    findings = [
        Reported(round(float(values[p]) * scale, 1), 0.1, int(numbers[p]) + offset if with_slice else None)
        for p in told
    ]
    tried = [reported_slices(c, k, PET, None) for c in CONVENTIONS]
    weights = [np.where(np.arange(N_PEAKS) < 12, 1.0, 0.2)] * n
    return exam_likelihood(findings, suv, weights, [None if t is None else (t, 1.0) for t in tried], SETTINGS)


def alone(one: Likelihood) -> Calibration:
    return calibrate(one, [], CONVENTIONS, (), SETTINGS)


def pooled(exams: list[Likelihood]) -> Likelihood:
    total = no_likelihood(len(CONVENTIONS))
    for one in exams:
        total = total + one
    return total


def decided(one: Likelihood):
    return estimate(one, log_prior(len(CONVENTIONS), (), one.with_slice), SETTINGS)


class TestCalibrate:
    @pytest.mark.parametrize(("scale", "offset"), [(1.0, 0), (1.02, 1), (0.98, 2), (0.75, 0)])
    def test_finds_scale_and_offset_of_an_exam_with_many_findings(self, scale, offset):
        found = alone(drawn(1, 8, scale, offset))
        assert found.source in (CalibrationSource.EXAM, CalibrationSource.ASSUMED)
        assert found.suv_scale == pytest.approx(scale, abs=0.004)
        assert found.slice_offset == offset

    def test_finds_slices_that_are_counted_from_the_feet(self):
        assert alone(drawn(2, 8, origin=Origin.FEET)).convention.origin is Origin.FEET

    def test_exams_with_one_finding_are_carried_by_their_sum(self):
        exams = [drawn(seed, 1, 1.02, 1) for seed in range(12)]
        cohort = decided(pooled(exams))
        assert [decided(one).decided for one in exams] == [False] * len(exams)
        assert cohort.decided
        found = calibrate(exams[0], [(CalibrationSource.COHORT, cohort)], CONVENTIONS, (), SETTINGS)
        assert (found.source, found.slice_offset) == (CalibrationSource.COHORT, 1)
        assert found.suv_scale == pytest.approx(1.02, abs=0.004)

    def test_one_more_exam_changes_no_value(self):
        exams = [drawn(seed, 2, 1.02, 1) for seed in range(20)]
        before, after = (decided(pooled(exams[:n])) for n in (19, 20))
        values = [
            calibrate(exams[0], [(CalibrationSource.COHORT, e)], CONVENTIONS, (), SETTINGS).values
            for e in (before, after)
        ]
        assert values[0] == values[1]

    def test_one_exam_with_one_finding_is_assumed(self):
        found = alone(drawn(3, 1))
        assert (found.source, found.suv_scale, found.slice_offset) == (CalibrationSource.ASSUMED, 1.0, 0)

    def test_reports_of_other_exams_decide_nothing(self):
        exams = [drawn(seed, 4, of_the_exam=False) for seed in range(15)]
        assert not decided(pooled(exams)).decided
        assert CalibrationSource.EXAM not in {alone(one).source for one in exams}

    def test_settings_fix_values(self):
        settings = CalibrationSettings(suv_scale=1.1, slice_offset=3)
        found = calibrate(drawn(1, 8), [], CONVENTIONS, (), settings)
        assert (found.source, found.suv_scale, found.slice_offset) == (CalibrationSource.SETTING, 1.1, 3)

    def test_values_alone_tell_the_scale(self):
        exams = [drawn(seed, 3, 1.02, with_slice=False) for seed in range(10)]
        cohort = decided(pooled(exams))
        assert cohort.decided
        assert np.exp(cohort.ln_scale) == pytest.approx(1.02, abs=0.004)


class TestPredictedScales:
    def exam(self, **changes: float | None) -> dict[str, float | None]:
        return dict.fromkeys(("sul_ratio", "sul_james_ratio", "uptake_s", "half_life_s")) | changes

    def test_are_those_of_lean_mass_and_of_other_times_of_the_decay(self):
        found = predicted_scales(self.exam(sul_ratio=0.71, uptake_s=3600.0, half_life_s=6586.2))
        assert found == pytest.approx({"sul": 0.71, "injection": 0.6846, "scan": 1.4606}, abs=1e-3)

    def test_of_a_header_that_does_not_tell_are_none(self):
        assert predicted_scales(self.exam()) == {}

    def test_off_the_grid_are_left_out(self):
        assert predicted_scales(self.exam(uptake_s=14_400.0, half_life_s=6586.2)) == {}

    def test_sum_up_though_each_exam_has_its_own(self):
        ratios = np.random.default_rng(4).uniform(0.62, 0.84, 12)
        exams = [drawn(seed, 2, ratio) for seed, ratio in enumerate(ratios)]
        assert [decided(one).decided for one in exams] == [False] * len(exams)
        cohort = decided(pooled([relative_to(one, ratio) for one, ratio in zip(exams, ratios)]))
        assert cohort.decided
        assert cohort.llr > decided(pooled(exams)).llr + 20
        for one, ratio in zip(exams, ratios):
            own = cohort.at(ratio)
            assert own is not None
            found = calibrate(one, [(CalibrationSource.SCANNER, own)], CONVENTIONS, (ratio,), SETTINGS)
            assert found.suv_scale == pytest.approx(ratio, abs=0.006)
            assert found.source is CalibrationSource.SCANNER

    def test_tell_nothing_of_exams_that_print_the_image_itself(self):
        ratios = np.random.default_rng(5).uniform(0.62, 0.84, 12)
        exams = [drawn(seed, 2) for seed in range(12)]
        assert not decided(pooled([relative_to(one, ratio) for one, ratio in zip(exams, ratios)])).decided
