"""Two models side by side on the same lesions: difference with interval, paired test over patients, Holm over many
metrics.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import polars as pl

from model.evaluation.metrics import DEFAULTS, METRICS, Computed, NotComputableError
from model.evaluation.metrics.intervals import effective_patients, patient_swaps, patient_weights, percentile_interval
from model.evaluation.metrics.pairs import Mean, Pairs, pairs_of
from pipelines.settings import ScoreSettings
from pipelines.tables import schemas

_EQUAL = 1e-12
"""Differences up to this are rounding."""


def compare(
    predictions: pl.DataFrame,
    model: str,
    other: str,
    split: str,
    names: Sequence[str] | None = None,
    settings: ScoreSettings = DEFAULTS,
    known: dict[tuple[str, str, str], Mean] | None = None,
) -> pl.DataFrame:
    """Rows of `comparisons`, one a metric: how much better `model` is than `other` on the lesions of both, with p.

    The interval is a bootstrap over patients, the same patients for both models. `p` is a two-sided permutation test
    that swaps the models' texts patient by patient, `p_holm` the same after Holm over the metrics of this call that
    answer one question (`Metric.question`) and on which a lesion of the two differs: the others cannot come out
    significant, whoever is better (Tarone 1990). A metric that can not be computed has null values and a note. `known`
    keeps scores per pair by (model, split, metric), so that many comparisons compute them once. Raises ValueError where
    the two share no lesion.
    """
    known = {} if known is None else known
    a, b = (
        pairs_of(predictions.filter(pl.col("model") == name, pl.col("split") == split), settings.text_column)
        for name in (model, other)
    )
    at_a, at_b = _shared(a, b)
    if not at_a:
        raise ValueError(f"expected lesions of split {split} that both {model} and {other} described, got none")
    both = _together(a, b, at_a, at_b)
    weights = patient_weights(both.patients[: len(at_a)], settings.n_resamples, settings.seed)
    swaps = patient_swaps(both.patients[: len(at_a)], settings.n_resamples, settings.seed).astype(float)

    def compute(name: str) -> Computed:
        if METRICS[name].is_of_corpus:
            return METRICS[name].compute(both, settings)
        scores = []
        for pairs, whose, at in ((a, model, at_a), (b, other, at_b)):
            key = (whose, split, name)
            if key not in known:
                known[key] = METRICS[name].compute(pairs, settings)  # type: ignore[assignment]  # all but two are means
            scores.append(known[key].per_sample[at])
        # A lesion that one of the two has no score for says nothing of their difference.
        there = np.isfinite(scores[0]) & np.isfinite(scores[1])
        return Mean(np.concatenate([np.where(there, each, np.nan) for each in scores]), known[key].signature)

    rows = [
        {"model": model, "other": other, "split": split, "metric": name}
        | _difference(name, compute, both, weights, swaps, settings)
        for name in (METRICS if names is None else names)
    ]
    tested = [row for row in rows if row.pop("can_differ", False)]
    for question in {METRICS[row["metric"]].question for row in tested}:
        family = [row for row in tested if METRICS[row["metric"]].question == question]
        for row, p_holm in zip(family, holm([row["p"] for row in family])):
            row["p_holm"] = p_holm
    # Equal throughout: p is 1 anyhow.
    return schemas.frame("comparisons", [{"p_holm": row.get("p")} | row for row in rows])


def compare_all(
    predictions: pl.DataFrame,
    couples: Iterable[tuple[str, str]],
    names: Sequence[str] | None = None,
    settings: ScoreSettings = DEFAULTS,
) -> pl.DataFrame:
    """Rows of `comparisons` for every couple of models and every split where they share a lesion."""
    known: dict[tuple[str, str, str], Mean] = {}
    frames = [schemas.empty("comparisons")]
    couples = list(couples)
    for split in sorted(predictions["split"].unique()):
        described = predictions.filter(pl.col("split") == split)
        own = {str(name): pairs_of(part, settings.text_column) for (name,), part in described.group_by("model")}
        for model, other in couples:
            if model in own and other in own and _shared(own[model], own[other])[0]:
                frames.append(compare(described, model, other, split, names, settings, known))
    return pl.concat(frames)


def holm(p_values: Sequence[float]) -> list[float]:
    """P values adjusted by Holm 1979, in the order given: the chance of any false rejection among them stays under the
    level.
    """
    order = np.argsort(p_values)
    adjusted = np.empty(len(p_values))
    factors = len(p_values) - np.arange(len(p_values))
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(factors * np.asarray(p_values, float)[order]))
    return [float(p) for p in adjusted]


def _shared(a: Pairs, b: Pairs) -> tuple[list[int], list[int]]:
    """Where the lesions that both have stand in each of them."""
    in_b = {finding: i for i, finding in enumerate(b.finding_ids)}
    shared = [(i, in_b[finding]) for i, finding in enumerate(a.finding_ids) if finding in in_b]
    return [i for i, _ in shared], [j for _, j in shared]


def _together(a: Pairs, b: Pairs, at_a: Sequence[int], at_b: Sequence[int]) -> Pairs:
    """The corpus of the shared lesions, first those of `a`, then those of `b`."""
    return Pairs(
        [a.texts[i] for i in at_a] + [b.texts[j] for j in at_b],
        # One reference for both, so that what is rare in the references is the same for both.
        2 * [a.references[i] for i in at_a],
        2 * [a.patients[i] for i in at_a],
        2 * [a.finding_ids[i] for i in at_a],
        2 * [a.exam_ids[i] for i in at_a],
        [a.generated[i] for i in at_a] + [b.generated[j] for j in at_b],
    )


def _difference(
    name: str,
    compute: Callable[[str], Computed],
    both: Pairs,
    weights: np.ndarray,
    swaps: np.ndarray,
    settings: ScoreSettings,
) -> dict[str, Any]:
    try:
        computed = compute(name)
    except NotComputableError as error:
        return {"note": str(error), "n": 0}
    none = np.zeros_like(weights)
    one = np.ones((1, weights.shape[1]))

    def differ(of_a: np.ndarray, of_b: np.ndarray) -> np.ndarray:
        # A corpus of one model is the corpus of both with no weight on the other.
        return computed.values(np.hstack([of_a, of_b])) - computed.values(np.hstack([of_b, of_a]))

    difference = float(differ(one, none[:1])[0])
    if not np.isfinite(difference):
        return {"note": "no reference says it", "n": 0}
    centre = None if isinstance(computed, Mean) else difference
    patients = both.patients[: weights.shape[1]]
    low, high = percentile_interval(differ(weights, none), settings.level, effective_patients(patients), centre)
    note = None
    if len(set(patients)) < 2:
        low = high = None
        note = "no interval: one patient"
    chance = differ(1 - swaps, swaps)
    # The lesions as they are count as one permutation, so that p is never 0.
    chance = np.abs(chance[np.isfinite(chance)])
    extreme = chance >= abs(difference) - _EQUAL
    found = {"difference": difference, "low": low, "high": high, "n": computed.n // 2, "note": note}
    # Swapped or not, texts that score alike differ by nothing.
    can_differ = abs(difference) > _EQUAL or bool((chance > _EQUAL).any())
    return found | {"p": (1 + int(extreme.sum())) / (1 + extreme.size), "can_differ": can_differ}
