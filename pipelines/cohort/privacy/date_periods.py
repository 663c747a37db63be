"""Quarters, seasons, weeks and named days: what tells a date without a day or a month, where a year stands beside."""

import re
from collections.abc import Iterable, Iterator
from datetime import date
from functools import cache

from pipelines.cohort.privacy.found_dates import SEASON_MONTHS, FoundDate, date_words, months, places_in_lists

_YEAR = r"(?:19\d|20\d|21[0-4])\d"
_MOST_WEEKS = 53
_MID_QUARTER = (2, 5, 8, 11)
"""Months that stand for a quarter."""
_MID_WEEK = 4
_CENTURY_FROM = 70


_MAY_BE_PERIOD = re.compile(r"Q[ ]?[1-4]|[1-4]Q")


@cache
def _period_words() -> tuple[str, ...]:
    seasons, words = places_in_lists("seasons"), date_words()
    return (*seasons, *words["quarters"]["words"], *words["weeks"]["before"])


def century_of(year: int) -> int:
    """A year of two digits as one of four: from 70 on it is of the 20th century."""
    return year if year > 99 else year + (1900 if year >= _CENTURY_FROM else 2000)


def find_periods(text: str) -> Iterator[FoundDate]:
    """Quarters, seasons and weeks of a year: "Q3 2019", "second quarter of 2018", "spring 2017", "wk 14/2021"."""
    # Most texts hold none: a look for the words is cheaper than all patterns.
    low = text.lower()
    if not _MAY_BE_PERIOD.search(text) and not any(word in low for word in _period_words()):
        return
    for pattern in _quarter_patterns():
        for match in pattern.finditer(text):
            place = places_in_lists("quarters")[match["quarter"].lower()][0]
            yield _found(match, "quarter", _MID_QUARTER[place])
    for match in _season_pattern().finditer(text):
        place = places_in_lists("seasons")[match["season"].lower()][0]
        yield _found(match, "season", SEASON_MONTHS[place])
    for match in _week_pattern().finditer(text):
        week, year = int(match["week"]), century_of(int(match["year"]))
        if 1 <= week <= _MOST_WEEKS:
            day = date.fromisocalendar(year, min(week, _weeks_of(year)), _MID_WEEK)
            yield _found(match, "week", day.month, day.day)


def named_days(text: str) -> Iterator[tuple[int, int]]:
    """Spans of holidays that a year follows or a word like "before" precedes, the year with them; of days in words
    beside a month: "the fourteenth of May".
    """
    low = text.lower()
    if not months().keys().isdisjoint(_LETTERS.findall(low)):
        yield from (match.span() for match in _days_in_words().finditer(text))
    if not any(day in text for day in date_words()["holidays"]["days"]):
        return
    for match in _holiday_pattern().finditer(text):
        if match["year"] or match["before"]:
            yield match.start("day"), match.end()


def _found(match: re.Match[str], part: str, month: int, day: int | None = None) -> FoundDate:
    spans = sorted((*match.span(name), name) for name in (part, "year"))
    year = century_of(int(match["year"]))
    return FoundDate(match.start(), match.end(), tuple((p, s, e) for s, e, p in spans), year, month, day)


def _weeks_of(year: int) -> int:
    return date(year, 12, 28).isocalendar().week


def _any_of(words: Iterable[str]) -> str:
    return "|".join(re.escape(word) for word in sorted(set(words), key=len, reverse=True))


@cache
def _quarter_patterns() -> tuple[re.Pattern[str], ...]:
    table = date_words()["quarters"]
    words = _any_of(table["words"])
    ordinals = _any_of(word for name, row in table.items() if name != "words" for word in row)
    link = r"(?:,?[ ](?:of|de|del|des|van|du|di|von)[ ](?:the[ ]year[ ])?|[ ]?[/,'’-][ ]?|[ ])"
    before, end = r"(?<![\w.])", r"(?![\w]|[.,/]\d)"
    return (
        # Q3 2019, Q3/2019
        re.compile(rf"{before}Q[ ]?(?P<quarter>[1-4]){link}(?P<year>{_YEAR}){end}"),
        # Q1/21
        re.compile(rf"{before}Q(?P<quarter>[1-4])[ ]?[/'’-](?P<year>\d\d){end}"),
        # 4Q21, 3Q 2019
        re.compile(rf"{before}(?P<quarter>[1-4])Q[ ]?['’/]?(?P<year>{_YEAR}|\d\d){end}"),
        # 2019 Q3, 2019-Q3
        re.compile(rf"{before}(?P<year>{_YEAR})[ ]?[-/]?[ ]?Q(?P<quarter>[1-4])(?!\w)"),
        # second quarter of 2018, 3. Quartal 2019, 1er trimestre 2020
        re.compile(rf"{before}(?P<quarter>{ordinals})[ ](?:{words}){link}(?P<year>{_YEAR}){end}", re.IGNORECASE),
        # quarter 3 of 2019
        re.compile(rf"{before}(?:{words})[ ](?P<quarter>[1-4]|IV|I{{1,3}}){link}(?P<year>{_YEAR}){end}", re.IGNORECASE),
    )


@cache
def _season_pattern() -> re.Pattern[str]:
    seasons = _any_of(places_in_lists("seasons"))
    # spring 2017, summer of 2015, Herbst 2016
    link = r"(?:,?[ ](?:of|de|del|van|di|des)[ ](?:the[ ]year[ ])?|,?[ ]|['’/-])"
    return re.compile(rf"(?<!\w)(?<!\ba[ ])(?P<season>{seasons}){link}(?P<year>{_YEAR})(?![\w]|[.,]\d)", re.IGNORECASE)


@cache
def _week_pattern() -> re.Pattern[str]:
    cues = _any_of(date_words()["weeks"]["before"])
    # wk 14/2021, KW 7 2021, week 3 of 2020
    link = r"(?:[ ]?[/-][ ]?|[ ](?:of|de|del|van|di|des)[ ]|[ ])"
    return re.compile(
        rf"(?<!\w)(?:{cues})\.?[ ]?(?P<week>\d{{1,2}}){link}(?P<year>{_YEAR})(?![\w]|[.,]\d)", re.IGNORECASE
    )


_LETTERS = re.compile(r"[^\W\d_]{3,}")


@cache
def _days_in_words() -> re.Pattern[str]:
    table = date_words()["day_words"]
    days = _any_of(word for language, words in table.items() if language != "years" for word in words)
    english, named = _any_of(table["en"]), _any_of(name for name in months() if len(name) >= _SHORTEST_MONTH)
    # "the second may be": of May the capital tells.
    named = rf"{named}|(?-i:May)"
    year = rf"(?:,?[ ](?:(?:de|del|of)[ ])?(?:{_YEAR}|{'|'.join(table['years'])}))?"
    # fourteenth of May twenty nineteen, veinte de marzo de 2018; May fourteenth
    return re.compile(
        rf"""(?<![\w-])
        (?: (?:{days})[ ](?:(?:of|de|di)[ ])?(?:{named})
          | (?:{named})[ ](?:the[ ])?(?:{english})
        )(?![\w-])
        {year}""",
        re.IGNORECASE | re.VERBOSE,
    )


_SHORTEST_MONTH = 4


@cache
def _holiday_pattern() -> re.Pattern[str]:
    table = date_words()["holidays"]
    days, before = _any_of(table["days"]), _any_of(table["before"])
    day = rf"(?P<day>(?:{days})(?:(?:,|[ ]of|[ ]de|[ ]del)?[ ](?P<year>{_YEAR}))?)"
    return re.compile(rf"(?<!\w)(?:(?P<before>{before})[ ])?{day}(?!\w)")
