"""Automation: jobs, the sensor on the cohort folder, the schedules."""

import dagster as dg

from assets.catalog import accepted_curation, catalog, curation_diff, dataset_card
from assets.exams import corrections, exam_manifest, exams
from assets.lesions import lesions
from assets.reports import findings, identifiers, readings, reports, sentences
from assets.resources import Workspace
from pipelines.cohort.manifest import CohortError, cohort_state, observe_cohort
from pipelines.cohort.privacy.deidentification import PrivacyError
from pipelines.curation.run import stale_shards
from pipelines.tables.shards import shard_name

ALONE = "petar/alone"
"""Tag of the runs of which there is one at a time; the queue (dagster.yaml) holds the others back."""

WRITES_LATER_TABLES = ("review", "train", "evaluate", "robustness_and_external", "study")
"""Jobs that write tables which the catalog shows, after it was published."""

NOT_FINISHED = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
]

observe = dg.define_asset_job(
    "observe",
    selection=[exam_manifest, corrections],
    description="Observes the cohort folder; the automation condition then requests the shards that changed.",
    tags={ALONE: "observe"},
)

curate = dg.define_asset_job(
    "curate",
    # The checks look at whole tables: once after all shards, in `publish`, not once a shard.
    selection=dg.AssetSelection.assets(exams, sentences, readings, findings, lesions).without_checks(),
    description="From exams and reports to lesions, one run a shard.",
)

publish = dg.define_asset_job(
    "publish",
    selection=dg.AssetSelection.assets(identifiers, reports, catalog, curation_diff, dataset_card)
    | dg.AssetSelection.checks_for_assets(exam_manifest.key, exams, readings, findings, lesions, identifiers, catalog),
    description="The DuckDB catalog over the lake, what changed in it, the dataset card, and every quality check.",
    tags={ALONE: "publish"},
)

refresh = dg.define_asset_job(
    "refresh",
    selection=[catalog],
    description="The DuckDB catalog alone, over tables that were written since it was published.",
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
    job=observe,
    minimum_interval_seconds=60,
    description="Observes the manifest when a file of the cohort folder was added, removed or changed.",
)
def cohort_sensor(context: dg.SensorEvaluationContext, workspace: Workspace) -> dg.RunRequest | dg.SkipReason:
    """Asks for an observation where the files' names, sizes or times changed since the last one."""
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
    description="Nightly: observes the cohort and curates the shards that changed, one run each.",
)
def nightly_recuration(
    context: dg.ScheduleEvaluationContext, workspace: Workspace
) -> list[dg.RunRequest] | dg.SkipReason:
    """A run for every shard that is not current."""
    try:
        versions = observe_cohort(workspace.cohort_folder, workspace.paths.manifest, workspace.deidentifier())
    except (CohortError, PrivacyError) as error:
        return dg.SkipReason(str(error))
    stale = stale_shards(workspace.curation())
    if not stale:
        return dg.SkipReason("no shard changed")
    waiting = context.instance.get_runs(dg.RunsFilter(job_name=curate.name, statuses=NOT_FINISHED))
    asked = {run.tags.get("dagster/partition") for run in waiting}
    night = context.scheduled_execution_time.date().isoformat()
    requests = [
        dg.RunRequest(run_key=f"{night}-{shard_name(shard)}-{versions[shard]}", partition_key=shard_name(shard))
        for shard in stale
        if shard_name(shard) not in asked
    ]
    return requests or dg.SkipReason(f"{len(stale)} shards changed, all of them are being curated already")


weekly_observation = dg.ScheduleDefinition(
    name="weekly_observation",
    job=observe,
    cron_schedule="0 1 * * 0",
    description="Sundays: observes all shards again, including changes that a sensor missed.",
)

daily_freshness = dg.ScheduleDefinition(
    name="daily_freshness",
    job=freshness,
    cron_schedule="0 6 * * *",
    description="Daily: reports a cohort that was not observed for too long.",
)

changed_shards = dg.AutomationConditionSensorDefinition(
    "changed_shards",
    target=dg.AssetSelection.all(),
    default_status=dg.DefaultSensorStatus.RUNNING,
    minimum_interval_seconds=30,
    description="Requests exactly the shards and tables whose inputs changed their version.",
)

JOBS = [observe, curate, publish, refresh, accept, freshness]
SENSORS = [cohort_sensor, changed_shards]
SCHEDULES = [nightly_recuration, weekly_observation, daily_freshness]
