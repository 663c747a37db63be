"""SUV values and slice numbers as radiologists write them, each with its place in the text and what it refers to.

Every number gets one meaning (`number_kinds.py`); each word "SUV" gets its numbers here; each SUV and slice is then
told to belong to the current exam, a prior one, a reference region or a range (`roles.py`).
"""

import re
from functools import lru_cache

from pipelines.reports.rules.number_kinds import (
    DATE,
    LABEL_VALUE,
    NOUN_AFTER,
    OTHER_BEFORE,
    RATIO,
    Number,
    SuvWord,
    classify,
    spaces,
    suv_words,
)
from pipelines.reports.rules.roles import slice_roles, suv_roles
from pipelines.reports.rules.values import Expressions, SliceNumber, SuvValue

LOGIC_VERSION = 4
"""Of `number_kinds.py` and `roles.py` too."""
MAX_SUV = 500.0
"""Above this a number beside "SUV" is a slip (an activity, a slice), not an SUV."""
_TIGHT_WORDS = (
    r"less|greater|more|higher|lower|than|below|above|under|over|exceeding|of|is|was|were|are|at|with|value|values"
    r"|level|measure|measures|measured|measurement|measurements|measuring"
    r"|approximately|approx\.?|about|around|roughly|nearly|up|to|max|maximum|maximal|peak|reaching|reaches|equals?"
    r"|only|now|today|currently|current|a|an|the|has|have|been|demonstrates?|demonstrating|shows?|showing|estimated"
    r"|calculated|being|ca\.?|circa|as|high|low|much|activity|uptake|in|body|weight|bw|exam|study|reading|just|here|it"
    r"|this|time|on|had|still|remains|from|suv|g/ml|standardized|avidity"
)
_TIGHT = re.compile(rf"(?:[\s:=~,\-(\[.>]|(?:{_TIGHT_WORDS})(?![a-z]))*")
_ENDS_OPEN = re.compile(
    r"(?:\b(?:is|of|was|were|are|measures|measured|measuring|at|to|reaching|reaches|approximately|about|around|only"
    r"|now|currently|from|shows|showing|demonstrates|demonstrating|has|had|equals)|[=:~])\s*$"
)
_BREAK = re.compile(r"(?<!\bvs)(?<!\bmax)(?<!\bapprox)(?<!\bca)(?<!\bavg)[.!?]\s|;|\n\s*\n")
_SHORT_CUE = re.compile(r"\bprev\.")
_OF_SOME = re.compile(r"\s*(?:out\s+)?of\s+(?:the\s+)?\d")
_MORE_TIGHT = re.compile(
    r"[\s,(\[:]*(?:(?:and|to|-|from|was|were|is|previously|previous|prior|priorly|compared|with|versus|vs\.?|now"
    r"|currently|today|down|up|&|/|formerly|earlier|then|had|been|measured|measuring|measures|a|an|the|of|at|value|max"
    r"|maximum|or|only|as|to|increased|decreased|had|presently|baseline|initially|respectively|through|until|against"
    r"|on|in|exam|examination|study|scan|pet|pet/ct|comparison|last|most|recent|currently|whereas|while"
    r"|it)(?![a-z])[\s,(\[:]*)*$"
)


@lru_cache(maxsize=1024)
def find_expressions(text: str) -> Expressions:
    """SUV values and slice numbers of a text that `text.clean` and `text.lower` have passed, in reading order.

    Args:
        text: one sentence, or neighbouring sentences of one finding.
    """
    dated = DATE.sub(lambda m: "\x00" * (m.end() - m.start()), text)
    dated = _SHORT_CUE.sub(lambda m: m[0][:-1] + " ", RATIO.sub(spaces, dated))
    words = suv_words(dated)
    numbers, slices = classify(dated)
    suvs = _suv_values(dated, words, numbers, slices)
    slices = slice_roles(dated, slices, suvs)
    taken = {v.start for v in suvs}
    unclaimed = tuple(n.value for n in numbers if n.kind == "free" and n.start not in taken)
    return Expressions(tuple(suvs), tuple(slices), unclaimed)


def _suv_values(text: str, words: list[SuvWord], numbers: list[Number], slices: list[SliceNumber]) -> list[SuvValue]:
    blanked = _blank(text, [n for n in numbers if n.kind != "free"])
    governed: list[tuple[Number, SuvWord | None]] = []
    taken: set[int] = set()
    for i, word in enumerate(words):
        limit = words[i + 1].start if i + 1 < len(words) else len(text)
        rest = [n for n in numbers if n.kind == "free" and word.end <= n.start < limit]
        first = None
        for number in rest:
            gap = blanked[word.end : number.start]
            if _BREAK.search(gap):
                break
            after = text[number.end : number.end + 40]
            if OTHER_BEFORE.search(text[max(word.end, number.start - 40) : number.start]):
                continue
            tight = _TIGHT.fullmatch(gap) is not None
            if tight or (
                len(gap.strip()) <= 90
                and (not number.is_integer or (_ENDS_OPEN.search(gap) is not None and not NOUN_AFTER.match(after)))
            ):
                first = number
                break
        if first is None or _TIGHT.fullmatch(blanked[word.end : first.start]) is None:
            ahead = _number_right_before(text, word, numbers, taken)
            if ahead is not None:
                compared = _compared_with(text, ahead, numbers, taken)
                governed += [(n, word) for n in (compared, ahead) if n is not None]
                taken |= {n.start for n in (compared, ahead) if n is not None}
                # What follows "a 4.2 SUVmax lesion" is no longer this word's value.
                first = None
        if first is None or first.start in taken:
            continue
        governed.append((first, word))
        taken.add(first.start)
        last = first
        for number in rest[rest.index(first) + 1 :]:
            gap = blanked[last.end : number.start]
            after = text[number.end : number.end + 40]
            if OTHER_BEFORE.search(text[max(last.end, number.start - 40) : number.start]):
                continue
            if number.is_integer:
                if (
                    not _MORE_TIGHT.fullmatch(gap)
                    or not gap.strip()
                    or NOUN_AFTER.match(after)
                    or _OF_SOME.match(after)
                ):
                    continue
            elif len(gap.strip()) > 90:
                break
            if (
                i + 1 < len(words)
                and _number_right_before(text, words[i + 1], [number], set())
                and not _has_tight_value(blanked, words[i + 1], numbers)
            ):
                break
            governed.append((number, word))
            taken.add(number.start)
            last = number
    if not governed:
        match = LABEL_VALUE.search(text)
        while match is not None:
            at = match.start("number")
            governed += [(n, None) for n in numbers if n.start == at and n.kind == "free"]
            match = LABEL_VALUE.search(text, match.end())
    governed.sort(key=lambda g: g[0].start)
    governed = [g for g in governed if 0 < g[0].value <= MAX_SUV]
    return suv_roles(text, governed, slices)


def _has_tight_value(blanked: str, word: SuvWord, numbers: list[Number]) -> bool:
    return any(
        n.kind == "free" and n.start >= word.end and _TIGHT.fullmatch(blanked[word.end : n.start]) for n in numbers
    )


_UP_TO_WORD = re.compile(r"\s*[(\[]?\s*(?:g/ml\s+)?")
_A_BEFORE = re.compile(r"(?:^|[,;:(]|\b(?:an?|with))\s*$")


def _number_right_before(text: str, word: SuvWord, numbers: list[Number], taken: set[int]) -> Number | None:
    for number in numbers:
        is_free = number.kind == "free" and number.end <= word.start and number.start not in taken
        if not is_free or not _UP_TO_WORD.fullmatch(text, number.end, word.start):
            continue
        ahead = text[max(0, number.start - 40) : number.start]
        # "segment 5 SUV max": a whole number before the word is the SUV only after words that lead to one.
        if not OTHER_BEFORE.search(ahead) and (
            not number.is_integer or _ENDS_OPEN.search(ahead) or _A_BEFORE.search(ahead)
        ):
            return number
    return None


_THAN_NUMBER = re.compile(r"\s*(?:versus|vs\.?|compared\s+(?:to|with)|as\s+compared\s+(?:to|with)|against)\s+")


def _compared_with(text: str, number: Number, numbers: list[Number], taken: set[int]) -> Number | None:
    """The 4.4 of "now 4.4 versus 9.8 SUVmax"."""
    for other in numbers:
        is_free = other.kind == "free" and not other.is_integer and other.start not in taken
        if is_free and other.end <= number.start and _THAN_NUMBER.fullmatch(text, other.end, number.start):
            return other
    return None


def _blank(text: str, numbers: list[Number]) -> str:
    """Text with the numbers of other kinds, and the parentheses that hold nothing else than them, made spaces."""
    letters = list(text)
    for number in numbers:
        letters[number.start : number.end] = " " * (number.end - number.start)
    blanked = "".join(letters)
    return re.sub(
        r"\((?:[\s,/:#.\-x]|(?:axial|transaxial|pet|ct|fused|ac|series|slices?|images?|img|im|se|ser|no|number"
        r"|location|on|and|of|cm|mm|see|e\.g\.|for example)(?![a-z]))*\)|\x00+",
        lambda m: " " * (m.end() - m.start()),
        blanked,
    )
