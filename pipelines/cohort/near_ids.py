"""Ids of reports and names of exam folders that nearly match, so that a message can ask "did you mean"."""

import os
import re
import unicodedata
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import suppress
from pathlib import Path

_MOST_NAMED = 3
"""Near names that a message lists."""
_FILE_SUFFIXES = (".zip", ".tar.gz", ".tgz", ".tar", ".tar.xz", ".tar.bz2", ".7z", ".rar", ".nii.gz", ".nii", ".dcm")
"""Of archives and images that lie where an exam's folder is wanted."""
_MOST_ENTRIES = 1000
"""Entries of a folder that are looked at for exams that lie one folder too deep."""


def near_key(name: str) -> str:
    """What names have in common that differ in case, width, accents' form, blanks, punctuation or leading zeros, or
    that went through a spreadsheet as a number (4711.0); empty where nothing is left.
    """
    text = unicodedata.normalize("NFKC", name).casefold()
    text = re.sub(r"(?<=\d)[.,]0+$", "", text.strip())
    text = re.sub(r"[\W_]+", "", text)
    return re.sub(r"(?<!\d)0+(?=\d)", "", text)


def near_names(names: Iterable[str], others: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Name -> the other names that nearly match it, at most three; names without one are left out."""
    by_key: dict[str, list[str]] = {}
    for other in sorted(others):
        by_key.setdefault(near_key(other), []).append(other)
    found = {name: tuple(by_key.get(near_key(name), ())[:_MOST_NAMED]) for name in names if near_key(name)}
    return {name: near for name, near in found.items() if near}


def folders_too_deep(
    cohort: Path, wanted: Collection[str], others: Mapping[str, Path], exam_of: Callable[[str], str]
) -> dict[str, tuple[str, str]]:
    """Exam without a folder -> (the folder below the cohort that a folder of its name lies in, that name).

    Args:
        cohort: the cohort's folder.
        wanted: exams without a folder.
        others: folders of `exams` that no report names, by exam: their sub-folders are looked at.
        exam_of: name of a folder as it lies there -> exam.
    """
    found: dict[str, tuple[str, str]] = {}
    places = [("", cohort), *(("exams/" + name, folder) for name, folder in sorted(others.items()))]
    for shown, place in places if wanted else ():
        for exam in map(exam_of, _sub_folders(place)):
            if exam in wanted and exam not in found:
                found[exam] = (shown, exam)
    return found


def archives_beside(exams: Path, wanted: Collection[str], exam_of: Callable[[str], str]) -> dict[str, str]:
    """Exam without a folder -> name of an archive or image file that lies in `exams` in its place."""
    found: dict[str, str] = {}
    with suppress(OSError), os.scandir(exams) as entries:
        for entry in sorted(entries, key=lambda e: e.name) if wanted else ():
            suffix = next((s for s in _FILE_SUFFIXES if entry.name.lower().endswith(s)), None)
            if suffix and (exam := exam_of(entry.name[: -len(suffix)])) in wanted:
                found.setdefault(exam, suffix)
    return {exam: f"{exam}{suffix}" for exam, suffix in found.items()}


def _sub_folders(place: Path) -> list[str]:
    names: list[str] = []
    with suppress(OSError), os.scandir(place) as entries:
        for n, entry in enumerate(entries):
            if n >= _MOST_ENTRIES:
                break
            with suppress(OSError):
                if entry.is_dir():
                    names.append(entry.name)
    return sorted(names)
