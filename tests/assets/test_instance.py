"""Runs of a command line whose process died."""

import os
import subprocess
import sys
from pathlib import Path

import dagster as dg
import pytest
from dagster import DagsterRunStatus

from assets.instance import PROCESS_TAG, close_dead_runs, living_process
from assets.processes import processes_of
from pipelines.tables.home import Home
from pipelines.tables.locks import lock_descriptor
from tests.support.paths import ROOT

A_MINUTE_AGO = 60


@pytest.fixture
def instance(tmp_path: Path) -> dg.DagsterInstance:
    (tmp_path / "dagster").mkdir()
    return dg.DagsterInstance.local_temp(str(tmp_path / "dagster"))


@dg.job
def nothing() -> None:
    """A job of no step."""


def started(instance: dg.DagsterInstance, process: str) -> str:
    """Id of a run that a process has begun."""
    run = instance.create_run_for_job(nothing, status=DagsterRunStatus.STARTED, tags={PROCESS_TAG: process})
    return run.run_id


def lock_file(folder: Path, name: str, age_s: float = 0) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.touch()
    os.utime(path, (path.stat().st_mtime - age_s,) * 2)
    return path


class TestCloseDeadRuns:
    def test_closes_the_runs_of_a_process_that_is_gone(self, instance: dg.DagsterInstance, tmp_path: Path) -> None:
        path = lock_file(tmp_path / "processes", "gone")
        run_id = started(instance, "gone")
        assert close_dead_runs(instance, path.parent) == 1
        run = instance.get_run_by_id(run_id)
        assert run is not None
        assert (run.status, path.exists()) == (DagsterRunStatus.FAILURE, False)

    def test_leaves_the_runs_of_a_living_process(self, instance: dg.DagsterInstance, tmp_path: Path) -> None:
        path = lock_file(tmp_path / "processes", "alive")
        started(instance, "alive")
        with path.open() as handle:
            lock_descriptor(handle.fileno())
            assert close_dead_runs(instance, path.parent) == 0

    @pytest.mark.parametrize("age_s", [0, A_MINUTE_AGO])
    def test_gives_a_process_time_to_lock_its_file(
        self, instance: dg.DagsterInstance, tmp_path: Path, age_s: float
    ) -> None:
        path = lock_file(tmp_path / "processes", "begun.new", age_s)
        assert close_dead_runs(instance, path.parent) == 0
        assert path.exists() == (age_s == 0)

    def test_leaves_the_runs_of_another_home(self, instance: dg.DagsterInstance, tmp_path: Path) -> None:
        path = lock_file(tmp_path / "processes", "gone")
        started(instance, "elsewhere")
        assert close_dead_runs(instance, path.parent) == 0


class TestARunOfTheDaemon:
    def test_is_closed_when_its_process_was_killed(self, instance: dg.DagsterInstance, tmp_path: Path) -> None:
        run = instance.create_run_for_job(nothing, status=DagsterRunStatus.STARTED)
        code = (
            "import sys; from pathlib import Path; import dagster as dg; from assets.instance import name_process; "
            "from pipelines.tables.home import Home; "
            "instance = dg.DagsterInstance.local_temp(sys.argv[1]); run = instance.get_run_by_id(sys.argv[2]); "
            "name_process(instance, run, Home(Path(sys.argv[3]))); print(flush=True); input()"
        )
        command = [sys.executable, "-W", "ignore", "-c", code, str(tmp_path / "dagster"), run.run_id, str(tmp_path)]
        pipe = subprocess.PIPE
        with subprocess.Popen(command, cwd=ROOT, stdin=pipe, stdout=pipe, text=True) as process:
            assert process.stdout is not None
            process.stdout.readline()
            while_it_lives = close_dead_runs(instance, processes_of(Home(tmp_path)))
            process.kill()
        assert (while_it_lives, close_dead_runs(instance, processes_of(Home(tmp_path)))) == (0, 1)


class TestALivingProcess:
    def test_is_seen_by_others_and_leaves_nothing_behind(self, instance: dg.DagsterInstance, tmp_path: Path) -> None:
        with living_process(instance, Home(tmp_path)) as tags:
            started(instance, tags[PROCESS_TAG])
            assert close_dead_runs(instance, tmp_path / "dagster" / "processes") == 0
        assert list((tmp_path / "dagster" / "processes").iterdir()) == []
