"""Which exams of a shard have the inputs of the last update, found out without building an object an exam.

Of every row of the tables below, polars makes a 64-bit hash over all columns; the hashes of an exam's rows are added
up. An exam whose sum is that of the last update has the key of the last update; keys, which are hashes of what counts,
are made for the others alone. The sums are kept beside the keys and mean nothing to another version of polars, whose
hashes differ: then every key is made.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import polars as pl

from pipelines.cohort import corrections as corrections_module
from pipelines.cohort.manifest import ExamEntry, read_manifest
from pipelines.curation.stages.curation import Curation
from pipelines.tables.hashing import hash_of

UPSTREAM: Mapping[str, Sequence[str]] = {
    "exams": (),
    "sentences": (),
    "readings": ("sentences",),
    "findings": ("sentences", "readings"),
    "peaks": ("exams", "findings"),
    "calibration": ("exams", "peaks"),
    "lesions": ("exams", "findings", "peaks", "calibration"),
    "candidates": ("exams", "peaks"),
}
"""Tables that each sharded table is made from; those without any are made from the manifest alone."""

READS: Mapping[str, Sequence[str]] = {**UPSTREAM, "findings": ("exams", *UPSTREAM["findings"])}
"""Tables whose rows a stage may look at. Findings depend on `exams` where masks are given, and only there."""


def digests_of(curation: Curation, table: str, shard: int) -> dict[str, int]:
    """Exam -> sum of the hashes of its rows in the tables that a table is made from; none for a table that is made
    from the manifest, whose keys cost no more.
    """
    entries = read_manifest(curation.home.manifest, shard)[1]
    if not READS[table] or not entries:
        return {}
    frames = [curation.lake.read_shard(read, shard) for read in READS[table]]
    hashed = [
        # Another number of the table in the hash, so that a row that moves between tables is no equal input.
        frame.select("exam_id", n=frame.hash_rows(number))
        for number, frame in enumerate((_patients(entries), *frames), start=1)
    ]
    summed = pl.concat(hashed).group_by("exam_id").agg(pl.col("n").sum())
    return dict(summed.iter_rows())


def _patients(entries: Iterable[ExamEntry]) -> pl.DataFrame:
    schema = {"exam_id": pl.String, "patient_id": pl.String}
    return pl.DataFrame([(entry.exam_id, entry.patient_id) for entry in entries], schema=schema, orient="row")


def common_inputs(curation: Curation, table: str, shard: int, logic: str, pooled: str) -> str:
    """Hash of what all exams of a shard depend on beside their rows: where it differs, every key is made.

    Args:
        logic: hash of the code and the parameters of the table.
        pooled: what the exams take from the sums over all shards; empty where they take nothing.
    """
    corrections = ""
    if table == "findings":
        observed = corrections_module.read_observed(curation.home.manifest, shard)
        corrections = corrections_module.corrections_version(observed)
    readers = {reader.name: reader.version for reader in curation.readers.readers}
    made_by: tuple[Any, ...] = (logic, curation.settings, readers, curation.readers.vocabulary.version)
    return hash_of(*made_by, corrections, pooled, pl.__version__)


def unchanged_keys(before: Mapping[str, Any], digests: Mapping[str, int], common: str) -> dict[str, str]:
    """Exam -> its key of the last update, of the exams whose inputs are those of then.

    Args:
        before: what the last update stored: `keys`, `digests`, and `common` of the digests.
    """
    if before.get("common") != common:
        return {}
    keys, known = before.get("keys", {}), before.get("digests", {})
    return {exam: keys[exam] for exam, digest in digests.items() if exam in keys and known.get(exam) == digest}
