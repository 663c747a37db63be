"""Dagster's storage: SQLite by default, PostgreSQL by one variable, and what happens when it goes away."""

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

from assets.instance import (
    POSTGRES_URL,
    DatabaseError,
    StorageError,
    dagster_instance,
    storage_config,
    waiting_for_database,
)
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

    def test_refuses_another_kind_of_database(self) -> None:
        with pytest.raises(StorageError, match=r"PETAR_POSTGRES_URL: expected postgresql://.* unset it"):
            storage_config("mysql://127.0.0.1/petar")

    def test_never_shows_the_password(self) -> None:
        with pytest.raises(StorageError) as caught:
            storage_config("mysql://me:secret@127.0.0.1/petar")
        assert "secret" not in str(caught.value)


class TestSqlite:
    def test_shows_a_run_to_other_processes(self, tmp_path: Path, environment: pytest.MonkeyPatch) -> None:
        with dagster_instance(Home(tmp_path)) as ours, dagster_instance(Home(tmp_path)) as theirs:
            run_id = dg.materialize([trivial], instance=ours).run_id
            assert len(theirs.all_logs(run_id)) == len(ours.all_logs(run_id)) > 5
            assert theirs.get_latest_materialization_event(dg.AssetKey("trivial")) is not None

    def test_of_a_new_home_may_be_opened_by_several_at_once(self, tmp_path: Path) -> None:
        code = (
            "import sys; from pathlib import Path; from assets.instance import dagster_instance; "
            "from pipelines.tables.home import Home; print(flush=True); input(); "
            "dagster_instance(Home(Path(sys.argv[1]))).__enter__()"
        )
        command = [sys.executable, "-W", "ignore", "-c", code, str(tmp_path)]
        pipe = subprocess.PIPE
        both = [subprocess.Popen(command, cwd=ROOT, stdin=pipe, stdout=pipe, stderr=pipe, text=True) for _ in range(2)]
        for process in both:
            assert process.stdout is not None
            process.stdout.readline()  # It has imported all, so that both begin together.
        with ThreadPoolExecutor(2) as pool:
            said = [errors for _, errors in pool.map(lambda process: process.communicate("\n"), both)]
        assert [process.returncode for process in both] == [0, 0], said


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
