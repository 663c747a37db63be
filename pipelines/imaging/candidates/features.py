"""The numbers of candidates that a model or a rule ranks them by, in the order of `candidate_features.FEATURES`."""

from collections.abc import Iterable

import numba
import numpy as np
from numpy.typing import NDArray

from pipelines.imaging.candidates.regions import Regions
from pipelines.imaging.lesions.exam_peaks import ExamPeaks
from pipelines.imaging.lesions.measures import offsets_within
from pipelines.imaging.organ_labels import CLASSES
from pipelines.imaging.volume import Volume
from pipelines.tables.candidate_features import CT_FEATURES, FEATURES, MAP_FEATURES, ORGAN_GROUPS, SHELLS_MM

Columns = dict[str, NDArray[np.float64]]
MIRROR_MM, COLUMN_MM = 12.0, 8.0
"""Reach around the mirrored place, and half width of the columns towards head and feet [mm]: a scanner's resolution."""
COLUMN_RANGE_MM = (15.0, 35.0)
CT_NEAR_MM, CT_SHELL_MM = 6.0, (8.0, 15.0)
"""Where CT numbers are read: in the focus, and around it [mm]."""
FARTHEST_ORGAN_MM, FARTHEST_TOP_MM = 60.0, 400.0
ORGAN_PART, ORGAN_STEP_MM = 0.9, 4.0
"""An organ's uptake is this quantile of its voxels, read every so many mm."""


def features_of(
    volume: Volume,
    exam: ExamPeaks,
    rows: NDArray[np.int64],
    regions: Regions,
    ct: Volume | None = None,
    labels: Volume | None = None,
) -> NDArray[np.float64]:
    """The features (n, f) of candidates, NaN where one is not known.

    Args:
        volume: SUV, RAS+.
        exam: its peaks.
        rows: of the candidates in `exam.peaks`.
        regions: of the candidates.
        ct: CT numbers (HU) on the grid of the PET; null without a CT.
        labels: organs on the grid of the PET (`organ_map.on_pet_grid`); null without a map.
    """
    peaks = exam.peaks
    ijk, suv, spacing = peaks.ijk[rows], peaks.suv[rows], volume.spacing_mm
    array = np.asarray(volume.array, dtype=np.float32)
    mirrored = _mirrored(volume, exam, rows)
    found = _of_shape(volume, exam, rows, regions)
    for low, high in SHELLS_MM:
        statistics = _around_voxels(array, ijk, _offsets(spacing, low, high)) / suv[:, None]
        names = ("mean", "high") if low == 0 else ("mean", "high", "low", "sd")
        found |= {f"shell_{high:g}_{name}": statistics[:, _STATISTICS.index(name)] for name in names}
    at_mirror = _around_voxels(array, mirrored, _offsets(spacing, 0, MIRROR_MM)) / suv[:, None]
    found |= {"mirror_high": at_mirror[:, 1], "mirror_mean": at_mirror[:, 0]}
    for name, sign in (("above_high", 1), ("below_high", -1)):
        found[name] = _around_voxels(array, ijk, _column(spacing, sign))[:, 1] / suv
    found |= _of_place(volume, exam, rows)
    found |= _of_ct(ct, ijk, mirrored, len(rows))
    found |= _of_organs(volume, exam, rows, labels)
    return np.stack([found[name] for name in FEATURES], axis=1) if len(rows) else np.zeros((0, len(FEATURES)))


def _of_shape(volume: Volume, exam: ExamPeaks, rows: NDArray[np.int64], regions: Regions) -> Columns:
    peaks = exam.peaks
    suv = peaks.suv[rows]
    volume_ml = regions.n_voxels * volume.voxel_ml
    faces = float(np.mean([a * b for a, b in _pairs(volume.spacing_mm)]))
    sphere = np.pi ** (1 / 3) * (6000.0 * volume_ml) ** (2 / 3)
    return {
        "log_uptake": np.log(suv),
        "prominence": peaks.prominence_suv[rows] / suv,
        "suvpeak_ratio": peaks.suvpeak[rows] / suv,
        "mean_ratio": regions.mean_suv / suv,
        "level_ratio": regions.level_suv / suv,
        "log_region": np.log(volume_ml),
        "log_above_saddle": np.log(peaks.voxels[rows] * volume.voxel_ml),
        "leak": regions.is_leak.astype(np.float64),
        "sphericity": sphere / (regions.n_faces * faces),
        "elongation": regions.elongation,
        "flatness": regions.flatness,
        "ln_peaks": np.log(np.bincount(regions.within, minlength=len(rows)).clip(1)),
    }


def _pairs(spacing: tuple[float, float, float]) -> Iterable[tuple[float, float]]:
    a, b, c = spacing
    return (a, b), (a, c), (b, c)


def _of_place(volume: Volume, exam: ExamPeaks, rows: NDArray[np.int64]) -> Columns:
    frame, ras, k = exam.frame, exam.ras_mm[rows], exam.peaks.ijk[rows, 2]
    along = frame.along(ras)
    across_mm = frame.across(ras, k)
    height = volume.shape[2] - 1
    step = volume.spacing_mm[2]
    return {
        "along": np.full(len(rows), np.nan) if along is None else along,
        "across": across_mm / frame.half_width_mm[k],
        "depth": frame.depth(ras, k),
        "to_edge_mm": np.minimum(
            frame.half_width_mm[k] - np.abs(across_mm),
            np.minimum(ras[:, 1] - frame.back_mm[k], frame.front_mm[k] - ras[:, 1]),
        ),
        "to_end_mm": np.minimum(k, height - k) * step,
        "to_top_mm": np.minimum((height - k) * step, FARTHEST_TOP_MM),
    }


def _mirrored(volume: Volume, exam: ExamPeaks, rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """Voxels (n, 3) at the same place on the other side of the body; -1 where that is unknown or not in the image."""
    k = exam.peaks.ijk[rows, 2]
    ras = exam.ras_mm[rows].copy()
    middle = exam.frame.middle_mm[k]
    ras[:, 0] = 2 * np.nan_to_num(middle) - ras[:, 0]
    ijk = np.rint(volume.to_ijk(ras)).astype(np.int64)
    inside = ((ijk >= 0) & (ijk < np.array(volume.shape))).all(axis=1) & np.isfinite(middle)
    return np.where(inside[:, None], ijk, -1)


def _of_ct(ct: Volume | None, ijk: NDArray[np.int64], mirrored: NDArray[np.int64], n: int) -> Columns:
    if ct is None:
        return {name: np.full(n, np.nan) for name in CT_FEATURES}
    array = np.asarray(ct.array, dtype=np.float32)
    near, mirror = (_around_voxels(array, at, _offsets(ct.spacing_mm, 0, CT_NEAR_MM)) for at in (ijk, mirrored))
    shell = _around_voxels(array, ijk, _offsets(ct.spacing_mm, *CT_SHELL_MM))
    around = _offsets(ct.spacing_mm, 0, CT_SHELL_MM[1])
    parts = {"ct_air": (-np.inf, -400), "ct_fat": (-150, -30), "ct_soft": (0, 100), "ct_bone": (180, np.inf)}
    return {
        **{f"ct_{name}": near[:, n] for n, name in enumerate(_STATISTICS)},
        "ct_shell_mean": shell[:, 0],
        "ct_shell_sd": shell[:, 3],
        **{name: _part(array, ijk, around, np.float32(a), np.float32(b)) for name, (a, b) in parts.items()},
        "ct_mirror": mirror[:, 0],
    }


def _of_organs(volume: Volume, exam: ExamPeaks, rows: NDArray[np.int64], labels: Volume | None) -> Columns:
    organs = exam.organs
    if organs is None or labels is None:
        return {name: np.full(len(rows), np.nan) for name in MAP_FEATURES}
    found = {}
    for group, names in ORGAN_GROUPS.items():
        mine = [m for m, name in enumerate(organs.names) if name.startswith(names)]
        distance = organs.distance_mm[rows][:, mine].astype(np.float64)
        nearest = distance.min(axis=1) if mine else np.full(len(rows), FARTHEST_ORGAN_MM)
        found[f"to_{group}_mm"] = np.minimum(nearest, FARTHEST_ORGAN_MM)
    ijk = exam.peaks.ijk[rows]
    own = np.asarray(labels.array)[tuple(ijk.T)]
    step = tuple(slice(None, None, max(1, round(ORGAN_STEP_MM / s))) for s in volume.spacing_mm)
    coarse, values = np.asarray(labels.array[step]), np.asarray(volume.array[step])
    over = np.full(len(rows), np.nan)
    for label in np.unique(own):
        inside = values[coarse == label]
        if int(label) in CLASSES and len(inside):
            over[own == label] = exam.peaks.suv[rows][own == label] / max(float(np.quantile(inside, ORGAN_PART)), 0.1)
    return {**found, "over_organ": over}


def _offsets(spacing: tuple[float, float, float], low_mm: float, high_mm: float) -> NDArray[np.int64]:
    """Offsets (n, 3) of the voxels whose centre lies low to high mm from a voxel's."""
    grid = offsets_within(spacing, high_mm)
    distance = np.sqrt(((grid * np.array(spacing)) ** 2).sum(axis=1))
    inside = (distance <= high_mm) & ((distance > low_mm) | (low_mm == 0))
    # A coarse grid may have no voxel between: the nearest shell stands for it.
    return grid[inside] if inside.any() else grid[np.argsort(np.abs(distance - high_mm))[:6]]


def _column(spacing: tuple[float, float, float], sign: int) -> NDArray[np.int64]:
    low, high = COLUMN_RANGE_MM
    grid = offsets_within(spacing, high)
    mm = grid * np.array(spacing)
    inside = (np.hypot(mm[:, 0], mm[:, 1]) <= COLUMN_MM) & (sign * mm[:, 2] >= low) & (sign * mm[:, 2] <= high)
    return grid[inside]


_STATISTICS = ("mean", "high", "low", "sd")


@numba.njit(cache=True)
def _around_voxels(array, ijk, offsets):
    """Mean, highest, lowest and standard deviation (n, 4) of the voxels at the offsets from each voxel; NaN where none
    of them is in the image, or the voxel is not."""
    n_i, n_j, n_k = array.shape
    out = np.full((len(ijk), 4), np.nan)
    for n in range(len(ijk)):
        if ijk[n, 0] < 0:
            continue
        total, square, count = 0.0, 0.0, 0
        high, low = -np.inf, np.inf
        for m in range(len(offsets)):
            i, j, k = ijk[n, 0] + offsets[m, 0], ijk[n, 1] + offsets[m, 1], ijk[n, 2] + offsets[m, 2]
            if 0 <= i < n_i and 0 <= j < n_j and 0 <= k < n_k:
                value = array[i, j, k]
                total += value
                square += value * value
                high, low = max(high, value), min(low, value)
                count += 1
        if count > 0:
            mean = total / count
            out[n, 0], out[n, 1], out[n, 2] = mean, high, low
            out[n, 3] = np.sqrt(max(square / count - mean * mean, 0.0))
    return out


@numba.njit(cache=True)
def _part(array, ijk, offsets, low, high):
    """Part of the voxels at the offsets from each voxel whose value lies in low..high."""
    n_i, n_j, n_k = array.shape
    out = np.full(len(ijk), np.nan)
    for n in range(len(ijk)):
        hits, count = 0, 0
        for m in range(len(offsets)):
            i, j, k = ijk[n, 0] + offsets[m, 0], ijk[n, 1] + offsets[m, 1], ijk[n, 2] + offsets[m, 2]
            if 0 <= i < n_i and 0 <= j < n_j and 0 <= k < n_k:
                hits += low <= array[i, j, k] <= high
                count += 1
        if count > 0:
            out[n] = hits / count
    return out
