"""SUV of a PET in activity whose JSON file says dose, weight and times, as BIDS-PET names them.

SUV = activity * weight / dose, the dose decayed from the injection to the time that the image is corrected to
(BIDS 1.10, Positron Emission Tomography; times are in s from TimeZero).
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pipelines.imaging.problems import ExamError
from pipelines.imaging.reading.radiopharmaceutical import DOSE_UNITS, HALF_LIVES_S
from pipelines.tables.exam_problems import ExamProblem

ACTIVITY_UNITS: Mapping[str, float] = {"bq/ml": 1.0, "kbq/ml": 1e3, "mbq/ml": 1e6}
"""Units of an image in lower case without blanks, in Bq/mL."""
_NEEDED = (
    *("InjectedRadioactivity", "InjectedRadioactivityUnits", "PatientWeight", "TracerRadionuclide"),
    *("InjectionStart", "ImageDecayCorrected", "ImageDecayCorrectionTime"),
)
_HEAVIEST_KG = 400.0
_LONGEST_UPTAKE_S = 86_400.0


@dataclass(frozen=True)
class SidecarScale:
    """What a sidecar says: SUV = stored value * factor, and the facts of it."""

    factor: float
    injected_dose_bq: float
    weight_kg: float
    half_life_s: float
    uptake_s: float
    tracer: str | None


def suv_of_sidecar(content: Mapping[str, Any], unit: str) -> SidecarScale:
    """The factor to SUV by body weight.

    Args:
        content: attributes of the sidecar.
        unit: key of ACTIVITY_UNITS.

    Raises:
        ExamError(MISSING_TAG | BAD_VALUES | NOT_CORRECTED): an attribute that the factor needs is missing or
            impossible; the message names all that are missing.
    """
    missing = [name for name in _NEEDED if content.get(name) in (None, "", [])]
    if missing:
        raise ExamError(
            ExamProblem.MISSING_TAG,
            f"lacks {', '.join(missing)}: add them (weight in kg, times in s from TimeZero), or give SUV.nii.gz or the"
            " DICOM series",
        )
    if content["ImageDecayCorrected"] is not True:
        raise ExamError(ExamProblem.NOT_CORRECTED, "says that the image is not decay corrected: reconstruct it with it")
    dose_unit = str(content["InjectedRadioactivityUnits"]).strip()
    units = {name.lower(): value for name, value in DOSE_UNITS.items()} | {"bq": 1.0}
    if dose_unit.lower() not in units:
        raise ExamError(ExamProblem.BAD_VALUES, f"has a dose in none of {', '.join(sorted(units))}: give it in MBq")
    nuclide = "".join(re.findall(r"[A-Za-z]+|\d+m?", str(content["TracerRadionuclide"])))
    turned = re.fullmatch(r"(\d+m?)([A-Za-z]+)", nuclide)
    nuclide = f"{turned[2]}{turned[1]}" if turned else nuclide
    half_life = next((s for name, s in HALF_LIVES_S.items() if name.lower() == nuclide.lower()), None)
    if half_life is None:
        raise ExamError(
            ExamProblem.BAD_VALUES, "has a TracerRadionuclide that is not known (F18, Ga68, ...): correct it"
        )
    dose, weight, injected, corrected = (
        _number(content, name)
        for name in ("InjectedRadioactivity", "PatientWeight", "InjectionStart", "ImageDecayCorrectionTime")
    )
    dose *= units[dose_unit.lower()]
    if not (dose > 0 and 0 < weight <= _HEAVIEST_KG):
        raise ExamError(
            ExamProblem.BAD_VALUES,
            f"has a dose of {dose:g} Bq and a weight of {weight:g} kg: correct what is impossible",
        )
    uptake = corrected - injected
    if abs(uptake) > _LONGEST_UPTAKE_S:
        raise ExamError(
            ExamProblem.BAD_VALUES,
            f"is corrected to {uptake:g} s after the injection: give both times in s from TimeZero",
        )
    at_image = dose * math.exp2(-uptake / half_life)
    factor = ACTIVITY_UNITS[unit] * weight * 1000 / at_image
    tracer = content.get("TracerName")
    return SidecarScale(factor, dose, weight, half_life, uptake, tracer if isinstance(tracer, str) else None)


def _number(content: Mapping[str, Any], name: str) -> float:
    value = content[name]
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    try:
        number = float(value) if isinstance(value, int | float) and not isinstance(value, bool) else math.nan
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise ExamError(ExamProblem.BAD_VALUES, f"has no number for {name}: correct it")
    return number
