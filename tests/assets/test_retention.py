"""Old runs that hold no latest event are deleted with their files."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest

from assets.retention import delete_runs

SHARDS = dg.StaticPartitionsDefinition(["a", "b"])


@dg.asset(partitions_def=SHARDS)
def table() -> None:
    """A sharded table."""


@dg.asset
def whole() -> None:
    """A whole one."""


@dg.asset_check(asset=whole)
def fine() -> dg.AssetCheckResult:
    """A check of it."""
    return dg.AssetCheckResult(passed=True)


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.local_temp(str(tmp_path), {"telemetry": {"enabled": False}}) as instance:
        yield instance


def run(instance: dg.DagsterInstance, partition: str | None = None) -> str:
    """A run of one asset."""
    assets = [table] if partition else [whole]
    return dg.materialize(assets, instance=instance, partition_key=partition).run_id


def left(instance: dg.DagsterInstance) -> set[str]:
    return {one.run_id for one in instance.get_runs()}


SOON = timedelta(hours=1)


def test_what_holds_a_latest_event_stays_and_the_rest_goes_with_its_files(
    instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    first_a, b, last_a = run(instance, "a"), run(instance, "b"), run(instance, "a")
    first_whole, last_whole = run(instance), run(instance)
    assert delete_runs(instance, tmp_path, datetime.now(UTC) + SOON) == 2
    assert left(instance) == {b, last_a, last_whole}
    files = {path.stem for path in (tmp_path / "history" / "runs").glob("*.db")}
    assert {first_a, first_whole} & files == set()
    assert {b, last_a, last_whole} <= files
    assert set(instance.get_materialized_partitions(table.key)) == {"a", "b"}
    assert instance.get_latest_materialization_event(whole.key) is not None


def test_young_runs_stay(instance: dg.DagsterInstance, tmp_path: Path) -> None:
    both = {run(instance), run(instance)}
    assert delete_runs(instance, tmp_path, datetime.now(UTC) - SOON) == 0
    assert left(instance) == both


def test_a_run_that_has_not_ended_stays(instance: dg.DagsterInstance, tmp_path: Path) -> None:
    @dg.job
    def nothing() -> None:
        """No step."""

    running = instance.create_run_for_job(nothing, status=dg.DagsterRunStatus.STARTED).run_id
    assert delete_runs(instance, tmp_path, datetime.now(UTC) + SOON) == 0
    assert left(instance) == {running}


def test_the_latest_result_of_a_check_stays(instance: dg.DagsterInstance, tmp_path: Path) -> None:
    checked = dg.materialize([whole, fine], instance=instance).run_id
    (key,) = fine.check_keys
    last = run(instance)
    assert delete_runs(instance, tmp_path, datetime.now(UTC) + SOON, [key]) == 0
    assert left(instance) == {checked, last}
