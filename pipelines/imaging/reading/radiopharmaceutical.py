"""What was injected, as RadiopharmaceuticalInformationSequence (0054,0016) states it: dose, nuclide, half-life,
times."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache

from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset

from pipelines.imaging.problems import ExamError
from pipelines.imaging.reading.values import (
    agreed_number,
    agreed_text,
    items_of,
    number_of,
    text_of,
    value_of,
)
from pipelines.tables.exam_problems import ExamProblem

HALF_LIVES_S = {
    "C11": 1221.8,
    "N13": 597.9,
    "O15": 122.24,
    "F18": 6586.2,
    "Sc43": 14007.6,
    "Sc44": 14292.0,
    "Mn52": 483062.4,
    "Co55": 63108.0,
    "Cu60": 1422.0,
    "Cu61": 12020.4,
    "Cu62": 580.4,
    "Cu64": 45723.6,
    "Ga66": 34164.0,
    "Ga68": 4057.74,
    "Br75": 5802.0,
    "Br76": 58320.0,
    "Rb82": 75.45,
    "Y86": 53064.0,
    "Y90": 230400.0,
    "Zr89": 282276.0,
    "Tc94m": 3120.0,
    "I120": 4896.0,
    "I122": 217.8,
    "I124": 360806.4,
    "Tb152": 63000.0,
}
"""Nuclides that are imaged by PET, in s. Source: MIRDsoft and NNDC."""
HALF_LIFE_TOLERANCE = 0.05
"""Relative difference of a stated half-life and the nuclide's: tables differ by less than a hundredth."""
LOWEST_DOSE_BQ, HIGHEST_DOSE_BQ = 1e6, 1e10
"""Below 1 MBq nothing is seen; the highest doses, of O-15 and Rb-82, are 1 to 3 GBq."""
DOSE_UNITS = {"Bq": 1.0, "MBq": 1e6, "kBq": 1e3, "mCi": 3.7e7}
"""Units in which doses are written; the standard's first, then the one that is met most."""

_SEQUENCE = 0x00540016
_ELEMENTS = {
    "fluorine": "F",
    "gallium": "Ga",
    "carbon": "C",
    "nitrogen": "N",
    "oxygen": "O",
    "copper": "Cu",
    "rubidium": "Rb",
    "zirconium": "Zr",
    "iodine": "I",
    "yttrium": "Y",
    "scandium": "Sc",
    "manganese": "Mn",
    "cobalt": "Co",
    "bromine": "Br",
    "terbium": "Tb",
    "technetium": "Tc",
}
_NUCLIDE = re.compile(
    r"(?<![0-9])(\d{2,3}m?)[\s-]*([A-Za-z]+)|(?<![A-Za-z])([A-Za-z]+)[\s-]*(\d{2,3}m?)(?![0-9])",
)


@dataclass(frozen=True)
class Injection:
    """One administration, with what is not stated as None or ''. `nuclide` as its codes and names say it alike;
    `other_nuclide`: what the name of the drug says instead."""

    dose: float | None
    half_life_s: float | None
    nuclide: str | None
    other_nuclide: str | None
    tracer: str
    start_datetime: str
    start_time: str


def injection_of(slices: Sequence[Dataset]) -> tuple[Injection, ...]:
    """The administrations of a series, one or several of a split dose.

    Raises:
        ExamError(MISSING_TAG): none is stated; BAD_VALUES: slices state different ones, or there are several that are
            no split dose of one nuclide.
    """
    stated: dict[tuple[Injection, ...], None] = {}
    for injections in _of_each_form(slices):
        stated[injections] = None
    stated.pop((), None)
    if not stated:
        raise ExamError(
            ExamProblem.MISSING_TAG,
            "RadiopharmaceuticalInformationSequence (0054,0016) is missing or empty: the dose is not known; export the"
            " series with it",
        )
    if len({len(injections) for injections in stated}) > 1:
        raise ExamError(
            ExamProblem.BAD_VALUES,
            "slices of the series have different numbers of items in RadiopharmaceuticalInformationSequence"
            " (0054,0016): correct it, or separate the series",
        )
    agreed = tuple(_agreed(forms) for forms in zip(*stated, strict=True))
    return agreed if len(agreed) == 1 else _split_dose(agreed)


def _of_each_form(slices: Sequence[Dataset]) -> list[tuple[Injection, ...]]:
    """The administrations of the slices, once for each form in which the sequence is written: bytes that are equal are
    not read again."""
    read: dict[bytes, None] = {}
    found = []
    for dataset in slices:
        raw = dataset.get_item(_SEQUENCE, keep_deferred=True)
        if isinstance(raw, RawDataElement) and isinstance(raw.value, bytes):
            if raw.value in read:
                continue
            read[raw.value] = None
        items = (_injection(item) for item in items_of(dataset, "RadiopharmaceuticalInformationSequence"))
        found.append(tuple(i for i in items if i.dose or i.half_life_s or i.start_datetime or i.start_time))
    return found


def _injection(item: Dataset) -> Injection:
    code = next(iter(items_of(item, "RadionuclideCodeSequence")), None)
    drug = next(iter(items_of(item, "RadiopharmaceuticalCodeSequence")), None)
    names = [text_of(item, "Radiopharmaceutical"), text_of(drug, "CodeMeaning") if drug is not None else ""]
    coded = _coded_nuclide(code) if code is not None else None
    named = next((n for n in map(nuclide_of, names) if n), None)
    tracers = [*names, text_of(code, "CodeMeaning") if code is not None else ""]
    return Injection(
        dose=number_of(item, "RadionuclideTotalDose"),
        half_life_s=number_of(item, "RadionuclideHalfLife"),
        nuclide=coded or named,
        other_nuclide=named if coded and named != coded else None,
        tracer=next((t for t in tracers if t), ""),
        start_datetime=text_of(item, "RadiopharmaceuticalStartDateTime"),
        start_time=text_of(item, "RadiopharmaceuticalStartTime"),
    )


def _agreed(forms: Sequence[Injection]) -> Injection:
    """One administration as the slices of a series state it."""
    return Injection(
        dose=agreed_number((f.dose for f in forms), "RadionuclideTotalDose"),
        half_life_s=agreed_number((f.half_life_s for f in forms), "RadionuclideHalfLife"),
        nuclide=agreed_text((f.nuclide or "" for f in forms), "RadionuclideCodeSequence") or None,
        other_nuclide=next((f.other_nuclide for f in forms if f.other_nuclide), None),
        tracer=next((f.tracer for f in forms if f.tracer), ""),
        start_datetime=agreed_text((f.start_datetime for f in forms), "RadiopharmaceuticalStartDateTime"),
        start_time=agreed_text((f.start_time for f in forms), "RadiopharmaceuticalStartTime"),
    )


def _split_dose(injections: tuple[Injection, ...]) -> tuple[Injection, ...]:
    """The parts of a split dose; parts that state no half-life or name have those of another.

    Raises:
        ExamError(BAD_VALUES): they are of several nuclides, one has no dose, or one dose is written twice.
    """
    half_lives = [i.half_life_s for i in injections if i.half_life_s]
    nuclides = {i.nuclide for i in injections if i.nuclide}
    where = "items in RadiopharmaceuticalInformationSequence (0054,0016)"
    if len(nuclides) > 1 or (half_lives and max(half_lives) > (1 + HALF_LIFE_TOLERANCE) * min(half_lives)):
        raise ExamError(
            ExamProblem.BAD_VALUES,
            f"got {len(injections)} {where} of different nuclides: leave the one that the image shows",
        )
    if any(not i.dose for i in injections):
        raise ExamError(
            ExamProblem.MISSING_TAG,
            f"expected a RadionuclideTotalDose (0018,1074) in each of {len(injections)} {where}: add the injected dose",
        )
    if len(set(injections)) < len(injections):
        raise ExamError(
            ExamProblem.BAD_VALUES,
            f"got {len(injections)} equal {where}, which may be one dose written twice or parts of a split dose: leave"
            " one item with the whole dose, or give the parts their times",
        )
    half_life, nuclide = next(iter(half_lives), None), next(iter(nuclides), None)
    return tuple(replace(i, half_life_s=i.half_life_s or half_life, nuclide=i.nuclide or nuclide) for i in injections)


def half_life_s_of(injection: Injection) -> float:
    """Half-life in s: as stated, or of the nuclide.

    Raises:
        ExamError(MISSING_TAG): neither is stated; BAD_VALUES: they contradict one another, or the half-life is that of
            no nuclide that is imaged by PET (it is in minutes, say).
    """
    stated, nuclide = injection.half_life_s, injection.nuclide
    known = HALF_LIVES_S[nuclide] if nuclide else None
    if stated is None or stated <= 0:
        if known is None:
            raise ExamError(
                ExamProblem.MISSING_TAG,
                "RadionuclideHalfLife (0018,1075) is missing and RadionuclideCodeSequence (0054,0300) names no nuclide:"
                " add one of them",
            )
        return known
    if known is not None and not _alike(stated, known):
        raise ExamError(
            ExamProblem.BAD_VALUES,
            f"RadionuclideHalfLife (0018,1075) is {stated:g} s but {nuclide} has {known:g} s: fix the half-life",
        )
    if injection.other_nuclide:
        raise ExamError(
            ExamProblem.BAD_VALUES,
            f"RadionuclideCodeSequence (0054,0300) says {nuclide}, the radiopharmaceutical (0018,0031)"
            f" {injection.other_nuclide}: correct one of them",
        )
    if not any(_alike(stated, half_life_s) for half_life_s in HALF_LIVES_S.values()):
        raise ExamError(
            ExamProblem.BAD_VALUES,
            f"expected a RadionuclideHalfLife (0018,1075) of a PET nuclide in s (F-18: 6586), got {stated:g}: fix the"
            " half-life",
        )
    return stated


def _alike(stated: float, known: float) -> bool:
    return abs(stated / known - 1.0) <= HALF_LIFE_TOLERANCE


def dose_units_of(dose: float | None) -> tuple[str, ...]:
    """The units in which a number can be an injected dose, the likeliest first; Bq alone wherever it can be Bq.

    Raises:
        ExamError(MISSING_TAG): it is missing, zero or negative; BAD_VALUES: it is no dose in any unit.
    """
    if dose is None or dose <= 0:
        raise ExamError(
            ExamProblem.MISSING_TAG,
            f"expected a positive RadionuclideTotalDose (0018,1074), got {'none' if dose is None else f'{dose:g}'}: add"
            " the injected dose",
        )
    units = tuple(u for u, bq in DOSE_UNITS.items() if LOWEST_DOSE_BQ <= dose * bq <= HIGHEST_DOSE_BQ)
    if not units:
        raise ExamError(
            ExamProblem.BAD_VALUES,
            f"RadionuclideTotalDose (0018,1074) of {dose:g} is no dose in {', '.join(DOSE_UNITS)}: fix the injected"
            " dose",
        )
    return units[:1] if units[0] == "Bq" else units


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
    """A PET nuclide such as 'F18' named in a text ('^18^Fluorine', '18F', 'Ga-68', 'Germanium-68 ...'), or None."""
    for match in _NUCLIDE.finditer(text.replace("^", "").strip()):
        mass, element = (match[1], match[2]) if match[1] else (match[4], match[3])
        symbol = _ELEMENTS.get(element.lower(), element.capitalize() if len(element) <= 2 else "")
        if f"{symbol}{mass}" in HALF_LIVES_S:
            return f"{symbol}{mass}"
    return None


def _coded_nuclide(code: Dataset) -> str | None:
    """The nuclide of a code, where its value and its text do not contradict one another."""
    said = nuclide_of(text_of(code, "CodeMeaning"))
    value = text_of(code, "CodeValue")
    meaning = _meaning_of_code(value) if value else ""
    coded = nuclide_of(meaning)
    if said is None:
        return coded
    return said if coded == said or not meaning else None


def tracer_of(dataset: Dataset) -> str | None:
    """The tracer as the file names it: the radiopharmaceutical, else its code's text, else the nuclide; None where
    it does not."""
    if value_of(dataset, "RadiopharmaceuticalInformationSequence") is None:
        return None
    items = map(_injection, items_of(dataset, "RadiopharmaceuticalInformationSequence"))
    return next((i.tracer for i in items if i.tracer), None)
