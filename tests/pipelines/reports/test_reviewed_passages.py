"""Reviewers' answers as labelled texts, and errors of readers over time."""

import polars as pl
import pytest

from pipelines.reports.reader_history import HISTORY_FILE, over_time, read_history, reader_errors, recorded
from pipelines.reports.readers import RulesReader
from pipelines.reports.reviewed_passages import reviewed_passages
from pipelines.reports.scorecard import Labelled

TEXT = "Right axillary node with SUVmax 4.2 (slice 88)."


def tables(findings, reviews):
    sentences = pl.DataFrame([{"sentence_id": "E:1", "sentence": TEXT, "section": "CHEST", "language": "en"}])
    base = {"sentence_id": "E:1", "slice": 88, "suvmax_reported": 4.2, "outcome": "accepted",
            "text_evidence": "slice+SUV", "corrected": None}  # fmt: skip
    found = pl.DataFrame([{**base, **f} for f in findings], schema_overrides={"corrected": pl.String})
    told = pl.DataFrame(
        [{"finding_id": i, "answer": a, "is_stale": s} for i, a, s in reviews],
        schema={"finding_id": pl.String, "answer": pl.String, "is_stale": pl.Boolean},
    )
    return sentences, found, told


class TestReviewedPassages:
    @pytest.mark.parametrize(
        ("findings", "reviews", "pairs"),
        [
            ([{"finding_id": "f"}], [("f", "accept", False)], ((88, 4.2),)),
            ([{"finding_id": "f"}], [("f", "wrong contour", False)], ((88, 4.2),)),
            ([{"finding_id": "f", "slice": None}], [("f", "accept", False)], ((None, 4.2),)),
            ([{"finding_id": "f", "outcome": "no lesion"}], [("f", "accept", False)], ()),
            (
                [{"finding_id": "f", "corrected": "slice: 80 -> 88 (A, 2026)"}],
                [("f", "wrong text", True)],
                ((88, 4.2),),
            ),
        ],
    )
    def test_judged_sentences(self, findings, reviews, pairs):
        (item,) = reviewed_passages(*tables(findings, reviews))
        assert item.pairs == pairs
        assert item.text == f"CHEST: {TEXT}"

    @pytest.mark.parametrize(
        "reviews",
        [
            [],
            [("f", "unsure", False)],
            [("f", "wrong text", False)],
            [("f", "accept", True)],
            [("f", "accept", False), ("f", "wrong text", False)],
        ],
    )
    def test_sentences_whose_truth_is_not_known_are_left_out(self, reviews):
        assert reviewed_passages(*tables([{"finding_id": "f"}], reviews)) == []

    def test_every_finding_of_the_sentence_must_be_judged(self):
        findings = [{"finding_id": "f"}, {"finding_id": "g", "suvmax_reported": 5.0}]
        assert reviewed_passages(*tables(findings, [("f", "accept", False)])) == []


class TestHistory:
    items = (
        Labelled(TEXT, ((88, 4.2),), None, "plain"),
        Labelled("Left lung nodule with SUVmax 5.1.", ((None, 5.2),), None, "SUV only", "en", "reviewed"),
    )

    def test_errors_by_kind(self):
        errors = reader_errors(self.items, [RulesReader()]).rows_by_key("kind", named=True, unique=True)
        assert (errors["plain"]["right"], errors["plain"]["missed"], errors["plain"]["wrong"]) == (1, 0, 0)
        assert (errors["SUV only"]["right"], errors["SUV only"]["missed"], errors["SUV only"]["wrong"]) == (0, 1, 1)

    def test_equal_measurements_are_kept_once(self, tmp_path):
        errors = reader_errors(self.items, [RulesReader()])
        recorded(tmp_path, errors, "2026-01-01")
        assert recorded(tmp_path, errors, "2026-01-02").height == 2
        history = recorded(tmp_path, errors.with_columns(version=pl.lit("new")), "2026-01-03")
        assert history["date"].to_list() == ["2026-01-01"] * 2 + ["2026-01-03"] * 2
        assert over_time(history, "kind").height == 4
        assert read_history(tmp_path).equals(history)

    def test_another_file_is_told(self, tmp_path):
        (tmp_path / HISTORY_FILE).write_text("a,b\n1,2\n")
        with pytest.raises(ValueError, match="measurements of readers"):
            read_history(tmp_path)
