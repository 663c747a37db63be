"""Findings contoured before: kept where they would come out the same, contoured again where they would not."""

import numpy as np
import pytest

from pipelines.imaging.lesions import find_lesions as lesions_module
from pipelines.imaging.lesions.find_lesions import ContourInputs, KnownLesion, LesionRequest, LesionResult, find_lesions
from pipelines.imaging.volume import Volume
from pipelines.tables.outcomes import Outcome

NEAR_A, NEAR_B, FAR = (30.0, 0.0, 0.0), (0.0, 0.0, 0.0), (-60.0, 9.0, 6.0)


@pytest.fixture
def three(spheres) -> Volume:
    """Two lesions near each other, and one far away."""
    return spheres([(NEAR_A, 9.0, 9.0), (NEAR_B, 9.0, 6.0), (FAR, 9.0, 7.5)])


def request(volume: Volume, point, name: str, suv_off: float = 0.0) -> LesionRequest:
    i, j, k = np.rint(volume.to_ijk(point)).astype(int)
    box = volume.array[i - 2 : i + 3, j - 2 : j + 3, k - 2 : k + 3]
    at = int(np.unravel_index(box.argmax(), box.shape)[2])
    return LesionRequest(name, "a focus", volume.shape[2] - (k - 2 + at), round(float(box.max()), 1) + suv_off)


def known(results: list[LesionResult], *, masks: bool = True) -> dict[str, KnownLesion]:
    def of(result: LesionResult) -> KnownLesion:
        assert result.contour_inputs is not None
        assert result.measures is not None
        low = (result.measures.box_i0, result.measures.box_j0, result.measures.box_k0)
        mask = (lambda: (low, result.mask.array > 0)) if masks else None
        return KnownLesion(result.contour_inputs, result.outcome, result.explanation, mask)

    return {r.request.finding_id: of(r) for r in results if r.contour_inputs is not None}


@pytest.fixture
def contoured(monkeypatch) -> list[tuple[int, ...]]:
    """Peaks (i, j, k) that were contoured, in order."""
    asked: list[tuple[int, ...]] = []
    real = lesions_module.contour

    def record(volume, peak_ijk, *args):
        asked.append(tuple(peak_ijk))
        return real(volume, peak_ijk, *args)

    monkeypatch.setattr(lesions_module, "contour", record)
    return asked


class TestKnownLesions:
    def test_are_not_contoured_again(self, three, contoured):
        requests = [request(three, p, n) for p, n in ((NEAR_A, "a"), (NEAR_B, "b"), (FAR, "c"))]
        first = find_lesions(three, requests)
        contoured.clear()
        again = find_lesions(three, requests, known=known(first))
        assert contoured == []
        assert [(r.outcome, r.shares_with) for r in again] == [(r.outcome, r.shares_with) for r in first]

    def test_are_contoured_again_where_a_neighbour_in_their_box_went(self, three, contoured):
        requests = [request(three, p, n) for p, n in ((NEAR_A, "a"), (NEAR_B, "b"), (FAR, "c"))]
        before = known(find_lesions(three, requests))
        contoured.clear()
        left = [requests[0], requests[2]]
        found = find_lesions(three, left, known=before)
        assert before["a"].contour_inputs.peak_ijk in contoured
        whole = find_lesions(three, left)
        for got, expected in zip(found, whole):
            if got.known is None:
                np.testing.assert_array_equal(got.mask.array, expected.mask.array)
            else:
                np.testing.assert_array_equal(got.known.mask()[1], expected.mask.array)

    def test_come_out_as_if_all_were_made_anew_when_one_more_is_reported(self, three):
        requests = [request(three, p, n) for p, n in ((NEAR_A, "a"), (FAR, "c"), (NEAR_B, "b"))]
        before = known(find_lesions(three, requests[:2]))
        found = find_lesions(three, requests, known=before)
        for got, expected in zip(found, find_lesions(three, requests)):
            mask = got.known.mask()[1] if got.known is not None else got.mask.array > 0
            np.testing.assert_array_equal(mask, expected.mask.array > 0)

    def test_without_a_mask_are_contoured_where_another_reaches_their_box(self, three, contoured):
        requests = [request(three, NEAR_A, "a"), request(three, NEAR_A, "again")]
        before = known(find_lesions(three, requests), masks=False)
        contoured.clear()
        found = find_lesions(three, requests, known=before)
        assert contoured == [before["a"].contour_inputs.peak_ijk] * 2
        assert [r.shares_with for r in found] == [("again",), ("a",)]

    def test_contour_inputs_hold_for_peaks_outside_its_box_alone(self):
        box = ((0, 0, 0), (10, 10, 10), ((2, 2, 2),), (4, 4, 4), (7, 7, 7), ())
        contour_inputs = ContourInputs((5, 5, 5), *box)
        assert contour_inputs.holds((5, 5, 5), np.array([[2, 2, 2], [30, 5, 5]]))
        assert not contour_inputs.holds((5, 5, 5), np.array([[2, 2, 2], [9, 5, 5]]))
        assert not contour_inputs.holds((5, 5, 5), np.empty((0, 3), dtype=np.int64))

    def test_contour_inputs_hold_only_beside_what_voxels_were_divided_with(self):
        box = ((0, 0, 0), (10, 10, 10), ((2, 2, 2),), (4, 4, 4), (7, 7, 7), ((30, 5, 5),))
        contour_inputs = ContourInputs((5, 5, 5), *box)
        assert contour_inputs.holds((5, 5, 5), np.array([[2, 2, 2], [30, 5, 5]]))
        assert not contour_inputs.holds((5, 5, 5), np.array([[2, 2, 2]]))


def test_outcome_of_a_known_lesion_is_kept(three):
    one = request(three, FAR, "c")
    before = known(find_lesions(three, [one]))
    (found,) = find_lesions(three, [one], known=before)
    assert (found.outcome, found.known is not None) == (Outcome.LESION, True)
