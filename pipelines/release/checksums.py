"""Checksums of a release, as `sha256sum -c` reads them, and what differs from them."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

from pipelines.catalog.versions import file_sha256
from pipelines.release.gate import ReleaseError
from pipelines.tables import atomic

CHECKSUMS_NAME = "SHA256SUMS"


def write_checksums(folder: Path) -> Path:
    """The file of checksums of all other files below a release; its last line is the checksum of the lines above."""
    lines = "".join(f"{file_sha256(path)}  {path.relative_to(folder).as_posix()}\n" for path in _files(folder))
    path = folder / CHECKSUMS_NAME
    atomic.write_bytes(path, f"{lines}# {_digest(lines)}\n".encode())
    return path


def verify(folder: Path) -> list[str]:
    """What of a release is not as its checksums say, a sentence a file; empty where all is.

    Raises:
        ReleaseError: the folder is no release.
    """
    path = folder / CHECKSUMS_NAME
    if not path.is_file():
        raise ReleaseError(f"expected a release with {CHECKSUMS_NAME} in {folder}, got none: correct the path")
    text = path.read_bytes().decode("utf-8", "replace")
    lines, _, last = text.rpartition("# ")
    if last.strip() != _digest(lines) or not lines:
        return [f"{CHECKSUMS_NAME}: was changed, so nothing can be verified by it: fetch the release again"]
    wanted = {name: digest for digest, name in (line.split("  ", 1) for line in lines.splitlines())}
    there = {file.relative_to(folder).as_posix(): file for file in _files(folder)}
    found = [f"{name}: is missing" for name in sorted(wanted.keys() - there.keys())]
    found += [f"{name}: is no file of the release" for name in sorted(there.keys() - wanted.keys())]
    for name in sorted(wanted.keys() & there.keys()):
        if file_sha256(there[name]) != wanted[name]:
            found.append(f"{name}: was changed")
    return found


def _digest(lines: str) -> str:
    return hashlib.sha256(lines.encode("utf-8", "surrogateescape")).hexdigest()


def _files(folder: Path) -> Iterator[Path]:
    return (path for path in sorted(folder.rglob("*")) if path.is_file() and path != folder / CHECKSUMS_NAME)
