"""Times of an injection and of a scan, and the seconds between them that the dose decays."""

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache

from pydicom.dataset import Dataset

from pipelines.imaging.problems import ExamError
from pipelines.imaging.reading.private_tags import private_value
from pipelines.imaging.reading.values import number_of, text_of
from pipelines.tables.exam_problems import ExamProblem

EARLIEST_UPTAKE_S = -60.0
"""A scan that starts with the injection (dynamic) may start some seconds before it; minutes before, a time is wrong."""
PLAUSIBLE_HALF_LIVES, PLAUSIBLE_UPTAKE_S = 2.75, 7200.0
"""Longest usual uptake: 2.75 half-lives (5 h of F-18, 3 h of Ga-68), 2 h of shorter-lived nuclides (C-11)."""
LONGEST_UPTAKE_HALF_LIVES = 15.0
"""Beyond, less than a thirty-thousandth of the dose is left: no scanner sees it."""
ANOTHER_DAY_S, DAYS_S = 36_000.0, 86_400.0
"""Half-lives from which a scan may follow on another day (Cu-64, Y-86), and from which it usually does (Zr-89,
I-124)."""
SAME_MOMENT_S = 1.0
"""Series and acquisition times up to here apart are one moment: one of them is often written in whole seconds."""
CLOCKS_DIFFER_S = 60.0

_NO_DATE = datetime(1900, 1, 1)
_DAY = timedelta(days=1)


@dataclass(frozen=True)
class Uptake:
    """Seconds from injection to the moment that the decay is counted to, and what is to be told of it ('': nothing)."""

    seconds: float
    note: str = ""


@lru_cache(maxsize=4096)
def _parse_time(text: str) -> timedelta | None:
    digits = re.fullmatch(r"(\d{2})(\d{2})?(\d{2})?(\.\d+)?", text.strip().replace(":", "").replace(",", "."))
    if not digits:
        return None
    hours, minutes, seconds = (int(digits[n] or 0) for n in (1, 2, 3))
    if hours > 23 or minutes > 59 or seconds > 60:
        return None
    return timedelta(hours=hours, minutes=minutes, seconds=seconds + float(digits[4] or 0.0))


@lru_cache(maxsize=4096)
def _parse_date(text: str) -> datetime | None:
    digits = re.fullmatch(r"(\d{4})(\d{2})(\d{2})", re.sub(r"[.\-/]", "", text.strip()))
    try:
        # From 1900 on: earlier dates are what de-identification leaves.
        date = datetime(int(digits[1]), int(digits[2]), int(digits[3])) if digits else None
    except ValueError:
        return None
    return date if date is not None and date > _NO_DATE else None


@dataclass(frozen=True)
class _Stamp:
    """A DICOM date-time: its clock as written, and the offset from UTC in it ('' where there is none)."""

    moment: datetime
    offset: str

    def local(self, zone: str) -> datetime | None:
        """The moment by the clock of a zone such as "+0200"; None where it states an offset and the zone is unknown."""
        if not self.offset or self.offset == zone:
            return self.moment
        return self.moment + _offset(zone) - _offset(self.offset) if zone else None


@lru_cache(maxsize=4096)
def _parse_stamp(text: str) -> _Stamp | None:
    match = re.fullmatch(r"(\d{8})(\d{2,6}(?:\.\d+)?)([+-]\d{4})?", text.strip("\0 ").replace(",", "."))
    if not match:
        return None
    date, time = _parse_date(match[1]), _parse_time(match[2])
    return None if date is None or time is None else _Stamp(date + time, match[3] or "")


def _offset(text: str) -> timedelta:
    sign = -1 if text[0] == "-" else 1
    return sign * timedelta(hours=int(text[1:3]), minutes=int(text[3:5]))


def zone_of(dataset: Dataset) -> str:
    """The offset from UTC of a file's times: as stated, else that of its acquisition or decay correction; '' where
    none says."""
    stated = text_of(dataset, "TimezoneOffsetFromUTC")
    if re.fullmatch(r"[+-]\d{4}", stated):
        return stated
    stamps = (_parse_stamp(text_of(dataset, k)) for k in ("AcquisitionDateTime", "DecayCorrectionDateTime"))
    return next((s.offset for s in stamps if s is not None and s.offset), "")


def _moment(dataset: Dataset, kind: str) -> datetime | None:
    """`kind` Series or Acquisition: its date and time; a missing date is taken from the next one that is there."""
    if kind == "Acquisition" and (stamp := _parse_stamp(text_of(dataset, "AcquisitionDateTime"))) is not None:
        return stamp.local(zone_of(dataset)) or stamp.moment
    time = _parse_time(text_of(dataset, f"{kind}Time"))
    if time is None:
        return None
    dates = (_parse_date(text_of(dataset, f"{k}Date")) for k in (kind, "Acquisition", "Series", "Study", "Content"))
    return next((d for d in dates if d is not None), _NO_DATE) + time


def average_activity_s(dataset: Dataset, half_life_s: float) -> float | None:
    """Seconds from a frame's start to the moment at which its activity equals the frame's mean: ln(x / (1 - e^-x)) / L,
    x = L * ActualFrameDuration, L = ln 2 / half-life; None where the duration is missing."""
    duration_ms = number_of(dataset, "ActualFrameDuration")
    if duration_ms is None or duration_ms <= 0:
        return None
    decay = math.log(2.0) / half_life_s
    decayed = decay * duration_ms / 1000.0
    if decayed < 1e-6:
        return duration_ms / 2000.0
    return math.log(decayed / -math.expm1(-decayed)) / decay


def decay_reference(slices: Sequence[Dataset], half_life_s: float) -> tuple[datetime, str]:
    """The moment that a decay correction of START refers to, and by which rule it was found.

    Order: DecayCorrectionDateTime (0018,9701); the scan's start in private attributes of Siemens and GE; series time
    where the earliest acquisition is the same moment; else from that acquisition and its FrameReferenceTime (to the
    frame's start with GE, to its mean activity with others); else the series time where it is before the acquisition.

    Raises:
        ExamError(MISSING_TAG): neither time is there, or the frame's duration is needed and missing.
    """
    first = slices[0]
    stamp = _parse_stamp(text_of(first, "DecayCorrectionDateTime"))
    if stamp is not None:
        return stamp.local(zone_of(first)) or stamp.moment, "decay to the stated moment (0018,9701) (START)"
    for creator, group, element, what in (
        ("SIEMENS MED PT", 0x0071, 0x22, "Siemens scan start (0071,xx22)"),
        ("GEMS_PETD_01", 0x0009, 0x0D, "GE scan start (0009,xx0D)"),
    ):
        private = _parse_stamp(str(private_value(first, group, creator, element) or ""))
        if private is not None:
            return private.local(zone_of(first)) or private.moment, f"decay to {what} (START)"
    return _reference_of_frames(slices, half_life_s)


def _reference_of_frames(slices: Sequence[Dataset], half_life_s: float) -> tuple[datetime, str]:
    moments = ((m, n) for n, s in enumerate(slices) if (m := _moment(s, "Acquisition")) is not None)
    acquisition, at = min(moments, default=(None, 0))
    series = _moment(slices[0], "Series")
    if acquisition is None and series is None:
        raise ExamError(
            ExamProblem.MISSING_TAG,
            "SeriesTime (0008,0031) and AcquisitionTime (0008,0032) are missing: the scan's time is not known; export"
            " the series with its times",
        )
    if acquisition is not None and series is not None and abs(acquisition - series) >= _DAY:
        # One of the two dates was moved or blanked; a scan of several days is none of one reference time.
        acquisition = datetime.combine(series.date(), acquisition.time())
    if acquisition is None or (series is not None and _same_moment(series, acquisition)):
        assert series is not None
        return series, "decay to series time (START)"
    dataset = slices[at]
    reference_ms, average_s = number_of(dataset, "FrameReferenceTime"), average_activity_s(dataset, half_life_s)
    is_ge = text_of(dataset, "Manufacturer").upper().startswith("GE")
    start, rule = None, ""
    if is_ge and reference_ms is not None:
        start = acquisition - timedelta(milliseconds=reference_ms)
        rule = "decay to acquisition less frame reference time, of GE (START)"
    elif not is_ge and average_s is not None and reference_ms:
        start = acquisition + timedelta(seconds=average_s - reference_ms / 1000.0)
        rule = "decay to acquisition and mean activity less frame reference time (START)"
    if start is not None and not (series is not None and _same_moment(series, start)):
        return start, rule
    if series is not None and (series < acquisition or start is not None):
        return series, "decay to series time (START)"
    if average_s is None and not is_ge:
        raise ExamError(
            ExamProblem.MISSING_TAG,
            "ActualFrameDuration (0018,1242) is missing, needed where the series time (0008,0031) is not the"
            " acquisition's (0008,0032): export the original series",
        )
    return acquisition, "decay to earliest acquisition time (START)"


def _same_moment(a: datetime, b: datetime) -> bool:
    return abs((a - b).total_seconds()) <= SAME_MOMENT_S


def mean_activity_moment(dataset: Dataset, half_life_s: float) -> datetime:
    """The moment at which a slice shows the activity that was there, where nothing is corrected for decay.

    Raises:
        ExamError(MISSING_TAG): the acquisition's time or the frame's duration is missing.
    """
    reference = _parse_stamp(text_of(dataset, "FrameReferenceDateTime"))
    if reference is not None:
        return reference.local(zone_of(dataset)) or reference.moment
    acquisition, average_s = _moment(dataset, "Acquisition"), average_activity_s(dataset, half_life_s)
    if acquisition is None or average_s is None:
        missing = "AcquisitionTime (0008,0032)" if acquisition is None else "ActualFrameDuration (0018,1242)"
        raise ExamError(
            ExamProblem.MISSING_TAG,
            f"{missing} is missing, needed where DecayCorrection (0054,1102) is NONE: export the original series",
        )
    return acquisition + timedelta(seconds=average_s)


def plausible_uptake_s(half_life_s: float) -> float:
    """The longest usual time from injection to scan, in s."""
    return min(max(PLAUSIBLE_HALF_LIVES * half_life_s, PLAUSIBLE_UPTAKE_S), LONGEST_UPTAKE_HALF_LIVES * half_life_s)


def uptake_of(scan: datetime, start_datetime: str, start_time: str, zone: str, half_life_s: float) -> Uptake:
    """From the injection to `scan`: by the date-time of the injection, else by its time of day on the scan's day or,
    across midnight, the day before.

    A date-time that cannot be (a date moved in one of two places by de-identification) gives way to the time of day,
    with a note, for nuclides of hours.

    Args:
        scan: by the scanner's clock.
        start_datetime: RadiopharmaceuticalStartDateTime (0018,1078), '' where missing.
        start_time: RadiopharmaceuticalStartTime (0018,1072), '' where missing.
        zone: offset of the scanner's clock from UTC, '' where unknown.
        half_life_s: of the nuclide.

    Raises:
        ExamError(MISSING_TAG): no time of injection, or none that can be told (a date is needed; an offset without the
            scanner's own); BAD_VALUES: the times contradict one another.
    """
    stamp, clock = _parse_stamp(start_datetime), _parse_time(start_time)
    if stamp is not None and clock and _clock(stamp.moment) == timedelta(0):
        stamp = _Stamp(stamp.moment + clock, "")  # A date without its time, filled up with zeros.
    injected = stamp.local(zone) if stamp is not None else None
    if clock is None and injected is not None:
        clock = _clock(injected)
    if injected is not None and scan.year == _NO_DATE.year:
        injected = None  # No date in the series: only the time of day can be compared.
    if clock is None:
        raise _no_injection_time(stamp is not None)
    since_stamp = (scan - injected).total_seconds() if injected is not None else None
    if since_stamp is not None and _is_plausible(since_stamp, half_life_s):
        return _told(since_stamp, _clock_contradicts(clock, injected))
    since_clock = _since_clock(scan, clock, half_life_s)
    if injected is not None:
        is_moved = injected.date() != scan.date() and not _clock_contradicts(clock, injected)
        if is_moved and half_life_s <= ANOTHER_DAY_S and _is_plausible(since_clock, half_life_s):
            return _told(since_clock, "the date of injection (0018,1078) is not the scan's: its time of day is used")
    elif half_life_s > DAYS_S:
        raise ExamError(
            ExamProblem.MISSING_TAG,
            f"RadiopharmaceuticalStartDateTime (0018,1078) is missing: with a half-life of {half_life_s / 3600:.0f} h"
            " the scan is usually on another day than the injection, a time of day alone says nothing: add the date",
        )
    elif _is_plausible(since_clock, half_life_s):
        by_clock = "injection on the day of the scan is assumed, no date of injection (0018,1078) is stated"
        return _told(since_clock, by_clock if half_life_s > ANOTHER_DAY_S else "")
    elapsed = since_stamp if since_stamp is not None else since_clock
    if not EARLIEST_UPTAKE_S <= elapsed <= LONGEST_UPTAKE_HALF_LIVES * half_life_s or elapsed > max(
        DAYS_S, plausible_uptake_s(half_life_s)
    ):
        raise ExamError(
            ExamProblem.BAD_VALUES,
            f"{elapsed / 60:.0f} min from injection (0018,1078 or 0018,1072) to scan (0008,0031) with a half-life of"
            f" {half_life_s:g} s: fix the times",
        )
    long = f"{elapsed / 3600:.1f} h from injection to scan, more than usual: check the times (0018,1072, 0018,1078)"
    return Uptake(elapsed, long)


def _no_injection_time(has_stamp: bool) -> ExamError:
    if has_stamp:
        return ExamError(
            ExamProblem.MISSING_TAG,
            "RadiopharmaceuticalStartDateTime (0018,1078) states an offset from UTC, and TimezoneOffsetFromUTC"
            " (0008,0201) is missing, so the scanner's clock is not known: add one of them, or"
            " RadiopharmaceuticalStartTime (0018,1072)",
        )
    return ExamError(
        ExamProblem.MISSING_TAG,
        "RadiopharmaceuticalStartDateTime (0018,1078) and RadiopharmaceuticalStartTime (0018,1072) are missing: add"
        " the time of injection",
    )


def _clock(moment: datetime) -> timedelta:
    """The time of day of a moment."""
    return moment - moment.replace(hour=0, minute=0, second=0, microsecond=0)


def _is_plausible(elapsed_s: float, half_life_s: float) -> bool:
    return EARLIEST_UPTAKE_S <= elapsed_s <= plausible_uptake_s(half_life_s)


def _told(elapsed_s: float, note: str = "") -> Uptake:
    if elapsed_s < 0:
        note = "; ".join(
            n
            for n in (note, f"injection {-elapsed_s:.0f} s after the scan's start: uptake of 0 s, as of a dynamic")
            if n
        )
    return Uptake(max(0.0, elapsed_s), note)


def _since_clock(scan: datetime, clock: timedelta, half_life_s: float) -> float:
    """Seconds since a time of day on the scan's day; on the day before where that alone is plausible."""
    today = (_clock(scan) - clock).total_seconds()
    if today < EARLIEST_UPTAKE_S and today + _DAY.total_seconds() <= plausible_uptake_s(half_life_s):
        return today + _DAY.total_seconds()
    return today


def _clock_contradicts(clock: timedelta | None, injected: datetime | None) -> str:
    """A note where the time of day of an injection is another than that of its date-time."""
    if clock is None or injected is None:
        return ""
    apart = abs((clock - _clock(injected)).total_seconds())
    if min(apart, _DAY.total_seconds() - apart) <= CLOCKS_DIFFER_S:
        return ""
    return (
        "RadiopharmaceuticalStartTime (0018,1072) is not the time of RadiopharmaceuticalStartDateTime"
        " (0018,1078), which is used: check both"
    )


def joined(notes: Iterable[str]) -> str:
    """Notes as one text, each once."""
    return "; ".join(dict.fromkeys(n for n in notes if n))
