"""The command line: curate a cohort, or walk the whole lineage on the phantom, through the same jobs as the UI.

usage: python -m assets.run curate|review|export|train|demo [--cohort DIR] [--home DIR] [--settings FILE]

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

import dagster as dg
from dagster._core.execution.plan.objects import StepFailureData

from assets import report
from assets.definitions import build_defs
from assets.instance import DatabaseError, dagster_instance, living_process, waiting_for_database
from assets.resources import COHORT_SETTINGS_NAME, Workspace, workspace_from
from assets.storage import StorageError
from pipelines.cohort import CohortError, check_cohort
from pipelines.curation import stale_shards
from pipelines.home import HomeError
from pipelines.lake import LakeError
from pipelines.phantom import PhantomSettings, write_cohort
from pipelines.places import PlaceError
from pipelines.reports.config import ReadersError
from pipelines.settings import SettingsError
from pipelines.sharding import N_SHARDS, shard_name

_DEMO_SETTINGS = """\
# Sixteen patients: with the usual 80/10/10 hardly one would be held out. Few organs, so that two cores train in
# minutes.
[samples]
val = 0.2
test = 0.2
anatomy_per_exam = 16
"""
_EXPECTED = (CohortError, SettingsError, ReadersError, StorageError, DatabaseError, HomeError, LakeError, PlaceError)
# Failures are told in one line each; the whole story is in the UI.
_QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


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

    def job(self, name: str, partition: str | None = None) -> bool:
        """Whether a job succeeded."""
        label = name if partition is None else f"{name} {partition}"

        def run() -> dg.ExecuteInProcessResult:
            return self.defs.resolve_job_def(name).execute_in_process(
                instance=self.instance, partition_key=partition, run_config=_QUIET, tags=self.tags, raise_on_error=False
            )

        # A run that lost its database half-way is done again: what it finished is in the lake and is reused.
        result = waiting_for_database(run, lambda words: print(f"{label}: {words}", file=sys.stderr, flush=True))
        self.done.add(result)
        if not result.success:
            self.done.failed.append(label)
            for event in result.all_events:
                if event.is_step_failure and event.step_failure_data.error is not None:
                    print(f"{label}, {event.step_key}: {_cause(event.step_failure_data)}", file=sys.stderr)
        return result.success

    def curate(self) -> None:
        """Observes the cohort, curates the shards that are not current, and publishes the catalog."""
        if not self.job("observe"):
            return
        home, settings, readers = self.workspace.paths, self.workspace.settings().curation, self.workspace.readers()
        stale = stale_shards(home, settings, readers)
        print(f"curate: {len(stale)} of {N_SHARDS} shards to do", flush=True)
        for shard in stale:
            self.job("curate", shard_name(shard))
        self.job("publish")


def _cause(data: StepFailureData) -> str:
    """The innermost message of a failed step, without the stack."""
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
    parser.add_argument("command", choices=("curate", "review", "export", "train", "demo"))
    parser.add_argument("--cohort", help="the input folder (default: PETAR_COHORT)")
    parser.add_argument("--home", help="the folder to write to (default: PETAR_HOME, ./data)")
    parser.add_argument(
        "--settings", help="TOML with parameters that differ from the defaults (default: PETAR_SETTINGS)"
    )
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
        home = workspace.paths.root
        with dagster_instance(home) as instance, living_process(instance, home) as tags:
            runner = Runner(workspace, instance, tags)
            runner.curate()
            if options.command in ("review", "export") and not runner.done.failed:
                runner.job(options.command)
            if options.command in ("train", "demo") and not runner.done.failed and runner.job("train"):
                runner.job("evaluate")
    except _EXPECTED as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    runner.done.seconds = time.monotonic() - started
    print(report.text(workspace, runner.done, whole=options.command in ("train", "demo")))
    return 1 if runner.done.failed else 0


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    sys.stderr.flush()
    # torch keeps modules alive beyond the interpreter's end, which bindings of others then report as leaks, a page of
    # them.
    os._exit(code)
