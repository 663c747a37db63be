"""Identifiers made of digits and letters: numbers of patients, exams, devices and insurances, telephones.

A number is one where a cue asks for it, where its own check digit says so (python-stdnum), or where it has more digits
than any measurement: SUVs, slices and sizes are never masked.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from typing import Any

import stdnum.br.cpf
import stdnum.ch.ssn
import stdnum.cl.rut
import stdnum.es.dni
import stdnum.fr.nir
import stdnum.gb.nhs
import stdnum.iban
import stdnum.in_.aadhaar
import stdnum.luhn
import stdnum.us.ssn

from pipelines.cohort.privacy.age_identifiers import age_spans
from pipelines.cohort.privacy.measured_numbers import is_measured, is_unit_after
from pipelines.cohort.privacy.name_words import WordKind, cues, kind_of, unaccented
from pipelines.cohort.privacy.network_identifiers import network_spans
from pipelines.cohort.privacy.postal_identifiers import postal_spans

Span = tuple[str, int, int]

_UID = re.compile(r"(?<![\d.])(?:\d(?:\.\d+){5,}|[0-2]\.\d{1,2}\.\d{7,39})(?![\d.]*\d)")
_PHONE = re.compile(
    r"""(?<![\d.\-/:+])
    (?: \+\d{1,3}[-.\s/]?(?:\(\d{1,4}\)[-.\s/]?)?\d{1,4}(?:[-.\s/]\d{1,8}){1,5}      # +49 (0)30 901820
      | \+\d{8,15}
      | (?:1[-.\s])?\(\d{3}\)\s?\d{3}[-.\s]?\d{4}                                      # (608) 555-1234
      | (?:1[-.\s])?\d{3}([-.\s])\d{3}\1\d{4}                                          # 608-555-1234
      | \d{3}[-/.]\d{3}[-.]?\d{4}                                                       # 608/555-0142, 608-5550142
      | \(0\d{1,4}\)\s?\d{2,5}[-\s]?\d{2,5}                                              # (02) 9876 5432
      | \d{3}-\d{4}                                                                    # 555-1234
      | 0\d{1,4}\s?[-/]\s?\d{3,8}(?:[-\s]\d{1,5}){0,3}                                 # 0221-478-5024
      | 0\d{2,4}\s\d{6,8}                                                             # 0171 5550199
      | 0\d{2,4}\s\d{3,8}(?:[-\s]\d{2,6}){1,2}                                        # 089 4140-2961
      | \(0\d{0,4}\)\s\d{3}\s\d{3,4}                                                   # (0) 555 0188
      | 0\d(?:[\s.]\d\d){4}                                                            # 01 42 34 56 78
    )(?!\d|[.\-/]\d)(?:\s*(?:x|ext\.?|extension)\s*\d{1,6})?""",
    re.VERBOSE | re.IGNORECASE,
)
_GROUPED = re.compile(r"(?<![\w.,])\d{1,4}(?:[ .\-]\d{2,5}){1,6}(?:[ ]?-?[0-9Kk])?(?![\w]|[.,]\d)")
_IBAN = re.compile(r"(?<!\w)[A-Z]{2}\d{2}(?:[ ]?[A-Z0-9]{4}){2,7}(?:[ ]?[A-Z0-9]{1,4})?(?!\w)")
_CHUNK = re.compile(r"(?<!\S)[^\s\d]*\d\S*")
"""What stands between blanks and holds a digit."""
_LONG = re.compile(r"(?<![\d.,])(?:[A-Za-z]{1,4}[-#]?)?\d{7,}[A-Za-z]{0,2}(?![\d]|[.,]\d)")
_MIXED = re.compile(r"(?<![\w.,/-])[A-Z][A-Z0-9]*(?:[-/#][A-Z0-9]+)*(?![\w-]|[.,/]\d)")
_LETTERED = re.compile(r"(?<![\w.,/-])\d+(?:[-/]\d+)*[-]?[A-Z](?![\w-])")
_GLUED = re.compile(r"(?<![\w.,/-])\d+(?!X\d)[A-Z]{1,4}\d+[A-Z0-9]*(?:[-/#][A-Z0-9]+)*(?![\w-]|[.,/]\d)")
"""22PET004471: digits around letters, no size."""
_GROUP = r"(?=[A-Z]{0,4}\d)[A-Z\d]{1,8}"
_GROUPS = re.compile(rf"(?<![\w.,/-]){_GROUP}(?:[ -]{_GROUP})+(?![\w-]|[.,/:]\d)")
"""Digits in groups, letters among them: a slice, a size or a count has one."""
_FEWEST_IN_GROUPS = 10
_SERIES = re.compile(
    r"""(?<![\w.,/:+-])
    (?: \d{2,4}(?:[ ]-[ ]\d{2,4}|[ .]\d{2,4}){2,}        # 948 55 50 14, 0515 - 55 50 14, 77.410.22
      | \d{1,4}(?:-\d{1,5}){2,}                           # 55-20-913
      | \d{1,8}-\d{5,}|\d{5,}-\d{1,8}                     # 22-551208, 7740028-1
      | \d{2,5}\.\d{6,}                                   # 0342.555014
    )(?![\w]|[.,:/-]\d)""",
    re.VERBOSE,
)
"""Digits in three groups, or in two of which one is longer than any measurement."""
_FEWEST_IN_SERIES = 7
_CODE = re.compile(r"(?<![\w.,])(?:[A-Za-z]{1,6}[-/#.]?){0,3}\d")
_CODE_PART = re.compile(r"[A-Za-z0-9]+")
_JOINED = re.compile(
    r"(?<![\w.,/-])(?=[\w./#-]*[^\W\d_])[A-Za-z]{0,6}\d*(?:[-/.#](?:\d+[A-Za-z]?|[A-Za-z]{1,4}))+(?![\w-]|[.,/]\d)"
)
"""ENT/22/88471/kc, A-4471, 2022.NM.77140: letters and digits, joined by signs."""
_FEWEST_JOINED = 4
_LETTERS_AND_DIGITS = re.compile(r"(?<![\w.,/-])[A-Z]{2,4}(?!(?:19|20)\d\d)\d{4}(?![\w-]|[.,/]\d)")
"""KX4470; not WHO2016."""
_BARE = re.compile(r"(?<![\w.,/:+-])\d{5,6}(?:/\d\d(?:\d\d)?)?(?![\w]|[.,:/]\d)")
"""Digits that are too many for a slice, a size or an SUV; a year may follow (55810/24)."""
_FEWEST_DIGITS, _FEWEST_MIXED, _FEWEST_ASKED, _FEWEST_OF_PHONE = 7, 5, 3, 7
"""Digits of a bare number, of a code with letters, of a number that a cue asks for, of a telephone after a weak cue."""
_LONGEST_CUE, _MOST_FILLERS = 48, 3
_LONGEST_PHONE = 24
"""Characters of a telephone number behind its first blank."""
_BEFORE = re.compile(r"(?:[^\W\d_]|['#°º/-])+")


def number_spans(text: str) -> Iterator[Span]:
    """(kind, start, end) of the identifiers in a text that hold digits or have the form of an address."""
    yield from network_spans(text)
    yield from age_spans(text)
    chunks = [match.span() for match in _CHUNK.finditer(text)]
    if chunks:
        yield from (("uid", *m.span()) for m in _UID.finditer(text))
        yield from _phones(text, chunks)
        yield from _checked(text)
        yield from _long(text, chunks)
        yield from _asked(text, chunks)
        yield from (("number", *m.span("plate")) for m in _plates().finditer(text))
        yield from postal_spans(text, chunks)


@cache
def _cues(name: str) -> frozenset[str]:
    """A list of the cues of numbers."""
    return frozenset(cues()["numbers"][name])


@cache
def _plates() -> re.Pattern[str]:
    """The letters and digits after "licence plate"."""
    words = "|".join(re.escape(word) for word in sorted(_cues("plates"), key=len, reverse=True))
    cue = rf"(?<!\w)(?i:{words})\b(?:[ ](?:is|no\.?|number))?[ ]?[:#]?[ ]"
    return re.compile(rf"{cue}(?P<plate>(?=[A-Z\d -]*\d)[A-ZÄÖÜ\d]{{1,8}}(?:[ -][A-Z\d]{{1,6}}){{0,3}})(?!\w)")


def _phones(text: str, chunks: list[tuple[int, int]]) -> Iterator[Span]:
    for start, end in chunks:
        if _digits(text[start : end + _LONGEST_PHONE]) >= _FEWEST_OF_PHONE:
            for match in _PHONE.finditer(text, start, min(end + _LONGEST_PHONE, len(text))):
                if not is_measured(text, match.start()):
                    yield "phone", *match.span()


def _cards(number: str) -> bool:
    digits = re.sub(r"\D", "", number)
    return 13 <= len(digits) <= 19 and stdnum.luhn.is_valid(digits)


def _canadian(number: str) -> bool:
    digits = re.sub(r"\D", "", number)
    return re.fullmatch(r"\d{3}[ -]\d{3}[ -]\d{3}", number) is not None and stdnum.luhn.is_valid(digits)


def _american(number: str) -> bool:
    return re.fullmatch(r"\d{3}([- ])\d{2}\1\d{4}", number) is not None


def _british(number: str) -> bool:
    return re.fullmatch(r"\d{3}[ -]\d{3}[ -]\d{4}", number) is not None and stdnum.gb.nhs.is_valid(number)


def _french(number: str) -> bool:
    return re.fullmatch(r"[12] \d\d \d\d \d\d \d{3} \d{3} \d\d", number) is not None and stdnum.fr.nir.is_valid(number)


def _indian(number: str) -> bool:
    return re.fullmatch(r"\d{4}[ -]\d{4}[ -]\d{4}", number) is not None and stdnum.in_.aadhaar.is_valid(number)


_CHECKS: Mapping[str, tuple[Callable[[str], bool], ...]] = {
    "ssn": (_american,),
    "number": (
        _cards,
        _canadian,
        _british,
        _french,
        _indian,
        stdnum.br.cpf.is_valid,
        stdnum.ch.ssn.is_valid,
        stdnum.cl.rut.is_valid,
    ),
}


def _checked(text: str) -> Iterator[Span]:
    """Numbers in groups whose check digit is right: bare ones of so many digits are told by their length."""
    for match in _IBAN.finditer(text):
        for end in _ends_of_words(match):
            if stdnum.iban.is_valid(text[match.start() : end], check_country=False):
                yield "number", match.start(), end
                break
    yield from (("ssn", *m.span()) for m in _NATIONAL_INSURANCE.finditer(text))
    for match in _GROUPED.finditer(text):
        if sum(c.isdecimal() for c in match[0]) < 2 * _FEWEST_MIXED - 2:
            continue
        for kind, checks in _CHECKS.items():
            if any(is_valid(match[0]) for is_valid in checks) and not is_measured(text, match.start()):
                yield kind, *match.span()
                break


_NATIONAL_INSURANCE = re.compile(r"(?<!\w)[A-Z]{2}[ ]?\d{2}[ ]\d{2}[ ]\d{2}[ ]?[A-D](?!\w)")


def _ends_of_words(match: re.Match[str]) -> Iterator[int]:
    """Ends of the first words of a match, all of them first: the word behind a number may look like a part of it."""
    yield match.end()
    for n in range(match[0].count(" ")):
        yield match.start() + len(match[0].rsplit(" ", n + 1)[0])


def _long(text: str, chunks: list[tuple[int, int]]) -> Iterator[Span]:
    """Numbers of more digits than measurements have, and codes of capitals and digits."""
    if _digits(text) >= _FEWEST_IN_GROUPS:
        for match in _GROUPS.finditer(text):
            is_measure = is_measured(text, match.start()) or is_unit_after(text, match.end())
            if _digits(match[0]) >= _FEWEST_IN_GROUPS and not is_measure and not _PHONE.fullmatch(match[0]):
                yield "number", *match.span()
    for match in _SERIES.finditer(text):
        is_measure = is_measured(text, match.start()) or is_unit_after(text, match.end())
        if _digits(match[0]) >= _FEWEST_IN_SERIES and not is_measure and not _PHONE.fullmatch(match[0]):
            yield "number", *match.span()
    for start, end in chunks:
        digits = _digits(text[start:end])
        if digits < _FEWEST_JOINED:
            continue
        for match in _JOINED.finditer(text, start, end):
            if (
                _is_joined_code(match[0])
                and not is_measured(text, match.start())
                and not is_unit_after(text, match.end())
            ):
                yield "number", *match.span()
        for match in _LETTERS_AND_DIGITS.finditer(text, start, end):
            if not is_measured(text, match.start()):
                yield "number", *match.span()
        if digits < _FEWEST_MIXED:
            continue
        for match in _BARE.finditer(text, start, end):
            if not is_measured(text, match.start()) and not is_unit_after(text, match.end()):
                yield "number", *match.span()
        for match in _LONG.finditer(text, start, end):
            if not is_measured(text, match.start()):
                yield "number", *match.span()
        for pattern in (_MIXED, _LETTERED, _GLUED):
            for match in pattern.finditer(text, start, end):
                if _digits(match[0]) >= _FEWEST_MIXED and not is_measured(text, match.start()):
                    yield "number", *match.span()


def _is_joined_code(code: str) -> bool:
    """Whether parts joined by signs number somebody or something: not a year of a known name ("WHO-2016")."""
    words = re.findall(r"[^\W\d_]+", code)
    longest = max(len(run) for run in re.findall(r"\d+", code))
    is_year = re.fullmatch(r"[^\W\d_]+-(?:19|20)\d\d", code) is not None
    # "T11/12", "T10-T12"
    return _digits(code) >= _FEWEST_JOINED and longest >= _FEWEST_ASKED and not (is_year and len(words[0]) > 1)


def _digits(text: str) -> int:
    return sum(map(str.isdecimal, text))


# --- numbers that a cue asks for ---


@cache
def _number_cues() -> Mapping[str, str]:
    """Phrase -> kind of the number that it asks for."""
    tables: Mapping[str, Any] = cues()["numbers"]
    return {unaccented(phrase): kind for kind in ("phone", "accession", "ssn", "mrn") for phrase in tables[kind]}


_DOTTED_CUE = re.compile(r"(?<![^\W\d_])([^\W\d_])\.(?=[^\W\d_](?:\.|\W))")
"""Full stops in "m.r.n."."""
_AROUND_CUES = " :=.#()[]\t,-–\"'"


@cache
def _last_words() -> frozenset[str]:
    """Last words of the cues, and words that may stand behind them: what else stands before a number is no cue."""
    last = {phrase.replace("#", " ").split()[-1] for phrase in _number_cues()}
    return frozenset(part for word in last | _cues("fillers") for part in (word, word.strip(_AROUND_CUES + "/°º")))


def _cue_before(text: str, start: int) -> tuple[str, str] | None:
    """(phrase, kind) of the cue that ends just before a place; words like "no." and "is" may stand between."""
    before = _DOTTED_CUE.sub(r"\1", unaccented(text[max(0, start - _LONGEST_CUE) : start].lower()))
    # "Pat.-Nr."
    last = re.split(r"\s|(?<=\.)-", before.rstrip(_AROUND_CUES))[-1] if before else ""
    if last.strip(_AROUND_CUES + "/°º") not in _last_words() or before[-1:].isalnum() or before.endswith("\n"):
        return None
    if re.search(r"[.;!?]\s+\Z", before) and not re.search(
        r"\b(?:no|nr|mrn|acc|tel|ext|pat|num|id|ref|n|pt|fax|crm|mob|cell|cel|port|int|st|pol|acct|vers|cod|tess)\.\s+\Z",
        before,
    ):
        return None
    found = [(m.start(), m.end(), m.group()) for m in _BEFORE.finditer(before) if m.group().strip("-'/")]
    if not found or before[found[-1][1] :].strip(_AROUND_CUES) != "":
        return None
    for fillers in range(min(_MOST_FILLERS + 1, len(found))):
        words = found[: len(found) - fillers]
        if fillers and found[len(found) - fillers][2].strip(".-/'") not in _cues("fillers"):
            return None
        for n in range(min(4, len(words)), 0, -1):
            phrase = " ".join(word.strip("-/'") for *_, word in words[-n:])
            for form in (phrase, phrase.rstrip("#"), phrase.replace(".", "")):
                kind = _number_cues().get(form)
                if kind is not None:
                    return form, kind
    return None


_LETTERS_BEFORE = re.compile(r"(?<![\w.,])(?P<letters>[A-Z]{1,4})[ ]\Z")
"""BCX of "BCX 229 118"."""
_LONGEST_LETTERS = 6


def _asked(text: str, chunks: list[tuple[int, int]]) -> Iterator[Span]:
    at = 0
    for match in (m for start, end in chunks for m in _CODE.finditer(text, start, end)):
        start = match.start()
        if start < at or _digits(text[start : start + _LONGEST_CUE // 2]) < _FEWEST_ASKED:
            continue
        cue = _cue_before(text, start)
        if cue is None and (letters := _LETTERS_BEFORE.search(text, max(at, start - _LONGEST_LETTERS), start)):
            start = letters.start("letters")
            cue = _cue_before(text, start)
        if cue is None or _UID.match(text, start):
            continue
        phrase, kind = cue
        end = _end_of_code(text, match.start(), spaced=True)
        code = text[start:end]
        digits = sum(c.isdecimal() for c in code)
        fewest = _FEWEST_ASKED
        if kind == "phone":
            # "call 44": fewer digits than any extension; "at 14:20" is a time.
            fewest = _FEWEST_OF_PHONE if phrase in _cues("weak_phone") else _FEWEST_ASKED
            if re.match(r"x\d", code):
                fewest = _FEWEST_ASKED
            elif phrase in _cues("called") and code.isdecimal():
                fewest = _FEWEST_ASKED + 1
        elif phrase in _cues("weak_codes"):
            fewest = _FEWEST_ASKED + 1
            if re.fullmatch(r"(?:19|20)\d\d", code):
                continue
        else:
            fewest = _FEWEST_MIXED if phrase in _cues("faint_codes") else _FEWEST_ASKED + code.isdecimal()
        if digits >= fewest and not is_unit_after(text, end):
            yield kind, start, end
            at = end


def _end_of_code(text: str, start: int, *, spaced: bool) -> int:
    """End of a number that begins at a place: parts with digits, or in capitals, joined by a sign or one blank."""
    end = start
    for match in _CODE_PART.finditer(text, start):
        gap = text[end : match.start()]
        part = match.group()
        if match.start() != start:
            has_digit = any(c.isdecimal() for c in part)
            if gap in ("-", "/", ".", "#", "(", ")", ") ", " (", " / ", "-(", ")-"):
                is_joined = gap in ("-", "/") and text[match.end() : match.end() + 1] in ("-", "/")
                if not (has_digit or (len(part) <= 5 and (part.isupper() or is_joined))) or (
                    gap == "." and not has_digit
                ):
                    break
            elif gap == ":":
                if part.isdecimal():
                    break
            elif gap == " " and spaced:
                is_last_letter = len(part) == 1 and part.isupper() and text[match.end() : match.end() + 1] in ").,;\n"
                if is_last_letter:
                    end = match.end()
                    break
                if not (has_digit and (part[0].isdecimal() or part.isupper())) and not (
                    len(part) == 4 and part.isupper() and kind_of(part) == WordKind.NAME
                ):
                    break
            else:
                break
        end = match.end()
        if end - start > _LONGEST_CUE:
            break
    return end
