"""Atomic replacement of files: written to a temporary file, flushed to disk, renamed."""

import contextlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

from pipelines.tables.locks import lock_descriptor

_TEMP_SUFFIX = ".partial"


def write_bytes(path: Path, data: bytes) -> bool:
    """True if the file was written, False if it already held exactly these bytes; its folder is made where it is
    missing.

    A crash at any moment leaves the old file or the new one. An OSError (disk full, read-only) names the file and
    leaves the old one.
    """
    if _holds(path, data):
        return False
    with replacing(path) as temp:
        temp.write_bytes(data)
    return True


def _holds(path: Path, data: bytes) -> bool:
    try:
        return path.stat().st_size == len(data) and path.read_bytes() == data
    except FileNotFoundError:
        return False


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A hidden temporary path beside `path` to write to; on leaving it is flushed and takes the place of `path`.

    On an error the temporary file is deleted and `path` stays as it was. Temporary files of writers that died are
    deleted too. The write lock on the temporary file is what tells a living writer from a dead one, whatever process
    ids have been reused.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    clean_partials(path.parent)
    temp, lock = _locked_temp(path)
    try:
        yield temp
        flush(temp)
        os.replace(temp, path)
        flush(path.parent)
    except BaseException as error:
        temp.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.filename in (None, str(temp)):
            error.filename = str(path)
        raise
    finally:
        os.close(lock)


def _locked_temp(path: Path) -> tuple[Path, int]:
    while True:
        temp = path.parent / f".{path.name}.{secrets.token_hex(6)}{_TEMP_SUFFIX}"
        lock = os.open(temp, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o644)
        lock_descriptor(lock)
        # Between creation and lock another writer may have taken the file for a dead one's and deleted it.
        if temp.exists():
            return temp, lock
        os.close(lock)


def clean_partials(folder: Path) -> int:
    """How many temporary files of dead writers were deleted from a folder; those of living writers stay."""
    deleted = 0
    for temp in folder.glob(f".*{_TEMP_SUFFIX}"):
        try:
            handle = os.open(temp, os.O_RDWR)
        except OSError:
            continue
        try:
            if lock_descriptor(handle, blocking=False):
                temp.unlink(missing_ok=True)
                deleted += 1
        except OSError:
            continue
        finally:
            os.close(handle)
    return deleted


def flush(path: Path) -> None:
    """Flushes a file, or the names in a folder, to disk before it returns."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
