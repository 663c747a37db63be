"""The table `identifiers`: how many identifiers each report held, by kind, and whether they are masked."""

from collections.abc import Iterable

import polars as pl

from pipelines.cohort.manifest import ExamEntry, read_whole_manifest
from pipelines.settings import PrivacySettings
from pipelines.tables import schemas
from pipelines.tables.home import Home
from pipelines.tables.lake import Lake, WriteResult


def identifiers_of(entries: Iterable[ExamEntry], settings: PrivacySettings) -> pl.DataFrame:
    """A row an exam and kind of identifier in its report; identifiers are counted, their text is not kept."""
    rows = [
        {
            "exam_id": entry.exam_id,
            "patient_id": entry.patient_id,
            "kind": kind,
            "n": n,
            "is_masked": settings.mask_reports or (settings.hash_ids and kind == "record id"),
        }
        for entry in entries
        for kind, n in sorted(entry.identifiers.items())
    ]
    return schemas.frame("identifiers", rows)


def update_identifiers(home: Home, settings: PrivacySettings) -> tuple[pl.DataFrame, WriteResult]:
    """The table as the last observation of the cohort counted it, and what writing it did."""
    frame = identifiers_of(read_whole_manifest(home.manifest), settings)
    return frame, Lake(home.lake).write_table("identifiers", frame)
