"""The files of a cohort folder, and what is cheap to see of them: names, sizes, times."""

import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from hashlib import blake2b
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


CHANGE_LIST = "changed.csv"
"""File of a cohort that names the exams whose folders came or changed, one a line (a first line `exam_id` is a head).
Who writes the exams keeps it."""

_EXAMS = "exams"


def state_of_cohort(folder: Path, home: Path | None = None) -> str:
    """Hash of the names, sizes and times of all files of a cohort, and of those that lie in it directly also of what
    tells a file that was put in the place of another one.

    Where there is a change list, of the exams' folders those that it names are looked at and no other: a folder that
    it does not name counts as unchanged here, and is looked at by the next curation that runs for another reason.

    Args:
        home: a folder of the cohort that is no part of it.

    Raises:
        OSError: the folder cannot be read.
    """
    digest = blake2b(digest_size=16)
    left_out = home.resolve() if home is not None else None
    for entry in _entries(folder):
        path = Path(entry.path)
        if path.resolve() == left_out:
            continue
        if not entry.is_dir():
            status = entry.stat()
            found = (entry.name, status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)
            digest.update(hash_of(found).encode())
        elif entry.name == _EXAMS:
            for exam in _looked_at(folder):
                digest.update(hash_of(exam.name, state_of(files_below(exam))).encode())
        else:
            digest.update(hash_of(entry.name, state_of(files_below(path))).encode())
    return digest.hexdigest()


def _looked_at(cohort: Path) -> Iterator[Path]:
    """Folders of exams that are looked at, by name."""
    path = cohort / CHANGE_LIST
    if not path.is_file():
        yield from (Path(entry.path) for entry in _entries(cohort / _EXAMS))
        return
    text = path.read_text(encoding="utf-8-sig", errors="surrogateescape")
    names = {line.split(",")[0].strip().strip('"') for line in text.splitlines()}
    # A name that leads elsewhere is no exam's.
    yield from (cohort / _EXAMS / name for name in sorted(names) if _may_be_folder(name))


def _may_be_folder(name: str) -> bool:
    return bool(name.strip(".")) and os.sep not in name and "\0" not in name


def _entries(folder: Path) -> Iterator["os.DirEntry[str]"]:
    with os.scandir(folder) as entries:
        yield from sorted(entries, key=lambda entry: entry.name)
