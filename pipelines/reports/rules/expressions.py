"""SUV values and slice numbers as radiologists write them, each with its place in the text and what it refers to.

Every number gets one meaning (`number_kinds.py`); each word "SUV" gets its numbers here; each SUV and slice is then
told to belong to the current exam, a prior one, a reference region or a range (`roles.py`).
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache

from pipelines.reports.rules.number_kinds import Number, SuvWord, classify, spaces, suv_words
from pipelines.reports.rules.roles import Governed, slice_roles, suv_roles
from pipelines.reports.rules.values import Expressions
from pipelines.reports.vocabulary.cues import Cues
from pipelines.reports.vocabulary.vocabulary import Vocabulary, package_vocabulary

MAX_SUV = 500.0
"""Above this a number beside "SUV" is a slip (an activity, a slice), not an SUV."""
_MAX_GAP = 90
"""Characters that may part a decimal number from the word SUV or from the value before it."""
_REACH = 40
"""Characters before and behind a number that can say that it is no SUV."""
_PARENTHESIS = re.compile(r"[()\[\]]")


def find_expressions(text: str, vocabulary: Vocabulary | None = None) -> Expressions:
    """SUV values and slice numbers of a text that `text.clean` and `text.lower` have passed, in reading order.

    Args:
        text: one sentence, or neighbouring sentences of one finding.
        vocabulary: by default the package's, for English.
    """
    words = vocabulary or package_vocabulary()
    if words.glossary is None:
        return _find(text, words.cues)
    read = words.read(text)
    found = _find(read.text, words.cues)
    suvs = tuple(replace(v, start=a, end=b) for v in found.suvs for a, b in [read.original(v.start, v.end)])
    slices = tuple(replace(s, start=a, end=b) for s in found.slices for a, b in [read.original(s.start, s.end)])
    return Expressions(suvs, slices, found.unclaimed)


@lru_cache(maxsize=1024)
def _find(text: str, cues: Cues) -> Expressions:
    dated = cues["date"].sub(lambda m: "\x00" * (m.end() - m.start()), text)
    dated = cues["suv_unit"].sub(spaces, dated)
    dated = cues["measure_aside"].sub(lambda m: _PARENTHESIS.sub(" ", m[0]), dated)
    dated = cues["short_cue"].sub(lambda m: m[0][:-1] + " ", cues["ratio"].sub(spaces, dated))
    numbers, slices = classify(dated, cues)
    words = _Text(dated, cues, numbers)
    governed = [g for g in words.governed(suv_words(dated, cues)) if 0 < g[0].value <= MAX_SUV]
    roles = suv_roles(dated, governed, slices, cues)
    suvs = [replace(value, is_near=words.is_near(*g)) for value, g in zip(roles, governed, strict=True)]
    slices = slice_roles(dated, slices, suvs, cues)
    taken = {v.start for v in suvs}
    unclaimed = tuple(n.value for n in numbers if n.kind == "free" and n.start not in taken)
    return Expressions(tuple(suvs), tuple(slices), unclaimed)


@dataclass
class _Text:
    """A text in which words find their values; `taken` holds the starts of the numbers that have a word."""

    text: str
    cues: Cues
    numbers: Sequence[Number]
    taken: set[int] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.free = [n for n in self.numbers if n.kind == "free"]
        self.blanked = self._blanked()

    def governed(self, words: Sequence[SuvWord]) -> list[Governed]:
        """The numbers that words govern, or that stand in a list without any, in reading order."""
        out: list[Governed] = []
        for i, word in enumerate(words):
            out += [(n, word) for n in self._values_of(word, words[i + 1] if i + 1 < len(words) else None)]
        if not out:
            starts = {m.start("number") for m in self.cues["label_value"].finditer(self.text)}
            out = [(n, None) for n in self.free if n.start in starts]
        return sorted(out, key=lambda g: g[0].start)

    def is_near(self, number: Number, word: SuvWord | None) -> bool:
        """Whether a value stands right beside its word, or is said of a place of its own ("and 4.2 on the left")."""
        if word is None or number.end <= word.start or self._is_tight(word.end, number.start):
            return True
        return self.cues["placed_value"].match(self.text, number.end) is not None

    def _values_of(self, word: SuvWord, following: SuvWord | None) -> list[Number]:
        limit = following.start if following else len(self.text)
        rest = [n for n in self.free if word.end <= n.start < limit]
        first = self._first_value(word, rest)
        if first is None or not self._is_tight(word.end, first.start):
            ahead = self._right_before(word, self.free)
            if ahead is not None:
                # What follows "a 4.2 SUVmax lesion" is no longer this word's value.
                compared = self._compared_with(ahead)
                return self._take([n for n in (compared, ahead) if n is not None])
        if first is None or first.start in self.taken:
            return []
        values = [first]
        for number in rest[rest.index(first) + 1 :]:
            is_next = self._is_next_value(values[-1], number)
            if is_next is None:
                break
            if not is_next or (following and self._is_label_of(number, following)):
                continue
            if following and self._leads_to(number, following):
                break
            values.append(number)
        return self._take(values)

    def _take(self, numbers: list[Number]) -> list[Number]:
        self.taken |= {n.start for n in numbers}
        return numbers

    def _first_value(self, word: SuvWord, rest: Sequence[Number]) -> Number | None:
        for number in rest:
            gap = self.blanked[word.end : number.start]
            if self.cues["value_break"].search(gap):
                return None
            if self._is_of_other_word(number, word.end):
                continue
            is_led_to = self.cues["leads_to_value"].search(gap) is not None and not self._is_counted(number)
            is_near = len(gap.strip()) <= _MAX_GAP and (not number.is_integer or is_led_to)
            if self._is_tight(word.end, number.start) or is_near:
                return number
        return None

    def _is_next_value(self, last: Number, number: Number) -> bool | None:
        """Whether a number is one more value behind the last one; null where the word's reach has ended."""
        gap = self.blanked[last.end : number.start]
        if self._is_of_other_word(number, last.end):
            return False
        if not number.is_integer:
            return True if len(gap.strip()) <= _MAX_GAP else None
        is_tight = bool(gap.strip()) and self.cues["next_value_gap_whole"].fullmatch(gap) is not None
        return is_tight and not self._is_counted(number) and not self.cues["of_some"].match(self.text, number.end)

    def _is_of_other_word(self, number: Number, limit: int) -> bool:
        begin = max(limit, number.start - _REACH)
        return self.cues["other_before"].search(self.text, begin, number.start) is not None

    def _is_counted(self, number: Number) -> bool:
        return self.cues["noun_after"].match(self.text, number.end, number.end + _REACH) is not None

    def _is_tight(self, start: int, end: int) -> bool:
        return self.cues["value_gap_whole"].fullmatch(self.blanked, start, end) is not None

    def _leads_to(self, number: Number, word: SuvWord) -> bool:
        """Whether a number is the next word's, which has none behind it."""
        if any(n.start >= word.end and self._is_tight(word.end, n.start) for n in self.free):
            return False
        return self._right_before(word, [number], anew=True) is not None

    def _is_label_of(self, number: Number, word: SuvWord) -> bool:
        """Whether a whole number right before a word that has its value behind it is no SUV: "7 SUVmax 7.0"."""
        if not number.is_integer or not self.cues["up_to_suv_word"].fullmatch(self.text, number.end, word.start):
            return False
        return any(n.start >= word.end and self._is_tight(word.end, n.start) for n in self.free)

    def _right_before(self, word: SuvWord, numbers: Sequence[Number], *, anew: bool = False) -> Number | None:
        """The value that stands right before its word; `anew` takes one that has a word already."""
        for number in numbers:
            if number.end > word.start or (number.start in self.taken and not anew):
                continue
            if not self.cues["up_to_suv_word"].fullmatch(self.text, number.end, word.start):
                continue
            ahead = self.text[max(0, number.start - _REACH) : number.start]
            # "segment 5 SUV max": a whole number before the word is the SUV only after words that lead to one.
            is_led_to = any(self.cues[name].search(ahead) for name in ("leads_to_value", "article_before"))
            if not self.cues["other_before"].search(ahead) and (not number.is_integer or is_led_to):
                return number
        return None

    def _compared_with(self, number: Number) -> Number | None:
        """The 4.4 of "now 4.4 versus 9.8 SUVmax"."""
        for other in self.free:
            is_free = not other.is_integer and other.start not in self.taken and other.end <= number.start
            if is_free and self.cues["than_number"].fullmatch(self.text, other.end, number.start):
                return other
        return None

    def _blanked(self) -> str:
        """Text with the numbers of other kinds, and the parentheses that hold nothing else than them, made spaces."""
        letters = list(self.text)
        for number in self.numbers:
            if number.kind != "free":
                letters[number.start : number.end] = " " * (number.end - number.start)
        return self.cues["empty_parenthesis"].sub(spaces, "".join(letters))
