"""The slices of one DICOM series as a volume in RAS+.

A series that is not one regular stack (missing slices, two series mixed, tilt, uneven spacing) is refused and says
where; nothing is filled in.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from pipelines.imaging.problems import ExamError
from pipelines.imaging.reading.dicom import Series, Slice, most_common
from pipelines.imaging.reading.headers import decoded_pixels, plain_pixels
from pipelines.imaging.reading.series_choice import is_dynamic
from pipelines.imaging.reading.suv_times import joined
from pipelines.imaging.reading.values import number_of, numbers_of, tag_name, text_of, whole_number_of
from pipelines.imaging.volume import Volume
from pipelines.settings import ExamSettings
from pipelines.tables.exam_problems import ExamProblem
from pipelines.tables.safe_text import error_reason, file_reference

SPACING_TOLERANCE_MM = 0.15
"""Slices of real series jitter by up to 0.08 mm: positions are rounded when they are written."""
SPACING_TOLERANCE = 0.04
"""And by this part of the spacing, for thick slices."""
ORIENTATION_TOLERANCE = 1e-3
TILT_TOLERANCE_MM = 1.0
"""In-plane drift from the first to the last slice beyond rounding: more is a tilted gantry."""


@dataclass(frozen=True, eq=False)
class Stack:
    """The slices of one series in order of position, and the affine (to RAS mm) of the array that they make:
    (column, row, slice)."""

    slices: tuple[Slice, ...]
    folder: Path
    affine: NDArray[np.float64]
    note: str

    @property
    def datasets(self) -> tuple[Dataset, ...]:
        """The header of each slice."""
        return tuple(s.dataset for s in self.slices)

    @property
    def paths(self) -> tuple[Path, ...]:
        """The file of each slice."""
        return tuple(s.path for s in self.slices)

    @property
    def frames(self) -> tuple[int | None, ...]:
        """Number of each frame in its file, from 0; None where the file is one slice."""
        return tuple(s.frame for s in self.slices)


def stack_of(series: Series, settings: ExamSettings = ExamSettings()) -> Stack:
    """The slices sorted by position along the stack's normal, checked to be one regular stack.

    Raises ExamError(BAD_GEOMETRY): missing slices, several positions twice (two series or time frames mixed), tilt,
    uneven spacing, several matrix sizes or orientations; MISSING_TAG where a position is not stated; UNREADABLE: more
    pixels than `settings` allow.
    """
    slices, others = _without_pictures(series)
    if len(slices) == 1 and whole_number_of(slices[0].dataset, "NumberOfFrames", 1) > 1:
        raise ExamError(
            ExamProblem.UNREADABLE,
            f"series {series.name} is a multi-frame object that says nothing of its frames: export it as single-frame"
            " DICOM or as NIfTI",
        )
    _check_is_one_series(series, slices)
    _check_size(series, slices, settings)
    slices, copies = _without_copies(series, slices, settings)
    orientation, spacing = _directions_and_spacings(slices)
    row, column = orientation[0, :3], orientation[0, 3:]
    normal = np.cross(row, column)
    positions = np.array([_position(s) for s in slices])
    order = np.argsort(positions @ normal, kind="stable")
    positions = positions[order]
    slices = [slices[n] for n in order]
    step = _slice_step(series, slices, positions, normal)
    lps = np.eye(4)
    lps[:3, 0] = row * spacing[0, 1]
    lps[:3, 1] = column * spacing[0, 0]
    lps[:3, 2] = normal * step
    lps[:3, 3] = positions[0]
    note = joined((others, copies, _frames_note(slices), _numbering(slices, feet_first=bool(normal[2] >= 0))))
    return Stack(tuple(slices), series.folder, np.diag([-1.0, -1.0, 1.0, 1.0]) @ lps, note)


def _without_pictures(series: Series) -> tuple[list[Slice], str]:
    """The slices without pictures of another kind that lie under the same UID (a screen capture), and a note on
    these."""
    kind = most_common([text_of(s.dataset, "SOPClassUID") for s in series.slices])
    kept = [
        s
        for s in series.slices
        if text_of(s.dataset, "SOPClassUID") == kind or numbers_of(s.dataset, "ImagePositionPatient", 3)
    ]
    others = [s for s in series.slices if s not in kept] if len(kept) < len(series.slices) else []
    if not others:
        return kept, ""
    shown = ", ".join(file_reference(s.path, series.folder) for s in others[:3])
    return kept, f"{len(others)} files of another kind are left out of the series ({shown})"


def _check_is_one_series(series: Series, slices: Sequence[Slice]) -> None:
    """Raises ExamError where a position is not stated, or where two series are mixed."""
    for keyword, count in (("ImagePositionPatient", 3), ("ImageOrientationPatient", 6), ("PixelSpacing", 2)):
        if any(len(numbers_of(s.dataset, keyword, count)) == 0 for s in slices):
            raise ExamError(
                ExamProblem.MISSING_TAG,
                f"{tag_name(keyword)} is missing in series {series.name}: export the series again",
            )
    for keyword in ("Rows", "Columns"):
        sizes = {whole_number_of(s.dataset, keyword) for s in slices}
        if len(sizes) > 1:
            raise ExamError(
                ExamProblem.BAD_GEOMETRY,
                f"series {series.name} has {keyword} of {sorted(sizes)}: two series are mixed, separate them",
            )
        if min(sizes) < 1:
            raise ExamError(
                ExamProblem.MISSING_TAG, f"{tag_name(keyword)} is missing in series {series.name}: export it again"
            )
    for keyword, what in (
        ("PatientID", "holds {} PatientID (0010,0020)"),
        ("FrameOfReferenceUID", "has {} frames of reference"),
    ):
        found = {text_of(s.dataset, keyword) for s in slices}
        # One of its own for every slice is a fault of an exporter; two series that are mixed have two.
        if len(found) > 1 and not (keyword == "FrameOfReferenceUID" and len(found) == len(slices)):
            raise ExamError(
                ExamProblem.BAD_GEOMETRY,
                f"series {series.name} {what.format(len(found))}: two series are mixed, separate them",
            )
    orientation, spacing = _directions_and_spacings(slices)
    if (
        np.ptp(orientation, axis=0).max() > ORIENTATION_TOLERANCE
        or np.ptp(spacing, axis=0).max() > ORIENTATION_TOLERANCE
    ):
        raise ExamError(
            ExamProblem.BAD_GEOMETRY,
            f"series {series.name} has several orientations or pixel spacings: two series are mixed, separate them",
        )
    axes = orientation[0].reshape(2, 3)
    if np.abs(axes @ axes.T - np.eye(2)).max() > 10 * ORIENTATION_TOLERANCE or spacing.min() <= 0:
        raise ExamError(
            ExamProblem.BAD_GEOMETRY,
            f"series {series.name} has directions that are not perpendicular and of length 1, or a pixel spacing"
            " that is not positive (ImageOrientationPatient 0020,0037, PixelSpacing 0028,0030): export the"
            " series again",
        )


def _check_size(series: Series, slices: Sequence[Slice], settings: ExamSettings) -> None:
    first = slices[0].dataset
    needed = 4 * whole_number_of(first, "Rows") * whole_number_of(first, "Columns") * len(slices)
    if needed > settings.largest_image_bytes:
        raise ExamError(
            ExamProblem.UNREADABLE,
            f"series {series.name} needs {needed >> 20} MiB, more than {settings.largest_image_mib}: raise"
            " exam.largest_image_mib if that is right",
        )


def _frames_note(slices: Sequence[Slice]) -> str:
    if len({text_of(s.dataset, "FrameOfReferenceUID") for s in slices}) > 1:
        return "each slice has a FrameOfReferenceUID (0020,0052) of its own, which is not regarded"
    return ""


def _directions_and_spacings(slices: Sequence[Slice]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """ImageOrientationPatient (n, 6) and PixelSpacing in mm (n, 2) of each slice."""
    orientation = np.array([numbers_of(s.dataset, "ImageOrientationPatient", 6) for s in slices], dtype=np.float64)
    return orientation, np.array([numbers_of(s.dataset, "PixelSpacing", 2) for s in slices], dtype=np.float64)


def _position(image: Slice) -> tuple[float, ...]:
    return numbers_of(image.dataset, "ImagePositionPatient", 3)


def _without_copies(series: Series, slices: Sequence[Slice], settings: ExamSettings) -> tuple[list[Slice], str]:
    """The slices without those that are equal to another of the same position, and a note on these."""
    at: dict[tuple[float, ...], list[Slice]] = defaultdict(list)
    for image in slices:
        at[_position(image)].append(image)
    if len(at) == len(slices):
        one_uid = len({text_of(s.dataset, "SOPInstanceUID") for s in slices}) < len(slices)
        return list(slices), "slices share a SOPInstanceUID (0008,0018), which is not regarded" if one_uid else ""
    if len(slices) >= 2 * len(at) and len({text_of(s.dataset, "SOPInstanceUID") for s in slices}) == len(slices):
        return list(slices), ""  # As many again are a second series, not copies.
    kept: list[Slice] = []
    for same in at.values():
        first = same[0]
        kept.append(first)
        kept += [other for other in same[1:] if not _is_copy(first, other, series.folder, settings)]
    dropped = len(slices) - len(kept)
    return kept, f"{dropped} files were copies of others" if dropped else ""


def _is_copy(first: Slice, other: Slice, folder: Path, settings: ExamSettings) -> bool:
    """Whether a slice holds what another one of its position does."""
    keywords = ("Rows", "Columns", "RescaleSlope", "RescaleIntercept")
    if any(number_of(first.dataset, k) != number_of(other.dataset, k) for k in keywords):
        return False
    uid = text_of(first.dataset, "SOPInstanceUID")
    if np.array_equal(_pixels(first, folder, settings), _pixels(other, folder, settings)):
        return True
    if uid and uid == text_of(other.dataset, "SOPInstanceUID"):
        raise ExamError(
            ExamProblem.BAD_GEOMETRY,
            f"{file_reference(first.path, folder)} and {file_reference(other.path, folder)} are one instance"
            " (SOPInstanceUID 0008,0018) with different pixels: one is damaged or changed, remove it",
        )
    return False


def _numbering(slices: Sequence[Slice], *, feet_first: bool) -> str:
    """A note where InstanceNumber tells of slices that are missing at an end, or counts from the feet, where a report
    that counts images counts otherwise than one that counts slices from the head.

    Args:
        slices: in order of position.
        feet_first: whether the first one is the lowest.
    """
    numbers = np.array([whole_number_of(s.dataset, "InstanceNumber", -1) for s in slices])
    if any(s.frame is not None for s in slices) or is_dynamic(slices[0].dataset) or numbers.min() < 0:
        return ""
    steps = np.diff(numbers if feet_first else numbers[::-1])
    if not (np.all(steps == 1) or np.all(steps == -1)):
        return ""
    notes = []
    stated = {whole_number_of(s.dataset, "NumberOfSlices") for s in slices} == {len(slices)}
    if numbers.min() > 1 and not stated:
        end = "head" if steps[0] < 0 else "feet"
        notes.append(
            f"InstanceNumber (0020,0013) begins with {numbers.min()} at the {end}: slices may be missing there, and all"
            " slice numbers off by that"
        )
    if steps[0] > 0:
        notes.append("InstanceNumber (0020,0013) counts from the feet")
    return joined(notes)


def _slice_step(
    series: Series, slices: Sequence[Slice], positions: NDArray[np.float64], normal: NDArray[np.float64]
) -> float:
    """Distance between slices in mm, after checking that it is one distance along the normal."""
    along = positions @ normal
    gaps = np.diff(along)
    if len(gaps) == 0:
        raise ExamError(ExamProblem.BAD_GEOMETRY, f"series {series.name} has one slice: give the whole series")
    step = float(np.median(gaps))
    tolerance = max(SPACING_TOLERANCE_MM, SPACING_TOLERANCE * step)
    twice = int((gaps < 0.01).sum())
    if twice:
        raise ExamError(
            ExamProblem.BAD_GEOMETRY,
            f"series {series.name} has {twice} positions more than once: two series or time frames are mixed, separate"
            " them",
        )
    holes = np.flatnonzero(gaps > 1.5 * step)
    whole = np.abs(gaps[holes] / step - np.round(gaps[holes] / step)) * step <= 2 * tolerance
    if len(holes) and whole.all():
        missing = int(np.round(gaps[holes] / step - 1).sum())
        raise ExamError(
            ExamProblem.BAD_GEOMETRY,
            f"series {series.name} lacks {missing} slices, the first after slice {holes[0] + 1} by position: copy it"
            " again",
        )
    even = (along[-1] - along[0]) / (len(along) - 1)
    off = np.abs(along - along[0] - even * np.arange(len(along)))
    if off.max() > tolerance:
        at = int(np.abs(gaps - step).argmax())
        raise ExamError(
            ExamProblem.BAD_GEOMETRY,
            f"series {series.name} has gaps of {gaps[at]:.2f} mm among gaps of {step:.2f} mm (after slice {at + 1}):"
            " resample it or give the original",
        )
    stated = {n for s in slices if (n := whole_number_of(s.dataset, "NumberOfSlices"))}
    if len(stated) == 1 and max(stated) > len(positions) and not is_dynamic(slices[0].dataset):
        raise ExamError(
            ExamProblem.BAD_GEOMETRY,
            f"series {series.name} has {len(positions)} slices of {max(stated)} (NumberOfSlices 0054,0081): copy it"
            " again",
        )
    drift = positions[-1] - positions[0] - normal * (along[-1] - along[0])
    if np.linalg.norm(drift) > TILT_TOLERANCE_MM:
        raise ExamError(
            ExamProblem.BAD_GEOMETRY,
            f"series {series.name} is tilted: its slices drift by {np.linalg.norm(drift):.1f} mm in plane: resample it"
            " to a right-angled grid",
        )
    return float(even)


def read_stack(
    stack: Stack,
    factors: NDArray[np.float64],
    offsets: NDArray[np.float64] | None = None,
    dtype: Any = np.float32,
    settings: ExamSettings = ExamSettings(),
) -> Volume:
    """The volume of a stack in RAS+: stored pixel * factor[slice] + offset[slice] (SUV, or HU), slice by slice into
    one array. What an integer type cannot hold becomes its lowest or highest number.

    Raises ExamError(UNREADABLE) naming the file whose pixels are cut short or cannot be decoded.
    """
    first = stack.slices[0].dataset
    rows, columns = whole_number_of(first, "Rows"), whole_number_of(first, "Columns")
    array = np.empty((columns, rows, len(stack.slices)), dtype=dtype, order="F")
    limits = np.iinfo(dtype) if np.issubdtype(dtype, np.integer) else None
    frames: dict[Path, NDArray[Any]] = {}
    for n, image in enumerate(stack.slices):
        if image.frame is None:
            pixels = _pixels(image, stack.folder, settings)
        else:
            if image.path not in frames:
                frames = {image.path: _pixels(image, stack.folder, settings)}
            pixels = frames[image.path]
            pixels = pixels[image.frame] if pixels.ndim == 3 and image.frame < len(pixels) else pixels
        if pixels.shape != (rows, columns):
            raise ExamError(
                ExamProblem.UNREADABLE,
                f"{file_reference(image.path, stack.folder)} holds pixels of shape {pixels.shape}, its header says"
                f" {(rows, columns)}: copy it again",
            )
        values = pixels * factors[n]
        if offsets is not None:
            values = values + offsets[n]
        if limits is not None:
            values = np.clip(np.rint(values), limits.min, limits.max)
        array[:, :, n] = values.T
    return Volume(array, stack.affine).canonical()


def _pixels(image: Slice, folder: Path, settings: ExamSettings) -> NDArray[Any]:
    """Stored values of the file of a slice, before any rescaling: (rows, columns), or (frames, rows, columns)."""
    shape = whole_number_of(image.dataset, "Rows"), whole_number_of(image.dataset, "Columns")
    try:
        plain = plain_pixels(image.path, image.pixels, shape) if image.pixels is not None else None
        return decoded_pixels(image.path, settings.largest_image_bytes) if plain is None else plain
    except ExamError as error:
        message = f"{file_reference(image.path, folder)} {error.message}: copy the file again"
    except OSError as error:
        message = f"{file_reference(image.path, folder)} cannot be read ({error_reason(error)}): copy the file again"
    raise ExamError(ExamProblem.UNREADABLE, message)


def stored_pixels(path: Path) -> NDArray[Any]:
    """Stored values (rows, columns) of a single-frame file, or of all its frames, before any rescaling.

    Raises ExamError(UNREADABLE) where they cannot be decoded.
    """
    return decoded_pixels(path, ExamSettings().largest_image_bytes)
