"""A PET in SUV as one file: which of an exam's files it is, and what its sidecar says of its unit."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.imaging.problems import ExamError
from pipelines.imaging.reading.bids_sidecar import ACTIVITY_UNITS, SidecarScale, suv_of_sidecar
from pipelines.imaging.reading.files import ExamFiles
from pipelines.imaging.reading.image_files import IMAGE_SUFFIXES, image_stem, image_suffix, load_image
from pipelines.imaging.reading.plausibility import Values, note_on_body
from pipelines.imaging.volume import Volume
from pipelines.settings import ExamSettings
from pipelines.tables.exam_problems import ExamProblem
from pipelines.tables.safe_text import error_reason, technical_text

SUV_NAMES = ("suv", "pet")
CT_NAMES = ("ctres", "ct")
SUV_UNITS = frozenset(("suv", "suvbw", "g/ml", "gml", "{suvbw}g/ml", "g/ml{suvbw}", "unitless", "1", ""))
"""Units of a sidecar, in lower case without blanks, that do not contradict SUV by body weight."""
MOST_SIDECAR_BYTES = 1 << 24


@dataclass(frozen=True)
class ExamImages:
    """The image files of an exam that are its PET and its CT, and a note on how they were told apart; None where there
    is none. `aside` are those of the same name in another format."""

    pet: Path | None = None
    ct: Path | None = None
    note: str = ""
    aside: tuple[Path, ...] = ()


def named_images(files: ExamFiles) -> ExamImages:
    """The images that are named for the PET and the CT.

    Raises:
        ExamError(BAD_VALUES): several of one name lie in folders below.
    """
    pet, ct = _named(files, SUV_NAMES), _named(files, CT_NAMES)
    return ExamImages(pet, ct, aside=tuple(p for image in (pet, ct) if image for p in _of_same_name(image, files)))


def _of_same_name(image: Path, files: ExamFiles) -> list[Path]:
    beside = (p for p in files.paths if p.parent == image.parent and p != image and image_suffix(p))
    return [p for p in beside if image_stem(p) == image_stem(image)]


def _named(files: ExamFiles, names: Sequence[str]) -> Path | None:
    """The image with the first of the names that is there, in upper or lower case, compressed or not: beside the
    folder's other files, else the only one below."""
    for name in (n + s for n in names for s in IMAGE_SUFFIXES):
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


def images_by_convention(files: ExamFiles, settings: ExamSettings) -> ExamImages:
    """The PET and the CT among images that data sets name otherwise: the two channels of one nnU-Net case, told apart
    by their values (HU reach far below zero, SUV do not), or the one `_pet` of BIDS. None where that leaves a choice.
    """
    images = [p for p in files.paths if image_suffix(p)]
    channels = {m[1]: p for p in images if (m := _CHANNEL.fullmatch(image_stem(p)))}
    stems = {image_stem(p)[:-_CHANNEL_LETTERS] for p in channels.values()}
    if len(images) == len(channels) == 2 and len(stems) == 1:
        lowest = {p: float(load_image(p, files.name(p), settings.largest_image_bytes).array.min()) for p in images}
        ct = [p for p in images if lowest[p] < HIGHEST_AIR_HU]
        pet = [p for p in images if lowest[p] >= HIGHEST_AIR_HU]
        if len(ct) == 1:
            note = f"{files.name(pet[0])} is read as the PET, {files.name(ct[0])} as the CT, by their values"
            return ExamImages(pet[0], ct[0], note)
    of_bids = [p for p in images if _BIDS_PET.fullmatch(image_stem(p))]
    if len(of_bids) == 1:
        ct = [p for p in images if _BIDS_CT.fullmatch(image_stem(p))]
        return ExamImages(of_bids[0], ct[0] if len(ct) == 1 else None, f"{files.name(of_bids[0])} is read as the PET")
    return ExamImages()


_CHANNEL = re.compile(r".+_(\d{4})", re.DOTALL)
_CHANNEL_LETTERS = 5
"""An underscore and four digits."""
_BIDS_PET, _BIDS_CT = re.compile(r"sub-.+_pet", re.DOTALL), re.compile(r"sub-.+_ct(?:res)?", re.DOTALL)
HIGHEST_AIR_HU = -500.0
"""An image that reaches below is in HU: air is at -1000 there, and no PET undershoots as far."""


def read_nifti_pet(path: Path, files: ExamFiles, settings: ExamSettings) -> tuple[Volume, SidecarScale | None]:
    """(the volume in SUV, float32, RAS+; what its sidecar says where it is in activity and has dose, weight and times).

    Raises:
        ExamError(UNSUPPORTED_UNITS): its sidecar says another unit; others: as `load_image` and `suv_of_sidecar` do.
    """
    sidecar = _sidecar(path, files)
    unit = "".join(str(sidecar.get("Units") or "").split())
    scale = None
    if unit.lower() in ACTIVITY_UNITS:
        try:
            scale = suv_of_sidecar(sidecar, unit.lower())
        except ExamError as error:
            problem = ExamProblem.UNSUPPORTED_UNITS if error.problem is ExamProblem.MISSING_TAG else error.problem
            raise ExamError(
                problem, f"{files.name(path)} is in {unit} by its sidecar, not SUV, and the sidecar {error.message}"
            ) from None
    elif unit.lower() not in SUV_UNITS:
        raise ExamError(
            ExamProblem.UNSUPPORTED_UNITS,
            f"{files.name(path)} is in {technical_text(unit)} by its sidecar, not SUV: give SUV.nii.gz or the"
            " DICOM series",
        )
    volume = load_image(path, files.name(path), settings.largest_image_bytes)
    array = np.asarray(volume.array, dtype=np.float32)
    return Volume(array if scale is None else array * np.float32(scale.factor), volume.affine), scale


def refuse_unlike_a_body(path: Path, files: ExamFiles, volume: Volume, values: Values) -> None:
    """Raises ExamError(UNSUPPORTED_UNITS) where an image that is not named for SUV does not look like it."""
    if note := note_on_body(volume, values):
        raise ExamError(
            ExamProblem.UNSUPPORTED_UNITS,
            f"{files.name(path)} is named for no unit, and {note}: give the PET in SUV as SUV.nii.gz",
        )


def refuse_activity(path: Path, files: ExamFiles, values: Values) -> None:
    """Raises ExamError(UNSUPPORTED_UNITS) where a NIfTI can only hold activity."""
    if values.is_activity:
        raise ExamError(
            ExamProblem.UNSUPPORTED_UNITS,
            f"{files.name(path)} holds activity (median {values.positive_median:.0f}, highest"
            f" {values.highest:.0f}), not"
            " SUV, and a NIfTI has no dose: give SUV.nii.gz or the DICOM series",
        )


def _sidecar(path: Path, files: ExamFiles) -> Mapping[str, Any]:
    """Attributes of the JSON file beside an image, as BIDS has it; empty where there is none."""
    beside = {p.name.lower(): p for p in files.paths if p.parent == path.parent}
    sidecar = beside.get(f"{image_stem(path)}.json")
    if sidecar is None:
        return {}
    try:
        with sidecar.open("rb") as file:
            content = json.loads(file.read(MOST_SIDECAR_BYTES))
    except (OSError, ValueError, RecursionError) as error:
        raise ExamError(
            ExamProblem.UNREADABLE,
            f"{files.name(sidecar)}, which says the unit of {files.name(path)}, cannot be read ({error_reason(error)}):"
            " correct or remove it",
        ) from None
    return content if isinstance(content, dict) else {}


_ARCHIVES = (".zip", ".7z", ".rar", ".tar", ".tgz", ".gz", ".bz2", ".xz", ".zst", ".iso", ".dmg")


def what_lies_there(files: ExamFiles) -> str:
    """The images of other names and formats in a folder without a PET, and the name that is wanted; '' where there is
    none."""
    niftis = [p for p in files.paths if image_suffix(p) or p.name.lower().endswith((".hdr", ".img"))]
    niftis = [p for p in niftis if image_stem(p).lower() not in CT_NAMES]
    others = [p for p in files.paths if p.name.lower().endswith((".nhdr", ".mhd", ".mnc", ".mgz", ".v", ".h5"))]
    archives = [p for p in files.paths if p.name.lower().endswith(_ARCHIVES)]
    said = []
    if niftis:
        said.append(f"found images of other names ({files.names(niftis)})")
    if others:
        said.append(f"found images of another format than DICOM, NIfTI, NRRD and MHA ({files.names(others)})")
    if not said and archives:
        return f"found archives that are not read ({files.names(archives)}): unpack them into the exam's folder"
    if not said:
        return ""
    return f"{', '.join(said)}: give the PET in SUV as NIfTI named SUV.nii.gz, the CT as CT.nii.gz"
