import pytest

from pipelines.dataset.text_fields import field_accuracy

RIGHT_LUNG = "Region: chest. Organ: lung. Laterality: right. Findings: Nodule."


class TestFieldAccuracy:
    def test_is_the_mean_over_region_organ_and_side(self):
        said = "Region: chest. Organ: liver. Laterality: right."
        assert field_accuracy([said], [RIGHT_LUNG]) == pytest.approx(2 / 3)

    def test_a_field_that_the_reference_lacks_does_not_count(self):
        assert field_accuracy(["Organ: liver. Laterality: left."], ["Organ: liver."]) == 1.0

    def test_an_empty_text_is_wrong(self):
        assert field_accuracy(["", RIGHT_LUNG], [RIGHT_LUNG, RIGHT_LUNG]) == 0.5

    def test_is_none_where_no_reference_says_anything(self):
        assert field_accuracy(["Organ: liver."], ["No words."]) is None
