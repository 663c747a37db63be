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
from pydicom.dataset import FileDataset
from pydicom.errors import InvalidDicomError

from pipelines.imaging.problems import ExamError
from pipelines.imaging.volume import Volume
from pipelines.outcomes import ExamProblem

LOGIC_VERSION = "dicom-2"

SPACING_TOLERANCE_MM = 0.15
"""Slices of real series jitter by up to 0.08 mm: positions are rounded when they are written."""
SPACING_TOLERANCE = 0.04
"""And by this part of the spacing, for thick slices."""
ORIENTATION_TOLERANCE = 1e-3
TILT_TOLERANCE_MM = 1.0
"""In-plane drift from the first to the last slice beyond rounding: more is a tilted gantry."""
FEWEST_SLICES = 4
"""Scouts and single pictures have fewer."""

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
    """One DICOM series: its UID, modality and the header of each file (pixels not read)."""

    uid: str
    modality: str
    description: str
    datasets: tuple[FileDataset, ...]
    paths: tuple[Path, ...]

    @property
    def name(self) -> str:
        """How a message names the series."""
        return f"{self.description or 'without description'} ({len(self.paths)} files)"


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
    found: dict[str, list[tuple[Path, FileDataset]]] = defaultdict(list)
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
            found[str(dataset.get("SeriesInstanceUID", ""))].append((path, dataset))
    series = []
    for uid, files in sorted(found.items()):
        first = files[0][1]
        series.append(
            Series(
                uid=uid,
                modality=str(first.get("Modality", "")).upper(),
                description=str(first.get("SeriesDescription", "") or ""),
                datasets=tuple(d for _, d in files),
                paths=tuple(p for p, _ in files),
            )
        )
    return series


def _header(path: Path, folder: Path) -> FileDataset | None:
    """The attributes of a DICOM file, or None where it is another kind of file."""
    try:
        with path.open("rb") as handle:
            is_part_10 = handle.read(132)[128:] == b"DICM"
    except OSError as error:
        raise ExamError(
            ExamProblem.UNREADABLE, f"{path.relative_to(folder)} cannot be opened ({error}): copy it again"
        ) from error
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
    """The PET series to measure: attenuation-corrected, not a projection, most slices; the others are named with the
    reason.

    Raises ExamError(NO_PET) where there is none.
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
    ordered = sorted(pets, key=lambda s: (faults[id(s)] is not None, _is_derived(s), -len(s.paths), s.uid))
    chosen = ordered[0]
    if (fault := faults[id(chosen)]) is not None and len(pets) > 1 and fault != "not attenuation-corrected":
        raise ExamError(
            ExamProblem.NO_PET,
            f"none of {len(pets)} PET series can be measured ({chosen.name}: {fault}): add the original series",
        )
    aside = [f"{s.name}: {faults[id(s)] or _lesser(s, chosen)}" for s in ordered[1:]]
    reason = f"picked {chosen.name} of {len(pets)} PET series; set aside {'; '.join(aside)}" if aside else ""
    return SeriesChoice(chosen, reason)


def _lesser(series: Series, chosen: Series) -> str:
    if _is_derived(series) and not _is_derived(chosen):
        return "derived from another"
    if len(series.paths) < len(chosen.paths):
        return "fewer slices"
    return "the same number of slices, later UID"


def _pet_fault(series: Series) -> str | None:
    """Why a PET series is not the one to measure, or None."""
    first = series.datasets[0]
    image_type = {str(v).upper() for v in _values(first, "ImageType")}
    series_type = {str(v).upper() for v in _values(first, "SeriesType")}
    description = f" {series.description.lower().replace('_', ' ').replace('-', ' ')} "
    if "REPROJECTION" in series_type or {"MIP", "PROJECTION IMAGE"} & image_type or " mip " in description:
        return "a projection"
    if len(series.paths) < FEWEST_SLICES and int(first.get("NumberOfFrames", 1) or 1) < FEWEST_SLICES:
        return "too few slices"
    corrected = {str(v).upper() for v in _values(first, "CorrectedImage")}
    if corrected and "ATTN" not in corrected:
        return "not attenuation-corrected"
    if not corrected and any(
        word in description for word in (" nac ", " no ac ", " non ac ", " uncorrected ", " wo ac ")
    ):
        return "not attenuation-corrected"
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
    """The CT series that belongs to the PET: of its frame of reference, most slices.

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
    ordered = sorted(fitting, key=lambda s: (_is_derived(s), -len(s.paths), s.uid))
    reason = f"picked CT {ordered[0].name} of {len(cts)}" if len(cts) > 1 else ""
    return SeriesChoice(ordered[0], reason)


def frame_of(series: Series) -> str:
    """FrameOfReferenceUID of a series, or ''."""
    return str(series.datasets[0].get("FrameOfReferenceUID", "") or "")


def _is_localizer(series: Series) -> bool:
    return "LOCALIZER" in {str(v).upper() for v in _values(series.datasets[0], "ImageType")}


@dataclass(frozen=True, eq=False)
class Stack:
    """The slices of one series in order of position, and the affine (to RAS mm) of the array that they make:
    (column, row, slice)."""

    datasets: tuple[FileDataset, ...]
    paths: tuple[Path, ...]
    affine: NDArray[np.float64]
    note: str


def stack_of(series: Series) -> Stack:
    """The slices sorted by position along the stack's normal, checked to be one regular stack.

    Raises ExamError(BAD_GEOMETRY): missing slices, several positions twice (two series or time frames mixed), tilt,
    uneven spacing, several matrix sizes or orientations; MISSING_TAG where a position is not stated.
    """
    datasets, paths, dropped = _without_copies(series)
    if len(datasets) == 1 and int(datasets[0].get("NumberOfFrames", 1) or 1) > 1:
        raise ExamError(
            ExamProblem.UNREADABLE,
            f"series {series.name} is an enhanced multi-frame object: export it as single-frame DICOM or as NIfTI",
        )
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
    patients = {str(d.get("PatientID", "") or "") for d in datasets}
    if len(patients) > 1:
        raise ExamError(
            ExamProblem.BAD_GEOMETRY,
            f"series {series.name} holds {len(patients)} PatientID (0010,0020): two series are mixed, separate them",
        )
    frames = {str(d.get("FrameOfReferenceUID", "") or "") for d in datasets}
    if len(frames) > 1:
        raise ExamError(
            ExamProblem.BAD_GEOMETRY,
            f"series {series.name} has {len(frames)} frames of reference: two series are mixed, separate them",
        )
    orientation = np.array([_values(d, "ImageOrientationPatient") for d in datasets], dtype=np.float64)
    spacing = np.array([_values(d, "PixelSpacing") for d in datasets], dtype=np.float64)
    if (
        np.ptp(orientation, axis=0).max() > ORIENTATION_TOLERANCE
        or np.ptp(spacing, axis=0).max() > ORIENTATION_TOLERANCE
    ):
        raise ExamError(
            ExamProblem.BAD_GEOMETRY,
            f"series {series.name} has several orientations or pixel spacings: two series are mixed, separate them",
        )
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
        tuple(datasets[i] for i in order), tuple(paths[i] for i in order), np.diag([-1.0, -1.0, 1.0, 1.0]) @ lps, note
    )


def _without_copies(series: Series) -> tuple[list[FileDataset], list[Path], int]:
    """The files without those that hold an instance already seen."""
    seen: dict[str, None] = {}
    datasets, paths = [], []
    for dataset, path in zip(series.datasets, series.paths):
        uid = str(dataset.get("SOPInstanceUID", "") or path)
        if uid in seen:
            continue
        seen[uid] = None
        datasets.append(dataset)
        paths.append(path)
    return datasets, paths, len(series.paths) - len(paths)


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
    for n, path in enumerate(stack.paths):
        pixels = stored_pixels(path)
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
