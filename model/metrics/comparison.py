"""Two models side by side on the same lesions: difference with interval, paired test over patients, Holm over many
metrics.
"""

from collections.abc import Sequence

import numpy as np
import polars as pl

from model.metrics import DEFAULTS, METRICS, NotComputableError, ScoreSettings
from model.metrics.intervals import effective_patients, patient_swaps, patient_weights, percentile_interval
from model.metrics.pairs import Mean, Pairs, pairs_of

COLUMNS = {
    "model": pl.String,
    "other": pl.String,
    "split": pl.String,
    "metric": pl.String,
    "difference": pl.Float64,
    "low": pl.Float64,
    "high": pl.Float64,
    "p": pl.Float64,
    "p_holm": pl.Float64,
    "n": pl.Int64,
    "note": pl.String,
}


def compare(
    predictions: pl.DataFrame,
    model: str,
    other: str,
    split: str,
    names: Sequence[str] | None = None,
    settings: ScoreSettings = DEFAULTS,
) -> pl.DataFrame:
    """One row a metric: how much better `model` is than `other` on the lesions that both described, with interval and
    p.

    The interval is a bootstrap over patients, the same patients for both models. `p` is a two-sided permutation test
    that swaps the models' texts patient by patient, `p_holm` the same after Holm over the metrics of this call. A
    metric that can not be computed has null values and a note. Raises ValueError where the two share no lesion.
    """
    a, b = (
        pairs_of(predictions.filter(pl.col("model") == name, pl.col("split") == split), settings.text_column)
        for name in (model, other)
    )
    both, n_pairs = _shared(a, b)
    if not n_pairs:
        raise ValueError(f"expected lesions of split {split} that both {model} and {other} described, got none")
    patients = both.patients[:n_pairs]
    weights = patient_weights(patients, settings.n_resamples, settings.seed)
    swaps = patient_swaps(patients, settings.n_resamples, settings.seed).astype(float)
    rows = [
        {"model": model, "other": other, "split": split, "metric": name, "n": n_pairs}
        | _difference(name, both, weights, swaps, settings)
        for name in (METRICS if names is None else names)
    ]
    frame = pl.DataFrame([{name: row.get(name) for name in COLUMNS} for row in rows], schema=COLUMNS)
    known = frame["p"].is_not_null()
    adjusted = iter(holm(frame["p"].drop_nulls().to_list()))
    return frame.with_columns(
        p_holm=pl.Series([next(adjusted) if there else None for there in known], dtype=pl.Float64)
    )


def holm(p_values: Sequence[float]) -> list[float]:
    """P values adjusted by Holm 1979, in the order given: the chance of any false rejection among them stays under the
    level.
    """
    order = np.argsort(p_values)
    adjusted = np.empty(len(p_values))
    factors = len(p_values) - np.arange(len(p_values))
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(factors * np.asarray(p_values, float)[order]))
    return [float(p) for p in adjusted]


def _shared(a: Pairs, b: Pairs) -> tuple[Pairs, int]:
    """(corpus of the shared lesions, first those of `a`, then those of `b`; number of shared lesions)."""
    in_b = {finding: i for i, finding in enumerate(b.finding_ids)}
    shared = [(i, in_b[finding]) for i, finding in enumerate(a.finding_ids) if finding in in_b]
    both = Pairs(
        [a.texts[i] for i, _ in shared] + [b.texts[j] for _, j in shared],
        # One reference for both, so that what is rare in the references is the same for both.
        2 * [a.references[i] for i, _ in shared],
        2 * [a.patients[i] for i, _ in shared],
        2 * [a.finding_ids[i] for i, _ in shared],
        2 * [a.exam_ids[i] for i, _ in shared],
        [a.generated[i] for i, _ in shared] + [b.generated[j] for _, j in shared],
    )
    return both, len(shared)


def _difference(
    name: str, both: Pairs, weights: np.ndarray, swaps: np.ndarray, settings: ScoreSettings
) -> dict[str, object]:
    try:
        computed = METRICS[name].compute(both, settings)
    except NotComputableError as error:
        return {"note": str(error)}
    none = np.zeros_like(weights)
    one = np.ones((1, weights.shape[1]))

    def differ(of_a: np.ndarray, of_b: np.ndarray) -> np.ndarray:
        # A corpus of one model is the corpus of both with no weight on the other.
        return computed.values(np.hstack([of_a, of_b])) - computed.values(np.hstack([of_b, of_a]))

    difference = float(differ(one, none[:1])[0])
    if not np.isfinite(difference):
        return {"note": "no reference says it"}
    centre = None if isinstance(computed, Mean) else difference
    n_patients = effective_patients(both.patients)
    low, high = percentile_interval(differ(weights, none), settings.level, n_patients, centre)
    chance = differ(1 - swaps, swaps)
    # The lesions as they are count as one permutation, so that p is never 0.
    extreme = np.abs(chance[np.isfinite(chance)]) >= abs(difference) - 1e-12
    p = (1 + int(extreme.sum())) / (1 + extreme.size)
    return {"difference": difference, "low": low, "high": high, "p": p}
