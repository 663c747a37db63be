"""What people save: corrections, reviews, corrections by a click, answers to proposals, ratings."""

import random
from pathlib import Path

import polars as pl

from benchmarks.fuzz.case import Files, Input, WrongResultError
from benchmarks.fuzz.reports import csv_of, table_or_bytes
from model.evaluation.reader_study.cases import Case, Study
from model.evaluation.reader_study.ratings import COLUMNS as RATING_COLUMNS
from model.evaluation.reader_study.ratings import read_ratings
from pipelines.cohort.corrections import CorrectionsError, correction_rows, read_corrections
from pipelines.cohort.review_corrections import review_corrections
from pipelines.proposals.answers import PEAK_MM, answers_of
from pipelines.review.reviews import COLUMNS as REVIEW_COLUMNS
from pipelines.review.reviews import read_reviews
from pipelines.tables import schemas

_CORRECTIONS = [
    ["finding", "field", "value", "who", "when"],
    ["E1:0000abcd", "slice", "12", "Dr A", "2026-01-02"],
    ["E1:0000abcd", "suvmax_reported", "8.1", "Dr A", "2026-01-02T10:00"],
    ["E2:0000abcd", "outcome", "reject", "Dr B", "2026-01-02T10:00:00+02:00"],
    ["E2:0000abcd", "organ", "liver", "Dr B", "2026-01-02"],
]
_REVIEWS = [
    list(REVIEW_COLUMNS),
    ["E1:aa", "AB", "accept", "", "cur1", "", "2026-01-02T10:00:00Z"],
    ["E1:aa", "CD", "wrong contour", "too large, see CT", "cur1", "", "2026-01-02T10:00:00Z"],
]
_CLICKS = [
    list(REVIEW_COLUMNS),
    ["E1:0000abcd", "AB", "join", "", "cur1", "", "2026-01-02T10:00:00Z", "10.5 -20 30"],
    ["E1:0000abcd", "AB", "cut", "", "cur1", "", "2026-01-02T10:00:00Z", "1 2 3"],
    ["E1:new1", "AB", "missed", "", "cur1", "", "2026-01-02T10:00:00Z", "1 2 3"],
    ["E1:0000abcd", "CD", "physiologic", "", "cur1", "", "2026-01-02T10:00:00Z", ""],
]
_PROPOSALS = [
    list(REVIEW_COLUMNS),
    ["E1:10-20-30", "AB", "lesion", "", "", "", "2026-01-02T10:00:00Z", "liver"],
    ["E1:10-20-31", "CD", "physiologic", "left", "", "", "2026-01-02T10:00:00Z", "kidney"],
    ["E1:10-20-32", "AB", "part of another", "", "", "", "2026-01-02T10:00:00Z", ""],
]
_CANDIDATES = pl.DataFrame(
    {
        "candidate_id": ["E1:10-20-30", "E1:10-20-31"],
        "exam_id": ["E1", "E1"],
        **dict(zip(PEAK_MM, ([1.0, 50.0], [-20.0, 0.0], [30.0, 0.0]), strict=True)),
    }
)
_RATINGS = [
    list(RATING_COLUMNS),
    ["0123456789ab", "One", "case-00", "3", "4", "5", "1", "2", "3", "A", "", "2026-01-01T10:00:00Z"],
    ["0123456789ab", "Two", "case-00", "3", "4", "5", "1", "2", "3", "tie", "good, clear", "2026-01-01T10:00:00Z"],
]


def _corrections(rng: random.Random) -> Files:
    return {"corrections.csv": table_or_bytes(csv_of(_CORRECTIONS), rng)}


def _read_corrections(folder: Path) -> int:
    found = read_corrections(folder / "corrections.csv")
    rows = correction_rows(found, ["E1:0000abcd"], {"E1": "P1"})
    good, bad = schemas.validate("corrections", schemas.frame("corrections", rows))
    if bad.height:
        raise WrongResultError(f"a line breaks the contract: {bad['broken'].to_list()[:2]}")
    return good.height


def _reviews(rng: random.Random) -> Files:
    return {"reviews.csv": table_or_bytes(csv_of(_REVIEWS), rng)}


def _tables() -> tuple[pl.DataFrame, pl.DataFrame]:
    """A finding and its lesion, as the tables have them."""
    findings = pl.DataFrame(
        {"finding_id": ["E1:aa"], "exam_id": ["E1"], "row_key": ["k"], "sentence": ["x"], "outcome": ["accepted"]}
    )
    lesions = pl.DataFrame(
        {"finding_id": ["E1:aa"], "exam_id": ["E1"], "row_key": ["k"], "outcome": ["lesion"], "mtv_ml": [3.0]}
    )
    return findings, lesions


def _read_reviews(folder: Path) -> int:
    read = read_reviews(folder, *_tables(), "cur1")
    if schemas.validate("reviews", read.frame)[1].height:
        raise WrongResultError("a review breaks the contract")
    return read.frame.height + len(read.problems)


def _clicks(rng: random.Random) -> Files:
    return {"answers.csv": table_or_bytes(csv_of(_CLICKS), rng)}


def _read_clicks(folder: Path) -> int:
    found = review_corrections(folder)
    rows = correction_rows(found, ["E1:0000abcd"], {"E1": "P1"})
    if schemas.validate("corrections", schemas.frame("corrections", rows))[1].height:
        raise WrongResultError("a click breaks the contract")
    return len(rows)


def _proposals(rng: random.Random) -> Files:
    return {"answers.csv": table_or_bytes(csv_of(_PROPOSALS), rng)}


def _read_proposals(folder: Path) -> int:
    found = read_reviews(folder, *_tables(), "cur1")
    read = answers_of(found.frame, _CANDIDATES.select("exam_id", *PEAK_MM).clear(), _CANDIDATES)
    if not set(read.by_candidate) <= set(_CANDIDATES["candidate_id"]):
        raise WrongResultError("an answer to a candidate that is not there")
    return len(read.by_candidate) + len(read.problems) + len(found.problems)


_STUDY = Study(
    "0123456789ab",
    "petar-tiny",
    ("One", "Two"),
    1,
    (Case("case-00", "E1:a", "E1", "P1", False, "Text.", "Report.", "SUV.nii", None, "mask.nii.gz"),),
    {},
)


def _ratings(rng: random.Random) -> Files:
    return {"ratings.csv": table_or_bytes(csv_of(_RATINGS), rng)}


def _read_ratings(folder: Path) -> int:
    read = read_ratings(folder, _STUDY)
    if schemas.validate("ratings", read.frame)[1].height:
        raise WrongResultError("a rating breaks the contract")
    return read.frame.height + len(read.problems)


INPUTS = (
    Input("corrections", 700, _corrections, _read_corrections, (CorrectionsError,)),
    Input("reviews", 500, _reviews, _read_reviews, ()),
    Input("click corrections", 400, _clicks, _read_clicks, ()),
    Input("proposal answers", 400, _proposals, _read_proposals, ()),
    Input("ratings", 500, _ratings, _read_ratings, ()),
)
