"""Dates in texts and columns: found in every common form, and moved by a number of days in the form they had.

Moving all dates of a patient by one secret number keeps the intervals between exams, and none of the days
(PS3.15, "Retain Longitudinal Temporal Information with Modified Dates"; 45 CFR 164.514(b)).
"""

import hmac
import re
from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import date, timedelta
from functools import cache

from pipelines.cohort.privacy.date_periods import century_of, find_periods
from pipelines.cohort.privacy.found_dates import ROMAN_MONTHS, FoundDate, days_of, months, places_in_lists

LEAST_DAYS, MOST_DAYS = 31, 334
"""By how much dates are moved back [days]: in this range no date keeps its month, in any year."""


def days_back(secret: bytes, patient_id: str) -> int:
    """By how many days (`LEAST_DAYS`..`MOST_DAYS`) all dates of a patient are moved back: one number a patient, and
    none that can be told without the secret.
    """
    digest = hmac.new(secret, f"days\0{patient_id}".encode("utf-8", "surrogatepass"), "sha256").digest()
    return LEAST_DAYS + int.from_bytes(digest[:8], "big") % (MOST_DAYS - LEAST_DAYS + 1)


def find_dates(text: str, day_first: bool | None = None) -> list[FoundDate]:
    """Dates of a text by position, none overlapping: numeric ones, with names of months in many languages, compact
    ones, months with a year, quarters, seasons and weeks of a year, and days and months after a word that asks for a
    date; weekdays and spans of days with them.

    Where day and month could be either, the text's other dates decide, then `day_first`, then the separator: the day
    comes first between full stops, the month otherwise.
    """
    # Patterns that begin with a digit are tried where one stands, for a look at every letter costs more than all else.
    places = [match.span() for match in _WITH_DIGITS.finditer(text)]
    numeric = [m for start, end in places for m in _NUMERIC.finditer(text, start, min(end + _LONGEST_REST, len(text)))]
    own = _day_first(numeric)
    day_first = day_first if own is None else own
    matches = [*numeric, *_cued().finditer(text), *_FIRST_OF_SPAN.finditer(text)]
    if not months().keys().isdisjoint(_LETTERS.findall(text.lower())):
        matches += [match for form in _WITH_NAMES for match in form.finditer(text)]
    found = [_with_neighbours(text, date) for match in matches if (date := _found(match, day_first)) is not None]
    found += find_periods(text)
    found += _weekdays_alone(text)
    kept: list[FoundDate] = []
    for one in sorted(found, key=lambda d: (d.start, -d.end)):
        if not kept or one.start >= kept[-1].end:
            kept.append(one)
    return kept


def date_of(text: str | None, day_first: bool | None = None) -> date | None:
    """The day that a column's value names (a time may follow); None where it names none.

    Args:
        text: the value.
        day_first: whether the column's other values have the day before the month (`day_first_of`).
    """
    found = find_dates((text or "").strip(), day_first)
    parts = {part for part, *_ in found[0].spans} if found else ()
    if not found or found[0].start != 0 or found[0].year is None or found[0].day is None or "day" not in parts:
        return None
    return date(found[0].year, found[0].month, found[0].day)


def day_first_of(texts: Iterable[str]) -> bool | None:
    """Whether the numeric dates of a column have the day first; None where no value tells, or values differ."""
    return _day_first(match for text in texts for match in _NUMERIC.finditer(text))


def has_two_readings(text: str | None) -> bool:
    """Whether a value is a date whose day and month could be either ("03/04/2021")."""
    match = _NUMERIC.match((text or "").strip())
    if match is None or not match["one2"] or match["s2"].startswith("."):
        return False
    first, second = int(match["one2"]), int(match["other2"])
    return first != second and max(first, second) <= _MONTHS


def moved_date(text: str | None, days: int) -> str | None:
    """A column's date so many days earlier, as YYYY-MM-DD; None where the value names no day, for it may name
    anything else.
    """
    day = date_of(text)
    return (day - timedelta(days)).isoformat() if day else None


def known_year(dates: Iterable[FoundDate]) -> int | None:
    """Latest year that dates of one text tell: that of the exam in most reports."""
    return max((d.year for d in dates if d.year is not None), default=None)


# --- forms of dates ---

_YEAR = r"(?:18[5-9]|19\d|20\d|21[0-4])\d"
_DAY_OF_MONTH = r"\d{1,2}(?:st|nd|rd|th)?"
_NUMERIC = re.compile(
    rf"""(?:(?<![\d.,/-])|(?<=\d-)(?=\d\d?([/.])\d\d?\1\d{{4}})|(?<=\d\.-))
    (?: (?P<year1>{_YEAR})(?P<s1>[-/.])(?P<month1>\d{{1,2}})(?P=s1)(?P<day1>\d{{1,2}})  # 2023-03-14
      | (?P<one2>\d{{1,2}})(?P<s2>[-/]|\.[ ]?)(?P<other2>\d{{1,2}})(?P=s2)(?P<year2>{_YEAR}|\d\d)  # 14.03.2023
      | (?P<day9>0[1-9]|[12]\d|3[01])[ ](?P<month9>0[1-9]|1[0-2])[ ](?P<year9>{_YEAR})  # 14 03 2023
      | (?P<day3>\d{{1,2}})(?P<s3>[-/.])(?P<month3>[IVX]{{1,4}})(?P=s3)(?P<year3>{_YEAR})  # 14/III/2023
      | (?P<month4>1[0-2]|0?[1-9])/(?P<year4>{_YEAR})  # 3/2023
      | (?P<month5>1[0-2]|0[1-9])[.-](?P<year5>{_YEAR})  # 03.2023
      | (?P<year6>{_YEAR})-(?P<month6>1[0-2]|0[1-9])  # 2023-03
      | (?P<year7>(?:19|20)\d\d)(?P<month7>1[0-2]|0[1-9])(?P<day7>0[1-9]|[12]\d|3[01])
        (?:[0-2]\d[0-5]\d(?:[0-5]\d)?)?  # 20230314, 20230314103000
      | (?P<year8>{_YEAR})[年년][ ]?(?P<month8>\d{{1,2}})[月월](?:[ ]?(?P<day8>\d{{1,2}})[日일])?  # 2023年3月14日
    )(?!\d|[-/.,]\d)""",
    re.VERBOSE,
)


@cache
def _cued() -> re.Pattern[str]:
    """A day and a month behind a word that asks for a date, or behind a weekday."""
    weekdays = _weekday_names()
    return re.compile(_CUED_FORM.replace("WEEKDAYS", weekdays), re.VERBOSE | re.IGNORECASE)


_CUED_FORM = r"""\b
    (?: (?:WEEKDAYS|yesterday|today|tomorrow|gestern|heute|morgen|hier|ayer|hoy|ieri|oggi|gisteren|vandaag)\.?,?
      | on|since|dated?|vom|am|seit|du|le|del|el|dal|il|van|op|em
      | (?:exams?|stud(?:y|ies)|scans?|ct|mri|pet)(?:[ ](?:of|from|on))?
      | visit|appointment|seen|admitted|discharged|admission|discharge|termin|rendez-vous|rdv|cita|afspraak|visita
      | appuntamento|appt|calibrated|drawn|biopsied|operated|opér[ée]{1,2}|operiert
    )[ ]
    \(?(?P<one1>\d{1,2})(?P<s1>[/.])(?P<other1>\d{1,2})\b(?!/|[.,]\d|[ ]?(?:cm|mm|ml|kg|h|suv|nodes?|images?|%))"""
_FIRST_OF_SPAN = re.compile(
    r"""(?<![\d.,/-])(?P<one1>\d{1,2})(?P<s1>[/.])(?P<other1>\d{1,2})\.?
    (?=[ ]?(?:[-–—]|to|through|until|bis|au|al|t/m)[ ]?\d{1,2}[/.]\d{1,2}[/.](?:\d{4}|\d\d)(?!\d))""",
    re.VERBOSE,
)
"""3/14 of "3/14 to 3/19/2023"."""
_DAY_BEFORE_MONTH = re.compile(
    rf"""(?<![\d.,/])(?P<day1>{_DAY_OF_MONTH})(?:er|[.º°ª])?(?:[ ]of[ ]|[ ]de[ ]|[ /.-])?
    (?P<month1>[^\W\d_]{{3,16}})\.?
    (?:(?:,?[ ]|[ ]del?[ ]|[/.-]|[ ]?['’])?
      (?P<year1>{_YEAR}|(?<=['’/-])\d\d
        |(?<=[a-z][ ])[0-4]\d(?=[ ]*(?:[,;:)\n]|\Z|[a-z]{{2,}}\b(?<!mm|cm|ml))))(?!\d))?""",
    re.VERBOSE | re.IGNORECASE,
)
_MONTH_FIRST = re.compile(
    rf"""(?<![^\W_])(?P<month1>[^\W\d_]{{3,16}})\.?(?:[ ]|,[ ]|-|[ ]del?[ ]|[ ]of[ ])['’]?
    (?:(?P<year1>{_YEAR}|(?<=['’])\d\d)(?!\d)
      |(?P<day1>{_DAY_OF_MONTH})(?!\d|[.,:/]\d)(?:(?:,?[ ]|-)['’]?(?P<year2>{_YEAR}|(?<=['’])\d\d)(?!\d))?)""",
    re.VERBOSE | re.IGNORECASE,
)
_MONTH_ALONE = re.compile(
    r"\b(?:in|since|until|from|during|last|early|mid|late|seit|im|depuis|en|desde|dal)[ -](?P<month1>[^\W\d_]{3,16})\b",
)
_WITH_DIGITS = re.compile(r"(?<!\S)[^\s\d]*\d\S*")
_LONGEST_REST = 12
"""Characters of a date behind its first blank: "14. 3. 2023"."""
_WITH_NAMES = (_DAY_BEFORE_MONTH, _MONTH_FIRST, _MONTH_ALONE)
_LETTERS = re.compile(r"[^\W\d_]{3,}")
_PART = re.compile(r"(one|other|day|month|year)\d")


def _spans(match: re.Match[str]) -> Iterator[tuple[str, int, int]]:
    """(part, start, end) of the parts of a match, in the order of the text."""
    named = [(match.start(name), name) for name, value in match.groupdict().items() if value is not None]
    for start, name in sorted(named):
        if part := _PART.fullmatch(name):
            yield part[1], start, match.end(name)


def _day_first(numeric: Iterable[re.Match[str]]) -> bool | None:
    """Whether the dates of a text that leave no choice have the day first; None where none does, or both ways occur."""
    ways = set()
    for match in numeric:
        if match["one2"] and (int(match["one2"]) > _MONTHS) != (int(match["other2"]) > _MONTHS):
            ways.add(int(match["one2"]) > _MONTHS)
    return ways.pop() if len(ways) == 1 else None


_MONTHS = 12


def _found(match: re.Match[str], day_first: bool | None) -> FoundDate | None:
    """The date of a match; None where it is none."""
    text, spans = match.string, list(_spans(match))
    if any(part == "one" for part, *_ in spans):
        first, second = (int(text[start:end]) for part, start, end in spans if part in ("one", "other"))
        separator = match.groupdict().get("s2") or match["s1"]
        in_order = separator[0] == "." if day_first is None else day_first
        if first > _MONTHS or second > _MONTHS:
            in_order = first > second
        names = {"one": "day", "other": "month"} if in_order else {"one": "month", "other": "day"}
        spans = [(names.get(part, part), start, end) for part, start, end in spans]
    values = {part: _value(part, text[start:end]) for part, start, end in spans}
    year, month, day = values.get("year"), values.get("month"), values.get("day")
    if month is None or (day is not None and not 1 <= day <= _LONGEST_MONTH):
        return None
    if match.re not in (_NUMERIC, _cued(), _FIRST_OF_SPAN) and not _is_month_here(match["month1"], match, year):
        return None
    if not 1 <= month <= _MONTHS:
        return None
    if year is not None and day is not None:
        day = min(day, days_of(year, month))
    end = match.end() if match.re is _NUMERIC else spans[-1][2]
    return FoundDate(spans[0][1], end, tuple(spans), year, month, day)


_LONGEST_MONTH = 31
_LEAST_LETTERS = 4


def _is_month_here(word: str, match: re.Match[str], year: int | None) -> bool:
    """Whether a word that names a month does so here: "may", "set" and "mars" are other words without a year."""
    if match.re is _MONTH_ALONE:
        return word[0].isupper() and word.lower() in months() and len(word) > _LEAST_LETTERS - 2
    if year is not None:
        return True
    if len(word) < _LEAST_LETTERS or word.lower() == "march":
        if word[0].isupper() and months()[word.lower()][1].language in ("en", "de"):
            return True
        before = match.string[max(0, match.start() - _LONGEST_BEFORE) : match.start()]
        return match.re is _DAY_BEFORE_MONTH and _asks_for_day().search(before) is not None
    return True


def _value(part: str, text: str) -> int | None:
    if part == "month" and not text[0].isdecimal():
        return ROMAN_MONTHS.get(text) or (months()[text.lower()][0] if text.lower() in months() else None)
    digits = re.match(r"\d+", text)
    value = int(digits.group()) if digits else None
    return century_of(value) if part == "year" and value is not None else value


# --- weekdays and spans of days beside a date ---

_DAYS_BEFORE = re.compile(
    r"(?<![\d.,/-])(?P<day>\d{1,2})\.?(?:[ ]?[-–—][ ]?|[ ](?:to|bis|au|al|t/m|and|und|et|y)[ ])\Z", re.IGNORECASE
)
_DAYS_AFTER = re.compile(
    rf"[ ]?[-–—][ ]?(?P<day>\d{{1,2}})(?![\d]|[.,/]\d|[ ]?(?:mm|cm|ml))(?:,?[ ](?P<year>{_YEAR})(?!\d))?"
)


@cache
def _asks_for_day() -> re.Pattern[str]:
    """A weekday, or a word that stands before days in languages that write months small."""
    return re.compile(
        rf"(?<!\w)(?:{_weekday_names()}|vom|am|du|le|del|el|dal|il|op|van|em|d\.d)\.?,?[ ]\Z", re.IGNORECASE
    )


@cache
def _weekday_alone() -> re.Pattern[str]:
    names = (name for name in places_in_lists("weekdays") if len(name) >= _SHORTEST_ALONE)
    return re.compile(
        rf"(?<![\w-])(?:{'|'.join(sorted(map(re.escape, names), key=len, reverse=True))})(?![\w-])", re.IGNORECASE
    )


_SHORTEST_ALONE = 5
"""Letters of a weekday that is one wherever it stands; shorter ones are other words too."""


def _weekdays_alone(text: str) -> Iterator[FoundDate]:
    """Weekdays with no date beside them; short names with an ordinal number alone ("Wed 23rd")."""
    for match in _short_weekday_and_day().finditer(text):
        spans = (("weekday", *match.span("weekday")), ("day", *match.span("day")))
        yield FoundDate(match.start(), match.end(), spans, None, 1, int(match["day"][:-2]))
    for match in _weekday_alone().finditer(text):
        weekday = ("weekday", *match.span())
        day = _DAY_OF_WEEKDAY.match(text, match.end())
        if day and 1 <= int(day["day"]) <= _LONGEST_MONTH:
            spans = (weekday, ("day", *day.span("day")))
            yield FoundDate(match.start(), day.end("day"), spans, None, 1, int(day["day"]))
        else:
            yield FoundDate(match.start(), match.end(), (weekday,), None, 1, None)


_DAY_OF_WEEKDAY = re.compile(
    r"[ ](?:the[ ])?(?P<day>\d{1,2})(?:st|nd|rd|th)?(?![\w]|[.,]\d)"
    r"(?=[,.;)]|[ ](?:and|at|und|um|et|à|y|a|om|e|alle)[ ]|\s*\Z)"
)
"""5 of "Tuesday 5", where no noun follows that it counts."""


@cache
def _short_weekday_and_day() -> re.Pattern[str]:
    names = "|".join(sorted(name for name in places_in_lists("weekdays") if 2 < len(name) < _SHORTEST_ALONE))
    return re.compile(
        rf"(?<![\w-])(?P<weekday>{names})\.?,?[ ](?:the[ ])?(?P<day>[0-3]?\d(?:st|nd|rd|th))(?!\w)", re.IGNORECASE
    )


def _weekday_names() -> str:
    names = sorted(places_in_lists("weekdays"), key=len, reverse=True)
    return "|".join(re.escape(name) for name in names)


@cache
def _weekday_before() -> re.Pattern[str]:
    names = _weekday_names()
    # "Monday, ", "Di., ", "Friday the ", "lundi "
    return re.compile(rf"(?<!\w)(?P<weekday>{names})\.?,?[ ](?:(?:the|den|dem|le|el|il|de|o)[ ])?\Z", re.IGNORECASE)


@cache
def _weekday_after() -> re.Pattern[str]:
    names = _weekday_names()
    # "14.03.2023 (Tue)"; without parentheses a comma: words of two letters are other words
    return re.compile(rf"[ ]?\((?P<weekday>{names})\.?\)|,[ ](?:a[ ])?(?P<weekday_2>{names})(?!\w)", re.IGNORECASE)


_LONGEST_BEFORE, _SHORTEST_AFTER_COMMA = 24, 3


def _with_neighbours(text: str, found: FoundDate) -> FoundDate:
    """A date with the other day of its span and the weekday that stands beside it."""
    before = text[max(0, found.start - _LONGEST_BEFORE) : found.start]
    first_part = found.spans[0][0]
    if first_part == "day" and (match := _DAYS_BEFORE.search(before)):
        start = found.start - len(before) + match.start("day")
        found = _with_other_day(found, int(match["day"]), start, len(match["day"]))
    elif first_part == "month" and (day := next((s for s in found.spans if s[0] == "day"), None)):
        match = _DAYS_AFTER.match(text, day[2])
        if match and found.end == day[2]:
            if match["year"]:
                spans = (*found.spans, ("year", *match.span("year")))
                found = replace(found, end=match.end(), spans=spans, year=int(match["year"]))
            found = _with_other_day(found, int(match["day"]), match.start("day"), len(match["day"]))
    before = text[max(0, found.start - _LONGEST_BEFORE) : found.start]
    if match := _weekday_before().search(before):
        start = found.start - len(before) + match.start()
        span = ("weekday", start, start + len(match["weekday"]))
        return replace(found, start=start, spans=(span, *found.spans))
    if match := _weekday_after().match(text, found.end):
        name = "weekday" if match["weekday"] else "weekday_2"
        if name == "weekday" or len(match[name]) > _SHORTEST_AFTER_COMMA:
            span = ("weekday", *match.span(name))
            return replace(found, end=match.end(name), spans=(*found.spans, span))
    return found


def _with_other_day(found: FoundDate, day: int, start: int, width: int) -> FoundDate:
    if not 1 <= day <= _LONGEST_MONTH or found.day is None or day == found.day:
        return found
    spans = tuple(sorted((*found.spans, ("other day", start, start + width)), key=lambda s: s[1]))
    return replace(found, start=spans[0][1], end=max(found.end, start + width), spans=spans, other_day=day)
