"""The command line: curate a cohort, or walk the whole lineage on the phantom, through the same jobs as the UI.

usage: python -m assets.run curate|review|export|train|evaluate|ablate|study|demo [--cohort DIR] [--home DIR]
       [--settings FILE]
       python -m assets.run rerun --asset NAME [--exam ID ...] [--shard 07] [--set 'NAME = VALUE' ...]
       python -m assets.run accept --name NAME --who WHO [--note TEXT]

Exit code 0: done, with a summary line (exams with problems are rows, not failures). 1: no cohort, or a run that failed.
"""

import argparse
import logging
import os
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import dagster as dg

from assets import report
from assets.ablation import ARM_PARTITIONS, CORNERS
from assets.definitions import build_defs
from assets.instance import DatabaseError, dagster_instance, living_process, waiting_for_database
from assets.partitions import range_tags, together
from assets.resources import COHORT_SETTINGS_NAME, Workspace, workspace_from
from assets.storage import StorageError
from pipelines.cohort.manifest import CohortError, check_cohort, read_whole_manifest
from pipelines.curation.run import is_current, is_empty, stale_shards
from pipelines.phantom import PhantomSettings, write_cohort
from pipelines.reports.llm.readers_file import ReadersError
from pipelines.settings import SettingsError
from pipelines.tables.home import HomeError
from pipelines.tables.lake import LakeError
from pipelines.tables.shards import N_SHARDS, SHARD_NAMES, shard_name
from pipelines.tables.storage_paths import StoragePathError

_DEMO_SETTINGS = """\
# Sixteen patients: with the usual 80/10/10 hardly one would be held out. Few organs, so that two cores train in
# minutes.
[samples]
val = 0.2
test = 0.2
anatomy_per_exam = 16
# Two of the ablation's rows, each for a part of the usual time.
[evaluation]
ablation_effort = 0.15
"""
_PARAMETERS = {"findings": "consensus", "lesions": "lesions"}
"""Field of an asset's configuration that takes TOML lines."""
COMMANDS = ("curate", "review", "export", "train", "evaluate", "ablate", "study", "demo", "rerun", "accept")
_WITH_MODEL = ("train", "evaluate", "ablate", "study", "demo")

# Failures are told in one line each; the whole story is in the UI.
_QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


class RerunError(ValueError):
    """A rerun that can not be done as asked; the message says what there is."""


_EXPECTED = (
    RerunError,
    CohortError,
    SettingsError,
    ReadersError,
    StorageError,
    DatabaseError,
    HomeError,
    LakeError,
    StoragePathError,
)


@dataclass
class Done:
    """What the runs of one call did: counts by asset, and the runs that failed."""

    counts: dict[str, Counter[str]] = field(default_factory=dict)
    failed: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def add(self, result: dg.ExecuteInProcessResult) -> None:
        """Takes up the metadata of every asset that a run materialised."""
        for event in result.get_asset_materialization_events():
            materialization = event.step_materialization_data.materialization
            name = materialization.asset_key.to_user_string()
            counter = self.counts.setdefault(name, Counter())
            for key in ("recomputed", "reused", "removed", "failed"):
                value = materialization.metadata.get(key)
                if value is not None and isinstance(value.value, int):
                    counter[key] += value.value
            counter["runs"] += 1


class Runner:
    """Runs the jobs of the definitions in this process, with Dagster's own instance, so that the UI shows them."""

    def __init__(
        self, workspace: Workspace, instance: dg.DagsterInstance, tags: Mapping[str, str] | None = None
    ) -> None:
        self.workspace = workspace
        self.instance = instance
        self.tags = dict(tags or {})
        self.defs = build_defs(workspace)
        self.done = Done()

    def job(self, name: str, partition: str | None = None, config: Mapping[str, Any] | None = None) -> bool:
        """Whether a job succeeded; `config`: of each asset, by its name."""
        return self._run(name, self.defs.resolve_job_def(name), partition, config or {})

    def shards(self, name: str, shards: range) -> bool:
        """Whether a job succeeded for a shard, or in one run for several that are empty."""
        if len(shards) == 1:
            return self.job(name, shard_name(shards.start))
        return self._run(name, self.defs.resolve_job_def(name), None, {}, tags=range_tags(shards))

    def asset(self, name: str, partition: str | None, config: Mapping[str, Any]) -> bool:
        """Whether one asset was materialised, with a configuration of its own."""
        key = dg.AssetKey(name)
        job = self.defs.resolve_implicit_global_asset_job_def()
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
            return job.execute_in_process(
                instance=self.instance,
                partition_key=partition,
                run_config=run_config,
                tags={**self.tags, **(tags or {})},
                raise_on_error=False,
                asset_selection=selection,
            )

        # A run that lost its database half-way is done again: what it finished is in the lake and is reused.
        result = waiting_for_database(run, lambda words: print(f"{label}: {words}", file=sys.stderr, flush=True))
        self.done.add(result)
        if not result.success:
            self.done.failed.append(label)
            for event in result.all_events:
                if event.is_step_failure and event.step_failure_data.error is not None:
                    print(f"{label}, {event.step_key}: {_cause(event)}", file=sys.stderr)
        return result.success

    def curate(self) -> None:
        """Observes the cohort, curates the shards that are not current, and publishes the catalog."""
        if not self.job("observe"):
            return
        curation = self.workspace.curation()
        stale = stale_shards(curation)
        print(f"curate: {len(stale)} of {N_SHARDS} shards to do", flush=True)
        for shards in together(stale, lambda shard: is_empty(curation, shard)):
            # Another process may have done it while this one did the shards before.
            if not all(is_current(curation, shard) for shard in shards):
                self.shards("curate", shards)
        self.job("publish")

    def rerun(self, name: str, exams: Sequence[str], shard: str, changes: Sequence[str]) -> bool:
        """Whether one asset was materialised again: for some exams (their shards are looked up), a shard, or whole.

        Raises:
            RerunError: no such asset, an exam that the cohort does not hold, or parameters that it does not take.
        """
        nodes = self.defs.resolve_asset_graph()
        known = sorted(key.to_user_string() for key in nodes.materializable_asset_keys)
        if name not in known:
            raise RerunError(f"expected an asset ({', '.join(known)}), got {name!r}")
        sharded = nodes.get(dg.AssetKey(name)).is_partitioned
        if changes and name not in _PARAMETERS:
            raise RerunError(f"expected --set for {' or '.join(_PARAMETERS)}, got it for {name}")
        config: dict[str, Any] = {_PARAMETERS[name]: "\n".join(changes)} if changes else {}
        if not sharded:
            if exams or shard:
                raise RerunError(f"expected no exam and no shard, {name} is not in shards: run it whole")
            return self.asset(name, None, config)
        by_shard: dict[str, list[str]] = {shard: []} if shard else {}
        if exams:
            places = {e.exam_id: shard_name(e.shard) for e in read_whole_manifest(self.workspace.paths.manifest)}
            if unknown := sorted(set(exams) - set(places)):
                raise RerunError(f"expected exams of the cohort as last observed, got {', '.join(unknown)}")
            by_shard = {places[exam]: [e for e in exams if places[e] == places[exam]] for exam in exams}
        if not by_shard:
            partitions = nodes.get(dg.AssetKey(name)).partitions_def
            by_shard = {one: [] for one in partitions.get_partition_keys()} if partitions else {}
        return all(
            [
                self.asset(name, one, config | ({"only_exams": own} if own else {}))
                for one, own in sorted(by_shard.items())
            ]
        )

    def ablate(self, arms: Sequence[str]) -> None:
        """Trains arms of the ablation; one that fails keeps no other from its turn."""
        for arm in arms:
            self.job("ablate", arm)


def _cause(event: dg.DagsterEvent) -> str:
    """The innermost message of a failed step, without the stack."""
    data = event.step_failure_data
    if data.user_failure_data is not None and data.user_failure_data.description:
        return data.user_failure_data.description
    error = data.error
    while error is not None and error.cause is not None:
        error = error.cause
    return error.message.strip() if error is not None else "failed"


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code of a call; see the module."""
    parser = argparse.ArgumentParser(
        prog="python -m assets.run", description=__doc__.splitlines()[0] if __doc__ else None
    )
    parser.add_argument("command", choices=COMMANDS)
    parser.add_argument("--cohort", help="the input folder (default: PETAR_COHORT)")
    parser.add_argument("--home", help="the folder to write to (default: PETAR_HOME, ./data)")
    parser.add_argument(
        "--settings", help="TOML with parameters that differ from the defaults (default: PETAR_SETTINGS)"
    )
    parser.add_argument("--asset", default="", help="rerun: the asset")
    parser.add_argument("--exam", action="append", default=[], help="rerun: an exam to compute, changed or not")
    parser.add_argument("--shard", default="", choices=("", *SHARD_NAMES), help="rerun: the shard", metavar="00..63")
    parser.add_argument("--set", action="append", default=[], help="rerun: a parameter of this run, as a line of TOML")
    parser.add_argument("--name", default="", help="accept: what to call the version that is published now")
    parser.add_argument("--who", default="", help="accept: who accepts it")
    parser.add_argument("--note", default="", help="accept: why, for whom")
    options = parser.parse_args(arguments)
    environment = dict(os.environ)
    for name in ("cohort", "home", "settings"):
        if value := getattr(options, name):
            environment[f"PETAR_{name.upper()}"] = value
    workspace = workspace_from(environment)
    logging.getLogger("dagster").setLevel(logging.WARNING)
    started = time.monotonic()
    try:
        if options.command == "demo":
            print(write_cohort(workspace.cohort_folder, PhantomSettings()).summary(), flush=True)
            settings = workspace.cohort_folder / COHORT_SETTINGS_NAME
            if not settings.exists():
                settings.write_text(_DEMO_SETTINGS)
        check_cohort(workspace.cohort_folder)
        home = workspace.paths
        with dagster_instance(home) as instance, living_process(instance, home) as tags:
            runner = Runner(workspace, instance, tags)
            if options.command == "accept":
                wanted = {"name": options.name, "who": options.who, "note": options.note}
                runner.job("accept", config={"accepted_curation": wanted})
            elif options.command == "rerun":
                if runner.rerun(options.asset, options.exam, options.shard, options.set):
                    runner.job("publish")
            else:
                runner.curate()
            if options.command in ("review", "export") and not runner.done.failed:
                runner.job(options.command)
            if options.command in ("train", "demo") and not runner.done.failed and runner.job("train"):
                if options.command == "demo":
                    runner.ablate(CORNERS)
                runner.job("evaluate")
            if options.command == "ablate" and not runner.done.failed:
                runner.ablate(ARM_PARTITIONS.get_partition_keys())
                runner.job("evaluate")
            if options.command in ("evaluate", "study") and not runner.done.failed and runner.job("evaluate"):
                runner.job("robustness_and_external" if options.command == "evaluate" else "study")
    except _EXPECTED as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    runner.done.seconds = time.monotonic() - started
    print(report.text(workspace, runner.done, whole=options.command in _WITH_MODEL))
    return 1 if runner.done.failed else 0


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    sys.stderr.flush()
    # torch keeps modules alive beyond the interpreter's end, which bindings of others then report as leaks, a page of
    # them.
    os._exit(code)
