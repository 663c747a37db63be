"""Enhanced multi-frame PET and CT: the header of each frame with the attributes that a single-frame file would have.

An enhanced object keeps what differs from frame to frame, and much of what does not, in functional groups; units stand
in a real world value mapping and corrections in attributes of their own. Here they are brought to the names that the
rest of the imaging core knows, so that a series of one file goes the same way as one of many.
"""

import re
from typing import Any

import pydicom
from pydicom.dataset import Dataset

from pipelines.imaging.reading.values import items_of, whole_number_of

UNITS = {
    "BQ/ML": ("BQML", ""),
    "G/ML SUVBW": ("GML", "BW"),
    "G/ML SUVLBM": ("GML", "LBM"),
    "G/ML SUVLBMJAMES128": ("GML", "LBMJAMES128"),
    "G/ML SUVLBMJANMA": ("GML", "LBMJANMA"),
    "CM2/ML SUVBSA": ("CM2ML", "BSA"),
    "G/ML SUVIBW": ("GML", "IBW"),
    "G/ML": ("GML", ""),
    "CM2/ML": ("CM2ML", ""),
    "COUNTS": ("CNTS", ""),
    "PROPCOUNTS": ("PROPCNTS", ""),
}
"""Code of a real world value (context groups 84 and 85 of DICOM PS3.16; upper case, unit before annotation) -> Units
(0054,1001) and SUVType (0054,1006); activity comes first."""


def _unit_of(code_value: str) -> str:
    """A UCUM code as `UNITS` writes it, whichever of unit and {annotation} comes first."""
    code = "".join(code_value.upper().split())
    annotations = [part.replace("(", "").replace(")", "") for part in re.findall(r"\{([^{}]*)\}", code)]
    return " ".join(part for part in (re.sub(r"\{[^{}]*\}", "", code), *annotations) if part)


def is_enhanced(dataset: Any) -> bool:
    """Whether a dataset is an enhanced multi-frame image: many frames, each with functional groups."""
    return whole_number_of(dataset, "NumberOfFrames", 1) > 1 and bool(
        items_of(dataset, "PerFrameFunctionalGroupsSequence")
    )


def frame_headers(dataset: Any) -> list[Dataset]:
    """One header a frame, in the order of the frames, with the attributes of a single-frame PET or CT.

    Geometry, slope, times and what a converter of single-frame files carried over come from the functional groups, the
    frame's own before the shared ones. Units and slope come from the real world value mapping where there is one in a
    unit of PET. CorrectedImage and DecayCorrection are made of AttenuationCorrected (0018,9759), DecayCorrected
    (0018,9758) and DecayCorrectionDateTime (0018,9701) where they are not stated.
    """
    common = Dataset()
    for element in dataset:
        if element.keyword not in ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence", "PixelData"):
            common.add(element)
    shared = dataset.get("SharedFunctionalGroupsSequence")
    mappings = _flatten(common, shared[0]) if shared else []
    uid = str(dataset.get("SOPInstanceUID", "") or "")
    headers = []
    for n, groups in enumerate(dataset.PerFrameFunctionalGroupsSequence):
        header = Dataset()
        header.update(common)
        own = _flatten(header, groups) or mappings
        _put(header, "SOPInstanceUID", pydicom.uid.generate_uid(entropy_srcs=[uid, str(n)]))
        _put(header, "NumberOfFrames", 1)
        if "FrameAcquisitionDateTime" in header:
            _put(header, "AcquisitionDateTime", header.FrameAcquisitionDateTime)
        if "FrameAcquisitionDuration" in header:
            _put(header, "ActualFrameDuration", header.FrameAcquisitionDuration)
        _name_units(header, own)
        _name_corrections(header)
        headers.append(header)
    return headers


def _put(header: Dataset, keyword: str, value: Any) -> None:
    """Sets an attribute of one header: assigning it would change the element that the frames share."""
    tag = pydicom.datadict.tag_for_keyword(keyword)
    assert tag is not None
    header.add_new(tag, pydicom.datadict.dictionary_VR(tag), value)


def _flatten(header: Dataset, groups: Any) -> list[Any]:
    """Adds the attributes of every functional group to a header; returns the real world value mappings among them."""
    mappings: list[Any] = []
    for group in groups:
        if group.VR != "SQ" or not group.value:
            continue
        if group.keyword == "RealWorldValueMappingSequence":
            mappings = list(group.value)
            continue
        for element in group.value[0]:
            header.add(element)
    return mappings


def _name_units(header: Dataset, mappings: list[Any]) -> None:
    """Units, SUVType and the slope of the mapping that is in a unit of PET, activity before SUV."""
    found: dict[str, Any] = {}
    for item in mappings:
        code = item.get("MeasurementUnitsCodeSequence")
        if code and "RealWorldValueSlope" in item:
            found.setdefault(_unit_of(str(code[0].get("CodeValue", ""))), item)
    for code_value, (units, suv_type) in UNITS.items():
        if code_value in found:
            _put(header, "Units", units)
            if suv_type:
                _put(header, "SUVType", suv_type)
            _put(header, "RescaleSlope", _decimal(found[code_value].RealWorldValueSlope))
            _put(header, "RescaleIntercept", _decimal(found[code_value].get("RealWorldValueIntercept", 0.0)))
            return


def _decimal(value: Any) -> pydicom.valuerep.DSfloat:
    # A double where the single-frame attribute is a decimal string: kept whole, it is never written.
    return pydicom.valuerep.DSfloat(float(value), validation_mode=pydicom.config.IGNORE)


def _name_corrections(header: Dataset) -> None:
    if not header.get("CorrectedImage"):
        stated = {"ATTN": "AttenuationCorrected", "DECY": "DecayCorrected", "SCAT": "ScatterCorrected"}
        corrected = [name for name, keyword in stated.items() if str(header.get(keyword, "")).upper() == "YES"]
        if any(keyword in header for keyword in stated.values()):
            _put(header, "CorrectedImage", corrected or ["NONE"])
    if not header.get("DecayCorrection"):
        if str(header.get("DecayCorrected", "")).upper() == "NO":
            _put(header, "DecayCorrection", "NONE")
        elif header.get("DecayCorrectionDateTime"):
            _put(header, "DecayCorrection", "START")
