"""The draft report of an exam that no report names: its accepted proposals, and what was left out."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from pipelines.exports.exam_report import FROM_MEASURES, ExamReport, ReportedExam, exam_report
from pipelines.reports.structure import structure


def report_of_proposals(exam: ReportedExam, proposals: Iterable[Mapping[str, Any]]) -> ExamReport:
    """The draft; `text_source` says how many lesions a reviewer confirmed, how many the model alone proposed, and how
    many proposals nobody has reviewed.

    Args:
        exam: what it is about.
        proposals: rows of the table of this exam.
    """
    rows = list(proposals)
    accepted = [row for row in rows if row["is_accepted"]]
    confirmed = sum(row["answer"] is not None for row in accepted)
    waiting = sum(row["listed"] is not None for row in rows)
    said = (
        f"No report names this exam: its lesions were proposed. Confirmed by a reviewer: {confirmed}; taken at a "
        f"calibrated probability without review: {len(accepted) - confirmed}; proposals that wait for review and are "
        f"left out: {waiting}. What was not proposed is missing."
    )
    report = exam_report(exam, [_as_lesion(row) for row in accepted])
    return replace(report, text_source=f"{said} {FROM_MEASURES}")


def _as_lesion(row: Mapping[str, Any]) -> dict[str, Any]:
    """A proposal as a row of the view `lesions`: its place is read from the organ as our own reader reads it."""
    words = " ".join(filter(None, (row["side"], _words(row["organ"], row["side"]))))
    read = structure(f"Hypermetabolic lesion in the {words} with SUVmax 5.0 (slice 50).") if words else None
    return {
        **row,
        "finding_id": row["candidate_id"],
        "shares_with": None,
        "is_physiologic": False,
        "region": read.region if read else None,
        "organ": read.organ if read else None,
        "subsite": read.subsite if read else None,
        "laterality": row["side"],
    }


def _words(organ: str | None, side: str | None) -> str:
    """Words for a class of the label map, or what a reviewer wrote, without the side."""
    words = (organ or "").replace("_", " ").split()
    return " ".join(word for word in words if word not in ("left", "right") or side is None)
