"""Images of one file: NIfTI, NRRD and MetaImage, each as a volume in RAS+ order with what its header states checked.

NRRD and MetaImage are read where the file is whole in itself and says where it lies in the patient; else the message
says what is missing.
"""

import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import SimpleITK as sitk  # noqa: N813

from pipelines.imaging.problems import ExamError
from pipelines.imaging.volume import Volume, load_nifti
from pipelines.tables.exam_problems import ExamProblem
from pipelines.tables.safe_text import error_reason

NIFTI_SUFFIXES = (".nii.gz", ".nii")
OTHER_SUFFIXES = (".nrrd", ".mha")
IMAGE_SUFFIXES = (*NIFTI_SUFFIXES, *OTHER_SUFFIXES)
_LONGEST_HEADER = 1 << 16
_LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
_SPACES = frozenset(
    ("left-posterior-superior", "right-anterior-superior", "left-anterior-superior", "lps", "ras", "las")
)
"""Spaces of NRRD that SimpleITK turns into LPS."""


def image_suffix(path: Path) -> str:
    """The ending of an image's name that says its format; '' where it has none of these."""
    name = path.name.lower()
    return next((suffix for suffix in IMAGE_SUFFIXES if name.endswith(suffix)), "")


def image_stem(path: Path) -> str:
    """The name of an image without that ending, in lower case."""
    return path.name.lower().removesuffix(image_suffix(path))


def load_image(path: Path, name: str, most_bytes: int) -> Volume:
    """The volume of an image file (any of `IMAGE_SUFFIXES`), in RAS+ order.

    Args:
        path: the file.
        name: how messages name it.
        most_bytes: that its voxels may take.

    Raises:
        ExamError(UNREADABLE | BAD_GEOMETRY): the file is damaged, too large, or does not say where it lies.
    """
    if image_suffix(path) in NIFTI_SUFFIXES:
        return load_nifti(path, most_bytes)
    try:
        return _load_other(path, most_bytes)
    except ExamError as error:
        raise ExamError(error.problem, f"{name} {error.message}") from None
    except Exception as error:
        # SimpleITK's errors quote the file.
        raise ExamError(
            ExamProblem.UNREADABLE,
            f"{name} cannot be read ({error_reason(error)}): copy it again, or convert it to NIfTI",
        ) from None


def _load_other(path: Path, most_bytes: int) -> Volume:
    with path.open("rb") as file:
        head = file.read(_LONGEST_HEADER)
    if image_suffix(path) == ".nrrd":
        _check_nrrd(head)
    else:
        _check_meta_image(head)
    reader = sitk.ImageFileReader()
    reader.SetImageIO("NrrdImageIO" if image_suffix(path) == ".nrrd" else "MetaImageIO")
    reader.SetFileName(str(path))
    reader.ReadImageInformation()
    shape = reader.GetSize()
    if len(shape) != 3 or min(shape) < 1 or reader.GetNumberOfComponents() != 1:
        raise ExamError(
            ExamProblem.BAD_GEOMETRY, f"has shape {tuple(shape)}, expected a 3D image of one number a voxel"
        )
    size = math.prod(shape) * _bytes_a_voxel(reader)
    if size > most_bytes:
        raise ExamError(
            ExamProblem.UNREADABLE,
            f"unpacks to {size >> 20} MiB, more than {most_bytes >> 20}: crop or resample it, or raise"
            " exam.largest_image_mib",
        )
    image = reader.Execute()
    affine = np.eye(4)
    affine[:3, :3] = np.array(image.GetDirection()).reshape(3, 3) * np.array(image.GetSpacing())
    affine[:3, 3] = image.GetOrigin()
    return Volume(np.asarray(sitk.GetArrayFromImage(image)).T, _LPS_TO_RAS @ affine).canonical()


def _bytes_a_voxel(reader: sitk.ImageFileReader) -> int:
    return int(sitk.GetArrayFromImage(sitk.Image([1, 1], reader.GetPixelID())).itemsize)


def _fields(head: bytes, end: str, separator: str) -> Mapping[str, str]:
    """Field -> value of a text header up to a line that begins with `end`; keys in lower case without blanks."""
    found: dict[str, str] = {}
    for line in head.decode("latin-1").splitlines():
        key, _, value = line.partition(separator)
        key = "".join(key.split()).lower()
        found.setdefault(key, value.strip().lower().strip("="))
        if key == end or (not line and end == ""):
            break
    return found


def _check_nrrd(head: bytes) -> None:
    """Raises ExamError where an NRRD is no whole file, or does not say its space."""
    fields = _fields(head, "", ":")
    if not head.startswith(b"NRRD"):
        raise ExamError(ExamProblem.UNREADABLE, "is no NRRD file: copy it again")
    if "datafile" in fields:
        raise ExamError(ExamProblem.UNREADABLE, "has its voxels in another file: give one NRRD file, or NIfTI")
    if fields.get("space") not in _SPACES or "spacedirections" not in fields or "spaceorigin" not in fields:
        raise ExamError(
            ExamProblem.BAD_GEOMETRY,
            "does not say where it lies in the patient (space, space directions, space origin), so left and right are"
            " unknown: convert the PET to NIfTI again",
        )


def _check_meta_image(head: bytes) -> None:
    """Raises ExamError where a MetaImage is no whole file, or does not say its place."""
    fields = _fields(head, "elementdatafile", "=")
    if "ndims" not in fields:
        raise ExamError(ExamProblem.UNREADABLE, "is no MetaImage file: copy it again")
    if fields.get("elementdatafile") != "local":
        raise ExamError(ExamProblem.UNREADABLE, "has its voxels in another file: give one MHA file, or NIfTI")
    wanted = (("elementspacing",), ("transformmatrix", "rotation", "orientation"), ("offset", "position", "origin"))
    if not all(any(name in fields for name in names) for names in wanted):
        raise ExamError(
            ExamProblem.BAD_GEOMETRY,
            "does not say where it lies in the patient (ElementSpacing, TransformMatrix, Offset), so left and right are"
            " unknown: convert the PET to NIfTI again",
        )
