"""Any CSV or Parquet table of exams or findings, its columns named by a mapping."""

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, time
from pathlib import Path
from typing import Any

import polars as pl

from pipelines.cohort.importers.mapping import TableMapping
from pipelines.cohort.importers.plan import ImportedExam, ImportedMask, ImporterError, ImportPlan, plan_of
from pipelines.cohort.table_files import TableFileError, is_blank, read_table_file
from pipelines.tables.safe_text import error_reason
from pipelines.tables.split_names import SPLIT_WORDS, split_named

_MISSING = ("", "nan", "n/a", "na", "<na>", "none", "null")
"""What stands in tables for nothing, in lower case."""


def plan_table(path: Path, mapping: TableMapping) -> ImportPlan:
    """The exams of a table: rows of one exam are its findings, whose masks become its given masks
    with their texts; a text without a mask goes into its report.

    Raises:
        ImporterError: the table cannot be read, lacks a column that the mapping names, or has no exam.
    """
    frame, told = _read(path)
    columns = _columns(frame, mapping, path)
    root = mapping.root or path.parent
    exams: dict[str, ImportedExam] = {}
    problems = list(told)
    rows = [
        {name: _text(row[theirs]) for name, theirs in columns.items()}
        for row in frame.select(list(dict.fromkeys(columns.values()))).iter_rows(named=True)
    ]
    # The PET of an exam may stand in any of its rows.
    pets: dict[str, Path] = {}
    for ours in rows:
        if ours["exam"] and ours["exam"] not in pets and (pet := _found(root, ours["pet"])) is not None:
            pets[ours["exam"]] = pet
    for n, ours in enumerate(rows, start=1):
        exam_id = ours["exam"]
        if not exam_id:
            problems.append(f"row {n}: no exam")
            continue
        named = [name for name in ("pet", "ct", "mask") if ours.get(name)]
        files = {name: file for name in named if (file := _found(root, ours[name])) is not None}
        problems += [
            f"row {n}, exam {exam_id}: its {name} is not there, left out" for name in named if name not in files
        ]
        if exam_id not in pets:
            problems.append(f"row {n}, exam {exam_id}: no PET, left out")
            continue
        files.setdefault("pet", pets[exam_id])
        before = exams.get(exam_id)
        if before is not None and files.get("pet", before.pet) != before.pet:
            problems.append(f"row {n}, exam {exam_id}: another PET than in the rows before, left out")
            continue
        mask, told = _mask(ours, files.get("mask"), columns, mapping)
        problems += [f"row {n}, exam {exam_id}: {problem}" for problem in told]
        exams[exam_id] = _joined(before, ours, files, mask, mapping)
        if exams[exam_id].split != (split := split_named(ours.get("split"))) and split is not None:
            problems.append(f"row {n}, exam {exam_id}: another split than in the rows before, the first is taken")
    return plan_of(exams.values(), problems, "rows with an exam and its PET", path.parent)


def _columns(frame: pl.DataFrame, mapping: TableMapping, path: Path) -> dict[str, str]:
    """Our name -> the table's, which may differ from the mapping's in case, blanks and how letters are composed.

    Raises:
        ImporterError: there is no such column, or it holds no plain values.
    """
    wanted = {ours: theirs for ours, theirs in mapping.columns.model_dump().items() if theirs is not None}
    alike: dict[str, list[str]] = {}
    for name in frame.columns:
        alike.setdefault(_plain(name), []).append(name)
    found, missing = {}, []
    for ours, theirs in wanted.items():
        same = [theirs] if theirs in frame.columns else alike.get(_plain(theirs), [])
        if len(same) == 1:
            found[ours] = same[0]
        else:
            missing.append(f"{ours} = {theirs!r}")
    if missing:
        raise ImporterError(
            f"expected columns {', '.join(missing)} in {path}, got {', '.join(frame.columns) or 'none'}: correct the"
            " mapping"
        )
    packed = [name for name in found.values() if frame.schema[name].is_nested() or frame.schema[name] == pl.Binary]
    if packed:
        raise ImporterError(
            f"expected text or numbers in the columns {', '.join(dict.fromkeys(packed))} of {path}, got lists, structs"
            " or bytes: write the files beside the table, and their paths into it"
        )
    return found


def _plain(name: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", name).casefold().split())


def _found(root: Path, value: str | None) -> Path | None:
    """The file or folder that a cell names, whichever way its slashes lean and its letters are composed; null where it
    is not there."""
    if not value:
        return None
    for said in dict.fromkeys((value, value.replace("\\", "/"))):
        composed, decomposed = unicodedata.normalize("NFC", said), unicodedata.normalize("NFD", said)
        for form in dict.fromkeys((said, composed, decomposed)):
            if _is_there(root / form):
                return root / form
    return None


def _whole_number(label: str) -> int | None:
    """The number that a label is (`2`, `2.0`, `2,00`); null where it is no whole one above 0."""
    match = re.fullmatch(r"\+?(\d+)(?:[.,]0*)?", label, re.ASCII)
    return int(match[1]) or None if match else None


Row = Mapping[str, str | None]
"""Values of a row by our names."""


def _mask(
    ours: Row, file: Path | None, columns: Mapping[str, str], mapping: TableMapping
) -> tuple[ImportedMask | None, list[str]]:
    """(the given mask of a row, what is to be told of it)."""
    text, label = ours.get("text"), ours.get("label")
    told = []
    if text and "mask" in columns and file is None:
        told.append("a text without a mask, put into the report")
    if file is not None and "text" in columns and not text:
        told.append("a mask without a text")
    said = ours.get("split")
    if said and split_named(said) is None:
        told.append(f"split {said[:20]!r} is none of {', '.join(SPLIT_WORDS)}, left out")
    if file is None:
        return None, told
    number = _whole_number(label) if label is not None else None
    if label is not None and number is None:
        told.append("a label that is no whole number above 0: its mask is left out")
        return None, told
    lesions = mapping.lesions or ("whole" if text or label or "text" in columns else "components")
    return ImportedMask(file, lesions, number, text), told


def _joined(
    before: ImportedExam | None,
    ours: Row,
    files: Mapping[str, Path],
    mask: ImportedMask | None,
    mapping: TableMapping,
) -> ImportedExam:
    """An exam with what a further row says of it."""
    exam_id = str(ours["exam"])
    known = before or ImportedExam(exam_id, ours.get("patient") or exam_id, files["pet"], is_suv=mapping.is_suv)
    said = (ours.get("report"), None if mask is not None and mask.text else ours.get("text"))
    texts = dict.fromkeys(filter(None, (*(known.findings or "").split("\n\n"), *said)))
    masks = dict.fromkeys((*known.masks, *((mask,) if mask is not None else ())))
    return replace(
        known,
        ct=known.ct or files.get("ct"),
        masks=tuple(masks),
        tracer=known.tracer or ours.get("tracer"),
        study_date=known.study_date or ours.get("study_date"),
        split=known.split or split_named(ours.get("split")),
        findings="\n\n".join(texts) or None,
    )


def columns_of(path: Path) -> list[str]:
    """Columns of a table; empty where it cannot be read."""
    try:
        return _read(path)[0].columns
    except ImporterError:
        return []


def _read(path: Path) -> tuple[pl.DataFrame, list[str]]:
    """(a table, what is to be told of how it was read)."""
    try:
        if path.suffix.lower() in (".parquet", ".pq"):
            return pl.read_parquet(path), []
        table = read_table_file(path)
        header = _distinct(table.header)
        rows = [row for row in table.rows if not is_blank(row.cells)]
    except (OSError, TableFileError, pl.exceptions.PolarsError) as error:
        reason = str(error) if isinstance(error, TableFileError) else error_reason(error)
        raise ImporterError(
            f"expected a CSV, a workbook or a Parquet table at {path}, it cannot be read ({reason}): correct the path"
        ) from None
    told = [f"{path.name}: {said}" for said in (table.note, *(row.problem for row in rows)) if said]
    cells = [(*row.cells, *("",) * len(header))[: len(header)] for row in rows]
    return pl.DataFrame(cells, dict.fromkeys(header, pl.String), orient="row"), told


def _distinct(names: Sequence[str]) -> list[str]:
    """Names of columns without blanks around them, a number behind those that come again."""
    found: list[str] = []
    for name in (name.strip() for name in names):
        n = 2
        new = name
        while new in found:
            new, n = f"{name}_{n}", n + 1
        found.append(new)
    return found


def _is_there(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # A text that is too long for a name.
        return False


def _text(value: Any) -> str | None:
    """A cell as text: numbers without decimals that are 0, days without a time that is midnight."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    elif isinstance(value, datetime) and value.time() == time():
        value = value.date()
    said = str(value).strip() if value is not None else ""
    return None if said.lower() in _MISSING else said
