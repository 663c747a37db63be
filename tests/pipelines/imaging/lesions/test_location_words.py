"""Where across the body a sentence places a finding."""

import numpy as np
import pytest

from pipelines.imaging.lesions.find_lesions import LesionRequest, find_lesions
from pipelines.imaging.lesions.location_words import BodyExtent, body_extent, zone_of
from pipelines.imaging.volume import Volume
from pipelines.tables.outcomes import Outcome

BODY = BodyExtent((-180.0, 180.0), (-110.0, 110.0))
SPINE, STERNUM, AXILLA, LEFT_FLANK = (5.0, -50.0), (0.0, 90.0), (130.0, 0.0), (-120.0, -20.0)


class TestZoneOf:
    @pytest.mark.parametrize(
        ("sentence", "inside", "outside"),
        [
            ("A lytic lesion of the T8 vertebral body", SPINE, STERNUM),
            ("FDG avid lesion of the sternum", STERNUM, SPINE),
            ("An axillary lymph node", AXILLA, SPINE),
            ("A subcarinal node", SPINE, AXILLA),
            ("A focus in the spleen", LEFT_FLANK, AXILLA),
            ("A lesion of the humerus, above mediastinal blood pool", AXILLA, SPINE),
            ("A rib lesion adjacent to the axilla, in the anterior abdominal wall", STERNUM, SPINE),
        ],
    )
    def test_holds_the_place_that_is_named(self, sentence, inside, outside):
        zone = zone_of(sentence)
        assert zone.outside(inside, BODY) == 0.0
        assert zone.outside(outside, BODY) > 0.1

    @pytest.mark.parametrize(
        "sentence",
        ["A lymph node", "A node near the spine", "Mediastinal and axillary nodes", "A node than the spleen"],
    )
    def test_is_none_where_no_or_several_places_are_named(self, sentence):
        assert zone_of(sentence) is None


def body_with(foci: list[tuple[int, int]], shape=(100, 80, 20)) -> Volume:
    """A body of SUV 1 in air, 4 mm voxels, with a lesion of SUV 8 at each (i, j) of its middle slice."""
    array = np.zeros(shape, dtype=np.float32)
    array[10:90, 15:65] = 1.0
    for i, j in foci:
        array[i - 1 : i + 2, j - 1 : j + 2, 9:12] = 6.0
        array[i, j, 10] = 8.0
    affine = np.diag([4.0, 4.0, 4.0, 1.0])
    affine[:3, 3] = (-198.0, -158.0, 0.0)
    return Volume(array, affine)


class TestBodyExtent:
    def test_is_where_tracer_is_taken_up(self):
        body = body_extent(body_with([]), 10)
        assert body.x_mm == (pytest.approx(-158, abs=4), pytest.approx(158, abs=4))
        assert body.y_mm == (pytest.approx(-98, abs=4), pytest.approx(98, abs=4))

    def test_is_unknown_in_a_crop(self):
        part = body_with([]).crop((slice(None), slice(30, 80), slice(None)))
        assert body_extent(part, 10) is None


class TestFindLesions:
    SPINE_IJ, STERNUM_IJ, FLANK_IJ = (50, 25), (50, 60), (75, 40)

    def result(self, foci, sentence: str):
        return find_lesions(body_with(foci), [LesionRequest("E:1", sentence, 10, 8.0)])[0]

    def test_of_two_alike_the_one_that_lies_where_the_sentence_says_is_meant(self):
        found = self.result([self.SPINE_IJ, self.STERNUM_IJ], "A sternal lesion with SUV max of 8.0 (slice 10).")
        assert (found.outcome, found.rule) == (Outcome.LESION, "place")
        assert (found.measures.peak_i, found.measures.peak_j) == self.STERNUM_IJ
        assert "where the sentence says" in found.explanation

    def test_a_peak_at_the_place_goes_before_one_elsewhere_on_the_very_slice(self):
        volume = body_with([self.STERNUM_IJ])
        i, j = self.SPINE_IJ
        volume.array[i - 1 : i + 2, j - 1 : j + 2, 9:13] = 6.0
        volume.array[i, j, 11] = 8.0
        asked = LesionRequest("E:1", "A vertebral lesion with SUV max of 8.0 (slice 10).", 10, 8.0)
        assert find_lesions(volume, [asked])[0].measures.peak_j == j

    def test_both_in_the_place_or_a_place_in_neither_settles_nothing(self):
        for foci in ([self.SPINE_IJ, (52, 35)], [self.FLANK_IJ, (25, 40)]):
            found = self.result(foci, "A vertebral lesion with SUV max of 8.0 (slice 10).")
            assert found.outcome is Outcome.AMBIGUOUS

    def test_a_peak_just_outside_of_the_place_is_not_ruled_out(self):
        found = self.result([self.SPINE_IJ, (68, 25)], "A vertebral lesion with SUV max of 8.0 (slice 10).")
        assert found.outcome is Outcome.AMBIGUOUS

    def test_one_that_is_settled_leaves_the_other_to_the_other_finding(self):
        asked = [
            LesionRequest("a", "A focus with SUV max of 8.0 (slice 10).", 10, 8.0),
            LesionRequest("b", "A vertebral lesion with SUV max of 8.0 (slice 10).", 10, 8.0),
        ]
        found = find_lesions(body_with([self.SPINE_IJ, self.FLANK_IJ]), asked)
        assert [(r.measures.peak_i, r.measures.peak_j) for r in found] == [self.FLANK_IJ, self.SPINE_IJ]
