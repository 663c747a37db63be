"""What metrics are computed on: pairs of a text and its reference, and what was left out and why."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
import polars as pl

from model.inputs.numbers import mask_measured_numbers

T = TypeVar("T")


@dataclass(frozen=True)
class Pairs:
    """Texts of one model on one split, each with its reference; index i is the same pair everywhere."""

    texts: Sequence[str]
    references: Sequence[str]
    patients: Sequence[str]
    finding_ids: Sequence[str] = ()
    exam_ids: Sequence[str] = ()
    generated: Sequence[str] = ()
    """The texts as the model wrote them, before measured numbers were put in; equal to `texts` where there is no
    difference.
    """
    left_out: dict[str, list[str]] = field(default_factory=dict)
    """Reason -> findings that are in no pair."""
    others: Sequence[Sequence[str]] = ()
    """References of the exam's other lesions, the nearest first; empty where nothing is known of their places."""

    def __len__(self) -> int:
        return len(self.texts)

    @property
    def said(self) -> list[int]:
        """Where the texts that are not empty stand."""
        return [i for i, text in enumerate(self.texts) if text]

    def at(self, where: Sequence[int]) -> "Pairs":
        """Some of the pairs, without what was left out."""

        def chosen(values: Sequence[T]) -> Sequence[T]:
            return [values[i] for i in where] if values else ()

        return Pairs(
            chosen(self.texts),
            chosen(self.references),
            chosen(self.patients),
            chosen(self.finding_ids),
            chosen(self.exam_ids),
            chosen(self.generated),
            others=chosen(self.others),
        )

    def spread(self, scores: Iterable[float]) -> np.ndarray:
        """Scores of the texts that are not empty as scores of all; an empty text has 0."""
        each = np.zeros(len(self))
        each[self.said] = np.fromiter(scores, float)
        return each

    @property
    def n_left_out(self) -> int:
        """Predictions that are in no pair."""
        return sum(len(found) for found in self.left_out.values())

    @property
    def note(self) -> str | None:
        """What was left out, in words: "2 empty predictions (E1:a, E2:b)"; None where nothing was."""
        parts = [
            f"{len(found)} {reason} ({', '.join(found[:3])}{', ...' if len(found) > 3 else ''})"
            for reason, found in self.left_out.items()
            if found
        ]
        return "left out: " + ", ".join(parts) if parts else None


ALL_LESIONS = "all"
"""Name of the subset that is no subset."""
TEXT_COLUMNS = {"measured": "text_measured", "raw": "text", "masked": "text_masked"}
"""Kinds of numbers in a text, and the column that has them; `text_masked` is made here."""

UNANSWERED = ("empty prediction", "no prediction", "two predictions")
"""Beginnings of an `error` that is the author's own: no text, none for the lesion, two that differ. Such a lesion
counts as an empty text; any other error is a failure on the way, which counts for nothing.
"""


def pairs_of(predictions: pl.DataFrame, text_column: str = "text_measured") -> Pairs:
    """Pairs of the rows of `predictions` of one model and split.

    A lesion with two rows, a text that failed on its way (`error`) and an empty reference give no pair and are named in
    `left_out`; an empty text is a pair, for leaving lesions out must not raise a score.

    Where `text_column` is null, the text as generated counts. A column `others` (see `with_others`) is
    taken along. `text_masked` is the text with `[#]` for measured numbers, its reference too.
    """
    error = pl.col("error") if "error" in predictions.columns else pl.lit(None, pl.String)
    own = pl.any_horizontal(error.str.starts_with(reason) for reason in UNANSWERED)
    failed = error.is_not_null() & ~own
    is_masked = text_column == TEXT_COLUMNS["masked"]
    frame = (
        (_with_masked_numbers(predictions) if is_masked else predictions)
        .with_columns(
            pl.coalesce(_stripped(text_column), _stripped("text")).fill_null("").alias("_text"),
            _stripped("text").fill_null("").alias("_generated"),
            _stripped("reference").fill_null("").alias("_reference"),
            pl.col("finding_id").is_duplicated().alias("_twice"),
        )
        .sort("finding_id")
    )
    reasons = {
        "of lesions with two predictions": pl.col("_twice"),
        "failed predictions": ~pl.col("_twice") & (pl.col("_text") == "") & failed,
        "without reference": ~pl.col("_twice") & (pl.col("_reference") == "") & ((pl.col("_text") != "") | ~failed),
    }
    left_out = {reason: frame.filter(which)["finding_id"].to_list() for reason, which in reasons.items()}
    kept = frame.filter(~pl.any_horizontal(*reasons.values()))
    return Pairs(
        kept["_text"].to_list(),
        kept["_reference"].to_list(),
        kept["patient_id"].to_list(),
        kept["finding_id"].to_list(),
        kept["exam_id"].to_list(),
        kept["_generated"].to_list(),
        {reason: found for reason, found in left_out.items() if found},
        kept["others"].to_list() if "others" in kept.columns else (),
    )


def _with_masked_numbers(predictions: pl.DataFrame) -> pl.DataFrame:
    """The predictions with `[#]` for measured numbers, in a column `text_masked` and in the references."""

    def masked(column: str) -> pl.Expr:
        return pl.col(column).cast(pl.String).map_elements(mask_measured_numbers, return_dtype=pl.String)

    return predictions.with_columns(text_masked=masked("text"), reference=masked("reference"))


def with_others(predictions: pl.DataFrame, samples: pl.DataFrame, lesions: pl.DataFrame) -> pl.DataFrame:
    """The predictions with a column `others`: the reference texts of the exam's other lesions, the nearest first.

    `samples` give the texts, `lesions` (localisations) the centroids; a lesion without a place has no others.
    """
    places = ["centroid_x_mm", "centroid_y_mm", "centroid_z_mm"]
    known = (
        samples.filter(pl.col("kind") == "finding")
        .select("finding_id", "exam_id", "target")
        .join(lesions.select("finding_id", *places).drop_nulls(), on="finding_id")
    )
    distance = sum((pl.col(c) - pl.col(f"{c}_right")) ** 2 for c in places)
    nearest = (
        known.join(known, on="exam_id")
        .filter(pl.col("finding_id") != pl.col("finding_id_right"))
        .sort("finding_id", distance, "finding_id_right")
        .group_by("finding_id", maintain_order=True)
        .agg(others="target_right")
    )
    return predictions.join(nearest, on="finding_id", how="left", maintain_order="left").with_columns(
        pl.col("others").fill_null([])
    )


def _stripped(column: str) -> pl.Expr:
    words = pl.col(column).cast(pl.String).str.strip_chars()
    return pl.when(words != "").then(words)


@dataclass(frozen=True)
class Mean:
    """A metric that is the mean of its scores per sample; NaN where a sample has none and does not count."""

    per_sample: np.ndarray
    signature: str
    note: str | None = None
    """What could not be scored, and why."""

    def values(self, weights: np.ndarray) -> np.ndarray:
        """Value under each row of weights (resamples x samples); NaN where no weighted sample has a score."""
        there = np.isfinite(self.per_sample)
        weighted = weights[:, there]
        total = weighted.sum(axis=1)
        sums = weighted @ self.per_sample[there]
        return np.divide(sums, total, out=np.full(len(weights), np.nan), where=total > 0)

    @property
    def n(self) -> int:
        """Samples that count."""
        return int(np.isfinite(self.per_sample).sum())
