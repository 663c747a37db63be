"""What is found in a text: SUV values and slice numbers, each with its place and what it refers to."""

from dataclasses import dataclass
from enum import StrEnum


class Role(StrEnum):
    """What an SUV value or a slice number refers to."""

    CURRENT = "current"
    PRIOR = "prior exam"
    REFERENCE = "reference region"
    RANGE = "range"
    LIST = "list"
    BOUND = "bound"
    CORRECTED = "corrected"
    OTHER_MEASURE = "mean, peak or minimum"
    OTHER_PLANE = "coronal or sagittal"


@dataclass(frozen=True)
class SuvValue:
    """A number that an SUV word governs; `start` and `end` are the number's own place in the text.

    `is_near` tells whether it stands right beside its word or is said of a place of its own, so that it needs no slice.
    """

    value: float
    start: int
    end: int
    role: Role
    is_near: bool = True


@dataclass(frozen=True)
class SliceNumber:
    """A slice (or image) number; `start` and `end` are the number's own place in the text."""

    number: int
    start: int
    end: int
    role: Role


@dataclass(frozen=True)
class Expressions:
    """All SUV values and slice numbers of a text, in reading order.

    `unclaimed` holds the numbers whose meaning is not known: no SUV, slice, size, date, series or score.
    """

    suvs: tuple[SuvValue, ...]
    slices: tuple[SliceNumber, ...]
    unclaimed: tuple[float, ...] = ()
