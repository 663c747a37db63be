"""Which series of an exam is the PET to measure, which the CT that belongs to it, and of which patient and study."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from pipelines.imaging.problems import ExamError
from pipelines.imaging.reading.dicom import FEWEST_SLICES, Series
from pipelines.imaging.reading.values import tag_name, text_of, whole_number_of, words_of
from pipelines.tables.exam_problems import ExamProblem
from pipelines.tables.safe_text import technical_text

WHOLE_BODY_PART = 0.6
"""A series shorter than this part of the longest one shows a part of the body, however many slices it has."""
BED_PART, BED_OVERLAP = 0.67, 0.25
"""Series of at least this part of the chosen one's length that overlap it by at most this part of their own are bed
positions of one scan."""
LONGEST_BED_MM = 400.0
"""Scanners that move the bed see less at a time: of a longer series and its neighbour (trunk and legs), the trunk is
what a report counts from."""


@dataclass(frozen=True)
class SeriesChoice:
    """The series that was picked and, in words, what was set aside and why ('' where there was no choice)."""

    series: Series
    reason: str


def of_one_patient(series: Sequence[Series]) -> None:
    """Raises ExamError(BAD_VALUES) where the PET and CT series are of several patients, by PatientID (0010,0020), or
    where none has one by PatientName, or by birth date."""
    for keyword in ("PatientID", "PatientBirthDate", "PatientName"):
        stated = {_identity(s.slices[0].dataset, keyword) for s in series if s.modality in ("PT", "CT")}
        stated.discard("")
        if len(stated) > 1:
            raise ExamError(
                ExamProblem.BAD_VALUES,
                f"expected the images of one patient, got {len(stated)} by {tag_name(keyword)}: separate the"
                " patients, each exam in a folder of its own",
            )
        if keyword == "PatientBirthDate" and any(_identity(s.slices[0].dataset, "PatientID") for s in series):
            return


def _identity(dataset: Any, keyword: str) -> str:
    """A value that identifies a patient, however blanks and case are written; '' where it is missing or damaged."""
    try:
        value = text_of(dataset, keyword)
    except ExamError:
        return ""
    return "".join(value.split()).casefold().strip("^")


def of_one_study(series: Sequence[Series], study_date: date | None) -> tuple[list[Series], str]:
    """The series of the study that a report is of, and a note on what was set aside.

    Where PET of several studies lies in a folder, the one of the report's `study_date` is taken.

    Raises:
        ExamError(BAD_VALUES): there are several, and no date, or no one study of that date.
    """
    pets = [s for s in series if s.modality == "PT" and _fault(s) is None] or [s for s in series if s.modality == "PT"]
    studies = {uid for s in pets if (uid := study_of(s))}
    if len(studies) < 2:
        return list(series), ""
    of_date = {study_of(s) for s in pets if study_date is not None and _date_of(s) == f"{study_date:%Y%m%d}"}
    if len(of_date) != 1:
        why = "the report has no study_date" if study_date is None else "study_date of the report is not that of one"
        raise ExamError(
            ExamProblem.BAD_VALUES,
            f"expected the images of one study, got PET of {len(studies)}, and {why}: separate the studies, or give"
            " study_date in the table of reports",
        )
    taken = of_date.pop()
    kept = [s for s in series if study_of(s) in (taken, "")]
    return kept, f"the study of the report's study_date is read, {len(series) - len(kept)} series of others set aside"


def study_of(series: Series) -> str:
    """StudyInstanceUID of a series, or ''."""
    return text_of(series.slices[0].dataset, "StudyInstanceUID")


def _date_of(series: Series) -> str:
    dates = (text_of(series.slices[0].dataset, k) for k in ("StudyDate", "SeriesDate", "AcquisitionDate"))
    return next((d.replace(".", "") for d in dates if d), "")


def pick_pet(series: Iterable[Series]) -> SeriesChoice:
    """The PET series to measure: attenuation-corrected, no projection, of one moment, whole body, most slices; the
    others are named with the reason.

    Raises ExamError(NO_PET) where there is none, BAD_GEOMETRY where the body lies in several series.
    """
    everything = list(series)
    pets = [s for s in everything if s.modality == "PT"]
    if not pets:
        kinds = sorted({technical_text(s.modality) or "?" for s in everything})
        raise ExamError(
            ExamProblem.NO_PET,
            f"expected a PET series (Modality PT), found {', '.join(kinds) or 'no DICOM file'}: add the PET",
        )
    faults = {id(s): _fault(s) for s in pets}
    longest = max((s.length_mm for s in pets if faults[id(s)] is None and not _is_derived(s)), default=0.0)

    def rank(s: Series) -> tuple[Any, ...]:
        part = s.length_mm < WHOLE_BODY_PART * longest
        return faults[id(s)] is not None, _is_derived(s), is_dynamic(s.slices[0].dataset), part, -len(s.slices), s.uid

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
    if is_dynamic(series.slices[0].dataset) and not is_dynamic(chosen.slices[0].dataset):
        return "dynamic or gated"
    if series.length_mm < WHOLE_BODY_PART * chosen.length_mm and len(series.slices) >= len(chosen.slices):
        return "a part of the body"
    if len(series.slices) < len(chosen.slices):
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


def _fault(series: Series) -> str | None:
    """Why a PET series is not the one to measure, or None."""
    first = series.slices[0].dataset
    image_type, series_type = words_of(first, "ImageType"), words_of(first, "SeriesType")
    description = f" {series.description.lower().replace('_', ' ').replace('-', ' ')} "
    if "REPROJECTION" in series_type or {"MIP", "PROJECTION IMAGE"} & image_type or " mip " in description:
        return _PROJECTION
    if len(series.slices) < FEWEST_SLICES and whole_number_of(first, "NumberOfFrames", 1) < FEWEST_SLICES:
        return "too few slices"
    corrected = words_of(first, "CorrectedImage")
    if corrected and "ATTN" not in corrected:
        return _NOT_CORRECTED
    if not corrected and any(
        word in description for word in (" nac ", " no ac ", " non ac ", " uncorrected ", " wo ac ")
    ):
        return _NOT_CORRECTED
    return None


def _is_derived(series: Series) -> bool:
    """Whether a workstation made the series (fusion, screen capture): an original is preferred."""
    return "SECONDARY" in words_of(series.slices[0].dataset, "ImageType")


def is_dynamic(dataset: Any) -> bool:
    """Whether a slice is of one of several moments of the same place."""
    return bool({"DYNAMIC", "GATED"} & words_of(dataset, "SeriesType"))


def pick_ct(series: Iterable[Series], pet: Series | None) -> SeriesChoice:
    """The CT series that belongs to the PET: of its frame of reference, covering most of it, most slices.

    Raises ExamError(NO_PET) where there is no CT at all (its message says so), BAD_GEOMETRY where none shares the
    PET's frame.
    """
    cts = [s for s in series if s.modality == "CT" and len(s.slices) >= FEWEST_SLICES and not _is_localizer(s)]
    if not cts:
        raise ExamError(ExamProblem.EMPTY_FOLDER, "no CT")
    frame = frame_of(pet) if pet else ""
    fitting = [s for s in cts if not frame or not frame_of(s) or frame_of(s) == frame]
    if pet is not None and any(study_of(s) == study_of(pet) for s in fitting):
        fitting = [s for s in fitting if study_of(s) == study_of(pet)]
    if not fitting:
        raise ExamError(
            ExamProblem.BAD_GEOMETRY,
            f"CT left out: its frame of reference (0020,0052) is not the PET's ({cts[0].name}): register it to the PET"
            " or give the CT of the same scan",
        )
    ordered = sorted(fitting, key=lambda s: (_is_derived(s), -_covered_part(s, pet), -len(s.slices), s.uid))
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
    return text_of(series.slices[0].dataset, "FrameOfReferenceUID")


def _is_localizer(series: Series) -> bool:
    return "LOCALIZER" in words_of(series.slices[0].dataset, "ImageType")
