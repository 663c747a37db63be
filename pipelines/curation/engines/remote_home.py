"""Homes for machines that share no disk with the home: tables and files lie in stores that all reach, and what else the
work on a shard reads (the manifest, the readers' weights) is sent to them.

Who sends a shard holds its lock until it is back.
"""

import tempfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from pipelines.curation.gate import outcomes_path
from pipelines.curation.source import CurationSource
from pipelines.reports.reader_weights import WEIGHTS_FILE
from pipelines.tables import atomic
from pipelines.tables.hashing import hash_of
from pipelines.tables.home import Home


class RemoteHomeError(RuntimeError):
    """A home whose shards cannot be sent to machines that do not see it; the message says what to do."""


def has_stores(home: Home) -> bool:
    """Whether a home's tables and files lie in stores, so that who works on its shards need not see it."""
    return home.files is not None and not isinstance(home.lake, Path)


def packed(source: CurationSource) -> dict[str, bytes]:
    """What every shard's work reads of a home beside its stores, by path below it.

    Raises:
        RemoteHomeError: ids are hashed or reports masked, whose links and secret stay on this machine.
    """
    privacy = source.settings().privacy
    if privacy.hash_ids or privacy.mask_reports:
        raise RemoteHomeError(
            "expected ids and reports as the cohort has them, got [privacy] hash_ids or mask_reports, whose links and "
            "secret do not leave this machine: put the home on a disk that all nodes see and leave PETAR_FILES out"
        )
    home = source.paths
    found = [path for folder in (home.manifest, home.servers) for path in folder.rglob("*.json") if path.is_file()]
    found += [path for name in ("lake.url", "files.url", WEIGHTS_FILE) if (path := home.root / name).is_file()]
    return {path.relative_to(home.root).as_posix(): path.read_bytes() for path in found}


def unpacked(source: CurationSource, files: Mapping[str, bytes]) -> CurationSource:
    """The same curation in a home of this machine's own, which is made where it is missing. Its volumes and masks are a
    cache, and stay for the next shard.
    """
    root = Path(tempfile.gettempdir()) / f"petar-home-{hash_of(source.home, source.lake, source.files)[:16]}"
    for name, data in files.items():
        atomic.write_bytes(root / name, data)
    return replace(source, home=str(root))


def read_outcomes_file(home: Home, shard: int) -> bytes | None:
    """What was noted of a shard since the last publication, as it lies in its file."""
    with suppress(FileNotFoundError):
        return outcomes_path(home, shard).read_bytes()
    return None


def write_outcomes_file(home: Home, shard: int, data: bytes | None) -> None:
    """Puts what was noted of a shard in the place of what is there; null: nothing was."""
    if data is None:
        outcomes_path(home, shard).unlink(missing_ok=True)
    else:
        atomic.write_bytes(outcomes_path(home, shard), data)
