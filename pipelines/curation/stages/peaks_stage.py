"""Peaks: of each exam, its peaks with its body frame and organs, and how likely each calibration makes its report."""

import json
from pathlib import Path
from typing import Any

import polars as pl

from pipelines.cohort.manifest import ExamEntry
from pipelines.curation.stages.exam_organs import organ_map_of
from pipelines.curation.stages.incremental import Rows
from pipelines.curation.stages.lesion_requests import ASKED, accepted_findings, ct_slices, is_sought, request_of
from pipelines.curation.stages.likelihood_files import exam_file, save, scanner_of, update_shard_sums
from pipelines.curation.stages.stage import ShardContext, ShardStage
from pipelines.imaging.lesions.calibration import (
    Likelihood,
    conventions_of,
    exam_likelihood,
    predicted_scales,
    reported_slices,
    slices_per_pet_slice,
)
from pipelines.imaging.lesions.exam_peaks import (
    ExamPeaks,
    exam_peaks,
    load_exam_peaks,
    save_exam_peaks,
)
from pipelines.imaging.lesions.location import place_weights, prominence_weights
from pipelines.imaging.lesions.request import LesionRequest
from pipelines.imaging.problems import ExamError
from pipelines.imaging.volume import SliceGrid, load_nifti
from pipelines.settings import LesionSettings
from pipelines.tables.hashing import hash_of
from pipelines.tables.home import Home
from pipelines.tables.provenance import code_version

_PRODUCT = ("pipelines.imaging.lesions.exam_peaks", "pipelines.imaging.organ_map")
"""Modules whose code makes the file of an exam's peaks."""


def peaks_path(home: Home, exam_id: str) -> Path:
    """File of an exam's peaks."""
    return home.volume_folder(exam_id) / "peaks.npz"


def peaks_stage(context: ShardContext) -> ShardStage:
    """One row an exam with a volume. The file of its peaks is made anew only when the volume or their code changed, its
    likelihood also when its accepted findings did.
    """
    home, settings = context.curation.home, context.curation.settings.lesions
    exams = {row["exam_id"]: row for row in context.rows("exams").iter_rows(named=True) if row["status"] == "ok"}
    accepted = accepted_findings(context)
    entries = context.entries()
    keys = dict(context.unchanged) | {
        exam_id: hash_of(context.logic, row["row_key"], [[f[k] for k in ASKED] for f in accepted[exam_id]])
        for exam_id, row in exams.items()
    }

    def compute(exam_id: str) -> tuple[Rows, bool]:
        exam = exams[exam_id]
        made, message = _product(home, exam, entries.get(exam_id), settings)
        requests = [request_of(f) for f in accepted[exam_id] if is_sought(f)]
        likelihood = likelihood_of(requests, made, ct_slices(exam), settings)
        version = hash_of(likelihood.llr.tobytes().hex(), likelihood.support.tobytes().hex())
        save({"exam": likelihood}, version, exam_file(home, exam_id))
        home.keep(exam_file(home, exam_id))
        frame = made.frame
        row: dict[str, Any] = {
            "exam_id": exam_id,
            "patient_id": exam["patient_id"],
            "scanner": scanner_of(exam),
            "n_peaks": len(made.peaks),
            "shoulder_z_mm": frame.shoulder_z_mm,
            "bladder_z_mm": frame.bladder_z_mm,
            "frame_confidence": frame.confidence,
            "n_organs": None if made.organs is None else len(made.organs.names),
            "organ_map_message": message,
            "n_findings": likelihood.n_findings,
            "likelihood_version": version,
            "predicted_scales": json.dumps(predicted_scales(exam), sort_keys=True),
            "peaks_path": str(peaks_path(home, exam_id).relative_to(home.root)),
        }
        return [row], False

    def forget(exam_id: str) -> None:
        for path in (peaks_path(home, exam_id), exam_file(home, exam_id)):
            home.remove(path)

    def finish(frame: pl.DataFrame) -> None:
        update_shard_sums(home, context.shard, frame)

    return ShardStage(keys, compute, forget=forget, finish=finish)


def likelihood_of(
    requests: list[LesionRequest],
    made: ExamPeaks,
    ct: SliceGrid | None,
    settings: LesionSettings,
) -> Likelihood:
    """How likely each calibration makes an exam's findings."""
    k = made.peaks.ijk[:, 2]
    slices = []
    for convention in conventions_of(settings.convention):
        numbers = reported_slices(convention, k, made.slices, ct)
        slices.append(None if numbers is None else (numbers, slices_per_pet_slice(convention, made.slices, ct)))
    prominence = prominence_weights(made, settings.location.full_prominence)
    sought = [r.sought for r in requests]
    weights = [prominence * place_weights(s.place, made) for s in sought]
    return exam_likelihood([s.reported for s in sought], made.peaks.suv, weights, slices, settings.calibration)


def _product(
    home: Home, exam: dict[str, Any], entry: ExamEntry | None, settings: LesionSettings
) -> tuple[ExamPeaks, str | None]:
    """The peaks of an exam, from their file where that still holds, and why its label map was left out."""
    exam_id = exam["exam_id"]
    path = peaks_path(home, exam_id)
    key = hash_of([code_version(name) for name in _PRODUCT], exam["row_key"], settings.peaks)
    known = load_exam_peaks(home.file(path), key)
    if known is not None:
        return known
    volume = load_nifti(home.file(exam["suv_path"]))
    message, organ_map = None, None
    try:
        organ_map = organ_map_of(entry, exam, volume)
    except ExamError as error:
        message = str(error)
    made = exam_peaks(volume, organ_map, settings.peaks)
    save_exam_peaks(made, message, key, path, organ_map)
    home.keep(path)
    return made, message
