"""Processes that execute runs: each holds a lock while it lives, whose name stands in its runs' tags."""

import contextlib
import os
import secrets
import time
from collections.abc import Iterator
from pathlib import Path

from pipelines.tables.home import Home
from pipelines.tables.locks import lock_descriptor

INSTANCE_NAME = "dagster"
"""Folder of Dagster's instance in a home."""
ALONE = "petar/alone"
"""Tag of the runs of which there is one at a time; the queue (dagster.yaml) holds the others back."""

_UNLOCKED = ".new"


def processes_of(home: Home) -> Path:
    """Folder of the locks that living processes hold."""
    folder = home.root / INSTANCE_NAME / "processes"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@contextlib.contextmanager
def held(home: Home) -> Iterator[str]:
    """Name of a lock that is held until the context, or the process, ends."""
    path = processes_of(home) / secrets.token_hex(8)
    unlocked = path.with_suffix(_UNLOCKED)
    with unlocked.open("w") as handle:
        lock_descriptor(handle.fileno())
        # Named once it is locked: whoever finds the name with its lock free knows at once that the process is gone.
        unlocked.rename(path)
        try:
            yield path.name
        finally:
            path.unlink(missing_ok=True)


def dead_in(folder: Path) -> list[Path]:
    """Files of processes that are gone."""
    return [path for path in folder.iterdir() if _is_free(path)]


def dead_processes(home: Home) -> list[Path]:
    """Files of the home's processes that are gone, whose runs nobody has closed yet."""
    folder = home.root / INSTANCE_NAME / "processes"
    return dead_in(folder) if folder.is_dir() else []


def _is_free(path: Path) -> bool:
    """Whether nobody holds the lock of a process; one that is about to take it has some seconds for that."""
    try:
        with path.open() as handle:
            # Of a file from the future the clock was set back; its age says nothing then.
            free = lock_descriptor(handle.fileno(), blocking=False)
            return free and (path.suffix != _UNLOCKED or abs(time.time() - os.fstat(handle.fileno()).st_mtime) > 10)
    except OSError:
        return False
