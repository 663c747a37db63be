"""Answers of reviewers to proposals: CSV files in PETAR_HOME/reviews/proposals.

Columns: candidate_id, reviewer, answer, and where they are wanted organ, note, answered_at; of a lesion that nothing
proposed ("missing here") exam_id, x_mm, y_mm, z_mm (RAS) and no candidate. Of several answers of a reviewer the later
stands; reviewers who disagree leave a candidate unsure.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from pipelines.review.reviews import ReviewProblem, read_lines
from pipelines.tables.schemas import PROPOSAL_ANSWERS

COLUMNS = (
    *("candidate_id", "reviewer", "answer", "organ", "note", "answered_at"),
    *("exam_id", "x_mm", "y_mm", "z_mm"),
)
YES = ("lesion", "wrong contour", "missing here")
"""Answers that say: here is a lesion."""
NO_LESION = ("physiologic", "part of another")
MISSING = "missing here"
UNSURE = "unsure"
NEAR_MM = 8.0
"""A place that a reviewer marks means the nearest candidate within it [mm]: of the order of a scanner's resolution."""


@dataclass(frozen=True)
class Answers:
    """What reviewers said: candidate -> answer, candidate -> organ where one was named; lines that were not taken."""

    by_candidate: Mapping[str, str]
    organs: Mapping[str, str]
    problems: tuple[ReviewProblem, ...]


def read_answers(folder: Path, candidates: pl.DataFrame) -> Answers:
    """The answers in a folder's CSV files.

    Args:
        folder: of the files; one that is not there holds none.
        candidates: the table, which answers must name.
    """
    known = set(candidates["candidate_id"])
    said: dict[tuple[str, str], tuple[str, str, str]] = {}
    problems: list[ReviewProblem] = []
    for path in sorted(folder.glob("*.csv")):
        lines, wrong = read_lines(path, COLUMNS, ("reviewer", "answer"), "the list of proposals")
        problems += wrong
        for number, value, _ in lines:
            answer = " ".join(value["answer"].lower().split())
            if not answer:
                continue
            candidate = value["candidate_id"] or _nearest(value, candidates) or ""
            reason = _wrong(value["reviewer"], answer, candidate, known)
            if reason:
                problems.append(ReviewProblem(path.name, number, reason))
                continue
            key, one = (candidate, value["reviewer"]), (value["answered_at"], answer, value["organ"])
            said[key] = max(said.get(key, one), one, key=lambda v: v[0])
    by_candidate: dict[str, str] = {}
    organs: dict[str, str] = {}
    for (candidate, _), (_, answer, organ) in sorted(said.items()):
        before = by_candidate.get(candidate, answer)
        by_candidate[candidate] = answer if before == answer else _together(before, answer)
        if organ:
            organs[candidate] = organ
    return Answers(by_candidate, organs, tuple(problems))


def _together(first: str, second: str) -> str:
    """Of two answers of different reviewers the one that both bear out."""
    if UNSURE in (first, second):
        return second if first == UNSURE else first
    if (first in YES) != (second in YES):
        return UNSURE
    return first if first in YES else sorted((first, second))[0]


def _wrong(reviewer: str, answer: str, candidate: str, known: set[str]) -> str | None:
    if not reviewer:
        return "expected a reviewer, got none: write a name or initials"
    if answer not in PROPOSAL_ANSWERS:
        return f"expected an answer of {', '.join(PROPOSAL_ANSWERS)}, got {answer!r}: fix or delete the line"
    if candidate not in known:
        return (
            f"expected a candidate of this home, or an exam with a place within {NEAR_MM:g} mm of one, got "
            f"{candidate!r}: the image may have changed since; delete the line or answer again"
        )
    return None


def _nearest(value: Mapping[str, str], candidates: pl.DataFrame) -> str | None:
    """The candidate nearest to the place that a line gives."""
    try:
        place = np.array([float(value[f"{axis}_mm"]) for axis in "xyz"])
    except ValueError:
        return None
    own = candidates.filter(pl.col("exam_id") == value["exam_id"])
    if own.is_empty() or not np.isfinite(place).all():
        return None
    away = np.linalg.norm(own.select("peak_x_mm", "peak_y_mm", "peak_z_mm").to_numpy() - place, axis=1)
    return str(own["candidate_id"][int(away.argmin())]) if away.min() <= NEAR_MM else None
