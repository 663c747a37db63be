"""Automation: jobs, the sensor on the cohort folder, the schedules."""

from typing import Any

import dagster as dg

from assets.catalog import accepted_curation, catalog, curation_diff, dataset_card, overview
from assets.curation import SHARDED, curate
from assets.exams import corrections, exam_manifest, exams
from assets.instance import close_dead_runs
from assets.lesions import calibration, lesions, peaks
from assets.processes import ALONE, processes_of
from assets.reports import findings, identifiers, readings, reports
from assets.resources import Workspace
from assets.retention import retention, weekly_retention
from pipelines.cohort.manifest import CohortError, cohort_state

WRITES_LATER_TABLES = (
    *(
        "followup",
        "find_candidates",
        "propose",
        "export",
        "review",
        "train",
        "evaluate",
        "robustness_and_external",
        "study",
    ),
)
"""Jobs that write tables which the catalog shows, after it was published."""

observe = dg.define_asset_job(
    "observe",
    selection=[exam_manifest, corrections],
    description="Observes the cohort folder and nothing else; the job `curate` observes and curates.",
    tags={ALONE: "observe"},
)

curate_shard = dg.define_asset_job(
    "curate_shard",
    # The checks look at whole tables: once after all shards, in `publish`, not once a shard.
    selection=dg.AssetSelection.assets(*SHARDED).without_checks(),
    description="From exams and reports to lesions, one shard. The job `curate` does all that are not current.",
)

publish = dg.define_asset_job(
    "publish",
    selection=dg.AssetSelection.assets(identifiers, reports, catalog, curation_diff, dataset_card, overview)
    | dg.AssetSelection.checks_for_assets(
        exam_manifest.key, exams, readings, findings, peaks, calibration, lesions, identifiers, catalog
    ),
    description="The DuckDB catalog over the lake, its changes, dataset card, overview, and every quality check.",
    tags={ALONE: "publish"},
)

refresh = dg.define_asset_job(
    "refresh",
    selection=[catalog, overview],
    description="The DuckDB catalog and the overview, over tables that were written since it was published.",
    tags={ALONE: "publish"},
)

accept = dg.define_asset_job(
    "accept",
    selection=[accepted_curation],
    description="Accepts the published version under a name and keeps it permanently, if its checks pass.",
    tags={ALONE: "publish"},
)

freshness = dg.define_asset_job(
    "freshness",
    selection=dg.AssetSelection.checks_for_assets(exam_manifest.key),
    description="Whether the cohort was observed recently, and whether new exams arrive (check `freshness`).",
)


@dg.sensor(
    job=curate,
    minimum_interval_seconds=60,
    description="Observes and curates when a file of the cohort folder was added, removed or changed; where it has a "
    "changed.csv, of the exams' folders those that it names are watched.",
)
def cohort_sensor(context: dg.SensorEvaluationContext, workspace: Workspace) -> dg.RunRequest | dg.SkipReason:
    """Asks for a curation where the files' names, sizes or times changed since the last one."""
    try:
        state = cohort_state(workspace.cohort_folder)
    except CohortError as error:
        return dg.SkipReason(str(error))
    if state == context.cursor:
        return dg.SkipReason("no file of the cohort came, went or changed")
    context.update_cursor(state)
    # No run key: a folder that is put back to an earlier state has changed all the same.
    return dg.RunRequest()


@dg.schedule(
    job=curate,
    cron_schedule="0 2 * * *",
    description="Nightly: observes the cohort and curates the shards that are not current, in one run.",
)
def nightly_recuration(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
    """A curation, unless one waits for its turn already."""
    waiting = [dg.DagsterRunStatus.QUEUED, dg.DagsterRunStatus.NOT_STARTED]
    if context.instance.get_runs(dg.RunsFilter(job_name=curate.name, statuses=waiting), limit=1):
        return dg.SkipReason("a curation waits for its turn already; it finds what this one would find")
    return dg.RunRequest()


weekly_observation = dg.ScheduleDefinition(
    name="weekly_observation",
    job=curate,
    cron_schedule="0 1 * * 0",
    description="Sundays: observes all shards again, including changes that a sensor missed, and curates those.",
)

daily_freshness = dg.ScheduleDefinition(
    name="daily_freshness",
    job=freshness,
    cron_schedule="0 6 * * *",
    description="Daily: reports a cohort that was not observed for too long.",
)

changed_shards = dg.AutomationConditionSensorDefinition(
    "changed_shards",
    # The shards are the business of the job `curate`: a run each would cost more than their work.
    target=dg.AssetSelection.all() - dg.AssetSelection.assets(*SHARDED),
    default_status=dg.DefaultSensorStatus.STOPPED,
    minimum_interval_seconds=30,
    description="Requests exactly the tables whose inputs changed their version: it publishes what other sensors and "
    "schedules have curated.",
)


single_shards = dg.AutomationConditionSensorDefinition(
    "single_shards",
    target=dg.AssetSelection.assets(*SHARDED),
    default_status=dg.DefaultSensorStatus.STOPPED,
    minimum_interval_seconds=30,
    description="Requests a run for each shard whose inputs changed. Off: the job `curate` does them all in one run.",
)


@dg.sensor(
    default_status=dg.DefaultSensorStatus.RUNNING,
    minimum_interval_seconds=60,
    description="Closes runs whose process is gone, so that none holds a place of the queue.",
)
def dead_runs(context: dg.SensorEvaluationContext, workspace: Workspace) -> dg.SkipReason:
    """Closes runs and starts none."""
    n = close_dead_runs(context.instance, processes_of(workspace.paths))
    return dg.SkipReason(
        f"{n} runs whose process is gone were closed" if n else "every run that started has its process"
    )


JOBS: list[Any] = [observe, curate, curate_shard, publish, refresh, accept, freshness, retention]
SENSORS = [cohort_sensor, changed_shards, single_shards, dead_runs]
SCHEDULES = [nightly_recuration, weekly_observation, daily_freshness, weekly_retention]
