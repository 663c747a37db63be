"""Masks that experts drew, on the grid of the PET: NIfTI labels (SEG), DICOM SEG and RTSTRUCT.

Those that `given_masks.csv` of a cohort names become lesions (`given_masks.py`); others are for comparison.
"""

import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray
from skimage.draw import polygon2mask

from pipelines.imaging.problems import ExamError
from pipelines.imaging.reading.dicom import find_series
from pipelines.imaging.volume import Volume, load_nifti, resample_to
from pipelines.tables.exam_problems import ExamProblem
from pipelines.tables.safe_text import error_reason, file_reference

_SEG = re.compile(r"seg(?:_\d+)?\.nii(?:\.gz)?")
SAME_PLANE = 0.1
"""Part of a slice by which the contours of one plane may lie apart."""


@dataclass(frozen=True, eq=False)
class ExpertMask:
    """One expert region: its name, the kind of file (`nifti`, `seg`, `rtstruct`), and its mask on the reference's
    grid."""

    name: str
    source: str
    mask: NDArray[np.bool_]


def read_expert_masks(folder: Path, reference: Volume) -> list[ExpertMask]:
    """Every region in SEG.nii(.gz), SEG_2.nii(.gz) and so on, DICOM SEG and RTSTRUCT files below a folder, on the
    grid of `reference` (RAS+).

    Raises ExamError(UNREADABLE | BAD_GEOMETRY) naming the file. A region with no voxel on the grid comes back empty, so
    that it can be told.
    """
    masks: list[ExpertMask] = []
    for path in sorted(p for p in folder.iterdir() if _SEG.fullmatch(p.name.lower())):
        masks += _from_nifti(path, reference)
    for series in find_series(folder):
        if series.modality == "SEG":
            for path in series.paths:
                masks += _from_seg(path, reference)
        elif series.modality == "RTSTRUCT":
            masks += _from_rtstruct(series.paths, reference)
    return masks


def read_dicom_masks(path: Path, reference: Volume) -> list[ExpertMask]:
    """Every region of one DICOM file, SEG or RTSTRUCT, on the grid of `reference` (RAS+).

    Raises ExamError(UNREADABLE | BAD_GEOMETRY) naming the file.
    """
    try:
        modality = str(pydicom.dcmread(path, stop_before_pixels=True).get("Modality", ""))
    except Exception as error:
        raise ExamError(
            ExamProblem.UNREADABLE,
            "expected a mask as NIfTI, NRRD, MetaImage, DICOM SEG or RTSTRUCT, got"
            f" {file_reference(path, path.parent)}, which cannot be read ({error_reason(error)}): convert it",
        ) from None
    if modality == "SEG":
        return _from_seg(path, reference)
    if modality == "RTSTRUCT":
        return _from_rtstruct([path], reference)
    raise ExamError(
        ExamProblem.UNREADABLE,
        f"expected DICOM SEG or RTSTRUCT as a mask, got modality {modality or 'none'} in"
        f" {file_reference(path, path.parent)}: name the file of the mask",
    )


def _from_nifti(path: Path, reference: Volume) -> list[ExpertMask]:
    labels = load_nifti(path)
    whole = Volume(np.rint(labels.array).astype(np.int32), labels.affine)
    placed = resample_to(whole, reference, order=0).array
    values = [int(v) for v in np.unique(whole.array) if v > 0]
    if not values:
        return [ExpertMask("no label", "nifti", np.zeros(reference.shape, dtype=bool))]
    return [ExpertMask(f"label {v}", "nifti", placed == v) for v in values]


def _from_seg(path: Path, reference: Volume) -> list[ExpertMask]:
    """The segments of a DICOM SEG: its frames stacked by position, resampled by nearest voxel."""
    try:
        dataset = pydicom.dcmread(path)
        frames = np.atleast_3d(dataset.pixel_array)
        frames = frames if dataset.pixel_array.ndim == 3 else frames.transpose(2, 0, 1)
        names = {
            int(s.SegmentNumber): str(s.get("SegmentLabel", "") or s.SegmentNumber) for s in dataset.SegmentSequence
        }
        shared = dataset.SharedFunctionalGroupsSequence[0]
        kind = str(dataset.get("SegmentationType", "")).upper()
        # Of probabilities, what is inside more likely than not.
        least = 0.5 * float(dataset.get("MaximumFractionalValue", 255)) if kind == "FRACTIONAL" else 1
        by_segment: dict[int, list[tuple[NDArray[np.float64], NDArray[Any]]]] = defaultdict(list)
        orientation = None
        for frame, groups in zip(frames, dataset.PerFrameFunctionalGroupsSequence):
            plane = groups if "PlanePositionSequence" in groups else shared
            position = np.array(plane.PlanePositionSequence[0].ImagePositionPatient, dtype=float)
            turned = groups if "PlaneOrientationSequence" in groups else shared
            orientation = np.array(turned.PlaneOrientationSequence[0].ImageOrientationPatient, dtype=float)
            if kind == "LABELMAP":  # A pixel is its segment's number.
                for number in names:
                    if number and (frame == number).any():
                        by_segment[number].append((position, frame == number))
                continue
            ident = groups if "SegmentIdentificationSequence" in groups else shared
            by_segment[int(ident.SegmentIdentificationSequence[0].ReferencedSegmentNumber)].append(
                (position, frame >= least)
            )
        measures = shared if "PixelMeasuresSequence" in shared else dataset.PerFrameFunctionalGroupsSequence[0]
        pixel = measures.PixelMeasuresSequence[0]
        spacing = np.array(pixel.PixelSpacing, dtype=float)
        stated = float(pixel.get("SpacingBetweenSlices", 0) or 0)
        thickness = stated or float(pixel.get("SliceThickness", 0) or 0)
    except ExamError:
        raise
    except Exception as error:
        raise ExamError(
            ExamProblem.UNREADABLE,
            f"{file_reference(path, path.parent)} is no readable DICOM SEG ({error_reason(error)}): export it again",
        ) from None
    assert orientation is not None
    nothing = np.zeros(reference.shape, dtype=bool)
    return [
        ExpertMask(
            names.get(n, str(n)),
            "seg",
            _stacked(by_segment[n], orientation, spacing, thickness, reference) if n in by_segment else nothing,
        )
        for n in sorted({*names, *by_segment})
        if n or kind != "LABELMAP"  # Where a label map describes its background, it is segment 0.
    ]


def _stacked(
    slices: list[tuple[NDArray[np.float64], NDArray[Any]]],
    orientation: NDArray[np.float64],
    spacing: NDArray[np.float64],
    thickness: float,
    reference: Volume,
) -> NDArray[np.bool_]:
    """Frames of one segment as a mask on the reference's grid; a slice that the segment leaves out is empty."""
    row, column = orientation[:3], orientation[3:]
    normal = np.cross(row, column)
    along = np.array([p @ normal for p, _ in slices])
    gaps = np.diff(np.unique(np.round(along, 2)))
    if len(gaps) and (thickness <= 0 or np.abs(gaps / thickness - np.round(gaps / thickness)).max() > 0.05):
        thickness = float(gaps.min())  # Slices may be thicker than their distance, or thinner.
    elif thickness <= 0:
        thickness = reference.spacing_mm[2]
    index = np.rint((along - along.min()) / thickness).astype(int)
    rows, columns = slices[0][1].shape
    array = np.zeros((columns, rows, index.max() + 1), dtype=np.uint8)
    for at, (_, frame) in zip(index, slices):
        array[:, :, at] |= frame.T.astype(np.uint8)
    lps = np.eye(4)
    lps[:3, 0], lps[:3, 1], lps[:3, 2] = row * spacing[1], column * spacing[0], normal * thickness
    lps[:3, 3] = slices[int(along.argmin())][0]
    placed = resample_to(Volume(array, np.diag([-1.0, -1.0, 1.0, 1.0]) @ lps), reference, order=0)
    return np.asarray(placed.array > 0)


def _from_rtstruct(paths: Iterable[Path], reference: Volume) -> list[ExpertMask]:
    masks = []
    for path in paths:
        try:
            dataset = pydicom.dcmread(path)
            names = {int(r.ROINumber): str(r.get("ROIName", "")) for r in dataset.StructureSetROISequence}
            regions = [
                (names.get(int(r.ReferencedROINumber), ""), _contours(r)) for r in dataset.get("ROIContourSequence", [])
            ]
        except Exception as error:
            raise ExamError(
                ExamProblem.UNREADABLE,
                f"{file_reference(path, path.parent)} is no readable RTSTRUCT ({error_reason(error)}): export it again",
            ) from None
        masks += [ExpertMask(name, "rtstruct", _filled(contours, reference)) for name, contours in regions]
    return masks


def _contours(roi: Any) -> list[NDArray[np.float64]]:
    """The closed contours of a region, each (n, 3) in RAS mm."""
    contours = []
    for item in roi.get("ContourSequence", []):
        if str(item.get("ContourGeometricType", "CLOSED_PLANAR")).upper().startswith("CLOSED"):
            points = np.array(item.ContourData, dtype=float).reshape(-1, 3)
            contours.append(points * [-1.0, -1.0, 1.0])
    return contours


def _filled(contours: list[NDArray[np.float64]], reference: Volume) -> NDArray[np.bool_]:
    """Voxels whose centre lies inside an odd number of the contours of the nearest drawn plane (a hole is a contour
    in a contour)."""
    mask = np.zeros(reference.shape, dtype=bool)
    if not contours:
        return mask
    planes: dict[float, list[NDArray[np.float64]]] = defaultdict(list)
    for contour in contours:
        ijk = reference.to_ijk(contour)
        if np.ptp(ijk[:, 2]) > 1.0:
            raise ExamError(
                ExamProblem.BAD_GEOMETRY,
                "an RTSTRUCT region is not drawn on axial slices: export it on those of the PET",
            )
        at = float(ijk[:, 2].mean())
        # Contours of one plane differ by the rounding of their coordinates.
        planes[next((p for p in planes if abs(p - at) < SAME_PLANE), at)].append(ijk[:, :2])
    drawn = np.array(sorted(planes))
    # A plane stands for half the way to its neighbours, and for half a slice of the PET at the ends.
    half = max(0.5, 0.5 * float(np.median(np.diff(drawn)))) if len(drawn) > 1 else 0.5
    for k in range(reference.shape[2]):
        nearest = drawn[np.abs(drawn - k).argmin()]
        if abs(nearest - k) > half + 1e-3:
            continue
        for outline in planes[float(nearest)]:
            mask[:, :, k] ^= polygon2mask(reference.shape[:2], outline)
    return mask
