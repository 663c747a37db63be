"""Retention: old runs that nothing points to any more are deleted with their files, weekly.

Dagster forgets the ticks of sensors and schedules by itself (`retention` in dagster.yaml), and keeps every run.
"""

import contextlib
import shutil
import sqlite3
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
from pydantic import Field

from assets.processes import ALONE, INSTANCE_NAME
from assets.resources import Workspace

_KEPT_DAYS = 30
_FINISHED = [dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED]
_EVENTS = (dg.DagsterEventType.ASSET_MATERIALIZATION, dg.DagsterEventType.ASSET_OBSERVATION)
_BATCH = 500
"""Runs, or events, that are asked for at once."""


class RetentionConfig(dg.Config):
    """Configuration of the retention."""

    days: int = Field(default=_KEPT_DAYS, ge=0, description="Runs that are younger stay [days], at least 0.")


@dg.op(required_resource_keys={"workspace"}, description="Deletes old runs that hold no latest event of an asset.")
def delete_old_runs(context: dg.OpExecutionContext, config: RetentionConfig) -> int:
    """How many runs were deleted."""
    workspace: Workspace = context.resources.workspace
    before = datetime.now(UTC) - timedelta(days=config.days)
    checks = context.repository_def.asset_graph.asset_check_keys
    n = delete_runs(context.instance, workspace.paths.root / INSTANCE_NAME, before, checks)
    context.log.info("%d runs deleted that ended before %s", n, before.date().isoformat())
    context.add_output_metadata({"deleted": n})
    return n


@dg.job(
    name="retention",
    tags={ALONE: "retention"},
    description="Deletes runs older than some days (`days`) that hold no latest event of a shard or table.",
)
def retention() -> None:
    """One step."""
    delete_old_runs()


weekly_retention = dg.ScheduleDefinition(
    name="weekly_retention",
    job=retention,
    cron_schedule="0 4 * * 0",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description=f"Sundays: deletes runs older than {_KEPT_DAYS} days that hold no latest event.",
)


def delete_runs(
    instance: dg.DagsterInstance, folder: Path, before: datetime, checks: Iterable[dg.AssetCheckKey] = ()
) -> int:
    """How many runs were deleted: those that were made before a time, have ended, and hold no latest event.

    The latest event is that of each partition of each asset (materialisation and observation) and of each check: what
    the UI shows, and what conditions and staleness are made of. Of a run that is kept for its events alone the files
    of its printed output go too.

    Args:
        folder: where the instance lies: its SQLite files (where it has any) and the files of its runs.
        before: with its zone.
        checks: asset checks whose latest result is kept.
    """
    kept = _holding_latest(instance, checks)
    wanted = dg.RunsFilter(statuses=_FINISHED, created_before=before)
    n = 0
    old = [record.dagster_run.run_id for record in instance.get_run_records(wanted)]
    for run_id in old:
        _remove(folder / "storage" / run_id)
        if run_id not in kept:
            instance.delete_run(run_id)
            for path in (folder / "history" / "runs").glob(f"{run_id}.db*"):
                path.unlink(missing_ok=True)
            n += 1
    if n:
        _vacuum(folder)
    return n


def _holding_latest(instance: dg.DagsterInstance, checks: Iterable[dg.AssetCheckKey]) -> set[str]:
    """Runs that hold the latest event of a partition, of an asset without partitions, or of a check."""
    found: set[str] = set()
    for key in instance.get_asset_keys():
        for kind in _EVENTS:
            ids = list(instance.get_latest_storage_id_by_partition(key, kind).values())
            fetch = (
                instance.fetch_materializations
                if kind is dg.DagsterEventType.ASSET_MATERIALIZATION
                else instance.fetch_observations
            )
            found |= {record.run_id for record in fetch(key, limit=1).records}
            for start in range(0, len(ids), _BATCH):
                wanted = dg.AssetRecordsFilter(asset_key=key, storage_ids=ids[start : start + _BATCH])
                found |= {record.run_id for record in fetch(wanted, limit=_BATCH).records}
    latest = instance.event_log_storage.get_latest_asset_check_execution_by_key(list(checks))
    return found | {record.run_id for record in latest.values()}


def _remove(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)


def _vacuum(folder: Path) -> None:
    """Gives the disk back what the deleted events held. PostgreSQL does it by itself."""
    for name in ("history/runs.db", "history/runs/index.db", "schedules/schedules.db"):
        path = folder / name
        # Another process may be writing: then the next week does it.
        with contextlib.suppress(sqlite3.OperationalError):
            if path.is_file():
                with contextlib.closing(sqlite3.connect(path, timeout=30)) as connection:
                    connection.execute("VACUUM")
