"""The draft report as a FHIR R4 bundle, and our own checks of its codes and references.

Libraries accept wrong codes, so `check_bundle` looks at what a receiver relies on: value sets, codes with their check
digits and meanings, numbers with the unit of what they measure, dates, that each reference names a resource of the
bundle and each observation is referred to, and that a draft says that it is one.
"""

import math
import re
import uuid
from collections.abc import Iterator, Mapping
from datetime import date
from typing import Any

from pipelines.exports.anatomic_codes import known_codes, place_code, side_code
from pipelines.exports.exam_report import DRAFT, Burden, ExamReport, ReportLesion, place_words

LOINC, SNOMED = "http://loinc.org", "http://snomed.info/sct"
DCM, UCUM = "http://dicom.nema.org/resources/ontology/DCM", "http://unitsofmeasure.org"
_CATEGORY = "http://terminology.hl7.org/CodeSystem/observation-category"
_SECTION = "http://terminology.hl7.org/CodeSystem/v2-0074"
_UIDS = "urn:dicom:uid"
_MEASURES = (
    ("suvmax", "SUVmax", "126401", "SUVbw", "{SUVbw}g/ml"),
    ("suvmean", "SUVmean", "126401", "SUVbw", "{SUVbw}g/ml"),
    ("suvpeak", "SUVpeak", "126401", "SUVbw", "{SUVbw}g/ml"),
    ("mtv_ml", "Metabolic volume", "126032", "Metabolic Volume", "mL"),
    ("tlg", "Total lesion glycolysis", "126033", "Total Lesion Glycolysis", "g"),
)
"""Column, text, code and meaning in DICOM's own terminology (PS3.16), unit."""
_NAMES = uuid.UUID("b3a6f7de-54ad-5f0c-9d3b-6a86b1a8f0c4")
"""Namespace of the ids of resources, so that one exam has the same ids in each export."""


def fhir_bundle(report: ExamReport, study_uid: str | None, series: Mapping[str, str] | None = None) -> dict[str, Any]:
    """The bundle: DiagnosticReport, Patient, an Observation a lesion and one of the burden, ImagingStudy where the
    exam's study has a UID.

    Args:
        report: the draft.
        study_uid: Study Instance UID of the exam; null where it did not come as DICOM.
        series: series UID -> its modality (PT, SEG, SR).
    """
    exam = report.exam
    patient, whole = _id("Patient", exam.patient_id), _id("DiagnosticReport", exam.exam_id)
    subject = {"reference": patient}
    observations = {
        _id("Observation", lesion.finding_id): _lesion(lesion, exam.study_date) for lesion in report.lesions
    }
    observations[_id("Observation", f"{exam.exam_id} burden")] = _burden(report.burden, exam.study_date)
    for observation in observations.values():
        observation["subject"] = subject
    diagnostic: dict[str, Any] = {
        "resourceType": "DiagnosticReport",
        "status": "preliminary",
        "category": [_concept(_SECTION, "NMS", "Nuclear Medicine Scan")],
        "code": _concept(LOINC, "44139-4", "PET whole body"),
        "subject": subject,
        "result": [{"reference": name} for name in observations],
        "conclusion": f"{report.status} {report.text_source}\n{report.text}",
    }
    if exam.study_date:
        diagnostic["effectiveDateTime"] = exam.study_date
    resources = {whole: diagnostic, patient: _patient(exam.patient_id), **observations}
    if study_uid is not None:
        study = _id("ImagingStudy", study_uid)
        diagnostic["imagingStudy"] = [{"reference": study}]
        resources[study] = {
            "resourceType": "ImagingStudy",
            "status": "available",
            "subject": subject,
            "identifier": [{"system": _UIDS, "value": f"urn:oid:{study_uid}"}],
            "series": [
                {"uid": uid, "modality": {"system": "http://dicom.nema.org/resources/ontology/DCM", "code": modality}}
                for uid, modality in (series or {}).items()
            ],
        }
    entries = [{"fullUrl": name, "resource": resource} for name, resource in resources.items()]
    return {"resourceType": "Bundle", "type": "collection", "entry": entries}


def _id(kind: str, name: str) -> str:
    return f"urn:uuid:{uuid.uuid5(_NAMES, f'{kind} {name}')}"


def _concept(system: str, code: str, display: str, text: str | None = None) -> dict[str, Any]:
    made: dict[str, Any] = {"coding": [{"system": system, "code": code, "display": display}]}
    return made | ({"text": text} if text else {})


def _patient(patient_id: str) -> dict[str, Any]:
    return {"resourceType": "Patient", "identifier": [{"system": "urn:petar:patient", "value": patient_id}]}


def _quantity(value: float, unit: str) -> dict[str, Any]:
    return {"value": round(float(value), 4), "unit": unit, "system": UCUM, "code": unit}


def _component(code: str, display: str, text: str, value: float, unit: str) -> dict[str, Any]:
    return {"code": _concept(DCM, code, display, text), "valueQuantity": _quantity(value, unit)}


def _observation(code: dict[str, Any], day: str | None) -> dict[str, Any]:
    made: dict[str, Any] = {
        "resourceType": "Observation",
        "status": "preliminary",
        "category": [_concept(_CATEGORY, "imaging", "Imaging")],
        "code": code,
    }
    return made | ({"effectiveDateTime": day} if day else {})


def _lesion(lesion: ReportLesion, day: str | None) -> dict[str, Any]:
    is_lesion = not lesion.is_physiologic
    code = _concept(SNOMED, "52988006", "Lesion") if is_lesion else {"text": "Physiologic uptake"}
    made = _observation(code, day)
    made["identifier"] = [{"system": "urn:petar:finding", "value": lesion.finding_id}]
    place, side = place_code(lesion.organ, lesion.region), side_code(lesion.laterality)
    codes = [{"system": SNOMED, "code": c.value, "display": c.meaning} for c in (place, side) if c is not None]
    words = place_words(lesion.organ, lesion.subsite, lesion.laterality)
    if place is not None:
        made["bodySite"] = {"coding": codes[:1], **({"text": words} if words else {})}
    made["component"] = [
        _component(code, display, text, getattr(lesion, name), unit)
        for name, text, code, display, unit in _MEASURES
        if getattr(lesion, name) is not None
    ]
    if side is not None:
        laterality = _concept(SNOMED, "272741003", "Laterality")
        made["component"].append({"code": laterality, "valueCodeableConcept": {"coding": codes[-1:]}})
    made["note"] = [{"text": lesion.sentence}]
    return made


def _burden(burden: Burden, day: str | None) -> dict[str, Any]:
    made = _observation({"text": "Tumour burden without physiologic uptake"}, day)
    made["component"] = [
        {"code": {"text": "Number of lesions"}, "valueInteger": burden.n_lesions},
        _component("126032", "Metabolic Volume", "Total metabolic volume", burden.mtv_ml, "mL"),
    ]
    if burden.tlg is not None:
        made["component"].append(
            _component("126033", "Total Lesion Glycolysis", "Total lesion glycolysis", burden.tlg, "g")
        )
    return made


# --- checks ---

_TYPES = ("DiagnosticReport", "Observation", "ImagingStudy", "Patient")
_STATUS = {
    "DiagnosticReport": (
        "registered", "partial", "preliminary", "final", "amended", "corrected", "appended", "cancelled",
        "entered-in-error", "unknown",
    ),
    "Observation": (
        "registered", "preliminary", "final", "amended", "corrected", "cancelled", "entered-in-error", "unknown",
    ),
    "ImagingStudy": ("registered", "available", "cancelled", "entered-in-error", "unknown"),
}  # fmt: skip
"""Required value sets of FHIR R4 (4.0.1)."""
_REQUIRED = {
    "DiagnosticReport": ("status", "code", "subject", "result"),
    "Observation": ("status", "code", "subject"),
    "ImagingStudy": ("status", "subject"),
    "Patient": ("identifier",),
}
_CODES: Mapping[str, Mapping[str, str | None]] = {
    _CATEGORY: {"imaging": "Imaging"},
    _SECTION: {"NMS": "Nuclear Medicine Scan"},
    DCM: {code: meaning for _, _, code, meaning, _ in _MEASURES} | dict.fromkeys(("PT", "CT", "SEG", "SR")),
    LOINC: {"44139-4": "PET whole body"},
    SNOMED: known_codes() | {"52988006": "Lesion", "272741003": "Laterality"},
}
"""Codes that we write, with their meanings."""
_UNITS = {code: unit for _, _, code, _, unit in _MEASURES}
"""Of each measure its unit in UCUM."""
_UUID = re.compile(r"urn:uuid:[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_UID = re.compile(r"(?:urn:oid:)?(?:0|[1-9]\d*)(?:\.(?:0|[1-9]\d*))+")


def check_bundle(bundle: Mapping[str, Any]) -> list[str]:
    """What is wrong with a bundle, each with its place; empty where nothing is."""
    wrong: list[str] = []
    if (bundle.get("resourceType"), bundle.get("type")) != ("Bundle", "collection"):
        wrong.append("expected a Bundle of type collection")
    entries = [entry for entry in bundle.get("entry", ()) if isinstance(entry.get("resource"), Mapping)]
    if len(entries) < len(bundle.get("entry", ())):
        wrong.append("expected a resource in each entry")
    names = [entry.get("fullUrl", "") for entry in entries]
    wrong += [f"entry {name!r}: expected urn:uuid of a UUID" for name in names if not _UUID.fullmatch(name)]
    if len(set(names)) < len(names):
        wrong.append("expected every fullUrl once")
    kinds = {name: entry.get("resource", {}).get("resourceType") for name, entry in zip(names, entries)}
    for kind in ("DiagnosticReport", "Patient"):
        if list(kinds.values()).count(kind) != 1:
            wrong.append(f"expected one {kind}")
    results = [
        str(result.get("reference"))
        for entry in entries
        for result in _items(entry["resource"].get("result"))
        if entry["resource"].get("resourceType") == "DiagnosticReport"
    ]
    observed = [name for name, kind in kinds.items() if kind == "Observation"]
    wrong += [f"Observation {name}: expected one result that names it" for name in observed if results.count(name) != 1]
    for name, entry in zip(names, entries):
        resource = entry["resource"]
        wrong += [f"{resource.get('resourceType')} {name}: {fault}" for fault in _faults(resource, kinds)]
    return wrong


def _faults(resource: Mapping[str, Any], kinds: Mapping[str, str | None]) -> Iterator[str]:
    kind = resource.get("resourceType")
    if kind not in _TYPES:
        yield f"expected one of {', '.join(_TYPES)}"
        return
    for name in _REQUIRED[kind]:
        if not resource.get(name):
            yield f"lacks {name}"
    status = resource.get("status")
    if kind in _STATUS and status not in _STATUS[kind]:
        yield f"status {status!r} is not in its value set"
    elif kind in ("DiagnosticReport", "Observation") and status != "preliminary":
        yield f"status {status!r}: a draft is preliminary"
    if kind == "DiagnosticReport" and DRAFT not in str(resource.get("conclusion")):
        yield "its conclusion does not say that it is a draft"
    if kind == "Observation" and not resource.get("component"):
        yield "lacks component"
    wanted = {"subject": "Patient", "result": "Observation", "imagingStudy": "ImagingStudy"}
    for name, target in wanted.items():
        for reference in _items(resource.get(name)):
            if kinds.get(str(reference.get("reference"))) != target:
                yield f"{name} {reference.get('reference')!r} is no {target} of the bundle"
    if "effectiveDateTime" in resource and not _is_day(resource["effectiveDateTime"]):
        yield f"effectiveDateTime {resource['effectiveDateTime']!r} is no day"
    for path, value in _walk(resource, ""):
        if isinstance(value, Mapping):
            yield from (f"{path}: {fault}" for fault in _value_faults(path, value))
    if kind == "ImagingStudy":
        uids = [one.get("value", "") for one in _items(resource.get("identifier"))]
        uids += [one.get("uid", "") for one in _items(resource.get("series"))]
        yield from (f"{uid!r} is no UID" for uid in uids if not _is_uid(str(uid)))
    for one in _items(resource.get("identifier")):
        if not one.get("value"):
            yield "an identifier lacks its value"


def _value_faults(path: str, value: Mapping[str, Any]) -> Iterator[str]:
    """Faults of one component, coding or quantity."""
    system, code = value.get("system"), str(value.get("code", ""))
    if path.endswith("component"):
        yield from _component_faults(value)
    elif path.endswith("valueQuantity"):
        number = value.get("value")
        if not isinstance(number, int | float) or isinstance(number, bool) or not math.isfinite(number):
            yield f"value {number!r} is no number"
        elif number < 0:
            yield f"value {number!r} is below 0"
        if system != UCUM or code not in _UNITS.values() or value.get("unit") != code:
            yield f"unit {code!r} is none of UCUM that we write"
    elif system == LOINC and not is_loinc(code):
        yield f"{code!r} is no code of LOINC"
    elif system == SNOMED and not is_snomed(code):
        yield f"{code!r} is no code of SNOMED CT"
    elif "code" in value and isinstance(value["code"], str):
        known = _CODES.get(str(system), {})
        if code not in known:
            yield f"{code!r} is not in {system!r}"
        elif "display" in value and known[code] not in (None, value["display"]):
            yield f"{code!r} does not mean {value['display']!r}"


def _component_faults(component: Mapping[str, Any]) -> Iterator[str]:
    if not isinstance(component.get("code"), Mapping) or not (component["code"].keys() & {"coding", "text"}):
        yield "lacks code"
        return
    values = [name for name in component if name.startswith("value")]
    if len(values) != 1:
        yield f"expected one value, got {len(values)}"
    count = component.get("valueInteger", 0)
    if not isinstance(count, int) or isinstance(count, bool) or count < 0:
        yield f"valueInteger {count!r} is no count"
    for coding in _items(component["code"].get("coding")):
        unit = _UNITS.get(str(coding.get("code")))
        written = component.get("valueQuantity")
        if unit is not None and isinstance(written, Mapping) and written.get("code") != unit:
            yield f"unit {written.get('code')!r} is not that of {coding.get('display')}: {unit}"


def _items(found: Any) -> list[Mapping[str, Any]]:
    """The objects of an element that may be one, several or none; what is no object counts as an empty one."""
    several = found if isinstance(found, list) else [] if found is None else [found]
    return [one if isinstance(one, Mapping) else {} for one in several]


def _is_uid(text: str) -> bool:
    """Whether a text is a UID of DICOM: components without leading zeros, at most 64 characters."""
    return bool(_UID.fullmatch(text)) and len(text.removeprefix("urn:oid:")) <= 64


def _walk(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    yield path, value
    if isinstance(value, Mapping):
        for name, part in value.items():
            yield from _walk(part, f"{path}.{name}" if path else name)
    elif isinstance(value, list):
        for part in value:
            yield from _walk(part, path)


def _is_day(text: Any) -> bool:
    try:
        return date.fromisoformat(text).isoformat() == text
    except (TypeError, ValueError):
        return False


def is_loinc(code: str) -> bool:
    """Whether a code has the form of LOINC and its check digit (Mod 10, Luhn)."""
    match = re.fullmatch(r"(\d{1,7})-(\d)", code)
    if match is None:
        return False
    total = 0
    for place, digit in enumerate(reversed(match[1])):
        doubled = int(digit) * (2 if place % 2 == 0 else 1)
        total += doubled - 9 if doubled > 9 else doubled
    return (10 - total % 10) % 10 == int(match[2])


def is_snomed(code: str) -> bool:
    """Whether a code has the form of a SNOMED CT identifier and its check digit (Verhoeff)."""
    if not re.fullmatch(r"[1-9]\d{5,17}", code):
        return False
    check = 0
    for place, digit in enumerate(reversed(code)):
        check = _dihedral(check, _permuted(int(digit), place))
    return check == 0


def _dihedral(a: int, b: int) -> int:
    """Product of two elements of the dihedral group of order 10."""
    if a < 5:
        return (a + b) % 5 if b < 5 else 5 + (a + b) % 5
    return 5 + (a - b) % 5 if b < 5 else (a - b) % 5


def _permuted(digit: int, times: int) -> int:
    for _ in range(times % 8):
        digit = (1, 5, 7, 6, 2, 8, 3, 0, 9, 4)[digit]
    return digit
