"""Ratings read back from the files that the sheets save. What cannot count is named with its file and line; files are
never changed.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from model.evaluation.reader_study.cases import REPORT, SIDES, Study
from pipelines.review.reviews import ReviewProblem, read_lines
from pipelines.tables import schemas

CRITERIA = ("anatomy", "interpretation", "utility")
_RATED = tuple(f"{criterion}_{side.lower()}" for side in SIDES for criterion in CRITERIA)
COLUMNS = ("study", "reader", "case_id", *_RATED, "preference", "comment", "answered_at")
_REQUIRED = ("reader", "case_id", *_RATED[:3])
LOWEST, HIGHEST = 1, 5


@dataclass(frozen=True)
class RatingsRead:
    """Rows of `ratings`, and what was not taken: values that were left out, lines that repeat or were replaced."""

    frame: pl.DataFrame
    n_files: int
    n_values_left_out: int
    """Ratings outside 1..5 or no number at all, and preferences that are none."""
    n_lines_left_out: int
    """Lines of unknown cases, readers or studies, and answers that clash."""
    n_repeated: int
    n_replaced: int
    """Answers of a reader that a later answer of the same reader replaced."""
    n_unrated: int
    """Cases that a reader has not rated, over all readers with a file."""
    problems: tuple[ReviewProblem, ...]


@dataclass(frozen=True)
class _Line:
    file: str
    line: int
    value: Mapping[str, str]

    @property
    def content(self) -> tuple[str, ...]:
        return tuple(self.value[c] for c in (*_RATED, "preference", "comment"))


def read_ratings(folder: Path, study: Study) -> RatingsRead:
    """The ratings in a folder's *.csv, one row a case, reader and text.

    The same line twice counts once; of two different ones of a reader and case the later `answered_at` stands, and
    where nothing tells which is later neither counts. A value outside 1..5 is left out alone, its line's others count.
    """
    files = sorted(folder.glob("*.csv")) if folder.is_dir() else []
    problems: list[ReviewProblem] = []
    lines: list[_Line] = []
    strange = 0
    for path in files:
        found, wrong = _read_file(path, study)
        lines += found
        problems += wrong
        strange += sum(problem.line > 0 for problem in wrong)
    kept: dict[tuple[str, str], _Line] = {}
    clashes: set[tuple[str, str]] = set()
    repeated = replaced = 0
    for line in sorted(lines, key=lambda x: (x.value["answered_at"], x.file, x.line)):
        key = (line.value["case_id"], line.value["reader"])
        earlier = kept.get(key)
        if earlier is None:
            kept[key] = line
        elif earlier.content == line.content:
            repeated += 1
        elif earlier.value["answered_at"] != line.value["answered_at"]:
            replaced += 1
            clashes.discard(key)
            kept[key] = line
            message = f"replaced by a later answer ({line.file}, line {line.line})"
            problems.append(ReviewProblem(earlier.file, earlier.line, f"{key[0]} of {key[1]}: {message}"))
        else:
            clashes.add(key)
            message = (
                f"{key[0]} of {key[1]} is rated otherwise in {earlier.file}, line {earlier.line}, with nothing to tell "
                "which came later: neither counts; delete one of the two lines"
            )
            problems.append(ReviewProblem(line.file, line.line, message))
    rows: list[dict[str, object]] = []
    values_left_out = 0
    for key, line in sorted(kept.items()):
        if key not in clashes:
            made, wrong = _rows(line, study)
            rows += made
            problems += wrong
            values_left_out += len(wrong)
    readers = {line.value["reader"] for line in lines}
    unrated = len(readers) * len(study.cases) - len(set(kept) - clashes)
    return RatingsRead(
        schemas.frame("ratings", rows),
        len(files),
        values_left_out,
        strange + 2 * len(clashes),
        repeated,
        replaced,
        unrated,
        tuple(problems),
    )


def _read_file(path: Path, study: Study) -> tuple[list[_Line], list[ReviewProblem]]:
    read, problems = read_lines(path, COLUMNS, _REQUIRED, "the sheet")
    known = {case.case_id for case in study.cases}
    lines = []
    for number, value, _ in read:
        reason = _strange(value, known, study)
        if reason is None:
            lines.append(_Line(path.name, number, value))
        else:
            problems.append(ReviewProblem(path.name, number, reason))
    return lines, problems


def _strange(value: Mapping[str, str], known: set[str], study: Study) -> str | None:
    """Why a line is of no case and reader of this study."""
    if value["study"] and value["study"] != study.study_id:
        return f"expected ratings of the study {study.study_id}, got {value['study']!r}: put the file to its own study"
    if value["case_id"] not in known:
        return f"expected a case of the study, got {value['case_id']!r}: fix or delete the line"
    if value["reader"] not in study.readers:
        return f"expected a reader of the study ({', '.join(study.readers)}), got {value['reader']!r}: fix the name"
    return None


def _rows(line: _Line, study: Study) -> tuple[list[dict[str, object]], list[ReviewProblem]]:
    """Rows of one line, a text each, and the values that are none."""
    case = next(c for c in study.cases if c.case_id == line.value["case_id"])
    authors = study.authors(line.value["reader"], case)
    problems: list[ReviewProblem] = []

    def report(column: str, expected: str) -> None:
        message = f"{case.case_id}, {column}: expected {expected}, got {line.value[column]!r}: left out"
        problems.append(ReviewProblem(line.file, line.line, message))

    preference = None
    choice = line.value["preference"]
    if choice and (case.report is None or choice.upper() not in (*SIDES, "TIE")):
        report("preference", "A, tie or B" if case.report is not None else "none, for there is one text")
    elif choice:
        author = authors.get(choice.upper())
        preference = "tie" if author is None else REPORT if author == REPORT else "model"
    rows = []
    for side in SIDES:
        rated: dict[str, int | None] = {}
        for criterion in CRITERIA:
            column = f"{criterion}_{side.lower()}"
            words = line.value[column]
            number = _number(words)
            if words and side not in authors:
                report(column, "none, for there is one text")
            elif words and (number is None or not LOWEST <= number <= HIGHEST):
                report(column, f"a whole number {LOWEST}..{HIGHEST}")
            else:
                rated[criterion] = number
        if side in authors:
            keys = {"case_id": case.case_id, "reader": line.value["reader"], "author": authors[side]}
            about = {"finding_id": case.finding_id, "patient_id": case.patient_id, "is_external": case.is_external}
            rows.append(keys | about | rated | {"preference": preference, "comment": line.value["comment"] or None})
    return rows, problems


def _number(words: str) -> int | None:
    try:
        value = float(words)
    except ValueError:
        return None
    return int(value) if math.isfinite(value) and value == int(value) else None
