"""Whether a number measures something or counts slices, by the words beside it: such numbers are never masked."""

import re
from functools import cache

from pipelines.cohort.privacy.name_words import cues

_REACH = 40
"""Characters before a number in which the word may stand."""


@cache
def _measured() -> re.Pattern[str]:
    words = "|".join(re.escape(word) for word in sorted(cues()["measures"]["before"], key=len, reverse=True))
    return re.compile(rf"(?:\b(?:SUV\w*|{words})\W{{0,3}}(?:\d+\W{{1,3}}){{0,3}})\Z", re.IGNORECASE)


def is_measured(text: str, start: int) -> bool:
    """Whether a word before a number says that it measures or counts slices."""
    return _measured().search(text[max(0, start - _REACH) : start]) is not None


@cache
def _units() -> frozenset[str]:
    return frozenset(cues()["measures"]["units"])


def is_unit_after(text: str, end: int) -> bool:
    """Whether a unit stands behind a number."""
    following = re.match(r"\s?([A-Za-z]+)", text[end : end + 8])
    return following is not None and following[1].lower() in _units()
