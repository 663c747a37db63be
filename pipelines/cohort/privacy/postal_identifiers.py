"""Streets, towns with a state or a postal code, postal codes, boxes."""

import re
from collections.abc import Iterable, Iterator
from functools import cache

from pipelines.cohort.privacy.measured_numbers import is_measured
from pipelines.cohort.privacy.name_words import WordKind, cues, kind_of

_UPPER_WORD = r"[^\W\d_a-zß-öø-ÿ][^\W\d_]*\.?"
_POSTCODE_UK = re.compile(r"\b[A-Z]{1,2}\d[A-Z\d]?\s\d[A-BD-HJLNP-UW-Z]{2}\b")
_POSTAL_CITY = re.compile(
    rf"(?<![\w.,/-])(?:[A-Z]{{1,2}}-)?\d{{4,5}}(?:\s[A-Z]{{2}})?\s(?P<city>{_UPPER_WORD})(?:[ -]{_UPPER_WORD})?"
)
_CITY_POSTAL = re.compile(
    rf"(?P<city>{_UPPER_WORD})(?:,?[ ][A-Z]{{2}})?,?[ ](?P<zip>\d{{5}}(?:-\d{{4}})?)(?![\w]|[.,]\d)"
)


def _any_of(words: Iterable[str]) -> str:
    return "|".join(re.escape(word) for word in sorted(words, key=len, reverse=True))


@cache
def _postal_codes() -> re.Pattern[str]:
    words = _any_of(cues()["places"]["postal_codes"])
    return re.compile(
        rf"(?i:\b(?:{words}))\s*:?\s*(?P<zip>\d{{4,5}}(?:-\d{{4}})?|\d{{4}}[ ]?[A-Z]{{2}})(?![\w]|[.,]\d)"
    )


@cache
def _boxes() -> re.Pattern[str]:
    return re.compile(rf"\b(?i:{_any_of(cues()['places']['boxes'])})\s+\d{{1,6}}")


@cache
def _states() -> str:
    return _any_of(cues()["places"]["states"])


@cache
def _city_state() -> re.Pattern[str]:
    names = _any_of(cues()["places"]["state_names"])
    return re.compile(
        rf"\b{_UPPER_WORD}(?:\s{_UPPER_WORD}){{0,2}},\s*(?:(?:{_states()})\b|(?={names}\b))(?:\s+\d{{5}}(?:-\d{{4}})?)?"
    )


@cache
def _may_be_state() -> re.Pattern[str]:
    return re.compile(rf",\s*(?:{_states()}|{_any_of(cues()['places']['state_names'])})\b")


_ROADS = re.compile(r"\b(?:State[ ]|County[ ]|US[ ])?(?:Route|Highway|Interstate)[ -]\d{1,4}\b")
_LONGEST_HOUSE_NUMBER = 7
_SMALL_WORD = re.compile(r"[^\W\d_]{2,}")


@cache
def _street_words() -> tuple[frozenset[str], tuple[str, ...]]:
    """(words that begin a street's name, endings of one)."""
    places = cues()["places"]
    return frozenset(places["streets_before"]), (*places["streets_ending"], "str")


@cache
def _streets() -> tuple[tuple[re.Pattern[str], ...], tuple[re.Pattern[str], ...]]:
    """Patterns of addresses that begin with a number, and of such that have it behind the street."""
    places = cues()["places"]
    after = "|".join(word.capitalize() for word in places["streets_after"])
    before = "|".join(re.escape(word) for word in places["streets_before"])
    ending = "|".join(places["streets_ending"])
    number, house = r"\d{1,5}[A-Za-z]?", r"\d{1,4}"
    town = r"[^\W\d_]+(?:[ -][^\W\d_]+)?"
    capital = r"[A-Z][^\W\d_]+(?:[ -][A-Z][^\W\d_]+)?"
    articles = r"(?:(?:de|du|des|dei|delle|degli|la|le|les|del|della|di|da|do|dos|las|los)\s+){0,2}"
    city = rf"(?:,\s*\d{{4,5}}(?:\s[A-Z]{{2}})?\s{town}(?:[ ]\([A-Z]{{2}}\))?|,\s*{capital})?"
    state = rf"(?:,?\s+(?:{_states()})\b)?(?:\s+\d{{5}}(?:-\d{{4}})?)?"
    flat = r"(?:,?\s+(?:Apt|Suite|Unit|Flat|\#)\.?\s*\w+)?"
    floor = r"(?:,\s*\d{1,2}\.?[ºª°]\.?(?:\s[A-Z]\b)?)?"
    begin_with_number = (
        # 12 Larkspur Court, Apt 4B, Eau Claire, WI 54701
        re.compile(
            rf"""\b{number}\s+
            (?:[NSEW]\.?\s+)?
            (?:(?:[A-Z][a-z]+\.?|\d{{1,3}}(?:st|nd|rd|th))\s+){{1,3}}
            (?:{after})\b\.?
            (?:\s[A-Z]{{1,2}}\b)?
            {flat}{city}{state}""",
            re.VERBOSE,
        ),
        # 27 rue des Peupliers, 69003 Lyon
        re.compile(rf"\b{number}(?:\s?(?:bis|ter))?,?\s+(?i:{before})\s+{articles}{town}{city}"),
    )
    end_with_number = (
        # Calle de Alcalá 148, 28009 Madrid
        re.compile(
            rf"""(?<!\w)(?i:{before})\.?\s+
            {articles}{capital},?\s+
            (?:n[.º°]?\s?)?{house}\b
            {floor}{city}""",
            re.VERBOSE,
        ),
        # Lindenstraße 14, 50674 Köln
        re.compile(
            rf"""\b[A-ZÄÖÜ][^\W\d_]{{2,30}}(?:{ending}|str\.)\s+
            {house}(?:\s?[a-z]|-[IVX\d]{{1,4}})?\b
            {city}""",
            re.VERBOSE,
        ),
    )
    return begin_with_number, end_with_number


def postal_spans(text: str, chunks: list[tuple[int, int]]) -> Iterator[tuple[str, int, int]]:
    """("address", start, end) of the postal addresses in a text.

    Args:
        text: a report.
        chunks: where its words with digits stand.
    """
    patterns: list[re.Pattern[str]] = [_POSTCODE_UK]
    if _may_be_state().search(text):
        patterns.append(_city_state())
    begin_with_number, end_with_number = _streets()
    words = set(_SMALL_WORD.findall(text.lower()))
    before, ending = _street_words()
    if "/" in text or not before.isdisjoint(words) or any(word.endswith(ending) for word in words):
        patterns += end_with_number
    patterns.append(_boxes())
    for start, end in chunks:
        is_number = text[start].isdecimal() and end - start <= _LONGEST_HOUSE_NUMBER
        for pattern in begin_with_number if is_number else ():
            if match := pattern.match(text, start):
                yield "address", *match.span()
    if "oute" in text or "ighway" in text or "nterstate" in text:
        patterns.append(_ROADS)
    for pattern in patterns:
        yield from (("address", *m.span()) for m in pattern.finditer(text))
    yield from (("address", *m.span("zip")) for m in _postal_codes().finditer(text))
    for match in _POSTAL_CITY.finditer(text):
        if (
            kind_of(match["city"].strip(".")) == WordKind.NAME
            and not match["city"].isupper()
            and not is_measured(text, match.start())
        ):
            yield "address", *match.span()
    for match in _CITY_POSTAL.finditer(text):
        if kind_of(match["city"].strip(".")) == WordKind.NAME and not match["city"].isupper():
            yield "address", *match.span()
