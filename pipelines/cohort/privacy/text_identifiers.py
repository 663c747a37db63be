"""Identifiers in report text: names, numbers of patients and exams, dates, phone numbers, addresses.

Rules, not a model: cues ("Dr.", "MRN", "dated") or a shape that nothing else has, because a masked SUV or slice would
cost a lesion. Kinds follow the HIPAA safe harbor list (45 CFR 164.514(b)(2)); a year alone is none. A mask has the
length and the shape of what it hides (letters become x, digits 0); dates are moved where it is told by how many days.
"""

import re
from collections import Counter
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from pipelines.cohort.privacy.date_periods import named_days
from pipelines.cohort.privacy.dates import find_dates, known_year
from pipelines.cohort.privacy.found_dates import FoundDate
from pipelines.cohort.privacy.initials import initial_spans
from pipelines.cohort.privacy.name_identifiers import name_spans
from pipelines.cohort.privacy.name_words import WordKind, is_no_name, kind_of, words_and_names
from pipelines.cohort.privacy.number_identifiers import number_spans
from pipelines.tables.identifier_kinds import IDENTIFIER_KINDS


@dataclass(frozen=True)
class Identifier:
    """Characters start..end of a text that identify somebody, and how; for a date what it says."""

    kind: str
    start: int
    end: int
    date: FoundDate | None = None


# What measures is never masked: a number of these words, of a size, of vertebrae.
_NO_DATE_BEFORE = re.compile(
    r"(?:\b(?:SUV\w*|slices?|images?|series|im|ser|se|levels?|ribs?|segments?|grade|Deauville|score|stage|ratio|stations?)"
    r"\W{0,3}(?:\d+\W{1,3}){0,2}|[\d.])\Z",
    re.IGNORECASE,
)
_NO_DATE_AFTER = re.compile(r"\s*(?:mm|cm|ml|cc|x\s*\d)", re.IGNORECASE)
_CONTEXT = 30
_SHORTEST_NAME, _SHORTEST_ID = 3, 4


def scan(
    text: str, known: Iterable[str] = (), names: Iterable[str] = (), more: Iterable[tuple[str, int, int]] = ()
) -> tuple[Identifier, ...]:
    """Identifiers of a text in order, none overlapping another.

    Args:
        text: a report, or a part of one.
        known: ids of the report itself (its exam, its patient); they are found wherever they stand as words of their
            own.
        names: parts of names that the exam's own images give; they are found wherever they stand with a capital,
            unless they are words of every report.
        more: (kind, start, end) of what another recogniser found.
    """
    found = list(record_ids(text, known))
    found += _dates(text)
    found += [Identifier(*span) for span in number_spans(text)]
    found += [Identifier(*span) for span in name_spans(text)]
    found += [Identifier(*span) for span in initial_spans(text)]
    found += [Identifier("name", *span) for span in _bare_names(text, names)]
    found += [Identifier(*span) for span in more]
    return _apart(found)


def record_ids(text: str, known: Iterable[str]) -> Iterator[Identifier]:
    """Where ids of the report itself (its exam, its patient) stand in a text as words of their own, in any case."""
    for value in sorted(
        {k.strip() for k in known if k and len(k.strip()) >= _SHORTEST_ID and any(c.isdigit() for c in k)}
    ):
        if _may_hold(text, value):
            for match in re.finditer(rf"(?<![\w]){re.escape(value)}(?![\w])", text, re.IGNORECASE):
                yield Identifier("record id", *match.span())


def _dates(text: str) -> Iterator[Identifier]:
    for date in find_dates(text):
        before = text[max(0, date.start - _CONTEXT) : date.start]
        # A month's name is never a slice: "im" of "im August 2022" is German.
        is_measured = text[date.start].isdigit() and _NO_DATE_BEFORE.search(before) is not None
        if not is_measured and not _NO_DATE_AFTER.match(text, date.end):
            yield Identifier("date", date.start, date.end, date)
    yield from (Identifier("date", *span) for span in named_days(text))


def _bare_names(text: str, names: Iterable[str]) -> Iterator[tuple[int, int]]:
    """Where one of these names stands with a capital or in capitals, and is no word of the report."""
    parts = {n.lower() for n in names if len(n) >= _SHORTEST_NAME and n.replace("-", "").replace("'", "").isalpha()}
    wanted = sorted((n for n in parts if not is_no_name(n)), key=len, reverse=True)
    if not wanted:
        return
    in_capitals = text.isupper()
    for match in re.finditer(rf"(?<![\w-])(?:{'|'.join(map(re.escape, wanted))})(?![\w-])", text, re.IGNORECASE):
        word = match[0]
        if not word[0].isupper():
            continue
        before = text[max(0, match.start() - _CONTEXT) : match.start()]
        is_inside = not in_capitals and re.search(r"[a-z,]\s{1,8}\Z", before) is not None
        if word.lower() not in words_and_names() or is_inside:
            yield match.span()


def _may_hold(text: str, value: str) -> bool:
    """False where a value stands nowhere in a text, in whatever case: a pattern for each of a cohort's ids would cost
    more to compile than all else that is looked for.
    """
    # Beyond ASCII letters of two alphabets may be each other's other case; only the pattern knows them all.
    return not (text.isascii() and value.isascii()) or value.lower() in text.lower()


def counts_of(found: Sequence[Identifier]) -> dict[str, int]:
    """How many identifiers of each kind there are; kinds without any are left out."""
    return dict(sorted(Counter(i.kind for i in found).items()))


def mask(text: str, found: Iterable[Identifier], days: int | None = None) -> str:
    """The text with every identifier hidden.

    Args:
        text: what they were found in.
        found: identifiers, none overlapping another.
        days: by how many days dates are moved back; None hides them, and the text keeps its length:
            `text[i]` and `mask(text, found)[i]` are one place.
    """
    in_order = sorted(found, key=lambda i: i.start)
    year = known_year(i.date for i in in_order if i.date) if days is not None else None
    pieces, at = [], 0
    for identifier in in_order:
        pieces.append(text[at : identifier.start])
        if identifier.date is None:
            pieces.append(_hidden(text[identifier.start : identifier.end]))
        elif days is None:
            pieces.append(_hidden_date(text, identifier.date))
        else:
            pieces.append(identifier.date.moved(text, days, year))
        at = identifier.end
    return "".join([*pieces, text[at:]])


def clean(text: str, known: Iterable[str] = ()) -> str:
    """The text with all that `scan` finds masked, dates hidden."""
    return mask(text, scan(text, known))


_PLACE_WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)?")


def place_alone(text: str, words: Container[str]) -> str:
    """A place in the body that somebody typed: words of these and of medicine stay, every other one is hidden.

    Args:
        text: an organ or a part of it, of a few words.
        words: of places in the body, in lower case.
    """

    def shown(match: re.Match[str]) -> str:
        word = match[0]
        is_known = word.lower() in words or (word.isalpha() and kind_of(word) <= WordKind.COMMON)
        return word if is_known else _hidden(word)

    return _PLACE_WORD.sub(shown, text)


def _apart(found: Iterable[Identifier]) -> tuple[Identifier, ...]:
    """Without overlaps: of two that meet the longer stays, and takes in what the other has beyond it."""
    out: list[Identifier] = []
    for item in sorted(found, key=lambda i: (i.start, -i.end, IDENTIFIER_KINDS.index(i.kind))):
        if out and item.start < out[-1].end:
            last = out[-1]
            longer = max((last, item), key=lambda i: (i.end - i.start, i.date is not None, i.kind == "record id"))
            end = max(last.end, item.end)
            # A date that is a part of something longer is hidden with it.
            date = longer.date if longer.date and (last.start, end) == (longer.start, longer.end) else None
            out[-1] = Identifier(longer.kind, last.start, end, date)
        else:
            out.append(item)
    return tuple(out)


_BY_LENGTH: Mapping[int, str] = {3: "may", 4: "june", 5: "march", 7: "january", 8: "december"}
"""A month of as many letters as at least one other: what it stands for cannot be told."""
_ANY_MONTH = _BY_LENGTH[3]
_LETTER, _DIGIT, _PART = re.compile(r"[^\W\d_]"), re.compile(r"\d"), re.compile(r"[^\W\d_]+|\d+")


def _hidden(words: str) -> str:
    return _DIGIT.sub("0", _LETTER.sub(lambda m: "X" if m[0].isupper() else "x", words))


def _hidden_date(text: str, date: FoundDate) -> str:
    """The date with day and month hidden in its own length; the year stays, and it still reads as a date."""
    out, at = [], date.start
    for part, start, end in date.spans:
        out.append(text[at:start])
        old = text[start:end]
        if part == "month" and not old[0].isdecimal():
            name = _BY_LENGTH.get(len(old), _ANY_MONTH) if len(old) > 2 else "x" * len(old)
            old = name.upper() if old.isupper() else name.capitalize() if old[0].isupper() else name
            out.append(old.ljust(end - start))
        else:
            out.append(old if part == "year" and len(old) > 2 else _hidden(old))
        at = end
    return "".join([*out, text[at : date.end]])
