"""What the best location could accept of pseudo-findings."""

import numpy as np
import pytest

from benchmarks.real_peak_fields import PseudoFinding, Workstation, best_posterior
from pipelines.imaging.lesions.body_frame import BodyFrame
from pipelines.imaging.lesions.exam_peaks import ExamPeaks
from pipelines.imaging.lesions.peaks import PeakList
from pipelines.imaging.lesions.request import LesionRequest
from pipelines.imaging.volume import SliceGrid

N_SLICES = 100


def exam(suv: list[float], prominence: float = 0.5) -> ExamPeaks:
    """Peaks of these SUV on the middle slice."""
    n, values = len(suv), np.array(suv)
    ijk = np.stack([np.arange(n) * 20, np.full(n, 20), np.full(n, N_SLICES // 2)], axis=1)
    stands_out = prominence * values
    peaks = PeakList(ijk, values, values - stands_out, stands_out, np.full(n, 50), np.full(n, -1), values)
    flat = np.zeros(N_SLICES)
    frame = BodyFrame(None, None, flat, flat + 180.0, flat - 120.0, flat + 120.0)
    return ExamPeaks(peaks, frame, None, ijk * 4.0, SliceGrid(N_SLICES, 0.0, 4.0), np.zeros(n))


def finding(suv: float, peak: int | None) -> PseudoFinding:
    """A finding of that SUV on the middle slice."""
    number = N_SLICES - N_SLICES // 2
    return PseudoFinding(LesionRequest("f", f"A focus with SUVmax of {suv} (slice {number}).", number, suv), peak)


@pytest.mark.parametrize(
    ("suv", "at_least", "at_most"), [([6.0, 9.0], 0.95, 1.0), ([6.0, 6.01], 0.45, 0.5), ([6.0, 6.0, 6.0], 0.3, 0.34)]
)
def test_peaks_that_print_alike_share_the_posterior(suv, at_least, at_most):
    assert at_least <= best_posterior(finding(6.0, 0), Workstation(), exam(suv)) <= at_most


def test_a_finding_of_nothing_has_no_peak():
    assert best_posterior(finding(6.0, None), Workstation(), exam([6.0])) == 0.0
