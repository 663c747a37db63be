"""Dagster's instance for a command line: opened with a clear error, and runs of processes that died closed.

A run that a command line executes belongs to its process. Killed, it would stay "started" for ever and hold a place
of the queue. So each process holds a lock while it lives and names it in its runs' tags; whoever comes next closes
the runs whose lock is free.
"""

import contextlib
import os
import secrets
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

import dagster as dg
from dagster import DagsterRunStatus, RunsFilter
from sqlalchemy.exc import DBAPIError

from assets.storage import POSTGRES_URL
from pipelines.tables import atomic
from pipelines.tables.home import Home
from pipelines.tables.locks import lock_descriptor

T = TypeVar("T")

PROCESS_TAG = "petar/process"
"""Tag of a run with the name of the process that executes it."""

INSTANCE_NAME = "dagster"
_CONFIG = Path(__file__).with_name("dagster.yaml")

_UNFINISHED = [DagsterRunStatus.NOT_STARTED, DagsterRunStatus.STARTING, DagsterRunStatus.STARTED]
_UNLOCKED = ".new"
_GONE_MESSAGE = "The process that executed this run is gone; what it finished is kept, the next run goes on from there."


class DatabaseError(RuntimeError):
    """Dagster's database can not be reached; the message says which and what to do."""


def instance_variables(home: Home) -> dict[str, str]:
    """The variables that have Dagster keep its instance in `home`/dagster, where dagster.yaml is copied to."""
    folder = home.root.absolute() / INSTANCE_NAME
    folder.mkdir(parents=True, exist_ok=True)
    config, copy = _CONFIG.read_bytes(), folder / _CONFIG.name
    if not copy.is_file() or copy.read_bytes() != config:
        atomic.write_bytes(copy, config)
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
            instance = stack.enter_context(dg.DagsterInstance.get())
        except Exception as error:
            if not is_database_error(error):
                raise
            raise DatabaseError(_unreachable(error)) from error
        yield instance


@contextlib.contextmanager
def living_process(instance: dg.DagsterInstance, home: Home) -> Iterator[dict[str, str]]:
    """Tags for the runs of this process, held alive until it ends; runs of processes that died are closed first."""
    folder = home.root / INSTANCE_NAME / "processes"
    folder.mkdir(parents=True, exist_ok=True)
    close_dead_runs(instance, folder)
    path = folder / secrets.token_hex(8)
    unlocked = path.with_suffix(_UNLOCKED)
    with unlocked.open("w") as handle:
        lock_descriptor(handle.fileno())
        # Named once it is locked: whoever finds the name with its lock free knows at once that the process is gone.
        unlocked.rename(path)
        try:
            yield {PROCESS_TAG: path.name}
        finally:
            path.unlink(missing_ok=True)


def close_dead_runs(instance: dg.DagsterInstance, folder: Path) -> int:
    """How many runs were marked as failed because the process that executed them is gone.

    A process whose lock file is not in `folder` works for another home; its runs are left alone.
    """
    dead = [path for path in folder.iterdir() if _is_free(path)]
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


def _is_free(path: Path) -> bool:
    """Whether nobody holds the lock of a process; one that is about to take it has some seconds for that."""
    try:
        with path.open() as handle:
            # Of a file from the future the clock was set back; its age says nothing then.
            free = lock_descriptor(handle.fileno(), blocking=False)
            return free and (path.suffix != _UNLOCKED or abs(time.time() - os.fstat(handle.fileno()).st_mtime) > 10)
    except OSError:
        return False


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
