"""A cohort folder made of a data set: links to its images, and a table of reports."""

import csv
import io
import json
import os
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel
import numpy as np

from pipelines.cohort.importers.autopet import plan_autopet
from pipelines.cohort.importers.bids import plan_bids
from pipelines.cohort.importers.mapping import (
    AutopetMapping,
    BidsMapping,
    Layout,
    Mapping,
    NnunetMapping,
    TableMapping,
)
from pipelines.cohort.importers.nnunet import plan_nnunet
from pipelines.cohort.importers.plan import ImportedExam, ImporterError, ImportPlan, image_suffix
from pipelines.cohort.importers.table import plan_table
from pipelines.tables import atomic

GIVEN_NAME = "given_masks.csv"
"""What of each given mask is a lesion, and what is said of it."""
IMPORT_NAME = "import.json"
"""Says which data set a cohort folder was made of; a folder without it is not written into."""
_SAME_MM = 0.01


def plan_import(layout: Layout, source: Path, mapping: Mapping) -> ImportPlan:
    """What an importer finds in a data set, without masks whose grid is not the PET's.

    Args:
        layout: which importer.
        source: folder of the data set, of `table` the table.
        mapping: that of the layout.
    """
    if not source.exists():
        raise ImporterError(f"expected a data set at {source}, it is not there: correct the path")
    match mapping:
        case NnunetMapping():
            plan = plan_nnunet(source, mapping)
        case AutopetMapping():
            plan = plan_autopet(source, mapping)
        case BidsMapping():
            plan = plan_bids(source, mapping)
        case TableMapping():
            plan = plan_table(source, mapping)
    exams, problems = [], list(plan.problems)
    for exam in plan.exams:
        faults = {path: _grid_fault(exam.pet, path) for path in dict.fromkeys(mask.path for mask in exam.masks)}
        problems += [f"exam {exam.exam_id}: given mask left out: {fault}" for fault in faults.values() if fault]
        texts = [mask.text for mask in exam.masks if faults[mask.path] and mask.text]
        if texts:
            problems.append(f"exam {exam.exam_id}: {len(texts)} texts of masks that were left out stand in its report")
        findings = "\n".join(filter(None, (exam.findings, *texts))) or None
        masks = tuple(mask for mask in exam.masks if not faults[mask.path])
        exams.append(replace(exam, masks=masks, findings=findings))
    return ImportPlan(tuple(exams), tuple(problems))


def _grid_fault(pet: Path, mask: Path) -> str | None:
    """What tells that a mask is not on the grid of its PET; None where it is, or where a header cannot be compared (the
    exam's reading says what is wrong with it).
    """
    if not all(image_suffix(path) in (".nii.gz", ".nii") for path in (pet, mask)):
        return None
    try:
        images: list[Any] = [nibabel.load(path) for path in (pet, mask)]
        shapes = [tuple(image.shape[:3]) for image in images]
        affines = [np.asarray(image.affine) for image in images]
    except Exception:
        return "its header cannot be read"
    if shapes[0] != shapes[1]:
        return f"it has shape {shapes[1]}, the PET {shapes[0]}"
    corners = np.array(np.meshgrid(*[(0, n - 1) for n in shapes[0]])).reshape(3, -1)
    apart = float(np.abs((affines[0] - affines[1]) @ np.vstack([corners, np.ones(8)])).max())
    return f"it lies up to {apart:.3g} mm beside the PET's grid" if not apart <= _SAME_MM else None


def write_cohort(plan: ImportPlan, target: Path, layout: Layout, source: Path) -> None:
    """The cohort folder of a plan: `exams/<exam>/` with links named as a curation and the external set read them,
    `reports.csv`, `given_masks.csv`, and `import.json`.

    Writing again replaces what an earlier import wrote, and removes exams that the data set does not have any more.

    Raises:
        ImporterError: the folder holds something else, or a link cannot be made.
    """
    marker = target / IMPORT_NAME
    if source.is_dir() and target.resolve().is_relative_to(source.resolve()):
        raise ImporterError(
            f"expected a folder outside of the data set, got {target} in {source}: name another by --to"
        )
    if target.is_dir() and any(target.iterdir()) and not marker.is_file():
        raise ImporterError(
            f"expected a new or an imported folder, got {target} with other files: name another by --to"
        )
    try:
        (target / "exams").mkdir(parents=True, exist_ok=True)
        about = {"layout": layout, "source": str(source.resolve()), "exams": len(plan.exams)}
        atomic.write_bytes(marker, (json.dumps(about, indent=1) + "\n").encode())
        for exam in plan.exams:
            _write_exam(exam, target / "exams" / exam.exam_id)
        wanted = {exam.exam_id for exam in plan.exams}
        for folder in (target / "exams").iterdir():
            if folder.name not in wanted and folder.is_dir() and not folder.is_symlink():
                _clear(folder)
                with suppress(OSError):  # What somebody else put there stays.
                    folder.rmdir()
    except OSError as error:
        raise ImporterError(f"expected to write links into {target}, failed: {os.strerror(error.errno or 0)}") from None
    atomic.write_bytes(target / "reports.csv", _reports(plan).encode())
    atomic.write_bytes(target / GIVEN_NAME, _given_masks(plan).encode())


def _write_exam(exam: ImportedExam, folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    _clear(folder)
    name = "SUV" if exam.is_suv else "PET"
    _link(exam.pet, folder, name)
    if exam.sidecar is not None:
        atomic.write_bytes(folder / f"{name}.json", json.dumps(dict(exam.sidecar), indent=1, sort_keys=True).encode())
    if exam.ct is not None:
        _link(exam.ct, folder, "CT")
    for path, name in _mask_names(exam).items():
        (folder / name).symlink_to(path.resolve())


def _mask_names(exam: ImportedExam) -> dict[Path, str]:
    """File of each given mask -> the name of its link."""
    paths = dict.fromkeys(mask.path for mask in exam.masks)
    return {path: f"SEG{f'_{n}' if n > 1 else ''}{image_suffix(path)}" for n, path in enumerate(paths, start=1)}


def _link(path: Path, folder: Path, name: str) -> None:
    (folder / f"{name}{image_suffix(path)}").symlink_to(path.resolve())


def _clear(folder: Path) -> None:
    """Removes the links and the sidecar of an earlier import; other files stay."""
    for path in folder.iterdir():
        if path.is_symlink() or path.name in ("SUV.json", "PET.json"):
            path.unlink()


def _reports(plan: ImportPlan) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("exam_id", "patient_id", "findings", "study_date", "tracer", "split"))
    for exam in plan.exams:
        said = (exam.findings, exam.study_date, exam.tracer, exam.split)
        writer.writerow((exam.exam_id, exam.patient_id, *(value or "" for value in said)))
    return text.getvalue()


def _given_masks(plan: ImportPlan) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("exam_id", "mask", "label", "lesions", "text"))
    for exam in plan.exams:
        names = _mask_names(exam)
        for mask in exam.masks:
            writer.writerow((exam.exam_id, names[mask.path], mask.label or "", mask.lesions, mask.text or ""))
    return text.getvalue()
