"""The candidates of one exam: peaks that may be a lesion, with region, group and features."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipelines.imaging.candidates.features import features_of
from pipelines.imaging.candidates.regions import Regions, grow_regions
from pipelines.imaging.lesions.exam_peaks import ExamPeaks
from pipelines.imaging.volume import Volume
from pipelines.settings import CandidateSettings


@dataclass(frozen=True, eq=False)
class Candidates:
    """Candidates of an exam, the hottest first; arrays of n."""

    rows: NDArray[np.int64]
    """Rows (n,) in the exam's list of peaks."""
    group: NDArray[np.int64]
    """Of each of them the hottest candidate of its group, (n,): peaks of one tumour, or of nodes that touch."""
    regions: Regions
    features: NDArray[np.float64]
    """(n, f) in the order of `candidate_features.FEATURES`; NaN: not known."""

    def __len__(self) -> int:
        return len(self.rows)


def find_candidates(
    volume: Volume,
    exam: ExamPeaks,
    ct: Volume | None = None,
    labels: Volume | None = None,
    settings: CandidateSettings = CandidateSettings(),
) -> Candidates:
    """The candidates of an exam.

    A peak in the region of a hotter one is of its group, unless it stands out from it by `own_prominence`.

    Args:
        volume: SUV, RAS+.
        exam: its peaks.
        ct: CT numbers (HU) on the grid of the PET; null without a CT.
        labels: organs on the grid of the PET; null without a map.
        settings: which peaks are looked at.
    """
    peaks = exam.peaks
    standing = peaks.prominence_suv / np.maximum(peaks.suv, 1e-6)
    looked_at = (peaks.suv >= settings.least_suv) & (standing >= settings.least_prominence)
    rows = np.flatnonzero(looked_at)
    regions = grow_regions(volume, peaks.select(looked_at))
    group = np.where(standing[rows] >= settings.own_prominence, np.arange(len(rows)), regions.within)
    for n, other in enumerate(group):  # Of the hottest first: a group's first peak is settled before the others.
        group[n] = group[other]
    return Candidates(rows, group, regions, features_of(volume, exam, rows, regions, ct, labels))
