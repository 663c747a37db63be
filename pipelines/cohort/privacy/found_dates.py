"""A date as it stands in a text, and what stands there after it was moved: each part keeps its form."""

import calendar
import csv
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from functools import cache
from importlib import resources
from typing import Any

MID_MONTH = 15
"""Day that stands for a month, a quarter or a season of which no day is told."""
_A_YEAR = 2001
"""Stands for the year where neither the date nor its text tells one; no leap year."""
_ORDINALS = {1: "st", 2: "nd", 3: "rd", 21: "st", 22: "nd", 23: "rd", 31: "st"}
SEASON_MONTHS = (4, 7, 10, 1)
"""Months that stand for spring, summer, autumn and winter."""
ROMAN_MONTHS = dict(
    zip(("I", "II", "III", "IV", "V", "VI", "VII", "VIII", "IX", "X", "XI", "XII"), range(1, 13), strict=True)
)


@dataclass(frozen=True)
class FoundDate:
    """A date in a text: its span, the spans of its parts, and what they say; null where a part is not told."""

    start: int
    end: int
    spans: tuple[tuple[str, int, int], ...]
    """(part, start, end) in the order of the text; a part is day, month, year, weekday, quarter, season, week, or
    "other day": the first or last one of a span of days whose month stands beside the day.
    """
    year: int | None
    month: int
    day: int | None
    other_day: int | None = None
    """Day of the part "other day"."""

    def moved(self, text: str, days: int, year: int | None = None) -> str:
        """The date as its text is, so many days earlier; parts keep their form, their width where they can.

        Args:
            text: what it was found in.
            days: by how many days it is moved back.
            year: stands for a year that the date does not tell.
        """
        in_year = self.year or year or _A_YEAR
        # A 29th of February of an unknown year is the 28th in others.
        day = min(self.day or MID_MONTH, days_of(in_year, self.month))
        new = date(in_year, self.month, day) - timedelta(days)
        is_week = any(part == "week" for part, *_ in self.spans)
        out, at = [], self.start
        for part, start, end in self.spans:
            out.append(text[at:start])
            old = text[start:end]
            if part == "weekday":
                out.append(_in_case(_weekday_moved(old, days), old))
            elif part == "other day":
                out.append(_in_form("day", new + timedelta((self.other_day or day) - day), old))
            elif part == "year" and is_week:
                out.append(_number_in_form(new.isocalendar().year, old))
            else:
                out.append(_in_form(part, new, old))
            at = end
        return "".join([*out, text[at : self.end]])


def days_of(year: int, month: int) -> int:
    """Days of a month."""
    return calendar.monthrange(year, month)[1]


# --- names of months, weekdays, quarters, seasons ---


@dataclass(frozen=True)
class MonthNames:
    """The twelve names of months in one language and one form."""

    language: str
    names: tuple[str, ...]


@cache
def months() -> dict[str, tuple[int, MonthNames]]:
    """Lower-case name -> (month, the first of the forms that has it)."""
    found: dict[str, tuple[int, MonthNames]] = {}
    lines = (resources.files(__package__) / "month_names.csv").read_text("utf-8").splitlines()
    for row in csv.reader(lines[1:]):
        form = MonthNames(row[0], tuple(row[2:]))
        for month, name in enumerate(form.names, start=1):
            found.setdefault(name.lower(), (month, form))
    return found


@cache
def date_words() -> Mapping[str, Any]:
    """The tables of `date_words.toml`."""
    return tomllib.loads((resources.files(__package__) / "date_words.toml").read_text("utf-8"))


@cache
def places_in_lists(table: str) -> Mapping[str, tuple[int, tuple[str, ...]]]:
    """Lower-case word of a table's lists -> (its place in its list from 0, the list); of equal words the first."""
    found: dict[str, tuple[int, tuple[str, ...]]] = {}
    for name, words in date_words()[table].items():
        if name != "words":
            for place, word in enumerate(words):
                found.setdefault(word.lower(), (place, tuple(words)))
    return found


def _weekday_moved(old: str, days: int) -> str:
    place, names = places_in_lists("weekdays")[old.lower()]
    return names[(place - days) % len(names)]


def _in_form(part: str, new: date, old: str) -> str:
    """A part of the new date as the old one was written."""
    if part == "month" and not old[0].isdecimal():
        return _in_case(_month_in_form(new.month, old), old)
    if part in ("quarter", "season"):
        _, words = places_in_lists(f"{part}s")[old.lower()]
        return _in_case(words[_place_of(part, new)], old)
    value = {"day": new.day, "month": new.month, "year": new.year, "week": new.isocalendar().week}[part]
    return _number_in_form(value, old)


def _place_of(part: str, new: date) -> int:
    """Which quarter or season of a year a day is in, from 0."""
    if part == "quarter":
        return (new.month - 1) // 3
    return (new.month // 3 - 1) % 4


def _number_in_form(value: int, old: str) -> str:
    width = sum(c.isdecimal() for c in old)
    suffix = old[width:]
    if suffix.lower() in ("st", "nd", "rd", "th"):
        suffix = _ORDINALS.get(value, "th")
    return f"{value % 100 if value > 999 and width == 2 else value:0{width}d}{suffix}"


def _month_in_form(month: int, old: str) -> str:
    if old.upper() in ROMAN_MONTHS:
        return next(r for r, m in ROMAN_MONTHS.items() if m == month)
    return months()[old.lower()][1].names[month - 1]


def _in_case(new: str, old: str) -> str:
    if old.isupper() and len(old) > 1:
        return new.upper()
    return new.lower() if old.islower() else new[0].upper() + new[1:]
