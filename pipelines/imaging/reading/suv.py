"""Standardised uptake values from DICOM attributes: one factor a slice, the rule that gave it, or a refusal that
names the tag.

Nothing here reads a file: the functions take pydicom-like datasets, so they are tested beside published reference
objects. Rules: QIBA's vendor-neutral pseudo-code and the SUV manual of the oncoray reference objects, as listed in
docs/suv.md.
"""

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.imaging.problems import ExamError
from pipelines.settings import Norm, SuvSettings
from pipelines.tables.exam_problems import ExamProblem


@dataclass(frozen=True)
class SuvScale:
    """How stored pixels become SUV: SUV = pixel * factors[slice], and all that this was computed from (None: not
    stated)."""

    factors: NDArray[np.float64]
    units: str
    norm: Norm
    rule: str
    decay_correction: str | None
    tracer: str | None
    injected_dose_bq: float | None
    half_life_s: float | None
    weight_kg: float | None
    uptake_s: float | None


STORED_NORMS = {
    "": Norm.BW,
    "BW": Norm.BW,
    "LBM": Norm.LBM_JAMES,
    "LBMJAMES128": Norm.LBM_JAMES,
    "LBMJANMA": Norm.LBM_JANMA,
    "BSA": Norm.BSA,
    "IBW": Norm.IBW,
}

# Seconds. Where the file has none: MIRDsoft / NNDC values of the nuclides that are imaged.
HALF_LIVES_S = {
    "C11": 1221.8,
    "N13": 597.9,
    "O15": 122.24,
    "F18": 6586.2,
    "Cu62": 580.4,
    "Cu64": 45723.6,
    "Ga68": 4057.74,
    "Rb82": 75.45,
    "Y86": 53064.0,
    "Zr89": 282276.0,
    "I124": 360806.4,
    "Sc44": 14292.0,
}

PHILIPS_SUV_FACTOR = (0x7053, 0x1000)
PHILIPS_ACTIVITY_FACTOR = (0x7053, 0x1009)
GE_SCAN_DATETIME = 0x0D
MBQ_BELOW_BQ = 1e4
LOWEST_DOSE_BQ = 1e5
HIGHEST_DOSE_BQ = 1e11
GRAMS_ABOVE_KG = 1000.0
LONGEST_UPTAKE_HALF_LIVES = 15.0
HALF_LIFE_TOLERANCE = 0.05


def suv_scale(slices: Sequence[Any], settings: SuvSettings = SuvSettings()) -> SuvScale:
    """The factor of each slice and its provenance, from the datasets of one PET series in any order.

    Raises ExamError: MISSING_TAG with the tag named, NOT_CORRECTED, UNSUPPORTED_UNITS, BAD_VALUES. Never a factor of
    one.
    """
    if not slices:
        raise ExamError(ExamProblem.NO_PET, "expected PET slices, got none: give the series")
    first = slices[0]
    units = _one_of_all(slices, "Units", "0054,1001").strip().upper()
    decay = str(getattr(first, "DecayCorrection", "") or "").strip().upper()
    _refuse_uncorrected(first, decay)
    slopes = np.array([_slope(s) for s in slices])
    if units in ("GML", "CM2ML"):
        return _stored_suv(slices, slopes, units, decay, settings)
    if units == "CNTS":
        suv_factors = [_private_number(s, PHILIPS_SUV_FACTOR) for s in slices]
        if all(f is not None for f in suv_factors):
            factors = slopes * np.array(suv_factors, dtype=np.float64)
            return _stored_suv(slices, factors, units, decay, settings, rule="Philips SUV factor (7053,1000)")
        activity_factors = [_private_number(s, PHILIPS_ACTIVITY_FACTOR) for s in slices]
        if any(f is None for f in activity_factors):
            raise ExamError(
                ExamProblem.UNSUPPORTED_UNITS,
                "Units (0054,1001) are CNTS and neither Philips factor (7053,1000) or (7053,1009) is there: export the"
                " series with its private tags",
            )
        slopes = slopes * np.array(activity_factors, dtype=np.float64)
        return _from_activity(slices, slopes, units, decay, settings, "Philips activity factor (7053,1009), ")
    if units == "BQML":
        return _from_activity(slices, slopes, units, decay, settings, "")
    raise ExamError(
        ExamProblem.UNSUPPORTED_UNITS,
        f"expected Units (0054,1001) of BQML, GML, CM2ML or CNTS, got {units}: export the series in BQML",
    )


def _refuse_uncorrected(first: Any, decay: str) -> None:
    corrected = getattr(first, "CorrectedImage", None)
    if not corrected:
        raise ExamError(
            ExamProblem.MISSING_TAG,
            "CorrectedImage (0028,0051) is missing: without it attenuation correction is not known",
        )
    corrected = {corrected} if isinstance(corrected, str) else {str(c).strip().upper() for c in corrected}
    if "ATTN" not in corrected:
        raise ExamError(
            ExamProblem.NOT_CORRECTED,
            f"CorrectedImage (0028,0051) is {sorted(corrected)}, without ATTN: give the attenuation-corrected series",
        )
    if "DECY" not in corrected and decay != "NONE":
        raise ExamError(
            ExamProblem.NOT_CORRECTED,
            f"CorrectedImage (0028,0051) is {sorted(corrected)}, without DECY, and DecayCorrection (0054,1102) is"
            f" {decay or 'missing'}: give the decay-corrected series",
        )


def _stored_suv(
    slices: Sequence[Any],
    factors: NDArray[np.float64],
    units: str,
    decay: str,
    settings: SuvSettings,
    rule: str | None = None,
) -> SuvScale:
    """An image that is SUV already, converted where it is of another norm than the one asked for."""
    first = slices[0]
    suv_type = str(getattr(first, "SUVType", "") or "").strip().upper()
    default = "BSA" if units == "CM2ML" else ""
    stored = STORED_NORMS.get(suv_type or default)
    if stored is None:
        raise ExamError(
            ExamProblem.UNSUPPORTED_UNITS,
            f"expected SUVType (0054,1006) of {sorted(STORED_NORMS)[1:]}, got {suv_type}: export in BQML",
        )
    rule = rule or f"stored as SUV {stored.value} ({units})"
    norm = stored
    if stored is not settings.norm:
        norm = settings.norm
        factors = factors * (_norm_size(first, norm) / _norm_size(first, stored))
        rule += f", converted to {norm.value}"
    return SuvScale(
        factors=factors,
        units=units,
        norm=norm,
        rule=rule,
        decay_correction=decay or None,
        tracer=tracer_of(first),
        injected_dose_bq=_optional(_dose_bq, first),
        half_life_s=_optional(_half_life_s, first),
        weight_kg=_optional(_weight_kg, first),
        uptake_s=None,
    )


def _optional(function: Callable[[Any], float], dataset: Any) -> float | None:
    """A value of the dataset, or None where it is not known: for columns that the SUV does not rest on."""
    try:
        return function(dataset)
    except ExamError:
        return None


def _from_activity(
    slices: Sequence[Any], bq_per_ml: NDArray[np.float64], units: str, decay: str, settings: SuvSettings, prefix: str
) -> SuvScale:
    """Activity concentration over dose at the reference time of the decay correction, by the size that the norm
    says."""
    first = slices[0]
    dose_bq, half_life_s, weight_kg = _dose_bq(first), _half_life_s(first), _weight_kg(first)
    if decay == "ADMIN":
        elapsed_s = np.zeros(len(slices))
        rule = "decay-corrected to administration (ADMIN)"
        uptake_s = _uptake_or_none(slices, half_life_s)
    elif decay == "START":
        scan, rule = _scan_start(slices, half_life_s)
        uptake_s = _uptake_s(scan, first, half_life_s)
        elapsed_s = np.full(len(slices), uptake_s)
    elif decay == "NONE":
        # Not corrected for decay: each frame shows its mean activity, so each slice is brought to its own moment.
        elapsed_s = np.array([_uptake_s(_mean_activity_moment(s, half_life_s), s, half_life_s) for s in slices])
        uptake_s = float(elapsed_s.min())
        rule = "not decay-corrected (NONE), each slice to its own time"
    elif decay:
        raise ExamError(
            ExamProblem.NOT_CORRECTED, f"expected DecayCorrection (0054,1102) of START, ADMIN or NONE, got {decay}"
        )
    else:
        raise ExamError(
            ExamProblem.MISSING_TAG,
            "DecayCorrection (0054,1102) is missing: the time that the dose decays to is not known",
        )
    dose_then_bq = dose_bq * np.exp2(-elapsed_s / half_life_s)
    factors = bq_per_ml * _norm_size(first, settings.norm) / dose_then_bq
    return SuvScale(
        factors=factors,
        units=units,
        norm=settings.norm,
        rule=prefix + rule,
        decay_correction=decay,
        tracer=tracer_of(first),
        injected_dose_bq=dose_bq,
        half_life_s=half_life_s,
        weight_kg=weight_kg,
        uptake_s=uptake_s,
    )


def _norm_size(dataset: Any, norm: Norm) -> float:
    """Grams (bw, lbm, ibw) or cm2 (bsa) by which the injected dose is spread.

    James: LBM = 1.10 W - 128 (W/H)^2 (m), 1.07 W - 148 (W/H)^2 (f), W kg, H cm. Janmahasatian: 9270 W / (6680 + 216
    BMI) (m), 9270 W / (8780 + 244 BMI) (f). Du Bois: 0.007184 H^0.725 W^0.425 m2. Ideal: 48 + 1.06 (H - 152) (m),
    45.5 + 0.91 (H - 152) (f). Sex O: the mean of both.
    """
    weight = _weight_kg(dataset)
    if norm is Norm.BW:
        return weight * 1000.0
    height = _height_cm(dataset)
    if norm is Norm.BSA:
        return 0.007184 * height**0.725 * weight**0.425 * 1e4
    bmi = weight / (height / 100.0) ** 2
    if norm is Norm.LBM_JAMES:
        ratio = (weight / height) ** 2
        by_sex = {"M": 1.10 * weight - 128.0 * ratio, "F": 1.07 * weight - 148.0 * ratio}
    elif norm is Norm.LBM_JANMA:
        by_sex = {"M": 9270.0 * weight / (6680.0 + 216.0 * bmi), "F": 9270.0 * weight / (8780.0 + 244.0 * bmi)}
    else:
        by_sex = {"M": 48.0 + 1.06 * (height - 152.0), "F": 45.5 + 0.91 * (height - 152.0)}
    sex = str(getattr(dataset, "PatientSex", "") or "").strip().upper()
    if sex not in ("M", "F", "O"):
        raise ExamError(
            ExamProblem.MISSING_TAG,
            f"expected PatientSex (0010,0040) of M, F or O for SUV {norm.value}, got {sex or 'none'}",
        )
    size = sum(by_sex.values()) / 2.0 if sex == "O" else by_sex[sex]
    if size <= 0:
        raise ExamError(
            ExamProblem.BAD_VALUES,
            f"SUV {norm.value} is not defined for weight {weight} kg and height {height} cm (0010,1030, 0010,1020)",
        )
    return size * 1000.0


def _one_of_all(slices: Sequence[Any], keyword: str, tag: str) -> str:
    values = {str(getattr(s, keyword, "") or "").strip() for s in slices}
    if "" in values:
        raise ExamError(ExamProblem.MISSING_TAG, f"{keyword} ({tag}) is missing: SUV cannot be known without it")
    if len(values) > 1:
        raise ExamError(
            ExamProblem.BAD_VALUES,
            f"expected one {keyword} ({tag}) in a series, got {sorted(values)}: separate the series",
        )
    return values.pop()


def _number(value: Any) -> float | None:
    """A finite number of a DICOM value (numbers, strings, bytes of an unknown VR), or None."""
    if value is None or value == "":
        return None
    if isinstance(value, bytes):
        value = value.decode("ascii", errors="ignore").strip("\0 ")
    if isinstance(value, list | tuple) or (hasattr(value, "__iter__") and not isinstance(value, str)):
        value = next(iter(value), None)
    try:
        number = float(str(value).strip())
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None


def _slope(dataset: Any) -> float:
    slope = _positive(dataset, "RescaleSlope", "0028,1053", "export the series again")
    intercept = _number(getattr(dataset, "RescaleIntercept", None)) or 0.0
    if intercept != 0.0:
        raise ExamError(
            ExamProblem.BAD_VALUES,
            f"expected a RescaleIntercept (0028,1052) of 0 in a PET image, got {intercept}: export in BQML",
        )
    return slope


def _private_number(dataset: Any, tag: tuple[int, int]) -> float | None:
    """A positive number of a private tag, or None (Philips writes 0 where the factor is not known)."""
    element = dataset.get(tag) if hasattr(dataset, "get") else None
    number = _number(getattr(element, "value", None))
    return number if number is not None and number > 0 else None


def _radiopharmaceutical(dataset: Any) -> Any:
    sequence = getattr(dataset, "RadiopharmaceuticalInformationSequence", None)
    if not sequence:
        raise ExamError(
            ExamProblem.MISSING_TAG,
            "RadiopharmaceuticalInformationSequence (0054,0016) is missing: the dose is not known",
        )
    return sequence[0]


def _positive(dataset: Any, keyword: str, tag: str, remedy: str) -> float:
    number = _number(getattr(dataset, keyword, None))
    if number is None or number <= 0:
        raise ExamError(ExamProblem.MISSING_TAG, f"expected a positive {keyword} ({tag}), got {number}: {remedy}")
    return number


def _dose_bq(dataset: Any) -> float:
    """Injected dose in Bq; a number that can only be MBq is read as MBq."""
    dose = _positive(_radiopharmaceutical(dataset), "RadionuclideTotalDose", "0018,1074", "add the injected dose")
    if 1.0 <= dose < MBQ_BELOW_BQ:
        dose *= 1e6
    if not LOWEST_DOSE_BQ <= dose <= HIGHEST_DOSE_BQ:
        raise ExamError(
            ExamProblem.BAD_VALUES,
            f"RadionuclideTotalDose (0018,1074) of {dose:g} is neither Bq nor MBq: fix the injected dose",
        )
    return dose


def _weight_kg(dataset: Any) -> float:
    weight = _positive(dataset, "PatientWeight", "0010,1030", "add the weight")
    if weight > GRAMS_ABOVE_KG:
        weight /= 1000.0
    if not 0.4 <= weight <= 600.0:
        raise ExamError(
            ExamProblem.BAD_VALUES, f"PatientWeight (0010,1030) of {weight:g} kg is not a patient's: fix the weight"
        )
    return weight


def _height_cm(dataset: Any) -> float:
    height = _positive(dataset, "PatientSize", "0010,1020", "add the height")
    height_cm = height * 100.0 if height < 3.0 else height
    if not 30.0 <= height_cm <= 260.0:
        raise ExamError(
            ExamProblem.BAD_VALUES, f"PatientSize (0010,1020) of {height:g} is not a patient's in m: fix the height"
        )
    return height_cm


@cache
def _meaning_of_code(code: str) -> str:
    """Meaning of a radionuclide code of DICOM's context group 4020 (old SRT and new SCT values), or ''."""
    from pydicom.sr import _snomed_dict, codedict

    new = _snomed_dict.mapping["SRT"].get(code, code)
    for concept in codedict.codes.cid4020.concepts.values():
        if concept.value in (code, new):
            return str(concept.meaning)
    return ""


def nuclide_of(text: str) -> str | None:
    """A nuclide such as 'F18' named in a text ('^18^Fluorine', '18F', 'Ga-68', 'Germanium-68 ...'), or None."""
    names = {
        "fluorine": "F",
        "gallium": "Ga",
        "carbon": "C",
        "nitrogen": "N",
        "oxygen": "O",
        "copper": "Cu",
        "rubidium": "Rb",
    }
    names |= {"zirconium": "Zr", "iodine": "I", "yttrium": "Y", "scandium": "Sc"}
    text = text.replace("^", "").strip()
    match = re.search(r"(?<![0-9])(\d{2,3})[\s-]*([A-Za-z]+)|(?<![A-Za-z])([A-Za-z]+)[\s-]*(\d{2,3})(?![0-9])", text)
    if not match:
        return None
    mass, element = (match[1], match[2]) if match[1] else (match[4], match[3])
    symbol = names.get(element.lower(), element.capitalize() if len(element) <= 2 else "")
    nuclide = f"{symbol}{mass}"
    return nuclide if nuclide in HALF_LIVES_S else None


def _nuclide(dataset: Any) -> str | None:
    """The radionuclide, where its code and the code's text do not contradict one another."""
    sequence = getattr(_radiopharmaceutical(dataset), "RadionuclideCodeSequence", None)
    if not sequence:
        return None
    said = nuclide_of(str(getattr(sequence[0], "CodeMeaning", "") or ""))
    code = str(getattr(sequence[0], "CodeValue", "") or "").strip()
    meaning = _meaning_of_code(code) if code else ""
    coded = nuclide_of(meaning)
    if said is None:
        return coded
    return said if coded == said or not meaning else None


def _half_life_s(dataset: Any) -> float:
    """Half-life in s: as stated, or of the radionuclide's code; a statement that contradicts the code is refused."""
    stated = _number(getattr(_radiopharmaceutical(dataset), "RadionuclideHalfLife", None))
    nuclide = _nuclide(dataset)
    known = HALF_LIVES_S[nuclide] if nuclide else None
    if stated is None or stated <= 0:
        if known is None:
            raise ExamError(
                ExamProblem.MISSING_TAG,
                "RadionuclideHalfLife (0018,1075) is missing and RadionuclideCodeSequence (0054,0300) names no nuclide",
            )
        return known
    if known is not None and abs(stated / known - 1.0) > HALF_LIFE_TOLERANCE:
        raise ExamError(
            ExamProblem.BAD_VALUES,
            f"RadionuclideHalfLife (0018,1075) is {stated:g} s but {nuclide} has {known:g} s: fix the half-life",
        )
    return stated


def tracer_of(dataset: Any) -> str | None:
    """The tracer as the file names it: the radiopharmaceutical, else its code's text, else the nuclide; None where
    it does not."""
    sequence = getattr(dataset, "RadiopharmaceuticalInformationSequence", None)
    if not sequence:
        return None
    item = sequence[0]
    name = str(getattr(item, "Radiopharmaceutical", "") or "").strip()
    for keyword in ("RadiopharmaceuticalCodeSequence", "RadionuclideCodeSequence"):
        if not name and getattr(item, keyword, None):
            name = str(getattr(getattr(item, keyword)[0], "CodeMeaning", "") or "").strip()
    return name or None


# Times
# ------------------------------------------------------------------------------------------------------------------

_NO_DATE = datetime(1900, 1, 1)


def _parse_time(text: str) -> timedelta | None:
    digits = re.fullmatch(r"(\d{2})(\d{2})?(\d{2})?(\.\d+)?", text.strip().replace(":", ""))
    if not digits:
        return None
    hours, minutes, seconds = (int(digits[n] or 0) for n in (1, 2, 3))
    if hours > 23 or minutes > 59 or seconds > 60:
        return None
    return timedelta(hours=hours, minutes=minutes, seconds=seconds + float(digits[4] or 0.0))


def _parse_date(text: str) -> datetime | None:
    try:
        return datetime.strptime(text.strip().replace(".", ""), "%Y%m%d")
    except ValueError:
        return None


def _parse_datetime(text: str, local_offset: str) -> datetime | None:
    """A DICOM DT in the local time of the scanner, where the file says which that is."""
    match = re.fullmatch(r"(\d{8})(\d{2,6}(?:\.\d+)?)([+-]\d{4})?", text.strip("\0 "))
    if not match:
        return None
    date, time = _parse_date(match[1]), _parse_time(match[2])
    if date is None or time is None:
        return None
    moment = date + time
    if match[3] and re.fullmatch(r"[+-]\d{4}", local_offset):
        moment += _offset(local_offset) - _offset(match[3])
    return moment


def _offset(text: str) -> timedelta:
    sign = -1 if text[0] == "-" else 1
    return sign * timedelta(hours=int(text[1:3]), minutes=int(text[3:5]))


def _text(dataset: Any, keyword: str) -> str:
    return str(getattr(dataset, keyword, "") or "").strip()


def _moment(dataset: Any, kind: str) -> datetime | None:
    """`kind` Series or Acquisition: its date and time; a missing date is taken from the next one that is there."""
    if kind == "Acquisition" and (
        both := _parse_datetime(_text(dataset, "AcquisitionDateTime"), _text(dataset, "TimezoneOffsetFromUTC"))
    ):
        return both
    time = _parse_time(_text(dataset, f"{kind}Time"))
    if time is None:
        return None
    dates = (_parse_date(_text(dataset, f"{k}Date")) for k in (kind, "Acquisition", "Series", "Study", "Content"))
    return next((d for d in dates if d is not None), _NO_DATE) + time


def _average_activity_s(dataset: Any, half_life_s: float) -> float | None:
    """Seconds from a frame's start to the moment at which its activity equals the frame's mean (ln((L d)/(1 - e^(-L
    d)))/L)."""
    duration_ms = _number(getattr(dataset, "ActualFrameDuration", None))
    if duration_ms is None or duration_ms <= 0:
        return None
    decay = math.log(2.0) / half_life_s
    decayed = decay * duration_ms / 1000.0
    return math.log(decayed / -math.expm1(-decayed)) / decay


def _scan_start(slices: Sequence[Any], half_life_s: float) -> tuple[datetime, str]:
    """The moment that a START correction refers to, and by which rule it was found."""
    earliest = min(
        ((m, s) for s in slices if (m := _moment(s, "Acquisition")) is not None),
        key=lambda pair: pair[0],
        default=(None, slices[0]),
    )
    stated = _parse_datetime(_text(slices[0], "DecayCorrectionDateTime"), _text(slices[0], "TimezoneOffsetFromUTC"))
    if stated is not None:
        return stated, "decay to the stated moment (0018,9701) (START)"
    acquisition, dataset = earliest
    series = _moment(slices[0], "Series")
    if series is not None and (acquisition is None or series <= acquisition + timedelta(milliseconds=1)):
        return series, "decay to series time (START)"
    for s in slices:
        if (private := _ge_scan_moment(s)) is not None:
            return private, "decay to GE scan time (0009,100D) (START)"
    if acquisition is None:
        raise ExamError(
            ExamProblem.MISSING_TAG,
            "SeriesTime (0008,0031) and AcquisitionTime (0008,0032) are missing: the scan's time is not known",
        )
    average_s = _average_activity_s(dataset, half_life_s)
    reference_ms = _number(getattr(dataset, "FrameReferenceTime", None))
    if average_s is not None and reference_ms is not None and reference_ms > 0:
        return (
            acquisition + timedelta(seconds=average_s - reference_ms / 1000.0),
            "decay to acquisition time less frame reference time (START)",
        )
    return acquisition, "decay to earliest acquisition time (START)"


def _ge_scan_moment(dataset: Any) -> datetime | None:
    """GE's private scan date and time: (0009,xx0D) of the block of GEMS_PETD_01, or at (0009,100D) where the creator
    was lost."""
    if not hasattr(dataset, "get"):
        return None
    for block in (0x10, *range(0x11, 0x20)):
        creator = dataset.get((0x0009, block))
        if block != 0x10 and (creator is None or "GEMS_PETD" not in str(creator.value)):
            continue
        element = dataset.get((0x0009, block << 8 | GE_SCAN_DATETIME))
        if element is None:
            continue
        value = (
            element.value.decode("ascii", errors="ignore") if isinstance(element.value, bytes) else str(element.value)
        )
        if (moment := _parse_datetime(value, _text(dataset, "TimezoneOffsetFromUTC"))) is not None:
            return moment
    return None


def _mean_activity_moment(dataset: Any, half_life_s: float) -> datetime:
    acquisition, average_s = _moment(dataset, "Acquisition"), _average_activity_s(dataset, half_life_s)
    if acquisition is None:
        raise ExamError(
            ExamProblem.MISSING_TAG,
            "AcquisitionTime (0008,0032) is missing, needed where DecayCorrection (0054,1102) is NONE",
        )
    if average_s is None:
        raise ExamError(
            ExamProblem.MISSING_TAG,
            "ActualFrameDuration (0018,1242) is missing, needed where DecayCorrection (0054,1102) is NONE",
        )
    return acquisition + timedelta(seconds=average_s)


def _uptake_s(scan: datetime, dataset: Any, half_life_s: float) -> float:
    """Seconds from injection to `scan`: by the full date and time where given, else by the time of day, across
    midnight if need be."""
    item = _radiopharmaceutical(dataset)
    full = _parse_datetime(_text(item, "RadiopharmaceuticalStartDateTime"), _text(dataset, "TimezoneOffsetFromUTC"))
    if full is not None and scan.year == _NO_DATE.year:
        full = None  # No date in the series: only the time of day can be compared.
    if full is not None:
        uptake_s = (scan - full).total_seconds()
    else:
        time = _parse_time(
            _text(item, "RadiopharmaceuticalStartTime") or _text(item, "RadiopharmaceuticalStartDateTime")[8:]
        )
        if time is None:
            raise ExamError(
                ExamProblem.MISSING_TAG,
                "RadiopharmaceuticalStartDateTime (0018,1078) and RadiopharmaceuticalStartTime (0018,1072) are missing",
            )
        uptake_s = (scan - (scan.replace(hour=0, minute=0, second=0, microsecond=0) + time)).total_seconds()
        if uptake_s < 0:
            uptake_s += 86400.0
    if not 0 <= uptake_s <= LONGEST_UPTAKE_HALF_LIVES * half_life_s:
        raise ExamError(
            ExamProblem.BAD_VALUES,
            f"{uptake_s / 60:.0f} min from injection (0018,1078 or 0018,1072) to scan (0008,0031) with a half-life of"
            f" {half_life_s:g} s: fix the times",
        )
    return uptake_s


def _uptake_or_none(slices: Sequence[Any], half_life_s: float) -> float | None:
    """Uptake time for the record, where nothing rests on it."""
    try:
        scan, _ = _scan_start(slices, half_life_s)
        return _uptake_s(scan, slices[0], half_life_s)
    except ExamError:
        return None
