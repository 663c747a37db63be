"""DICOM series below a folder: which are there, which one is the PET, and its slices as a volume in RAS+.

pydicom reads attributes and plain pixels, SimpleITK (GDCM) decodes the compressed ones. A series that is not one
regular stack (missing slices, two series mixed, tilt, uneven spacing) is refused and says where; nothing is filled in.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import SimpleITK as sitk  # noqa: N813
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileDataset
from pydicom.errors import InvalidDicomError

from pipelines.imaging.problems import ExamError
from pipelines.imaging.reading.multiframe import frame_headers, is_enhanced
from pipelines.imaging.volume import Volume
from pipelines.tables.exam_problems import ExamProblem

SPACING_TOLERANCE_MM = 0.15
"""Slices of real series jitter by up to 0.08 mm: positions are rounded when they are written."""
SPACING_TOLERANCE = 0.04
"""And by this part of the spacing, for thick slices."""
ORIENTATION_TOLERANCE = 1e-3
TILT_TOLERANCE_MM = 1.0
"""In-plane drift from the first to the last slice beyond rounding: more is a tilted gantry."""
FEWEST_SLICES = 4
"""Scouts and single pictures have fewer."""
WHOLE_BODY_PART = 0.6
"""A series shorter than this part of the longest one shows a part of the body, however many slices it has."""
BED_PART, BED_OVERLAP = 0.67, 0.25
"""Series of at least this part of the chosen one's length that overlap it by at most this part of their own are bed
positions of one scan."""
LONGEST_BED_MM = 400.0
"""Scanners that move the bed see less at a time: of a longer series and its neighbour (trunk and legs), the trunk is
what a report counts from."""

NOT_DICOM_SUFFIXES = (
    ".nii",
    ".gz",
    ".csv",
    ".json",
    ".txt",
    ".md",
    ".png",
    ".jpg",
    ".jpeg",
    ".pdf",
    ".xml",
    ".zip",
    ".parquet",
)


@dataclass(frozen=True, eq=False)
class Series:
    """One DICOM series: its UID, modality and the header of each slice (pixels not read).

    A file is a slice, but for enhanced multi-frame PET and CT: there each frame is one, with the path of its file.
    """

    uid: str
    modality: str
    description: str
    datasets: tuple[Dataset, ...]
    paths: tuple[Path, ...]
    frames: tuple[int | None, ...]
    """Number of the frame in its file, from 0; null where the file is one slice."""

    @property
    def name(self) -> str:
        """How a message names the series."""
        many = any(frame is not None for frame in self.frames)
        return f"{self.description or 'without description'} ({len(self.paths)} {'frames' if many else 'files'})"

    @property
    def extent_mm(self) -> tuple[float, float] | None:
        """Lowest and highest position of a slice along the patient's axis; None where that is not stated."""
        try:
            orientation = np.array(_values(self.datasets[0], "ImageOrientationPatient"), dtype=np.float64)
            positions = np.array([_values(d, "ImagePositionPatient") for d in self.datasets], dtype=np.float64)
            normal = np.cross(orientation[:3], orientation[3:])
            # Feet to head whichever way the slices are stored, so that two series can be compared.
            along = positions @ normal * np.sign(normal[np.abs(normal).argmax()])
        except (TypeError, ValueError):
            return None
        return float(along.min()), float(along.max())

    @property
    def length_mm(self) -> float:
        """Distance of the outermost slices; 0 where it is not stated."""
        return self.extent_mm[1] - self.extent_mm[0] if self.extent_mm else 0.0


@dataclass(frozen=True)
class SeriesChoice:
    """The series that was picked and, in words, what was set aside and why ('' where there was no choice)."""

    series: Series
    reason: str


def find_series(folder: Path, damaged: list[tuple[Path, str]] | None = None) -> list[Series]:
    """All DICOM series anywhere below a folder, by UID.

    A file that begins as DICOM but cannot be read goes to `damaged` with what is wrong; without that list it raises
    ExamError(UNREADABLE).
    """
    found: dict[str, list[tuple[Path, int | None, Dataset]]] = defaultdict(list)
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        hidden = path.name.startswith(".") or path.name.upper() == "DICOMDIR"
        if hidden or path.suffix.lower() in NOT_DICOM_SUFFIXES:
            continue
        try:
            dataset = _header(path, folder)
        except ExamError as error:
            if damaged is None:
                raise
            damaged.append((path, error.message))
            continue
        if dataset is not None:
            found[str(dataset.get("SeriesInstanceUID", ""))] += _slices_of(path, dataset)
    series = []
    for uid, files in sorted(found.items()):
        first = files[0][2]
        series.append(
            Series(
                uid=uid,
                modality=str(first.get("Modality", "")).upper(),
                description=str(first.get("SeriesDescription", "") or ""),
                datasets=tuple(d for _, _, d in files),
                paths=tuple(p for p, _, _ in files),
                frames=tuple(n for _, n, _ in files),
            )
        )
    return series


def _slices_of(path: Path, dataset: FileDataset) -> list[tuple[Path, int | None, Dataset]]:
    """(path, frame, header) of each slice of a file."""
    if str(dataset.get("Modality", "")).upper() in ("PT", "CT") and is_enhanced(dataset):
        return [(path, n, header) for n, header in enumerate(frame_headers(dataset))]
    return [(path, None, dataset)]


def _header(path: Path, folder: Path) -> FileDataset | None:
    """The attributes of a DICOM file, or None where it is another kind of file."""
    try:
        with path.open("rb") as handle:
            start = handle.read(132)
    except OSError as error:
        raise ExamError(
            ExamProblem.UNREADABLE, f"{path.relative_to(folder)} cannot be opened ({error}): copy it again"
        ) from error
    if not start:
        raise ExamError(ExamProblem.UNREADABLE, f"{path.relative_to(folder)} is empty (0 bytes): copy it again")
    is_part_10 = start[128:] == b"DICM"
    try:
        dataset = pydicom.dcmread(path, stop_before_pixels=True, force=not is_part_10)
        known = dataset.get("SOPClassUID") is not None and dataset.get("SeriesInstanceUID") is not None
    except InvalidDicomError:
        return None
    except Exception as error:
        if not is_part_10:
            return None
        raise ExamError(
            ExamProblem.UNREADABLE, f"{path.relative_to(folder)} is a damaged DICOM file ({error}): copy it again"
        ) from error
    if known:
        return dataset
    if is_part_10:
        raise ExamError(
            ExamProblem.UNREADABLE,
            f"{path.relative_to(folder)} is DICOM without SOPClassUID (0008,0016) or SeriesInstanceUID (0020,000E): it"
            " is cut short, copy it again",
        )
    return None


def pick_pet(series: Iterable[Series]) -> SeriesChoice:
    """The PET series to measure: attenuation-corrected, no projection, of one moment, whole body, most slices; the
    others are named with the reason.

    Raises ExamError(NO_PET) where there is none, BAD_GEOMETRY where the body lies in several series.
    """
    everything = list(series)
    pets = [s for s in everything if s.modality == "PT"]
    if not pets:
        kinds = sorted({s.modality or "?" for s in everything})
        raise ExamError(
            ExamProblem.NO_PET,
            f"expected a PET series (Modality PT), found {', '.join(kinds) or 'no DICOM file'}: add the PET",
        )
    faults = {id(s): _pet_fault(s) for s in pets}
    longest = max((s.length_mm for s in pets if faults[id(s)] is None and not _is_derived(s)), default=0.0)

    def rank(s: Series) -> tuple[Any, ...]:
        part = s.length_mm < WHOLE_BODY_PART * longest
        return faults[id(s)] is not None, _is_derived(s), _is_dynamic(s.datasets[0]), part, -len(s.paths), s.uid

    ordered = sorted(pets, key=rank)
    chosen = ordered[0]
    fault = faults[id(chosen)]
    # That an only series is not corrected, or has few slices, is told where it is read.
    if fault is not None and fault != _NOT_CORRECTED and (len(pets) > 1 or fault == _PROJECTION):
        raise ExamError(
            ExamProblem.NO_PET,
            f"none of {len(pets)} PET series can be measured ({chosen.name}: {fault}): add the original series",
        )
    beds = [s for s in ordered if rank(s)[:3] == rank(chosen)[:3] and _continues(s, chosen)]
    if beds:
        raise ExamError(
            ExamProblem.BAD_GEOMETRY,
            f"expected the body in one PET series, got {', '.join(s.name for s in (chosen, *beds))} that continue one"
            " another (bed positions), so the slices of a report cannot be told: join them into one series, or leave"
            " the one that the report counts",
        )
    aside = [f"{s.name}: {faults[id(s)] or _lesser(s, chosen)}" for s in ordered[1:]]
    reason = f"picked {chosen.name} of {len(pets)} PET series; set aside {'; '.join(aside)}" if aside else ""
    return SeriesChoice(chosen, reason)


def _lesser(series: Series, chosen: Series) -> str:
    if _is_derived(series) and not _is_derived(chosen):
        return "derived from another"
    if _is_dynamic(series.datasets[0]) and not _is_dynamic(chosen.datasets[0]):
        return "dynamic or gated"
    if series.length_mm < WHOLE_BODY_PART * chosen.length_mm and len(series.paths) >= len(chosen.paths):
        return "a part of the body"
    if len(series.paths) < len(chosen.paths):
        return "fewer slices"
    return "the same number of slices, later UID"


def _continues(series: Series, chosen: Series) -> bool:
    """Whether a series is another bed position of the chosen one's scan: of its frame, of like length, beside it."""
    a, b = series.extent_mm, chosen.extent_mm
    if series is chosen or a is None or b is None or frame_of(series) != frame_of(chosen):
        return False
    if chosen.length_mm > LONGEST_BED_MM:
        return False
    overlap = min(a[1], b[1]) - max(a[0], b[0])
    return series.length_mm >= BED_PART * chosen.length_mm and overlap <= BED_OVERLAP * series.length_mm


_PROJECTION = "a projection"
_NOT_CORRECTED = "not attenuation-corrected"


def _pet_fault(series: Series) -> str | None:
    """Why a PET series is not the one to measure, or None."""
    first = series.datasets[0]
    image_type = {str(v).upper() for v in _values(first, "ImageType")}
    series_type = {str(v).upper() for v in _values(first, "SeriesType")}
    description = f" {series.description.lower().replace('_', ' ').replace('-', ' ')} "
    if "REPROJECTION" in series_type or {"MIP", "PROJECTION IMAGE"} & image_type or " mip " in description:
        return _PROJECTION
    if len(series.paths) < FEWEST_SLICES and int(first.get("NumberOfFrames", 1) or 1) < FEWEST_SLICES:
        return "too few slices"
    corrected = {str(v).upper() for v in _values(first, "CorrectedImage")}
    if corrected and "ATTN" not in corrected:
        return _NOT_CORRECTED
    if not corrected and any(
        word in description for word in (" nac ", " no ac ", " non ac ", " uncorrected ", " wo ac ")
    ):
        return _NOT_CORRECTED
    return None


def _is_derived(series: Series) -> bool:
    """Whether a workstation made the series (fusion, screen capture): an original is preferred."""
    image_type = [str(v).upper() for v in _values(series.datasets[0], "ImageType")]
    return "SECONDARY" in image_type


def _values(dataset: Any, keyword: str) -> Sequence[Any]:
    value = dataset.get(keyword)
    if value is None or value == "":
        return ()
    return (value,) if isinstance(value, str) else tuple(value) if hasattr(value, "__iter__") else (value,)


def pick_ct(series: Iterable[Series], pet: Series | None) -> SeriesChoice:
    """The CT series that belongs to the PET: of its frame of reference, covering most of it, most slices.

    Raises ExamError(NO_PET) where there is no CT at all (its message says so), BAD_GEOMETRY where none shares the
    PET's frame.
    """
    cts = [s for s in series if s.modality == "CT" and len(s.paths) >= FEWEST_SLICES and not _is_localizer(s)]
    if not cts:
        raise ExamError(ExamProblem.EMPTY_FOLDER, "no CT")
    frame = frame_of(pet) if pet else ""
    fitting = [s for s in cts if not frame or not frame_of(s) or frame_of(s) == frame]
    if not fitting:
        raise ExamError(
            ExamProblem.BAD_GEOMETRY,
            f"CT left out: its frame of reference (0020,0052) is not the PET's ({cts[0].name}): register it to the PET"
            " or give the CT of the same scan",
        )
    ordered = sorted(fitting, key=lambda s: (_is_derived(s), -_covered_part(s, pet), -len(s.paths), s.uid))
    reason = f"picked CT {ordered[0].name} of {len(cts)}" if len(cts) > 1 else ""
    return SeriesChoice(ordered[0], reason)


def _covered_part(ct: Series, pet: Series | None) -> float:
    """The part of the PET's length that a CT covers, in twentieths: a few mm at the ends make no difference. Without a
    PET, the CT's length in m."""
    mine, whole = ct.extent_mm, pet.extent_mm if pet else None
    if mine is None:
        return 0.0
    if whole is None or whole[1] <= whole[0]:
        return round(ct.length_mm / 1000.0, 1)
    part = max(0.0, min(mine[1], whole[1]) - max(mine[0], whole[0])) / (whole[1] - whole[0])
    return min(0.95, round(20.0 * part) / 20.0)


def frame_of(series: Series) -> str:
    """FrameOfReferenceUID of a series, or ''."""
    return str(series.datasets[0].get("FrameOfReferenceUID", "") or "")


def _is_localizer(series: Series) -> bool:
    return "LOCALIZER" in {str(v).upper() for v in _values(series.datasets[0], "ImageType")}


@dataclass(frozen=True, eq=False)
class Stack:
    """The slices of one series in order of position, and the affine (to RAS mm) of the array that they make:
    (column, row, slice)."""

    datasets: tuple[Dataset, ...]
    paths: tuple[Path, ...]
    frames: tuple[int | None, ...]
    """Number of the frame in its file, from 0; null where the file is one slice."""
    affine: NDArray[np.float64]
    note: str


def stack_of(series: Series) -> Stack:
    """The slices sorted by position along the stack's normal, checked to be one regular stack.

    Raises ExamError(BAD_GEOMETRY): missing slices, several positions twice (two series or time frames mixed), tilt,
    uneven spacing, several matrix sizes or orientations; MISSING_TAG where a position is not stated.
    """
    datasets, paths, numbers, dropped = _without_copies(series)
    if len(datasets) == 1 and int(datasets[0].get("NumberOfFrames", 1) or 1) > 1:
        raise ExamError(
            ExamProblem.UNREADABLE,
            f"series {series.name} is a multi-frame object that says nothing of its frames: export it as single-frame"
            " DICOM or as NIfTI",
        )
    _check_is_one_series(series, datasets)
    orientation, spacing = _directions_and_spacings(datasets)
    row, column = orientation[0, :3], orientation[0, 3:]
    normal = np.cross(row, column)
    positions = np.array([_values(d, "ImagePositionPatient") for d in datasets], dtype=np.float64)
    order = np.argsort(positions @ normal, kind="stable")
    positions = positions[order]
    step = _slice_step(series, datasets, positions, normal)
    lps = np.eye(4)
    lps[:3, 0] = row * spacing[0, 1]
    lps[:3, 1] = column * spacing[0, 0]
    lps[:3, 2] = normal * step
    lps[:3, 3] = positions[0]
    note = f"{dropped} files were copies of others" if dropped else ""
    return Stack(
        tuple(datasets[i] for i in order),
        tuple(paths[i] for i in order),
        tuple(numbers[i] for i in order),
        np.diag([-1.0, -1.0, 1.0, 1.0]) @ lps,
        note,
    )


def _check_is_one_series(series: Series, datasets: Sequence[Dataset]) -> None:
    """Raises ExamError where a position is not stated, or where two series are mixed."""
    for keyword, tag in (
        ("ImagePositionPatient", "0020,0032"),
        ("ImageOrientationPatient", "0020,0037"),
        ("PixelSpacing", "0028,0030"),
    ):
        if any(len(_values(d, keyword)) == 0 for d in datasets):
            raise ExamError(
                ExamProblem.MISSING_TAG,
                f"{keyword} ({tag}) is missing in series {series.name}: export the series again",
            )
    for keyword in ("Rows", "Columns"):
        if len(sizes := {int(d.get(keyword, 0)) for d in datasets}) > 1:
            raise ExamError(
                ExamProblem.BAD_GEOMETRY,
                f"series {series.name} has {keyword} of {sorted(sizes)}: two series are mixed, separate them",
            )
    for keyword, what in (
        ("PatientID", "holds {} PatientID (0010,0020)"),
        ("FrameOfReferenceUID", "has {} frames of reference"),
    ):
        if len(found := {str(d.get(keyword, "") or "") for d in datasets}) > 1:
            raise ExamError(
                ExamProblem.BAD_GEOMETRY,
                f"series {series.name} {what.format(len(found))}: two series are mixed, separate them",
            )
    orientation, spacing = _directions_and_spacings(datasets)
    if (
        np.ptp(orientation, axis=0).max() > ORIENTATION_TOLERANCE
        or np.ptp(spacing, axis=0).max() > ORIENTATION_TOLERANCE
    ):
        raise ExamError(
            ExamProblem.BAD_GEOMETRY,
            f"series {series.name} has several orientations or pixel spacings: two series are mixed, separate them",
        )


def _directions_and_spacings(datasets: Sequence[Dataset]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """ImageOrientationPatient (n, 6) and PixelSpacing in mm (n, 2) of each slice."""
    orientation = np.array([_values(d, "ImageOrientationPatient") for d in datasets], dtype=np.float64)
    return orientation, np.array([_values(d, "PixelSpacing") for d in datasets], dtype=np.float64)


def _without_copies(series: Series) -> tuple[list[Dataset], list[Path], list[int | None], int]:
    """Headers, paths and frames without those of an instance already seen, and how many those were."""
    seen: dict[str, int] = {}
    for n, (dataset, path) in enumerate(zip(series.datasets, series.paths)):
        seen.setdefault(str(dataset.get("SOPInstanceUID", "") or path), n)
    kept = list(seen.values())
    return (
        [series.datasets[n] for n in kept],
        [series.paths[n] for n in kept],
        [series.frames[n] for n in kept],
        len(series.paths) - len(kept),
    )


def _slice_step(
    series: Series, datasets: Sequence[Any], positions: NDArray[np.float64], normal: NDArray[np.float64]
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
    stated = [int(n) for d in datasets if (n := d.get("NumberOfSlices"))]
    if stated and len(set(stated)) == 1 and stated[0] > len(positions) and not _is_dynamic(datasets[0]):
        raise ExamError(
            ExamProblem.BAD_GEOMETRY,
            f"series {series.name} has {len(positions)} slices of {stated[0]} (NumberOfSlices 0054,0081): copy it"
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


def _is_dynamic(dataset: Any) -> bool:
    return bool({"DYNAMIC", "GATED"} & {str(v).upper() for v in _values(dataset, "SeriesType")})


def read_stack(
    stack: Stack, factors: NDArray[np.float64], offsets: NDArray[np.float64] | None = None, dtype: Any = np.float32
) -> Volume:
    """The volume of a stack in RAS+: stored pixel * factor[slice] + offset[slice] (SUV, or HU), slice by slice into
    one array.

    Raises ExamError(UNREADABLE) naming the file whose pixels are cut short or cannot be decoded.
    """
    first = stack.datasets[0]
    rows, columns = int(first.Rows), int(first.Columns)
    array = np.empty((columns, rows, len(stack.paths)), dtype=dtype, order="F")
    many: dict[Path, NDArray[Any]] = {}
    for n, (path, frame) in enumerate(zip(stack.paths, stack.frames)):
        if frame is None:
            pixels = stored_pixels(path)
        else:
            if path not in many:
                many[path] = _stored_frames(path)
            pixels = many[path][frame]
        if pixels.shape != (rows, columns):
            raise ExamError(
                ExamProblem.UNREADABLE,
                f"{path.name} holds pixels of shape {pixels.shape}, its header says {(rows, columns)}: copy it again",
            )
        values = pixels * factors[n]
        if offsets is not None:
            values = values + offsets[n]
        array[:, :, n] = (np.rint(values) if np.issubdtype(dtype, np.integer) else values).T
    return Volume(array, stack.affine).canonical()


def _stored_frames(path: Path) -> NDArray[Any]:
    """Stored values (frame, rows, columns) of a multi-frame file, before any rescaling."""
    try:
        return np.asarray(pydicom.dcmread(path).pixel_array)
    except Exception as error:
        raise ExamError(
            ExamProblem.UNREADABLE, f"the pixels of {path.name} cannot be read ({error}): copy the file again"
        ) from error


def stored_pixels(path: Path) -> NDArray[Any]:
    """Stored values (rows, columns) of a single-frame file, before any rescaling; compressed syntaxes through GDCM."""
    try:
        dataset = pydicom.dcmread(path)
        if not dataset.file_meta.get("TransferSyntaxUID"):
            dataset.file_meta.TransferSyntaxUID = pydicom.uid.ImplicitVRLittleEndian
        if not dataset.file_meta.TransferSyntaxUID.is_compressed:
            return np.asarray(dataset.pixel_array)
        image = sitk.GetArrayFromImage(sitk.ReadImage(str(path)))
    except Exception as error:
        raise ExamError(
            ExamProblem.UNREADABLE, f"the pixels of {path.name} cannot be read ({error}): copy the file again"
        ) from error
    slope, intercept = float(dataset.get("RescaleSlope", 1) or 1), float(dataset.get("RescaleIntercept", 0) or 0)
    # GDCM applies the rescaling of the file, which is undone so that the factors of the caller apply to stored values.
    return np.rint((image.reshape(image.shape[-2:]).astype(np.float64) - intercept) / slope)
