"""Any CSV or Parquet table of exams or findings, its columns named by a mapping."""

from pathlib import Path
from typing import Any

import polars as pl

from pipelines.cohort.importers.mapping import TableMapping
from pipelines.cohort.importers.plan import ImportedExam, ImporterError, ImportPlan, plan_of
from pipelines.tables.safe_text import error_reason


def plan_table(path: Path, mapping: TableMapping) -> ImportPlan:
    """The exams of a table: rows of one exam are its findings, whose texts become its report and whose masks its given
    masks.

    Raises:
        ImporterError: the table cannot be read, lacks a column that the mapping names, or has no exam.
    """
    frame = _read(path)
    columns = {ours: theirs for ours, theirs in mapping.columns.model_dump().items() if theirs is not None}
    missing = [f"{ours} = {theirs!r}" for ours, theirs in columns.items() if theirs not in frame.columns]
    if missing:
        raise ImporterError(
            f"expected columns {', '.join(missing)} in {path}, got {', '.join(frame.columns)}: correct the mapping"
        )
    root = mapping.root or path.parent
    exams: dict[str, ImportedExam] = {}
    problems: list[str] = []
    for n, row in enumerate(frame.select(list(columns.values())).iter_rows(named=True), start=1):
        ours = {name: _text(row[theirs]) for name, theirs in columns.items()}
        exam_id = ours["exam"]
        if not exam_id:
            problems.append(f"row {n}: no exam")
            continue
        files = {name: root / value for name in ("pet", "ct", "mask") if (value := ours.get(name))}
        for name in [name for name, file in files.items() if not file.exists()]:
            problems.append(f"row {n}, exam {exam_id}: its {name} is not there, left out")
            del files[name]
        before = exams.get(exam_id)
        if before is None and "pet" not in files:
            problems.append(f"row {n}, exam {exam_id}: no PET, left out")
            continue
        if ours.get("text") and "mask" in columns and "mask" not in files:
            problems.append(f"row {n}, exam {exam_id}: a text without a mask")
        if "mask" in files and "text" in columns and not ours.get("text"):
            problems.append(f"row {n}, exam {exam_id}: a mask without a text")
        if before is not None and files.get("pet", before.pet) != before.pet:
            problems.append(f"row {n}, exam {exam_id}: another PET than in the rows before, left out")
            continue
        exams[exam_id] = _joined(before, exam_id, ours, files, is_suv=mapping.is_suv)
    return plan_of(exams.values(), problems, "rows with an exam and its PET", path.parent)


def _joined(
    before: ImportedExam | None, exam_id: str, ours: dict[str, str | None], files: dict[str, Path], *, is_suv: bool
) -> ImportedExam:
    """An exam with what a further row says of it."""
    masks = (*(before.masks if before else ()), *((files["mask"],) if "mask" in files else ()))
    texts = [text for text in (before.findings if before else None, ours.get("text")) if text]
    return ImportedExam(
        exam_id,
        (before.patient_id if before else ours.get("patient")) or exam_id,
        before.pet if before else files["pet"],
        files.get("ct") or (before.ct if before else None),
        tuple(dict.fromkeys(masks)),
        is_suv,
        tracer=ours.get("tracer") or (before.tracer if before else None),
        study_date=ours.get("study_date") or (before.study_date if before else None),
        findings="\n".join(texts) or None,
    )


def _read(path: Path) -> pl.DataFrame:
    try:
        if path.suffix.lower() in (".parquet", ".pq"):
            return pl.read_parquet(path)
        return pl.read_csv(path, infer_schema=False, separator="\t" if path.suffix.lower() == ".tsv" else ",")
    except (OSError, pl.exceptions.PolarsError) as error:
        raise ImporterError(
            f"expected a CSV or Parquet table at {path}, it cannot be read ({error_reason(error)}): correct the path"
        ) from None


def _text(value: Any) -> str | None:
    return (str(value).strip() or None) if value is not None else None
