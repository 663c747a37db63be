"""The contract with Dagster's private API: what assets.dagster_internals names behaves as storage and launcher expect.

The only test that imports private modules of Dagster.
"""

import inspect
import logging
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import dagster as dg
import pytest
from dagster._daemon.monitoring.run_monitoring import execute_run_monitoring_iteration
from dagster._grpc import impl

from assets import dagster_internals as internals
from assets.instance import dagster_instance
from pipelines.tables.home import Home

RUNS, EVENTS, SQLITE = internals.SqliteRunStorage, internals.SqliteEventLogStorage, internals.DagsterSqliteStorage


@dg.job
def nothing() -> None:
    """A job of no step."""


@pytest.mark.parametrize(
    ("method", "parameters"),
    [
        # What assets.storage overrides or calls.
        (RUNS.__init__, ["self", "conn_string", "inst_data"]),
        (RUNS.connect, ["self"]),
        (RUNS.dispose, ["self"]),
        (EVENTS.__init__, ["self", "base_dir", "inst_data"]),
        (EVENTS._connect, ["self", "shard"]),
        (EVENTS._initdb, ["self", "engine", "for_index_shard"]),
        (EVENTS.conn_string_for_shard, ["self", "shard_name"]),
        (EVENTS.has_table, ["self", "table_name"]),
        (EVENTS._has_asset_key_index_cols_on_connection, ["self", "conn"]),
        (EVENTS.dispose, ["self"]),
        (SQLITE.__init__, ["self", "base_dir", "inst_data"]),
        (SQLITE.from_local, ["base_dir", "inst_data"]),
        (internals.ConfigurableClass.from_config_value, ["inst_data", "config_value"]),
        # What assets.launcher overrides or calls.
        (dg.DefaultRunLauncher.launch_run, ["self", "context"]),
        (dg.DefaultRunLauncher.check_run_worker_health, ["self", "run"]),
    ],
    ids=lambda value: getattr(value, "__qualname__", ""),
)
def test_overridden_methods_take_the_same_parameters(method: Callable[..., Any], parameters: list[str]) -> None:
    assert list(inspect.signature(method).parameters) == parameters


def test_sqlite_storage_has_the_attributes_that_are_read(tmp_path: Path) -> None:
    storage = SQLITE.from_local(str(tmp_path))
    assert Path(str(storage._run_storage._conn_string).removeprefix("sqlite:///")).is_relative_to(tmp_path)  # type: ignore[attr-defined]
    events = storage._event_log_storage
    assert isinstance(events, EVENTS)
    assert Path(events._base_dir).is_relative_to(tmp_path)
    assert isinstance(events._initialized_dbs, set)
    with events._db_lock:
        assert events.conn_string_for_shard("a").endswith("/a.db")
    storage.dispose()


def test_launch_message_names_the_process() -> None:
    # The daemon tells a run's process by this event alone.
    assert 'f"Started process for run (pid: {pid})."' in inspect.getsource(impl)


def test_tags_are_those_that_stand_in_kept_runs() -> None:
    assert internals.ASSET_PARTITION_RANGE_START_TAG == "dagster/asset_partition_range_start"
    assert internals.ASSET_PARTITION_RANGE_END_TAG == "dagster/asset_partition_range_end"
    assert internals.GRPC_INFO_TAG == ".dagster/grpc_info"


def test_monitoring_closes_a_run_that_the_launcher_calls_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("DAGSTER_HOME", "PETAR_DAGSTER", "PETAR_POSTGRES_URL"):
        monkeypatch.setenv(name, "")
    with dagster_instance(Home(tmp_path)) as instance:
        launched = {internals.GRPC_INFO_TAG: "{}"}
        run = instance.create_run_for_job(nothing, status=dg.DagsterRunStatus.STARTED, tags=launched)
        failed = internals.CheckRunHealthResult(internals.WorkerStatus.FAILED, "gone")
        monkeypatch.setattr(type(instance.run_launcher), "check_run_worker_health", lambda self, run: failed)
        daemon = SimpleNamespace(instance=instance, create_request_context=lambda: None)
        assert list(execute_run_monitoring_iteration(cast(Any, daemon), logging.getLogger("daemon"))) == [None]
        closed = instance.get_run_by_id(run.run_id)
    assert closed is not None
    assert closed.status == dg.DagsterRunStatus.FAILURE
