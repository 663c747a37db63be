"""Why an exam has no exam before it, and what a lesion is beside those of the exam before."""

from enum import StrEnum


class PairReason(StrEnum):
    """Why an exam is paired with none, or the pair is not registered."""

    NO_VOLUME = "no volume"
    NO_DATE = "no study date"
    FIRST_EXAM = "first exam"
    SAME_DAY = "another exam of the same day, none before"
    OTHER_TRACER = "earlier exams have another tracer"
    NOT_REGISTERED = "not registered"


class LinkState(StrEnum):
    """What became of a lesion between two exams."""

    PERSISTING = "persisting"
    NEW = "new"
    GONE = "resolved, or not described"
    SPLIT = "split"
    MERGED = "merged"
    NOT_LINKED = "not linked"
    """It may be one of several, or lies where the other exam was not scanned."""
