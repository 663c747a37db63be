"""Reports: sentences, what each reader reads in them, and the findings that they agree on."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from typing import Any

import polars as pl

from pipelines.cohort.corrections import Correction, correction_rows, read_observed
from pipelines.cohort.manifest import read_manifest
from pipelines.curation.stages.incremental import Rows
from pipelines.curation.stages.stage import Stage, StageContext
from pipelines.reports.apply_corrections import Corrected, apply_corrections
from pipelines.reports.consensus import TextFinding, decide_exam
from pipelines.reports.llm.llm_structurer import FAILED_NOTE
from pipelines.reports.readers import Reading
from pipelines.reports.sentences import Sentence, split_report
from pipelines.tables.hashing import hash_of
from pipelines.tables.outcomes import Outcome
from pipelines.tables.schemas import frame as frame_of

_PLACE = ("start", "end")
"""Where a text stands in the report: an edit above it moves it, and it stays what it is."""


def sentences_stage(context: StageContext) -> Stage:
    """One row a unit of each report; its key is its own, so that an edited sentence leaves its neighbours alone."""
    vocabulary = context.curation.readers.vocabulary
    entries = {e.exam_id: e for e in read_manifest(context.curation.home.manifest, context.shard)[1]}
    keys = {e.exam_id: hash_of(context.logic, e.report_fingerprint, e.patient_id) for e in entries.values()}

    def compute(exam_id: str) -> tuple[Rows, bool]:
        entry = entries[exam_id]
        units = split_report(exam_id, entry.report, vocabulary)
        rows = [{**asdict(s), "patient_id": entry.patient_id} for s in units]
        return [{**row, "row_key": hash_of(context.logic, _placeless(row))} for row in rows], False

    return Stage(keys, compute)


def readings_stage(context: StageContext) -> Stage:
    """One row a candidate sentence and reader. A reader is asked only for what it has not answered yet."""
    sentences = _sentences_by_exam(context)
    readers, log = context.curation.readers.readers, context.log
    keys = {
        exam_id: hash_of(context.logic, patient_id, [(s.sentence_id, s.sentence) for s in own if s.is_candidate])
        for exam_id, (patient_id, own) in sentences.items()
    }
    before = {
        row["row_key"]: row
        for rows in context.rows_before().values()
        for row in rows
        if row["error"] is None  # What failed is asked again.
    }

    def key_of(name: str, version: str, exam_id: str, s: Sentence) -> str:
        return hash_of(name, version, sentences[exam_id][0], s.sentence_id, s.sentence)

    answered: dict[tuple[str, str], Reading] = {}

    def prepare(exam_ids: Sequence[str]) -> None:
        # One call a reader for many exams, so that a server always has enough questions to batch.
        candidates = [(exam_id, s) for exam_id in exam_ids for s in sentences[exam_id][1] if s.is_candidate]
        answered.clear()
        for reader in readers:
            new = [s for exam, s in candidates if key_of(reader.name, reader.version, exam, s) not in before]

            def progress(done: int, of: int, name: str = reader.name) -> None:
                log.info("reader %s: %d of %d sentences", name, done, of)

            for reading in reader.read(new, progress) if new else ():
                answered[reader.name, reading.sentence_id] = reading

    def compute(exam_id: str) -> tuple[Rows, bool]:
        patient_id, own = sentences[exam_id]
        rows: list[Mapping[str, Any]] = []
        for reader in readers:
            for s in own:
                if not s.is_candidate:
                    continue
                key = key_of(reader.name, reader.version, exam_id, s)
                if key in before:
                    rows.append(before[key])
                else:
                    reading = asdict(answered[reader.name, s.sentence_id])
                    rows.append(
                        {
                            **reading,
                            "exam_id": exam_id,
                            "patient_id": patient_id,
                            "sentence": s.sentence,
                            "row_key": key,
                        }
                    )
        errors = [row["error"] for row in rows if row["error"] is not None]
        if errors:
            log.warning("exam %s: %d readings failed, the next run asks again: %s", exam_id, len(errors), errors[0])
        return rows, bool(errors)

    return Stage(keys, compute, prepare=prepare)


def findings_stage(context: StageContext) -> Stage:
    """One row a finding, or a candidate sentence that gives none, with its corrections; and the table of these."""
    sentences = _sentences_by_exam(context)
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
        return hash_of(context.logic, sentences[finding.exam_id][0], _placeless(asdict(finding)), own)

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
                rows.append({**before[key], **{name: getattr(finding, name) for name in _PLACE}})
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

    return Stage(keys, compute, failed, prepare=prepare, finish=finish)


def _finding_row(made: Corrected) -> dict[str, Any]:
    return {**asdict(made.finding), "corrected": made.corrected, "accepted_by": made.accepted_by}


def _placeless(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name not in _PLACE}


def _sentences_by_exam(context: StageContext) -> dict[str, tuple[str, list[Sentence]]]:
    """Patient and sentences of each exam of a shard; exams whose report holds no sentence stand here too."""
    found: dict[str, tuple[str, list[Sentence]]] = {
        e.exam_id: (e.patient_id, []) for e in read_manifest(context.curation.home.manifest, context.shard)[1]
    }
    names = [f.name for f in fields(Sentence)]
    for row in context.curation.lake.read_shard("sentences", context.shard).iter_rows(named=True):
        if row["exam_id"] in found:
            found[row["exam_id"]][1].append(Sentence(**{name: row[name] for name in names}))
    return found
