"""Locks between processes, held on files: a lock goes with the process that holds it, however that ends."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, lock_descriptor

__all__ = ["lock", "lock_descriptor"]

_POLL_S = 0.02


@contextlib.contextmanager
def lock(path: Path) -> Iterator[None]:
    """Holds the lock of a file, made with its folder where it is missing; another holder is waited for.

    Raises:
        OSError: the file cannot be made, or its file system knows no locks: what stands in for them there would
            outlive a killed process.
    """
    with FileLock(path, poll_interval=_POLL_S, fallback_to_soft=False):
        yield
