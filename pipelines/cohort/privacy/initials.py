"""Initials of people: after a word that asks for them ("dictated by JHT"), as the mark of a typist ("TW/mlz"),
or with full stops where a person is meant ("Patient A.B.", "J.R.M. is a 45-year-old").
"""

import re
from collections.abc import Iterator
from functools import cache

from pipelines.cohort.privacy.name_words import WordKind, cues, kind_of

_DOTTED = r"(?:[A-Z]\.[ ]?){1,3}[A-Z]\.?"
_TWO = r"[A-Z][^\W\d_]{1,3}/[^\W\d_]{2,4}(?!\w)"
"""Sch/mü: who dictated, who typed."""
_OF_PERSON = re.compile(
    rf"(?<![\w.])(?P<initials>{_DOTTED})(?=,?[ ](?:is|was|has)[ ](?:an?|now)\b|,?[ ]\d{{1,3}}[ -]y)"
)
"""J.R.M. is a 45-year-old."""
_TYPIST = re.compile(r"(?<![^\s(])(?P<initials>[A-Z]{2,4}[/:](?:[a-z]{2,4}|[A-Z]{2,4}))(?=[\s.,)]|\Z)", re.MULTILINE)
"""TW/mlz, GH:rt."""


@cache
def _asked() -> re.Pattern[str]:
    words = "|".join(re.escape(word) for word in sorted(cues()["initials"]["before"], key=len, reverse=True))
    # Small letters are initials after "typed by" and a colon alone: behind "patient" stand words.
    small = r"(?<=by )[a-z]{2,4}(?!\w)|(?<=: )[a-z]{2,4}(?=[\s,.;]|\Z)"
    return re.compile(rf"(?<!\w)(?i:{words})\.?[ ]?[:=]?[ ]?(?P<initials>{_DOTTED}|{_TWO}|[A-Z]{{2,4}}(?!\w)|{small})")


@cache
def _asked_again() -> re.Pattern[str]:
    # "... and edited by SO": the words between two cues are not looked at.
    return re.compile(r"(?:,|/|[ ]and)[ ]?(?P<initials>[A-Z]{2,4}|(?:[A-Z]\.){2,3})(?![\w.])")


_LONGEST_SMALL = 3
"""Small letters after "typed by" that are initials whatever they spell."""
_DICTATED = re.compile(r"\s*[DT]:\s?\d")
"""D: 3/14/2023, as it follows a typist's mark."""


def initial_spans(text: str) -> Iterator[tuple[str, int, int]]:
    """("name", start, end) of the initials in a text."""
    for match in _asked().finditer(text):
        is_after_by = text[: match.start("initials")].rstrip(" :=").lower().endswith((" by", "initials"))
        if _may_be(match["initials"], is_after_by):
            yield "name", *match.span("initials")
            following = _asked_again().match(text, match.end())
            if following and _may_be(following["initials"], is_after_by):
                yield "name", *following.span("initials")
    for match in _TYPIST.finditer(text):
        first, second = re.split("[/:]", match["initials"])
        is_mark = second.islower() and (_is_unknown(first) or _is_unknown(second))
        if is_mark or _DICTATED.match(text, match.end()):
            yield "name", *match.span("initials")
    yield from (("name", *m.span("initials")) for m in _OF_PERSON.finditer(text))


def _may_be(initials: str, is_after_by: bool) -> bool:
    if "." in initials or "/" in initials:
        return True
    if is_after_by and initials.isupper():
        return initials.lower() not in cues()["initials"]["no_initials"]
    if is_after_by and len(initials) <= _LONGEST_SMALL:
        return kind_of(initials) > WordKind.HEADING
    return _is_unknown(initials)


def _is_unknown(word: str) -> bool:
    """Whether letters are no abbreviation or word of reports."""
    return kind_of(word) == WordKind.NAME
