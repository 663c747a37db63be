"""Intervals by bootstrap over patients: lesions of one patient are alike, so patients are drawn and not lesions."""

from collections.abc import Sequence

import numpy as np
from scipy import special


def patient_weights(patients: Sequence[str], n_resamples: int, seed: int) -> np.ndarray:
    """How often each sample is drawn in each resample (n_resamples x samples): patients drawn with replacement."""
    names, index = _numbered(patients)
    rng = np.random.default_rng(seed)
    drawn = rng.integers(0, names, size=(n_resamples, names))
    counts = np.zeros((n_resamples, names))
    np.add.at(counts, (np.arange(n_resamples)[:, None], drawn), 1)
    return counts[:, index]


def patient_swaps(patients: Sequence[str], n_swaps: int, seed: int) -> np.ndarray:
    """Which samples are swapped between two models in each permutation (n_swaps x samples, bool): all of a patient or
    none.
    """
    names, index = _numbered(patients)
    return np.random.default_rng(seed).random((n_swaps, names))[:, index] < 0.5


def effective_patients(patients: Sequence[str]) -> float:
    """How many patients of equal size carry as much (Kish): fewer than there are where some have many more lesions."""
    sizes = np.unique(np.asarray(patients, dtype=object).astype(str), return_counts=True)[1].astype(float)
    return float(sizes.sum() ** 2 / (sizes**2).sum()) if sizes.size else 0.0


def _numbered(patients: Sequence[str]) -> tuple[int, np.ndarray]:
    """(number of patients, number of each sample's patient)."""
    names, index = np.unique(np.asarray(patients, dtype=object).astype(str), return_inverse=True)
    return len(names), index


def percentile_interval(
    values: np.ndarray, level: float = 0.95, n_patients: float | None = None, centre: float | None = None
) -> tuple[float | None, float | None]:
    """(low, high) of the resampled values, those that could be computed; (None, None) where none could.

    With `n_patients`, the effective number, the percentiles are moved outwards as in Hesterberg 2015 (expanded
    percentile interval): a plain percentile interval of few patients is too narrow, for it uses the spread of a sample
    as that of the population. With `centre`, the value itself, the interval is moved by the bootstrap's bias: a corpus
    drawn with repetitions holds fewer rare phrases, so CIDEr's resamples lie below it (its intervals held the truth in
    90 of 100 simulated corpora without this, in 95 with it).
    """
    there = values[np.isfinite(values)]
    if not there.size:
        return None, None
    tail = (1 - level) / 2
    if n_patients is not None and n_patients > 1:
        tail = float(special.ndtr(np.sqrt(n_patients / (n_patients - 1)) * special.stdtrit(n_patients - 1, tail)))
    low, high = np.quantile(there, [tail, 1 - tail])
    bias = 0.0 if centre is None else float(there.mean()) - centre
    return float(low) - bias, float(high) - bias
