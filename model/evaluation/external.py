"""Texts for the lesions of an external set, and review pages of them."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from model.evaluation.predictions import checkpoint_version
from pipelines.dataset.external_set import external_folders, fingerprint, read_external, review_tables
from pipelines.dataset.text_fields import fields_of
from pipelines.review.gallery import GallerySettings, GallerySummary, GalleryTables, write_gallery
from pipelines.settings import QUESTION
from pipelines.tables import schemas
from pipelines.tables.hashing import hash_of
from pipelines.tables.home import Home
from pipelines.tables.lake import Lake
from pipelines.tables.provenance import code_version


@dataclass(frozen=True)
class ExternalReport:
    """The table `external` after an update, its review pages, and what was wrong with exams."""

    frame: pl.DataFrame
    version: str
    recomputed: int
    reused: int
    problems: Sequence[str]
    gallery: GallerySummary | None


def update_external(
    home: Home, root: Path, checkpoint: Path, model_name: str, min_ml: float = 0.2, n_shown: int = 200
) -> ExternalReport:
    """Lesions of the set below `root` with the checkpoint's texts, in the lake; review pages in `external/gallery`.

    An exam whose files did not change is not read again; texts are made anew where lesions or weights changed. Raises
    FileNotFoundError where there is no checkpoint or no such folder.
    """
    if not root.is_dir():
        raise FileNotFoundError(
            f"expected the external set in {root}, which is not there: correct `external` in [evaluation]"
        )
    lake = Lake(home.lake)
    folders = external_folders(root)
    if not folders:
        raise FileNotFoundError(f"expected folders with SUV.nii.gz and SEG.nii.gz below {root}, got none")
    prints = {exam_id: fingerprint(folder, min_ml) for exam_id, folder in folders.items()}
    made_from = {"exams": prints, "checkpoint": checkpoint_version(checkpoint), "model": model_name}
    made_from["code"] = code_version("model.serving.generation")
    meta = lake.shard_meta("external")
    before = dict(meta.inputs) if meta is not None else {}
    kept = before.get("made_from", {}).get("exams", {})
    known = lake.read_table("external") if meta is not None else schemas.empty("external")
    reported: dict[str, list[str]] = {}
    rows = []
    read = 0
    for exam_id, folder in folders.items():
        if kept.get(exam_id) == prints[exam_id]:
            rows += known.filter(exam_id=exam_id).to_dicts()
            reported[exam_id] = before["problems"].get(exam_id, [])
            continue
        exam = read_external(exam_id, folder, root, home, home.external, min_ml)
        rows += [{**row, "model": model_name} for row in exam.rows]
        reported[exam_id] = list(exam.problems)
        read += 1
    problems = [problem for found in reported.values() for problem in found]
    if before.get("made_from") == made_from and meta is not None:
        gallery = _gallery(home, known, n_shown)
        return ExternalReport(known, meta.rows_digest, 0, len(folders), problems, gallery)
    frame = _described(schemas.frame("external", rows), checkpoint, home, model_name)
    for written_once in ("volumes", "masks"):
        for folder in (home.external / written_once).glob("*"):
            if folder.name not in folders:
                shutil.rmtree(folder)
    written = lake.write_table("external", frame, {"made_from": made_from, "problems": reported})
    frame = lake.read_table("external")
    return ExternalReport(
        frame, written.rows_digest, read, len(folders) - read, problems, _gallery(home, frame, n_shown)
    )


def _described(frame: pl.DataFrame, checkpoint: Path, home: Home, model_name: str) -> pl.DataFrame:
    """The lesions with what the checkpoint says of each."""
    if frame.is_empty():
        return frame
    # Not at module level: where nothing changed, torch is not needed.
    from model.serving.generation import generate

    wanted = ["exam_id", "patient_id", "suv_path", "ct_path", "mask_path", "suvmax", "slice"]
    samples = frame.select(
        *wanted,
        *(pl.col(name) for name in ("suvmean", "suvpeak", "diameter_mm", "mtv_ml")),
        sample_id="lesion_id",
        finding_id="lesion_id",
        kind=pl.lit("finding"),
        split=pl.lit("test"),
        question=pl.lit(QUESTION),
        # There is none; the model is asked and not trained.
        target=pl.lit(""),
        mask_label=pl.lit(1),
    )
    errors: dict[str, str] = {}
    predictions = generate(
        samples, checkpoint, home, model_name=model_name, on_problem=lambda i, message: errors.update({i: message})
    )
    texts = predictions.select(lesion_id="finding_id", text="text", text_measured="text_measured")
    return (
        frame.drop("text", "text_measured", "error", "model")
        .join(texts, on="lesion_id", how="left", maintain_order="left")
        .with_columns(
            model=pl.lit(model_name),
            error=pl.Series([errors.get(i) for i in frame["lesion_id"]], dtype=pl.String),
        )
        .select(frame.columns)
    )


def _gallery(home: Home, frame: pl.DataFrame, n_shown: int) -> GallerySummary | None:
    """Review pages of the lesions with their texts; None where there is no lesion."""
    if frame.is_empty():
        return None
    tables = review_tables(frame.to_dicts())
    findings = pl.DataFrame(tables["findings"], infer_schema_length=None)
    fields = [fields_of(text) for text in findings["sentence"]]
    findings = findings.with_columns(
        suvmax_reported=pl.lit(None, pl.Float64),
        **{
            name: pl.Series([getattr(f, name) for f in fields], dtype=pl.String)
            for name in ("region", "organ", "subsite", "laterality", "comparison")
        },
    )
    exams = pl.DataFrame(tables["exams"], infer_schema_length=None).with_columns(tracer=pl.lit(None, pl.String))
    settings = GallerySettings(home, hash_of(frame["text_measured"].to_list())[:12], n_lesions=n_shown)
    return write_gallery(
        home.external / "gallery",
        GalleryTables(
            pl.DataFrame(tables["localisations"], infer_schema_length=None),
            findings,
            schemas.empty("readings"),
            exams,
        ),
        settings,
    )
