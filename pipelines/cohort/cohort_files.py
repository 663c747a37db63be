"""The files of a cohort folder, and what is cheap to see of them: names, sizes, times."""

import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from pipelines.tables.hashing import hash_of


class CohortFile(NamedTuple):
    """A file of a folder: its name from there, and what is cheap to see of it."""

    name: str
    path: Path
    size: int
    mtime_ns: int


def files_below(folder: Path) -> list[CohortFile]:
    """All files below a folder, by name. Folders that are links are followed once; what is no file (a pipe, a link to
    itself) or may not be read is left out.
    """
    found: list[CohortFile] = []
    # One look a file: `Path.rglob` asks four times, and a cohort may hold millions of slices.
    places = [(str(folder), "")]
    linked: set[tuple[int, int]] = set()
    while places:
        place, prefix = places.pop()
        with suppress(OSError), os.scandir(place) as entries:
            for entry in entries:
                name = prefix + entry.name
                with suppress(OSError):
                    if entry.is_symlink() and entry.is_dir():
                        status = entry.stat()
                        # A link to a folder above would lead round and round.
                        if (status.st_dev, status.st_ino) not in linked and not _is_above(entry.path, place):
                            linked.add((status.st_dev, status.st_ino))
                            places.append((entry.path, f"{name}{os.sep}"))
                    elif entry.is_dir(follow_symlinks=False):
                        places.append((entry.path, f"{name}{os.sep}"))
                    elif entry.is_file():
                        status = entry.stat()
                        found.append(CohortFile(name, Path(entry.path), status.st_size, status.st_mtime_ns))
    return sorted(found)


def _is_above(link: str, place: str) -> bool:
    """Whether a link leads to the folder that it lies in, or to one above."""
    target, here = os.path.realpath(link), os.path.realpath(place)
    return os.path.commonpath([target, here]) == target


def state_of(files: Iterable[CohortFile]) -> str:
    return hash_of([(file.name, file.size, file.mtime_ns) for file in files])
