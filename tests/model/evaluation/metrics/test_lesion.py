"""Clinical accuracy: what fields a text states and whether they are right."""

import numpy as np
import pytest

from model.evaluation.metrics.lesion import (
    accuracy,
    generated_numbers,
    grounding,
    grounding_among_all,
    hallucinated,
)
from model.evaluation.metrics.pairs import Pairs
from pipelines.dataset.text_fields import fields_of
from pipelines.settings import ScoreSettings

SETTINGS = ScoreSettings()

REFERENCE = (
    "Region: chest. Organ: lung. Laterality: left. SUVmax: 8.2. Slice: 77. Comparison: increased. "
    "Findings: Avid nodule."
)


def value(field: str, text: str, reference: str = REFERENCE) -> float:
    return float(accuracy(field)(Pairs([text], [reference], ["P1"]), SETTINGS).per_sample[0])


class TestFieldsOf:
    def test_stated_fields(self) -> None:
        fields = fields_of(REFERENCE)
        assert (fields.region, fields.organ, fields.laterality, fields.comparison) == (
            "chest",
            "lung",
            "left",
            "increased",
        )
        assert (fields.suvmax, fields.slice) == (8.2, 77)

    @pytest.mark.parametrize(
        ("text", "suvmax", "slice_number"),
        [
            ("Nodule with SUVmax of 4.5 on slice 12.", 4.5, 12),
            ("Nodule, SUV max 13, image 88.", 13.0, 88),
            ("SUV mean 2.0, SUVmax: 6.1", 6.1, None),
            ("Maximum SUV 7.7 (slice #31).", 7.7, 31),
            ("Nodule of 12 mm.", None, None),
        ],
    )
    def test_numbers_of_free_text(self, text: str, suvmax: float | None, slice_number: int | None) -> None:
        assert (fields_of(text).suvmax, fields_of(text).slice) == (suvmax, slice_number)

    def test_side_of_free_text(self) -> None:
        assert fields_of("Hypermetabolic nodule in the left upper lobe of the lung.").laterality == "left"

    def test_empty_text_states_nothing(self) -> None:
        fields = fields_of("")
        assert (fields.region, fields.organ, fields.laterality, fields.suvmax) == (None, None, None, None)


class TestAccuracy:
    @pytest.mark.parametrize("field", ["region", "organ", "laterality", "comparison", "numbers"])
    def test_equal_text_is_right(self, field: str) -> None:
        assert value(field, REFERENCE) == 1

    @pytest.mark.parametrize(
        ("field", "old", "new"),
        [
            ("region", "chest", "pelvis"),
            ("organ", "lung", "liver"),
            ("laterality", "left", "right"),
            ("comparison", "increased", "decreased"),
            ("numbers", "8.2", "8.4"),
            ("numbers", "77", "78"),
        ],
    )
    def test_wrong_field_is_wrong(self, field: str, old: str, new: str) -> None:
        assert value(field, REFERENCE.replace(old, new)) == 0

    def test_left_out_field_is_wrong(self) -> None:
        assert value("laterality", REFERENCE.replace("Laterality: left. ", "")) == 0

    def test_number_within_tolerance_is_right(self) -> None:
        assert value("numbers", REFERENCE.replace("8.2", "8.3")) == 1

    def test_reference_without_the_field_does_not_count(self) -> None:
        assert np.isnan(value("laterality", REFERENCE, REFERENCE.replace("Laterality: left. ", "")))

    def test_numbers_as_generated_are_those_of_the_model(self) -> None:
        pairs = Pairs([REFERENCE], [REFERENCE], ["P1"], generated=[REFERENCE.replace("8.2", "3.0")])
        assert generated_numbers(pairs, SETTINGS).per_sample.tolist() == [0]
        assert accuracy("numbers")(pairs, SETTINGS).per_sample.tolist() == [1]


def exam_of(*texts_and_references: tuple[str, str]) -> Pairs:
    """Lesions of one exam."""
    texts, references = zip(*texts_and_references, strict=True)
    return Pairs(texts, references, ["P1"] * len(texts), exam_ids=["E1"] * len(texts))


LUNG = "Region: chest. Organ: lung. Laterality: left."
LIVER = "Region: abdomen. Organ: liver."


class TestGrounding:
    def test_text_of_its_own_lesion(self) -> None:
        assert grounding(exam_of((LUNG, LUNG), (LIVER, LIVER)), SETTINGS).per_sample.tolist() == [1, 1]

    def test_text_of_the_neighbour(self) -> None:
        assert grounding(exam_of((LIVER, LUNG), (LIVER, LIVER)), SETTINGS).per_sample.tolist() == [0, 1]

    def test_text_that_says_nothing_of_the_place_is_a_tie(self) -> None:
        assert grounding(exam_of(("Avid focus.", LUNG), (LIVER, LIVER)), SETTINGS).per_sample.tolist() == [0.5, 1]

    def test_nearest_that_differs_is_what_counts(self) -> None:
        # The text is of the far lesion: better than the near one fits, worse than the far one.
        own, near, far = LUNG, LIVER, "Region: chest. Organ: lung. Laterality: right."
        pairs = Pairs([far], [own], ["P1"], exam_ids=["E1"], others=[[own, near, far]])
        assert grounding(pairs, SETTINGS).per_sample.tolist() == [1]
        assert grounding_among_all(pairs, SETTINGS).per_sample.tolist() == [0]

    def test_lesions_of_the_same_place_do_not_count(self) -> None:
        assert np.isnan(grounding(exam_of((LUNG, LUNG), (LUNG, LUNG)), SETTINGS).per_sample).all()

    def test_single_lesion_does_not_count(self) -> None:
        assert np.isnan(grounding(exam_of((LUNG, LUNG)), SETTINGS).per_sample).all()

    def test_lesions_of_other_exams_do_not_matter(self) -> None:
        pairs = Pairs([LIVER, LIVER], [LUNG, LIVER], ["a", "b"], exam_ids=["E1", "E2"])
        assert np.isnan(grounding(pairs, SETTINGS).per_sample).all()


class TestHallucinated:
    @pytest.mark.parametrize(
        ("text", "value"),
        [
            (LUNG + " Findings: Avid nodule in the lung.", 0),
            (LUNG + " Findings: Avid nodule and a lesion in the liver.", 1),
            ("Avid focus.", 0),
        ],
    )
    def test_organ_that_the_reference_has_not(self, text: str, value: int) -> None:
        assert hallucinated(exam_of((text, LUNG)), SETTINGS).per_sample.tolist() == [value]
