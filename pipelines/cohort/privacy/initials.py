"""Initials of people: after a word that asks for them ("dictated by JHT"), as the mark of a typist ("TW/mlz"),
or with full stops where a person is meant ("Patient A.B.", "J.R.M. is a 45-year-old").
"""

import re
from collections.abc import Iterable, Iterator
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


_CAPITALS = r"[A-Z]{2,4}(?!\w)"
_MIXED = r"[A-Z][a-z]{0,3}[A-Z](?!\w)"
"""TvdB"""
_SMALL = r"[a-zäöüß]{2,4}"


@cache
def _asked() -> tuple[re.Pattern[str], ...]:
    """Initials behind a role or a participle, and small ones behind "dictated by"."""
    initials, names = cues()["initials"], cues()["names"]
    by = [phrase for phrase in names["before"] if phrase.split()[-1] in _BY and " " in phrase]
    words = _any_of([*initials["before"], *by])
    return (
        # Small letters are initials behind a colon alone: behind "patient" stand words.
        re.compile(
            rf"""(?<!\w)(?i:{words})\.?[ ]?[:=]?[ ]?
            (?P<initials>{_LARGE}|(?<=:[ ])(?:{_PAIR}|{_SMALL}(?=[\s,.;]|\Z)))""",
            re.VERBOSE,
        ),
        re.compile(rf"(?<!\w)(?i:{_any_of(initials['signed'])})[ ](?P<initials>{_LARGE}|{_SMALL})(?=[,;.\n]|\Z)"),
        re.compile(rf"(?<!\w)(?i:{_any_of(by)})[ ](?P<initials>{_SMALL})(?!\w)"),
    )


_LARGE = rf"{_DOTTED}|{_TWO}|{_CAPITALS}|{_MIXED}"
_PAIR = rf"{_SMALL}/{_SMALL}(?!\w)"
_BEHIND_COLON = re.compile(rf"(?<=[\w.])[ ]?:[ ]?(?P<initials>{_LARGE}|{_PAIR}|{_SMALL}(?=[;,.]|\s*\Z))")
_LONGEST_LABEL, _MOST_WORDS = 40, 3


def _labelled(text: str) -> Iterator[re.Match[str]]:
    """Initials behind a colon and a label that asks for a person."""
    for match in _BEHIND_COLON.finditer(text):
        words = re.findall(
            r"[^\W\d_]+(?:['’-][^\W\d_]+)*", text[max(0, match.start() - _LONGEST_LABEL) : match.start()].lower()
        )
        if any(" ".join(words[-n:]) in _labels() for n in range(1, _MOST_WORDS + 1)):
            yield match


@cache
def _labels() -> frozenset[str]:
    names = cues()["names"]
    return frozenset([*names["before_colon"], *names["before"]])


@cache
def _dotted_by() -> re.Pattern[str]:
    """A.G.P. behind "by", whatever was done."""
    return re.compile(rf"(?<!\w)(?:{_any_of(_BY)})[ ](?P<initials>(?:[A-Z]\.[ ]?){{1,3}}[A-Z]\.)(?![\w]|[ ][A-Z][a-z])")


def _any_of(words: Iterable[str]) -> str:
    return "|".join(re.escape(word) for word in sorted(set(words), key=len, reverse=True))


_BY = ("by", "par", "por", "von", "door", "da", "durch")
"""What a phrase ends with that says who did something."""


@cache
def _asked_again() -> re.Pattern[str]:
    # "... and edited by SO": the words between two cues are not looked at.
    return re.compile(r"(?:,|/|[ ]and)[ ]?(?P<initials>[A-Z]{2,4}|(?:[A-Z]\.){2,3})(?![\w.])")


_BETWEEN_SLASHES = re.compile(r"(?<=[^\W\d_] /[ ])(?P<initials>[a-z]{2,3})(?=[ ]/[ ]\d{1,4}[-./]\d)")
"""J. Roe / ab / 2022-11-14"""
_LONGEST_SMALL = 3
"""Small letters after "typed by" that are initials whatever they spell."""
_DICTATED = re.compile(r"\s*[DT]:\s?\d")
"""D: 3/14/2023, as it follows a typist's mark."""


def initial_spans(text: str) -> Iterator[tuple[str, int, int]]:
    """("name", start, end) of the initials in a text."""
    for matches in (*(pattern.finditer(text) for pattern in _asked()), _labelled(text)):
        for match in matches:
            before = text[: match.start("initials")].rstrip(" :=").lower()
            last = before.rpartition(" ")[2]
            is_asked = before.endswith("initials") or last in (*_BY, *cues()["initials"]["signed"]) or ":" in match[0]
            if _may_be(match["initials"], is_asked):
                yield "name", *match.span("initials")
                following = _asked_again().match(text, match.end())
                if following and _may_be(following["initials"], is_asked):
                    yield "name", *following.span("initials")
    for match in _dotted_by().finditer(text):
        if re.sub(r"[. ]", "", match["initials"]).lower() not in cues()["initials"]["no_initials"]:
            yield "name", *match.span("initials")
    yield from (("name", *m.span("initials")) for m in _BETWEEN_SLASHES.finditer(text))
    for match in _TYPIST.finditer(text):
        first, second = re.split("[/:]", match["initials"])
        is_mark = second.islower() and (_is_unknown(first) or _is_unknown(second))
        if is_mark or _DICTATED.match(text, match.end()):
            yield "name", *match.span("initials")
    yield from (("name", *m.span("initials")) for m in _OF_PERSON.finditer(text))


def _may_be(initials: str, is_asked: bool) -> bool:
    if "." in initials or "/" in initials:
        return True
    if is_asked and not initials.islower():
        return initials.lower() not in cues()["initials"]["no_initials"]
    if is_asked and len(initials) <= _LONGEST_SMALL:
        return kind_of(initials) > WordKind.HEADING and initials not in _small_words()
    return _is_unknown(initials)


@cache
def _small_words() -> frozenset[str]:
    """Articles and prepositions of all languages."""
    names = cues()["names"]
    return frozenset(w for table in ("german", "foreign", "english", "particles", "titles") for w in names[table])


def _is_unknown(word: str) -> bool:
    """Whether letters are no abbreviation or word of reports."""
    return kind_of(word) == WordKind.NAME
