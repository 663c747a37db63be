"""Findings: what the readers agree on, with its fields and its corrections."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

import polars as pl

from pipelines.cohort.corrections import Correction, correction_rows, read_observed
from pipelines.cohort.manifest import read_manifest
from pipelines.curation.stages.given_lesions import GivenLesion, given_lesions_of
from pipelines.curation.stages.incremental import Rows
from pipelines.curation.stages.report_rows import PLACE, sentences_by_exam, without_place
from pipelines.curation.stages.stage import ShardContext, ShardStage
from pipelines.reports.apply_corrections import Corrected, apply_corrections, marked_findings
from pipelines.reports.consensus import TextFinding, decide_exam
from pipelines.reports.given_text import finding_of_text
from pipelines.reports.readers import Reading, readings_of
from pipelines.reports.vocabulary.vocabulary import Vocabulary
from pipelines.settings import ConsensusSettings
from pipelines.tables.hashing import hash_of
from pipelines.tables.outcomes import Outcome
from pipelines.tables.schemas import frame as frame_of


def findings_stage(context: ShardContext) -> ShardStage:
    """One row a finding, or a candidate sentence that gives none, with its corrections; and the table of these."""
    sentences = sentences_by_exam(context)
    lake, readers, log = context.curation.lake, context.curation.readers, context.log
    consensus = context.curation.settings.consensus.changed(weights=context.curation.weights)
    rows_read: dict[str, list[dict[str, Any]]] = {exam_id: [] for exam_id in sentences}
    for row in context.rows("readings").iter_rows(named=True):
        if row["exam_id"] in rows_read:
            rows_read[row["exam_id"]].append(row)
    readings: dict[str, list[Reading]] = {exam_id: readings_of(rows) for exam_id, rows in rows_read.items()}
    corrections = read_observed(context.curation.home.manifest, context.shard)
    by_exam: dict[str, list[Correction]] = {exam_id: [] for exam_id in sentences}
    for one in corrections:
        if one.exam_id in by_exam and one.problem is None and not one.superseded:
            by_exam[one.exam_id].append(one)
    given: dict[str, list[GivenLesion]] = {exam_id: [] for exam_id in sentences}
    for row in context.rows("exams").iter_rows(named=True):
        if row["exam_id"] in given:
            given[row["exam_id"]] = given_lesions_of(row)
    keys = dict(context.unchanged) | {
        exam_id: hash_of(
            *(context.logic, patient_id, own, readings[exam_id], by_exam[exam_id]),
            *([given[exam_id]] if given[exam_id] else ()),
        )
        for exam_id, (patient_id, own) in sentences.items()
    }
    before = {row["row_key"]: row for rows in context.rows_before().values() for row in rows}

    def key_of(finding: TextFinding, sources: Mapping[str, str]) -> str:
        own = [c for c in by_exam[finding.exam_id] if c.finding_id == finding.finding_id]
        return hash_of(context.logic, sentences[finding.exam_id][0], without_place(asdict(finding)), own, sources)

    def compute(exam_id: str) -> tuple[Rows, bool]:
        patient_id, own = sentences[exam_id]
        identity = {"exam_id": exam_id, "patient_id": patient_id}
        rows: list[Mapping[str, Any]] = []
        decided = decide_exam(own, readings[exam_id], consensus, readers.vocabulary)
        found = with_given(decided, given[exam_id], consensus, readers.vocabulary)
        marks = {"mask_source": "marked", "text_source": "composed"}
        taken = {finding.finding_id for finding, _ in found}
        found += [(f, marks) for f in marked_findings(by_exam[exam_id]) if f.finding_id not in taken]
        for finding, sources in found:
            key = key_of(finding, sources)
            place = {name: getattr(finding, name) if sources["text_source"] == "report" else None for name in PLACE}
            if key in before:
                rows.append({**before[key], **place})
                continue
            made = apply_corrections(finding, by_exam[exam_id], consensus.min_suvmax)
            rows.append({**_finding_row(made), **place, **sources, **identity, "row_key": key})
        return rows, False

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
        entries = read_manifest(context.curation.home.manifest, context.shard)[1]
        patients = {entry.exam_id: entry.patient_id for entry in entries}
        rows = correction_rows(corrections, frame["finding_id"], patients)
        for row in rows:
            if row["status"] != "applied":
                log.warning("corrections.csv, %s of %s: %s", row["field"], row["finding_id"], row["message"])
        if rows or lake.has_shard("corrections", context.shard):
            lake.write_shard("corrections", context.shard, frame_of("corrections", rows), {})

    return ShardStage(keys, compute, failed, finish=finish)


def with_given(
    decided: Sequence[TextFinding], given: Sequence[GivenLesion], settings: ConsensusSettings, vocabulary: Vocabulary
) -> list[tuple[TextFinding, dict[str, str]]]:
    """The findings of a report and those of the exam's given masks, each with its `mask_source` and `text_source`.

    A mask that replaces the grown one of a finding makes that finding accepted: a person says that it is a lesion.
    """
    replaced = {one.replaces for one in given}
    known = {finding.finding_id for finding in decided}
    found = []
    for finding in decided:
        is_replaced = finding.finding_id in replaced
        if is_replaced and finding.outcome is not Outcome.ACCEPTED:
            said = f"its mask is given; else {finding.outcome.value}: {finding.explanation}"
            finding = replace(finding, outcome=Outcome.ACCEPTED, explanation=said)
        found.append((finding, {"mask_source": "corrected" if is_replaced else "grown", "text_source": "report"}))
    for one in given:
        if one.replaces in known:
            continue
        made = finding_of_text(one.finding_id, one.finding_id.rpartition(":")[0], one.text, settings, vocabulary)
        if one.replaces is not None:
            said = f"{made.explanation}, for finding {one.replaces}, which the report does not have"
            made = replace(made, explanation=said)
        source = "composed" if one.is_composed else "given"
        found.append((made, {"mask_source": "given", "text_source": source}))
    return found


def _finding_row(made: Corrected) -> dict[str, Any]:
    return {**asdict(made.finding), "corrected": made.corrected, "accepted_by": made.accepted_by}
