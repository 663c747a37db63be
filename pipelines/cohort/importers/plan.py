"""What an importer found in a data set: exams with their files, and what was left out."""

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
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
        elif not exam.pet.exists():
            told.append(f"exam {exam.exam_id}: left out, its PET {_no_file(exam.pet)}")
        else:
            kept[exam.exam_id] = _of_files_there(exam, told)
    told += _in_two_splits(kept.values())
    problems = tuple(told)
    plan = ImportPlan(tuple(kept[exam_id] for exam_id in sorted(kept)), problems)
    if not plan.exams:
        why = f" ({'; '.join(problems[:_SHOWN])})" if problems else ""
        raise ImporterError(
            f"expected {wanted} in {root}, got {what_lies_in(root)}{why}: check the folder and the layout"
        )
    return plan


def _of_files_there(exam: ImportedExam, told: list[str]) -> ImportedExam:
    """An exam without the files that are not there; they are told."""
    lost = [path for path in dict.fromkeys(mask.path for mask in exam.masks) if not path.exists()]
    told += [f"exam {exam.exam_id}: given mask left out: {_no_file(path)}" for path in lost]
    if exam.ct is not None and not exam.ct.exists():
        told.append(f"exam {exam.exam_id}: imported without its CT: {_no_file(exam.ct)}")
        exam = replace(exam, ct=None)
    return replace(exam, masks=tuple(mask for mask in exam.masks if mask.path not in lost))


def _no_file(path: Path) -> str:
    if path.is_symlink():
        return f"{path.name} is a link to a file that is not there (fetch it, as by `datalad get` or `git annex get`)"
    return f"{path.name} is not there"


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


def image_paths(root: Path) -> list[Path]:
    """Image files below a folder, by name. Folders that are links are followed, each folder once; links to files that
    are not there count too."""
    found = []
    seen: set[tuple[int, int]] = set()
    for folder, folders, names in os.walk(root, followlinks=True):
        status = os.stat(folder)
        if (status.st_dev, status.st_ino) in seen:
            folders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        folders.sort()
        found += [path for name in names if image_suffix(path := Path(folder, name))]
    return sorted(found)


def lesion_labels(
    names: Mapping[int, str], words: Sequence[str], ignored: str = ""
) -> tuple[tuple[int | None, ...], tuple[str, ...]]:
    """(values of a label map that are lesions, names of those that are not); `None` alone: every value but 0.

    Where some names say lesion the others are no lesions; where none does, all are.

    Args:
        names: value -> its name.
        words: one of them in a name says lesion.
        ignored: name of the label that is no lesion whatever the others are called.
    """
    named = {value: name for value, name in names.items() if value and (not ignored or name.lower() != ignored)}
    of_lesions = {value for value, name in named.items() if any(word in name.lower() for word in words)}
    chosen = of_lesions or named.keys()
    others = tuple(f"{named[value]!r} ({value})" for value in sorted(named.keys() - chosen))
    is_all = len(chosen) == len([value for value in names if value])
    return ((None,) if is_all or not chosen else tuple(sorted(chosen))), others


def image_stem(path: Path) -> str | None:
    """Name of an image file without the ending of its format; None where it is no image file."""
    suffix = image_suffix(path)
    return path.name[: -len(suffix)] if suffix else None


def image_suffix(path: Path) -> str:
    """The ending that says an image's format, in lower case; '' where it has none of them."""
    return next((s for s in IMAGE_SUFFIXES if path.name.lower().endswith(s)), "")
