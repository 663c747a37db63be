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

from pipelines.cohort.privacy.dates import moved_date
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
            names = [str(v or "") for e in dataset for v in (e.value if e.VM > 1 else [e.value])]
        except Exception:
            tried += 1  # A damaged header fails in as many ways as it has bytes; the exam's reading tells it.
        else:
            for name in names:
                found |= _parts(name, is_name=True)
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


_KEPT = frozenset(
    [
        # Which objects: what is exported refers to them ("Retain UIDs").
        *("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID", "Modality"),
        *("SpecificCharacterSet", "DimensionOrganizationUID", "DimensionOrganizationType"),
        # Where and how large the pixels are.
        *("Rows", "Columns", "NumberOfFrames", "SamplesPerPixel", "PhotometricInterpretation", "PlanarConfiguration"),
        *("BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "PixelData", "PixelSpacing"),
        *("SliceThickness", "SpacingBetweenSlices", "ImagePositionPatient", "ImageOrientationPatient"),
        *("InstanceNumber", "SeriesNumber", "NumberOfSlices", "ImageIndex"),
        # The same of the frames of an enhanced object.
        *("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence", "PixelMeasuresSequence"),
        *("PlanePositionSequence", "PlaneOrientationSequence", "FrameContentSequence", "DimensionIndexSequence"),
        *("DimensionOrganizationSequence", "DimensionIndexPointer", "FunctionalGroupPointer", "DimensionIndexValues"),
        *("StackID", "InStackPositionNumber", "FrameAcquisitionNumber"),
    ]
)
"""Attributes that an object made from others needs of them: PS3.15's basic profile removes, empties or replaces none of
them but the UIDs, which tie the objects together, and whatever is not in it goes, standard or private.
"""
PROFILES = (("113100", "Basic Application Confidentiality Profile"), ("113110", "Retain UIDs Option"))
_MODIFIED_DATES = ("113107", "Retain Longitudinal Temporal Information Modified Dates Option")
_METHOD = "PS3.15 basic profile, attributes of an allow-list kept"


def remove_identity(dataset: Any, days_back: int | None = None) -> None:
    """Leaves of a DICOM dataset, in place, what says where its pixels are and which object it is, as PS3.15's basic
    profile asks with the option to retain UIDs, and notes that.

    Args:
        dataset: header of an image, with or without pixels.
        days_back: by how many days the study's date is moved; None removes it.
    """
    moved = None if days_back is None else moved_date(str(dataset.get("StudyDate", "") or ""), days_back)
    _keep_alone(dataset)
    if moved is not None:
        dataset.StudyDate = moved.replace("-", "")
    note_profile(dataset, has_moved_dates=moved is not None)


def note_profile(dataset: Any, *, has_moved_dates: bool) -> None:
    """Says in a dataset, in place, by which profile of PS3.15 it was de-identified."""
    dataset.PatientIdentityRemoved = "YES"
    dataset.DeidentificationMethod = _METHOD
    dataset.LongitudinalTemporalInformationModified = "MODIFIED" if has_moved_dates else "REMOVED"
    codes = []
    for value, meaning in (*PROFILES, *([_MODIFIED_DATES] if has_moved_dates else [])):
        code = pydicom.Dataset()
        code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = value, "DCM", meaning
        codes.append(code)
    dataset.DeidentificationMethodCodeSequence = codes


def _keep_alone(dataset: Any) -> None:
    # By tag, for the value of a damaged element cannot be read.
    for tag in list(dataset.keys()):
        keyword = pydicom.datadict.keyword_for_tag(tag)
        if keyword not in _KEPT:
            del dataset[tag]
        elif keyword.endswith("Sequence"):
            for item in dataset[tag].value or ():
                _keep_alone(item)


def scrub(text: str, identifiers: Iterable[str]) -> str:
    """The text without any of the identifiers, UIDs, and whatever report text is masked for."""
    known = sorted((i for i in identifiers if i), key=len, reverse=True)
    if known:
        # An underscore binds words in descriptions and file names, so it ends one here.
        alternatives = "|".join(re.escape(k) for k in known)
        text = re.sub(rf"(?<![^\W_])(?:{alternatives})(?![^\W_])", REMOVED, text, flags=re.IGNORECASE)
    return clean(_UID.sub(REMOVED, text))
