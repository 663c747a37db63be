"""Runs that the daemon launched and whose process died."""

import logging
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import dagster as dg
import pytest
from dagster._core.events import EngineEventData
from dagster._core.launcher.base import LaunchRunContext
from dagster._core.storage.tags import GRPC_INFO_TAG
from dagster._core.test_utils import create_run_for_test
from dagster._daemon.monitoring.run_monitoring import execute_run_monitoring_iteration

from assets.instance import dagster_instance

LAUNCHED = {GRPC_INFO_TAG: '{"host": "localhost", "socket": "/nowhere"}'}


def started(instance: dg.DagsterInstance, pid: int | None, tags: dict[str, str]) -> str:
    """Id of a run that stands as started, by a process where one is named."""
    run = create_run_for_test(instance, status=dg.DagsterRunStatus.STARTED, tags=tags)
    if pid is not None:
        instance.report_engine_event(f"Started process for run (pid: {pid}).", run, EngineEventData.in_process(pid))
    return run.run_id


def status_after_a_look(instance: dg.DagsterInstance, run_id: str) -> dg.DagsterRunStatus:
    """Status of a run after the daemon looked at all that stand as started."""
    daemon = SimpleNamespace(instance=instance, create_request_context=lambda: None)
    errors = list(execute_run_monitoring_iteration(cast(Any, daemon), logging.getLogger("daemon")))
    assert errors == [None]
    run = instance.get_run_by_id(run_id)
    assert run is not None
    return run.status


@pytest.fixture
def instance(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    for name in ("DAGSTER_HOME", "PETAR_DAGSTER", "PETAR_POSTGRES_URL"):
        monkeypatch.setenv(name, "")
    with dagster_instance(tmp_path) as instance:
        yield instance


def launch(instance: dg.DagsterInstance) -> None:
    """Has the launcher try to start a run of no code location."""
    run = create_run_for_test(instance, status=dg.DagsterRunStatus.STARTING)
    with pytest.raises(Exception, match="workspace"):
        instance.run_launcher.launch_run(LaunchRunContext(run, workspace=None))


def limits_after_a_launch(instance: dg.DagsterInstance) -> dict[str, int]:
    launch(instance)
    return {pool.name: pool.limit for pool in instance.event_log_storage.get_pool_limits()}


class TestThePools:
    def test_as_many_runs_as_there_are_places_may_read_reports(self, instance: dg.DagsterInstance) -> None:
        places = instance.get_concurrency_config().run_queue_config
        assert places is not None
        assert limits_after_a_launch(instance)["llm"] == places.max_concurrent_runs == 3

    def test_what_was_set_in_the_ui_stays(self, instance: dg.DagsterInstance) -> None:
        instance.event_log_storage.set_concurrency_slots("llm", 2)
        assert limits_after_a_launch(instance)["llm"] == 2

    def test_what_is_set_between_two_launches_stays(self, instance: dg.DagsterInstance) -> None:
        assert limits_after_a_launch(instance)["llm"] == 3
        instance.event_log_storage.set_concurrency_slots("llm", 1)
        assert limits_after_a_launch(instance)["llm"] == 1

    def test_are_asked_for_once_a_process(self, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch) -> None:
        storage, asked = instance.event_log_storage, []
        monkeypatch.setattr(storage, "get_pool_limits", lambda: asked.append(1) or [])
        for _ in range(3):
            launch(instance)
        assert len(asked) == 1

    def test_a_default_that_came_first_gives_way(self, instance: dg.DagsterInstance) -> None:
        instance.event_log_storage.initialize_concurrency_limit_to_default("llm")
        assert limits_after_a_launch(instance)["llm"] == 3


class TestTheMonitoring:
    def test_closes_a_run_whose_process_was_killed(self, instance: dg.DagsterInstance) -> None:
        process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        run_id = started(instance, process.pid, LAUNCHED)
        assert status_after_a_look(instance, run_id) == dg.DagsterRunStatus.STARTED
        process.kill()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        # Nobody has seen it off yet, so its number is still taken.
        assert status_after_a_look(instance, run_id) == dg.DagsterRunStatus.FAILURE
        process.wait()

    def test_leaves_a_run_alone_whose_process_nobody_named(self, instance: dg.DagsterInstance) -> None:
        assert status_after_a_look(instance, started(instance, None, LAUNCHED)) == dg.DagsterRunStatus.STARTED

    def test_leaves_a_run_of_a_command_line_to_the_next_one(self, instance: dg.DagsterInstance) -> None:
        gone = subprocess.Popen([sys.executable, "-c", ""])
        gone.wait()
        assert status_after_a_look(instance, started(instance, gone.pid, {})) == dg.DagsterRunStatus.STARTED
