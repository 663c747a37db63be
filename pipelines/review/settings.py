"""Limits of the quality checks that differ from cohort to cohort."""

from dataclasses import dataclass


@dataclass(frozen=True)
class QualitySettings:
    """`[quality]` of petar.toml."""

    max_observation_age_days: float = 8.0
    """The cohort was looked at within so many days: the weekly observation and a day."""
    max_exam_age_days: float = 0.0
    """A file of the cohort is newer than so many days; 0: a cohort that is finished never ages."""
    most_identifiers: int = 0
    """Unmasked identifiers in reports that are put up with, over all exams."""
    reopen_all: bool = False
    """Open every volume and mask again, also those whose size and time are as when they were last checked."""
