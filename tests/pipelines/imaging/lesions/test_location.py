"""Which peak a finding means, on lists of peaks that are made by hand."""

from collections.abc import Sequence

import numpy as np
import pytest

from pipelines.imaging.lesions.body_frame import BodyFrame
from pipelines.imaging.lesions.calibration import Calibration, CalibrationSource, Reported
from pipelines.imaging.lesions.exam_peaks import ExamPeaks, OrgansAtPeaks
from pipelines.imaging.lesions.location import Evidence, ExamLocations, Sought, locate
from pipelines.imaging.lesions.location_words import Place, place_of
from pipelines.imaging.lesions.peaks import PeakList
from pipelines.imaging.volume import SliceGrid

N_SLICES, STEP_MM = 200, 4.0
COHORT = Calibration(source=CalibrationSource.COHORT)
LEFT, RIGHT = Place(side="left"), Place(side="right")

Peak = tuple[float, float, int]
"""SUV, RAS x in mm, slice from the head."""


def exam(peaks: Sequence[Peak], organs: OrgansAtPeaks | None = None) -> ExamPeaks:
    """An exam whose peaks are as prominent as lesions; shoulders at 700 mm and bladder at 100 mm."""
    suv, x, slices = (np.array(column, dtype=float) for column in zip(*peaks)) if peaks else (np.zeros(0),) * 3
    n = len(suv)
    k = (N_SLICES - slices).astype(np.int64)
    ijk = np.stack([np.round(x / STEP_MM).astype(np.int64) + 50, np.full(n, 40), k], axis=1)
    ras = np.stack([x, np.zeros(n), k * STEP_MM], axis=1)
    found = PeakList(ijk, suv, np.full(n, 1.5), suv - 1.5, np.full(n, 50), np.full(n, -1), suv * 0.9)
    width, edge = np.full(N_SLICES, 180.0), np.full(N_SLICES, 120.0)
    frame = BodyFrame(700.0, 100.0, np.zeros(N_SLICES), width, -edge, edge)
    return ExamPeaks(found, frame, organs, ras, SliceGrid(N_SLICES, 0.0, STEP_MM), np.zeros(n))


def sought(suv: float, number: int | None, place: Place = Place()) -> Sought:
    return Sought(Reported(suv, 0.1, number), place)


def background(seed: int = 0, n: int = 150) -> list[Peak]:
    """Peaks of an exam that no finding means: SUV 1.6 to 20, anywhere."""
    rng = np.random.default_rng(seed)
    return [
        (float(np.exp(rng.uniform(np.log(1.6), np.log(20)))), float(rng.uniform(-150, 150)), int(rng.integers(1, 200)))
        for _ in range(n)
    ]


LESIONS: list[Peak] = [(8.04, 60.0, 60), (12.31, -80.0, 90), (5.52, 100.0, 130)]
FINDINGS = [sought(8.0, 60), sought(12.3, 90), sought(5.5, 130)]


def accepted(found: ExamLocations) -> list[int | None]:
    return [one.peak if one.accepted else None for one in found.locations]


class TestLocate:
    def test_finds_each_lesion_among_many_peaks(self) -> None:
        assert accepted(locate(FINDINGS, exam([*LESIONS, *background()]), COHORT)) == [0, 1, 2]

    @pytest.mark.parametrize("seed", range(5))
    def test_is_the_same_in_any_order(self, seed: int) -> None:
        order = np.random.default_rng(seed).permutation(3)
        made = exam([*LESIONS, *background(seed)])
        before, after = locate(FINDINGS, made, COHORT), locate([FINDINGS[n] for n in order], made, COHORT)
        assert accepted(after) == [accepted(before)[n] for n in order]

    def test_reads_the_report_as_it_is_calibrated(self) -> None:
        made = exam([*LESIONS, *background()])
        other = [sought(round(s * 1.07, 1), n + 2) for s, _, n in LESIONS]
        calibration = Calibration(suv_scale=1.07, slice_offset=2, source=CalibrationSource.COHORT)
        assert accepted(locate(other, made, calibration)) == [0, 1, 2]

    def test_gives_equal_peaks_as_candidates(self) -> None:
        found = locate([*FINDINGS, sought(9.0, 40)], exam([*LESIONS, (9.0, 60.0, 40), (9.0, -60.0, 40)]), COHORT)
        last = found.locations[-1]
        assert not last.accepted
        assert {c.peak for c in last.candidates} == {3, 4}
        assert last.posterior == pytest.approx(0.5, abs=0.02)

    def test_tells_equal_peaks_apart_by_the_side(self) -> None:
        made = exam([*LESIONS, (9.0, 60.0, 40), (9.0, -60.0, 40)])
        found = locate([*FINDINGS, sought(9.0, 40, LEFT), sought(9.0, 40, RIGHT)], made, COHORT)
        assert accepted(found)[3:] == [4, 3]

    def test_takes_a_slice_within_the_size_that_the_text_gives(self) -> None:
        made = exam([(8.0, 60.0, 60), *background(n=20)])
        far = Reported(8.0, 0.1, 65)
        small, large = (locate([Sought(far, Place(), size)], made, COHORT).locations[0] for size in (None, 50.0))
        assert large.posterior > small.posterior

    def test_gives_each_peak_to_one_finding_alone(self) -> None:
        found = locate([*FINDINGS, sought(8.0, 60, RIGHT)], exam([*LESIONS, *background()]), COHORT)
        given = [peak for peak in accepted(found) if peak is not None]
        assert len(given) == len(set(given))

    def test_says_where_the_peak_lies_on_the_other_side(self) -> None:
        found = locate([*FINDINGS, sought(9.0, 40, LEFT)], exam([*LESIONS, (9.0, 60.0, 40)]), COHORT)
        assert (found.locations[-1].accepted, found.locations[-1].other_side) == (False, 3)

    def test_accepts_nothing_by_the_value_alone(self) -> None:
        found = locate([*FINDINGS, sought(15.0, None)], exam([*LESIONS, (15.0, 60.0, 40)]), COHORT)
        assert (found.locations[-1].evidence, found.locations[-1].accepted) == (Evidence.SUV, False)
        assert [c.peak for c in found.locations[-1].candidates] == [3]

    def test_accepts_value_and_zone(self) -> None:
        made = exam([*LESIONS, (15.0, -100.0, 80), (15.0, 100.0, 180)])
        found = locate([*FINDINGS, sought(15.0, None, place_of("left lung", side="left"))], made, COHORT)
        assert (found.locations[-1].evidence, accepted(found)[-1]) == (Evidence.SUV_ZONE, 3)

    def test_accepts_value_and_organ(self) -> None:
        distance = np.full((5, 1), 150.0, np.float32)
        distance[4] = 0.0
        made = exam([*LESIONS, (15.0, -100.0, 80), (15.0, 100.0, 80)], OrgansAtPeaks(("liver",), distance))
        found = locate([*FINDINGS, sought(15.0, None, place_of("liver"))], made, COHORT)
        assert (found.locations[-1].evidence, accepted(found)[-1]) == (Evidence.SUV_ORGAN, 4)

    @pytest.mark.parametrize(
        ("source", "expected"), [(CalibrationSource.ASSUMED, [0, 1, 2, None]), (CalibrationSource.NONE, [None] * 4)]
    )
    def test_asks_for_slice_and_value_where_the_calibration_is_an_assumption(
        self, source: CalibrationSource, expected: list[int | None]
    ) -> None:
        made = exam([*LESIONS, (15.0, -100.0, 80)])
        findings = [*FINDINGS, sought(15.0, None, place_of("left lung", side="left"))]
        assert accepted(locate(findings, made, Calibration(source=source))) == expected

    def test_accepts_nothing_of_a_report_that_does_not_fit_the_image(self) -> None:
        # One of six fits, as by chance.
        other = [sought(s, n) for s, n in ((6.6, 20), (17.7, 150), (9.9, 55), (11.1, 75), (13.3, 165), (8.0, 60))]
        found = locate(other, exam([*LESIONS, *background(n=40)]), COHORT)
        assert accepted(found) == [None] * 6
        assert found.belongs_llr is not None
        assert found.belongs_llr < 1.0

    def test_is_likelier_mirrored_where_all_sides_are_exchanged(self) -> None:
        places = [place_of("lung", side=s) for s in ("right", "left", "right")]
        swapped = [place_of("lung", side=s) for s in ("left", "right", "left")]
        made = exam([*LESIONS, *background()])
        right = locate([Sought(f.reported, p) for f, p in zip(FINDINGS, places)], made, COHORT)
        wrong = locate([Sought(f.reported, p) for f, p in zip(FINDINGS, swapped)], made, COHORT)
        assert right.mirrored_llr is not None
        assert wrong.mirrored_llr is not None
        assert right.mirrored_llr < 0 < wrong.mirrored_llr

    def test_finds_nothing_in_an_exam_without_peaks(self) -> None:
        found = locate(FINDINGS, exam([]), COHORT)
        assert accepted(found) == [None] * 3
        assert found.belongs_llr is None
