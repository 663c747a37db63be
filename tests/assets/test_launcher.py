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


class TestTheMonitoring:
    @pytest.fixture
    def instance(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
        for name in ("DAGSTER_HOME", "PETAR_DAGSTER", "PETAR_POSTGRES_URL"):
            monkeypatch.setenv(name, "")
        with dagster_instance(tmp_path) as instance:
            yield instance

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
