"""One exam folder to an SUV volume, its CT on the same grid, and the facts that the `exams` table keeps.

A problem with the PET raises ExamError with its reason; a problem with the CT never does: the PET is usable without
it, and `ct_message` says what was wrong.
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.cohort.privacy.header_identifiers import header_identifiers, scrub_message
from pipelines.imaging.problems import ExamError
from pipelines.imaging.reading.dicom import Series, find_series, pick_ct, pick_pet, read_stack, stack_of
from pipelines.imaging.reading.suv import suv_scale
from pipelines.imaging.volume import SliceGrid, Volume, by_axis, load_nifti, resample_to, slices_of
from pipelines.settings import ExamSettings
from pipelines.tables.exam_problems import ExamProblem

__all__ = ["Exam", "ExamError", "ExamFacts", "read_exam"]

SUV_NAMES = ("suv", "pet")
CT_NAMES = ("ctres", "ct")
AIR_HU = -1024
LOWEST_SUV = -0.5
"""Reconstruction and resampling undershoot a little below zero; further down an image is not SUV."""
SMALLEST_VOXEL_MM, LARGEST_VOXEL_MM = 0.2, 30.0
"""Outside of these no PET is in mm: the file counts in metres or micrometres."""
SAMPLES_AN_AXIS = 64
ACTIVITY_ABOVE = 60.0
"""Median of the positive voxels from which an image can only be activity: no body averages an SUV of 60."""
HOTTEST_PART, HOTTEST_SUV = 99.0, 1000.0
"""Where the air around the body is not quite zero it is most of the image; then activity shows in that it is above
ACTIVITY_ABOVE in the hottest hundredth and above HOTTEST_SUV somewhere."""


@dataclass(frozen=True)
class ExamFacts:
    """What an exam's images say, named as the columns of the `exams` table; None where they do not say it."""

    source: str
    tracer: str | None = None
    series_description: str | None = None
    units: str | None = None
    suv_rule: str | None = None
    decay_correction: str | None = None
    injected_dose_bq: float | None = None
    half_life_s: float | None = None
    weight_kg: float | None = None
    uptake_s: float | None = None
    n_slices: int = 0
    shape_i: int = 0
    shape_j: int = 0
    shape_k: int = 0
    spacing_i_mm: float = 0.0
    spacing_j_mm: float = 0.0
    spacing_k_mm: float = 0.0
    voxel_ml: float = 0.0
    suv_max: float = 0.0
    has_ct: bool = False
    ct_message: str | None = None
    message: str | None = None

    def to_row(self) -> dict[str, Any]:
        """The facts by column name."""
        return {f.name: getattr(self, f.name) for f in fields(self)}


@dataclass(frozen=True, eq=False)
class Exam:
    """The images of one exam: SUV (float32), CT (int16 HU on the PET's grid) or None, and the facts.

    ct_slices: the slices that the CT had before it was resampled, for reports that count those.
    """

    exam_id: str
    suv: Volume
    ct: Volume | None
    facts: ExamFacts
    ct_slices: SliceGrid | None = None


def read_exam(folder: Path | str, exam_id: str, settings: ExamSettings = ExamSettings()) -> Exam:
    """The exam in a folder: DICOM anywhere below it, or NIfTI by name (SUV or PET, CTres or CT), in RAS+ order.

    Nothing of the DICOM header that identifies somebody is in what comes back, in the facts' texts or in an error's.

    Raises ExamError with the reason; the message names the exam and the remedy.
    """
    folder = Path(folder)
    seen: list[Series] = []

    identifiers: list[frozenset[str]] = []

    def hidden(text: str) -> str:
        if not identifiers:
            identifiers.append(header_identifiers([s.datasets for s in seen]))
        return scrub_message(text, identifiers[0], folder)

    # "from None" throughout: the error that it came from may hold what must not be told.
    try:
        with warnings.catch_warnings():
            # pydicom warns of values against the standard, with the value.
            warnings.simplefilter("ignore")
            exam = _read_exam(folder, exam_id, settings, seen)
    except ExamError as error:
        raise ExamError(error.problem, f"exam {exam_id}: {hidden(error.message)}") from None
    except OSError as error:
        raise ExamError(
            ExamProblem.UNREADABLE, f"exam {exam_id}: {hidden(str(error))}: check the disk and the rights of the folder"
        ) from None
    except Exception as error:
        raise RuntimeError(hidden(f"{type(error).__name__}: {error}")).with_traceback(error.__traceback__) from None
    texts: dict[str, Any] = {n: hidden(value) for n, value in exam.facts.to_row().items() if isinstance(value, str)}
    return replace(exam, facts=replace(exam.facts, **texts))


def _read_exam(folder: Path, exam_id: str, settings: ExamSettings, seen: list[Series]) -> Exam:
    """The exam; `seen` takes up the series that were found, also where reading them fails."""
    if not folder.is_dir():
        raise ExamError(
            ExamProblem.NO_FOLDER,
            f"expected a folder {folder.name}, there is none: add the images or remove the report",
        )
    if not any(p.is_file() for p in folder.rglob("*")):
        raise ExamError(ExamProblem.EMPTY_FOLDER, f"expected images in {folder.name}, it is empty: copy the exam again")
    nifti = _named(folder, SUV_NAMES)
    damaged: list[tuple[Path, str]] = []
    series = find_series(folder, damaged)
    seen += series
    if nifti is not None:
        volume, partial = _read_nifti_pet(nifti)
        pet = None
        aside = [s.name for s in series if s.modality == "PT"]
        note = f"{nifti.name} is read, the DICOM PET {', '.join(aside)} set aside" if aside else ""
    else:
        _refuse_damaged_pet(series, damaged)
        volume, partial, pet, note = _read_dicom_pet(series, settings)
    _check_spacing(volume)
    values_note = _check_values(volume.array)
    ct, ct_slices, ct_message = _read_ct(folder, series, pet, volume)
    facts = replace(
        partial,
        n_slices=volume.shape[2],
        **by_axis("shape_{}", volume.shape),
        **by_axis("spacing_{}_mm", volume.spacing_mm),
        voxel_ml=volume.voxel_ml,
        suv_max=float(volume.array.max()),
        has_ct=ct is not None,
        ct_message=ct_message,
        message="; ".join(n for n in (note, values_note, *(m for _, m in damaged[:3])) if n) or None,
    )
    return Exam(exam_id, volume, ct, facts, ct_slices)


def _named(folder: Path, names: Sequence[str]) -> Path | None:
    """The NIfTI of a folder with the first of the names that is there, in upper or lower case, compressed or not."""
    files = {p.name.lower(): p for p in sorted(folder.iterdir()) if p.is_file()}
    return next((files[n + s] for n in names for s in (".nii.gz", ".nii") if n + s in files), None)


def _refuse_damaged_pet(series: Sequence[Series], damaged: Sequence[tuple[Path, str]]) -> None:
    """Raises ExamError(UNREADABLE) where a damaged file may be of the PET: no PET is there, or it lies beside its
    files.

    Damage elsewhere, in a CT say, must not lose the PET.
    """
    pet_folders = {p.parent for s in series if s.modality == "PT" for p in s.paths}
    for path, message in damaged:
        if not pet_folders or path.parent in pet_folders:
            raise ExamError(ExamProblem.UNREADABLE, message)


def _read_nifti_pet(path: Path) -> tuple[Volume, ExamFacts]:
    volume = load_nifti(path)
    array = np.asarray(volume.array, dtype=np.float32)
    step = tuple(slice(None, None, max(1, n // SAMPLES_AN_AXIS)) for n in array.shape)
    sample = array[step]
    positive = sample[sample > 0]
    middle, high = np.percentile(positive, (50.0, HOTTEST_PART)) if positive.size else (0.0, 0.0)
    if middle > ACTIVITY_ABOVE or (high > ACTIVITY_ABOVE and float(array.max()) > HOTTEST_SUV):
        raise ExamError(
            ExamProblem.UNSUPPORTED_UNITS,
            f"{path.name} holds activity (median {middle:.0f}, highest {array.max():.0f}), not SUV, and a NIfTI has no"
            " dose: give SUV.nii.gz or the DICOM series",
        )
    stem = path.name.split(".")[0]
    facts = ExamFacts(source="nifti", units="SUV", suv_rule=f"{stem} is read as SUV", series_description=path.name)
    return Volume(array, volume.affine), facts


def _read_dicom_pet(series: list[Series], settings: ExamSettings) -> tuple[Volume, ExamFacts, Series, str]:
    choice = pick_pet(series)
    pet = choice.series
    stack = stack_of(pet)
    scale = suv_scale(stack.datasets, settings.suv)
    volume = read_stack(stack, scale.factors)
    facts = ExamFacts(
        source="dicom",
        tracer=scale.tracer,
        series_description=pet.description or None,
        units=scale.units,
        suv_rule=scale.rule,
        decay_correction=scale.decay_correction,
        injected_dose_bq=scale.injected_dose_bq,
        half_life_s=scale.half_life_s,
        weight_kg=scale.weight_kg,
        uptake_s=scale.uptake_s,
    )
    return volume, facts, pet, "; ".join(n for n in (choice.reason, stack.note) if n)


def _check_spacing(volume: Volume) -> None:
    """Raises ExamError(BAD_GEOMETRY) for voxels that can only be in another unit than mm."""
    spacing = volume.spacing_mm
    if not (min(spacing) >= SMALLEST_VOXEL_MM and max(spacing) <= LARGEST_VOXEL_MM):
        raise ExamError(
            ExamProblem.BAD_GEOMETRY,
            f"expected voxels of {SMALLEST_VOXEL_MM:g} to {LARGEST_VOXEL_MM:g} mm, got"
            f" {' x '.join(f'{s:.4g}' for s in spacing)}: convert the PET again, in mm",
        )


def _check_values(array: NDArray[np.float32]) -> str:
    """A note on slightly negative voxels, or ''. Raises ExamError(BAD_VALUES) for what cannot be SUV."""
    lowest, highest = float(array.min()), float(array.max())  # NaN shows up in both
    if not np.isfinite(lowest) or not np.isfinite(highest):
        bad = int(array.size - np.isfinite(array).sum())
        raise ExamError(
            ExamProblem.BAD_VALUES, f"expected finite SUV, {bad} voxels are NaN or infinite: convert the PET again"
        )
    if lowest < LOWEST_SUV:
        raise ExamError(
            ExamProblem.BAD_VALUES,
            f"expected SUV of 0 or more, the lowest is {lowest:.2f}: convert the PET again without interpolation",
        )
    if highest <= 0:
        raise ExamError(ExamProblem.BAD_VALUES, "expected uptake, the PET is empty (all zero): convert it again")
    return f"SUV down to {lowest:.2f}" if lowest < -0.05 else ""


def _read_ct(
    folder: Path, series: list[Series], pet: Series | None, reference: Volume
) -> tuple[Volume | None, SliceGrid | None, str | None]:
    """The CT in int16 HU on the PET's grid, and a message where it is missing, short or unusable."""
    try:
        path = _named(folder, CT_NAMES)
        notes: list[str] = []
        if path is not None:
            ct = load_nifti(path)
        else:
            choice = pick_ct(series, pet)
            notes.append(choice.reason)
            ct = _read_dicom_ct(choice.series)
        covered = _covered_slices(ct, reference)
        if covered == 0:
            raise ExamError(
                ExamProblem.BAD_GEOMETRY, "CT left out: it does not overlap the PET: give the CT of the same scan"
            )
        if covered < reference.shape[2]:
            notes.append(f"CT covers {covered} of {reference.shape[2]} PET slices, the rest is air ({AIR_HU} HU)")
        return _to_hu_grid(ct, reference), slices_of(ct), "; ".join(n for n in notes if n) or None
    except ExamError as error:
        known = error.message.startswith(("no CT", "CT left out"))
        return None, None, error.message if known else f"CT left out: {error.message}"


def _read_dicom_ct(series: Series) -> Volume:
    stack = stack_of(series)
    slopes = np.array([float(d.get("RescaleSlope", 1) or 1) for d in stack.datasets])
    intercepts = np.array([float(d.get("RescaleIntercept", 0) or 0) for d in stack.datasets])
    return read_stack(stack, slopes, intercepts, dtype=np.int16)


def _covered_slices(ct: Volume, reference: Volume) -> int:
    """How many slices of the reference have their centre inside the CT's extent along the body's axis."""
    n_i, n_j, n_k = reference.shape
    centres = reference.to_ras_mm(np.stack([np.full(n_k, n_i / 2), np.full(n_k, n_j / 2), np.arange(n_k)], axis=-1))
    ijk = ct.to_ijk(centres)
    # Half a slice of tolerance, and only along the axis: the field of view in plane is commonly narrower than the
    # PET's.
    half = max(0.5, 0.5 * reference.spacing_mm[2] / ct.spacing_mm[2])
    return int(((ijk[:, 2] >= -0.5 - half) & (ijk[:, 2] <= ct.shape[2] - 0.5 + half)).sum())


def _to_hu_grid(ct: Volume, reference: Volume) -> Volume:
    lowest, highest = float(ct.array.min()), float(ct.array.max())
    if not np.isfinite(lowest) or not np.isfinite(highest):
        raise ExamError(ExamProblem.BAD_VALUES, "CT left out: it holds NaN or infinite values: convert it again")
    if lowest >= 0 and highest <= 1:
        raise ExamError(ExamProblem.BAD_VALUES, "CT left out: it holds no HU (0..1): give the CT in HU")
    return resample_to(ct, reference, order=1, fill=AIR_HU, dtype=np.int16)
