"""Places of findings, from the words of place.toml."""

import pytest

from pipelines.imaging.lesions.location_words import has_label, has_own_uptake, is_physiologic, place_of
from pipelines.reports.vocabulary.vocabulary import package_vocabulary


class TestPlaceOf:
    @pytest.mark.parametrize(
        ("text", "organ", "named"),
        [
            ("FDG-avid right axillary lymph node", "lymph node", "axillary"),
            ("Node in the porta hepatis", "lymph node", "porta hepatis"),
            ("Focus in the floor of the mouth near the mandible", None, "floor of the mouth"),
            ("Nodule", "liver", "liver"),
            ("Focus above the bladder", "colon", "colon"),
        ],
    )
    def test_takes_the_longest_phrase_that_is_not_beside_the_place(self, text, organ, named):
        assert place_of(text, None, organ).named == named

    def test_names_nothing_where_the_words_do_not(self):
        assert place_of("A focus").along is None

    def test_falls_back_on_the_region(self):
        assert place_of("A focus", region="chest").named == "chest"

    def test_knows_the_level_of_a_vertebra(self):
        upper, lower = place_of("T3 lesion", organ="vertebra"), place_of("L4 lesion", organ="vertebra")
        assert upper.along[1] < lower.along[0]
        assert (upper.labels, lower.labels) == (("vertebrae_T3",), ("vertebrae_L4",))

    def test_knows_the_number_of_a_rib(self):
        assert place_of("Focus in the left 6th rib", organ="rib").labels == ("rib_left_6", "rib_right_6")

    @pytest.mark.parametrize(("said", "side"), [("left", "left"), (None, None)])
    def test_keeps_the_side_of_the_finding(self, said, side):
        assert place_of("Hilar node", side=said).side == side

    @pytest.mark.parametrize(
        ("text", "side"),
        [
            ("Splenic focus", "left"),
            ("Mass of the ascending colon", "right"),
            ("Focus at the splenic flexure", "left"),
            ("Focus in the sigmoid colon", None),
        ],
    )
    def test_knows_the_side_of_an_organ_that_has_one(self, text, side):
        assert place_of(text).side == side


class TestHasLabel:
    @pytest.mark.parametrize(
        ("name", "label", "meant"),
        [
            ("kidney_left", "kidney", True),
            ("vertebrae_T1", "vertebrae_T1", True),
            ("vertebrae_T11", "vertebrae_T1", False),
            ("vertebrae_T11", "vertebrae_T", True),
            ("liver", "spleen", False),
        ],
    )
    def test_ends_a_number_where_it_ends(self, name, label, meant):
        assert has_label(name, (label,)) == meant

    def test_tells_uptake_that_is_an_organs_own(self):
        assert is_physiologic("urinary_bladder")
        assert not is_physiologic("rib_left_3")


class TestHasOwnUptake:
    def test_is_true_of_marrow_and_parenchyma_alone(self):
        organs = sorted({t.organ for t in package_vocabulary().lexicon.terms.values() if t.organ})
        warm = {organ for organ in organs if has_own_uptake(organ)}
        assert {"liver", "vertebra", "parotid gland", "pancreas"} <= warm
        assert not warm & {"lymph node", "muscle", "soft tissue", "lung", "peritoneum", "neck"}
        assert not has_own_uptake(None)
