"""Identifiers of DICOM headers, taken out of every text that the imaging layer gives to tables and messages.

Only pixels and the attributes that SUV needs leave a header. What is free text there (the description of a series)
or names something in a message (a file, a series) passes `scrub` with the values that identify the patient, the
people and places around the exam, and the objects themselves (after the profile of DICOM PS3.15, annex E).
"""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pydicom

from pipelines.cohort.privacy.text_identifiers import clean
from pipelines.tables.safe_text import REMOVED

_KEYWORDS = (
    "PatientID",
    "OtherPatientIDs",
    "IssuerOfPatientID",
    "PatientAddress",
    "PatientTelephoneNumbers",
    "PatientMotherBirthName",
    "PatientInsurancePlanCodeSequence",
    "MedicalRecordLocator",
    "AccessionNumber",
    "StudyID",
    "AdmissionID",
    "PerformedProcedureStepID",
    "ScheduledProcedureStepID",
    "RequestedProcedureID",
    "InstitutionName",
    "InstitutionAddress",
    "InstitutionalDepartmentName",
    "ReferringPhysicianAddress",
    "ReferringPhysicianTelephoneNumbers",
    "StationName",
    "DeviceSerialNumber",
    "GantryID",
    "PerformedStationAETitle",
    "CurrentPatientLocation",
)
_OF_EVERY_FILE = ("PatientName", "PatientID", "AccessionNumber")
_UID = re.compile(r"(?<![\d.])\d(?:\.\d+){5,}(?![\d.]*\d)")
_SHORTEST = 3
# Parts of test patients' names that are words of any series.
_WORDS = frozenset(
    ["pet", "ct", "phantom", "test", "patient", "anonymous", "anonymized", "anon", "unknown", "none", "body", "whole"]
)


def header_identifiers(headers: Iterable[Sequence[Any]]) -> frozenset[str]:
    """Values of DICOM headers that identify somebody; `headers` are the datasets of each series.

    All attributes of a series' first file, and those that mixed series differ in of every file. Names come in parts.
    """
    values: set[str] = set()
    for datasets in headers:
        if datasets:
            values |= _values(datasets[0])
        for dataset in datasets[1:]:
            for keyword in _OF_EVERY_FILE:
                values |= _parts(str(dataset.get(keyword, "") or ""), is_name=keyword == "PatientName")
    return frozenset(v for v in values if len(v) >= _SHORTEST and v.lower() not in _WORDS)


_PEOPLE = (
    "PatientName",
    "OtherPatientNames",
    "PatientBirthName",
    "ReferringPhysicianName",
    "RequestingPhysician",
    "PerformingPhysicianName",
    "NameOfPhysiciansReadingStudy",
    "OperatorsName",
)
_NO_DICOM = (".nii", ".gz", ".json", ".csv", ".txt", ".xml", ".png", ".pdf")
_FILES_TRIED = 3


def names_in_folder(folder: Path) -> frozenset[str]:
    """Parts of the names of people that the DICOM files below a folder give, for the exam's own report to be searched
    for. Empty where there is no DICOM file, or none that can be read; that is told when the exam is.
    """
    found: set[str] = set()
    tried = 0
    for path in sorted(p for p in folder.rglob("*") if p.is_file() and p.suffix.lower() not in _NO_DICOM):
        try:
            dataset = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=list(_PEOPLE))
        except (pydicom.errors.InvalidDicomError, OSError, ValueError, AttributeError, KeyError, NotImplementedError):
            tried += 1
        else:
            for element in dataset:
                for value in element.value if element.VM > 1 else [element.value]:
                    found |= _parts(str(value or ""), is_name=True)
            break
        if tried == _FILES_TRIED:
            break
    return frozenset(v for v in found if len(v) >= _SHORTEST and v.lower() not in _WORDS)


def _values(dataset: Any) -> set[str]:
    found: set[str] = set()
    for element in dataset:
        if element.VR == "SQ":
            for item in element.value or ():
                found |= _values(item)
        elif element.VR in ("PN", "DA", "DT") or element.keyword in _KEYWORDS:
            values = element.value if element.VM > 1 else [element.value]
            for value in values or ():
                found |= _parts(str(value or ""), is_name=element.VR == "PN")
                if element.VR in ("DA", "DT"):
                    found.add(str(value or "")[:8])
    return found


def _parts(value: str, *, is_name: bool) -> set[str]:
    value = value.strip()
    return {value, *re.split(r"[\^=\s,.]+", value)} if is_name else {value}


_OF_THE_PATIENT = ("Patient", "OtherPatient", "Responsible", "Ethnic", "Issuer", "ClinicalTrial")
_OF_THE_GEOMETRY = (
    "PatientPosition",
    "PatientOrientation",
    "PatientOrientationCodeSequence",
    "PatientOrientationModifierCodeSequence",
)
_TEXTS = ("LO", "LT", "SH", "ST", "UC", "UT")


def remove_identity(dataset: Any, identifiers: Iterable[str]) -> None:
    """Takes out of a DICOM dataset, in place, who the patient is, the people, places, numbers, dates and times around
    the exam, and private attributes; texts are scrubbed. UIDs stay, for they are what ties objects of an exam together.
    """
    identifiers = frozenset(identifiers)
    for element in list(dataset):
        keyword = element.keyword
        of_the_patient = keyword.startswith(_OF_THE_PATIENT) and keyword not in _OF_THE_GEOMETRY
        if element.tag.is_private or element.VR in ("PN", "DA", "DT", "TM") or keyword in _KEYWORDS or of_the_patient:
            del dataset[element.tag]
        elif element.VR == "SQ":
            for item in element.value or ():
                remove_identity(item, identifiers)
        elif element.VR in _TEXTS and isinstance(element.value, str):
            element.value = scrub(element.value, identifiers)


def scrub(text: str, identifiers: Iterable[str]) -> str:
    """The text without any of the identifiers, UIDs, and whatever report text is masked for."""
    known = sorted((i for i in identifiers if i), key=len, reverse=True)
    if known:
        # An underscore binds words in descriptions and file names, so it ends one here.
        alternatives = "|".join(re.escape(k) for k in known)
        text = re.sub(rf"(?<![^\W_])(?:{alternatives})(?![^\W_])", REMOVED, text, flags=re.IGNORECASE)
    return clean(_UID.sub(REMOVED, text))


def scrub_message(message: str, identifiers: Iterable[str], folder: Path) -> str:
    """A text about an exam's folder without identifiers; a file whose name holds one is told by its place among the
    files.
    """
    identifiers = frozenset(identifiers)
    if scrub(message, identifiers) == message:
        return message
    names = sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()) if folder.is_dir() else []
    for n, name in enumerate(names, start=1):
        for shown in (name, Path(name).name):
            if shown in message and scrub(shown, identifiers) != shown:
                message = message.replace(shown, f"file {n} of {len(names)} (sorted by name)")
    return scrub(message, identifiers)
