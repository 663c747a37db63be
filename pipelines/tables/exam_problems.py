"""Why an exam gives no volume: one closed set of reasons, from the reading of files to the catalog."""

from enum import StrEnum


class ExamProblem(StrEnum):
    """Why an exam gives no volume (or, for CT problems, gives a PET alone). FAILED is our own fault."""

    NO_FOLDER = "no exam folder"
    EMPTY_FOLDER = "empty exam folder"
    NO_PET = "no PET series"
    UNREADABLE = "unreadable file"
    MISSING_TAG = "missing DICOM tag"
    UNSUPPORTED_UNITS = "unsupported units"
    NOT_CORRECTED = "not attenuation or decay corrected"
    BAD_GEOMETRY = "inconsistent geometry"
    BAD_VALUES = "implausible values"
    NO_REPORT = "no report"
    FAILED = "failed"
