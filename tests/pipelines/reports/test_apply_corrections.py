"""Corrections applied to a finding."""

from dataclasses import replace
from pathlib import Path

from pipelines.cohort.corrections import read_corrections
from pipelines.reports.apply_corrections import apply_corrections
from pipelines.reports.consensus import TextFinding
from pipelines.tables.outcomes import Outcome

HEADER = "finding,field,value,who,when\n"
FINDING = TextFinding(
    finding_id="E1:0000abcd",
    sentence_id="E1:0000abcd",
    exam_id="E1",
    sentence="Nodule, SUV 8.0, slice 10.",
    start=0,
    end=26,
    slice=10,
    suvmax_reported=8.0,
    outcome=Outcome.ACCEPTED,
    explanation="Two votes.",
    votes=2,
    readers="a, b",
    region="chest",
    organ="lung",
    subsite=None,
    laterality="left",
    comparison="none",
    text="Nodule.",
)


def corrected(tmp_path: Path, lines: str, finding: TextFinding = FINDING):  # type: ignore[no-untyped-def]
    (tmp_path / "c.csv").write_text(HEADER + lines)
    return apply_corrections(finding, read_corrections(tmp_path / "c.csv"), 2.5)


class TestApplyCorrections:
    def test_changes_the_field_and_says_who_did(self, tmp_path: Path) -> None:
        made = corrected(tmp_path, "E1:0000abcd,organ,liver,Dr A,2026-01-02\n")
        assert (made.finding.organ, made.corrected) == ("liver", "organ: lung -> liver (Dr A, 2026-01-02)")

    def test_leaves_other_findings_alone(self, tmp_path: Path) -> None:
        made = corrected(tmp_path, "E1:ffffffff,organ,liver,Dr A,2026-01-02\n")
        assert (made.finding, made.corrected) == (FINDING, None)

    def test_empty_value_is_unknown(self, tmp_path: Path) -> None:
        assert corrected(tmp_path, "E1:0000abcd,laterality,,Dr A,2026-01-02\n").finding.laterality is None

    def test_latest_of_a_field_counts(self, tmp_path: Path) -> None:
        lines = "E1:0000abcd,organ,liver,Dr A,2026-03-02\nE1:0000abcd,organ,spleen,Dr B,2026-01-02\n"
        assert corrected(tmp_path, lines).finding.organ == "liver"

    def test_lower_line_counts_of_two_of_one_time(self, tmp_path: Path) -> None:
        lines = "E1:0000abcd,organ,liver,Dr A,2026-01-02\nE1:0000abcd,organ,spleen,Dr B,2026-01-02\n"
        assert corrected(tmp_path, lines).finding.organ == "spleen"

    def test_rejects(self, tmp_path: Path) -> None:
        made = corrected(tmp_path, "E1:0000abcd,outcome,reject,Dr A,2026-01-02\n")
        assert made.finding.outcome is Outcome.CORRECTED

    def test_accepts_over_the_readers_and_says_who(self, tmp_path: Path) -> None:
        rejected = replace(FINDING, outcome=Outcome.SEVERAL_LESIONS)
        made = corrected(tmp_path, "E1:0000abcd,outcome,accept,Dr A,2026-01-02\n", rejected)
        assert (made.finding.outcome, made.accepted_by) == (Outcome.ACCEPTED, "Dr A")

    def test_does_not_accept_what_has_neither_slice_nor_place_and_says_so(self, tmp_path: Path) -> None:
        rejected = replace(FINDING, outcome=Outcome.NOTHING_TO_LOCATE_BY, slice=None, organ=None, region=None)
        made = corrected(tmp_path, "E1:0000abcd,outcome,accept,Dr A,2026-01-02\n", rejected)
        assert made.finding.outcome is Outcome.NOTHING_TO_LOCATE_BY
        assert "a slice or a place" in (made.corrected or "")

    def test_known_values_accept_what_was_rejected_for_want_of_them(self, tmp_path: Path) -> None:
        rejected = replace(FINDING, outcome=Outcome.READERS_DISAGREE, slice=None)
        made = corrected(tmp_path, "E1:0000abcd,slice,12,Dr A,2026-01-02\n", rejected)
        assert (made.finding.slice, made.finding.outcome) == (12, Outcome.ACCEPTED)

    def test_low_suvmax_rejects(self, tmp_path: Path) -> None:
        made = corrected(tmp_path, "E1:0000abcd,suvmax_reported,1.2,Dr A,2026-01-02\n")
        assert made.finding.outcome is Outcome.SUV_TOO_LOW
