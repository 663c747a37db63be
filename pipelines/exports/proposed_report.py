"""The draft report of an exam that no report names: accepted proposals, marked lesions, and what was left out."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from pipelines.exports.exam_report import FROM_MEASURES, ExamReport, ReportedExam, exam_report
from pipelines.reports.structure import structure_of_place


def report_of_proposals(
    exam: ReportedExam, proposals: Iterable[Mapping[str, Any]], marked: Sequence[Mapping[str, Any]] = ()
) -> ExamReport:
    """The draft; `text_source` says how many lesions a reviewer confirmed or marked, how many the model alone proposed,
    and how many proposals nobody has reviewed.

    Args:
        exam: what it is about.
        proposals: rows of the table of this exam.
        marked: rows of the view `lesions` of this exam: what a person marked, or drew.
    """
    rows = list(proposals)
    accepted = [row for row in rows if row["is_accepted"]]
    confirmed = sum(row["answer"] is not None for row in accepted)
    waiting = sum(row["listed"] is not None for row in rows)
    said = (
        f"No report names this exam: its lesions were proposed. Confirmed by a reviewer: {confirmed}; marked or drawn "
        f"by one: {len(marked)}; taken at a calibrated probability without review: {len(accepted) - confirmed}; "
        f"proposals that wait for review and are left out: {waiting}. What was not proposed is missing."
    )
    report = exam_report(exam, [*marked, *(_as_lesion(row) for row in accepted)])
    return replace(report, text_source=f"{said} {FROM_MEASURES}")


def _as_lesion(row: Mapping[str, Any]) -> dict[str, Any]:
    """A proposal as a row of the view `lesions`: its place is read from the organ as our own reader reads it."""
    place = structure_of_place(row["organ"], row["side"])
    return {
        **row,
        "finding_id": row["candidate_id"],
        "shares_with": None,
        "is_physiologic": False,
        "region": place.region,
        "organ": place.organ,
        "subsite": place.subsite,
        "laterality": row["side"],
    }
