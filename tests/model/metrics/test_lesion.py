"""Clinical accuracy: what fields a text states and whether they are right."""

import numpy as np
import pytest

from model.metrics.lesion import accuracy, fields_of, generated_numbers
from model.metrics.pairs import Pairs
from model.metrics.settings import ScoreSettings

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
