"""Outcomes of candidate sentences and findings: one closed set of reasons, used from the reader to the catalog."""

from enum import StrEnum


class Outcome(StrEnum):
    """Outcome of a finding: a lesion, or the reason of its rejection. Values are shown in tables and stay."""

    FAILED = "failed"
    """Our own code raised, in either stage; a rerun may give the result."""

    # Text stage: ACCEPTED goes on to the images, everything else ends here.
    ACCEPTED = "accepted"
    TEMPLATE = "template"
    SEVERAL_LESIONS = "several lesions"
    NO_ANATOMY = "no anatomy named"
    SUV_TOO_LOW = "SUVmax below threshold"
    NO_SLICE = "no slice"
    NO_SUVMAX = "no SUVmax"
    NO_LESION = "no lesion"
    NOTHING_TO_LOCATE_BY = "nothing to locate by"
    NOT_CURRENT = "not the current exam"
    NOT_GROUNDED = "number not in the sentence"
    OTHER_LANGUAGE = "language not read"
    READERS_DISAGREE = "readers disagree"
    READER_FAILED = "reader failed"
    DUPLICATE = "said twice"
    UNKNOWN_EXAM = "report of an unknown exam"
    CORRECTED = "rejected by a correction"

    # Image stage.
    LESION = "lesion"
    EXAM_PROBLEM = "exam without usable images"
    SLICE_OUTSIDE = "slice outside the image"
    NOT_CALIBRATED = "exam not calibrated"
    NOT_IN_IMAGE = "not in the image"
    AMBIGUOUS = "ambiguous"
    WRONG_SIDE = "on the other side"
    LEAK = "contour leaks"
    FLAT = "contour flat"
    TOO_SMALL = "contour too small"
    BORDER = "contour cut by the border"
    NO_LIVER = "no liver for PERCIST"
