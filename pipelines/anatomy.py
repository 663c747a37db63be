"""Label maps of organs beside the volumes: read where the cohort has them, brought to the PET's grid, kept while
nothing changed.
"""

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from pipelines import atomic
from pipelines.cohort import ExamEntry
from pipelines.hashing import hash_of
from pipelines.home import Home
from pipelines.imaging.exam import ExamError
from pipelines.imaging.volume import Volume, load_nifti, resample_to, save_nifti
from pipelines.rows import Counts

LOGIC_VERSION = "1"

SOURCE_NAMES = ("TOTALSEG.nii.gz", "TOTALSEG.nii", "totalsegmentator.nii.gz", "segmentations.nii.gz")
"""Names under which an exam's folder may hold a multi-label map of TotalSegmentator's `total` task."""

TARGET_NAME = "ANATOMY.nii"
_MAX_LABEL = 255


@dataclass(frozen=True)
class AnatomyReport:
    """Which exams have a label map, as paths under PETAR_HOME, what that took, and what was wrong with the others."""

    paths: dict[str, str]
    counts: Counts
    problems: dict[str, str]
    version: str


def update_anatomy(
    home: Home, entries: Sequence[ExamEntry], exams: pl.DataFrame, log: logging.Logger | None = None
) -> AnatomyReport:
    """Label map of every usable exam that has one, uint8 on the PET's grid in RAS+, at volumes/<exam_id>/ANATOMY.nii.

    Labels are resampled by nearest neighbour where the grids differ. An exam without a map is left out; one whose map
    cannot be read, or does
    not fit, is named in `problems`.
    """
    log = log or logging.getLogger(__name__)
    usable: dict[str, dict[str, Any]] = {
        row["exam_id"]: row for row in exams.filter(pl.col("status") == "ok").iter_rows(named=True)
    }
    paths: dict[str, str] = {}
    problems: dict[str, str] = {}
    keys: dict[str, str] = {}
    recomputed = reused = 0
    for entry in entries:
        source = _source(entry)
        if source is None or entry.exam_id not in usable:
            continue
        target = home.volume_folder(entry.exam_id) / TARGET_NAME
        key = hash_of(LOGIC_VERSION, usable[entry.exam_id]["row_key"])
        key_path = target.with_suffix(".json")
        if not (target.exists() and key_path.exists() and json.loads(key_path.read_text()) == {"key": key}):
            try:
                reference = load_nifti(home.root / usable[entry.exam_id]["suv_path"])
                labels = _labels(source, entry.exam_id)
                save_nifti(resample_to(labels, reference, order=0, fill=0), target)
                atomic.write_bytes(key_path, json.dumps({"key": key}).encode())
            except (ExamError, ValueError) as error:
                problems[entry.exam_id] = str(error)
                log.warning("exam %s: label map left out: %s", entry.exam_id, error)
                continue
            recomputed += 1
        else:
            reused += 1
        paths[entry.exam_id] = str(target.relative_to(home.root))
        keys[entry.exam_id] = key
    return AnatomyReport(
        paths, Counts(recomputed=recomputed, reused=reused, failed=len(problems)), problems, hash_of(keys)
    )


def _source(entry: ExamEntry) -> Path | None:
    if entry.folder is None:
        return None
    return next((p for name in SOURCE_NAMES if (p := Path(entry.folder) / name).is_file()), None)


def _labels(source: Path, exam_id: str) -> Volume:
    volume = load_nifti(source)
    array = np.asarray(volume.array)
    whole = np.rint(array)
    if not np.array_equal(whole, array) or whole.min() < 0 or whole.max() > _MAX_LABEL:
        raise ValueError(
            f"expected whole labels 0..{_MAX_LABEL} in {source.name} of exam {exam_id}, "
            f"got {array.min()}..{array.max()}: save the map of TotalSegmentator's task `total` with ml=True"
        )
    return Volume(whole.astype(np.uint8), volume.affine)
