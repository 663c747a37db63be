"""A PET in SUV as NIfTI: which file it is, and what its sidecar says of its unit."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pipelines.imaging.problems import ExamError
from pipelines.imaging.reading.files import ExamFiles
from pipelines.imaging.reading.plausibility import Values
from pipelines.imaging.volume import Volume, load_nifti
from pipelines.settings import ExamSettings
from pipelines.tables.exam_problems import ExamProblem
from pipelines.tables.safe_text import error_reason, technical_text

SUV_NAMES = ("suv", "pet")
CT_NAMES = ("ctres", "ct")
SUFFIXES = (".nii.gz", ".nii")
SUV_UNITS = frozenset(("suv", "suvbw", "g/ml", "gml", "{suvbw}g/ml", "g/ml{suvbw}", "unitless", "1", ""))
"""Units of a sidecar, in lower case without blanks, that do not contradict SUV by body weight."""
MOST_SIDECAR_BYTES = 1 << 24


def named_nifti(files: ExamFiles, names: Sequence[str]) -> Path | None:
    """The NIfTI with the first of the names that is there, in upper or lower case, compressed or not: beside the
    folder's other files, else the only one below.

    Raises:
        ExamError(BAD_VALUES): several of one name lie in folders below.
    """
    for name in (n + s for n in names for s in SUFFIXES):
        found = [p for p in files.paths if p.name.lower() == name]
        direct = [p for p in found if p.parent == files.folder]
        if direct or len(found) == 1:
            return (direct or found)[0]
        if found:
            raise ExamError(
                ExamProblem.BAD_VALUES,
                f"expected one {name}, got {len(found)} ({files.names(found)}): leave the one of the exam",
            )
    return None


def read_nifti_pet(path: Path, files: ExamFiles, settings: ExamSettings) -> Volume:
    """The volume of a NIfTI that is SUV, as far as its sidecar says (float32, RAS+).

    Raises:
        ExamError(UNSUPPORTED_UNITS): its sidecar says another unit; others: as `load_nifti` does.
    """
    unit = _unit_of_sidecar(path, files)
    if unit is not None and "".join(unit.split()).lower() not in SUV_UNITS:
        raise ExamError(
            ExamProblem.UNSUPPORTED_UNITS,
            f"{files.name(path)} is in {technical_text(unit)} by its sidecar, not SUV: give SUV.nii.gz or the"
            " DICOM series",
        )
    volume = load_nifti(path, settings.largest_image_bytes)
    return Volume(np.asarray(volume.array, dtype=np.float32), volume.affine)


def refuse_activity(path: Path, files: ExamFiles, values: Values) -> None:
    """Raises ExamError(UNSUPPORTED_UNITS) where a NIfTI can only hold activity."""
    if values.is_activity:
        raise ExamError(
            ExamProblem.UNSUPPORTED_UNITS,
            f"{files.name(path)} holds activity (median {values.positive_median:.0f}, highest"
            f" {values.highest:.0f}), not"
            " SUV, and a NIfTI has no dose: give SUV.nii.gz or the DICOM series",
        )


def _unit_of_sidecar(path: Path, files: ExamFiles) -> str | None:
    """What the JSON file beside a NIfTI, as BIDS has it, says of its unit; None where it says nothing."""
    name = path.name[: -len(next(s for s in SUFFIXES if path.name.lower().endswith(s)))]
    beside = {p.name.lower(): p for p in files.paths if p.parent == path.parent}
    sidecar = beside.get(f"{name.lower()}.json")
    if sidecar is None:
        return None
    try:
        with sidecar.open("rb") as file:
            content = json.loads(file.read(MOST_SIDECAR_BYTES))
    except (OSError, ValueError, RecursionError) as error:
        raise ExamError(
            ExamProblem.UNREADABLE,
            f"{files.name(sidecar)}, which says the unit of {files.name(path)}, cannot be read ({error_reason(error)}):"
            " correct or remove it",
        ) from None
    unit = content.get("Units") if isinstance(content, dict) else None
    return unit if isinstance(unit, str) else None


def what_lies_there(files: ExamFiles) -> str:
    """The images of other names and formats in a folder without a PET, and the name that is wanted; '' where there is
    none."""
    niftis = [p for p in files.paths if p.name.lower().endswith((*SUFFIXES, ".hdr", ".img"))]
    others = [
        p for p in files.paths if p.name.lower().endswith((".nrrd", ".nhdr", ".mha", ".mhd", ".mnc", ".v", ".h5"))
    ]
    said = []
    if niftis:
        said.append(f"found NIfTI of other names ({files.names(niftis)})")
    if others:
        said.append(f"found images of another format than DICOM and NIfTI ({files.names(others)})")
    if not said:
        return ""
    return f"{', '.join(said)}: give the PET in SUV as NIfTI named SUV.nii.gz, the CT as CT.nii.gz"
