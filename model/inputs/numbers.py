"""Measured numbers in texts: taken out of what a model learns, put into what it says."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from model.petar.config import NUMBER_TOKEN

_VALUE = r"(?:\[#\]|\d+(?:\.\d+)?)"
# Not numbers that name anatomy: L5, segment 7, station 4R, 10th rib.
_NAMES_ANATOMY = "".join(
    rf"(?<!{word} )" for word in ("segment", "segments", "station", "level", "zone", "rib", "grade")
)
_NUMBER = rf"(?<![A-Za-z\d.]){_NAMES_ANATOMY}{_VALUE}(?![A-Za-z\d]|\.\d)"
_SUV = r"\b(?:SUV(?:[ _-]?(?:max|mean|peak|bw|lbm))?|SUL(?:max|peak)?)\b"
_UNITS = r"cm|mm|mL|cc|HU|hounsfield\s+units?|g/mL|%|percent"
_EARLIER = r"\b(?:previously|formerly|prior(?:\s+value)?|compared\s+(?:to|with)|from)\b"

_MEASURED = re.compile(
    "|".join(
        (
            rf"(?P<suv>{_SUV}(?:(?!{_SUV}|{_EARLIER})[^\d.;\[])*?)(?P<suv_value>{_NUMBER})",
            rf"(?P<slice>\b(?:slices?|images?|im)\b(?:\s*(?:number|no\.?|of|at|on|[:=#(]))*\s*)(?P<slice_value>{_NUMBER})",
            rf"(?P<size>(?<![A-Za-z\d.]){_VALUE}(?:\s*(?:cm|mm)?\s*[x×]\s*{_VALUE})*)(?P<unit>\s*-?\s*(?:{_UNITS})(?![A-Za-z]))",
            rf"(?P<earlier>{_EARLIER}[^\d.;\[]{{0,20}}?)(?P<earlier_value>{_NUMBER})",
            # Anatomy has no decimals: what is left with one was measured too.
            r"(?P<decimal>(?<![A-Za-z\d.])\d+\.\d+(?![A-Za-z\d]|\.\d))",
        )
    ),
    re.IGNORECASE,
)
_MM_PER_UNIT = {"mm": 1.0, "cm": 10.0}


@dataclass(frozen=True)
class Measured:
    """What is known of a lesion from its mask and its row; None where it is not."""

    suvmax: float | None = None
    slice: int | None = None
    suvmean: float | None = None
    suvpeak: float | None = None
    diameter_mm: float | None = None
    mtv_ml: float | None = None


def mask_measured_numbers(text: str) -> str:
    """The text with `[#]` for every SUV, slice and size, earlier ones too. Numbers that name anatomy stay: L5, segment
    7.
    """

    def masked(match: re.Match[str]) -> str:
        if match["size"]:
            return re.sub(_VALUE, lambda _: NUMBER_TOKEN, match["size"]) + match["unit"]
        return (match["suv"] or match["slice"] or match["earlier"] or "") + NUMBER_TOKEN

    return _MEASURED.sub(masked, text)


def put_in_measured(text: str, measured: Measured) -> str:
    """The text with measured values in place of the numbers after SUV and slice words and before units of size.

    Numbers and `[#]` alike are replaced. A number whose measured value is unknown, an earlier exam's among them,
    becomes `[#]`: what the model guessed never passes for a measurement. Sizes in several dimensions become the largest
    diameter.
    """
    return _MEASURED.sub(lambda match: _put_in(match, measured), text)


def _put_in(match: re.Match[str], measured: Measured) -> str:
    if match["suv"]:
        words = match["suv"].lower()
        value = measured.suvmean if "mean" in words else measured.suvpeak if "peak" in words else measured.suvmax
        return match["suv"] + (NUMBER_TOKEN if value is None else f"{value:.1f}")
    if match["slice"]:
        return match["slice"] + (NUMBER_TOKEN if measured.slice is None else str(measured.slice))
    if match["size"]:
        return _size(match["unit"], measured) + match["unit"]
    return (match["earlier"] or "") + NUMBER_TOKEN


def _size(words: str, measured: Measured) -> str:
    unit = words.strip(" -").lower()
    if unit in _MM_PER_UNIT and measured.diameter_mm is not None:
        return f"{measured.diameter_mm / _MM_PER_UNIT[unit]:.{0 if unit == 'mm' else 1}f}"
    if unit in ("ml", "cc") and measured.mtv_ml is not None:
        return f"{measured.mtv_ml:.1f}"
    return NUMBER_TOKEN


def measured_of(row: Mapping[str, Any]) -> Measured:
    """The measured values that a row of `samples` (or of `lesions`) carries."""
    return Measured(
        **{name: row.get(name) for name in ("suvmax", "slice", "suvmean", "suvpeak", "diameter_mm", "mtv_ml")}
    )
