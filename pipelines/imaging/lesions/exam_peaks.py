"""What of an exam's image is made once and kept as a file: its peaks, its body frame, the organs about each peak."""

import zlib
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from pipelines.imaging.lesions.body_frame import BodyFrame, body_frame
from pipelines.imaging.lesions.peaks import PeakList, find_peaks
from pipelines.imaging.organ_labels import CLASSES
from pipelines.imaging.volume import SliceGrid, Volume, slices_of
from pipelines.settings import PeakSettings
from pipelines.tables import atomic

ORGAN_STEP_MM = 4.0
"""Distances to organs are measured on a grid of about this spacing [mm]."""
FAR_MM = 200.0
"""Distances are not told beyond [mm]."""


@dataclass(frozen=True, eq=False)
class OrgansAtPeaks:
    """Of n peaks and m classes: names, and the distance of each peak to each class in mm, (n, m), 0 inside; FAR_MM and
    more is told as FAR_MM."""

    names: tuple[str, ...]
    distance_mm: NDArray[np.float32]

    def inside(self, peak: int) -> str | None:
        """The class that a peak lies in; null: none."""
        at = np.flatnonzero(self.distance_mm[peak] <= 0)
        return self.names[at[0]] if len(at) else None


@dataclass(frozen=True, eq=False)
class ExamPeaks:
    """Peaks, body frame and organs of an exam, the RAS mm of the peaks (n, 3), and the slices of its PET; organs are
    null without a label map."""

    peaks: PeakList
    frame: BodyFrame
    organs: OrgansAtPeaks | None
    ras_mm: NDArray[np.float64]
    slices: SliceGrid
    half_slices: NDArray[np.float64]
    """Radius of each peak's region above its saddle as a sphere of its size, at most MOST_RADIUS_MM [slices]."""


MOST_RADIUS_MM = 40.0
"""Larger is what runs through the body [mm]: a lesion of 270 mL."""


def exam_peaks(volume: Volume, organ_map: Volume | None = None, settings: PeakSettings = PeakSettings()) -> ExamPeaks:
    """The product of a RAS+ SUV volume.

    Args:
        volume: SUV in RAS+ order.
        organ_map: labels of TotalSegmentator's task `total` on the same grid (`organ_map.on_pet_grid`); null: none.
        settings: of the peaks.
    """
    peaks = find_peaks(volume, settings)
    organs = None if organ_map is None else _organs(organ_map, peaks)
    slices = slices_of(volume)
    radius_mm = np.minimum((peaks.voxels * volume.voxel_ml * 750.0 / np.pi) ** (1 / 3), MOST_RADIUS_MM)
    return ExamPeaks(
        peaks, body_frame(volume, peaks), organs, volume.to_ras_mm(peaks.ijk), slices, radius_mm / slices.step_mm
    )


def _organs(organ_map: Volume, peaks: PeakList) -> OrgansAtPeaks:
    step = [max(1, round(ORGAN_STEP_MM / s)) for s in organ_map.spacing_mm]
    coarse = np.asarray(organ_map.array[:: step[0], :: step[1], :: step[2]])
    at = np.argwhere(coarse > 0)
    labels = coarse[tuple(at.T)]
    points = organ_map.to_ras_mm(at * step)
    ras = organ_map.to_ras_mm(peaks.ijk)
    own = np.asarray(organ_map.array[tuple(peaks.ijk.T)])
    present = [int(label) for label in np.unique(labels) if int(label) in CLASSES]
    distance = np.full((len(peaks), len(present)), FAR_MM, np.float32)
    for m, label in enumerate(present):
        found, _ = cKDTree(points[labels == label]).query(ras, distance_upper_bound=FAR_MM)
        # A voxel of the coarse grid stands for what is around it.
        distance[:, m] = np.clip(found - ORGAN_STEP_MM / 2, 0.1, FAR_MM)
        distance[own == label, m] = 0.0
    return OrgansAtPeaks(tuple(CLASSES[label] for label in present), distance)


def save_exam_peaks(
    made: ExamPeaks, message: str | None, key: str, path: Path, organ_map: Volume | None = None
) -> None:
    """Writes the product of an exam, why its label map was left out (null: it was not), the key of what it was made
    from, and the label map on the PET's grid."""
    arrays: dict[str, Any] = {"key": np.array(key), "message": np.array(message or ""), "ras_mm": made.ras_mm}
    arrays["half_slices"] = made.half_slices
    arrays["slices"] = np.array(astuple(made.slices))
    arrays |= {f"peaks.{f.name}": getattr(made.peaks, f.name) for f in fields(made.peaks)}
    arrays |= {f"frame.{name}": value for name, value in made.frame.to_arrays().items()}
    if made.organs is not None:
        arrays |= {"organs.names": np.array(made.organs.names), "organs.distance_mm": made.organs.distance_mm}
    if organ_map is not None:
        labels = np.ascontiguousarray(organ_map.array, dtype=np.uint8)
        arrays |= {"labels": np.frombuffer(zlib.compress(labels.data, level=1), np.uint8), "labels.shape": labels.shape}
    with atomic.replacing(path) as temp, temp.open("wb") as file:
        np.savez(file, **arrays)


_DAMAGED = (OSError, ValueError, KeyError, EOFError, BadZipFile, zlib.error)
"""What reading a missing, cut or overwritten file raises."""


def load_exam_peaks(path: Path, key: str | None = None) -> tuple[ExamPeaks, str | None] | None:
    """The product in a file, and why its label map was left out; null where there is no file, it was made from
    something else than `key`, or it is damaged."""
    try:
        with np.load(path, allow_pickle=False) as file:
            if key is not None and str(file["key"]) != key:
                return None
            peaks = PeakList(**{f.name: file[f"peaks.{f.name}"] for f in fields(PeakList)})
            frame = BodyFrame.from_arrays({f.name: file[f"frame.{f.name}"] for f in fields(BodyFrame)})
            organs = None
            if "organs.names" in file:
                organs = OrgansAtPeaks(tuple(str(n) for n in file["organs.names"]), file["organs.distance_mm"])
            n_slices, first_mm, step_mm = file["slices"]
            pet = SliceGrid(int(n_slices), float(first_mm), float(step_mm))
            made = ExamPeaks(peaks, frame, organs, file["ras_mm"], pet, file["half_slices"])
            return made, str(file["message"]) or None
    except _DAMAGED:
        return None


def load_organ_labels(path: Path) -> NDArray[np.uint8] | None:
    """The label map in the file of an exam's peaks, on the grid of its PET (RAS+); null where it holds none."""
    try:
        with np.load(path, allow_pickle=False) as file:
            if "labels" not in file:
                return None
            flat = np.frombuffer(zlib.decompress(file["labels"]), np.uint8)
            return flat.reshape(tuple(file["labels.shape"]))
    except _DAMAGED:
        return None
