"""Intervals by bootstrap over patients: lesions of one patient are alike, so patients are drawn and not lesions."""

from collections.abc import Sequence

import numpy as np


def patient_weights(patients: Sequence[str], n_resamples: int, seed: int) -> np.ndarray:
    """How often each sample is drawn in each resample (n_resamples x samples): patients drawn with replacement."""
    names, index = np.unique(np.asarray(patients, dtype=object).astype(str), return_inverse=True)
    rng = np.random.default_rng(seed)
    drawn = rng.integers(0, len(names), size=(n_resamples, len(names)))
    counts = np.zeros((n_resamples, len(names)))
    np.add.at(counts, (np.arange(n_resamples)[:, None], drawn), 1)
    return counts[:, index]


def percentile_interval(values: np.ndarray, level: float = 0.95) -> tuple[float | None, float | None]:
    """(low, high) of the resampled values, those that could be computed; (None, None) where none could."""
    there = values[np.isfinite(values)]
    if not there.size:
        return None, None
    low, high = np.quantile(there, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
