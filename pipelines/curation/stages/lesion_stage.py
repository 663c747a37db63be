"""Lesions: each accepted finding located in its exam, contoured, measured and saved as a mask."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.curation.stages.calibration_stage import calibration_of, calibration_row
from pipelines.curation.stages.given_rows import given_results, with_shared
from pipelines.curation.stages.incremental import Rows
from pipelines.curation.stages.lesion_requests import ASKED, accepted_findings, ct_slices, is_located, request_of
from pipelines.curation.stages.peaks_stage import peaks_path
from pipelines.curation.stages.stage import ShardContext, ShardStage
from pipelines.imaging.lesions.body_frame import BodyFrame
from pipelines.imaging.lesions.calibration import Calibration, CalibrationSource
from pipelines.imaging.lesions.contour import NO_ORGANS, ExamOrgans
from pipelines.imaging.lesions.exam_peaks import load_exam_peaks, load_organ_labels
from pipelines.imaging.lesions.find_lesions import (
    ContourInputs,
    KnownLesion,
    LesionResult,
    find_lesions,
    write_mask,
)
from pipelines.imaging.masks import load_mask, save_mask
from pipelines.imaging.volume import load_nifti
from pipelines.tables.hashing import hash_of
from pipelines.tables.home import Home
from pipelines.tables.outcomes import Outcome


def lesions_stage(context: ShardContext) -> ShardStage:
    """One row an accepted finding. An exam whose findings changed is opened, all its findings are settled together, and
    only those whose text or contour inputs changed are contoured again.
    """
    home = context.curation.home
    exams = {row["exam_id"]: row for row in context.rows("exams").iter_rows(named=True)}
    accepted = accepted_findings(context)
    convention = context.curation.settings.lesions.convention
    calibrations = {
        row["exam_id"]: calibration_of(row, convention) for row in context.rows("calibration").iter_rows(named=True)
    }
    uncalibrated = Calibration(convention=convention, source=CalibrationSource.NONE)

    def calibration(exam_id: str) -> Calibration:
        return calibrations.get(exam_id, uncalibrated)

    keys = dict(context.unchanged) | {
        exam_id: hash_of(
            context.logic,
            row["row_key"],
            row["status"],
            calibration_row(calibration(exam_id)),
            [[f[k] for k in (*ASKED, "accepted_by")] for f in accepted[exam_id]],
        )
        for exam_id, row in exams.items()
    }
    before = {row["finding_id"]: row for rows in context.rows_before().values() for row in rows}
    notes: dict[str, Any] = {exam_id: noted for exam_id, noted in context.notes.items() if exam_id in keys}

    def key_of(finding: Mapping[str, Any]) -> str:
        """Of all that a finding depends on but its rivals in the exam."""
        exam = exams[finding["exam_id"]]
        used = calibration_row(calibration(finding["exam_id"]))
        asked = [finding[k] for k in (*ASKED, "accepted_by")]
        return hash_of(context.logic, exam["row_key"], exam["status"], used, asked)

    def compute(exam_id: str) -> tuple[Rows, bool]:
        exam, findings = exams[exam_id], {f["finding_id"]: f for f in accepted[exam_id]}
        noted = notes.pop(exam_id, {})
        requests = [request_of(f) for f in findings.values() if is_located(f)]

        if exam["status"] != "ok" or not findings:
            _remove_masks(home, exam_id, keep=())
            return unlocated(exam_id, Outcome.EXAM_PROBLEM, f"{exam['problem']}: {exam['message']}"), False
        known = {}
        for finding_id, finding in findings.items():
            note, row = noted.get(finding_id), before.get(finding_id)
            if note and row and note["key"] == key_of(finding) and home.is_kept(row["mask_path"]):
                known[finding_id] = _known(home, note, row)
        suv = load_nifti(home.file(exam["suv_path"]))
        product = load_exam_peaks(home.file(peaks_path(home, exam_id)))
        labels = load_organ_labels(home.file(peaks_path(home, exam_id)))
        results = find_lesions(
            suv,
            requests,
            context.curation.settings.lesions,
            ct_slices(exam),
            known,
            product[0] if product else None,
            calibration(exam_id),
            NO_ORGANS if labels is None else ExamOrgans(labels),
        )
        rows: list[dict[str, object]] = []
        paths: list[Path] = []
        given = given_results(home, exam, findings, suv, results)
        for result in results:
            finding = findings[result.request.finding_id]
            if finding["finding_id"] in given:
                continue
            if result.known is not None:
                row = {**before[finding["finding_id"]], "shares_with": ", ".join(result.shares_with) or None}
                if row["mask_path"]:
                    paths.append(home.root / str(row["mask_path"]))
            else:
                row, path = _made_row(home, exam_id, result, finding["accepted_by"])
                paths += [path] if path else []
            key = key_of(finding)
            contour_inputs = asdict(result.contour_inputs) if result.contour_inputs else None
            row |= {**result.location} | calibration_row(calibration(exam_id)) | _review_columns(finding, result)
            if row["correction_problem"]:
                context.log.warning("corrections of %s: %s", finding["finding_id"], row["correction_problem"])
            row["shares_with"] = with_shared(row["shares_with"], finding["finding_id"], given)
            told = [row["outcome"], row["explanation"], row["shares_with"], row["candidates"], row["posterior"]]
            told += [row["correction_problem"]] if row["correction_problem"] else []
            row["row_key"] = hash_of(key, contour_inputs, told)
            rows.append({**row, "exam_id": exam_id, "patient_id": exam["patient_id"]})
            if contour_inputs:
                said = {"outcome": result.outcome, "explanation": result.explanation}
                note = {"key": key, "place": contour_inputs, **said}
                notes.setdefault(exam_id, {})[finding["finding_id"]] = note
        for finding_id, one in given.items():
            path = home.keep(save_mask(one.mask, home.mask_folder(exam_id), finding_id))
            paths.append(path)
            row = one.row | {"mask_path": str(path.relative_to(home.root)), "exam_id": exam_id}
            key = hash_of(key_of(findings[finding_id]), one.row)
            rows.append(row | {"patient_id": exam["patient_id"], "row_key": key})
        _remove_masks(home, exam_id, keep=paths)
        frame = product[0].frame if product else None
        return [row | {"body_middle_mm": _body_middle_mm(frame, row)} for row in rows], False

    def unlocated(exam_id: str, outcome: Outcome, explanation: str) -> Rows:
        return [_unlocated_row(f, key_of(f), outcome, explanation) for f in accepted[exam_id]]

    def failed(exam_id: str, message: str) -> Rows:
        # The masks of the exam stay: the next run may find its lesions as they were.
        return unlocated(exam_id, Outcome.FAILED, message)

    def forget(exam_id: str) -> None:
        home.remove_folder(home.mask_folder(exam_id))

    return ShardStage(keys, compute, failed, forget, notes=notes)


def _body_middle_mm(frame: BodyFrame | None, row: Mapping[str, Any]) -> float | None:
    """RAS x of the body's middle on the slice of a row's peak; null without a peak, and where no body shows."""
    k = row.get("peak_k")
    if frame is None or k is None or not np.isfinite(frame.middle_mm[k]):
        return None
    return round(float(frame.middle_mm[k]), 1)


def _made_row(
    home: Home, exam_id: str, result: LesionResult, accepted_by: str | None
) -> tuple[dict[str, Any], Path | None]:
    if accepted_by and result.mask is not None and result.outcome is not Outcome.LESION:
        explanation = f"accepted by {accepted_by}; else {result.outcome.value}: {result.explanation}"
        result = replace(result, outcome=Outcome.LESION, explanation=explanation)
    row = result.to_row()
    if result.outcome is Outcome.SLICE_OUTSIDE:
        row["slice_k"] = None  # No slice of this image has that index.
    if result.outcome is not Outcome.LESION:
        return {**row, "mask_path": None}, None
    path = home.keep(write_mask(result, home.mask_folder(exam_id)))
    return {**row, "mask_path": str(path.relative_to(home.root))}, path


def _review_columns(finding: Mapping[str, Any], result: LesionResult) -> dict[str, Any]:
    """Where the mask of a lesion that was grown comes from, and which of its corrections could not be applied."""
    is_edited = bool(result.is_edited)
    source = "marked" if finding["mask_source"] == "marked" else "edited" if is_edited else "grown"
    return {"mask_source": source, "correction_problem": result.correction_problem}


def _known(home: Home, note: Mapping[str, Any], row: Mapping[str, Any]) -> KnownLesion:
    at = note["place"]
    contour_inputs = ContourInputs(
        tuple(at["peak_ijk"]),
        tuple(at["box_low"]),
        tuple(at["box_high"]),
        tuple(tuple(p) for p in at["neighbours"]),
        tuple(at["claim_low"]),
        tuple(at["claim_high"]),
        tuple(tuple(p) for p in at["cut_by"]),
        tuple(tuple(p) for p in at["joined"]),
    )
    low = tuple(row[f"box_{axis}0"] for axis in "ijk")

    def mask() -> tuple[tuple[int, ...], NDArray[np.bool_]]:
        return low, load_mask(home.file(row["mask_path"])).array > 0

    return KnownLesion(
        contour_inputs,
        Outcome(note["outcome"]),
        note["explanation"],
        mask if row["mask_path"] else None,
    )


def _unlocated_row(finding: Mapping[str, Any], key: str, outcome: Outcome, explanation: str) -> dict[str, object]:
    kept = ("exam_id", "patient_id", "finding_id", "sentence", "slice", "suvmax_reported")
    return {name: finding[name] for name in kept} | {
        "row_key": hash_of(key, explanation),
        "mask_source": None,
        "outcome": outcome.value,
        "explanation": explanation,
    }


def _remove_masks(home: Home, exam_id: str, keep: Sequence[Path]) -> None:
    for path in home.files_below(home.mask_folder(exam_id)):
        if path not in keep:
            home.remove(path)
