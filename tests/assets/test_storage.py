"""Dagster's storage: SQLite by default, PostgreSQL by one variable, and what happens when it goes away."""

import contextlib
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from assets.instance import DatabaseError, dagster_instance, waiting_for_database
from assets.storage import POSTGRES_URL, StorageError, choose_storage
from pipelines.tables.home import Home
from tests.support.paths import ROOT


@dg.asset
def trivial() -> None:
    """An asset that does nothing."""


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """The environment as it was, whatever opening an instance sets."""
    for name in ("DAGSTER_HOME", "PETAR_DAGSTER", POSTGRES_URL):
        monkeypatch.setenv(name, "")
    return monkeypatch


@pytest.fixture
def cohort(tmp_path: Path) -> Path:
    """A cohort of one report without images."""
    folder = tmp_path / "cohort"
    folder.mkdir()
    (folder / "reports.csv").write_text("exam_id,patient_id,findings\nE1,P1,No focus.\n")
    return folder


class TestTheStorage:
    def test_is_sqlite_where_nothing_is_said(self, tmp_path: Path, environment: pytest.MonkeyPatch) -> None:
        with dagster_instance(Home(tmp_path)) as instance:
            assert dg.materialize([trivial], instance=instance).success
        assert (tmp_path / "dagster" / "history" / "runs.db").exists()

    def test_refuses_another_kind_of_database(self, tmp_path: Path) -> None:
        with pytest.raises(StorageError, match=r"PETAR_POSTGRES_URL: expected postgresql://.* unset it"):
            choose_storage("mysql://127.0.0.1/petar", str(tmp_path))

    def test_never_shows_the_password(self, tmp_path: Path) -> None:
        with pytest.raises(StorageError) as caught:
            choose_storage("mysql://me:secret@127.0.0.1/petar", str(tmp_path))
        assert "secret" not in str(caught.value)


class TestSqlite:
    def test_gives_a_run_the_tables_that_dagster_makes(self, tmp_path: Path, environment: pytest.MonkeyPatch) -> None:
        with dagster_instance(Home(tmp_path / "own")) as instance:
            own = dg.materialize([trivial], instance=instance).run_id
        (tmp_path / "dagsters").mkdir()
        without_telemetry = {"telemetry": {"enabled": False}}
        with dg.DagsterInstance.local_temp(str(tmp_path / "dagsters"), without_telemetry) as instance:
            other = dg.materialize([trivial], instance=instance).run_id
        assert _tables(_file_of(tmp_path / "own", own)) == _tables(_file_of(tmp_path / "dagsters", other))

    def test_shows_a_run_to_other_processes(self, tmp_path: Path, environment: pytest.MonkeyPatch) -> None:
        with dagster_instance(Home(tmp_path)) as ours, dagster_instance(Home(tmp_path)) as theirs:
            run_id = dg.materialize([trivial], instance=ours).run_id
            assert len(theirs.all_logs(run_id)) == len(ours.all_logs(run_id)) > 5
            assert theirs.get_latest_materialization_event(dg.AssetKey("trivial")) is not None

    def test_serves_more_runs_than_it_keeps_open(self, tmp_path: Path, environment: pytest.MonkeyPatch) -> None:
        with dagster_instance(Home(tmp_path)) as instance:
            runs = [dg.materialize([trivial], instance=instance).run_id for _ in range(12)]
            lengths = {len(instance.all_logs(run_id)) for run_id in runs}
        assert len(lengths) == 1
        assert not list(tmp_path.rglob("*-wal")), "every file was closed"

    def test_of_a_new_home_may_be_opened_by_several_at_once(self, tmp_path: Path) -> None:
        code = (
            "import sys; from assets.storage import choose_storage; print(flush=True); input(); "
            "choose_storage('', sys.argv[1])"
        )
        command = [sys.executable, "-W", "ignore", "-c", code, str(tmp_path / "dagster")]
        pipe = subprocess.PIPE
        both = [subprocess.Popen(command, cwd=ROOT, stdin=pipe, stdout=pipe, stderr=pipe, text=True) for _ in range(2)]
        for process in both:
            assert process.stdout is not None
            process.stdout.readline()  # It has imported all, so that both begin together.
        with ThreadPoolExecutor(2) as pool:
            said = [errors for _, errors in pool.map(lambda process: process.communicate("\n"), both)]
        assert [process.returncode for process in both] == [0, 0], said

    def test_can_be_wiped(self, tmp_path: Path, environment: pytest.MonkeyPatch) -> None:
        with dagster_instance(Home(tmp_path)) as instance:
            first = dg.materialize([trivial], instance=instance).run_id
            instance.wipe()
            second = dg.materialize([trivial], instance=instance).run_id
            assert [run.run_id for run in instance.get_runs()] == [second]
            assert not instance.all_logs(first)
            assert instance.all_logs(second)


def _file_of(home: Path, run_id: str) -> Path:
    return next(home.rglob(f"{run_id}.db"))


def _tables(path: Path) -> tuple[list[Any], list[Any], list[Any]]:
    """What a file of events is made of: its tables and indices, their revision, how it is written."""
    with contextlib.closing(sqlite3.connect(path)) as connection:
        return (
            connection.execute("SELECT type, name, sql FROM sqlite_master ORDER BY name").fetchall(),
            connection.execute("SELECT version_num FROM alembic_version").fetchall(),
            connection.execute("PRAGMA journal_mode").fetchall(),
        )


class TestWaitingForTheDatabase:
    def test_calls_again_until_it_is_back(self, monkeypatch: pytest.MonkeyPatch) -> None:
        from dagster_postgres.utils import DagsterPostgresException

        from assets import instance

        answers: list[Any] = [DagsterPostgresException("gone"), DagsterPostgresException("gone"), 7]
        said: list[str] = []
        monkeypatch.setattr(instance.time, "sleep", lambda seconds: None)

        def call() -> int:
            answer = answers.pop(0)
            if isinstance(answer, Exception):
                raise answer
            return int(answer)

        assert waiting_for_database(call, said.append) == 7
        assert len(said) == 2

    def test_gives_up_with_a_reason(self, monkeypatch: pytest.MonkeyPatch) -> None:
        from dagster_postgres.utils import DagsterPostgresException

        monkeypatch.setenv(POSTGRES_URL, "postgresql://me:secret@db.example:5433/petar")

        def call() -> None:
            raise DagsterPostgresException("gone")

        with pytest.raises(DatabaseError, match=r"expected PostgreSQL at db\.example:5433/petar .*start the server"):
            waiting_for_database(call, print, patience_s=-1)

    def test_lets_every_other_error_through(self) -> None:
        def call() -> None:
            raise ValueError("of another kind")

        with pytest.raises(ValueError, match="of another kind"):
            waiting_for_database(call, print)


@pytest.fixture
def on_postgres(postgres: Any, tmp_path: Path, environment: pytest.MonkeyPatch) -> Iterator[dg.DagsterInstance]:
    """An instance on the server."""
    environment.setenv(POSTGRES_URL, postgres.url)
    with dagster_instance(Home(tmp_path)) as instance:
        yield instance


class TestPostgres:
    def test_holds_the_runs_and_no_file_does(self, on_postgres: dg.DagsterInstance, tmp_path: Path) -> None:
        done = dg.materialize([trivial], instance=on_postgres)
        with dagster_instance(Home(tmp_path / "another")) as other:
            assert [run.run_id for run in other.get_runs()] == [done.run_id]
        assert not list(tmp_path.rglob("*.db"))

    def test_that_goes_away_in_a_run_is_waited_for(self, on_postgres: dg.DagsterInstance, postgres: Any) -> None:
        bodies: list[str] = []

        @dg.asset
        def interrupted(context: dg.AssetExecutionContext) -> None:
            bodies.append(context.run.run_id)
            if len(bodies) == 1:
                postgres.stop()
                threading.Timer(1, postgres.start).start()

        said: list[str] = []
        result = waiting_for_database(lambda: dg.materialize([interrupted], instance=on_postgres), said.append)
        assert result.success
        assert on_postgres.get_run_by_id(result.run_id) is not None
        # Dagster itself waits some seconds; where that was enough, one run did it.
        assert len(bodies) == len(said) + 1

    def test_that_is_away_for_long_is_named(
        self, postgres: Any, tmp_path: Path, environment: pytest.MonkeyPatch
    ) -> None:
        environment.setenv(POSTGRES_URL, postgres.url)
        postgres.stop()
        try:
            with (
                pytest.raises(DatabaseError, match=r"expected PostgreSQL at 127\.0\.0\.1"),
                dagster_instance(Home(tmp_path)),
            ):
                pass
        finally:
            postgres.start()

    def test_shows_its_runs_in_the_ui_and_lets_its_daemon_work(
        self, postgres: Any, cohort: Path, open_ui: Callable[..., Any]
    ) -> None:
        home = cohort.parent / "home"
        with open_ui(home, PETAR_COHORT=str(cohort), PETAR_POSTGRES_URL=postgres.url) as ask:
            launched = ask(LAUNCH)["launchRun"]
            assert launched["__typename"] == "LaunchRunSuccess", launched
            run_id = launched["run"]["runId"]
            deadline = time.monotonic() + 120
            while (status := ask(STATUS % run_id)["runOrError"]["status"]) not in ("SUCCESS", "FAILURE"):
                assert time.monotonic() < deadline, status
                time.sleep(0.5)
        assert status == "SUCCESS"
        assert (home / "manifest" / "00.json").exists()
        assert not list(home.rglob("*.db"))


LAUNCH = """mutation { launchRun(executionParams: {selector: {repositoryLocationName: "petar", repositoryName:
"__repository__", pipelineName: "observe"}, runConfigData: {}, mode: "default"}) { __typename ... on LaunchRunSuccess {
run { runId } } ... on PythonError { message } ... on PipelineNotFoundError { message } } }"""
STATUS = """{ runOrError(runId: "%s") { ... on Run { status } } }"""
