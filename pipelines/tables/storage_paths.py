"""Paths of files: folders of this machine, and URLs of an object store (s3://bucket/prefix) through fsspec.

A file of a store is replaced by one PUT, which its readers see whole or not at all, as they do a rename on a disk.
"""

import contextlib
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from upath import UPath

from pipelines.tables import atomic
from pipelines.tables.errors import first_line
from pipelines.tables.safe_text import error_reason

StoragePath = Path | UPath
"""A path of this machine, or one of an object store with the same methods."""

_URL = re.compile(r"[a-z][a-z0-9+.-]*://")


class StoragePathError(RuntimeError):
    """An object store that cannot be used; the message says which and what to do."""


def storage_path_of(location: str) -> StoragePath:
    """The path at a local path or URL; a relative path counts from the working folder.

    Raises:
        StoragePathError: a URL of a kind that no installed package serves.
    """
    if not is_url(location):
        return Path(location).absolute()
    try:
        # What others wrote since must be seen: fsspec would remember a folder's files for as long as a process lives.
        return UPath(location.rstrip("/"), use_listings_cache=False)
    except (ImportError, ValueError) as error:
        raise StoragePathError(
            f"expected a path or a URL like s3://bucket/prefix, got {location!r} ({error_reason(error)}): fix it, or "
            "install what serves such URLs (pip install petar[s3])"
        ) from error


def is_url(location: str) -> bool:
    """Whether a location is a URL and no path of this machine."""
    return bool(_URL.match(location)) and not location.startswith("file://")


def replace_bytes(path: StoragePath, data: bytes) -> bool:
    """True where a file was written, False where it already held exactly these bytes; see `atomic.write_bytes`.

    Raises:
        OSError: a disk that is full, or a folder that is read-only; the old file is untouched.
        StoragePathError: a store that can not be reached, or refuses.
    """
    if isinstance(path, Path):
        return atomic.write_bytes(path, data)
    with _store_errors(path):
        with contextlib.suppress(FileNotFoundError):
            if path.stat().st_size == len(data) and path.read_bytes() == data:
                return False
        path.write_bytes(data)
        return True


def read_bytes(path: StoragePath) -> bytes:
    """The content of a file, all from one write.

    Raises:
        FileNotFoundError: no such file.
        StoragePathError: a store that can not be reached, or refuses.
    """
    if isinstance(path, Path):
        return path.read_bytes()
    with _store_errors(path):
        return bytes(path.read_bytes())


def exists(path: StoragePath) -> bool:
    """Whether there is a file."""
    if isinstance(path, Path):
        return path.exists()
    with _store_errors(path):
        return bool(path.exists())


def remove(path: StoragePath) -> None:
    """Removes a file where there is one."""
    if isinstance(path, Path):
        path.unlink(missing_ok=True)
        return
    with _store_errors(path), contextlib.suppress(FileNotFoundError):
        path.unlink()


def signature(path: StoragePath) -> tuple[object, ...] | None:
    """What changes when a file is replaced (time, size and number, or the store's tag); None where there is none."""
    if isinstance(path, Path):
        try:
            status = os.stat(path)
        except FileNotFoundError:
            return None
        return status.st_mtime_ns, status.st_size, status.st_ino
    with _store_errors(path):
        try:
            return _signature(path.fs.info(path.path))
        except FileNotFoundError:
            return None


def _signature(info: Mapping[str, Any]) -> tuple[object, ...] | None:
    tag = info.get("ETag") or info.get("etag") or info.get("created")
    return None if tag is None else (str(tag), info["size"])


def upload(source: Path, path: StoragePath) -> None:
    """Replaces a file by one of this machine."""
    if isinstance(path, Path):
        with atomic.replacing(path) as temp:
            shutil.copyfile(source, temp)
        return
    with _store_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.fs.put_file(str(source), path.path)


def download(path: StoragePath, target: Path) -> None:
    """Replaces a file of this machine by another one, whole or not at all.

    Raises:
        FileNotFoundError: there is none.
    """
    with atomic.replacing(target) as temp:
        if isinstance(path, Path):
            shutil.copyfile(path, temp)
            return
        with _store_errors(path):
            path.fs.get_file(path.path, str(temp))


def signatures_below(folder: StoragePath) -> dict[str, tuple[object, ...] | None]:
    """Signature of every file below a folder, by its path from there; hidden files are left out."""
    if isinstance(folder, Path):
        files = [path for path in folder.rglob("*") if path.is_file()] if folder.is_dir() else []
        found = {path.relative_to(folder).as_posix(): signature(path) for path in files}
    else:
        with _store_errors(folder):
            try:
                infos = folder.fs.find(folder.path, detail=True)
            except FileNotFoundError:
                infos = {}
        start = folder.path.strip("/") + "/"
        found = {name.strip("/").removeprefix(start): _signature(info) for name, info in infos.items()}
    return {name: tag for name, tag in found.items() if not name.rsplit("/", 1)[-1].startswith(".")}


def folders_in(folder: StoragePath) -> set[str]:
    """Names of the folders directly in a folder."""
    if isinstance(folder, Path):
        return {path.name for path in folder.iterdir() if path.is_dir()} if folder.is_dir() else set()
    with _store_errors(folder):
        try:
            found = folder.fs.ls(folder.path, detail=True)
        except FileNotFoundError:
            return set()
    return {entry["name"].rstrip("/").rsplit("/", 1)[-1] for entry in found if entry["type"] == "directory"}


def remove_folder(folder: StoragePath) -> None:
    """Removes a folder with all that lies in it, where there is one."""
    if isinstance(folder, Path):
        shutil.rmtree(folder, ignore_errors=True)
        return
    with _store_errors(folder), contextlib.suppress(FileNotFoundError):
        folder.fs.rm(folder.path, recursive=True)


def parquet_files(folder: StoragePath) -> list[StoragePath]:
    """Parquet files directly in a folder, by name; hidden ones are of writers that are not done."""
    if isinstance(folder, Path):
        return sorted(p for p in folder.glob("*.parquet") if not p.name.startswith("."))
    with _store_errors(folder):
        try:
            found = [entry["name"] for entry in folder.fs.ls(folder.path, detail=True) if entry["type"] == "file"]
        except FileNotFoundError:
            return []
    names = sorted(name.rsplit("/", 1)[-1] for name in found)
    return [folder / name for name in names if name.endswith(".parquet") and not name.startswith(".")]


@contextlib.contextmanager
def _store_errors(path: UPath) -> Iterator[None]:
    """Every failure of a store as one kind of error that says what to do; a missing file stays what it is."""
    try:
        yield
    except FileNotFoundError as error:
        if "bucket" in str(error).lower():
            raise StoragePathError(f"{path}: {first_line(error)}: make the bucket, or fix the URL") from error
        raise
    except ImportError as error:
        raise StoragePathError(f"{path}: {first_line(error)}: pip install petar[s3]") from error
    except Exception as error:
        raise StoragePathError(
            f"{path}: expected an object store that can be read and written, got {type(error).__name__}: "
            f"{first_line(error)}: see the credentials and the endpoint (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, "
            "AWS_ENDPOINT_URL)"
        ) from error
