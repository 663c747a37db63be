"""The CT of an exam in HU on the PET's grid, or why there is none: a CT that cannot be used never costs the PET."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipelines.imaging.problems import ExamError
from pipelines.imaging.reading.dicom import Series
from pipelines.imaging.reading.image_files import load_image
from pipelines.imaging.reading.plausibility import body_of
from pipelines.imaging.reading.series_choice import pick_ct
from pipelines.imaging.reading.stack import read_stack, stack_of
from pipelines.imaging.reading.suv_times import joined
from pipelines.imaging.reading.values import number_of
from pipelines.imaging.volume import SliceGrid, Volume, resample_to, slices_of
from pipelines.settings import ExamSettings
from pipelines.tables.exam_problems import ExamProblem

AIR_HU = -1024
SOFT_TISSUE_HU, LEAST_SOFT_TISSUE = (-300.0, 300.0), 0.1
"""HU of fat, muscle and organs, and the part of the body's voxels that has them at least: it is most of any body, and
none of one whose intercept was lost or applied twice."""
HIGHEST_AIR_HU = -500.0
WIDE_MM = 300.0
"""An image at least this wide both ways holds air beside the body."""
LEAST_OVERLAP = 0.5
"""Part of the narrower of PET and CT that both must have in common across the body: their fields of view differ in
width, and have one middle."""


@dataclass(frozen=True, eq=False)
class ExamCt:
    """Where the CT of an exam may be: a NIfTI that is named for it, or the DICOM series beside that of the PET."""

    path: Path | None
    series: Sequence[Series]
    pet: Series | None


@dataclass(frozen=True, eq=False)
class CtReading:
    """The CT on the PET's grid (int16 HU), its slices as stored, and itself as stored, all None where there is none;
    `message` says what is missing, short or unusable, None where nothing is."""

    ct: Volume | None
    slices: SliceGrid | None
    message: str | None
    stored: Volume | None = None


def read_ct(source: ExamCt, reference: Volume, settings: ExamSettings) -> CtReading:
    """The CT of an exam, from the NIfTI that is named for it, else from DICOM.

    Args:
        source: where the CT may be.
        reference: the PET, whose grid the CT comes back on.
    """
    try:
        notes: list[str] = []
        if source.path is not None:
            ct = load_image(source.path, source.path.name, settings.largest_image_bytes)
        else:
            choice = pick_ct(source.series, source.pet)
            notes.append(choice.reason)
            ct = _from_dicom(choice.series, settings)
        _check_overlap(ct, reference)
        covered = int(_covered(ct, reference).sum())
        if covered == 0:
            raise ExamError(
                ExamProblem.BAD_GEOMETRY, "CT left out: it does not overlap the PET: give the CT of the same scan"
            )
        if covered < reference.shape[2]:
            notes.append(f"CT covers {covered} of {reference.shape[2]} PET slices, the rest is air ({AIR_HU} HU)")
        placed = _to_hu_grid(ct, reference)
        _check_hu(ct, placed, reference)
        return CtReading(placed, slices_of(ct), joined(notes) or None, ct)
    except ExamError as error:
        known = error.message.startswith(("no CT", "CT left out"))
        return CtReading(None, None, error.message if known else f"CT left out: {error.message}")
    except MemoryError:
        return CtReading(None, None, "CT left out: it needs more memory than there is: give it on a coarser grid")


def _from_dicom(series: Series, settings: ExamSettings) -> Volume:
    stack = stack_of(series, settings)
    slopes = [number_of(s.dataset, "RescaleSlope") for s in stack.slices]
    intercepts = [number_of(s.dataset, "RescaleIntercept") for s in stack.slices]
    for keyword, tag, values in (
        ("RescaleSlope", "0028,1053", slopes),
        ("RescaleIntercept", "0028,1052", intercepts),
    ):
        if any(v is None for v in values):
            raise ExamError(
                ExamProblem.MISSING_TAG,
                f"{keyword} ({tag}) is missing, so its values are not known to be HU: export it again",
            )
    return read_stack(stack, np.array(slopes), np.array(intercepts), dtype=np.int16, settings=settings)


def _check_overlap(ct: Volume, reference: Volume) -> None:
    """Raises ExamError(BAD_GEOMETRY) where PET and CT lie beside one another across the body."""
    corners = np.array(np.meshgrid(*[(-0.5, n - 0.5) for n in ct.shape])).reshape(3, -1).T
    ijk = reference.to_ijk(ct.to_ras_mm(corners))
    for axis in (0, 1):
        low, high = ijk[:, axis].min(), ijk[:, axis].max()
        common = min(high, reference.shape[axis] - 0.5) - max(low, -0.5)
        if common < LEAST_OVERLAP * min(high - low, reference.shape[axis]):
            raise ExamError(
                ExamProblem.BAD_GEOMETRY,
                "CT left out: it lies beside the PET, not over it: give the CT of the same scan",
            )


def _to_hu_grid(ct: Volume, reference: Volume) -> Volume:
    lowest, highest = float(ct.array.min()), float(ct.array.max())
    if not np.isfinite(lowest) or not np.isfinite(highest):
        raise ExamError(ExamProblem.BAD_VALUES, "CT left out: it holds NaN or infinite values: convert it again")
    if lowest >= 0 and highest <= 1:
        raise ExamError(ExamProblem.BAD_VALUES, "CT left out: it holds no HU (0..1): give the CT in HU")
    return resample_to(ct, reference, order=1, fill=AIR_HU, dtype=np.int16)


def _check_hu(ct: Volume, placed: Volume, reference: Volume) -> None:
    """Raises ExamError(BAD_VALUES) where the body is no soft tissue, or where nothing is as thin as air in an image
    that must hold some."""
    step = tuple(slice(None, None, max(1, n // 32)) for n in reference.shape)
    body = body_of(np.asarray(reference.array[step], dtype=np.float32))
    covered = _covered(ct, reference)[step[2]]
    inside = placed.array[step][:, :, covered][body[:, :, covered]]
    low, high = SOFT_TISSUE_HU
    bodiless = inside.size > 0 and float(((inside > low) & (inside < high)).mean()) < LEAST_SOFT_TISSUE
    width_i, width_j = (n * mm for n, mm in zip(ct.shape[:2], ct.spacing_mm[:2]))
    airless = min(width_i, width_j) >= WIDE_MM and float(ct.array.min()) > HIGHEST_AIR_HU
    if bodiless or airless:
        what = "nothing in it is air" if airless else f"the body has a median of {np.median(inside):.0f}"
        raise ExamError(
            ExamProblem.BAD_VALUES,
            f"CT left out: it holds no HU ({what}; air is about -1000, soft tissue 40): convert it again, with its"
            " rescale intercept applied once",
        )


def _covered(ct: Volume, reference: Volume) -> NDArray[np.bool_]:
    """Which slices of the reference have their centre inside the CT's extent along the body's axis, to half a slice."""
    n_i, n_j, n_k = reference.shape
    centres = reference.to_ras_mm(np.stack([np.full(n_k, n_i / 2), np.full(n_k, n_j / 2), np.arange(n_k)], axis=-1))
    k = ct.to_ijk(centres)[:, 2]
    half = max(0.5, 0.5 * reference.spacing_mm[2] / ct.spacing_mm[2])
    return np.asarray((k >= -0.5 - half) & (k <= ct.shape[2] - 0.5 + half))
