"""The label map of organs in an exam's folder, on the grid of its PET."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipelines.cohort.manifest import ExamEntry
from pipelines.curation.stages.lesion_requests import ct_slices
from pipelines.imaging.organ_labels import ORGAN_MAP_SOURCES
from pipelines.imaging.organ_map import on_pet_grid, whole_labels
from pipelines.imaging.volume import Volume, load_nifti


def organ_map_of(entry: ExamEntry | None, exam: Mapping[str, Any], pet: Volume) -> Volume | None:
    """The label map of an exam, uint8 on the grid of its PET; null where its folder holds none.

    Args:
        entry: of the exam in the manifest.
        exam: its row in `exams`.
        pet: its SUV volume, RAS+.

    Raises:
        ExamError: the file is damaged.
        OrganMapError: it holds no labels, or is of another exam.
    """
    if entry is None or entry.folder is None:
        return None
    found = (Path(entry.folder) / name for name in ORGAN_MAP_SOURCES)
    path = next((p for p in found if p.is_file()), None)
    if path is None:
        return None
    labels = whole_labels(load_nifti(path), path.name, exam["exam_id"])
    return on_pet_grid(labels, pet, ct_slices(exam), exam["exam_id"])
