"""What ratings say: means, preferences, how far readers agree, and which metrics go with them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from model.evaluation.metrics import DEFAULTS, METRICS, NotComputableError, pairs_of
from model.evaluation.metrics.intervals import effective_patients, patient_weights, percentile_interval
from model.evaluation.metrics.pairs import Mean
from model.evaluation.reader_study.cases import Study
from model.evaluation.reader_study.ratings import CRITERIA, HIGHEST, LOWEST
from pipelines.settings import ScoreSettings
from pipelines.tables import schemas

ALL = "all"
"""The mean of the three criteria."""

PUBLISHED_SPEARMAN: Mapping[str, float] = {
    "GREEN": 0.592,
    "RaTEScore": 0.550,
    "BERTScore": 0.511,
    "ROUGE-L": 0.471,
    "METEOR": 0.438,
    "CIDEr": 0.421,
    "BLEU": 0.214,
    "BARTScore": 0.168,
}
"""Table 4 of arXiv 2510.27680 v2: metrics against five physicians."""
PUBLISHED_PREFERENCE: Mapping[str, float] = {"model": 15 / 116, "tie": 54 / 116, "report": 47 / 116}
PUBLISHED_CASES = 116


def study_results(ratings: pl.DataFrame, study: Study, settings: ScoreSettings = DEFAULTS) -> pl.DataFrame:
    """Rows of `agreement`: means a text's author, preferences, Krippendorff's alpha, Spearman of every metric.

    Intervals are bootstraps over patients. Cases of the external set count for the means of the model and the
    agreement of readers; they have no report, so that no preference and no metric is theirs.
    """
    if ratings.is_empty():
        return schemas.empty("agreement")
    scored = ratings.with_columns(pl.mean_horizontal(*CRITERIA).alias(ALL))
    rows = [*_means(scored, settings), *_preferences(scored, settings), *_alphas(scored, settings)]
    rows += _spearmans(scored, study, settings)
    return schemas.frame("agreement", rows)


def _means(scored: pl.DataFrame, settings: ScoreSettings) -> list[dict[str, Any]]:
    rows = []
    for (author,), part in sorted(scored.group_by("author"), key=lambda group: str(group[0])):
        for criterion in (*CRITERIA, ALL):
            values = part[criterion].cast(pl.Float64).fill_null(float("nan")).to_numpy()
            rows.append(_mean_row("mean", str(author), criterion, values, part["patient_id"].to_list(), settings))
    return rows


def _preferences(scored: pl.DataFrame, settings: ScoreSettings) -> list[dict[str, Any]]:
    asked = scored.filter(pl.col("preference").is_not_null()).unique(["case_id", "reader"], maintain_order=True)
    rows = []
    for choice in schemas.PREFERENCES:
        values = (asked["preference"] == choice).cast(pl.Float64).to_numpy()
        if asked.height:
            row = _mean_row("preference", choice, ALL, values, asked["patient_id"].to_list(), settings)
            rows.append(row)
        rows.append(
            _published("preference", choice, PUBLISHED_PREFERENCE[choice], "five physicians, 116 cases of one site")
        )
    return rows


def _mean_row(
    statistic: str, subject: str, criterion: str, values: np.ndarray, patients: list[str], settings: ScoreSettings
) -> dict[str, Any]:
    mean = Mean(values, "")
    weights = patient_weights(patients, settings.n_resamples, settings.seed)
    point = float(mean.values(np.ones((1, len(values))))[0])
    return _row(statistic, subject, criterion, _Estimate(point, mean.values(weights), patients, mean.n), settings)


@dataclass(frozen=True)
class _Estimate:
    """A statistic with its bootstrap draws."""

    value: float
    resampled: np.ndarray
    patients: Sequence[str]
    n: int
    """Ratings, or units, that it was computed from."""


def _row(statistic: str, subject: str, criterion: str, estimate: _Estimate, settings: ScoreSettings) -> dict[str, Any]:
    row = {"statistic": statistic, "subject": subject, "criterion": criterion, "n": estimate.n}
    if not np.isfinite(estimate.value):
        return row | {"status": "not computed", "note": "too few ratings, or all of them equal"}
    low, high = percentile_interval(estimate.resampled, settings.level, effective_patients(estimate.patients))
    if len(set(estimate.patients)) < 2:
        low = high = None
    return row | {"status": "computed", "value": estimate.value, "low": low, "high": high}


def _published(statistic: str, subject: str, value: float, note: str) -> dict[str, Any]:
    return {
        **{"statistic": statistic, "subject": f"{subject} (paper)", "criterion": ALL, "value": value},
        **{"n": PUBLISHED_CASES, "status": "published", "note": f"arXiv 2510.27680 v2: {note}"},
    }


def _alphas(scored: pl.DataFrame, settings: ScoreSettings) -> list[dict[str, Any]]:
    readers = sorted(scored["reader"].unique())
    units = scored.select("case_id", "author", "patient_id").unique(["case_id", "author"]).sort("case_id", "author")
    rows = []
    for criterion in CRITERIA:
        table = units.join(
            scored.select("case_id", "author", "reader", criterion).pivot("reader", index=["case_id", "author"]),
            on=["case_id", "author"],
            maintain_order="left",
        )
        matrix = table.select(readers).cast(pl.Float64).fill_null(float("nan")).to_numpy()
        coincidences = coincidences_of(matrix)
        weights = patient_weights(units["patient_id"].to_list(), settings.n_resamples, settings.seed)
        value = float(ordinal_alpha(coincidences, np.ones((1, len(matrix))))[0])
        resampled = ordinal_alpha(coincidences, weights)
        n = int((np.isfinite(matrix).sum(axis=1) > 1).sum())
        patients = units["patient_id"].to_list()
        rows.append(_row("alpha", "readers", criterion, _Estimate(value, resampled, patients, n), settings))
    return rows


def coincidences_of(matrix: np.ndarray) -> np.ndarray:
    """Coincidences of values within each unit (units x 5 x 5), from ratings (units x readers; NaN where there is none).

    Krippendorff 2011: each ordered pair of a unit's ratings counts 1 / (ratings of the unit - 1).
    """
    levels = np.arange(LOWEST, HIGHEST + 1)
    counts = (matrix[:, :, None] == levels).sum(axis=1).astype(float)
    size = counts.sum(axis=1)
    pairs = counts[:, :, None] * counts[:, None, :]
    pairs[:, np.arange(len(levels)), np.arange(len(levels))] -= counts
    return np.divide(pairs, (size - 1)[:, None, None], out=np.zeros_like(pairs), where=(size > 1)[:, None, None])


def ordinal_alpha(coincidences: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Krippendorff's alpha for ordinal values under each row of weights (resamples x units); NaN where none can be.

    The ordinal distance of two values is the square of the number of ratings from the one to the other, both counted
    half (Krippendorff 2011).
    """
    observed = np.einsum("bu,ucd->bcd", weights, coincidences)
    totals = observed.sum(axis=2)
    reach = np.cumsum(totals, axis=1) - totals / 2
    distance = (reach[:, :, None] - reach[:, None, :]) ** 2
    n = totals.sum(axis=1)
    disagreed = (observed * distance).sum(axis=(1, 2))
    expected = (totals[:, :, None] * totals[:, None, :] * distance).sum(axis=(1, 2)) / np.maximum(n - 1, 1)
    ratio = np.divide(disagreed, expected, out=np.full(len(n), np.nan), where=expected > 0)
    return 1.0 - ratio


def _spearmans(scored: pl.DataFrame, study: Study, settings: ScoreSettings) -> list[dict[str, Any]]:
    cases = {case.case_id: case for case in study.cases if case.report is not None}
    rated = (
        scored.filter(pl.col("author") == study.model, pl.col("case_id").is_in(list(cases)))
        .group_by("case_id", "finding_id")
        .agg(pl.col(c).cast(pl.Float64).mean() for c in (*CRITERIA, ALL))
        .sort("finding_id")
    )
    rows = []
    predicted = [
        {
            **{"finding_id": case.finding_id, "exam_id": case.exam_id, "patient_id": case.patient_id, "split": "test"},
            **{"model": study.model, "text": case.text, "text_measured": case.text, "reference": case.report},
        }
        for case in (cases[case_id] for case_id in rated["case_id"])
    ]
    pairs = pairs_of(schemas.frame("predictions", predicted), settings.text_column)
    for name, metric in METRICS.items():
        try:
            if not len(pairs):
                raise NotComputableError("no rated case has a report")
            scores = metric.compute(pairs, settings).per_sample
        except NotComputableError as error:
            about = {"statistic": "spearman", "subject": name, "criterion": ALL, "n": 0}
            rows.append(about | {"status": "not computed", "note": str(error)})
        else:
            for criterion in (ALL, *CRITERIA):
                given = rated[criterion].fill_null(float("nan")).to_numpy()
                rows.append(_spearman_row(name, criterion, scores, given, pairs.patients, settings))
        if name in PUBLISHED_SPEARMAN:
            rows.append(_published("spearman", name, PUBLISHED_SPEARMAN[name], "five physicians, variants unknown"))
    return rows


def _spearman_row(
    name: str,
    criterion: str,
    scores: np.ndarray,
    given: np.ndarray,
    patients: Sequence[str],
    settings: ScoreSettings,
) -> dict[str, Any]:
    there = np.isfinite(scores) & np.isfinite(given)
    x, y, own = scores[there], given[there], [p for p, t in zip(patients, there, strict=True) if t]
    value = spearman(x, y)
    resampled = np.full(settings.n_resamples, np.nan)
    if np.isfinite(value):
        weights = patient_weights(own, settings.n_resamples, settings.seed).astype(int)
        for at, drawn in enumerate(weights):
            resampled[at] = spearman(np.repeat(x, drawn), np.repeat(y, drawn))
    return _row("spearman", name, criterion, _Estimate(value, resampled, own, len(x)), settings)


def spearman(x: np.ndarray, y: np.ndarray) -> float:
    """Spearman's rank correlation, ties at their mean rank; NaN for fewer than three pairs or a constant."""
    if len(x) < 3 or np.ptp(x) == 0 or np.ptp(y) == 0:
        return float("nan")
    from scipy import stats

    return float(np.corrcoef(stats.rankdata(x), stats.rankdata(y))[0, 1])


def results_page(agreement: pl.DataFrame, study: Study, notes: Sequence[str]) -> str:
    """Rows of `agreement` as a page of Markdown; `notes` say what was left out of the ratings."""
    n_external = sum(case.is_external for case in study.cases)
    lines = [
        f"# Reader study {study.study_id}",
        "",
        f"{study.model}, {len(study.cases)} cases ({n_external} of the external set), readers: "
        f"{', '.join(study.readers)}. Values in brackets: 95 % interval, bootstrap over patients. Rows "
        "marked (paper) are published values of other cases.",
        "",
    ]
    titles = {
        "mean": "Ratings, 1 to 5",
        "preference": "Preferred text, share of the answers",
        "alpha": "Agreement of readers (Krippendorff's alpha, ordinal)",
        "spearman": "Metrics against the readers (Spearman)",
    }
    for statistic, title in titles.items():
        rows = agreement.filter(pl.col("statistic") == statistic)
        if rows.is_empty():
            continue
        criteria = [c for c in (ALL, *CRITERIA) if c in set(rows["criterion"])]
        lines += [f"## {title}", "", f"| | n | {' | '.join(criteria)} |", "|" + " --- |" * (2 + len(criteria))]
        for (subject,), found in rows.group_by("subject", maintain_order=True):
            cells = {row["criterion"]: _cell(row) for row in found.iter_rows(named=True)}
            n = max((n for n in found["n"] if n is not None), default=0)
            lines.append(f"| {subject!s} | {n} | {' | '.join(cells.get(c, '') for c in criteria)} |")
        lines.append("")
    missing = agreement.filter(pl.col("status") == "not computed").group_by("note", maintain_order=True)
    lines += [
        f"- not computed: {', '.join(subjects)} ({note})"
        for note, subjects in missing.agg(pl.col("subject").unique(maintain_order=True)).rows()
    ]
    lines += [f"- {note}" for note in notes]
    return "\n".join(lines).rstrip() + "\n"


def _cell(row: Mapping[str, Any]) -> str:
    if row["value"] is None:
        return "not computed"
    interval = f" [{row['low']:.2f}, {row['high']:.2f}]" if row["low"] is not None else ""
    return f"{row['value']:.3f}{interval}" if row["statistic"] != "mean" else f"{row['value']:.2f}{interval}"
