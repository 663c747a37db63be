"""Readings: what each reader reads in the passages."""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from pipelines.curation.stages.incremental import Rows
from pipelines.curation.stages.report_rows import sentences_by_exam
from pipelines.curation.stages.stage import ShardContext, ShardStage
from pipelines.reports.passages import Passage, passages_of
from pipelines.reports.readers import Reader, Reading, RulesReader, rows_of
from pipelines.tables.hashing import hash_of
from pipelines.tables.provenance import code_version


def readings_stage(context: ShardContext) -> ShardStage:
    """One row a mention. A reader is asked only for the passages that it has not answered yet."""
    sentences = sentences_by_exam(context)
    config, log, code = context.curation.readers, context.log, code_version(__name__)
    context.curation.ensure_weights(log)
    passages = {exam_id: passages_of(own, config.vocabulary) for exam_id, (_, own) in sentences.items()}
    keys = dict(context.unchanged) | {
        exam_id: hash_of(context.logic, sentences[exam_id][0], [(p.passage_id, p.text) for p in own])
        for exam_id, own in passages.items()
    }
    before: dict[str, list[Mapping[str, Any]]] = {}
    for rows in context.rows_before().values():
        for row in rows:
            if row["error"] is None:  # What failed is asked again; a final failure comes from the kept answers.
                before.setdefault(row["row_key"], []).append(row)

    def key_of(name: str, version: str, p: Passage) -> str:
        return hash_of(code, name, version, sentences[p.exam_id][0], p.passage_id, p.text)

    answered: dict[tuple[str, str], Reading] = {}

    def prepare(exam_ids: Sequence[str]) -> None:
        # One call a reader for many exams, so that its servers always have enough questions to batch; the readers side
        # by side, for each has servers of its own.
        answered.clear()
        wanted = [p for exam_id in exam_ids for p in passages[exam_id]]

        def read(reader: Reader) -> list[Reading]:
            new = [p for p in wanted if key_of(reader.name, reader.version, p) not in before]

            def progress(done: int, of: int) -> None:
                log.info("reader %s: %d of %d passages", reader.name, done, of)

            return reader.read(new, progress) if new else []

        with ThreadPoolExecutor(len(config.readers)) as pool:
            for readings in pool.map(read, config.readers):
                answered.update({(r.reader, r.passage_id): r for r in readings})

    def compute(exam_id: str) -> tuple[Rows, bool]:
        patient_id, own = sentences[exam_id]
        texts = {s.sentence_id: s.sentence for s in own}
        identity = {"exam_id": exam_id, "patient_id": patient_id}
        rows: list[Mapping[str, Any]] = []
        mendable = []
        for reader in config.readers:
            for passage in passages[exam_id]:
                key = key_of(reader.name, reader.version, passage)
                if key in before:
                    rows += before[key]
                    continue
                reading = answered[reader.name, passage.passage_id]
                rows += [{**row, **identity, "row_key": key} for row in rows_of(reading, texts)]
                if reading.may_be_mended:
                    mendable.append(reading.error)
        if mendable:
            log.warning("exam %s: %d readings failed, the next run asks again: %s", exam_id, len(mendable), mendable[0])
        return rows, bool(mendable)

    # What a server has answered is kept at once, so that nothing is lost with a whole shard in one batch.
    is_asked = not all(isinstance(reader, RulesReader) for reader in config.readers)
    return ShardStage(keys, compute, prepare=prepare, batch=max(1, len(keys)) if is_asked else 25)
