"""Weights of the readers' votes, measured on texts and findings whose truth is known."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.optimize import minimize

from pipelines.reports.alignment import rounded
from pipelines.reports.readers import Reading
from pipelines.tables.atomic import write_bytes

RULES = "rules"
RULES_RIGHT = (154, 159)
"""Pairs that `rules` reads right of those of 200 reports by other hands, before it was changed for any of them. Its
weight is the log odds of this, for the labelled set is what it was made on."""
MAX_WEIGHT = 4.0
"""In votes of `rules`: more is not told by some hundred texts."""
WEIGHTS_FILE = "reader_weights.json"

Pair = tuple[int | None, float | None]


@dataclass(frozen=True)
class Vote:
    """What readers say of one pair of slice and SUVmax: +1 gives it, -1 read the text and does not, absent where the
    reader failed; `is_true` whether it is one of this exam's lesions.
    """

    said: Mapping[str, int]
    is_true: bool


@dataclass(frozen=True)
class ReaderWeights:
    """Weights by reader, in votes of `rules`; `versions` of the readers that read a text at all, and `n` votes."""

    weights: Mapping[str, float]
    versions: Mapping[str, str]
    n: int


def votes_of(readings: Iterable[Reading], truth: Iterable[Pair], *, with_slice: bool = False) -> list[Vote]:
    """A vote for each pair of a text that a reader gives or that is true.

    Args:
        readings: of one text, by any number of readers.
        truth: its pairs of slice and SUVmax.
        with_slice: the truth does not tell lesions without a slice, so that these are left out.
    """
    given: dict[str, set[Pair]] = {}
    failed = set()
    for reading in readings:
        pairs = given.setdefault(reading.reader, set())
        if reading.error is not None:
            failed.add(reading.reader)
        own = [m for m in reading.mentions if m.is_finding and m.refused is None and m.count == 1]
        pairs |= {pair_of(m.axial_slice, m.suvmax) for m in own}
    true = {pair_of(*pair) for pair in truth}
    valid = {name: pairs for name, pairs in given.items() if name not in failed}
    # A mention without an SUV says nothing that can be right or wrong here.
    said = {pair for pairs in valid.values() for pair in pairs if pair[1] is not None} | true
    said = {pair for pair in said if pair[0] is not None or not with_slice}
    return [
        Vote({name: 1 if pair in pairs else -1 for name, pairs in valid.items()}, pair in true)
        for pair in sorted(said, key=str)
    ]


def pair_of(slice: int | None, suvmax: float | None) -> Pair:
    """Slice and SUVmax as they are compared."""
    return slice, rounded(suvmax)


def votes_of_reviews(findings: pl.DataFrame, readings: pl.DataFrame, reviews: pl.DataFrame) -> list[Vote]:
    """Votes on the findings that a reviewer has judged as they are now: what is accepted is true, what has a wrong text
    is not.

    Args:
        findings: columns finding_id, sentence_id, slice, suvmax_reported.
        readings, reviews: as the tables.
    """
    judged = reviews.filter(~pl.col("is_stale") & pl.col("answer").is_in(["accept", "wrong contour", "wrong text"]))
    about = judged.join(findings, on="finding_id", how="inner")
    pairs: dict[tuple[str, str], set[Pair]] = {}
    passages: dict[str, set[str]] = {}
    for row in readings.filter(pl.col("error").is_null()).iter_rows(named=True):
        for name in row["passage_sentence_ids"].split(", "):
            passages.setdefault(name, set()).add(row["reader"])
        if row["mention"] and row["refused"] is None:
            pair = pair_of(row["slice"], row["suvmax"])
            pairs.setdefault((row["reader"], row["sentence_id"]), set()).add(pair)
    out = []
    for row in about.iter_rows(named=True):
        pair, own = pair_of(row["slice"], row["suvmax_reported"]), row["sentence_id"]
        said = {r: 1 if pair in pairs.get((r, own), ()) else -1 for r in sorted(passages.get(own, ()))}
        out.append(Vote(said, row["answer"] != "wrong text"))
    return out


def measured(votes: Sequence[Vote], readers: Mapping[str, str], tuned: Sequence[str] = (RULES,)) -> ReaderWeights:
    """Weights under which the sign of the weighted sum of votes is most likely the truth.

    Logistic regression without an intercept and with weights >= 0: of readers that err together the sum is shared, so
    that a crowd of alike readers does not outvote a better one. Each reader has one vote right and one wrong besides,
    so that nobody is certain. Where the sum errs more often than its best reader, the others weigh less until it does
    not.

    Args:
        readers: versions by name.
        tuned: readers that were made on the texts of these votes; their weight is that of RULES_RIGHT.
    """
    unit = float(np.log(RULES_RIGHT[0] / (RULES_RIGHT[1] - RULES_RIGHT[0])))
    names = list(readers)
    free = [n for n, name in enumerate(names) if name not in tuned]
    x = np.array([[float(v.said.get(name, 0)) * (1 if v.is_true else -1) for name in names] for v in votes])
    x = np.vstack([x.reshape(-1, len(names)), np.eye(len(names)), -np.eye(len(names))])

    def loss(w: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        margin = x[:, free] @ w
        slope = -1 / (1 + np.exp(margin))
        return float(np.logaddexp(0, -margin).sum()), (x[:, free] * slope[:, None]).sum(0)

    weights = np.full(len(names), unit)
    if free:
        bounds = [(0.0, MAX_WEIGHT * unit)] * len(free)
        fitted = minimize(loss, np.ones(len(free)), jac=True, method="L-BFGS-B", bounds=bounds).x
        weights[free] = _guarded(x[: len(votes), free], fitted)
    scale = weights[names.index(RULES)] if RULES in names and weights[names.index(RULES)] > 0 else unit
    shown = {name: round(float(w / scale), 3) for name, w in zip(names, weights, strict=True)}
    heard = {name: version for name, version in readers.items() if any(name in v.said for v in votes)}
    return ReaderWeights(shown, heard, len(votes))


def _guarded(x: NDArray[np.float64], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """The weights, those of all but the best reader scaled down to the largest tenth with which the weighted sum errs
    no more often than the best reader alone.

    Args:
        x: a row a vote, +1 where the reader is right, -1 where it is wrong, 0 where it says nothing.
    """
    wrong = (x <= 0).sum(0)
    best = int(np.lexsort((-weights, wrong))[0])
    for tenth in range(10, -1, -1):
        scaled = weights * tenth / 10
        scaled[best] = weights[best]
        if (x @ scaled <= 1e-9).sum() <= wrong[best]:
            return scaled
    return scaled


def write_weights(folder: Path, measured: ReaderWeights) -> None:
    """Keeps the weights in a home."""
    content = {"weights": dict(measured.weights), "versions": dict(measured.versions), "n": measured.n}
    write_bytes(folder / WEIGHTS_FILE, (json.dumps(content, indent=1, sort_keys=True) + "\n").encode())


def read_weights(folder: Path) -> ReaderWeights | None:
    """The weights that were measured in a home, null where none were."""
    try:
        content = json.loads((folder / WEIGHTS_FILE).read_text())
        return ReaderWeights(content["weights"], content["versions"], content["n"])
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"expected weights of readers in {folder / WEIGHTS_FILE}, got no such file of ours: remove it, and they are"
            " measured anew"
        ) from error
