"""What an importer found in a data set: exams with their files, and what was left out."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

IMAGE_SUFFIXES = (".nii.gz", ".nii", ".nrrd", ".mha")
_SHOWN = 6
_LONGEST_ID = 200
"""Bytes: file systems take 255, and names of links and masks begin with it."""


class ImporterError(ValueError):
    """A folder or table is not of the layout, or the mapping is wrong; the message says what was seen and wanted."""


@dataclass(frozen=True)
class ImportedMask:
    """A given mask of an exam.

    Args:
        path: its file.
        lesions: what of it is a lesion: `whole`, each value (`labels`), each connected part (`components`).
        label: value in the file that is meant; null: every value but 0.
        text: what is said of it, where something is.
    """

    path: Path
    lesions: str = "components"
    label: int | None = None
    text: str | None = None


@dataclass(frozen=True)
class ImportedExam:
    """One exam of a data set.

    Args:
        exam_id, patient_id: as the cohort will name them.
        pet: file or DICOM folder of the PET.
        ct: of the CT, where there is one.
        masks: given masks of its lesions.
        is_suv: the PET is named for SUV; else its sidecar says the unit, or DICOM does.
        sidecar: attributes of the PET that its JSON file gets (BIDS names).
        tracer, study_date, findings: of the exam's report, where the set has them.
        split: `train`, `val` or `test`, where the set has splits.
    """

    exam_id: str
    patient_id: str
    pet: Path
    ct: Path | None = None
    masks: tuple[ImportedMask, ...] = ()
    is_suv: bool = True
    sidecar: Mapping[str, Any] | None = None
    tracer: str | None = None
    study_date: str | None = None
    findings: str | None = None
    split: str | None = None


@dataclass(frozen=True)
class ImportPlan:
    """The exams of a data set, sorted by id, and a sentence for each that was left out or is half there."""

    exams: tuple[ImportedExam, ...]
    problems: tuple[str, ...] = field(default=())


def plan_of(exams: Iterable[ImportedExam], problems: Iterable[str], wanted: str, root: Path) -> ImportPlan:
    """The plan of these exams.

    Args:
        exams, problems: what was found.
        wanted: the layout, for the message where nothing was found.
        root: the folder that was looked through.

    Raises:
        ImporterError: there is no exam.
    """
    kept: dict[str, ImportedExam] = {}
    told = list(problems)
    for exam in exams:
        if not _is_folder_name(exam.exam_id):
            told.append("an exam whose id is no name of a folder (empty, over 200 bytes, or with / or ..) is left out")
        elif exam.exam_id in kept:
            told.append(f"exam {exam.exam_id}: comes twice, the first is taken")
        else:
            kept[exam.exam_id] = exam
    told += _in_two_splits(kept.values())
    problems = tuple(told)
    plan = ImportPlan(tuple(kept[exam_id] for exam_id in sorted(kept)), problems)
    if not plan.exams:
        why = f" ({'; '.join(problems[:_SHOWN])})" if problems else ""
        raise ImporterError(
            f"expected {wanted} in {root}, got {what_lies_in(root)}{why}: check the folder and the layout"
        )
    return plan


def _in_two_splits(exams: Iterable[ImportedExam]) -> list[str]:
    splits: dict[str, set[str]] = {}
    for exam in exams:
        splits.setdefault(exam.patient_id, set()).add(exam.split or "")
    return [
        f"patient {patient}: its exams are in the splits {' and '.join(sorted(found))} of the set, which are kept"
        for patient, found in splits.items()
        if len(found - {""}) > 1
    ]


def _is_folder_name(exam_id: str) -> bool:
    """Whether an id can be the name of a folder: it must not lead out of the cohort."""
    is_short = 0 < len(exam_id.encode("utf-8", "replace")) <= _LONGEST_ID
    return is_short and exam_id.isprintable() and "/" not in exam_id and not exam_id.startswith(".")


def what_lies_in(folder: Path) -> str:
    """The first names of a folder, for a message."""
    if not folder.is_dir():
        return "no folder"
    names = sorted(p.name + ("/" if p.is_dir() else "") for p in folder.iterdir() if not p.name.startswith("."))
    return listed(names) or "an empty folder"


def listed(names: Sequence[str]) -> str:
    """The first of some names, and how many more there are."""
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more


def image_stem(path: Path) -> str | None:
    """Name of an image file without the ending of its format; None where it is no image file."""
    suffix = image_suffix(path)
    return path.name[: -len(suffix)] if suffix else None


def image_suffix(path: Path) -> str:
    """The ending that says an image's format, in lower case; '' where it has none of them."""
    return next((s for s in IMAGE_SUFFIXES if path.name.lower().endswith(s)), "")
