"""The table `reports`: each report as it goes on, masked where that is set, with its date."""

from collections.abc import Iterable

import polars as pl

from pipelines.cohort.manifest import ExamEntry, read_whole_manifest
from pipelines.tables import schemas
from pipelines.tables.home import Home
from pipelines.tables.lake import Lake, WriteResult


def reports_of(entries: Iterable[ExamEntry]) -> pl.DataFrame:
    """A row an exam with a report, empty or not."""
    rows = [
        {
            "exam_id": entry.exam_id,
            "patient_id": entry.patient_id,
            "study_date": entry.study_date,
            "tracer": entry.tracer,
            "text": entry.report or None,
            "n_characters": len(entry.report),
            "message": entry.report_problem,
        }
        for entry in entries
        if entry.has_report
    ]
    return schemas.frame("reports", rows)


def update_reports(home: Home) -> tuple[pl.DataFrame, WriteResult]:
    """The table as the cohort was last observed, and what writing it did."""
    frame = reports_of(read_whole_manifest(home.manifest))
    return frame, Lake(home.lake).write_table("reports", frame)
