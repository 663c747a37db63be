"""Tasks for worker processes, in a module that these can import."""

import os
import signal
import time
from pathlib import Path

from pipelines.curation.shard_work import ExamAt, Reporter
from pipelines.curation.stages.stopping import stop_is_requested
from pipelines.reports.llm.servers import ServerSettings


class NeedsTwoError(Exception):
    """An error that cannot be made from its message alone."""

    def __init__(self, first: str, second: str) -> None:
        super().__init__(f"{first} {second}")


def double(number: int, reporter: Reporter) -> int:
    """Twice a number."""
    reporter.log.warning("doubled %d", number)
    return 2 * number


def process_of(reporter: Reporter) -> int:
    """Id of the worker, which takes a moment so that others get tasks too."""
    time.sleep(0.2)
    return os.getpid()


def in_flight(concurrency: int, reporter: Reporter) -> int:
    """Questions that this process may have at a server of which so many may be asked at once."""
    return ServerSettings("model", concurrency=concurrency).in_flight


def die(reporter: Reporter) -> None:
    """Dies as a process that is out of memory does."""
    reporter.at(ExamAt("lesions", 7, "E7"))
    os.kill(os.getpid(), signal.SIGKILL)


def die_once(folder: str, reporter: Reporter) -> str:
    """Dies in the first try."""
    path = Path(folder) / "tried"
    if not path.exists():
        path.touch()
        die(reporter)
    return "done"


def fail(reporter: Reporter) -> None:
    """Raises an error that does not survive the way to another process."""
    raise NeedsTwoError("no", "luck")


def wait_for_stop(reporter: Reporter) -> str:
    """Works until a stop is asked for."""
    while not stop_is_requested():
        time.sleep(0.02)
    return "stopped"
