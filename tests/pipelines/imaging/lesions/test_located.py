"""Outcomes of located findings, and peaks that reviewers pick."""

import json

import pytest

from pipelines.imaging.lesions.calibration import Calibration, CalibrationSource
from pipelines.imaging.lesions.located import Located, locate_requests
from pipelines.imaging.lesions.request import LesionRequest
from pipelines.settings import LesionSettings
from pipelines.tables.outcomes import Outcome
from tests.pipelines.imaging.lesions.test_location import LESIONS, exam

COHORT = Calibration(source=CalibrationSource.COHORT)
TWINS = exam([*LESIONS, (9.0, 60.0, 40), (9.0, -60.0, 40)])
"""Three lesions, and two peaks that the sentence of a fourth finding may mean."""


def request(suv: float, number: int | None, name: str = "F", **fields: str) -> LesionRequest:
    return LesionRequest(name, f"A lesion with SUVmax of {suv} (slice {number}).", number, suv, **fields)


def located(one: LesionRequest, calibration: Calibration = COHORT) -> Located:
    others = [request(round(suv, 1), number, f"F{number}") for suv, _, number in LESIONS]
    return locate_requests([*others, one], TWINS, calibration, None, LesionSettings())[-1]


class TestOutcomes:
    @pytest.mark.parametrize(
        ("one", "outcome"),
        [
            (request(9.0, 40), Outcome.AMBIGUOUS),
            (request(16.0, 40), Outcome.NOT_IN_IMAGE),
            (request(16.0, 900), Outcome.SLICE_OUTSIDE),
            (request(9.0, 40, laterality="left"), None),
        ],
    )
    def test_say_why_a_finding_is_no_lesion(self, one: LesionRequest, outcome: Outcome | None) -> None:
        assert located(one).outcome == outcome

    def test_numbers_the_candidates(self) -> None:
        found = json.loads(located(request(9.0, 40)).columns["candidates"])
        assert [(c["n"], c["suv"]) for c in found] == [(1, 9.0), (2, 9.0)]

    def test_of_an_exam_that_is_not_calibrated(self) -> None:
        found = located(request(9.0, 40, laterality="left"), Calibration(source=CalibrationSource.NONE))
        assert found.outcome is Outcome.NOT_CALIBRATED

    def test_one_lesion_that_is_named_twice_is_located_twice(self) -> None:
        settings = LesionSettings()
        requests = [request(round(suv, 1), number, f"F{number}") for suv, _, number in LESIONS]
        found = locate_requests([*requests, request(8.0, 60, "again")], TWINS, COHORT, None, settings)
        assert found[-1].peak_ijk == found[0].peak_ijk


class TestAPickedCandidate:
    @pytest.mark.parametrize("n", [1, 2])
    def test_is_taken_by_its_number(self, n: int) -> None:
        told = json.loads(located(request(9.0, 40)).columns["candidates"])
        found = located(request(9.0, 40, candidate=str(n)))
        assert (found.outcome, found.evidence) == (None, "review")
        place = [told[n - 1][f"{axis}_mm"] for axis in "xyz"]
        assert found.peak_ijk == tuple(TWINS.peaks.ijk[TWINS.ras_mm.tolist().index(place)])

    def test_is_taken_by_its_position(self) -> None:
        found = located(request(9.0, 40, candidate="-58.0 1.0 640.0"))
        assert (found.outcome, found.peak_ijk) == (None, tuple(TWINS.peaks.ijk[4]))

    def test_is_no_other_findings(self) -> None:
        other = request(9.0, 41, "other")
        picked = located(request(9.0, 40, candidate="1")).peak_ijk
        alone = locate_requests([request(9.0, 40), other], TWINS, COHORT, None, LesionSettings())
        beside = locate_requests([request(9.0, 40, candidate="1"), other], TWINS, COHORT, None, LesionSettings())
        assert alone[1].outcome is Outcome.AMBIGUOUS
        weights = [c["weight"] for c in json.loads(beside[1].columns["candidates"])]
        assert beside[0].peak_ijk == picked
        assert beside[1].peak_ijk not in (None, picked), (beside[1].outcome, weights)

    @pytest.mark.parametrize("picked", ["3", "0.0 0.0 0.0"])
    def test_that_is_not_there_stays_ambiguous(self, picked: str) -> None:
        found = located(request(9.0, 40, candidate=picked))
        assert (found.outcome, found.peak_ijk) == (Outcome.AMBIGUOUS, None)
        assert "pick one" in found.explanation
