"""An external set in autoPET's layout: folders with SUV, CTres and SEG, whose components become lesions.

There are no reports: what comes out are masks with their measures, for a model to describe and a physician to look at.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cc3d
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from pipelines.imaging.lesions.measures import measure
from pipelines.imaging.masks import save_mask
from pipelines.imaging.problems import ExamError
from pipelines.imaging.reading.exam import read_exam
from pipelines.imaging.reading.expert_masks import read_expert_masks
from pipelines.imaging.reading.nifti_pet import SUV_NAMES
from pipelines.imaging.volume import Volume, save_nifti
from pipelines.tables.errors import reason_of
from pipelines.tables.exam_problems import ExamProblem
from pipelines.tables.hashing import hash_of, hash_of_files
from pipelines.tables.home import Home
from pipelines.tables.provenance import code_version

_SEG_NAMES = ("seg.nii.gz", "seg.nii")
_MEASURES = (
    *("suvmax", "suvmean", "suvpeak", "mtv_ml", "tlg", "diameter_mm", "n_voxels"),
    *("centroid_x_mm", "centroid_y_mm", "centroid_z_mm"),
)


@dataclass(frozen=True)
class ExternalExam:
    """What an exam of the external set gave: rows of lesions without texts, and what was wrong or left out."""

    exam_id: str
    rows: tuple[dict[str, Any], ...] = ()
    problems: tuple[str, ...] = field(default=())


def external_folders(root: Path) -> dict[str, Path]:
    """Exam id (folders below the root, joined by -) -> folder, for every folder that holds a SUV or a SEG.

    A folder with one of the two is an exam too: what is missing is told when it is read.
    """
    found = {p.parent for p in root.rglob("*") if p.is_file() and (p.name.lower() in _SEG_NAMES or _is_suv(p))}
    return {"-".join(folder.relative_to(root).parts) or root.name: folder for folder in sorted(found)}


def _is_suv(path: Path) -> bool:
    return path.name.lower() in {f"{SUV_NAMES[0]}{suffix}" for suffix in (".nii.gz", ".nii")}


def fingerprint(folder: Path, min_ml: float) -> str:
    """Hash of an exam's images and of how they are read: equal, lesions kept."""
    files = [(p.name, p) for p in sorted(folder.iterdir()) if p.is_file()]
    return hash_of(code_version(__name__), min_ml, hash_of_files(files))


def read_external(exam_id: str, folder: Path, root: Path, home: Home, out: Path, min_ml: float) -> ExternalExam:
    """The lesions of one exam: connected components of its SEG, largest first, written to `out` with SUV and CT.

    Paths in the rows start at `home`. Components under `min_ml` are left out and named; an exam that cannot be read
    gives no row and a problem.
    """
    relative = folder.relative_to(root)
    patient = relative.parts[0] if relative.parts else root.name
    try:
        exam = read_exam(folder, exam_id)
        regions = read_expert_masks(folder, exam.suv)
        if not regions:
            raise ExamError(
                ExamProblem.BAD_VALUES,
                "expected SEG.nii.gz beside the SUV, got none: add the mask or remove the folder",
            )
    except (ExamError, ValueError, OSError) as error:
        reason = reason_of(error)
        return ExternalExam(exam_id, (), (reason if exam_id in reason else f"exam {exam_id}: {reason}",))
    problems = [f"exam {exam_id}: {exam.facts.ct_message}"] if exam.facts.ct_message and exam.ct is None else []
    union = np.logical_or.reduce([region.mask for region in regions])
    parts, too_small = components(union, exam.suv.voxel_ml, min_ml)
    if too_small:
        problems.append(f"exam {exam_id}: {too_small} components under {min_ml:g} mL left out")
    if not parts:
        problems.append(f"exam {exam_id}: no lesion: the SEG is empty or holds only smaller ones")
        return ExternalExam(exam_id, (), tuple(problems))
    suv_path = save_nifti(exam.suv, out / "volumes" / exam_id / "SUV.nii")
    ct_path = save_nifti(exam.ct, out / "volumes" / exam_id / "CT.nii") if exam.ct is not None else None
    rows = []
    for number, (box, mask) in enumerate(parts, 1):
        corner = tuple(s.start for s in box)
        measures = measure(exam.suv, mask, corner)  # type: ignore[arg-type]  # three axes
        lesion_id = f"{exam_id}:{number}"
        affine = exam.suv.affine.copy()
        affine[:3, 3] = exam.suv.to_ras_mm(corner)
        mask_path = save_mask(Volume(mask.astype(np.uint8), affine), out / "masks" / exam_id, lesion_id)
        rows.append(
            {name: getattr(measures, name) for name in _MEASURES}
            | {"lesion_id": lesion_id, "exam_id": exam_id, "patient_id": patient}
            | {"slice_k": measures.peak_k, "slice": exam.suv.shape[2] - measures.peak_k}
            | {"suv_path": str(suv_path.relative_to(home.root)), "mask_path": str(mask_path.relative_to(home.root))}
            | {"ct_path": None if ct_path is None else str(ct_path.relative_to(home.root))}
        )
    return ExternalExam(exam_id, tuple(rows), tuple(problems))


def components(
    mask: NDArray[np.bool_], voxel_ml: float, min_ml: float
) -> tuple[list[tuple[tuple[slice, ...], NDArray[np.bool_]]], int]:
    """(box and mask of every connected component of at least `min_ml`, largest first; how many smaller ones)."""
    labels = cc3d.connected_components(mask, connectivity=26)
    found = []
    too_small = 0
    for value, box in enumerate(ndimage.find_objects(labels), 1):
        own = np.ascontiguousarray(labels[box] == value)
        if own.sum() * voxel_ml < min_ml:
            too_small += 1
        else:
            found.append((box, own))
    return sorted(found, key=lambda part: -int(part[1].sum())), too_small


def review_tables(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """Rows of lesions with texts as the review pages take them: `findings`, `localisations` and `exams`."""
    findings, lesions, exams = [], [], {}
    for row in rows:
        text = row.get("text_measured") or row.get("text")
        keys = {"finding_id": row["lesion_id"], "exam_id": row["exam_id"], "patient_id": row["patient_id"]}
        key = hash_of([row[name] for name in ("lesion_id", "suvmax", "mtv_ml", "n_voxels")])
        sentence = text or f"No text: {row.get('error') or 'the model said nothing'}"
        about = {"sentence_id": row["lesion_id"], "sentence": sentence, "slice": row["slice"], "row_key": key}
        findings.append(keys | about | {"outcome": "accepted"})
        measured = {name: row[name] for name in _MEASURES}
        lesions.append(
            keys
            | measured
            | {"row_key": key, "outcome": "lesion", "mask_path": row["mask_path"]}
            | {"slice_k": row["slice_k"]}
        )
        exams[row["exam_id"]] = {name: row[name] for name in ("exam_id", "patient_id", "suv_path", "ct_path")}
    return {"findings": findings, "localisations": lesions, "exams": list(exams.values())}
