"""The job `curate`: one run that observes the cohort and curates every stale shard, in worker processes.

It tells Dagster of each shard as the asset of a table would: an event a table and shard, with the version of its data,
of the code, and of what it was made from; so conditions and staleness are the same, whichever way a shard was made.
"""

import contextlib
import logging
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import dagster as dg
from pydantic import Field

from assets.dagster_internals import (
    CODE_VERSION_TAG,
    DATA_VERSION_IS_USER_PROVIDED_TAG,
    DATA_VERSION_TAG,
    INPUT_DATA_VERSION_TAG_PREFIX,
    INPUT_EVENT_POINTER_TAG_PREFIX,
)
from assets.exams import accepts_removals, corrections, exam_manifest, exams
from assets.faults import RETRY, PermanentFailure, is_permanent, permanent
from assets.lesions import calibration, lesions, peaks
from assets.partitions import stage_metadata
from assets.processes import ALONE
from assets.reports import findings, readings, sentences
from assets.resources import Workspace
from pipelines.cohort.corrections import corrections_version, read_observed
from pipelines.cohort.manifest import observe_cohort, read_manifest
from pipelines.curation.curate import Engine, Failures, curate_stale
from pipelines.curation.engines.batch import Batch, recorded
from pipelines.curation.engines.local import LocalEngine
from pipelines.curation.engines.ray_cluster import ray_engine
from pipelines.curation.engines.workers import default_workers
from pipelines.curation.run import stage_code
from pipelines.curation.shard_work import StageDone
from pipelines.curation.stages.curation import Curation
from pipelines.curation.stages.stopping import CurationStoppedError, stop_is_requested
from pipelines.review.stage_details import stage_details
from pipelines.settings import ProjectSettings
from pipelines.tables.errors import listed
from pipelines.tables.shards import N_SHARDS, SHARD_NAMES, shard_name

WORKERS = "PETAR_WORKERS"
"""The variable that says how many processes curate; it goes before `[run] workers`."""

SHARDED = (exams, sentences, readings, findings, peaks, calibration, lesions)
"""The assets of the curated tables, one partition a shard."""

_ASSETS: Mapping[str, dg.AssetsDefinition] = {asset.key.to_user_string(): asset for asset in SHARDED}
_SOURCES = (exam_manifest.key, corrections.key)
_TELL_EVERY_S = 5.0
"""Between two writings of events: what every event asks for (the last events of the tables below) is asked for once."""
Event = dg.AssetMaterialization | dg.AssetObservation
_MOST_TOLD = 8
"""Failed shards that an error names."""


class CurateConfig(dg.Config):
    """Configuration of a curation of all stale shards."""

    is_observed: bool = Field(
        default=False, description="The cohort was observed just now, by whoever started the run: do not do it again."
    )
    accept_removals: bool = Field(
        default=False,
        description="Let exams leave the home that are too many to leave unasked, with all that was made of them.",
    )
    ray: str | None = Field(
        default=None,
        description="Address of the Ray cluster that curates, empty for one of this machine; null: processes of this "
        "machine.",
    )
    batch: str = Field(
        default="",
        description="Folder of a batch whose jobs have curated the shards: the run records what they did, and curates "
        "none. Empty: curate.",
    )


def workers_of(settings: ProjectSettings, environment: Mapping[str, str] = os.environ) -> int:
    """Processes of a curation: by PETAR_WORKERS, else the setting, else by cores and free memory.

    Raises:
        PermanentFailure: the variable is no number of at least 1.
    """
    named = environment.get(WORKERS, "").strip()
    if not named:
        return settings.run.workers or default_workers()
    if not named.isdecimal() or int(named) < 1:
        raise PermanentFailure(f"expected a number of processes >= 1 in {WORKERS}, got {named!r}: correct or unset it")
    return int(named)


@dg.op(
    required_resource_keys={"workspace", "watch"},
    retry_policy=RETRY,
    tags={"dagster/kind/parquet": ""},
    out={},
    description="Observes the cohort, curates the shards that are not current, and tells of each.",
)
def curate_stale_shards(context: dg.OpExecutionContext, config: CurateConfig) -> Iterator[Event]:
    """One failed shard bars no other; at the end the run fails with their names, and what was done is told."""
    workspace: Workspace = context.resources.workspace
    if not (config.is_observed or config.batch):
        accept = config.accept_removals or accepts_removals(context.run.tags)
        with permanent():
            folder, manifest = workspace.cohort_folder, workspace.paths.manifest
            reviews = workspace.paths.reviews
            observe_cohort(folder, manifest, workspace.deidentifier(), accept_removals=accept, reviews=reviews)
    with permanent():
        curation, n_workers = workspace.curation(), workers_of(workspace.settings())
    events = ShardEvents(context, curation)
    yield from events.sources()
    failures, waiting, told_at = Failures(), list[StageDone](), time.monotonic()
    with contextlib.ExitStack() as stack:
        if config.batch:
            results = recorded(Batch.load(Path(config.batch)), failures)
        else:
            with permanent():
                engine = stack.enter_context(_engine(context, config, n_workers))
            results = curate_stale(workspace.source, engine, stage_details, context.resources.watch, failures)
        for done in results:
            waiting += done
            if time.monotonic() - told_at > _TELL_EVERY_S:
                yield from events.shards(waiting)
                waiting, told_at = [], time.monotonic()
    yield from events.shards(waiting)
    yield from events.missed()
    raise_failures(context.log, failures, is_final=bool(config.batch))


@dg.job(
    name="curate",
    tags={ALONE: "curate"},
    description="From exams and reports to lesions: one run for all shards that are not current.",
)
def curate() -> None:
    """Observation and curation; the catalog is published by the job `publish`."""
    curate_stale_shards()


def _engine(
    context: dg.OpExecutionContext, config: CurateConfig, n_workers: int
) -> contextlib.AbstractContextManager[Engine]:
    if config.ray is not None:
        return ray_engine(config.ray, n_workers, context.log)
    return contextlib.nullcontext(LocalEngine(n_workers, context.log, context.resources.watch.at))


def raise_failures(log: logging.Logger, failures: Failures, *, is_final: bool = False) -> None:
    """Fails the run where a shard failed; for good where a retry changes nothing (`is_final`: it changes nothing)."""
    if stop_is_requested():
        raise PermanentFailure(str(CurationStoppedError("stopped before the last shard was done")))
    if not failures.errors:
        return
    by_words: dict[str, list[str]] = {}
    for shard, error in sorted(failures.errors.items()):
        by_words.setdefault(f"{error}" or type(error).__name__, []).append(shard_name(shard))
    told = [f"shard {listed(shards, _MOST_TOLD)}: {words}" for words, shards in by_words.items()]
    message = "; ".join(told)
    if is_final or all(is_permanent(error) for error in failures.errors.values()):
        raise PermanentFailure(message)
    log.error("%s", message)
    raise dg.Failure(message)


class ShardEvents:
    """Events of the shards for Dagster's log, as the assets of the tables would tell them. An event points at those of
    the tables below, so each must have been logged before the next one is made.

    Args:
        context: of the op that makes them.
        curation: where they are written.
        assets: asset of each table, in the order in which the tables are made.
    """

    def __init__(
        self, context: dg.OpExecutionContext, curation: Curation, assets: Mapping[str, dg.AssetsDefinition] = _ASSETS
    ) -> None:
        self._context, self._curation, self._assets = context, curation, assets
        self._events = context.instance.event_log_storage
        self._told: dict[str, set[int]] = {table: set() for table in assets}

    def sources(self) -> Iterator[Event]:
        """An observation of each shard of the cohort and its corrections whose version is not the last one told."""
        for key in _SOURCES:
            told = self._versions(key, dg.DagsterEventType.ASSET_OBSERVATION)
            for name in SHARD_NAMES:
                version = self._source_version(key, int(name))
                if told.get(name) != version:
                    tags = {DATA_VERSION_TAG: version, DATA_VERSION_IS_USER_PROVIDED_TAG: "true"}
                    yield dg.AssetObservation(key, partition=name, tags=tags)

    def shards(self, done: Sequence[StageDone]) -> Iterator[Event]:
        """A materialisation of each shard that was done, table by table."""
        for one in done:
            for words in one.details.get("warnings", ()):
                self._context.log.warning("%s", words)
        for table in self._assets:
            own = [one for one in done if one.table == table]
            yield from self._tell(table, {one.shard: (one.version, stage_metadata(one)) for one in own})

    def missed(self) -> Iterator[Event]:
        """A materialisation of each shard whose rows are others than those last told (of a run that was killed before
        it told of them, of another machine), or whose rows stayed as they are although an input of theirs is new.
        """
        for table in self._assets:
            told = self._versions(dg.AssetKey(table), dg.DagsterEventType.ASSET_MATERIALIZATION)
            inputs = {dep.asset_key.to_user_string() for spec in self._assets[table].specs for dep in spec.deps}
            renewed = set().union(*(self._told[name] for name in inputs & set(self._told))) - self._told[table]
            found: dict[int, tuple[str, Mapping[str, Any]]] = {}
            for shard in range(N_SHARDS):
                meta = self._curation.lake.shard_meta(table, shard)
                if meta is not None and (shard in renewed or told.get(shard_name(shard)) != meta.rows_digest):
                    found[shard] = (meta.rows_digest, {"dagster/partition_row_count": meta.n_rows})
            yield from self._tell(table, found)

    def _tell(self, table: str, shards: Mapping[int, tuple[str, Mapping[str, Any]]]) -> Iterator[Event]:
        if not shards:
            return
        self._told[table] |= set(shards)
        names = {shard_name(shard) for shard in shards}
        deps = [dep.asset_key for spec in self._assets[table].specs for dep in spec.deps]
        pointers = {key: self._pointers(key, names) for key in deps}
        for shard, (version, metadata) in sorted(shards.items()):
            name = shard_name(shard)
            tags = {
                DATA_VERSION_TAG: version,
                DATA_VERSION_IS_USER_PROVIDED_TAG: "true",
                CODE_VERSION_TAG: stage_code(table),
            }
            for key in deps:
                label = key.to_user_string()
                tags[f"{INPUT_DATA_VERSION_TAG_PREFIX}/{label}"] = self._source_version(key, shard)
                tags[f"{INPUT_EVENT_POINTER_TAG_PREFIX}/{label}"] = str(pointers[key].get(name, "NULL"))
            yield dg.AssetMaterialization(dg.AssetKey(table), partition=name, metadata=metadata, tags=tags)

    def _source_version(self, key: dg.AssetKey, shard: int) -> str:
        """Version of a shard of an asset, as it lies on the disk."""
        manifest = self._curation.home.manifest
        if key == exam_manifest.key:
            return read_manifest(manifest, shard)[0]
        if key == corrections.key:
            return corrections_version(read_observed(manifest, shard))
        meta = self._curation.lake.shard_meta(key.to_user_string(), shard)
        return meta.rows_digest if meta else ""

    def _pointers(self, key: dg.AssetKey, names: set[str]) -> Mapping[str, int]:
        kind = dg.DagsterEventType.ASSET_OBSERVATION if key in _SOURCES else dg.DagsterEventType.ASSET_MATERIALIZATION
        return self._context.instance.get_latest_storage_id_by_partition(key, kind, names)

    def _versions(self, key: dg.AssetKey, kind: dg.DagsterEventType) -> dict[str, str | None]:
        """Version of each shard as it was last told."""
        found = self._events.get_latest_tags_by_partition(key, kind, [DATA_VERSION_TAG], SHARD_NAMES)
        return {name: tags.get(DATA_VERSION_TAG) for name, tags in found.items()}
