"""Lesions for the viewers people use: one label map as NIfTI, or a DICOM SEG that refers to the PET series."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import highdicom
import nibabel
import numpy as np
import pydicom
from pydicom.sr.codedict import codes
from pydicom.uid import ExplicitVRLittleEndian

from pipelines.imaging.dicom import find_series, pick_pet, stack_of
from pipelines.imaging.masks import load_mask, place_mask
from pipelines.imaging.problems import ExamError
from pipelines.imaging.volume import Volume, save_nifti
from pipelines.outcomes import ExamProblem


@dataclass(frozen=True)
class ExportLesion:
    """A lesion to export: its finding, what a viewer shows as its name, and the mask that the lineage wrote."""

    finding_id: str
    label: str
    mask_path: Path


def export_nifti(lesions: Sequence[ExportLesion], grid: Volume, path: Path) -> Path:
    """The path of a label map (uint16) on the whole grid of the PET: lesion n of the list has label n, of two that
    overlap the later wins. Raises ValueError where there is no lesion."""
    if not lesions:
        raise ValueError("expected lesions to export, got none")
    labels = np.zeros(grid.shape, dtype=np.uint16, order="F")
    for n, lesion in enumerate(lesions, 1):
        labels[place_mask(load_mask(lesion.mask_path), grid)] = n
    return save_nifti(Volume(labels, grid.affine), path)


def export_dicom_seg(lesions: Sequence[ExportLesion], exam_folder: Path, path: Path) -> Path:
    """The path of a DICOM SEG with a segment a lesion, on the slices of the exam's PET series, which it refers to.

    Raises ValueError where there is no lesion, ExamError(NO_PET) where the exam is no DICOM: a SEG needs the series.
    """
    if not lesions:
        raise ValueError("expected lesions to export, got none")
    series = find_series(exam_folder)
    if not any(s.modality == "PT" for s in series):
        raise ExamError(ExamProblem.NO_PET, f"{exam_folder.name} has no DICOM PET to refer to: export NIfTI")
    stack = stack_of(pick_pet(series).series)
    sources = [_complete(pydicom.dcmread(p)) for p in stack.paths]
    rows, columns = int(sources[0].Rows), int(sources[0].Columns)
    # Masks are in RAS+, the slices of the series as they are stored: the affine says which voxel is which.
    stored = Volume(np.zeros((columns, rows, len(sources)), dtype=np.uint8), stack.affine)
    grid = stored.canonical()
    pixels = np.zeros((len(sources), rows, columns, len(lesions)), dtype=np.uint8)
    for n, lesion in enumerate(lesions):
        whole = Volume(place_mask(load_mask(lesion.mask_path), grid).astype(np.uint8), grid.affine)
        pixels[..., n] = _as_stored(whole, stored).transpose(2, 1, 0)
    if not pixels.any(axis=(0, 1, 2)).all():
        raise ValueError(f"expected masks with voxels for {path.name}, got an empty one: leave it out")
    segmentation = highdicom.seg.Segmentation(
        source_images=sources,
        pixel_array=pixels,
        segmentation_type=highdicom.seg.SegmentationTypeValues.BINARY,
        segment_descriptions=[_description(n, lesion) for n, lesion in enumerate(lesions, 1)],
        series_instance_uid=highdicom.UID(),
        series_number=900,
        sop_instance_uid=highdicom.UID(),
        instance_number=1,
        manufacturer="petar",
        manufacturer_model_name="petar",
        software_versions=_version(),
        device_serial_number="1",
        transfer_syntax_uid=ExplicitVRLittleEndian,
        series_description="PET lesions",
        content_label="LESIONS",
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        segmentation.save_as(beside)
        with beside.open("rb+") as handle:
            os.fsync(handle.fileno())
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)
    return path


MAY_BE_EMPTY = (
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "StudyID",
    "StudyDate",
    "StudyTime",
    "AccessionNumber",
    "ReferringPhysicianName",
)


def _complete(dataset: pydicom.FileDataset) -> pydicom.FileDataset:
    """The dataset with the attributes that a SEG repeats and that de-identification may have removed, as empty ones."""
    for keyword in MAY_BE_EMPTY:
        if keyword not in dataset:
            setattr(dataset, keyword, "")
    return dataset


def _as_stored(whole: Volume, stored: Volume) -> np.ndarray:
    """A RAS+ array back in the axis order and direction of the stored grid."""
    orientation = nibabel.orientations.ornt_transform(
        nibabel.orientations.io_orientation(whole.affine), nibabel.orientations.io_orientation(stored.affine)
    )
    return np.asarray(nibabel.orientations.apply_orientation(whole.array, orientation))


def _description(number: int, lesion: ExportLesion) -> highdicom.seg.SegmentDescription:
    return highdicom.seg.SegmentDescription(
        segment_number=number,
        segment_label=lesion.label[:64],
        segmented_property_category=codes.SCT.MorphologicallyAbnormalStructure,
        segmented_property_type=codes.SCT.Lesion,
        algorithm_type=highdicom.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
        algorithm_identification=highdicom.AlgorithmIdentificationSequence(
            name="petar contour", version=_version(), family=codes.DCM.ArtificialIntelligence
        ),
        tracking_uid=highdicom.UID(),
        tracking_id=lesion.finding_id[:64],
    )


def _version() -> str:
    try:
        return version("petar")
    except PackageNotFoundError:
        return "0"
