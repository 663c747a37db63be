"""What a release holds: rows of exams and lesions of an accepted version, through the privacy gate."""

import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from isal import igzip

from pipelines.catalog.versions import Accepted, version_folder
from pipelines.dataset.splits import split_of_exam
from pipelines.imaging.masks import load_mask, place_mask
from pipelines.imaging.volume import Volume, load_nifti, nifti_image
from pipelines.release.gate import PrivacyGate, ReleaseError, accepted_version
from pipelines.settings import SplitSettings
from pipelines.tables.home import Home
from pipelines.tables.lake import Lake

_EXAM_COLUMNS = (
    *("tracer", "study_date", "scanner", "units", "injected_dose_bq", "half_life_s", "uptake_s", "suv_max", "has_ct"),
    *("shape_i", "shape_j", "shape_k", "spacing_i_mm", "spacing_j_mm", "spacing_k_mm", "voxel_ml"),
)
_LESION_COLUMNS = (
    *("mask_source", "evidence", "posterior", "slice", "suvmax_reported"),
    *("suvmax", "suvmean", "suvpeak", "mtv_ml", "tlg", "diameter_mm", "n_voxels", "voxel_ml"),
    *("peak_x_mm", "peak_y_mm", "peak_z_mm", "centroid_x_mm", "centroid_y_mm", "centroid_z_mm"),
    *("box_i0", "box_j0", "box_k0", "box_i1", "box_j1", "box_k1"),
    *("threshold_suv", "background_suv", "tumour_to_background", "method", "touches_border"),
)
_FINDING_COLUMNS = (
    *("sentence", "text", "text_source", "is_physiologic", "region", "organ", "subsite", "laterality"),
    *("comparison", "certainty", "size_cm"),
)


@dataclass(frozen=True)
class ReleaseExam:
    """One exam of a release: its row, the rows of its lesions, and where its files lie."""

    row: Mapping[str, Any]
    lesions: tuple[Mapping[str, Any], ...]
    suv_path: Path
    ct_path: Path | None
    mask_paths: tuple[Path, ...]

    @property
    def exam_id(self) -> str:
        """Its name in the release."""
        return str(self.row["exam_id"])

    @property
    def split(self) -> str:
        """`train`, `val` or `test`."""
        return str(self.row["split"])


@dataclass(frozen=True)
class ExamImages:
    """The images of an exam as bytes of NIfTI files (gzip), all on the grid of the PET.

    `labels` holds lesion n as n (of two that overlap the first has the voxel), `lesion` all but physiologic uptake
    as 1; `masks` the cropped mask of each lesion.
    """

    pet: bytes
    ct: bytes | None
    labels: bytes
    lesion: bytes
    masks: tuple[bytes, ...]


@dataclass(frozen=True)
class Contents:
    """An accepted version as it is released."""

    accepted: Accepted
    exams: tuple[ReleaseExam, ...]
    n_without_lesions: int
    """Exams with a volume that hold no lesion and are left out."""

    def lesions(self) -> pl.DataFrame:
        """Rows of all lesions."""
        return pl.DataFrame([dict(row) for exam in self.exams for row in exam.lesions], infer_schema_length=None)


def read_contents(home: Home, name: str, gate: PrivacyGate, splits: SplitSettings = SplitSettings()) -> Contents:
    """The exams of an accepted version that hold lesions, sorted by their names in the release.

    Raises:
        ReleaseError: nothing was accepted under the name, or it holds no lesion.
    """
    accepted = accepted_version(home, name)
    folder = version_folder(home, accepted.version)
    lake = Lake(folder / "lake")
    tables = {table: lake.read_table(table) for table in ("exams", "findings", "lesions")}
    joined = (
        tables["lesions"]
        .filter(pl.col("outcome") == "lesion")
        .select("finding_id", "exam_id", "mask_path", *_LESION_COLUMNS)
        .join(tables["findings"].select("finding_id", *_FINDING_COLUMNS), on="finding_id", how="left")
        .sort("exam_id", "box_k1", "box_j1", "box_i1", "finding_id", descending=[False, True, True, True, False])
    )
    said = _model_texts(lake)
    by_exam: dict[str, list[dict[str, Any]]] = {}
    for row in joined.iter_rows(named=True):
        if row["text_source"] == "composed" and row["finding_id"] in said:
            text, model = said[row["finding_id"]]
            row |= {"sentence": text, "text": text, "text_source": "model", "text_model": model}
        by_exam.setdefault(row["exam_id"], []).append(row)
    usable = tables["exams"].filter(pl.col("status") == "ok")
    exams = [
        _exam(row, by_exam[row["exam_id"]], folder, gate, splits)
        for row in usable.iter_rows(named=True)
        if row["exam_id"] in by_exam
    ]
    if not exams:
        raise ReleaseError(f"expected lesions in the accepted curation {name!r}, got none: accept another")
    in_order = tuple(sorted(exams, key=lambda exam: exam.exam_id))
    return Contents(accepted, in_order, usable.height - len(exams))


def _model_texts(lake: Lake) -> dict[str, tuple[str, str]]:
    """Finding -> (a model's text of it, the model); PETAR's own where there are several."""
    predictions = lake.read_table("predictions").drop_nulls("text_measured").filter(pl.col("text_measured") != "")
    order = predictions.sort(~pl.col("model").str.starts_with("petar"), "model", "finding_id")
    rows = order.unique("finding_id", keep="first", maintain_order=True)
    return {row["finding_id"]: (row["text_measured"], row["model"]) for row in rows.iter_rows(named=True)}


def _exam(
    row: Mapping[str, Any], lesions: list[dict[str, Any]], folder: Path, gate: PrivacyGate, splits: SplitSettings
) -> ReleaseExam:
    exam_id, patient_id = row["exam_id"], row["patient_id"]
    names = gate.names(exam_id)
    ids = {
        "exam_id": gate.exam(exam_id),
        "patient_id": gate.patient(patient_id),
        "split": split_of_exam(row, splits),
    }
    own = ids | {name: row[name] for name in _EXAM_COLUMNS}
    own |= {name: gate.words(row[name]) for name in ("tracer", "scanner", "units")}
    own["study_date"] = gate.study_date(row["study_date"], patient_id)
    rows = []
    for number, lesion in enumerate(lesions, 1):
        said = {name: gate.text(lesion[name], exam_id, patient_id, names) for name in ("sentence", "text")}
        said |= {name: gate.place(lesion[name]) for name in ("organ", "subsite")}
        kept = {name: lesion[name] for name in (*_FINDING_COLUMNS, *_LESION_COLUMNS)} | said
        defaults = {"mask_source": kept["mask_source"] or "grown", "text_source": kept["text_source"] or "report"}
        named = {"lesion_id": f"{ids['exam_id']}:{number}", **ids, "label": number}
        rows.append(named | kept | defaults | {"text_model": lesion.get("text_model")})
    return ReleaseExam(
        {**own, "n_lesions": len(rows)},
        tuple(rows),
        folder / row["suv_path"],
        folder / row["ct_path"] if row["ct_path"] else None,
        tuple(folder / lesion["mask_path"] for lesion in lesions),
    )


def read_images(exam: ReleaseExam) -> ExamImages:
    """The images of an exam."""
    suv = load_nifti(exam.suv_path)
    labels = np.zeros(suv.shape, dtype=np.uint16, order="F")
    lesion = np.zeros(suv.shape, dtype=np.uint8, order="F")
    masks = [load_mask(path) for path in exam.mask_paths]
    for row, mask in reversed(list(zip(exam.lesions, masks, strict=True))):
        placed = place_mask(mask, suv)
        labels[placed] = row["label"]
        if not row["is_physiologic"]:
            lesion[placed] = 1
    return ExamImages(
        packed(suv),
        packed(load_nifti(exam.ct_path)) if exam.ct_path else None,
        packed(Volume(labels, suv.affine)),
        packed(Volume(lesion, suv.affine)),
        tuple(packed(mask) for mask in masks),
    )


def packed(volume: Volume) -> bytes:
    """A volume as the bytes of a NIfTI file (gzip without time or name): equal volumes are equal bytes."""
    stream = io.BytesIO()
    nifti_image(volume).to_stream(stream)
    return bytes(igzip.compress(stream.getvalue(), 2, mtime=0))
