"""Runs the jobs of the definitions in this process, for the command line: the same runs as those of the UI."""

import contextlib
import logging
import sys
import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import dagster as dg

from assets.automation import WRITES_LATER_TABLES
from assets.definitions import build_defs
from assets.instance import DatabaseError, StorageError, dagster_instance, living_process, waiting_for_database
from assets.interruption import check_interrupted
from assets.progress import CurationProgress, Heartbeat, every
from assets.resources import Workspace
from assets.run_summary import RunSummary
from model.petar.config import TRAINING_STAGES, check_model
from pipelines.cohort.manifest import CohortError, read_whole_manifest
from pipelines.reports.llm.readers_file import ReadersError
from pipelines.reports.vocabulary.errors import VocabularyError
from pipelines.settings import SettingsError, overlaid, parse
from pipelines.tables.home import HomeError
from pipelines.tables.lake import Lake, LakeError
from pipelines.tables.shards import N_SHARDS, SHARD_NAMES, shard_name
from pipelines.tables.storage_paths import StoragePathError
from pipelines.tables.suggestions import suggestion

_TABLES = {"findings": "consensus", "lesions": "lesions", "ablation": "model"} | dict.fromkeys(TRAINING_STAGES, "model")
"""Table of petar.toml that an asset's configuration takes parameters of."""

_TELLING_STEPS = frozenset((*TRAINING_STAGES, "ablation"))
"""Steps that print their own lines all along: step, loss, rate, time left."""

# Failures are told in one line each; the whole story is in the UI.
_QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}

_LINE_EVERY_S = 10.0
"""Seconds between two lines of a rerun of many shards."""


class RerunError(ValueError):
    """A rerun that can not be done as asked; the message says what there is."""


EXPECTED = (
    RerunError,
    CohortError,
    SettingsError,
    ReadersError,
    VocabularyError,
    StorageError,
    DatabaseError,
    HomeError,
    LakeError,
    StoragePathError,
)
"""Errors of wrong input, settings, folders and databases: a line on standard error and exit code 1."""


class Runner:
    """Runs the jobs of the definitions in this process, with Dagster's own instance, so that the UI shows them."""

    def __init__(
        self,
        workspace: Workspace,
        instance: dg.DagsterInstance,
        tags: Mapping[str, str] | None = None,
        summary: RunSummary | None = None,
    ) -> None:
        self.workspace = workspace
        self.instance = instance
        self.tags = dict(tags or {})
        self.watch = CurationProgress()
        self.defs = build_defs(workspace, {"watch": self.watch})
        self.summary = summary if summary is not None else RunSummary()
        self._told: set[str] = set()

    def job(self, name: str, partition: str | None = None, config: Mapping[str, Any] | None = None) -> bool:
        """Whether a job succeeded; `config`: of each asset, by its name."""
        done = self._run(name, self.defs.resolve_job_def(name), partition, config or {})
        if name in WRITES_LATER_TABLES:
            # Also where the job failed: what it wrote before is shown.
            done = self._run("refresh", self.defs.resolve_job_def("refresh"), None, {}) and done
        return done

    def asset(self, name: str, partition: str | None, config: Mapping[str, Any]) -> bool:
        """Whether one asset was materialised, with a configuration of its own."""
        key = dg.AssetKey(name)
        job = self.defs.resolve_implicit_global_asset_job_def()
        if partition is not None:
            # The checks look at whole tables: once in `publish`, not once a shard.
            job = job.get_subset(asset_selection={key}, asset_check_selection=set())
            return self._run(name, job, partition, {name: config} if config else {})
        return self._run(name, job, partition, {name: config} if config else {}, [key])

    def _run(
        self,
        name: str,
        job: dg.JobDefinition,
        partition: str | None,
        config: Mapping[str, Any],
        selection: Sequence[dg.AssetKey] | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> bool:
        label = " ".join([name, *([partition] if partition else []), *(tags or {}).values()])
        run_config = {**_QUIET, "ops": {asset: {"config": dict(values)} for asset, values in config.items()}}

        def run() -> dg.ExecuteInProcessResult:
            run_id = str(uuid.uuid4())
            with Heartbeat(label, lambda: self._step_of(run_id)):
                return job.execute_in_process(
                    instance=self.instance,
                    partition_key=partition,
                    run_config=run_config,
                    tags={**self.tags, **(tags or {})},
                    raise_on_error=False,
                    asset_selection=selection,
                    run_id=run_id,
                )

        # A run that lost its database half-way is done again: what it finished is in the lake and is reused.
        result = waiting_for_database(run, lambda words: print(f"{label}: {words}", file=sys.stderr, flush=True))
        self.summary.add(result)
        check_interrupted()
        if not result.success:
            self.summary.failed.append(label)
            for event in result.all_events:
                if event.is_step_failure and event.step_failure_data.error is not None:
                    self._tell(f"{label}, {event.step_key}", _cause(event))
        return result.success

    def _step_of(self, run_id: str) -> str | None:
        """The step that a run is at; null where none has begun, or where it tells itself how far it is."""
        if self.watch.is_telling:
            return None
        begun = self.instance.all_logs(run_id, of_type=dg.DagsterEventType.STEP_START)
        step = begun[-1].step_key if begun else None
        return None if step in _TELLING_STEPS else step

    def _tell(self, where: str, cause: str) -> None:
        """Prints why something failed, once: the runs of other shards mostly fail with the same words."""
        if cause not in self._told:
            self._told.add(cause)
            print(f"{where}: {cause}", file=sys.stderr)

    def curate(self, accept_removals: bool = False, batch: Path | None = None, ray: str | None = None) -> bool:
        """Whether the cohort was observed, the shards that were not current curated, and the catalog published.

        Args:
            accept_removals: many exams may leave the home at once.
            batch: folder of a batch whose jobs have observed and curated.
            ray: address of the Ray cluster that curates, empty for one of this machine; null: without Ray.
        """
        config = {"accept_removals": accept_removals, "batch": str(batch or ""), "ray": ray}
        done = self._run("curate", self.defs.resolve_job_def("curate"), None, {"curate_stale_shards": config})
        if not done and not self.summary.counts:
            # Nothing was curated: the cohort, its settings or its readers are wrong.
            self.summary.is_cut_short = True
            return False
        return self.job("publish") and not self.summary.failed

    def walk(self, *jobs: str) -> bool:
        """Whether the curation and then these jobs succeeded; nothing is run after one that failed."""
        if not self.curate():
            return False
        for n, job in enumerate(jobs, start=1):
            if not self.job(job):
                self.summary.is_cut_short = n < len(jobs)
                return False
        return True

    def rerun(self, name: str, exams: Sequence[str], shard: str, changes: Sequence[str]) -> bool:
        """Whether one asset was materialised again: for some exams (their shards are looked up), a shard, or whole.

        Raises:
            RerunError: no such asset, an exam that the cohort does not hold, or parameters that it does not take.
        """
        nodes = self.defs.resolve_asset_graph()
        known = sorted(key.to_user_string() for key in nodes.materializable_asset_keys)
        if name not in known:
            listed = f": one of {', '.join(known)}"
            raise RerunError(f"expected an asset, got {name!r}{suggestion(name, known, listed)}")
        if shard and shard not in SHARD_NAMES:
            raise RerunError(f"expected a shard from {SHARD_NAMES[0]} to {SHARD_NAMES[-1]}, got {shard!r}")
        sharded = nodes.get(dg.AssetKey(name)).is_partitioned
        config: dict[str, Any] = {}
        if changes:
            if name not in _TABLES:
                raise RerunError(f"expected --set for one of {', '.join(_TABLES)}, got it for {name}")
            table = _TABLES[name]
            parsed = parse("\n".join(changes), "--set")
            # Names may begin with the table, as in petar.toml, or not.
            config = {table: parsed[table] if set(parsed) == {table} else parsed}
            # Wrong ones end the call before a run starts.
            check_model(overlaid(self.workspace.settings(), config, "--set").model)
        if not sharded:
            if exams or shard:
                raise RerunError(f"expected no exam and no shard, {name} is not in shards: run it whole")
            return self.asset(name, None, config)
        by_shard: dict[str, list[str]] = {shard: []} if shard else {}
        if exams:
            places = {e.exam_id: shard_name(e.shard) for e in read_whole_manifest(self.workspace.paths.manifest)}
            if unknown := sorted(set(exams) - set(places)):
                end = suggestion(unknown[0], places, ": see exam_id in the view exams")
                raise RerunError(f"expected exams of the cohort as last observed, got {', '.join(unknown)}{end}")
            by_shard = {places[exam]: [e for e in exams if places[e] == places[exam]] for exam in exams}
        if not by_shard:
            by_shard = {one: [] for one in self._shards_with_exams(name)}
        say, done = every(_LINE_EVERY_S), []
        for n, (one, own) in enumerate(sorted(by_shard.items()), start=1):
            say(f"{name}: shard {one}, {n} of {len(by_shard)} that hold exams")
            done.append(self.asset(name, one, config | ({"only_exams": own} if own else {})))
        return all(done)

    def _shards_with_exams(self, table: str) -> list[str]:
        """The shards that hold exams of the cohort as last observed, or rows of the table; all where none does."""
        lake = Lake(self.workspace.paths.lake)
        held = {exam.shard for exam in read_whole_manifest(self.workspace.paths.manifest)}
        for shard in set(range(N_SHARDS)) - held:
            meta = lake.shard_meta(table, shard)
            if meta is not None and meta.n_rows:
                held.add(shard)
        return [shard_name(shard) for shard in sorted(held)] or list(SHARD_NAMES)

    def train(self, changes: Sequence[str] = ()) -> bool:
        """Whether the curation and then the stages of training succeeded.

        Args:
            changes: lines of [model] as TOML, of this run alone.

        Raises:
            SettingsError: a line is no setting, or they do not fit together.
        """
        model = parse("\n".join(changes), "--set")
        check_model(overlaid(self.workspace.settings(), {"model": model}, "--set").model)
        config: dict[str, Any] = {stage: {"model": model} for stage in TRAINING_STAGES} if model else {}
        return self.curate() and self.job("train", config=config)

    def ablate(self, conditions: Sequence[str]) -> bool:
        """Whether conditions of the ablation were trained and scored; one that fails keeps no other from its turn."""
        return all([self.job("ablate", condition) for condition in conditions] + [self.job("evaluate")])


def _cause(event: dg.DagsterEvent) -> str:
    """The innermost message of a failed step, without the stack."""
    data = event.step_failure_data
    if data.user_failure_data is not None and data.user_failure_data.description:
        return data.user_failure_data.description
    error = data.error
    while error is not None and error.cause is not None:
        error = error.cause
    return error.message.strip() if error is not None else "failed"


@contextlib.contextmanager
def runner_of(workspace: Workspace, summary: RunSummary | None = None) -> Iterator[Runner]:
    """A runner over the instance of the workspace's home; runs of processes that died are closed first. `summary` takes
    up what its runs do.

    Raises:
        DatabaseError: Dagster's database does not answer.
    """
    logging.getLogger("dagster").setLevel(logging.WARNING)
    home = workspace.paths
    with dagster_instance(home) as instance, living_process(instance, home) as tags:
        yield Runner(workspace, instance, tags, summary)
