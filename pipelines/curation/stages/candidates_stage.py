"""Candidates: of each exam with a volume the peaks that may be lesions, with region and features."""

from typing import Any

import numpy as np

from pipelines.curation.stages.incremental import Rows
from pipelines.curation.stages.peaks_stage import peaks_path
from pipelines.curation.stages.stage import ShardContext, ShardStage
from pipelines.imaging.candidates.candidates import Candidates, find_candidates
from pipelines.imaging.candidates.organ_veto import is_vetoed
from pipelines.imaging.lesions.exam_peaks import ExamPeaks, exam_peaks, load_exam_peaks, load_organ_labels
from pipelines.imaging.volume import Volume, load_nifti
from pipelines.tables.candidate_features import FEATURES
from pipelines.tables.hashing import hash_of

MIDDLE_MM = 15.0
"""Nearer to the body's middle a candidate has no side [mm]: half of what lies in the middle, a vertebra."""


def candidates_stage(context: ShardContext) -> ShardStage:
    """One row a candidate of each exam with a volume, with a report or without."""
    home, settings = context.curation.home, context.curation.settings
    exams = {row["exam_id"]: row for row in context.rows("exams").iter_rows(named=True) if row["status"] == "ok"}
    keys = dict(context.unchanged) | {exam_id: hash_of(context.logic, row["row_key"]) for exam_id, row in exams.items()}

    def compute(exam_id: str) -> tuple[Rows, bool]:
        row = exams[exam_id]
        volume = load_nifti(home.file(row["suv_path"]))
        product = load_exam_peaks(home.file(peaks_path(home, exam_id)))
        exam = product[0] if product else exam_peaks(volume, settings=settings.lesions.peaks)
        found_labels = load_organ_labels(home.file(peaks_path(home, exam_id)))
        labels = None if found_labels is None else Volume(found_labels, volume.affine)
        ct = load_nifti(home.file(row["ct_path"])) if row["ct_path"] else None
        found = find_candidates(volume, exam, ct, labels, settings.candidates)
        return candidate_rows(exam_id, row["patient_id"], volume, exam, found), False

    return ShardStage(keys, compute)


def candidate_rows(
    exam_id: str, patient_id: str, volume: Volume, exam: ExamPeaks, found: Candidates
) -> list[dict[str, Any]]:
    """Rows of the table without their keys, the hottest candidate first."""
    peaks, rows = exam.peaks, found.rows
    across = exam.frame.across(exam.ras_mm[rows], peaks.ijk[rows, 2])
    made = []
    for n, peak in enumerate(rows):
        values = found.features[n]
        made.append(
            {
                "candidate_id": _name(exam_id, peaks.ijk[peak]),
                "exam_id": exam_id,
                "patient_id": patient_id,
                **{f"peak_{axis}": int(v) for axis, v in zip("ijk", peaks.ijk[peak])},
                **{f"peak_{axis}_mm": float(v) for axis, v in zip("xyz", exam.ras_mm[peak])},
                "slice": exam.slices.n_slices - int(peaks.ijk[peak, 2]),
                "suvmax": float(peaks.suv[peak]),
                "suvpeak": float(peaks.suvpeak[peak]),
                "prominence_suv": float(peaks.prominence_suv[peak]),
                "region_ml": float(found.regions.n_voxels[n] * volume.voxel_ml),
                "group_id": _name(exam_id, peaks.ijk[rows[found.group[n]]]),
                "organ": None if exam.organs is None else exam.organs.inside(int(peak)),
                "side": _side(float(across[n])),
                "has_organ_map": exam.organs is not None,
                "is_vetoed": is_vetoed(exam.organs, int(peak)),
                **{name: float(v) if np.isfinite(v) else None for name, v in zip(FEATURES, values)},
            }
        )
    return made


def _name(exam_id: str, ijk: Any) -> str:
    return f"{exam_id}:{'-'.join(str(int(v)) for v in ijk)}"


def _side(across_mm: float) -> str | None:
    """Side of a place by its distance from the body's middle, positive to the patient's right."""
    if not np.isfinite(across_mm) or abs(across_mm) < MIDDLE_MM:
        return None
    return "right" if across_mm > 0 else "left"
