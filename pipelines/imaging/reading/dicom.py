"""DICOM series below a folder: which are there, with the header of each slice and where its pixels lie."""

import os
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset

from pipelines.imaging.problems import ExamError
from pipelines.imaging.reading.files import ExamFiles, exam_files
from pipelines.imaging.reading.headers import PixelPlace, read_header
from pipelines.imaging.reading.multiframe import frame_headers, is_enhanced
from pipelines.imaging.reading.values import numbers_of, text_of
from pipelines.settings import ExamSettings
from pipelines.tables.exam_problems import ExamProblem
from pipelines.tables.safe_text import error_reason, technical_text

FEWEST_SLICES = 4
"""Scouts and single pictures have fewer."""
OTHER_SUFFIXES = frozenset(
    (
        *(".nii", ".gz", ".nrrd", ".zip", ".tgz", ".tar", ".csv", ".json", ".parquet", ".txt", ".md", ".xml", ".html"),
        *(".pdf", ".png", ".jpg", ".jpeg", ".exe", ".dll"),
    )
)
"""Of other kinds of files: only where they begin as DICOM does (a "DICM" after the preamble) are they read as it."""
DICOM_SUFFIXES = frozenset((".dcm", ".dicom", ".ima"))


@dataclass(frozen=True)
class Slice:
    """One slice of a series: its file, the number of its frame there from 0 (None: the file is one slice), where its
    pixels lie (None: they must be decoded), and its header."""

    path: Path
    frame: int | None
    pixels: PixelPlace | None
    dataset: Dataset


@dataclass(frozen=True, eq=False)
class Series:
    """One DICOM series: its UID, modality and slices (pixels not read), in a folder that messages name files from.

    A file is a slice, but for enhanced multi-frame PET and CT: there each frame is one.
    """

    uid: str
    modality: str
    description: str
    folder: Path
    slices: tuple[Slice, ...]

    @property
    def datasets(self) -> tuple[Dataset, ...]:
        """The header of each slice."""
        return tuple(s.dataset for s in self.slices)

    @property
    def paths(self) -> tuple[Path, ...]:
        """The file of each slice."""
        return tuple(s.path for s in self.slices)

    @property
    def name(self) -> str:
        """How a message names the series."""
        many = any(s.frame is not None for s in self.slices)
        described = technical_text(self.description) or "without description"
        return f"{described} ({len(self.slices)} {'frames' if many else 'files'})"

    @cached_property
    def extent_mm(self) -> tuple[float, float] | None:
        """Lowest and highest position of a slice along the patient's axis; None where that is not stated."""
        try:
            orientation = numbers_of(self.slices[0].dataset, "ImageOrientationPatient", 6)
            stated = [numbers_of(s.dataset, "ImagePositionPatient", 3) for s in self.slices]
        except ExamError:
            return None
        positions = [p for p in stated if p]
        if not orientation or not positions:
            return None
        normal = np.cross(orientation[:3], orientation[3:])
        # Feet to head whichever way the slices are stored, so that two series can be compared.
        along = np.array(positions) @ normal * np.sign(normal[np.abs(normal).argmax()])
        return float(along.min()), float(along.max())

    @property
    def length_mm(self) -> float:
        """Distance of the outermost slices; 0 where it is not stated."""
        return self.extent_mm[1] - self.extent_mm[0] if self.extent_mm else 0.0


@dataclass(frozen=True)
class DamagedFile:
    """A file that may be of a series and cannot be read, and what is wrong with it."""

    path: Path
    message: str


@dataclass(frozen=True)
class FoundSeries:
    """What a folder holds of DICOM: series by UID, damaged files, and notes on how files were read."""

    series: tuple[Series, ...]
    damaged: tuple[DamagedFile, ...]
    notes: tuple[str, ...]


def find_series(folder: Path, damaged: list[tuple[Path, str]] | None = None) -> list[Series]:
    """All DICOM series anywhere below a folder, by UID.

    A file that begins as DICOM but cannot be read goes to `damaged` with what is wrong; without that list it raises
    ExamError(UNREADABLE).
    """
    found = series_of(exam_files(folder))
    if damaged is None and found.damaged:
        raise ExamError(ExamProblem.UNREADABLE, found.damaged[0].message)
    if damaged is not None:
        damaged += [(d.path, d.message) for d in found.damaged]
    return list(found.series)


def series_of(files: ExamFiles, settings: ExamSettings = ExamSettings()) -> FoundSeries:
    """All DICOM series among the files of an exam, whatever the files are called."""
    by_uid: dict[str, list[Slice]] = defaultdict(list)
    damaged: list[DamagedFile] = []
    others: list[Path] = []
    for path in files.paths:
        if path.name.startswith(".") or path.name.upper() == "DICOMDIR":
            continue
        try:
            header = read_header(path, files.name, settings.largest_image_bytes, path.suffix.lower() in OTHER_SUFFIXES)
            if header is None:
                others.append(path)
                continue
            if uid := text_of(header.dataset, "SeriesInstanceUID"):
                slices = _slices_of(path, header.dataset, header.pixels, files)
                by_uid[uid] += slices
        except ExamError as error:
            damaged.append(DamagedFile(path, error.message))
    series = [_series(uid, slices, files.folder) for uid, slices in sorted(by_uid.items())]
    series, notes = _joined_slices(series)
    misnamed = [p for s in series for p in dict.fromkeys(s.paths) if p.suffix.lower() in OTHER_SUFFIXES]
    if misnamed:
        notes.append(f"{files.names(misnamed)} are read as DICOM, which they are whatever their names end with")
    damaged += [DamagedFile(p, _not_dicom(p, files)) for p in _of_a_series(others, series)]
    return FoundSeries(tuple(series), tuple(damaged), tuple(notes))


def _not_dicom(path: Path, files: ExamFiles) -> str:
    try:
        what = "is empty (0 bytes)" if path.stat().st_size == 0 else "is no DICOM file among such"
    except OSError as error:
        what = f"cannot be opened ({error_reason(error)})"
    return f"{files.name(path)} {what}: copy it again"


def _of_a_series(others: Iterable[Path], series: Sequence[Series]) -> list[Path]:
    """Files that are no DICOM, and by their names and places are slices of a series all the same."""
    patterns = {(p.parent, name_pattern(p)) for s in series for p in s.paths}
    return [p for p in others if p.suffix.lower() in DICOM_SUFFIXES or (p.parent, name_pattern(p)) in patterns]


def name_pattern(path: Path) -> bytes:
    """A file's name with a # for each number in it: slices of one series differ in numbers alone."""
    return re.sub(rb"[0-9]+", b"#", os.fsencode(path.name))


def _series(uid: str, slices: Sequence[Slice], folder: Path) -> Series:
    first = slices[0].dataset
    return Series(
        uid=uid,
        modality=text_of(first, "Modality").upper(),
        description=text_of(first, "SeriesDescription"),
        folder=folder,
        slices=tuple(slices),
    )


def _joined_slices(series: Sequence[Series]) -> tuple[list[Series], list[str]]:
    """The series, with single files that are slices of one stack, each under a SeriesInstanceUID of its own, joined."""
    alike: dict[tuple[str, ...], list[Series]] = defaultdict(list)
    for s in series:
        if len(s.slices) == 1 and s.slices[0].frame is None and s.modality in ("PT", "CT"):
            alike[_kind_of_slice(s)].append(s)
    notes = []
    joined: dict[str, Series | None] = {}
    for group in alike.values():
        if len(group) >= FEWEST_SLICES:
            joined |= {s.uid: None for s in group}
            joined[group[0].uid] = replace(group[0], slices=tuple(s.slices[0] for s in group))
            notes.append(
                f"{len(group)} {group[0].modality} files have a SeriesInstanceUID (0020,000E) each and are read as one"
                " series"
            )
    kept = (joined.get(s.uid, s) for s in series)
    return [s for s in kept if s is not None], notes


def _kind_of_slice(series: Series) -> tuple[str, ...]:
    dataset = series.slices[0].dataset
    keywords = ("StudyInstanceUID", "SeriesDescription", "ImageType", "Rows", "Columns", "ImageOrientationPatient")
    return (series.modality, *(text_of(dataset, k) for k in keywords))


def _slices_of(path: Path, dataset: Dataset, pixels: PixelPlace | None, files: ExamFiles) -> list[Slice]:
    """The slices of a file: itself, or its frames."""
    try:
        if text_of(dataset, "Modality").upper() in ("PT", "CT") and is_enhanced(dataset):
            return [Slice(path, n, None, header) for n, header in enumerate(frame_headers(dataset))]
    except ExamError as error:
        raise ExamError(error.problem, f"{files.name(path)} has damaged headers of frames: {error.message}") from None
    except Exception as error:
        raise ExamError(
            ExamProblem.UNREADABLE,
            f"{files.name(path)} has damaged headers of frames ({error_reason(error)}): copy it again",
        ) from None
    return [Slice(path, None, pixels, dataset)]


def most_common(values: Iterable[str]) -> str:
    """The value that occurs most often; '' of none."""
    return Counter(values).most_common(1)[0][0] if values else ""
