"""The sharded stages, each a function of one shard: read the tables below, update the rows whose key changed, write.

exams -> sentences -> readings -> findings -> peaks -> calibration -> lesions make a curation; candidates are made of
exams and peaks where proposals are asked for. A stage (`pipelines/curation/stages`)
knows the lake and the manifest, and nothing of who calls it.
"""

import contextlib
import gc
import json
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import polars as pl

from pipelines.cohort import corrections as corrections_module
from pipelines.cohort.manifest import read_departures, read_manifest, read_whole_manifest
from pipelines.curation.gate import note_outcomes
from pipelines.curation.shard_lock import shard_lock
from pipelines.curation.stages.calibration_stage import calibration_stage, pooled_version
from pipelines.curation.stages.candidates_stage import candidates_stage
from pipelines.curation.stages.curation import Curation
from pipelines.curation.stages.curation import open_curation as open_curation
from pipelines.curation.stages.exam_stage import exams_stage
from pipelines.curation.stages.failures import ComputedExam, GuardedStage
from pipelines.curation.stages.findings_stage import findings_stage
from pipelines.curation.stages.incremental import ShardUpdate, UpdateCounts, update_exams
from pipelines.curation.stages.input_digests import READS, UPSTREAM, common_inputs, digests_of, unchanged_keys
from pipelines.curation.stages.lesion_stage import lesions_stage
from pipelines.curation.stages.peaks_stage import peaks_stage
from pipelines.curation.stages.readings_stage import readings_stage
from pipelines.curation.stages.sentences_stage import sentences_stage
from pipelines.curation.stages.stage import ShardContext, ShardStage, StageProvenance
from pipelines.curation.stages.stopping import stop_is_requested
from pipelines.tables import schemas
from pipelines.tables.curation_version import CURATED
from pipelines.tables.hashing import hash_of, plain
from pipelines.tables.lake import Lake, inputs_hash
from pipelines.tables.provenance import code_version
from pipelines.tables.shards import N_SHARDS

_LOG = logging.getLogger(__name__)

TABLES = CURATED
"""The sharded tables of a curation in the order in which they are made."""

PROPOSED = ("candidates",)
"""Sharded tables that are made after a curation, where proposals are asked for."""

PHASES: Sequence[Sequence[str]] = (TABLES[: TABLES.index("calibration")], TABLES[TABLES.index("calibration") :])
"""The tables in groups: within a group a shard needs no other shard; a group needs all shards of the group before."""

_SAVE_AFTER_S = 5.0
"""Between two saves of a shard that is being made: writing it costs as much as hundreds of easy exams."""

_STAGES: Mapping[str, Callable[[ShardContext], ShardStage]] = {
    "exams": exams_stage,
    "sentences": sentences_stage,
    "readings": readings_stage,
    "findings": findings_stage,
    "peaks": peaks_stage,
    "calibration": calibration_stage,
    "lesions": lesions_stage,
    "candidates": candidates_stage,
}


@dataclass(frozen=True)
class ShardReport:
    """Result of a stage for one shard: counts in exams and in rows, the rows, and their version."""

    table: str
    shard: int
    counts: UpdateCounts
    frame: pl.DataFrame
    version: str
    quarantined: int
    rows_recomputed: int
    """Rows that were not there before with this key, or of exams that were forced."""
    rows_reused: int


def stage_code(table: str) -> str:
    """Version of the code that makes a table's rows, without the readers, which have their own."""
    return code_version(_STAGES[table].__module__)


def provenance_of(curation: Curation, table: str) -> StageProvenance:
    """The code's version and the parameters of a table. Equal provenance and equal inputs give equal rows."""
    settings, readers = curation.settings, curation.readers
    parameters: dict[str, Any] = {}
    match table:
        case "exams":
            parameters = plain(settings.exam)
        case "sentences":
            parameters = {"vocabulary": readers.vocabulary.version}
        case "readings":
            parameters = {"readers": {reader.name: reader.version for reader in readers.readers}}
        case "findings":
            parameters = plain(
                {
                    **plain(settings.consensus.changed(weights=curation.weights)),
                    "vocabulary": readers.vocabulary.version,
                }
            )
        case "peaks":
            kept = ("peaks", "convention", "location")
            parameters = plain({name: getattr(settings.lesions, name) for name in kept})
            # What fixes a calibration changes no likelihood.
            fixed = ("suv_scale", "slice_offset", "accepted")
            parameters["calibration"] = {k: v for k, v in plain(settings.lesions.calibration).items() if k not in fixed}
        case "calibration":
            parameters = plain({name: getattr(settings.lesions, name) for name in ("convention", "calibration")})
        case "lesions":
            # A calibration reaches a lesion by its values alone.
            parameters = {name: v for name, v in plain(settings.lesions).items() if name != "calibration"}
        case "candidates":
            parameters = plain({"candidates": settings.candidates, "peaks": settings.lesions.peaks})
    return StageProvenance(stage_code(table), parameters)


def stage_inputs(curation: Curation, table: str, shard: int) -> dict[str, str]:
    """What a shard of a table is made from: manifest version, logic and settings, versions of the tables below.

    Stored with the shard; where it differs from what is stored, the shard is stale.
    """
    inputs = {"logic": hash_of(provenance_of(curation, table))}
    if table in ("exams", "sentences"):
        inputs["manifest"] = read_manifest(curation.home.manifest, shard)[0]
    if table == "findings":
        observed = corrections_module.read_observed(curation.home.manifest, shard)
        inputs["corrections"] = corrections_module.corrections_version(observed)
        # Images matter to the texts only where masks are given.
        if any(entry.given for entry in read_manifest(curation.home.manifest, shard)[1]):
            meta = curation.lake.shard_meta("exams", shard)
            inputs["given"] = meta.rows_digest if meta else ""
    if table == "calibration":
        inputs["pooled"] = pooled_version(curation, shard)
    for upstream in UPSTREAM[table]:
        meta = curation.lake.shard_meta(upstream, shard)
        inputs[upstream] = meta.rows_digest if meta else ""
    return inputs


def is_current(curation: Curation, shard: int, tables: Sequence[str] = TABLES) -> bool:
    """Whether tables of a shard were made from what lies below them now and no exam failed in them."""
    for table in tables:
        meta = curation.lake.shard_meta(table, shard)
        if meta is None or meta.inputs.get("failed"):
            return False
        if meta.inputs.get("inputs") != stage_inputs(curation, table, shard):
            return False
    return True


def stale_shards(curation: Curation, tables: Sequence[str] = TABLES) -> list[int]:
    """Shards that are not current, in order."""
    return [shard for shard in range(N_SHARDS) if not is_current(curation, shard, tables)]


def run_stage(
    curation: Curation,
    table: str,
    shard: int,
    *,
    only: Sequence[str] = (),
    log: logging.Logger | None = None,
    at: Callable[[str], None] = lambda exam_id: None,
    computed: Mapping[str, ComputedExam] | None = None,
    is_locked: bool = False,
) -> ShardReport:
    """Brings one shard of one table up to date and says what that took.

    A killed call loses at most the last 25 exams, or five seconds of work: the next one goes on where it stopped.
    Another writer of the shard is waited for.

    Args:
        only: exactly these exams are computed; empty: those that changed.
        at: called with each exam before it is computed.
        computed: exams that other processes have computed (`compute_exams`), which are taken over.
        is_locked: the caller holds the shard's lock, here or in another process that waits for this one.

    Raises:
        KeyError: `table` is no sharded stage.
        CohortError: the cohort was never observed.
        ValueError: `only` names an exam that is not in this shard.
        CurationStoppedError: `request_stop` was called; what was computed is saved, and the shard is stale.
    """
    asked = _Asked(table, shard, tuple(only), log or _LOG, at, computed)
    with contextlib.nullcontext() if is_locked else shard_lock(curation.home, shard):
        return _run_stage(curation, asked)


def stale_exams(curation: Curation, table: str, shard: int) -> list[str]:
    """Exams of a shard whose rows of a table are not those of today's inputs, as the tables below it are now."""
    update = _opened(curation, _Asked(table, shard))
    known = update.before.get("keys", {})
    return [exam for exam, key in update.stage.keys.items() if known.get(exam) != key]


def compute_exams(
    curation: Curation,
    table: str,
    shard: int,
    exam_ids: Sequence[str],
    *,
    log: logging.Logger,
    at: Callable[[str], None] = lambda exam_id: None,
) -> dict[str, ComputedExam]:
    """Rows of some exams of a shard, for `run_stage` in another process; volumes and masks are written, no table is.

    Who calls it sees to it that the shard's lock is held. After a request to stop the exams done so far come back.
    """
    update = _opened(curation, _Asked(table, shard, (), log, at, needed=frozenset(exam_ids)))
    update.guard.prepare(exam_ids)
    found = {}
    for exam_id in exam_ids:
        if stop_is_requested():
            break
        found[exam_id] = update.guard.computed(exam_id)
    return found


@dataclass(frozen=True)
class _Asked:
    """What `run_stage` was asked for."""

    table: str
    shard: int
    only: tuple[str, ...] = ()
    log: logging.Logger = _LOG
    at: Callable[[str], None] = lambda exam_id: None
    computed: Mapping[str, ComputedExam] | None = None
    needed: frozenset[str] = frozenset()
    """Exams that are computed, whatever their inputs."""


@dataclass(frozen=True)
class _ShardUpdate:
    """The update of one shard of one table: what is noted and stored of it beside its rows."""

    curation: Curation
    table: str
    shard: int
    provenance: StageProvenance
    stage: ShardStage
    guard: GuardedStage
    previous: pl.DataFrame
    before: Mapping[str, Any]
    """Rows of the last update, and what it stored beside them."""
    digests: Mapping[str, int]
    common: str
    """Of the inputs as they are now; see `input_digests`."""

    def note(self, removed: Sequence[str] = ()) -> None:
        """Notes what became of the computed exams, for the next publication."""
        # An exam that fails as it did before is noted as it was then: once published, its retries bar nothing.
        failed_before = self.before.get("failures", {}).items()
        found = self.guard.outcomes
        again = {exam for exam, message in found.items() if (exam, message) in failed_before}
        outcomes = {exam: message for exam, message in found.items() if exam not in again}
        note_outcomes(self.curation.home, self.table, self.shard, outcomes, (self.guard.touched - again).union(removed))

    def stored(self, keys: Mapping[str, str]) -> dict[str, Any]:
        """What stands in the shard's file beside its rows. Without "inputs" the shard stays stale."""
        stage, before = self.stage, self.before
        made: dict[str, Any] = {
            "keys": dict(keys),
            "makers": _provenance_by_exam(self.provenance, self.guard.touched, stage.keys, before.get("makers", {})),
            "notes": {exam_id: stage.notes[exam_id] for exam_id in sorted(stage.notes) if exam_id in stage.keys},
            "failures": _failures(self.guard, stage.keys, before.get("failures", {})),
            # Not of an exam whose rows are of other inputs: those of today would tell the next update that they hold.
            "digests": {e: self.digests[e] for e, k in keys.items() if e in self.digests and stage.keys.get(e) == k},
        }
        if made["digests"]:
            made["common"] = self.common
        return {name: value for name, value in made.items() if value or name == "keys"}

    def save(self, frame: pl.DataFrame, keys: Mapping[str, str]) -> None:
        """Writes what was computed so far."""
        self.note()
        self.curation.lake.write_shard(self.table, self.shard, frame, self.stored(keys))

    def forget(self, removed: Sequence[str]) -> None:
        """Removes the files of exams that left the cohort, once their rows are among the removals."""
        if not removed:
            return
        # An exam whose patient was renamed has moved to another shard, and its files stay.
        everywhere = {entry.exam_id for entry in read_whole_manifest(self.curation.home.manifest)}
        for exam_id in removed:
            if exam_id not in everywhere:
                self.stage.forget(exam_id)


@contextlib.contextmanager
def _without_collection() -> Iterator[None]:
    """Puts off Python's search for circular references while objects of every exam of a shard are made: there are none
    among them, and looking through them again and again is a fifth of the time of a large shard.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


@_without_collection()
def _opened(curation: Curation, asked: _Asked) -> _ShardUpdate:
    """The stage of a shard, over its last rows and the tables below as they are now."""
    table, shard = asked.table, asked.shard
    previous, before = curation.lake.read_for_reuse(table, shard)
    provenance = provenance_of(curation, table)
    only, notes, logic = frozenset(asked.only), before.get("notes", {}), hash_of(provenance)
    digests = digests_of(curation, table, shard)
    pooled = pooled_version(curation, shard) if table == "calibration" else ""
    common = common_inputs(curation, table, shard, logic, pooled) if digests else ""
    known = unchanged_keys(before, digests, common)
    unchanged = {exam: key for exam, key in known.items() if exam not in only and exam not in asked.needed}
    stage = _STAGES[table](
        ShardContext(curation, shard, asked.log, logic, previous, only, notes, unchanged, READS[table])
    )
    below = _failed_below(curation.lake, table, shard)
    guard = GuardedStage(stage, below, asked.log, asked.at, asked.computed)
    return _ShardUpdate(curation, table, shard, provenance, stage, guard, previous, before, digests, common)


def _run_stage(curation: Curation, asked: _Asked) -> ShardReport:
    with _without_collection():
        inputs = stage_inputs(curation, asked.table, asked.shard)
        record = _opened(curation, asked)
    stage, guard = record.stage, record.guard
    update = update_exams(
        stage.keys,
        record.previous,
        dict(record.before.get("keys", {})),
        guard.compute,
        only=asked.only,
        prepare=guard.prepare,
        save=record.save,
        save_every=stage.batch,
        save_after_s=_SAVE_AFTER_S,
        is_stopped=stop_is_requested,
    )
    with _without_collection():
        return _written(curation, asked, record, update, inputs)


def _written(
    curation: Curation, asked: _Asked, record: _ShardUpdate, update: ShardUpdate, inputs: Mapping[str, str]
) -> ShardReport:
    """What a stage did for a shard, once its rows are written.

    Args:
        inputs: the shard's, as they were before it was computed.
    """
    lake, table, shard, only = curation.lake, asked.table, asked.shard, asked.only
    stage, guard, previous, before = record.stage, record.guard, record.previous, record.before
    record.note(update.removed)
    _keep_removed(curation, table, shard, previous, update.removed)
    record.forget(update.removed)
    stage.finish(update.frame)
    failed = sorted(set(stage.keys) - set(update.keys))
    # Rows of exams that `only` left out may be older than the inputs; then the shard must stay stale.
    whole = all(update.keys.get(exam) == key for exam, key in stage.keys.items() if exam not in failed)
    made_from = {**record.stored(update.keys), "failed": failed, "inputs": inputs if whole else None}
    meta = lake.shard_meta(table, shard) if before and not guard.touched and not update.removed else None
    if meta and meta.inputs_hash == inputs_hash(made_from):
        # The file holds these rows and says so: checking and writing them again would cost more than all else.
        kept = (previous, meta.rows_digest, meta.n_quarantined)
        return ShardReport(table, shard, update.counts, *kept, rows_recomputed=0, rows_reused=previous.height)
    written = lake.write_shard(table, shard, update.frame, made_from)
    frame = update.frame if update.frame.is_empty() else lake.read_shard(table, shard)
    reused = _rows_reused(table, previous, frame, only)
    now = (frame, written.rows_digest, written.quarantined)
    return ShardReport(table, shard, update.counts, *now, rows_recomputed=frame.height - reused, rows_reused=reused)


def _failed_below(lake: Lake, table: str, shard: int) -> dict[str, str]:
    """Exam -> message, of the exams that failed in a table that this one is made from."""
    found: dict[str, str] = {}
    for upstream in UPSTREAM[table]:
        meta = lake.shard_meta(upstream, shard)
        found |= meta.inputs.get("failures", {}) if meta else {}
    return found


def _failures(guard: GuardedStage, exam_ids: Mapping[str, str], before: Mapping[str, str]) -> dict[str, str]:
    """Exam -> message, of the exams that failed now, or before and were not computed since."""
    left = {exam: said for exam, said in before.items() if exam in exam_ids and exam not in guard.touched}
    return dict(sorted((left | guard.failures).items()))


def _rows_reused(table: str, previous: pl.DataFrame, frame: pl.DataFrame, forced: Sequence[str]) -> int:
    if previous.is_empty():
        return 0
    keys = [*schemas.key_of(table), "row_key"]
    kept = frame.filter(~pl.col("exam_id").is_in(list(forced)))
    return kept.join(previous.select(keys), on=keys, how="semi").height


def _provenance_by_exam(
    provenance: StageProvenance, touched: set[str], exam_ids: Mapping[str, str], before: Mapping[str, Any]
) -> dict[str, Any]:
    """What made the rows of each exam: `by_id`, and `of`, exam -> id, for those that the `default` did not make.

    A run with parameters of its own for one exam leaves a shard whose exams had several makers.
    """
    now = hash_of(provenance)[:8]
    by_id: dict[str, Any] = {**before.get("by_id", {}), now: asdict(provenance)}
    default, others = before.get("default", now), before.get("of", {})
    candidates = others if default == now else exam_ids
    of = {
        exam_id: earlier
        for exam_id in candidates
        if exam_id in exam_ids and exam_id not in touched and (earlier := others.get(exam_id, default)) != now
    }
    used = {now, *of.values()}
    return {"default": now, "of": of, "by_id": {k: by_id[k] for k in sorted(used) if k in by_id}}


def _keep_removed(curation: Curation, table: str, shard: int, previous: pl.DataFrame, exam_ids: Sequence[str]) -> None:
    """Puts the rows of exams that left a shard into `removals`, before they leave: a crash may do it twice, to the same
    effect, and loses none.
    """
    gone = previous.filter(pl.col("exam_id").is_in(list(exam_ids)))
    if gone.is_empty():
        return
    departures = read_departures(curation.home.manifest)
    rows = []
    for row in gone.iter_rows(named=True):
        departure = departures.get(f"{shard:02d}/{row['exam_id']}", {})
        rows.append(
            {
                "exam_id": row["exam_id"],
                "patient_id": row["patient_id"],
                "row_key": row["row_key"],
                "table": table,
                "removed_key": "|".join(str(row[name]) for name in schemas.key_of(table)),
                "removed_at": departure.get("at", "unknown"),
                "reason": departure.get("reason", "the cohort holds it no longer"),
                "row_json": json.dumps(row, default=str, ensure_ascii=False),
            }
        )
    lake = curation.lake
    kept, _ = lake.read_for_reuse("removals", shard)
    both = pl.concat([kept, schemas.frame("removals", rows)])
    lake.write_shard("removals", shard, both.unique(schemas.key_of("removals"), keep="first", maintain_order=True), {})
