"""Files of an exam's folder: which there are, how a message names one, and what is no file that can be read."""

import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pipelines.tables.safe_text import error_reason, file_reference

MOST_FILES = 200_000
"""Files of one exam: a dynamic PET/CT of the whole body has some ten thousand slices."""


@dataclass(frozen=True)
class ExamFiles:
    """The regular files below a folder, by name, and notes on what lies there beside them."""

    folder: Path
    paths: tuple[Path, ...]
    notes: tuple[str, ...]

    def name(self, path: Path) -> str:
        """How a message names a file of the exam: never by a word that could name a person."""
        return file_reference(path, self.folder)

    def names(self, paths: Sequence[Path], most: int = 3) -> str:
        """The first few of some files, and how many more there are."""
        shown = ", ".join(self.name(path) for path in paths[:most])
        return f"{shown} and {len(paths) - most} more" if len(paths) > most else shown


def exam_files(folder: Path) -> ExamFiles:
    """All regular files below a folder, also those that links lead to; a folder is entered once, however many links
    lead to it. Pipes, devices, sockets, links to nowhere or to themselves, and folders without rights are in the notes.
    """
    paths: list[Path] = []
    notes: list[str] = []
    entered: set[tuple[int, int]] = set()
    places = [folder]
    while places and len(paths) <= MOST_FILES:
        place = places.pop()
        try:
            status = os.stat(place)
            if (status.st_dev, status.st_ino) in entered:
                continue
            entered.add((status.st_dev, status.st_ino))
            with os.scandir(place) as entries:
                found = sorted(entries, key=lambda entry: os.fsencode(entry.name))
        except OSError as error:
            notes.append(f"{file_reference(place, folder)} cannot be opened ({error_reason(error)})")
            continue
        for entry in found:
            path = Path(entry.path)
            try:
                mode = entry.stat().st_mode
            except OSError as error:
                if entry.is_symlink():
                    notes.append(f"{file_reference(path, folder)} is a link that leads nowhere")
                else:
                    notes.append(f"{file_reference(path, folder)} cannot be opened ({error_reason(error)})")
                continue
            if stat.S_ISREG(mode):
                paths.append(path)
            elif stat.S_ISDIR(mode):
                places.append(path)
            else:
                notes.append(f"{file_reference(path, folder)} is no file but a pipe, device or socket")
    if len(paths) > MOST_FILES:
        notes.append(f"the folder holds more than {MOST_FILES} files, of which the others are left out")
    return ExamFiles(folder, tuple(sorted(paths[:MOST_FILES], key=os.fsencode)), tuple(notes))
