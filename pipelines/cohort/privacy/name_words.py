"""What a word with a capital can be: part of a name, a word of medicine or of the language, or either."""

import tomllib
import unicodedata
from collections.abc import Mapping
from enum import IntEnum
from functools import cache
from importlib import resources
from typing import Any

_NO_WORDS = (
    "words",
    "german",
    "foreign",
    "english",
    "eponyms_of",
    "medical_endings",
    "particles",
    "states",
    "state_names",
)
"""Lists of cues that hold no words of English or medicine."""
_HEADINGS_AFTER = "# Headings"


class WordKind(IntEnum):
    """What a word is, from what is never a name to what can only be one."""

    HEADING = 0
    """Stands where a name could: a heading, a role, a word of every report."""
    EPONYM = 1
    """An eponym of medicine, a drug, a maker, a nation."""
    COMMON = 2
    """A word of the language or of medicine."""
    EITHER = 3
    """A word that is a name as well: Small, Grace."""
    NAME = 4
    """In no list of words."""


def _lines(name: str) -> list[str]:
    return (resources.files(__package__) / name).read_text("utf-8").splitlines()


def _words(lines: list[str]) -> frozenset[str]:
    return frozenset(word for line in lines if not line.startswith("#") for word in line.lower().split())


@cache
def common_words() -> frozenset[str]:
    """Words of technical and medical English, in lower case."""
    lists = [item for name, table in cues().items() if name != "around" for item in table.items()]
    asked = [phrase for name, phrases in lists if name not in _NO_WORDS for phrase in phrases]
    # "van" of "leeftijd van" is a part of names.
    return _words([*_lines("common_words.txt"), *asked]) - frozenset(cues()["names"]["particles"])


@cache
def given_names() -> frozenset[str]:
    """Given names of many languages, in lower case."""
    return _words(_lines("given_names.txt"))


@cache
def words_and_names() -> frozenset[str]:
    """Surnames that are words too, in lower case: alone they are names inside a sentence only."""
    return _words(_lines("word_names.txt"))


@cache
def _no_names() -> tuple[frozenset[str], frozenset[str]]:
    lines = _lines("no_names.txt")
    at = next(n for n, line in enumerate(lines) if line.startswith(_HEADINGS_AFTER))
    return _words(lines[:at]), _words(lines[at:])


@cache
def cues() -> Mapping[str, Any]:
    """The tables of `identifier_cues.toml`."""
    return tomllib.loads("\n".join(_lines("identifier_cues.toml")))


@cache
def medical_endings() -> tuple[str, ...]:
    """Endings of words of medicine."""
    return tuple(cues()["names"]["medical_endings"])


def bare(word: str) -> str:
    """A word in lower case without a possessive s."""
    low = word.lower()
    return low[:-2] if low.endswith(("'s", "’s")) else low


def is_given_name(word: str) -> bool:
    """Whether a word is a given name, with or without its accents."""
    low = bare(word)
    if low in given_names():
        return True
    plain = unaccented(low)
    return plain != low and plain in given_names()


def unaccented(text: str) -> str:
    """A text without its accents."""
    if text.isascii():
        return text
    return "".join(c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c))


@cache
def _kind_of(low: str) -> WordKind:
    eponyms, headings = _no_names()
    if low in headings:
        return WordKind.HEADING
    if low in eponyms:
        return WordKind.EPONYM
    if is_given_name(low) or low in words_and_names():
        return WordKind.EITHER if low in words_and_names() or low in common_words() else WordKind.NAME
    if low in common_words() or low[_SHORTEST_STEM:].endswith(medical_endings()):
        return WordKind.COMMON
    # Plurals and past forms of words of the list.
    if any(low.endswith(end) and low[: -len(end)] in common_words() for end in ("s", "es", "ed", "d", "ing", "ly")) or (
        low.endswith("ing") and f"{low[:-3]}e" in common_words()
    ):
        return WordKind.COMMON
    return WordKind.NAME


def kind_of(word: str) -> WordKind:
    """What a word is; a compound is what its least name-like part is not: "Erdheim-Chester" is an eponym."""
    low = bare(word)
    if "-" not in low:
        return _kind_of(low) if len(low) < _LONGEST_CACHED else WordKind.NAME
    kinds = [_kind_of(part) for part in low.split("-") if len(part) > 1] or [WordKind.COMMON]
    if WordKind.EPONYM in kinds:
        return WordKind.EPONYM
    return max(kinds)


_LONGEST_CACHED = 40
_SHORTEST_STEM = 2
"""Letters before an ending of medicine: "Roma" has too few."""


def is_no_name(word: str) -> bool:
    """Whether a word is never taken for a name, but after a title: eponyms, headings, words of every report."""
    return kind_of(word.strip(".,;:()")) <= WordKind.EPONYM
