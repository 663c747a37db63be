"""Candidates of drawn exams, whose lesions are known: even ones and hard ones in turn."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipelines.imaging.candidates.candidates import find_candidates
from pipelines.imaging.candidates.organ_veto import is_vetoed
from pipelines.imaging.lesions.exam_peaks import exam_peaks
from pipelines.imaging.volume import Volume
from pipelines.phantom.cohort import PhantomSettings, ct_of, draw_exams
from pipelines.phantom.hard import HardSettings
from pipelines.proposals.insertion import Inserted
from pipelines.proposals.model import Examples
from pipelines.settings import ProjectSettings
from pipelines.tables import atomic
from pipelines.tables.hashing import hash_of
from pipelines.tables.provenance import code_version

SEED = 7001
"""Of the drawn exams; no test or benchmark draws with it."""


@dataclass(frozen=True, eq=False)
class DrawnExam:
    """Candidates of a drawn exam: features (n, f), prominence, veto, and of each lesion its own candidates, and those
    whose region holds its hottest voxel."""

    features: NDArray[np.float64]
    prominence_suv: NDArray[np.float64]
    is_vetoed: NDArray[np.bool_]
    own: list[NDArray[np.int64]]
    covering: list[NDArray[np.int64]]

    def examples(self, weight: float) -> Examples:
        """Its candidates, those of lesions and all others."""
        is_lesion = np.zeros(len(self.features), bool)
        for rows in self.own:
            is_lesion[rows] = True
        return Examples(self.features, is_lesion, np.full(len(self.features), weight))


def drawn_candidates(phantom: PhantomSettings, settings: ProjectSettings) -> Iterator[DrawnExam]:
    """The candidates of the exams of a drawn cohort."""
    for exam in draw_exams(phantom):
        volume = Volume(exam.suv, exam.frame.affine)
        labels = Volume(exam.painted.labels, exam.frame.affine) if exam.with_organ_map else None
        ct = Volume(ct_of(exam), exam.frame.affine) if exam.acquisition.ct is not None else None
        peaks = exam_peaks(volume, labels, settings.lesions.peaks)
        found = find_candidates(volume, peaks, ct, labels, settings.candidates)
        ijk, rows = peaks.peaks.ijk[found.rows], found.rows
        owner = found.regions.owner
        own = [np.flatnonzero(Inserted(lesion.box, lesion.mask).holds(ijk)) for lesion in exam.lesions]
        covering = []
        for lesion, mine in zip(exam.lesions, own):
            at = int(owner[tuple(lesion.peak.ijk)])
            covering.append(np.union1d(mine, [at]) if at >= 0 else mine)
        veto = np.array([is_vetoed(peaks.organs, int(row)) for row in rows], bool)
        yield DrawnExam(found.features, peaks.peaks.prominence_suv[rows], veto, own, covering)


def phantom_examples(folder: Path, settings: ProjectSettings) -> list[Examples]:
    """Candidates of `phantom_exams` drawn exams, each with `phantom_weight`; kept in a folder.

    Args:
        folder: files that an earlier call kept.
        settings: of proposals, candidates and peaks.
    """
    count, weight = settings.proposals.phantom_exams, settings.proposals.phantom_weight
    if not count or not weight:
        return []
    key = hash_of(code_version(__name__), count, settings.candidates, settings.lesions.peaks)
    path = folder / f"{key}.npz"
    if not path.is_file():
        hard = (count + 1) // 2
        drawn = [PhantomSettings(hard, hard, SEED, hard=HardSettings())]
        drawn += [PhantomSettings(count - hard, count - hard, SEED)] if count > hard else []
        exams = [one.examples(1.0) for phantom in drawn for one in drawn_candidates(phantom, settings)]
        joined = Examples.joined(exams)
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic.replacing(path) as temp, temp.open("wb") as file:
            np.savez(file, features=joined.features, is_lesion=joined.is_lesion)
        for other in folder.glob("*.npz"):
            if other != path:
                other.unlink()
    with np.load(path, allow_pickle=False) as file:
        features, is_lesion = file["features"], file["is_lesion"]
    return [Examples(features, is_lesion, np.full(len(features), weight))]
