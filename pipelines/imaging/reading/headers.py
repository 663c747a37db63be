"""Headers of DICOM files, and where the pixels of a slice lie: each file is parsed once.

Whatever is damaged in a file raises ExamError(UNREADABLE), with no text of another library and no value of the file.
"""

import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import pydicom
from isal import isal_zlib
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileDataset
from pydicom.errors import InvalidDicomError
from pydicom.uid import DeflatedExplicitVRLittleEndian, ImplicitVRLittleEndian

from pipelines.imaging.problems import ExamError
from pipelines.imaging.reading.values import text_of, whole_number_of
from pipelines.tables.exam_problems import ExamProblem
from pipelines.tables.safe_text import error_reason

_DICM_AT, _META_AT = 128, 132
_HEAD = 1024
"""Bytes in which a file says what it is: preamble, file meta information, first attributes."""
_FIRST_GROUPS = (0x0002, 0x0004, 0x0008)
"""Groups that a DICOM file without preamble begins with."""
_PIXEL_DATA = 0x7FE00010


@dataclass(frozen=True)
class PixelPlace:
    """Where the uncompressed pixels of one slice lie in its file: offset and length in bytes, and their type."""

    offset: int
    length: int
    dtype: np.dtype[Any]
    bits_stored: int


@dataclass(frozen=True, eq=False)
class DicomFile:
    """The attributes of a file without its pixels; `pixels` is None where they must be decoded (compressed, many
    frames, unusual types)."""

    dataset: FileDataset
    pixels: PixelPlace | None


def read_header(
    path: Path, name: Callable[[Path], str], most_bytes: int, only_part_10: bool = False
) -> DicomFile | None:
    """The header of a DICOM file, or None where it is another kind of file. That of a disk's directory (DICOMDIR) has
    no SeriesInstanceUID.

    Args:
        name: how a message names a file; asked for where one is needed.
        most_bytes: of a header that is stored compressed (deflated transfer syntax).
        only_part_10: read it only where it has DICOM's preamble, for its name is of another kind of file.

    Raises:
        ExamError(UNREADABLE): it begins as DICOM and is damaged, or cannot be opened.
    """
    is_part_10 = known = False
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD)
            is_part_10 = head[_DICM_AT:_META_AT] == b"DICM"
            if not (is_part_10 or (not only_part_10 and _may_be_bare(head))):
                return None
            if str(DeflatedExplicitVRLittleEndian).encode() in head:
                _check_deflated(file, most_bytes)
            file.seek(0)
            dataset = pydicom.dcmread(file, stop_before_pixels=True, force=not is_part_10)
            known = text_of(dataset, "SOPClassUID") != "" and text_of(dataset, "SeriesInstanceUID") != ""
            pixels = _pixel_place(file, dataset) if known else None
    except InvalidDicomError:
        return None
    except ExamError as error:
        raise ExamError(error.problem, f"{name(path)} is a damaged DICOM file: {error.message}") from None
    except Exception as error:
        if not is_part_10 and not isinstance(error, OSError):
            return None
        what = "cannot be opened" if isinstance(error, OSError) and error.errno else "is a damaged DICOM file"
        raise ExamError(ExamProblem.UNREADABLE, f"{name(path)} {what} ({error_reason(error)}): copy it again") from None
    if known:
        return DicomFile(dataset, pixels)
    if is_part_10 and not text_of(dataset.file_meta, "MediaStorageSOPClassUID").startswith("1.2.840.10008.1.3"):
        raise ExamError(
            ExamProblem.UNREADABLE,
            f"{name(path)} is DICOM without SOPClassUID (0008,0016) or SeriesInstanceUID (0020,000E): it is cut"
            " short, copy it again",
        )
    return DicomFile(dataset, None) if is_part_10 else None  # The directory of a disk (DICOMDIR), by whatever name.


def _may_be_bare(head: bytes) -> bool:
    """Whether a file without preamble may be DICOM: it begins with an attribute of a first group."""
    if len(head) < 8:
        return False
    little, big = struct.unpack("<HHI", head[:8]), struct.unpack(">HH", head[:4])
    if big[0] in _FIRST_GROUPS and head[4:6].isalpha():
        return True
    return little[0] in _FIRST_GROUPS and (head[4:6].isalpha() or little[2] < _HEAD)


def _check_deflated(file: IO[bytes], most_bytes: int) -> None:
    """Raises ExamError(UNREADABLE) where a file of the deflated transfer syntax unpacks to more than `most_bytes`."""
    file.seek(_META_AT + 8)
    (length,) = struct.unpack("<I", file.read(4))
    file.seek(_META_AT + 12 + length)
    inflate = isal_zlib.decompressobj(wbits=-15)
    unpacked, data = 0, file.read(1 << 20)
    while data and not inflate.eof:
        unpacked += len(inflate.decompress(data, 1 << 24))
        if unpacked > most_bytes:
            raise ExamError(
                ExamProblem.UNREADABLE, f"it unpacks to more than {most_bytes >> 20} MiB: export it without compression"
            )
        data = inflate.unconsumed_tail or file.read(1 << 20)


def _pixel_place(file: IO[bytes], dataset: FileDataset) -> PixelPlace | None:
    """Where the pixels lie, from the position at which the header ended; None where they are not plain."""
    syntax = dataset.file_meta.get("TransferSyntaxUID", ImplicitVRLittleEndian)
    if syntax.is_compressed or syntax == DeflatedExplicitVRLittleEndian or not syntax.is_transfer_syntax:
        return None
    bits, stored = whole_number_of(dataset, "BitsAllocated"), whole_number_of(dataset, "BitsStored")
    if (
        bits not in (8, 16, 32)
        or not 0 < stored <= bits
        or whole_number_of(dataset, "SamplesPerPixel", 1) != 1
        or whole_number_of(dataset, "NumberOfFrames", 1) != 1
        or whole_number_of(dataset, "HighBit", stored - 1) != stored - 1
    ):
        return None
    implicit, little = dataset.original_encoding
    order = "<" if little else ">"
    at = file.tell()
    element = file.read(12)
    if implicit is None or len(element) < 12:
        return None
    group, number = struct.unpack(f"{order}HH", element[:4])
    if group << 16 | number != _PIXEL_DATA or not (implicit or element[4:6] in (b"OW", b"OB")):
        return None
    (length,) = struct.unpack(f"{order}I", element[4:8] if implicit else element[8:12])
    if length == 0xFFFFFFFF:
        return None
    kind = "i" if whole_number_of(dataset, "PixelRepresentation") else "u"
    return PixelPlace(at + (8 if implicit else 12), length, np.dtype(f"{order}{kind}{bits // 8}"), stored)


def plain_pixels(path: Path, place: PixelPlace, shape: tuple[int, int]) -> NDArray[Any] | None:
    """Stored values (rows, columns) that lie uncompressed in a file; None where unused bits must be cut off first.

    Raises:
        ExamError(UNREADABLE): the file has fewer or more bytes of pixels than the header says (a wrong number of rows
            or columns would shear the image); OSError.
    """
    needed = shape[0] * shape[1] * place.dtype.itemsize
    if place.length not in (needed, needed + needed % 2):
        raise ExamError(
            ExamProblem.UNREADABLE,
            f"holds {place.length} bytes of pixels where its Rows (0028,0010) and Columns (0028,0011) of"
            f" {shape[0]} and {shape[1]} need {needed}",
        )
    pixels = np.fromfile(path, place.dtype, count=shape[0] * shape[1], offset=place.offset)
    if pixels.size < shape[0] * shape[1]:
        raise ExamError(ExamProblem.UNREADABLE, "is cut short within its pixels")
    if place.bits_stored < 8 * place.dtype.itemsize:
        low = -(1 << place.bits_stored - 1) if place.dtype.kind == "i" else 0
        if pixels.min() < low or pixels.max() >= low + (1 << place.bits_stored):
            return None
    return pixels.reshape(shape)


_PIXELS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")


def decoded_pixels(path: Path, most_bytes: int) -> NDArray[Any]:
    """Stored values of a file, (rows, columns) or (frames, rows, columns), by whichever decoder reads its syntax.

    Raises:
        ExamError(UNREADABLE): they cannot be decoded, or are more than `most_bytes`.
    """
    try:
        dataset = pydicom.dcmread(path, force=True)
        if "TransferSyntaxUID" not in dataset.file_meta:
            dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
        if not any(name in dataset for name in _PIXELS):
            raise ExamError(ExamProblem.UNREADABLE, "has no pixels (PixelData 7FE0,0010)")
        needed = _bytes_of_pixels(dataset)
        if needed > most_bytes:
            raise ExamError(ExamProblem.UNREADABLE, f"holds {needed >> 20} MiB of pixels, more than {most_bytes >> 20}")
        if "PixelData" in dataset and not dataset.file_meta.TransferSyntaxUID.is_compressed:
            held = len(dataset.PixelData)
            if held not in (needed, needed + needed % 2):
                raise ExamError(ExamProblem.UNREADABLE, f"holds {held} bytes of pixels where its header says {needed}")
        return np.asarray(dataset.pixel_array)
    except ExamError:
        raise
    except Exception as error:
        syntax = _syntax_of(path)
        raise ExamError(
            ExamProblem.UNREADABLE, f"has pixels that cannot be decoded ({error_reason(error)}, {syntax})"
        ) from None


def _bytes_of_pixels(dataset: Dataset) -> int:
    sizes = [whole_number_of(dataset, k) for k in ("Rows", "Columns", "BitsAllocated")]
    bits = sizes[0] * sizes[1] * sizes[2] * whole_number_of(dataset, "SamplesPerPixel", 1)
    return bits * whole_number_of(dataset, "NumberOfFrames", 1) // 8


def _syntax_of(path: Path) -> str:
    """Name of a file's transfer syntax."""
    try:
        uid = pydicom.dcmread(path, force=True, specific_tags=[]).file_meta.TransferSyntaxUID
        return str(uid.name) if uid.is_transfer_syntax else "an unknown transfer syntax"
    except Exception:
        return "an unknown transfer syntax"
