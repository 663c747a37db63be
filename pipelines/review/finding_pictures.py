"""The pictures of findings in the review gallery, drawn where they are not there yet."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import polars as pl

from pipelines.imaging.lesion_figures import lesion_figure, mip_figure, thumbnail
from pipelines.imaging.problems import ExamError
from pipelines.imaging.projections import Mip, mip_of
from pipelines.imaging.volume import Volume, load_nifti
from pipelines.tables import atomic
from pipelines.tables.errors import reason_of
from pipelines.tables.exam_problems import ExamProblem
from pipelines.tables.hashing import hash_of
from pipelines.tables.home import Home
from pipelines.tables.outcomes import Outcome
from pipelines.tables.provenance import code_version


def picture_name(row: Mapping[str, Any]) -> str:
    """File name of a finding's picture: it changes when the finding is made anew, so a kept file is never outdated."""
    facts = [
        row.get(c)
        for c in ("finding_id", "row_key", "suvmax", "mtv_ml", "slice_k", "peak_i", "peak_j", "peak_k", "threshold_suv")
    ]
    return hash_of(code_version(__name__), facts)[:20]


def needs_picture(row: Mapping[str, Any]) -> bool:
    """Whether the image stage looked at a finding: then there is something to see, a mask or the empty slice."""
    return row.get("image_outcome") is not None and row["image_outcome"] != Outcome.EXAM_PROBLEM.value


def draw_all(rows: pl.DataFrame, exams: pl.DataFrame, pictures: Path, home: Home) -> tuple[int, int, dict[str, str]]:
    """Draws what is not there yet, exam by exam so that a volume is read once: (drawn, reused, reasons of what is
    missing).
    """
    volumes = {e["exam_id"]: e for e in exams.iter_rows(named=True)}
    drawn = reused = 0
    missing: dict[str, str] = {}
    for exam_id in rows["exam_id"].unique(maintain_order=True):
        todo = []
        for row in rows.filter(pl.col("exam_id") == exam_id).iter_rows(named=True):
            if not needs_picture(row):
                continue
            name = picture_name(row)
            if (pictures / f"{name}.png").exists() and (pictures / f"{name}-thumb.png").exists():
                reused += 1
            else:
                todo.append(row)
        if not todo:
            continue
        try:
            suv, ct = _load_exam(volumes.get(exam_id), home)
        except (ExamError, OSError, ValueError) as error:
            missing |= {
                row["finding_id"]: f"the volume of exam {exam_id} cannot be read: {reason_of(error)}" for row in todo
            }
            continue
        mip = mip_of(suv)
        for row in todo:
            try:
                _draw(row, suv, ct, mip, pictures, home)
                drawn += 1
            except (ExamError, OSError, ValueError, nibabel.filebasedimages.ImageFileError) as error:
                missing[row["finding_id"]] = f"the picture cannot be drawn: {reason_of(error)}"
    return drawn, reused, missing


def _load_exam(exam: Mapping[str, Any] | None, home: Home) -> tuple[Volume, Volume | None]:
    if exam is None or exam.get("suv_path") is None:
        raise ExamError(
            ExamProblem.BAD_VALUES, "expected a SUV volume, the table exams names none: curate the exam again"
        )
    ct_path = exam.get("ct_path")
    return load_nifti(home.file(exam["suv_path"])), load_nifti(home.file(ct_path)) if ct_path else None


def _draw(row: Mapping[str, Any], suv: Volume, ct: Volume | None, mip: Mip, pictures: Path, home: Home) -> None:
    mask = load_nifti(home.file(row["mask_path"])) if row.get("mask_path") else None
    slice_k = row.get("slice_k")
    name = picture_name(row)
    if mask is None and slice_k is None:
        # The report's slice is not in the image: any slice shown would be taken for it.
        picture = mip_figure(suv)
    else:
        # What was found and rejected all the same, for its side say, has a peak and no mask.
        is_marked = mask is None and row.get("peak_i") is not None
        mark = (row["peak_i"], row["peak_j"], row["peak_k"]) if is_marked else None
        picture = lesion_figure(
            suv, ct, mask, slice_k=slice_k, mip=mip, near_k=nearest_slice_k(row, suv), mark_ijk=mark
        )
    atomic.write_bytes(pictures / f"{name}.png", picture)
    atomic.write_bytes(pictures / f"{name}-thumb.png", thumbnail(suv, mask, slice_k, mip))


def nearest_slice_k(row: Mapping[str, Any], suv: Volume) -> int | None:
    """Index of the nearest slice with the reported SUVmax, which the table names as the report counts; None without.

    Reports count from the head or from the feet: of the two slices that lie as far off, the one that holds the value.
    """
    reported = row.get("suvmax_reported")
    if row.get("nearest_slice_with_suvmax") is None or row.get("slice_k") is None or reported is None:
        return None
    off = row["nearest_slice_with_suvmax"] - row["slice"]
    found = [k for k in (row["slice_k"] - off, row["slice_k"] + off) if 0 <= k < suv.shape[2]]
    return min(found, key=lambda k: float(np.abs(suv.array[:, :, k] - reported).min()), default=None)
