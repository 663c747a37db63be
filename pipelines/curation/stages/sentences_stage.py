"""Sentences: each report cut into the units that can be findings."""

from dataclasses import asdict

from pipelines.cohort.manifest import read_manifest
from pipelines.curation.stages.incremental import Rows
from pipelines.curation.stages.report_rows import without_place
from pipelines.curation.stages.stage import ShardContext, ShardStage
from pipelines.reports.sentences import split_report
from pipelines.tables.hashing import hash_of


def sentences_stage(context: ShardContext) -> ShardStage:
    """One row a unit of each report; its key is its own, so that an edited sentence leaves its neighbours alone."""
    vocabulary = context.curation.readers.vocabulary
    entries = {e.exam_id: e for e in read_manifest(context.curation.home.manifest, context.shard)[1]}
    keys = {e.exam_id: hash_of(context.logic, e.report_fingerprint, e.patient_id) for e in entries.values()}

    def compute(exam_id: str) -> tuple[Rows, bool]:
        entry = entries[exam_id]
        units = split_report(exam_id, entry.report, vocabulary)
        rows = [{**asdict(s), "patient_id": entry.patient_id} for s in units]
        return [{**row, "row_key": hash_of(context.logic, without_place(row))} for row in rows], False

    return ShardStage(keys, compute)
