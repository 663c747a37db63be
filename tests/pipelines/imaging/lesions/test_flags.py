"""What is suspicious about a contour."""

from types import SimpleNamespace

import numpy as np
import pytest

from pipelines.imaging.lesions.flags import flags_of, named_organs, organs_met
from pipelines.imaging.lesions.region import Contour, HotNeighbour, StopReason
from pipelines.imaging.organ_labels import LABELS

NONE_NAMED: frozenset[str] = frozenset()


def contour_at(corner, neighbour=None) -> Contour:
    mask = np.ones((4, 5, 5), dtype=bool)
    return Contour(mask, corner, 4.0, 1.0, 3, StopReason.CONVERGED, "adaptive", neighbour)


def label_map(name: str, up_to: int) -> np.ndarray:
    """The class in the planes below `up_to`."""
    labels = np.zeros((20, 20, 20), dtype=np.uint8)
    labels[:up_to] = LABELS[name]
    return labels


class TestOrgansMet:
    @pytest.mark.parametrize(
        ("name", "organ"),
        [("urinary_bladder", "bladder"), ("kidney_left", "kidney"), ("liver", "liver"), ("heart", "heart")],
    )
    def test_are_named_as_the_lexicon_names_them(self, name, organ):
        assert organs_met(contour_at((2, 5, 5)), label_map(name, 5)) == {organ}

    def test_a_mask_that_only_touches_an_organ_meets_none(self):
        assert organs_met(contour_at((5, 5, 5)), label_map("liver", 5)) == NONE_NAMED

    def test_an_organ_without_uptake_of_its_own_does_not_count(self):
        assert organs_met(contour_at((2, 5, 5)), label_map("colon", 9)) == NONE_NAMED


class TestNamedOrgans:
    @pytest.mark.parametrize(
        ("sentence", "organ"),
        [("Hypermetabolic focus in the right hepatic lobe", "liver"), ("Urinary bladder wall lesion", "bladder"),
         ("Left renal mass", "kidney"), ("Focus in the left frontal lobe of the brain", "brain")],
    )  # fmt: skip
    def test_by_the_words_of_the_lexicon(self, sentence, organ):
        assert organ in named_organs(sentence)

    def test_by_the_fields_of_the_finding(self):
        assert named_organs("Herd im rechten Lappen", "liver") == {"liver"}

    def test_none_where_there_is_none(self):
        assert named_organs("A node in the left axilla") == NONE_NAMED


class TestFlagsOf:
    def test_of_an_organ_that_is_not_named_are_told(self):
        labels = label_map("liver", 5)
        unnamed = flags_of(contour_at((2, 5, 5)), SimpleNamespace(diameter_mm=20.0), labels, NONE_NAMED, None)
        named = flags_of(contour_at((2, 5, 5)), SimpleNamespace(diameter_mm=20.0), labels, frozenset({"liver"}), None)
        assert (unnamed.organs_met, named.organs_met) == ("liver", "")
        assert "liver" in unnamed.message
        assert named.message == ""

    @pytest.mark.parametrize(("diameter_mm", "said"), [(45.0, True), (30.0, False), (11.0, False), (9.0, True)])
    def test_of_a_size_are_told_from_a_factor_of_two_on(self, diameter_mm, said):
        flags = flags_of(contour_at((2, 5, 5)), SimpleNamespace(diameter_mm=diameter_mm), None, NONE_NAMED, 2.0)
        assert flags.size_ratio == pytest.approx(diameter_mm / 20.0)
        assert bool(flags.message) is said

    def test_what_is_not_known_is_null(self):
        flags = flags_of(contour_at((2, 5, 5)), SimpleNamespace(diameter_mm=20.0), None, NONE_NAMED, None)
        assert set(flags.to_row().values()) == {None}

    def test_a_hot_neighbour_has_its_volume_and_suv(self):
        made = contour_at((2, 5, 5), HotNeighbour(71.0, 12.5))
        flags = flags_of(made, SimpleNamespace(diameter_mm=20.0), None, NONE_NAMED, None)
        assert (flags.neighbour_ml, flags.neighbour_suvmax) == (71.0, 12.5)
