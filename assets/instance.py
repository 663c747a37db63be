"""Dagster's instance: where it stores, opened with a clear error, and runs of processes that died closed.

A run belongs to the process that executes it. Killed, it would stay "started" for ever and hold a place of the queue.
So each process holds a lock while it lives and names it in its runs' tags; whoever comes next, a command or a sensor,
closes the runs whose lock is free.
"""

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

import dagster as dg
from dagster import DagsterRunStatus, RunsFilter
from sqlalchemy.exc import DBAPIError

from assets.processes import INSTANCE_NAME, dead_in, held, processes_of
from pipelines.tables import atomic
from pipelines.tables.home import Home
from pipelines.tables.locks import lock

T = TypeVar("T")

POSTGRES_URL = "PETAR_POSTGRES_URL"
"""The variable that names a PostgreSQL database, as postgresql://user:password@host:5432/database."""

PROCESS_TAG = "petar/process"
"""Tag of a run with the name of the process that executes it."""

_CONFIG = Path(__file__).with_name("dagster.yaml")

_UNFINISHED = [DagsterRunStatus.NOT_STARTED, DagsterRunStatus.STARTING, DagsterRunStatus.STARTED]
_GONE_MESSAGE = "The process that executed this run is gone; what it finished is kept, the next run goes on from there."


class StorageError(ValueError):
    """PETAR_POSTGRES_URL cannot be used; the message says what was expected and what to do."""


class DatabaseError(RuntimeError):
    """Dagster's database can not be reached; the message says which and what to do."""


def storage_config(url: str) -> str:
    """The part of dagster.yaml that says where runs and events are stored: in PostgreSQL at a URL, in SQLite below
    PETAR_DAGSTER where the URL is empty.

    Raises:
        StorageError: no PostgreSQL URL, or dagster-postgres is not installed.
    """
    if not url:
        return _stored_in("sqlite", "base_dir", "PETAR_DAGSTER")
    if not url.startswith(("postgresql://", "postgresql+psycopg2://")):
        raise StorageError(
            f"{POSTGRES_URL}: expected postgresql://user:password@host:5432/database, got {url.split('@')[-1]!r}: "
            "fix the variable, or unset it to store in SQLite"
        )
    if find_spec("dagster_postgres") is None:
        raise StorageError(f"{POSTGRES_URL} is set, but dagster-postgres is missing: pip install petar[postgres]")
    return _stored_in("postgres", "postgres_url", POSTGRES_URL)


def _stored_in(kind: str, setting: str, variable: str) -> str:
    return f"\nstorage:\n  {kind}:\n    {setting}:\n      env: {variable}\n"


def instance_variables(home: Home) -> dict[str, str]:
    """The variables that have Dagster keep its instance in `home`/dagster, where dagster.yaml is written to.

    Raises:
        StorageError: PETAR_POSTGRES_URL cannot be used.
    """
    folder = home.root.absolute() / INSTANCE_NAME
    folder.mkdir(parents=True, exist_ok=True)
    config = _CONFIG.read_text() + storage_config(os.environ.get(POSTGRES_URL, ""))
    atomic.write_bytes(folder / _CONFIG.name, config.encode())
    return {"DAGSTER_HOME": str(folder), "PETAR_DAGSTER": str(folder)}


@contextlib.contextmanager
def dagster_instance(home: Home) -> Iterator[dg.DagsterInstance]:
    """Dagster's instance with the project's dagster.yaml, storing below `home` or in PostgreSQL.

    Raises:
        DatabaseError: PostgreSQL did not answer for some seconds.
    """
    os.environ.update(instance_variables(home))
    with contextlib.ExitStack() as stack:
        try:
            with _one_at_a_time(home):
                instance = stack.enter_context(dg.DagsterInstance.get())
        except Exception as error:
            if not is_database_error(error):
                raise
            raise DatabaseError(_unreachable(error)) from error
        yield instance


@contextlib.contextmanager
def _one_at_a_time(home: Home) -> Iterator[None]:
    """Whoever else opens the storage waits: two that made the tables of a new home at once would hinder each other."""
    with contextlib.ExitStack() as stack:
        # A disk that is full or read-only; the storage itself says so if it matters.
        with contextlib.suppress(OSError):
            stack.enter_context(lock(home.root / INSTANCE_NAME / "opening.lock"))
        yield


@contextlib.contextmanager
def living_process(instance: dg.DagsterInstance, home: Home) -> Iterator[dict[str, str]]:
    """Tags for the runs of this process, held alive until it ends; runs of processes that died are closed first."""
    close_dead_runs(instance, processes_of(home))
    with contextlib.ExitStack() as stack:
        yield {PROCESS_TAG: stack.enter_context(held(home))}


_OF_LIFE = contextlib.ExitStack()
_NAMES: dict[tuple[int, Path], str] = {}


def name_process(instance: dg.DagsterInstance, run: dg.DagsterRun, home: Home) -> None:
    """Gives a run of the daemon the tag of the process that executes it, which is held alive until it ends."""
    if PROCESS_TAG in run.tags:
        return
    key = (os.getpid(), home.root.absolute())
    if key not in _NAMES:
        _NAMES[key] = _OF_LIFE.enter_context(held(home))
    instance.add_run_tags(run.run_id, {PROCESS_TAG: _NAMES[key]})


def close_dead_runs(instance: dg.DagsterInstance, folder: Path) -> int:
    """How many runs were marked as failed because the process that executed them is gone.

    A process whose lock file is not in `folder` works for another home; its runs are left alone.
    """
    dead = dead_in(folder)
    if not dead:
        return 0
    names = {path.name for path in dead}
    runs = [run for run in instance.get_runs(RunsFilter(statuses=_UNFINISHED)) if run.tags.get(PROCESS_TAG) in names]
    for run in runs:
        instance.report_run_failed(run, _GONE_MESSAGE)
    # Last, so that a process killed here finds the same dead ones again.
    for path in dead:
        path.unlink(missing_ok=True)
    return len(runs)


def is_database_error(error: BaseException | None) -> bool:
    """Whether an error, or one that it came from, says that the database could not be reached."""
    while error is not None:
        if isinstance(error, DBAPIError) or type(error).__name__ == "DagsterPostgresException":
            return True
        error = error.__cause__ or error.__context__
    return False


def waiting_for_database(call: Callable[[], T], say: Callable[[str], None], patience_s: float = 300) -> T:
    """What `call` returns, called again for as long as Dagster's database is away; it must bear being called twice.

    Raises:
        DatabaseError: the database did not come back in time.
    """
    deadline, wait_s = time.monotonic() + patience_s, 1.0
    while True:
        try:
            return call()
        except Exception as error:
            if not is_database_error(error):
                raise
            if time.monotonic() > deadline:
                raise DatabaseError(_unreachable(error)) from error
            say(f"{_unreachable(error)}; trying again for {deadline - time.monotonic():.0f} s")
        time.sleep(wait_s)
        wait_s = min(wait_s * 2, 30)


def _unreachable(error: BaseException) -> str:
    reason = str(error.__cause__ or error).strip().splitlines()[0]
    url = os.environ.get(POSTGRES_URL)
    if not url:
        return (
            f"expected Dagster's database below PETAR_DAGSTER, got: {reason}: see whether its disk is full or read-only"
        )
    place = urlsplit(url)
    return (
        f"expected PostgreSQL at {place.hostname}:{place.port or 5432}{place.path} ({POSTGRES_URL}), got: {reason}: "
        "start the server, or fix the variable"
    )
