"""Label maps of organs beside the volumes: read where the cohort has them, else made by TotalSegmentator where it is
installed; brought to the PET's grid, kept while nothing changed.
"""

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from pipelines.cohort.manifest import ExamEntry
from pipelines.curation.stages.incremental import UpdateCounts
from pipelines.dataset.totalsegmentator import TotalSegmentator, TotalSegmentatorError
from pipelines.imaging.organ_labels import ORGAN_MAP_NAME, ORGAN_MAP_SOURCES
from pipelines.imaging.organ_map import whole_labels
from pipelines.imaging.reading.exam import ExamError, read_exam
from pipelines.imaging.volume import Volume, load_nifti, resample_to, save_nifti
from pipelines.settings import AnatomySettings, ExamSettings
from pipelines.tables import atomic
from pipelines.tables.errors import reason_of
from pipelines.tables.exam_problems import ExamProblem
from pipelines.tables.hashing import hash_of
from pipelines.tables.home import Home
from pipelines.tables.provenance import code_version

_MOST_FAILURES = 3


@dataclass(frozen=True)
class AnatomyReport:
    """Which exams have a label map, as paths under PETAR_HOME, what that took, and what was wrong with the others."""

    paths: dict[str, str]
    counts: UpdateCounts
    problems: dict[str, str]
    version: str


def update_anatomy(
    home: Home,
    entries: Sequence[ExamEntry],
    exams: pl.DataFrame,
    log: logging.Logger | None = None,
    settings: AnatomySettings = AnatomySettings(),
    exam_settings: ExamSettings = ExamSettings(),
) -> AnatomyReport:
    """Label map of every usable exam that has one, uint8 on the PET's grid in RAS+, at volumes/<exam_id>/ANATOMY.nii.

    A map in the exam's folder comes first; without one TotalSegmentator makes it of the exam's CT, where the settings
    name its command. Labels are resampled by nearest neighbour where the grids differ. An exam without a map is left
    out; one whose map cannot be read or made, or does not fit, is named in `problems`, the others are done. After some
    failures of TotalSegmentator in a row it is not asked again: what is missing, weights or a GPU, is missing for all.

    Raises:
        TotalSegmentatorError: the settings name a command that is not there or too old; nothing was begun.
    """
    log = log or logging.getLogger(__name__)
    program = TotalSegmentator(settings) if settings.command else None
    usable: dict[str, dict[str, Any]] = {
        row["exam_id"]: row for row in exams.filter(pl.col("status") == "ok").iter_rows(named=True)
    }
    paths: dict[str, str] = {}
    problems: dict[str, str] = {}
    keys: dict[str, str] = {}
    recomputed = reused = failures = 0
    for entry in entries:
        row = usable.get(entry.exam_id)
        source = _source(entry)
        if row is None or (source is None and (program is None or not row["has_ct"])):
            continue
        how = [] if source is not None or program is None else [program.how]
        target = home.volume_folder(entry.exam_id) / ORGAN_MAP_NAME
        key = hash_of(code_version(__name__), row["row_key"], *how)
        if _is_stored(home.file(target), home.file(_key_path(target)), key):
            reused += 1
        elif source is None and failures >= _MOST_FAILURES:
            problems[entry.exam_id] = f"not asked after {failures} failures in a row"
            continue
        else:
            try:
                labels = _labels_of(source, program, entry, exam_settings)
                failures = failures if source is not None else 0
                save_nifti(resample_to(labels, load_nifti(home.file(row["suv_path"])), order=0, fill=0), target)
                atomic.write_bytes(_key_path(target), json.dumps({"key": key}).encode())
                home.keep(target)
                home.keep(_key_path(target))
            except (ExamError, ValueError, TotalSegmentatorError) as error:
                failures += isinstance(error, TotalSegmentatorError)
                problems[entry.exam_id] = reason_of(error)
                log.warning("exam %s: label map left out: %s", entry.exam_id, reason_of(error))
                continue
            recomputed += 1
        paths[entry.exam_id] = str(target.relative_to(home.root))
        keys[entry.exam_id] = key
    counts = UpdateCounts(recomputed=recomputed, reused=reused, failed=len(problems))
    return AnatomyReport(paths, counts, problems, hash_of(keys))


def _key_path(target: Path) -> Path:
    return target.with_suffix(".json")


def _is_stored(target: Path, path: Path, key: str) -> bool:
    """Whether a label map is there that was computed from the same inputs, as the file of its key says."""
    return target.exists() and path.exists() and json.loads(path.read_text()) == {"key": key}


def _labels_of(
    source: Path | None, program: TotalSegmentator | None, entry: ExamEntry, settings: ExamSettings
) -> Volume:
    """Labels from the exam's own map, or from TotalSegmentator where it has none."""
    if source is not None:
        return whole_labels(load_nifti(source), source.name, entry.exam_id)
    assert program is not None
    return _segmented(program, entry, settings)


def _segmented(program: TotalSegmentator, entry: ExamEntry, settings: ExamSettings) -> Volume:
    """TotalSegmentator's labels of an exam's own CT, which is finer than the one kept on the PET's grid."""
    assert entry.folder is not None
    ct = read_exam(entry.folder, entry.exam_id, settings).ct
    if ct is None:
        raise ExamError(
            ExamProblem.BAD_VALUES, f"expected a CT in exam {entry.exam_id}, it has none: copy the exam again"
        )
    return whole_labels(program.segment(ct), program.how, entry.exam_id)


def _source(entry: ExamEntry) -> Path | None:
    if entry.folder is None:
        return None
    return next((p for name in ORGAN_MAP_SOURCES if (p := Path(entry.folder) / name).is_file()), None)
