"""Scores of a whole report against the reference report and against the lesions of its exam (docs/exam-reports.md)."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.optimize import linear_sum_assignment

from pipelines.reports.consensus import TextFinding, decide_exam
from pipelines.reports.passages import passages_of
from pipelines.reports.readers import RulesReader
from pipelines.reports.sentences import split_report
from pipelines.tables.outcomes import Outcome

SAME_SLICES, SUV_ROUNDING = 2, 0.1
"""Slices and SUV within which two numbers are of one lesion: its extent, and one digit of rounding."""
_CHANGES = ("new", "increased", "decreased", "stable")


@dataclass(frozen=True)
class Statement:
    """What a report says of one lesion; a null is not said."""

    organ: str | None
    laterality: str | None
    region: str | None
    slice: int | None
    suvmax: float | None
    comparison: str | None = None

    @classmethod
    def of_row(cls, row: Mapping[str, Any], suvmax: str = "suvmax_reported") -> "Statement":
        """That of a row of `findings` (or, with `suvmax`, of `lesions`)."""
        return cls(
            row["organ"], row["laterality"], row["region"], row["slice"], row[suvmax], row.get("comparison") or None
        )


@dataclass(frozen=True)
class ReportScores:
    """Scores of one report; shares are null where there is nothing to share.

    Args:
        n_statements, n_reference, n_matched: Lesions that the report names, the reference names, and both.
        precision, recall, f1: By these.
        organ_right, side_right, suv_right: Of the matched.
        region_coverage: Of the regions in which the reference names a lesion, those in which the report does.
        change_right: Of the matched with a change in the reference, those with the same.
        n_hallucinated: Statements that no lesion of the exam supports in organ, side and value.
    """

    n_statements: int
    n_reference: int
    n_matched: int
    precision: float | None
    recall: float | None
    f1: float | None
    organ_right: float | None
    side_right: float | None
    suv_right: float | None
    region_coverage: float | None
    change_right: float | None
    n_hallucinated: int


def read_back(exam_id: str, text: str) -> list[TextFinding]:
    """The findings that the project's own reader accepts in a text."""
    sentences = split_report(exam_id, text)
    readings = RulesReader().read(passages_of(sentences))
    return [finding for finding in decide_exam(sentences, readings) if finding.outcome == Outcome.ACCEPTED]


def statements_of(exam_id: str, text: str) -> list[Statement]:
    """What a report's text says of lesions; physiologic uptake is none."""
    return [
        Statement(f.organ, f.laterality, f.region, f.slice, f.suvmax_reported, f.comparison)
        for f in read_back(exam_id, text)
        if not f.is_physiologic
    ]


def score_report(
    said: Sequence[Statement], reference: Sequence[Statement], lesions: Sequence[Statement]
) -> ReportScores:
    """Scores of a report.

    Args:
        said: what it says.
        reference: what the reference report says.
        lesions: the measured lesions of the exam.
    """
    pairs = _matched(said, reference)
    precision, recall = _share(len(pairs), len(said)), _share(len(pairs), len(reference))
    f1 = None
    if precision is not None and recall is not None:
        f1 = 2 * precision * recall / (precision + recall) if pairs else 0.0
    with_suv = [(a, b) for a, b in pairs if b.suvmax is not None]
    changed = [(a, b) for a, b in pairs if b.comparison in _CHANGES]
    regions = {b.region for b in reference if b.region}
    return ReportScores(
        len(said),
        len(reference),
        len(pairs),
        precision,
        recall,
        f1,
        _share(sum(a.organ == b.organ for a, b in pairs), len(pairs)),
        _share(sum(a.laterality == b.laterality for a, b in pairs), len(pairs)),
        _share(sum(_same_suv(a, b) for a, b in with_suv), len(with_suv)),
        _share(len(regions & {a.region for a in said}), len(regions)),
        _share(sum(a.comparison == b.comparison for a, b in changed), len(changed)),
        sum(not any(_supports(lesion, one) for lesion in lesions) for one in said),
    )


def round_trip(lesions: Iterable[Mapping[str, Any]], exam_id: str, text: str) -> tuple[int, int]:
    """(lesions that are read back from a draft's text as they are, lesions): slice, SUVmax, organ, side and whether the
    uptake is physiologic are equal.
    """
    wanted = [
        (row["slice"], round(row["suvmax"], 1), row["organ"], row["laterality"], bool(row["is_physiologic"]))
        for row in lesions
    ]
    found = [(f.slice, f.suvmax_reported, f.organ, f.laterality, f.is_physiologic) for f in read_back(exam_id, text)]
    same = 0
    for one in wanted:
        if one in found:
            found.remove(one)
            same += 1
    return same, len(wanted)


def _matched(said: Sequence[Statement], reference: Sequence[Statement]) -> list[tuple[Statement, Statement]]:
    """Pairs of statements of one lesion, one to one: as many points of agreement in all as there can be."""
    points = np.array([[_points(a, b) for b in reference] for a in said], float).reshape(len(said), len(reference))
    if points.size == 0:
        return []
    rows, columns = linear_sum_assignment(-points)
    return [(said[int(i)], reference[int(j)]) for i, j in zip(rows, columns) if points[i, j] > 0]


def _points(a: Statement, b: Statement) -> float:
    """How far two statements agree; 0 where they are not of one lesion. They are where both numbers agree, or the organ
    and a number, or, where one says no SUV, organ and side.
    """
    slice = a.slice is not None and b.slice is not None and abs(a.slice - b.slice) <= SAME_SLICES
    suv, organ = _same_suv(a, b), a.organ == b.organ and a.organ is not None
    side = a.laterality == b.laterality
    has_numbers = a.suvmax is not None and b.suvmax is not None
    is_one = (slice and suv) or (organ and (slice or suv)) or (organ and side and not has_numbers)
    return float(slice + suv + organ + side) if is_one else 0.0


def _same_suv(a: Statement, b: Statement) -> bool:
    return a.suvmax is not None and b.suvmax is not None and abs(a.suvmax - b.suvmax) <= SUV_ROUNDING + 1e-6


def _supports(lesion: Statement, said: Statement) -> bool:
    """Whether a lesion of the exam is what a statement says; what it does not say cannot be wrong."""
    organ = said.organ is None or said.organ == lesion.organ
    side = said.laterality is None or lesion.laterality is None or said.laterality == lesion.laterality
    return organ and side and (said.suvmax is None or _same_suv(lesion, said))


def _share(n: int, of: int) -> float | None:
    return n / of if of else None
