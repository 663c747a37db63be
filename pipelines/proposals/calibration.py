"""Calibration of a model's probabilities by the answers to its proposals on exams of one scanner."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

LEAST_ANSWERS, LEAST_EXAMS = 100, 10
"""Answers and exams of a scanner from which it is calibrated."""
_EDGE = 1e-4
_PENALTY = 1e-2


@dataclass(frozen=True)
class LogisticCalibration:
    """Calibrated p = 1 / (1 + exp(-(offset + slope * logit p))) (Platt 1999)."""

    offset: float
    slope: float

    def __call__(self, p: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(1.0 / (1.0 + np.exp(-(self.offset + self.slope * _logit(p)))))


def calibrated(
    p: NDArray[np.float64], is_lesion: NDArray[np.bool_], exam_ids: Sequence[str]
) -> LogisticCalibration | None:
    """The calibration by the answers on one scanner; null with too few of them, or answers of one kind alone.

    Args:
        p: of the answered candidates (n,).
        is_lesion: what was answered, (n,).
        exam_ids: their exams.
    """
    if len(p) < LEAST_ANSWERS or len(set(exam_ids)) < LEAST_EXAMS or is_lesion.all() or not is_lesion.any():
        return None
    x, y = _logit(p), np.where(is_lesion, 1.0, -1.0)

    def loss(v: NDArray[np.float64]) -> float:
        return float(np.logaddexp(0.0, -y * (v[0] + v[1] * x)).sum() + _PENALTY * ((v[1] - 1.0) ** 2 + v[0] ** 2))

    offset, slope = minimize(loss, np.array([0.0, 1.0]), method="BFGS").x
    return LogisticCalibration(float(offset), float(max(slope, 0.0)))


def _logit(p: NDArray[np.float64]) -> NDArray[np.float64]:
    clipped = np.clip(p, _EDGE, 1.0 - _EDGE)
    return np.asarray(np.log(clipped / (1.0 - clipped)))
