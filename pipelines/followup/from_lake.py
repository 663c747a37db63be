"""Exam pairs and lesion links of a home: read from its lake, volumes and masks, written to its lake."""

import logging
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from pipelines.followup.exam_pairs import exam_pairs
from pipelines.followup.lesion_links import LinkInputs, LinkLesion, lesion_links, lesions_to_link
from pipelines.imaging.masks import load_mask
from pipelines.imaging.volume import Volume, load_nifti
from pipelines.settings import FollowupSettings
from pipelines.tables.home import Home
from pipelines.tables.lake import Lake, WriteResult
from pipelines.tables.outcomes import Outcome

_OF_FINDINGS = ("finding_id", "organ", "laterality", "comparison", "is_physiologic")


def update_exam_pairs(
    home: Home, settings: FollowupSettings, log: logging.Logger
) -> tuple[pl.DataFrame, WriteResult, int]:
    """The table `exam_pairs` of a home as it is now, how it was written, and how many rows were computed anew."""
    lake = Lake(home.lake)
    before = lake.read_table("exam_pairs")
    frame = exam_pairs(
        lake.read_table("exams"), lambda row: load_nifti(home.file(row["suv_path"])), settings, before, log
    )
    anew = len(set(frame["row_key"]) - set(before["row_key"]))
    return frame, lake.write_table("exam_pairs", frame), anew


def update_lesion_links(home: Home, settings: FollowupSettings) -> tuple[pl.DataFrame, WriteResult]:
    """The table `lesion_links` of a home as it is now, and how it was written."""
    lake = Lake(home.lake)
    inputs = LinkInputs(lake.read_table("exam_pairs"), _lesions_of(home, lake), _scanned_of(home, lake), settings)
    frame = lesion_links(inputs)
    return frame, lake.write_table("lesion_links", frame)


def _lesions_of(home: Home, lake: Lake) -> Callable[[str], list[LinkLesion]]:
    located = lake.read_table("lesions").filter(pl.col("outcome") == Outcome.LESION.value)
    rows = located.join(lake.read_table("findings").select(_OF_FINDINGS), on="finding_id", how="left")
    by_exam = {str(exam_id): own for (exam_id,), own in rows.group_by("exam_id")}

    def mask_of(row: Mapping[str, Any]) -> Volume:
        return load_mask(home.file(row["mask_path"]))

    return lambda exam_id: lesions_to_link(by_exam[exam_id], mask_of) if exam_id in by_exam else []


def _scanned_of(home: Home, lake: Lake) -> Callable[[str, NDArray[np.float64]], NDArray[np.bool_]]:
    paths = dict(lake.read_table("exams").select("exam_id", "suv_path").iter_rows())

    @lru_cache(maxsize=8)
    def volume_of(exam_id: str) -> Volume:
        return load_nifti(home.file(paths[exam_id]))

    def is_scanned(exam_id: str, points_mm: NDArray[np.float64]) -> NDArray[np.bool_]:
        volume = volume_of(exam_id)
        ijk = volume.to_ijk(points_mm)
        return np.asarray(((ijk >= -0.5) & (ijk < np.array(volume.shape) - 0.5)).all(axis=1))

    return is_scanned
