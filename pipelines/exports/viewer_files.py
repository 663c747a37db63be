"""Lesions as files for viewers: a folder an exam, written again only where its lesions changed.

`PETAR_HOME/exports/<exam>/` holds `lesions.csv` (which label is which finding, with its measures), `lesions.nii.gz`
(a label map on the PET's grid) and, for an exam that came as DICOM, `lesions.dcm` (a DICOM SEG that refers to its
series) and `lesions_labelmap.dcm` (the same as a LABELMAP, where no two lesions overlap).
"""

import logging
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from pipelines.cohort.manifest import read_whole_manifest
from pipelines.exports.segmentation import ExportLesion, export_dicom_seg, export_nifti
from pipelines.imaging.problems import ExamError, place_of
from pipelines.imaging.volume import load_nifti
from pipelines.settings import ExportSettings
from pipelines.tables import atomic
from pipelines.tables.hashing import hash_of
from pipelines.tables.home import Home, folder_name
from pipelines.tables.lake import Lake
from pipelines.tables.outcomes import Outcome
from pipelines.tables.provenance import code_version
from pipelines.tables.safe_text import error_reason
from pipelines.tables.stamped_folders import remove_others, stamp_of, write_stamp

SEG_NAME = "lesions.dcm"
"""File of an exam's DICOM SEG in its folder of the exports."""
LABELMAP_NAME = "lesions_labelmap.dcm"
"""File of the same segments as a LABELMAP."""
_CSV, _NIFTI, _STAMP = "lesions.csv", "lesions.nii.gz", ".export.json"
_COLUMNS = (
    "finding_id",
    "is_physiologic",
    "sentence",
    "slice",
    "suvmax_reported",
    "organ",
    "subsite",
    "laterality",
    "suvmax",
    "suvmean",
    "suvpeak",
    "mtv_ml",
    "tlg",
    "peak_x_mm",
    "peak_y_mm",
    "peak_z_mm",
    "threshold_suv",
    "method",
)


@dataclass(frozen=True)
class ExportSummary:
    """What a call did, in exams; `failed` has the reason by exam."""

    folder: Path
    exported: int
    reused: int
    removed: int
    lesions: int
    segs: int
    failed: Mapping[str, str]


@dataclass(frozen=True)
class _SegSettings:
    """What SEGs are written, and by how many days their dates are moved (None: they have none)."""

    exports: ExportSettings
    days_back: int | None


def export_lesions(
    home: Home,
    exams_folder: Path,
    settings: ExportSettings,
    log: logging.Logger | None = None,
    days_back: Callable[[str], int | None] = lambda patient_id: None,
) -> ExportSummary:
    """Brings `home.exports` up to the curated lesions: changed exams are written again, those without lesions removed.

    An exam that cannot be exported is named with its reason and tried again by the next call; its earlier export is
    removed, since it shows other lesions. Where the series is the reason, its other files are written all the same.

    Args:
        home: folders below PETAR_HOME.
        exams_folder: the exams, whose DICOM series a SEG refers to, where the home does not know their folders.
        settings: which files are written.
        log: is told of exams that cannot be exported.
        days_back: patient -> by how many days the dates of a SEG are moved; None leaves them out.
    """
    log = log or logging.getLogger(__name__)
    lake = Lake(home.lake)
    exams = {row["exam_id"]: row for row in lake.read_table("exams").iter_rows(named=True)}
    tracks = dict(
        lake.read_table("lesion_links").drop_nulls("finding_id").select("finding_id", "tracked_as").iter_rows()
    )
    names = ["finding_id", "region", "organ", "subsite", "laterality", "is_physiologic"]
    lesions = (
        lake.read_table("lesions")
        .filter(pl.col("outcome") == Outcome.LESION.value)
        .join(lake.read_table("findings").select(names), on="finding_id", how="left")
        .sort("exam_id", "slice", "finding_id")
        .with_columns(tracked_as=pl.col("finding_id").replace(tracks))
    )
    by_exam = {str(exam_id): own for (exam_id,), own in lesions.group_by("exam_id", maintain_order=True)}
    removed = remove_others(home.exports, _STAMP, {folder_name(exam_id) for exam_id in by_exam})
    folders = source_folders(home)
    exported = reused = segs = 0
    failed: dict[str, str] = {}
    for exam_id, own in by_exam.items():
        folder, exam = home.exports / folder_name(exam_id), exams[exam_id]
        with_seg = settings.dicom_seg and exam["source"] == "dicom"
        segs += with_seg
        wanted = [_CSV] + [_NIFTI] * settings.nifti + [SEG_NAME] * with_seg
        days = days_back(exam["patient_id"])
        # Of the days only that there are some: a hash of so few numbers tells which it is.
        said = (wanted, settings.dicom_labelmap, settings.keep_identity, days is not None)
        key = hash_of(code_version(__name__), *said, exam["row_key"], own.to_dicts())
        if stamp_of(folder, _STAMP) == key and all((folder / name).is_file() for name in wanted):
            reused += 1
            continue
        try:
            shutil.rmtree(folder, ignore_errors=True)
            source = folders.get(exam_id, exams_folder / exam_id)
            without_seg = _write(home, source, exam, own, folder, wanted, _SegSettings(settings, days))
            if without_seg is not None:
                segs -= 1
                failed[exam_id] = f"no DICOM SEG, its other files are written: {without_seg}"
                log.warning("exam %s has %s", exam_id, failed[exam_id])
            write_stamp(folder, _STAMP, key)
            exported += 1
        except Exception as error:
            shutil.rmtree(folder, ignore_errors=True)
            failed[exam_id] = export_reason(error)
            log.warning("exam %s is not exported: %s; the next call tries again", exam_id, failed[exam_id])
    return ExportSummary(home.exports, exported, reused, removed, lesions.height, segs, failed)


def _write(
    home: Home,
    exam_folder: Path,
    exam: Mapping[str, Any],
    own: pl.DataFrame,
    folder: Path,
    wanted: list[str],
    seg: _SegSettings,
) -> str | None:
    """Why an exam's SEG is missing, null where it is not; the other files are written before it."""
    rows = own.to_dicts()
    items = [
        ExportLesion(
            row["finding_id"],
            lesion_name(n, row),
            home.file(row["mask_path"]),
            row["organ"],
            row["region"],
            row["laterality"],
            bool(row["is_physiologic"]),
            row["tracked_as"],
        )
        for n, row in enumerate(rows, 1)
    ]
    if _NIFTI in wanted:
        export_nifti(items, load_nifti(home.file(exam["suv_path"])), folder / _NIFTI)
    table = own.select(_COLUMNS).with_columns(
        label=pl.int_range(1, own.height + 1), name=pl.Series([item.label for item in items], dtype=pl.String)
    )
    atomic.write_bytes(folder / _CSV, table.select("label", "name", *_COLUMNS).write_csv().encode())
    if SEG_NAME in wanted:
        try:
            export_dicom_seg(
                items,
                exam_folder,
                folder / SEG_NAME,
                keep_identity=seg.exports.keep_identity,
                days_back=seg.days_back,
                labelmap_path=folder / LABELMAP_NAME if seg.exports.dicom_labelmap else None,
            )
        except Exception as error:
            return export_reason(error)
    return None


def export_reason(error: Exception) -> str:
    """Why an export failed, in our words: those of another library may quote a header."""
    return error.message if isinstance(error, ExamError) else f"{error_reason(error)} at {place_of(error)}"


def source_folders(home: Home) -> dict[str, Path]:
    """Folders of the exams' files as the cohort was last observed, by exam; none where it never was."""
    if not any(home.manifest.glob("[0-9]*.json")):
        return {}
    return {entry.exam_id: Path(entry.folder) for entry in read_whole_manifest(home.manifest) if entry.folder}


def lesion_name(number: int, row: Mapping[str, Any]) -> str:
    """What a viewer shows for a lesion: its number, where it is as far as the text says, SUVmax and slice."""
    words = [row["laterality"], row["organ"], row["subsite"]]
    place = " ".join(word for word in words if word) or "lesion"
    if row.get("is_physiologic"):
        place = f"physiologic uptake, {place}"
    at = "" if row["slice"] is None else f", slice {row['slice']}"
    suvmax = row["suvmax"] if row["suvmax_reported"] is None else row["suvmax_reported"]
    return f"{number} {place}, SUVmax {round(suvmax, 2):g}{at}"
