"""What a cohort lost since it was last observed.

Exams that left take their masks, volumes and rows with them. A few leave because they were withdrawn; many at once
leave because something is not there that should be: a folder that is not mounted, a table that was cut, another cohort.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines.tables import atomic
from pipelines.tables.hashing import hash_of, hash_of_files

MOST_LOST_SHARE = 0.1
"""Of the exams of the last observation; more at once is no withdrawal. Chosen for this project."""
MOST_LOST_EXAMS = 5
"""So few may always leave, whatever their share. Chosen for this project."""
OTHER_COHORT_SHARE = 0.5
"""Where the cohort's folder is another one than before and more than this share is lost, it is another cohort."""

_NAME = "cohort.json"
_NO_FILES = hash_of_files([])
"""Fingerprint of a folder without files."""


@dataclass(frozen=True)
class Losses:
    """Exams that an observation lost, of `n_before`: gone, or with their images, or with their report gone."""

    n_before: int
    gone: frozenset[str]
    without_images: frozenset[str]
    without_report: frozenset[str]

    @property
    def exams(self) -> frozenset[str]:
        """All exams that lost something."""
        return self.gone | self.without_images | self.without_report

    @property
    def share(self) -> float:
        """Of the exams before, 0 to 1."""
        return len(self.exams) / self.n_before if self.n_before else 0.0

    def refusal(self, is_other_folder: bool) -> str | None:
        """Why nothing may be removed before somebody says so; null where it may be.

        Args:
            is_other_folder: the cohort's folder is another one than that of the last observation.
        """
        is_other_cohort = is_other_folder and self.share > OTHER_COHORT_SHARE
        if not is_other_cohort and (len(self.exams) <= MOST_LOST_EXAMS or self.share <= MOST_LOST_SHARE):
            return None
        counted = {
            "left": self.gone,
            "have no images any more": self.without_images,
            "have no report any more": self.without_report,
        }
        words = ", ".join(f"{len(exams)} {what}" for what, exams in counted.items() if exams)
        cause = (
            "this home was curated from another cohort folder: use another PETAR_HOME (--home) for another cohort"
            if is_other_folder
            else "mount the folder of the exams, or restore the table of reports"
        )
        return (
            f"expected the {self.n_before} exams of the last observation, but {words}; nothing was removed: {cause}; "
            "where they are to leave, with all that was made of them, run `petar curate --accept-removals` (in the "
            "UI: launch the job curate with accept_removals: true, or observe with the tag "
            "petar/accept-removals = true)"
        )


def losses(before: Iterable[Mapping[str, Any]], now: Iterable[Any]) -> Losses:
    """What the entries of an observation (`ExamEntry`) lost of those before, as an earlier manifest holds them.

    Images or a report that were never there are no loss.
    """
    earlier = {entry["exam_id"]: entry for entry in before}
    entries = {entry.exam_id: entry for entry in now}
    stayed = earlier.keys() & entries.keys()
    return Losses(
        len(earlier),
        frozenset(earlier.keys() - stayed),
        frozenset(
            e
            for e in stayed
            if _has_images(earlier[e]["folder"], earlier[e]["image_fingerprint"])
            and not _has_images(entries[e].folder, entries[e].image_fingerprint)
        ),
        frozenset(e for e in stayed if earlier[e]["report"].strip() and not entries[e].report.strip()),
    )


def _has_images(folder: str | None, fingerprint: str) -> bool:
    return folder is not None and fingerprint not in ("", _NO_FILES)


# --- which cohort a home is of ---


def is_other_cohort_folder(cohort_folder: Path, manifest_folder: Path) -> bool:
    """Whether a home was last observed from another folder; false where it never was."""
    path = manifest_folder / _NAME
    return path.exists() and json.loads(path.read_text())["folder"] != _identity(cohort_folder, manifest_folder)


def note_cohort_folder(cohort_folder: Path, manifest_folder: Path) -> None:
    """Writes down which folder a home is curated from."""
    content = {"folder": _identity(cohort_folder, manifest_folder)}
    atomic.write_bytes(manifest_folder / _NAME, json.dumps(content).encode())


def _identity(cohort_folder: Path, manifest_folder: Path) -> str:
    """A folder in the home by its name there (the demo's), any other by a hash: its path may name somebody."""
    folder, home = cohort_folder.resolve(), manifest_folder.parent.resolve()
    return folder.relative_to(home).as_posix() if folder.is_relative_to(home) else hash_of(str(folder))
