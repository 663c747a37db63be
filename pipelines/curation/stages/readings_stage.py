"""Readings: what each reader reads in the candidate sentences."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from pipelines.curation.stages.incremental import Rows
from pipelines.curation.stages.report_rows import sentences_by_exam
from pipelines.curation.stages.stage import ShardContext, ShardStage
from pipelines.reports.readers import Reading
from pipelines.reports.sentences import Sentence
from pipelines.tables.hashing import hash_of
from pipelines.tables.provenance import code_version


def readings_stage(context: ShardContext) -> ShardStage:
    """One row a candidate sentence and reader. A reader is asked only for what it has not answered yet."""
    sentences = sentences_by_exam(context)
    readers, log, code = context.curation.readers.readers, context.log, code_version(__name__)
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
        return hash_of(code, name, version, sentences[exam_id][0], s.sentence_id, s.sentence)

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

    return ShardStage(keys, compute, prepare=prepare)
