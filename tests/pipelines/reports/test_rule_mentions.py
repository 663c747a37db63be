import pytest

from pipelines.reports.rule_mentions import mentions_of
from pipelines.reports.sentences import split_report
from pipelines.reports.vocabulary.vocabulary import package_vocabulary


def mentions(text):
    return [m for s in split_report("E", text) for m in mentions_of(s, package_vocabulary())]


class TestMentionsOf:
    def test_values_size_and_prior_value(self):
        (m,) = mentions("Right axillary node, 2.2 x 1.5 cm, with SUV max of 4.2 (slice 88), previously 6.6.")
        assert (m.slice, m.suv, m.prior_suv, m.size_cm, m.lesion) == (88, 4.2, 6.6, 2.2, "node")
        assert (m.organ, m.laterality, m.comparison) == ("lymph node", "right", "decreased")

    @pytest.mark.parametrize(
        ("text", "size_cm"),
        [
            ("Liver lesion of 12 mm, SUVmax 4.2.", 1.2),
            ("Liver lesion, 1.4 by 2.1 cm, SUVmax 4.2.", 2.1),
            ("Liver lesion, previously 3.0 cm, now 2.1 cm, SUVmax 4.2.", 2.1),
            ("Liver lesion with SUVmax 4.2.", None),
        ],
    )
    def test_size(self, text, size_cm):
        assert [m.size_cm for m in mentions(text)] == [size_cm]

    def test_suv_without_slice(self):
        (m,) = mentions("Left lung nodule with SUVmax 4.2.")
        assert (m.slice, m.suv, m.organ, m.laterality) == (None, 4.2, "lung", "left")

    def test_slice_without_suv(self):
        (m,) = mentions("A node in the mesentery is seen on slice 120.")
        assert (m.slice, m.suv, m.note) == (120, None, None)

    def test_lesion_with_a_place_alone(self):
        (m,) = mentions("New node in the left axilla.")
        assert (m.role, m.slice, m.suv, m.comparison) == ("lesion", None, None, "new")

    def test_sentence_about_nothing(self):
        assert mentions("The gallbladder is absent.") == []

    def test_what_is_denied_is_negated(self):
        assert [m.role for m in mentions("No suspicious lesion in the liver.")] == ["negated"]

    def test_uncertain_words(self):
        assert [m.certainty for m in mentions("Possible liver lesion with SUVmax 4.2.")] == ["possible"]

    @pytest.mark.parametrize("heading", ["HISTORY", "COMPARISON"])
    def test_under_a_heading_of_before_it_is_of_a_prior_exam(self, heading):
        assert [m.exam for m in mentions(f"{heading}: Left lung nodule with SUVmax 4.2.")] == ["prior"]


class TestPhysiologic:
    @pytest.mark.parametrize(
        ("text", "roles"),
        [
            ("The urinary bladder shows expected activity with SUV max 30.3 on image 190.", ["physiologic"]),
            ("Intense uptake in the heart, SUV max 9.1 (slice 80), likely physiologic.", ["physiologic"]),
            ("Excreted activity in the right renal pelvis measures SUVmax 29.8 (slice 145).", ["physiologic"]),
            ("The urinary bladder demonstrates SUV max of 66.5 (slice 205).", ["physiologic"]),
            ("the left renal pelvis shows SUV max of 14.0 (slice 142).", ["physiologic"]),
            ("The left kidney shows SUV max of 14.0 (slice 142).", ["lesion"]),
            ("Bladder wall uptake with SUV max of 6.5 (slice 205).", ["lesion"]),
            ("Focal uptake in the bladder, SUV max 9.5 (slice 205).", ["lesion"]),
            ("Node beside the bladder with SUV max of 6.5 (slice 205).", ["lesion"]),
            ("Colon mass, more than expected uptake, SUV max 9.1 (slice 80).", ["lesion"]),
            ("Non-physiologic uptake in the colon, SUV max 9.1 (slice 80).", ["lesion"]),
            ("This is not physiologic: uptake in the colon, SUV max 9.1 (slice 80).", ["lesion"]),
            ("Physiologic activity in the bladder; lung nodule with SUV 4.2 (slice 80).", ["lesion"]),
        ],
    )
    def test_by_organ_and_clause(self, text, roles):
        assert [m.role for m in mentions(text)] == roles
