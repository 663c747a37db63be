"""`given_masks.csv` of a cohort: masks that come with its exams, how each is divided into lesions, what is said of it.

A line is `exam_id, mask`, and where it is known `label, lesions, text, finding`. A line that cannot be taken is kept
with its reason and gives no lesion; the others are taken.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Literal, get_args

from pipelines.cohort.cohort_files import files_below
from pipelines.cohort.report_files import clean_id
from pipelines.cohort.table_files import TableFileError, TableRow, is_blank, read_table_file, without_lone_surrogates
from pipelines.tables.hashing import hash_of
from pipelines.tables.safe_text import error_reason, is_technical

FILE_NAME = "given_masks.csv"
COLUMNS = ("exam_id", "mask", "label", "lesions", "text", "finding")
"""Columns of the file; the first two are needed."""
Division = Literal["whole", "labels", "components"]
DIVISIONS: tuple[Division, ...] = get_args(Division)
MOST_LABEL = 65_535


class GivenMasksError(ValueError):
    """The file cannot be read at all; the message says what to do."""


@dataclass(frozen=True)
class GivenMask:
    """One mask that comes with an exam.

    Args:
        exam_id: its exam.
        mask: its file, from the exam's folder.
        label: value of it in the file; null: every value but 0.
        lesions: `whole`: one lesion; `labels`: one each value; `components`: one each connected part of a value.
        text: what is said of it; null where nothing is.
        finding: the finding whose grown mask it replaces (what follows the exam in its id); null: it is a lesion of its
            own.
        problem: why it cannot be taken, null where it can.
    """

    exam_id: str
    mask: str
    label: int | None = None
    lesions: Division = "components"
    text: str | None = None
    finding: str | None = None
    problem: str | None = None


def read_given_masks(cohort: Path) -> dict[str, tuple[GivenMask, ...]]:
    """Exam -> its given masks in the order of the file; empty where the cohort has no such file.

    Raises:
        GivenMasksError: the file is no table, or lacks a column.
    """
    path = cohort / FILE_NAME
    if not path.is_file():
        return {}
    try:
        table = read_table_file(path)
        names = [name.strip().lower() for name in table.header]
        missing = [name for name in COLUMNS[:2] if name not in names]
        if missing:
            raise GivenMasksError(
                f"expected the columns {', '.join(COLUMNS)} in {path}, got {', '.join(names) or 'none'}: add "
                f"{', '.join(missing)}"
            )
        found = [_given(names, row) for row in table.rows if not is_blank(row.cells)]
    except (TableFileError, OSError) as error:
        reason = str(error) if isinstance(error, TableFileError) else f"it cannot be read ({error_reason(error)})"
        raise GivenMasksError(f"{path}: {reason}") from error
    by_exam: dict[str, list[GivenMask]] = {}
    for one in _without_repetitions(found):
        by_exam.setdefault(one.exam_id, []).append(one)
    return {exam_id: tuple(own) for exam_id, own in by_exam.items()}


def hidden_name(mask: str, folder: Path | None) -> dict[str, str]:
    """`mask` and `mask_id` of a mask whose file may be named after its patient: its place among the files of its exam,
    by name, and what tells it from other masks when files come or go. A name of technical words stays.
    """
    if is_technical(mask):
        return {}
    names = [file.name for file in files_below(folder)] if folder is not None else []
    place = f"{_PLACE}{names.index(mask) + 1}" if mask in names else f"{_PLACE}0"
    return {"mask": place, "mask_id": hash_of("mask", mask)[:8]}


def mask_file(folder: Path, mask: str) -> Path:
    """The file of a mask by its name or its place (`hidden_name`); one that is not there has a path all the same."""
    place = mask.removeprefix(_PLACE)
    if mask.startswith(_PLACE) and place.isdecimal():
        files = files_below(folder)
        return files[int(place) - 1].path if 1 <= int(place) <= len(files) else folder / mask
    return folder / mask


_PLACE = "#"


def _given(names: Sequence[str], row: TableRow) -> GivenMask:
    cells = {
        name: without_lone_surrogates(cell).strip()
        for name, cell in zip(names, row.cells, strict=False)
        if name in COLUMNS
    }
    text, finding = cells.get("text") or None, (cells.get("finding") or "").rpartition(":")[2] or None
    lesions: Division = "whole" if text or finding else "components"
    problem = row.problem or _problem(cells)
    if not problem:
        lesions = next((known for known in DIVISIONS if known == cells.get("lesions", "").lower()), lesions)
    label = cells.get("label") or None
    return GivenMask(
        clean_id(cells.get("exam_id", "")) or f"row {row.number}",
        cells.get("mask", ""),
        int(label) if label and not problem else None,
        lesions,
        text,
        finding,
        f"line {row.number} of {FILE_NAME}: {problem}" if problem else None,
    )


def _problem(cells: Mapping[str, str]) -> str | None:
    mask, label = cells.get("mask", ""), cells.get("label", "")
    if not cells.get("exam_id"):
        return "expected an exam, got nothing: write its id"
    if not mask:
        return "a text without a mask: name the mask, or put the text into the report"
    if PurePosixPath(mask).is_absolute() or ".." in PurePosixPath(mask).parts:
        return "expected a mask inside the exam's folder, got a path that leads out of it: link the file there"
    if label and not (label.isascii() and label.isdecimal() and 1 <= int(label) <= MOST_LABEL):
        return f"expected a whole number from 1 to {MOST_LABEL} as label, got another value"
    if cells.get("lesions") and cells["lesions"].lower() not in DIVISIONS:
        return f"expected one of {', '.join(DIVISIONS)} as lesions, got another word"
    return None


def _without_repetitions(found: Sequence[GivenMask]) -> list[GivenMask]:
    """The same, the second of two lines for one mask and label with its problem: its lesions would come twice."""
    seen: set[tuple[str, str, int | None]] = set()
    kept = []
    for one in found:
        key = (one.exam_id, one.mask, one.label)
        if one.problem is None and key in seen:
            one = replace(one, problem=f"{one.mask} comes twice in {FILE_NAME}: the first line is taken")
        seen.add(key)
        kept.append(one)
    return kept
