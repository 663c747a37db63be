"""Lesions for viewers: one label map as NIfTI, or a DICOM SEG that refers to the PET series."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

import nibabel
import numpy as np
import pydicom
from pydicom.charset import python_encoding
from pydicom.uid import ExplicitVRLittleEndian

from pipelines.cohort.privacy.header_identifiers import note_profile, remove_identity
from pipelines.exports.anatomic_codes import SNOMED_CT, AnatomicCode, place_code, side_code
from pipelines.exports.uids import uid_of
from pipelines.imaging.masks import load_mask, place_mask
from pipelines.imaging.problems import ExamError
from pipelines.imaging.reading.dicom import find_series
from pipelines.imaging.reading.series_choice import pick_pet
from pipelines.imaging.reading.stack import Stack, stack_of
from pipelines.imaging.volume import Volume, save_nifti
from pipelines.tables import atomic
from pipelines.tables.exam_problems import ExamProblem

if TYPE_CHECKING:
    import highdicom


_UTF_8 = "ISO_IR 192"


_COLOURS = ((255, 80, 0), (0, 200, 255), (224, 176, 0), (32, 208, 32), (255, 0, 255), (128, 128, 255), (0, 224, 160))
_PHYSIOLOGIC_COLOUR = (150, 160, 175)
"""RGB that viewers show segments in: lesions in turn, physiologic uptake in grey."""


class SegKind(StrEnum):
    """How a SEG holds its segments (PS3.3, C.8.20.2): a frame a segment and slice, or a number a voxel."""

    BINARY = "BINARY"
    LABELMAP = "LABELMAP"


@dataclass(frozen=True)
class ExportLesion:
    """A lesion, or physiologic uptake, to export.

    Args:
        finding_id: Finding that it was contoured for.
        label: What a viewer shows as its name.
        mask_path: The mask that the lineage wrote.
        organ, region, laterality: Where it is, as the lexicon names it; null where the text does not say.
        is_physiologic: Whether the text calls the uptake normal for its organ: then the segment is the organ's and no
            lesion's.
        tracked_as: What the lesion is called over the exams of its patient; empty: it is followed by no other exam.
    """

    finding_id: str
    label: str
    mask_path: Path
    organ: str | None = None
    region: str | None = None
    laterality: str | None = None
    is_physiologic: bool = False
    tracked_as: str = ""

    @property
    def tracking_uid(self) -> str:
        """The same for one lesion in all exams, SEG and SR."""
        return uid_of("petar lesion", self.tracked_as or self.finding_id)


def export_nifti(lesions: Sequence[ExportLesion], grid: Volume, path: Path) -> Path:
    """The path of a label map (uint16) on the whole grid of the PET: lesion n of the list has label n, of two that
    overlap the later wins. Raises ValueError where there is no lesion."""
    if not lesions:
        raise ValueError("expected lesions to export, got none")
    labels = np.zeros(grid.shape, dtype=np.uint16, order="F")
    for n, lesion in enumerate(lesions, 1):
        labels[place_mask(load_mask(lesion.mask_path), grid)] = n
    return save_nifti(Volume(labels, grid.affine), path)


def export_dicom_seg(
    lesions: Sequence[ExportLesion],
    exam_folder: Path,
    path: Path,
    *,
    keep_identity: bool = False,
    days_back: int | None = None,
    labelmap_path: Path | None = None,
) -> Path:
    """The path of a DICOM SEG with a segment a lesion, on the slices of the exam's PET series, which it refers to.

    It is a BINARY one, which every viewer opens. Where `labelmap_path` is given the same segments are written there as
    LABELMAP (Label Map Segmentation Storage, one frame a slice) too, unless two of them overlap: such a file cannot
    hold that, and an earlier one is removed.

    It says nothing of who the patient is (only the series' UIDs tie it to it, PS3.15's basic profile with UIDs
    retained) unless `keep_identity`: an archive files a SEG under its patient. With `days_back` it says the date of the
    study, moved back by so many days.

    Raises ValueError where there is no lesion, ExamError(NO_PET) where the exam is no DICOM: a SEG needs the series.
    """
    if not lesions:
        raise ValueError("expected lesions to export, got none")
    stack, sources = pet_slices(exam_folder, keep_identity, days_back)
    rows, columns = int(sources[0].Rows), int(sources[0].Columns)
    # Masks are in RAS+, the slices of the series as they are stored: the affine says which voxel is which.
    stored = Volume(np.broadcast_to(np.uint8(0), (columns, rows, len(stack.paths))), stack.affine)
    labels = _labels(lesions, stored)
    if any(frame is not None for frame in stack.frames):
        if len(sources) > 1:
            raise ExamError(ExamProblem.BAD_GEOMETRY, f"the PET lies in {len(sources)} multi-frame files: export NIfTI")
        # A SEG of one multi-frame file takes the frames in the order of the file.
        labels = labels[np.argsort([int(frame or 0) for frame in stack.frames])]
        images = sources
    else:
        with_lesions = np.flatnonzero(labels.any(axis=(1, 2, 3) if labels.ndim == 4 else (1, 2)))
        images, labels = [sources[k] for k in with_lesions], labels[with_lesions]
    kinds = {SegKind.BINARY: path}
    if labelmap_path is not None and labels.ndim == 3:
        kinds[SegKind.LABELMAP] = labelmap_path
    elif labelmap_path is not None:
        labelmap_path.unlink(missing_ok=True)
    for kind, target in kinds.items():
        segmentation = _segmentation(images, labels, lesions, kind)
        _finish(segmentation, stored.spacing_mm[2])
        if not keep_identity:
            note_profile(segmentation, has_moved_dates=bool(sources[0].StudyDate))
        with atomic.replacing(target) as temp:
            segmentation.save_as(temp)
    return path


def _finish(segmentation: pydicom.Dataset, spacing_mm: float) -> None:
    """What highdicom draws by chance, or leaves out."""
    for element in segmentation.iterall():
        # highdicom draws it by chance, and names it here and in every dimension.
        if element.keyword == "DimensionOrganizationUID":
            element.value = uid_of("petar SEG dimensions", str(segmentation.SeriesInstanceUID))
    # Slices without a lesion are left out, so the distance of two frames says nothing: viewers need the spacing.
    measures = segmentation.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
    measures.SpacingBetweenSlices = round(spacing_mm, 6)


def pet_slices(
    exam_folder: Path, keep_identity: bool, days_back: int | None
) -> tuple[Stack, list[pydicom.FileDataset]]:
    """The PET's stack and the headers of its files, without the patient's identity unless `keep_identity`.

    Raises ExamError(NO_PET) where the exam is no DICOM.
    """
    # Damaged files are reported where the exam is read; here only the PET that was read counts.
    series = find_series(exam_folder, damaged=[])
    if not any(s.modality == "PT" for s in series):
        raise ExamError(ExamProblem.NO_PET, f"{exam_folder.name} has no DICOM PET to refer to: export NIfTI")
    stack = stack_of(pick_pet(series).series)
    sources = [_with_known_characters(pydicom.dcmread(p)) for p in dict.fromkeys(stack.paths)]
    if not all(source.get("FrameOfReferenceUID") for source in sources):
        raise ExamError(
            ExamProblem.MISSING_TAG,
            "the PET has no FrameOfReferenceUID (0020,0052), without which a SEG has no place: use the NIfTI",
        )
    for source in sources:
        if not keep_identity:
            remove_identity(source, days_back)
        _complete(source)
    return stack, sources


def _with_known_characters(source: pydicom.FileDataset) -> pydicom.FileDataset:
    """The dataset in UTF-8, which holds every letter of a label; read as Latin-1 where its own character set is none
    that DICOM knows."""
    named = source.get("SpecificCharacterSet") or ""
    names = [named] if isinstance(named, str) else list(named)
    if any(name not in python_encoding for name in names):
        source.SpecificCharacterSet = "ISO_IR 100"
    source.decode()
    source.SpecificCharacterSet = _UTF_8
    return source


def _segmentation(
    images: Sequence[pydicom.Dataset], labels: np.ndarray, lesions: Sequence[ExportLesion], kind: SegKind
) -> "highdicom.seg.Segmentation":
    # A twentieth of what every run of Dagster imports, for a job of its own: only where it is needed.
    import highdicom

    # Of the series and of what the object holds, so that another content is another object.
    of_kind = () if kind is SegKind.BINARY else (kind.value,)
    series_uid = uid_of("petar SEG", str(images[0].SeriesInstanceUID), *of_kind)
    content = [repr(replace(lesion, mask_path=Path())) for lesion in lesions]
    places = [str(image.SOPInstanceUID) for image in images]
    return highdicom.seg.Segmentation(
        source_images=images,
        pixel_array=labels,
        segmentation_type=highdicom.seg.SegmentationTypeValues(kind.value),
        segment_descriptions=[_description(n, lesion) for n, lesion in enumerate(lesions, 1)],
        series_instance_uid=series_uid,
        series_number=900 if kind is SegKind.BINARY else 902,
        sop_instance_uid=uid_of(series_uid, petar_version(), *content, *places, labels.tobytes()),
        instance_number=1,
        manufacturer="petar",
        manufacturer_model_name="petar",
        software_versions=petar_version(),
        device_serial_number="1",
        transfer_syntax_uid=ExplicitVRLittleEndian,
        series_description="PET lesions" if kind is SegKind.BINARY else "PET lesions, label map",
        content_label="LESIONS",
    )


def _labels(lesions: Sequence[ExportLesion], stored: Volume) -> np.ndarray:
    """Lesion numbers on the stored slices (slice, row, column); with a last axis, a lesion each, where two overlap."""
    grid = stored.canonical()
    numbers = np.zeros((stored.shape[2], stored.shape[1], stored.shape[0]), dtype=np.uint16)
    masks = []
    for n, lesion in enumerate(lesions, 1):
        whole = Volume(place_mask(load_mask(lesion.mask_path), grid), grid.affine)
        mask = _as_stored(whole, stored).transpose(2, 1, 0)
        at = np.nonzero(mask)
        if len(at[0]) == 0:
            raise ValueError(f"expected a mask with voxels for finding {lesion.finding_id}, got an empty one")
        masks.append(at)
        numbers[at] = n
    if sum(len(at[0]) for at in masks) == np.count_nonzero(numbers):
        return numbers
    apart = np.zeros((*numbers.shape, len(lesions)), dtype=np.uint8)
    for n, at in enumerate(masks):
        apart[..., n][at] = 1
    return apart


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


def _complete(dataset: pydicom.Dataset) -> None:
    """Gives the dataset, empty, the attributes that a SEG repeats and that de-identification may have removed."""
    for keyword in MAY_BE_EMPTY:
        if keyword not in dataset:
            setattr(dataset, keyword, "")


def _as_stored(whole: Volume, stored: Volume) -> np.ndarray:
    """A RAS+ array back in the axis order and direction of the stored grid."""
    orientation = nibabel.orientations.ornt_transform(
        nibabel.orientations.io_orientation(whole.affine), nibabel.orientations.io_orientation(stored.affine)
    )
    return np.asarray(nibabel.orientations.apply_orientation(whole.array, orientation))


def _description(number: int, lesion: ExportLesion) -> "highdicom.seg.SegmentDescription":
    import highdicom
    from pydicom.sr.codedict import codes

    place, side = place_code(lesion.organ, lesion.region), side_code(lesion.laterality)
    category, kind = codes.SCT.MorphologicallyAbnormalStructure, codes.SCT.Lesion
    colour = _COLOURS[(number - 1) % len(_COLOURS)]
    if lesion.is_physiologic:
        category, colour = codes.SCT.AnatomicalStructure, _PHYSIOLOGIC_COLOUR
        kind = codes.SCT.Tissue if place is None else dicom_code(place)
    described = highdicom.seg.SegmentDescription(
        segment_number=number,
        segment_label=lesion.label[:64],
        segmented_property_category=category,
        segmented_property_type=kind,
        algorithm_type=highdicom.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
        algorithm_identification=highdicom.AlgorithmIdentificationSequence(
            name="petar contour", version=petar_version(), family=codes.DCM.ArtificialIntelligence
        ),
        tracking_uid=lesion.tracking_uid,
        tracking_id=lesion.finding_id[:64],
        anatomic_regions=None if place is None or lesion.is_physiologic else [dicom_code(place)],
        display_color=highdicom.color.CIELabColor.from_rgb(*colour),
    )
    if place is not None and side is not None:
        # The side belongs to the region (PS3.16, CID 244), of an organ to the property that the segment is.
        sequence = "SegmentedPropertyTypeCodeSequence" if lesion.is_physiologic else "AnatomicRegionSequence"
        modifier = (
            "SegmentedPropertyTypeModifierCodeSequence" if lesion.is_physiologic else "AnatomicRegionModifierSequence"
        )
        setattr(described[sequence].value[0], modifier, [dicom_code(side)])
    return described


def dicom_code(code: AnatomicCode) -> "highdicom.sr.CodedConcept":
    """The code as DICOM writes it."""
    import highdicom

    return highdicom.sr.CodedConcept(code.value, SNOMED_CT, code.meaning)


def petar_version() -> str:
    """The installed version; 0 where the package runs from a folder."""
    try:
        return version("petar")
    except PackageNotFoundError:
        return "0"
