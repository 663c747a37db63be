"""Findings: what the readers agree on, with its fields and its corrections."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from typing import Any

import polars as pl

from pipelines.cohort.corrections import Correction, correction_rows, read_observed
from pipelines.curation.stages.incremental import Rows
from pipelines.curation.stages.report_rows import PLACE, sentences_by_exam, without_place
from pipelines.curation.stages.stage import ShardContext, ShardStage
from pipelines.reports.apply_corrections import Corrected, apply_corrections
from pipelines.reports.consensus import FAILED_NOTE, TextFinding, decide_exam
from pipelines.reports.readers import Reading
from pipelines.tables.hashing import hash_of
from pipelines.tables.outcomes import Outcome
from pipelines.tables.schemas import frame as frame_of


def findings_stage(context: ShardContext) -> ShardStage:
    """One row a finding, or a candidate sentence that gives none, with its corrections; and the table of these."""
    sentences = sentences_by_exam(context)
    lake, readers, log = context.curation.lake, context.curation.readers, context.log
    consensus = context.curation.settings.consensus
    readings: dict[str, list[Reading]] = {exam_id: [] for exam_id in sentences}
    names = [f.name for f in fields(Reading)]
    for row in lake.read_shard("readings", context.shard).iter_rows(named=True):
        if row["exam_id"] in readings:
            readings[row["exam_id"]].append(Reading(**{name: row[name] for name in names}))
    corrections = read_observed(context.curation.home.manifest, context.shard)
    by_exam: dict[str, list[Correction]] = {exam_id: [] for exam_id in sentences}
    for one in corrections:
        if one.exam_id in by_exam and one.problem is None and not one.superseded:
            by_exam[one.exam_id].append(one)
    consensus = consensus.changed(weights={**readers.weights, **consensus.weights})
    keys = {
        exam_id: hash_of(
            context.logic, patient_id, [s for s in own if s.is_candidate], readings[exam_id], by_exam[exam_id]
        )
        for exam_id, (patient_id, own) in sentences.items()
    }
    # Fields that the model failed on are asked again.
    before = {
        row["row_key"]: row
        for rows in context.rows_before().values()
        for row in rows
        if FAILED_NOTE not in (row["explanation"] or "")
    }

    def key_of(finding: TextFinding) -> str:
        own = [c for c in by_exam[finding.exam_id] if c.finding_id == finding.finding_id]
        return hash_of(context.logic, sentences[finding.exam_id][0], without_place(asdict(finding)), own)

    decided: dict[str, list[TextFinding]] = {}
    structured: dict[str, TextFinding] = {}

    def prepare(exam_ids: Sequence[str]) -> None:
        decided.clear()
        structured.clear()
        for exam_id in exam_ids:
            candidates = [s for s in sentences[exam_id][1] if s.is_candidate]
            decided[exam_id] = decide_exam(candidates, readings[exam_id], consensus, readers.vocabulary)
        if readers.structurer is not None:
            # One call for many exams, so that the server always has enough questions to batch.
            new = [f for found in decided.values() for f in found if key_of(f) not in before]
            structured.update({f.finding_id: f for f in readers.structurer.apply(new)} if new else {})

    def compute(exam_id: str) -> tuple[Rows, bool]:
        identity = {"exam_id": exam_id, "patient_id": sentences[exam_id][0]}
        rows: list[Mapping[str, Any]] = []
        for finding in decided[exam_id]:
            key = key_of(finding)
            if key in before:
                rows.append({**before[key], **{name: getattr(finding, name) for name in PLACE}})
                continue
            made = apply_corrections(
                structured.get(finding.finding_id, finding), by_exam[exam_id], consensus.min_suvmax
            )
            rows.append({**_finding_row(made), **identity, "row_key": key})
        failed = [row for row in rows if FAILED_NOTE in (row["explanation"] or "")]
        if failed:
            log.warning("exam %s: %d findings keep the rules' fields, the next run asks again", exam_id, len(failed))
        return rows, bool(failed)

    def failed(exam_id: str, message: str) -> Rows:
        return [
            {
                **{name: getattr(s, name) for name in ("exam_id", "sentence_id", "sentence", "start", "end")},
                "finding_id": s.sentence_id,
                "patient_id": sentences[exam_id][0],
                "outcome": Outcome.FAILED,
                "explanation": message,
            }
            for s in sentences[exam_id][1]
            if s.is_candidate
        ]

    def finish(frame: pl.DataFrame) -> None:
        patients = {exam_id: patient_id for exam_id, (patient_id, _) in sentences.items()}
        rows = correction_rows(corrections, frame["finding_id"], patients)
        for row in rows:
            if row["status"] != "applied":
                log.warning("corrections.csv, %s of %s: %s", row["field"], row["finding_id"], row["message"])
        if rows or lake.has_shard("corrections", context.shard):
            lake.write_shard("corrections", context.shard, frame_of("corrections", rows), {})

    return ShardStage(keys, compute, failed, prepare=prepare, finish=finish)


def _finding_row(made: Corrected) -> dict[str, Any]:
    return {**asdict(made.finding), "corrected": made.corrected, "accepted_by": made.accepted_by}
