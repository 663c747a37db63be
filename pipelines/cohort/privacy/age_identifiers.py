"""Ages over 89, which the safe harbor names (45 CFR 164.514(b)(2)(i)(C))."""

import re
from collections.abc import Iterator
from functools import cache

from pipelines.cohort.privacy.name_words import cues

_AGE = re.compile(r"(?<![\w.,/-])(9\d|1[0-2]\d)(?![\d]|[.,/:]\d|-\d)")
_AGE_IN_COMMAS = re.compile(r"[A-Z][^\W\d_]*(?:['’-][^\W\d_]+)*, \d{2,3}, \Z")
"""A word with a capital, a number and a comma: "Smith, 93, "."""
_YEARS_AND_MONTHS = re.compile(r"[ ]?y(?:rs?)?[ ,]{1,2}\d{1,2}[ ]?m(?:o|os|onths?|ths?)?\b")
"""95 y 4 m"""
_REACH = 16
"""Characters before an age in which its cue may stand."""


@cache
def _age_cues() -> tuple[frozenset[str], frozenset[str]]:
    return frozenset(cues()["ages"]["before"]), frozenset(cues()["ages"]["after"])


def age_spans(text: str) -> Iterator[tuple[str, int, int]]:
    """("age", start, end) of the ages over 89 in a text, in digits or words."""
    yield from (("age", *m.span()) for m in _in_words().finditer(text))
    before, after = _age_cues()
    for match in _AGE.finditer(text):
        following = re.match(
            r"[\s-]{0,2}([^\W\d_]+(?:[\s/.-]{1,2}[^\W\d_]+){0,2})", text[match.end() : match.end() + 24]
        )
        words = re.split(r"[\s/.-]+", following[1].lower()) if following else []
        phrases = {" ".join(words[:n]) for n in (1, 2, 3)} | {"-".join(words[:2]), "/".join(words[:2])}
        is_near = bool(following) and text[match.end()] not in " \n" and len(words[0]) <= 3
        hit = phrases & after
        # "95 f" is nothing, "95f" is an age.
        if hit - {"f", "m", "y"} or (hit and is_near) or _YEARS_AND_MONTHS.match(text, match.end()):
            yield "age", *match.span()
            continue
        if _AGE_IN_COMMAS.search(text[max(0, match.start() - 20) : match.end() + 2]):
            yield "age", *match.span()
            continue
        preceding = re.findall(r"[^\W\d_]+", text[max(0, match.start() - _REACH) : match.start()].lower())
        if preceding and (preceding[-1] in before or " ".join(preceding[-2:]) in before):
            gap = text[max(0, match.start() - _REACH) : match.start()].lower().rpartition(preceding[-1])[2]
            if gap.strip(" :=-") == "":
                yield "age", *match.span()


@cache
def _in_words() -> re.Pattern[str]:
    ages = cues()["ages"]
    tens, units = ("|".join(sorted(ages[key], key=len, reverse=True)) for key in ("tens", "units"))
    in_words = rf"(?:{tens})(?:[ -](?:{units}))?"
    # ninety-four year old; aged ninety-one; turned ninety; in her nineties; and what other languages say
    others = "|".join(ages["words"])
    return re.compile(
        rf"""\b{in_words}(?:[ -]years?(?:[ -]old|\s+of\s+age)?\b|[ -]y(?:ear)?[ /-]?o(?:ld)?\b)
        | (?<=\baged[ ]){in_words}\b
        | (?<=\bturned[ ]){in_words}\b
        | (?<=\bturning[ ]){in_words}\b
        | (?<=\bhis[ ])nineties\b | (?<=\bher[ ])nineties\b
        | (?<=\bearly[ -])nineties\b | (?<=\bmid[ -])nineties\b | (?<=\blate[ -])nineties\b
        | \b(?:{others})\b""",
        re.IGNORECASE | re.VERBOSE,
    )
