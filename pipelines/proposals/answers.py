"""What reviewers said of proposals, by candidate: their judgements, and the lesions that they marked at a place."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl

from pipelines.tables.answer_kinds import MISSED, Subject, subject_of

YES = ("lesion", "wrong contour", MISSED)
"""Answers that say: here is a lesion."""
NO_LESION = ("physiologic", "part of another")
UNSURE = "unsure"
PEAK_MM = ("peak_x_mm", "peak_y_mm", "peak_z_mm")
NEAR_MM = 8.0
"""A place that a reviewer marks means the nearest candidate within it [mm]: of the order of a scanner's resolution."""


@dataclass(frozen=True)
class Answers:
    """What reviewers said: candidate -> answer, candidate -> organ where one was named; what names no candidate."""

    by_candidate: Mapping[str, str]
    organs: Mapping[str, str]
    problems: tuple[str, ...]


def answers_of(reviews: pl.DataFrame, marked: pl.DataFrame, candidates: pl.DataFrame) -> Answers:
    """The answers to proposals among those of all reviewers.

    Reviewers who disagree leave a candidate unsure. A lesion that was marked where there is no candidate is the
    curation's alone.

    Args:
        reviews: as the table: the latest answer of each reviewer.
        marked: exam_id and place of the peak of lesions that a person marked or drew in exams that no report names.
        candidates: candidate_id, exam_id and place of the peak.
    """
    known = set(candidates["candidate_id"])
    by_candidate: dict[str, str] = {}
    organs: dict[str, str] = {}
    problems = []
    for row in reviews.sort("finding_id", "reviewer").iter_rows(named=True):
        name, answer = row["finding_id"], row["answer"]
        if subject_of(name) is not Subject.PROPOSAL:
            continue
        if name not in known:
            problems.append(
                f"expected a candidate of this home, got {name!r} of {row['reviewer']}: the image may have changed "
                "since; delete the line or answer again"
            )
            continue
        before = by_candidate.get(name, answer)
        by_candidate[name] = answer if before == answer else _together(before, answer)
        if row["value"]:
            organs[name] = row["value"]
    for row in marked.select("exam_id", *PEAK_MM).iter_rows(named=True):
        nearest = _nearest(row["exam_id"], [row[name] for name in PEAK_MM], candidates)
        if nearest is not None and by_candidate.get(nearest, UNSURE) == UNSURE:
            by_candidate[nearest] = MISSED
    return Answers(by_candidate, organs, tuple(problems))


def _together(first: str, second: str) -> str:
    """Of two answers of different reviewers the one that both bear out."""
    if UNSURE in (first, second):
        return second if first == UNSURE else first
    if (first in YES) != (second in YES):
        return UNSURE
    return first if first in YES else sorted((first, second))[0]


def _nearest(exam_id: str, place: list[float], candidates: pl.DataFrame) -> str | None:
    """The candidate of an exam nearest to a place (RAS mm), within reach."""
    own = candidates.filter(pl.col("exam_id") == exam_id)
    if own.is_empty():
        return None
    away = np.linalg.norm(own.select(PEAK_MM).to_numpy() - np.array(place), axis=1)
    return str(own["candidate_id"][int(away.argmin())]) if away.min() <= NEAR_MM else None
