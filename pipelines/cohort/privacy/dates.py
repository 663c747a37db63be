"""Dates in texts and columns: found in every common form, and moved by a number of days in the form they had.

Moving all dates of a patient by one secret number keeps the intervals between exams, and none of the days
(PS3.15, "Retain Longitudinal Temporal Information with Modified Dates"; 45 CFR 164.514(b)).
"""

import calendar
import csv
import hmac
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from functools import cache
from importlib import resources

LEAST_DAYS, MOST_DAYS = 31, 334
"""By how much dates are moved back [days]: in this range no date keeps its month, in any year."""
_ORDINALS = {1: "st", 2: "nd", 3: "rd", 21: "st", 22: "nd", 23: "rd", 31: "st"}
_CENTURY_FROM = 70
"""Years of two digits from here on are of the 20th century."""
_MID_MONTH = 15
"""Day that stands for a month of which no day is told."""
_A_YEAR = 2001
"""Stands for the year where neither the date nor its text tells one; no leap year."""


def days_back(secret: bytes, patient_id: str) -> int:
    """By how many days (`LEAST_DAYS`..`MOST_DAYS`) all dates of a patient are moved back: one number a patient, and
    none that can be told without the secret.
    """
    digest = hmac.new(secret, f"days\0{patient_id}".encode("utf-8", "surrogatepass"), "sha256").digest()
    return LEAST_DAYS + int.from_bytes(digest[:8], "big") % (MOST_DAYS - LEAST_DAYS + 1)


@dataclass(frozen=True)
class FoundDate:
    """A date in a text: its span, the spans of its parts, and what they say; null where a part is not told."""

    start: int
    end: int
    spans: tuple[tuple[str, int, int], ...]
    """(part: day, month or year; start; end), in the order of the text."""
    year: int | None
    month: int
    day: int | None

    def moved(self, text: str, days: int, year: int | None = None) -> str:
        """The date as its text is, so many days earlier; parts keep their form, their width where they can.

        Args:
            text: what it was found in.
            days: by how many days it is moved back.
            year: stands for a year that the date does not tell.
        """
        in_year = self.year or year or _A_YEAR
        # A 29th of February of an unknown year is the 28th in others.
        day = min(self.day or _MID_MONTH, _days_of(in_year, self.month))
        new = date(in_year, self.month, day) - timedelta(days)
        out, at = [], self.start
        for part, start, end in self.spans:
            out.append(text[at:start])
            out.append(_in_form(part, new, text[start:end]))
            at = end
        return "".join([*out, text[at : self.end]])


def find_dates(text: str) -> list[FoundDate]:
    """Dates of a text by position, none overlapping: numeric ones, with names of months in many languages, compact
    ones, months with a year, and days and months after a word that asks for a date.

    Where day and month could be either, the text's other dates decide, then the separator: the day comes first
    between full stops, the month otherwise.
    """
    # Patterns that begin with a digit are tried where one stands, for a look at every letter costs more than all else.
    places = [match.span() for match in _WITH_DIGITS.finditer(text)]
    numeric = [m for start, end in places for m in _NUMERIC.finditer(text, start, min(end + _LONGEST_REST, len(text)))]
    day_first = _day_first(numeric)
    matches = [*numeric, *_CUED.finditer(text)]
    if not _months().keys().isdisjoint(_LETTERS.findall(text.lower())):
        matches += [match for form in _WITH_NAMES for match in form.finditer(text)]
    found = [_found(match, day_first) for match in matches]
    kept: list[FoundDate] = []
    for one in sorted((d for d in found if d is not None), key=lambda d: (d.start, -d.end)):
        if not kept or one.start >= kept[-1].end:
            kept.append(one)
    return kept


def date_of(text: str | None) -> date | None:
    """The day that a column's value names (a time may follow); None where it names none."""
    found = find_dates((text or "").strip())
    if not found or found[0].start != 0 or found[0].year is None or found[0].day is None:
        return None
    return date(found[0].year, found[0].month, found[0].day)


def moved_date(text: str | None, days: int) -> str | None:
    """A column's date so many days earlier, as YYYY-MM-DD; None where the value names no day, for it may name
    anything else.
    """
    day = date_of(text)
    return (day - timedelta(days)).isoformat() if day else None


def known_year(dates: Iterable[FoundDate]) -> int | None:
    """Latest year that dates of one text tell: that of the exam in most reports."""
    return max((d.year for d in dates if d.year is not None), default=None)


# --- names of months ---


@dataclass(frozen=True)
class _Names:
    """The twelve names of months in one language and one form."""

    language: str
    names: tuple[str, ...]


@cache
def _forms() -> tuple[_Names, ...]:
    lines = (resources.files(__package__) / "month_names.csv").read_text("utf-8").splitlines()
    return tuple(_Names(row[0], tuple(row[2:])) for row in csv.reader(lines[1:]))


@cache
def _months() -> dict[str, tuple[int, _Names]]:
    """Lower-case name -> (month, the first of the forms that has it)."""
    found: dict[str, tuple[int, _Names]] = {}
    for form in _forms():
        for month, name in enumerate(form.names, start=1):
            found.setdefault(name.lower(), (month, form))
    return found


def _in_form(part: str, new: date, old: str) -> str:
    """A part of the new date as the old one was written."""
    if part == "month" and not old[0].isdecimal():
        name = _name_in_form(new.month, old)
        return name.upper() if old.isupper() else name.lower() if old.islower() else name[0].upper() + name[1:]
    width = sum(c.isdecimal() for c in old)
    value = {"day": new.day, "month": new.month, "year": new.year % 100 if width == 2 else new.year}[part]
    suffix = old[width:]
    if suffix.lower() in ("st", "nd", "rd", "th"):
        suffix = _ORDINALS.get(value, "th")
    return f"{value:0{width}d}{suffix}"


def _name_in_form(month: int, old: str) -> str:
    if old.upper() in _ROMAN:
        return next(r for r, m in _ROMAN.items() if m == month)
    return _months()[old.lower()][1].names[month - 1]


_ROMAN = dict(
    zip(("I", "II", "III", "IV", "V", "VI", "VII", "VIII", "IX", "X", "XI", "XII"), range(1, 13), strict=True)
)


# --- forms of dates ---

_YEAR = r"(?:18[5-9]|19\d|20\d|21[0-4])\d"
_DAY_OF_MONTH = r"\d{1,2}(?:st|nd|rd|th)?"
_NUMERIC = re.compile(
    rf"""(?<![\d.,/-])
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
_CUED = re.compile(
    r"""\b(?:on|since|dated?|vom|am|seit|du|le|del|el|dal|il|van|op|em|exams?|stud(?:y|ies)|scans?|ct|mri|pet)[ ]
    (?P<one1>\d{1,2})(?P<s1>[/.])(?P<other1>\d{1,2})\b(?!/|[.,]\d|[ ]?(?:cm|mm|ml|kg|h|suv|nodes?|images?|%))""",
    re.VERBOSE | re.IGNORECASE,
)
_DAY_BEFORE_MONTH = re.compile(
    rf"""(?<![\d.,/])(?P<day1>{_DAY_OF_MONTH})(?:er|[.º°ª])?(?:[ ]of[ ]|[ ]de[ ]|[ /.-])?
    (?P<month1>[^\W\d_]{{3,16}})\.?
    (?:(?:,?[ ]|[ ]del?[ ]|[/.-]|[ ]?['’])?(?P<year1>{_YEAR}|(?<=['’/-])\d\d)(?!\d))?""",
    re.VERBOSE | re.IGNORECASE,
)
_MONTH_FIRST = re.compile(
    rf"""(?<![^\W_])(?P<month1>[^\W\d_]{{3,16}})\.?(?:[ ]|,[ ]|-|[ ]del?[ ])['’]?
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
    if match.re not in (_NUMERIC, _CUED) and not _is_month_here(match["month1"], match, year):
        return None
    if not 1 <= month <= _MONTHS:
        return None
    if year is not None and day is not None:
        day = min(day, _days_of(year, month))
    end = match.end() if match.re is _NUMERIC else spans[-1][2]
    return FoundDate(spans[0][1], end, tuple(spans), year, month, day)


_LONGEST_MONTH = 31
_LEAST_LETTERS = 4


def _is_month_here(word: str, match: re.Match[str], year: int | None) -> bool:
    """Whether a word that names a month does so here: "may", "set" and "mars" are other words without a year."""
    if match.re is _MONTH_ALONE:
        return word[0].isupper() and word.lower() in _months() and len(word) > _LEAST_LETTERS - 2
    if year is not None:
        return True
    if len(word) < _LEAST_LETTERS or word.lower() == "march":
        return word[0].isupper() and _months()[word.lower()][1].language in ("en", "de")
    return True


def _value(part: str, text: str) -> int | None:
    if part == "month" and not text[0].isdecimal():
        return _ROMAN.get(text) or (_months()[text.lower()][0] if text.lower() in _months() else None)
    digits = re.match(r"\d+", text)
    value = int(digits.group()) if digits else None
    if part == "year" and value is not None and value < 100:
        return value + (1900 if value >= _CENTURY_FROM else 2000)
    return value


def _days_of(year: int, month: int) -> int:
    return calendar.monthrange(year, month)[1]
