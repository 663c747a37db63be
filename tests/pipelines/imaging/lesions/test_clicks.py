"""Foci joined, cut off and marked by a click: contours are corrected and stay disjoint; what cannot be done is said."""

from dataclasses import replace

import numpy as np
import pytest

from pipelines.imaging.lesions.clicks import focus_at
from pipelines.imaging.lesions.find_lesions import KnownLesion, LesionRequest, LesionResult, find_lesions
from pipelines.imaging.masks import place_mask
from pipelines.imaging.volume import Volume
from pipelines.tables.outcomes import Outcome
from tests.pipelines.imaging.lesions.test_find_lesions import request_at

MASS, PART, OTHER, FAR = (30.0, 0.0, 0.0), (30.0, 0.0, 30.0), (-36.0, 9.0, 6.0), (-36.0, -30.0, -36.0)


@pytest.fixture
def scene(spheres) -> Volume:
    """A mass, a focus above it that is another lesion to the image, and two more."""
    return spheres([(MASS, 12.0, 9.0), (PART, 9.0, 7.0), (OTHER, 12.0, 6.0), (FAR, 9.0, 5.0)])


def text_of(place: tuple[float, ...]) -> str:
    return " ".join(f"{v:.1f}" for v in place)


def whole(result: LesionResult, grid: Volume) -> np.ndarray:
    assert result.mask is not None
    return place_mask(result.mask, grid)


def volume_ml(result: LesionResult) -> float:
    assert result.measures is not None
    return result.measures.mtv_ml


class TestFocusAt:
    def test_a_click_on_the_slope_means_the_top(self, scene):
        assert focus_at(scene, (34.0, 4.0, 3.0)) == focus_at(scene, MASS)

    def test_a_click_outside_means_nothing(self, scene):
        assert focus_at(scene, (500.0, 0.0, 0.0)) is None


class TestJoin:
    def test_both_foci_are_one_lesion(self, scene):
        request = request_at(scene, MASS)
        alone = find_lesions(scene, [request])[0]
        joined = find_lesions(scene, [replace(request, joined_at=text_of(PART))])[0]
        assert whole(joined, scene)[focus_at(scene, PART)]
        assert volume_ml(joined) > 1.2 * volume_ml(alone)
        assert (joined.outcome, joined.is_edited, joined.correction_problem) == (Outcome.LESION, True, None)

    def test_the_focus_of_another_finding_stays_its(self, scene):
        mine = replace(request_at(scene, MASS), joined_at=text_of(OTHER))
        other = request_at(scene, OTHER, finding_id="E1:other")
        found = find_lesions(scene, [mine, other])
        assert "E1:other" in found[0].correction_problem
        assert not (whole(found[0], scene) & whole(found[1], scene)).any()

    def test_one_focus_is_joined_with_one_finding(self, scene):
        asked = [
            replace(request_at(scene, p, finding_id=f"E1:{n}"), joined_at=text_of(FAR))
            for n, p in ((1, MASS), (2, OTHER))
        ]
        found = find_lesions(scene, asked)
        assert [f.correction_problem is None for f in found] == [True, False]
        assert not (whole(found[0], scene) & whole(found[1], scene)).any()

    def test_outside_of_the_image_is_said(self, scene):
        made = find_lesions(scene, [replace(request_at(scene, MASS), joined_at="0.0 0.0 900.0")])[0]
        assert "outside the image" in made.correction_problem
        assert not made.is_edited

    def test_its_own_focus_is_said(self, scene):
        made = find_lesions(scene, [replace(request_at(scene, MASS), joined_at=text_of(MASS))])[0]
        assert "its own peak" in made.correction_problem


class TestCut:
    def test_what_was_joined_by_the_image_is_cut_off(self, spheres):
        bridged = spheres([(MASS, 13.0, 9.0), ((30.0, 0.0, 21.0), 11.0, 8.6)])
        request = request_at(bridged, MASS)
        before = whole(find_lesions(bridged, [request])[0], bridged)
        focus = focus_at(bridged, (30.0, 0.0, 24.0))
        assert before[focus], "the scene: the image alone takes both for one lesion"
        made = find_lesions(bridged, [replace(request, cut_at="30.0 0.0 24.0")])[0]
        after = whole(made, bridged)
        assert made.correction_problem is None
        assert not after[focus]
        assert after.sum() < before.sum()

    def test_its_own_focus_can_not_be_cut(self, scene):
        made = find_lesions(scene, [replace(request_at(scene, MASS), cut_at=text_of(MASS))])[0]
        assert made.correction_problem is not None
        assert volume_ml(made) == volume_ml(find_lesions(scene, [request_at(scene, MASS)])[0])


class TestMark:
    def mark(self, place: tuple[float, ...]) -> LesionRequest:
        return LesionRequest("E1:at", "marked", None, None, candidate=text_of(place))

    def test_a_marked_lesion_is_measured_and_kept_out_of_others(self, scene):
        marked, found = find_lesions(scene, [self.mark((28.0, 3.0, 32.0)), request_at(scene, MASS)])
        assert (marked.outcome, marked.location["evidence"]) == (Outcome.LESION, "review")
        assert whole(marked, scene)[focus_at(scene, PART)]
        assert not (whole(marked, scene) & whole(found, scene)).any()

    def test_a_mark_outside_is_no_lesion_and_says_so(self, scene):
        made = find_lesions(scene, [self.mark((0.0, 0.0, 900.0))])[0]
        assert made.outcome is Outcome.NOT_IN_IMAGE
        assert "outside the image" in made.correction_problem


class TestReuse:
    def test_a_joined_lesion_is_reused_until_its_join_changes(self, scene):
        request = replace(request_at(scene, MASS), joined_at=text_of(PART))
        made = find_lesions(scene, [request])[0]
        corner = tuple(int(v) for v in np.rint(scene.to_ijk(made.mask.affine[:3, 3])))
        known = KnownLesion(made.contour_inputs, made.outcome, made.explanation, lambda: (corner, made.mask.array > 0))
        again = find_lesions(scene, [request], known={request.finding_id: known})[0]
        assert again.known is known
        other = find_lesions(scene, [replace(request, joined_at=None)], known={request.finding_id: known})[0]
        assert other.known is None
