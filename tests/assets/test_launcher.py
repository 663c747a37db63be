"""Runs that the daemon launched and whose process died."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from assets.dagster_internals import GRPC_INFO_TAG, LaunchRunContext, WorkerStatus
from assets.instance import dagster_instance
from pipelines.tables.home import Home

LAUNCHED = {GRPC_INFO_TAG: '{"host": "localhost", "socket": "/nowhere"}'}


@dg.job
def nothing() -> None:
    """A job of no step."""


def started(instance: dg.DagsterInstance, pid: int | None, tags: dict[str, str]) -> dg.DagsterRun:
    """A run that stands as started, by a process where one is named."""
    run = instance.create_run_for_job(nothing, status=dg.DagsterRunStatus.STARTED, tags=tags)
    if pid is not None:
        instance.report_engine_event(f"Started process for run (pid: {pid}).", run)
    return run


def health(instance: dg.DagsterInstance, run: dg.DagsterRun) -> WorkerStatus:
    """What the launcher tells the daemon of a run that stands as started."""
    return instance.run_launcher.check_run_worker_health(run).status


@pytest.fixture
def instance(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    for name in ("DAGSTER_HOME", "PETAR_DAGSTER", "PETAR_POSTGRES_URL"):
        monkeypatch.setenv(name, "")
    with dagster_instance(Home(tmp_path)) as instance:
        yield instance


def launch(instance: dg.DagsterInstance) -> None:
    """Has the launcher try to start a run of no code location."""
    run = instance.create_run_for_job(nothing, status=dg.DagsterRunStatus.STARTING)
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
    def test_finds_a_run_whose_process_was_killed(self, instance: dg.DagsterInstance) -> None:
        process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        run = started(instance, process.pid, LAUNCHED)
        assert health(instance, run) == WorkerStatus.RUNNING
        process.kill()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        # Nobody has seen it off yet, so its number is still taken.
        assert health(instance, run) == WorkerStatus.FAILED
        process.wait()

    def test_leaves_a_run_alone_whose_process_nobody_named(self, instance: dg.DagsterInstance) -> None:
        assert health(instance, started(instance, None, LAUNCHED)) == WorkerStatus.RUNNING

    def test_leaves_a_run_of_a_command_line_to_the_next_one(self, instance: dg.DagsterInstance) -> None:
        gone = subprocess.Popen([sys.executable, "-c", ""])
        gone.wait()
        assert health(instance, started(instance, gone.pid, {})) == WorkerStatus.RUNNING
