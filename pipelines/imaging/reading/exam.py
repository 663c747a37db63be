"""One exam folder to an SUV volume, its CT on the same grid, and the facts that the `exams` table keeps.

A problem with the PET raises ExamError with its reason; a problem with the CT never does: the PET is usable without
it, and `ct_message` says what was wrong.
"""

import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from datetime import date, datetime
from pathlib import Path
from typing import Any

from pipelines.cohort.privacy.header_identifiers import header_identifiers, scrub
from pipelines.imaging.problems import ExamError, place_of
from pipelines.imaging.reading.archives import archives_among, kinds_of, unpacked
from pipelines.imaging.reading.ct import ExamCt, read_ct
from pipelines.imaging.reading.dicom import FoundSeries, Series, name_pattern, series_of
from pipelines.imaging.reading.files import ExamFiles, exam_files
from pipelines.imaging.reading.image_files import image_suffix
from pipelines.imaging.reading.nifti_pet import (
    ExamImages,
    images_by_convention,
    named_images,
    read_nifti_pet,
    refuse_activity,
    refuse_unlike_a_body,
    what_lies_there,
)
from pipelines.imaging.reading.plausibility import (
    Values,
    check_not_negative,
    note_on_body,
    note_on_highest,
    note_on_rows,
    values_of_image,
)
from pipelines.imaging.reading.radiopharmaceutical import DOSE_UNITS
from pipelines.imaging.reading.series_choice import of_one_patient, of_one_study, pick_pet
from pipelines.imaging.reading.stack import read_stack, stack_of
from pipelines.imaging.reading.suv import SuvScale, suv_scale
from pipelines.imaging.reading.suv_times import joined
from pipelines.imaging.reading.values import text_of, whole_number_of
from pipelines.imaging.volume import SliceGrid, Volume, by_axis
from pipelines.settings import ExamSettings
from pipelines.tables.exam_problems import ExamProblem
from pipelines.tables.safe_text import REMOVED, error_reason, technical_text

__all__ = ["Exam", "ExamError", "ExamFacts", "read_exam"]

SMALLEST_VOXEL_MM, LARGEST_VOXEL_MM = 0.2, 30.0
"""Outside of these no PET is in mm: the file counts in metres or micrometres."""
ARCHIVES_UNPACK_TO = 2
"""Largest images that the archives of one exam may unpack to: a PET and a CT."""
NOTES_OF_DAMAGE = 3


@dataclass(frozen=True)
class ExamFacts:
    """What an exam's images say, named as the columns of the `exams` table; None where they do not say it."""

    source: str
    tracer: str | None = None
    study_date: str | None = None
    scanner: str | None = None
    reconstruction: str | None = None
    series_description: str | None = None
    units: str | None = None
    suv_rule: str | None = None
    decay_correction: str | None = None
    injected_dose_bq: float | None = None
    half_life_s: float | None = None
    weight_kg: float | None = None
    uptake_s: float | None = None
    sul_ratio: float | None = None
    sul_james_ratio: float | None = None
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


def read_exam(
    folder: Path | str, exam_id: str, settings: ExamSettings = ExamSettings(), study_date: date | None = None
) -> Exam:
    """The exam in a folder: DICOM anywhere below it, or NIfTI by name (SUV or PET, CTres or CT), in RAS+ order.

    Nothing of the DICOM header that identifies somebody is in what comes back, in the facts' texts or in an error's,
    and nothing of another library's words.

    Args:
        study_date: of the report; where PET of several studies lies in the folder, that of this date is read.

    Raises ExamError with the reason; the message names the exam and the remedy.
    """
    folder = Path(folder)
    identity = _Identity()
    # "from None" throughout: the error that it came from may hold what must not be told.
    try:
        with warnings.catch_warnings():
            # pydicom warns of values against the standard, with the value.
            warnings.simplefilter("ignore")
            exam = _read_exam(folder, exam_id, settings, study_date, identity)
    except ExamError as error:
        raise ExamError(error.problem, f"exam {exam_id}: {identity.hidden(error.message)}") from None
    except OSError as error:
        raise ExamError(
            ExamProblem.UNREADABLE,
            f"exam {exam_id}: {error_reason(error)}: check the disk and the rights of the folder",
        ) from None
    except Exception as error:
        # A file can be damaged in more ways than are checked; none of them ends the other exams.
        raise ExamError(
            ExamProblem.UNREADABLE,
            f"exam {exam_id}: its files cannot be read ({error_reason(error)} at {place_of(error)}): export them again",
        ) from None
    texts: dict[str, Any] = {
        n: identity.hidden(value) if n in ("message", "ct_message", "suv_rule") else identity.hidden_text(value)
        for n, value in exam.facts.to_row().items()
        if isinstance(value, str) and n != "study_date"  # A day, made of digits here; who asks for it moves it.
    }
    return replace(exam, facts=replace(exam.facts, **texts))


class _Identity:
    """What identifies somebody in the headers of an exam, and texts without it."""

    def __init__(self) -> None:
        self.series: Sequence[Series] = ()
        self._identifiers: frozenset[str] | None = None

    def _known(self) -> frozenset[str]:
        if self._identifiers is None:
            found: set[str] = set()
            for series in self.series:
                try:
                    found |= header_identifiers([series.datasets])
                except Exception:
                    continue  # A damaged header: who is named in it is not known.
            self._identifiers = frozenset(found)
        return self._identifiers

    def hidden(self, text: str) -> str:
        """A message of ours, which has technical words and numbers alone, without identifiers among them."""
        for known in sorted(self._known(), key=len, reverse=True):
            text = re.sub(rf"(?<![^\W_]){re.escape(known)}(?![^\W_])", REMOVED, text, flags=re.IGNORECASE)
        return text

    def hidden_text(self, text: str) -> str:
        """The technical words of a text of a header: any other may name somebody whom no attribute names."""
        return technical_text(scrub(text, self._known()))


@dataclass(frozen=True, eq=False)
class _Reading:
    """A PET as it was read: its volume and values, what is known of it, its series (None: it came as NIfTI), and
    notes."""

    volume: Volume
    values: Values
    facts: ExamFacts
    series: Series | None
    notes: tuple[str, ...]


def _read_exam(
    folder: Path, exam_id: str, settings: ExamSettings, study_date: date | None, identity: _Identity
) -> Exam:
    """The exam; `identity` takes up the series that were found, also where reading them fails."""
    if not folder.is_dir():
        raise ExamError(
            ExamProblem.NO_FOLDER,
            "expected a folder of the exam, there is none: add the images or remove the report",
        )
    files = exam_files(folder)
    if not files.paths:
        why = f" ({joined(files.notes[:NOTES_OF_DAMAGE])})" if files.notes else ""
        raise ExamError(ExamProblem.EMPTY_FOLDER, f"expected images, the folder is empty{why}: copy the exam again")
    with where_images_lie(files, settings) as (source, note):
        found = series_of(source, settings)
        identity.series = found.series
        of_one_patient(found.series)
        images = named_images(source)
        if images.pet is None and not found.series and not found.damaged:
            images = images_by_convention(source, settings)
        reading = _read_pet(source, found, images, settings, study_date)
        ct = read_ct(ExamCt(images.ct, found.series, reading.series), reading.volume, settings)
    volume = reading.volume
    facts = replace(
        reading.facts,
        n_slices=volume.shape[2],
        **by_axis("shape_{}", volume.shape),
        **by_axis("spacing_{}_mm", volume.spacing_mm),
        voxel_ml=volume.voxel_ml,
        suv_max=reading.values.highest,
        has_ct=ct.ct is not None,
        ct_message=ct.message,
        message=joined((note, *reading.notes, *found.notes, *files.notes[:NOTES_OF_DAMAGE])) or None,
    )
    return Exam(exam_id, volume, ct.ct, facts, ct.slices)


@contextmanager
def where_images_lie(files: ExamFiles, settings: ExamSettings) -> Iterator[tuple[ExamFiles, str]]:
    """The files of an exam, and a note; where no image lies among them, those that its archives hold."""
    archives = archives_among(files)
    if not archives or any(p not in archives for p in files.paths if not _is_beside_images(p)):
        yield files, ""
        return
    with unpacked(archives, files, ARCHIVES_UNPACK_TO * settings.largest_image_bytes) as folder:
        yield exam_files(folder), f"read from {kinds_of(archives)} ({files.names(archives)})"


def _is_beside_images(path: Path) -> bool:
    """Whether a file is of a kind that lies beside images: a text, a table, a document."""
    return path.suffix.lower() in (".txt", ".md", ".csv", ".json", ".xml", ".pdf", ".html") or path.name.startswith(".")


def _read_pet(
    files: ExamFiles, found: FoundSeries, images: ExamImages, settings: ExamSettings, study_date: date | None
) -> _Reading:
    """The PET of an exam: the image file that is named for it, else DICOM; of an image that is no SUV, the DICOM beside
    it."""
    has_dicom = any(s.modality == "PT" for s in found.series)
    note = ""
    if images.pet is not None:
        try:
            return _read_nifti(images, files, found, settings)
        except ExamError as error:
            if not has_dicom:
                raise
            note = f"the DICOM PET is read, {files.name(images.pet)} set aside: {error.message}"
    if not has_dicom:
        if found.damaged:
            raise ExamError(ExamProblem.UNREADABLE, found.damaged[0].message)
        if (other := what_lies_there(files)) and not found.series:
            raise ExamError(ExamProblem.NO_PET, other)
    reading = _read_dicom(found, settings, study_date)
    return replace(reading, notes=(note, *reading.notes))


def _read_nifti(images: ExamImages, files: ExamFiles, found: FoundSeries, settings: ExamSettings) -> _Reading:
    path = images.pet
    assert path is not None
    volume, scale = read_nifti_pet(path, files, settings)
    _check_spacing(volume)
    values = values_of_image(volume)
    refuse_activity(path, files, values)
    if images.note and scale is None:
        refuse_unlike_a_body(path, files, volume, values)
    notes = [
        images.note,
        check_not_negative(volume, values),
        note_on_highest(volume, values),
        note_on_body(volume, values),
    ]
    aside = [s.name for s in found.series if s.modality == "PT"]
    name = files.name(path)
    if images.aside:
        notes.append(f"{files.names(images.aside)} of the same name as an image that is read are set aside")
    if aside:
        notes.append(f"{name} is read, the DICOM PET {', '.join(aside)} set aside")
    notes += [d.message for d in found.damaged[:NOTES_OF_DAMAGE]]
    facts = ExamFacts(
        source="nifti",
        units="SUV",
        suv_rule=f"{name.removesuffix(image_suffix(path))} is read as SUV",
        series_description=path.name,
    )
    if scale is not None:
        facts = replace(
            facts,
            units="BQML",
            suv_rule="dose, weight and times of the sidecar, decay to ImageDecayCorrectionTime",
            injected_dose_bq=scale.injected_dose_bq,
            weight_kg=scale.weight_kg,
            half_life_s=scale.half_life_s,
            uptake_s=scale.uptake_s,
            tracer=scale.tracer,
        )
    return _Reading(volume, values, facts, None, tuple(notes))


def _read_dicom(found: FoundSeries, settings: ExamSettings, study_date: date | None) -> _Reading:
    series, study_note = of_one_study(found.series, study_date)
    choice = pick_pet(series)
    _refuse_damaged(choice.series, found)
    stack = stack_of(choice.series, settings)
    scale = suv_scale(stack.datasets, settings.suv)
    volume = read_stack(stack, scale.factors, settings=settings)
    _check_spacing(volume)
    values = values_of_image(volume)
    scale, volume, values, unit_note = _in_the_unit_of_the_dose(scale, volume, values)
    if values.is_activity:
        raise ExamError(
            ExamProblem.BAD_VALUES,
            f"no body has an SUV like this (median {values.positive_median:.0f}, highest {values.highest:.0f}):"
            " check dose (0018,1074), weight (0010,1030), times (0018,1072, 0008,0031) and Units (0054,1001)",
        )
    facts = ExamFacts(
        source="dicom",
        tracer=scale.tracer,
        study_date=_study_date_of(choice.series),
        scanner=_words_of(choice.series, "Manufacturer", "ManufacturerModelName"),
        reconstruction=_words_of(choice.series, "ReconstructionMethod", "ConvolutionKernel"),
        series_description=choice.series.description or None,
        units=scale.units,
        suv_rule=scale.rule,
        decay_correction=scale.decay_correction,
        injected_dose_bq=scale.injected_dose_bq,
        half_life_s=scale.half_life_s,
        weight_kg=scale.weight_kg,
        uptake_s=scale.uptake_s,
        sul_ratio=scale.sul_ratio,
        sul_james_ratio=scale.sul_james_ratio,
    )
    notes = (
        study_note,
        choice.reason,
        stack.note,
        scale.note,
        unit_note,
        check_not_negative(volume, values),
        note_on_highest(volume, values),
        note_on_rows(volume),
        note_on_body(volume, values),
        *(d.message for d in found.damaged[:NOTES_OF_DAMAGE]),
    )
    return _Reading(volume, values, facts, choice.series, notes)


def _study_date_of(series: Series) -> str | None:
    """Day of the study as YYYY-MM-DD, else of the series; None where the header names none."""
    for keyword in ("StudyDate", "SeriesDate", "AcquisitionDate"):
        try:
            return datetime.strptime(text_of(series.slices[0].dataset, keyword)[:8], "%Y%m%d").date().isoformat()
        except ValueError:
            continue
    return None


def _words_of(series: Series, *keywords: str) -> str | None:
    """Values of attributes of a series' first slice, those that are there."""
    values = (" ".join(text_of(series.slices[0].dataset, keyword).split()) for keyword in keywords)
    return ", ".join(value for value in values if value) or None


def _refuse_damaged(pet: Series, found: FoundSeries) -> None:
    """Raises ExamError(UNREADABLE) where a damaged file may be a slice of the PET: it lies beside its files, and is not
    named as those of another series are. Damage elsewhere, in a CT say, or beside a series that says how many slices it
    has and has them, must not lose the PET.
    """
    if {whole_number_of(s.dataset, "NumberOfSlices") for s in pet.slices} == {len(pet.slices)}:
        return
    mine = {(p.parent, name_pattern(p)) for p in pet.paths}
    others = {(p.parent, name_pattern(p)) for s in found.series if s is not pet for p in s.paths}
    folders = {folder for folder, _ in mine}
    for file in found.damaged:
        place = (file.path.parent, name_pattern(file.path))
        if place in mine or (file.path.parent in folders and place not in others):
            raise ExamError(ExamProblem.UNREADABLE, file.message)


def _in_the_unit_of_the_dose(scale: SuvScale, volume: Volume, values: Values) -> tuple[SuvScale, Volume, Values, str]:
    """The SUV with the dose in the unit, of those that its number can be in, that gives the body an SUV.

    Raises:
        ExamError(BAD_VALUES): none of them does, or several do.
    """
    if scale.dose_units == ("Bq",) or scale.injected_dose_bq is None:
        return scale, volume, values, ""
    stated = scale.injected_dose_bq / DOSE_UNITS[scale.dose_units[0]]
    ratios = {unit: DOSE_UNITS[scale.dose_units[0]] / DOSE_UNITS[unit] for unit in scale.dose_units}
    fitting = [unit for unit, ratio in ratios.items() if values.scaled(ratio).is_of_a_body]
    if scale.dose_units == ("MBq",):
        fitting = ["MBq"]  # Written so by many, and by nobody meant otherwise.
    if len(fitting) != 1:
        raise ExamError(
            ExamProblem.BAD_VALUES,
            f"RadionuclideTotalDose (0018,1074) of {stated:g} is not in Bq, and which unit it is in"
            f" ({', '.join(scale.dose_units)}) cannot be told from the image: fix the injected dose",
        )
    ratio = ratios[fitting[0]]
    if ratio != 1.0:
        volume = Volume(volume.array * type(volume.array.flat[0])(ratio), volume.affine)
    changed = replace(
        scale, factors=scale.factors * ratio, injected_dose_bq=stated * DOSE_UNITS[fitting[0]], dose_units=(fitting[0],)
    )
    return changed, volume, values.scaled(ratio), f"RadionuclideTotalDose (0018,1074) is read in {fitting[0]}, not Bq"


def _check_spacing(volume: Volume) -> None:
    """Raises ExamError(BAD_GEOMETRY) for voxels that can only be in another unit than mm."""
    spacing = volume.spacing_mm
    if not (min(spacing) >= SMALLEST_VOXEL_MM and max(spacing) <= LARGEST_VOXEL_MM):
        raise ExamError(
            ExamProblem.BAD_GEOMETRY,
            f"expected voxels of {SMALLEST_VOXEL_MM:g} to {LARGEST_VOXEL_MM:g} mm, got"
            f" {' x '.join(f'{s:.4g}' for s in spacing)}: convert the PET again, in mm",
        )
