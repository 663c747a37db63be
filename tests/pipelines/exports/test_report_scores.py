"""Scores of whole reports, by answers worked out by hand."""

import pytest

from pipelines.exports.report_scores import Statement, score_report, statements_of

LUNG = Statement("lung", "left", "chest", 77, 8.2, "increased")
LIVER = Statement("liver", None, "abdomen/pelvis", 120, 5.1, "none")
NODE = Statement("lymph node", "right", "chest", 60, 4.0, "new")
LESIONS = [LUNG, LIVER, NODE]


class TestScoreReport:
    def test_of_the_reference_itself_is_one_throughout(self) -> None:
        scores = score_report(LESIONS, LESIONS, LESIONS)
        shares = (scores.precision, scores.recall, scores.f1, scores.organ_right, scores.side_right, scores.suv_right)
        assert shares == (1.0,) * 6
        assert (scores.region_coverage, scores.change_right, scores.n_hallucinated) == (1.0, 1.0, 0)

    def test_a_missing_lesion_costs_recall_and_its_region(self) -> None:
        scores = score_report([LUNG, NODE], LESIONS, LESIONS)
        assert (scores.precision, scores.recall, scores.f1) == (1.0, pytest.approx(2 / 3), pytest.approx(0.8))
        assert scores.region_coverage == 0.5

    def test_a_statement_without_a_lesion_is_hallucinated_and_costs_precision(self) -> None:
        scores = score_report([*LESIONS, Statement("spleen", None, "abdomen/pelvis", 110, 9.9)], LESIONS, LESIONS)
        assert (scores.precision, scores.recall, scores.n_hallucinated) == (0.75, 1.0, 1)

    @pytest.mark.parametrize(
        ("wrong", "field"),
        [
            (Statement("pleura", "left", "chest", 77, 8.2, "increased"), "organ_right"),
            (Statement("lung", "right", "chest", 77, 8.2, "increased"), "side_right"),
            (Statement("lung", "left", "chest", 77, 9.2, "increased"), "suv_right"),
            (Statement("lung", "left", "chest", 77, 8.2, "stable"), "change_right"),
        ],
    )
    def test_a_wrong_field_costs_its_own_score(self, wrong: Statement, field: str) -> None:
        scores = score_report([wrong], [LUNG], LESIONS)
        assert (scores.n_matched, getattr(scores, field)) == (1, 0.0)
        fields = {"organ_right", "side_right", "suv_right", "change_right"} - {field}
        assert {getattr(scores, name) for name in fields} == {1.0}

    def test_what_is_not_said_is_not_scored(self) -> None:
        scores = score_report([], [], [])
        assert (scores.precision, scores.recall, scores.f1, scores.region_coverage) == (None,) * 4


def test_statements_of_a_text_leave_out_physiologic_uptake() -> None:
    text = (
        "CHEST: Left upper lobe nodule with SUVmax 8.2 (slice 77).\n"
        "PELVIS: The urinary bladder shows expected activity with SUVmax 40.1 (slice 190)."
    )
    assert [(one.organ, one.slice, one.suvmax) for one in statements_of("E1", text)] == [("lung", 77, 8.2)]
