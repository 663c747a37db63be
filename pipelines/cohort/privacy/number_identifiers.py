"""Identifiers made of digits and letters: numbers of patients, exams and insurances, telephones, addresses of networks
and of mail, streets, ages over 89.

A number is one where a cue asks for it, where its own check digit says so (python-stdnum), or where it has more digits
than any measurement: SUVs, slices and sizes are never masked.
"""

import ipaddress
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

from pipelines.cohort.privacy.name_words import WordKind, cues, kind_of

Span = tuple[str, int, int]

_EMAIL = re.compile(r"(?<![\w.+-])[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63}){1,8}")
_URL = re.compile(
    r"(?<![\w@.-])(?:(?:https?|ftp|sftp|file)://|www\.)[^\s,;)>\]]*[^\s,;)>\].]"
    r"|(?<![\w@.-])(?:[a-z0-9-]{1,63}\.){1,5}(?:com|org|net|edu|gov|mil|info)\b(?:/[^\s,;)>\]]*[^\s,;)>\].])?"
    r"|(?<![\w@.-])(?:[a-z0-9-]{2,63}\.){1,5}[a-z]{2,8}/[^\s,;)>\]]*[^\s,;)>\].]",
    re.IGNORECASE,
)
_MAY_BE_URL = re.compile(r"://|www\.|\w\.(?:com|org|net|edu|gov|mil|info)\b|[a-z]\.[a-z]{2,8}/", re.IGNORECASE)
_IPV4 = re.compile(r"(?<![\w.])\d{1,3}(?:\.\d{1,3}){3}(?:(?::|/)\d{1,5})?(?![\w]|\.\d)")
_COLONS = re.compile(r"(?<![\w:])[0-9A-Fa-f]{0,4}(?::[0-9A-Fa-f]{0,4}){2,7}(?:%\w+)?(?![\w:])")
_MAC = re.compile(r"(?<![\w:-])[0-9A-Fa-f]{2}(?:([:-])[0-9A-Fa-f]{2})(?:\1[0-9A-Fa-f]{2}){4}(?![\w:-])")
_PAIRS_OF_HEX = re.compile(r":[0-9A-Fa-f]{0,4}:|[0-9A-Fa-f]-[0-9A-Fa-f]{2}-")
_UID = re.compile(r"(?<![\d.])(?:\d(?:\.\d+){5,}|[0-2]\.\d{1,2}\.\d{7,39})(?![\d.]*\d)")
_PHONE = re.compile(
    r"""(?<![\d.\-/:+])
    (?: \+\d{1,3}[-.\s/]?(?:\(\d{1,4}\)[-.\s/]?)?\d{1,4}(?:[-.\s/]\d{1,5}){1,5}      # +49 (0)30 901820
      | \+\d{8,15}
      | (?:1[-.\s])?\(\d{3}\)\s?\d{3}[-.\s]\d{4}                                       # (608) 555-1234
      | (?:1[-.\s])?\d{3}([-.\s])\d{3}\1\d{4}                                          # 608-555-1234
      | \d{3}[-/.]\d{3}[-.]?\d{4}                                                       # 608/555-0142, 608-5550142
      | \(0\d{1,4}\)\s?\d{2,5}[-\s]?\d{2,5}                                              # (02) 9876 5432
      | \d{3}-\d{4}                                                                    # 555-1234
      | 0\d{1,4}\s?[-/]\s?\d{3,8}(?:[-\s]\d{1,5}){0,3}                                 # 0221-478-5024
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
_CODE = re.compile(r"(?<![\w.,])(?:[A-Za-z]{1,6}[-/#.]?){0,3}\d")
_CODE_PART = re.compile(r"[A-Za-z0-9]+")
_AGE = re.compile(r"(?<![\w.,/-])(9\d|1[0-2]\d)(?![\d]|[.,/:]\d|-\d)")
_AGE_IN_COMMAS = re.compile(r"[A-Z][^\W\d_]*(?:['’-][^\W\d_]+)*, \d{2,3}, \Z")
"""A word with a capital, a number and a comma: "Smith, 93, "."""
_TENS_IN_WORDS = re.compile(
    r"\b(?:ninety|one hundred(?: and)?|hundred(?: and)?)(?:[ -](?:one|two|three|four|five|six|seven|eight|nine|ten))?"
    r"(?:[ -]years?(?:[ -]old|\s+of\s+age)?\b|[ -]y(?:ear)?[ /-]?o(?:ld)?\b)",
    re.IGNORECASE,
)
_FEWEST_DIGITS, _FEWEST_MIXED, _FEWEST_ASKED, _FEWEST_OF_PHONE = 7, 5, 3, 7
"""Digits of a bare number, of a code with letters, of a number that a cue asks for, of a telephone after a weak cue."""
_LONGEST_CUE = 48
_LONGEST_PHONE = 24
"""Characters of a telephone number behind its first blank."""
_BEFORE = re.compile(r"(?:[^\W\d_]|['#°º/-])+")
_MEASURED = re.compile(
    r"(?:\b(?:SUV\w*|slices?|images?|series|im|img|ser|se|levels?|ribs?|segments?|grade|score|stage|ratio|counts?|matrix|window|frames?|coupes?|schichten?|cortes?)\W{0,3}"
    r"(?:\d+\W{1,3}){0,3})\Z",
    re.IGNORECASE,
)
_WEAK_PHONE_CUES = frozenset(
    (
        "at",
        "call",
        "home",
        "work",
        "office",
        "contact",
        "reach",
        "cell",
        "mobile",
        "mobil",
        "t",
        "f",
        "m",
        "direct",
        "line",
        "clinic",
        "ward",
        "reading room",
    )
)
_FAINT_CODE_CUES = frozenset(
    ("patient", "pt", "pat", "exam", "study", "prior", "prior exam", "prior study", "report", "scan")
)
"""Words of any report: a number behind them has to be longer."""
_WEAK_CODE_CUES = frozenset(
    (
        "record",
        "chart",
        "order",
        "visit",
        "case",
        "account",
        "ref",
        "lot",
        "plate",
        "id",
        "policy",
        "specimen",
        "participant",
        "nhs",
        "fin",
        "har",
        "run",
        "chi",
        "hn",
        "rg",
        "sin",
        "historia",
        "expediente",
        "dossier",
    )
)
_FILLERS = frozenset(
    (
        "is",
        "was",
        "of",
        "no",
        "nr",
        "number",
        "num",
        "id",
        "n°",
        "nº",
        "#",
        "the",
        "no.",
        "numero",
        "número",
        "numéro",
        "del",
        "du",
        "paziente",
    )
)
_UNITS = frozenset(
    (
        "mm",
        "cm",
        "ml",
        "kg",
        "mbq",
        "kbq",
        "bq",
        "hu",
        "mg",
        "mci",
        "ci",
        "min",
        "h",
        "s",
        "x",
        "kv",
        "ma",
        "gy",
        "mgy",
        "g",
        "kvp",
        "mas",
        "hz",
        "ms",
        "cc",
        "l",
        "dl",
    )
)


def number_spans(text: str) -> Iterator[Span]:
    """(kind, start, end) of the identifiers in a text that hold digits or have the form of an address."""
    if "@" in text:
        yield from (("email", *m.span()) for m in _EMAIL.finditer(text))
    if _MAY_BE_URL.search(text):
        yield from (("url", *m.span()) for m in _URL.finditer(text))
    yield from (("age", *m.span()) for m in _TENS_IN_WORDS.finditer(text))
    chunks = [match.span() for match in _CHUNK.finditer(text)]
    if chunks:
        yield from _networks(text)
        yield from (("uid", *m.span()) for m in _UID.finditer(text))
        yield from _phones(text, chunks)
        yield from _checked(text)
        yield from _long(text, chunks)
        yield from _asked(text, chunks)
        yield from _ages(text)
        yield from _addresses(text, chunks)


def _phones(text: str, chunks: list[tuple[int, int]]) -> Iterator[Span]:
    for start, end in chunks:
        if _digits(text[start : end + _LONGEST_PHONE]) >= _FEWEST_OF_PHONE:
            for match in _PHONE.finditer(text, start, min(end + _LONGEST_PHONE, len(text))):
                if not is_measured(text, match.start()):
                    yield "phone", *match.span()


def is_measured(text: str, start: int) -> bool:
    """Whether a word before a number says that it measures or counts slices."""
    return _MEASURED.search(text[max(0, start - 40) : start]) is not None


def _networks(text: str) -> Iterator[Span]:
    for match in _IPV4.finditer(text):
        if _is_address(re.split("[:/]", match[0])[0]) and not is_measured(text, match.start()):
            yield "ip", *match.span()
    if _PAIRS_OF_HEX.search(text):
        for match in _COLONS.finditer(text):
            if _is_address(match[0].split("%")[0]):
                yield "ip", *match.span()
        yield from (("number", *m.span()) for m in _MAC.finditer(text))


def _is_address(value: str) -> bool:
    try:
        ipaddress.ip_address(value)
    except ValueError:
        return False
    return True


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
    for match in _GROUPED.finditer(text):
        if sum(c.isdecimal() for c in match[0]) < 2 * _FEWEST_MIXED - 2:
            continue
        for kind, checks in _CHECKS.items():
            if any(is_valid(match[0]) for is_valid in checks) and not is_measured(text, match.start()):
                yield kind, *match.span()
                break


def _ends_of_words(match: re.Match[str]) -> Iterator[int]:
    """Ends of the first words of a match, all of them first: the word behind a number may look like a part of it."""
    yield match.end()
    for n in range(match[0].count(" ")):
        yield match.start() + len(match[0].rsplit(" ", n + 1)[0])


def _long(text: str, chunks: list[tuple[int, int]]) -> Iterator[Span]:
    """Numbers of more digits than measurements have, and codes of capitals and digits."""
    for start, end in chunks:
        if _digits(text[start:end]) < _FEWEST_MIXED:
            continue
        for match in _LONG.finditer(text, start, end):
            if not is_measured(text, match.start()):
                yield "number", *match.span()
        for pattern in (_MIXED, _LETTERED):
            for match in pattern.finditer(text, start, end):
                if _digits(match[0]) >= _FEWEST_MIXED and not is_measured(text, match.start()):
                    yield "number", *match.span()


def _digits(text: str) -> int:
    return sum(map(str.isdecimal, text))


# --- numbers that a cue asks for ---


@cache
def _number_cues() -> Mapping[str, str]:
    """Phrase -> kind of the number that it asks for."""
    tables: Mapping[str, Any] = cues()["numbers"]
    return {phrase: kind for kind in ("phone", "accession", "ssn", "mrn") for phrase in tables[kind]}


_AROUND_CUES = " :=.#()[]\t,-–\"'"


@cache
def _last_words() -> frozenset[str]:
    """Last words of the cues, and words that may stand behind them: what else stands before a number is no cue."""
    last = {phrase.replace("#", " ").split()[-1] for phrase in _number_cues()}
    return frozenset(part for word in last | _FILLERS for part in (word, word.strip(_AROUND_CUES + "/°º")))


def _cue_before(text: str, start: int) -> tuple[str, str] | None:
    """(phrase, kind) of the cue that ends just before a place; words like "no." and "is" may stand between."""
    before = text[max(0, start - _LONGEST_CUE) : start].lower()
    last = re.split(r"\s", before.rstrip(_AROUND_CUES))[-1] if before else ""
    if last.strip(_AROUND_CUES + "/°º") not in _last_words() or before[-1:].isalnum() or before.endswith("\n"):
        return None
    if re.search(r"[.;!?]\s+\Z", before) and not re.search(
        r"\b(?:no|nr|acc|tel|ext|pat|num|id|ref|n|pt|fax|crm|mob|st|pol|acct)\.\s+\Z", before
    ):
        return None
    found = [(m.start(), m.end(), m.group()) for m in _BEFORE.finditer(before)]
    if not found or before[found[-1][1] :].strip(_AROUND_CUES) != "":
        return None
    for fillers in range(3):
        words = found[: len(found) - fillers]
        if fillers and found[len(found) - fillers][2].strip(".") not in _FILLERS:
            return None
        for n in range(min(4, len(words)), 0, -1):
            phrase = " ".join(word.strip("-/'") for *_, word in words[-n:])
            for form in (phrase, phrase.rstrip("#"), phrase.replace(".", "")):
                kind = _number_cues().get(form)
                if kind is not None:
                    return form, kind
    return None


def _asked(text: str, chunks: list[tuple[int, int]]) -> Iterator[Span]:
    at = 0
    for match in (m for start, end in chunks for m in _CODE.finditer(text, start, end)):
        start = match.start()
        if start < at or _digits(text[start : start + _LONGEST_CUE // 2]) < _FEWEST_ASKED:
            continue
        cue = _cue_before(text, match.start())
        if cue is None or _UID.match(text, start):
            continue
        phrase, kind = cue
        end = _end_of_code(text, match.start(), spaced=True)
        code = text[match.start() : end]
        digits = sum(c.isdecimal() for c in code)
        fewest = _FEWEST_ASKED
        if kind == "phone":
            # "call 44": fewer digits than any extension; "at 14:20" is a time.
            fewest = _FEWEST_OF_PHONE if phrase in _WEAK_PHONE_CUES else _FEWEST_ASKED
            if phrase == "call" and code.isdecimal():
                fewest = _FEWEST_ASKED + 1
        elif phrase in _WEAK_CODE_CUES:
            fewest = _FEWEST_ASKED + 1
            if re.fullmatch(r"(?:19|20)\d\d", code):
                continue
        else:
            fewest = _FEWEST_MIXED if phrase in _FAINT_CODE_CUES else _FEWEST_ASKED + code.isdecimal()
        if digits >= fewest and not _is_unit_after(text, end):
            yield kind, match.start(), end
            at = end


def _is_unit_after(text: str, end: int) -> bool:
    following = re.match(r"\s?([A-Za-z]+)", text[end : end + 8])
    return following is not None and following[1].lower() in _UNITS


def _end_of_code(text: str, start: int, *, spaced: bool) -> int:
    """End of a number that begins at a place: parts with digits, or in capitals, joined by a sign or one blank."""
    end = start
    for match in _CODE_PART.finditer(text, start):
        gap = text[end : match.start()]
        part = match.group()
        if match.start() != start:
            has_digit = any(c.isdecimal() for c in part)
            if gap in ("-", "/", ".", "#", "(", ")", ") ", " (", " / ", "-(", ")-"):
                if not (has_digit or (len(part) <= 5 and part.isupper())) or (gap == "." and not has_digit):
                    break
            elif gap == " " and spaced:
                if not (has_digit and (part[0].isdecimal() or part.isupper())) and not (
                    len(part) == 4 and part.isupper() and kind_of(part) == WordKind.NAME and "M" not in part[:0]
                ):
                    break
            else:
                break
        end = match.end()
        if end - start > _LONGEST_CUE:
            break
    return end


# --- ages, streets ---


@cache
def _age_cues() -> tuple[frozenset[str], frozenset[str]]:
    return frozenset(cues()["ages"]["before"]), frozenset(cues()["ages"]["after"])


def _ages(text: str) -> Iterator[Span]:
    before, after = _age_cues()
    for match in _AGE.finditer(text):
        following = re.match(
            r"[\s-]{0,2}([^\W\d_]+(?:[\s/.-]{1,2}[^\W\d_]+){0,2})", text[match.end() : match.end() + 24]
        )
        words = re.split(r"[\s/.-]+", following[1].lower()) if following else []
        phrases = {" ".join(words[:n]) for n in (1, 2, 3)} | {"-".join(words[:2]), "/".join(words[:2])}
        is_near = bool(following) and text[match.end()] not in " \n" and len(words[0]) <= 3
        hit = phrases & after
        if hit and (
            hit - {"f", "m", "year", "years", "yr", "yrs", "lat", "ans", "anni"}
            or is_near
            or _is_age_in_years(text, match, hit)
        ):
            yield "age", *match.span()
            continue
        if _AGE_IN_COMMAS.search(text[max(0, match.start() - 20) : match.end() + 2]):
            yield "age", *match.span()
            continue
        preceding = re.findall(r"[^\W\d_]+", text[max(0, match.start() - 16) : match.start()].lower())
        if preceding and (preceding[-1] in before or " ".join(preceding[-2:]) in before):
            gap = text[max(0, match.start() - 16) : match.start()].lower().rpartition(preceding[-1])[2]
            if gap.strip(" :=-") == "":
                yield "age", *match.span()


def _is_age_in_years(text: str, match: re.Match[str], hit: set[str]) -> bool:
    """ "95 years" is an age but for "over 95 years"; "95 ans" and the like are."""
    return bool(hit & {"ans", "anni", "lat", "year", "years", "yr", "yrs"})


_STATES = (
    "AL AK AZ AR CA CO CT DE DC FL GA HI ID IL IN IA KS KY LA ME MD MA MI MN MS MO MT NE NV NH NJ NM NY NC ND OH OK OR "
    "PA RI SC SD TN TX UT VT VA WA WV WI WY"
).replace(" ", "|")
_UPPER_WORD = r"[^\W\d_a-zß-öø-ÿ][^\W\d_]*\.?"
_ZIP = re.compile(r"(?i:\bzip(?:\s?code)?|\bpostal code|\bpostcode|\bplz)\s*:?\s*(?P<zip>\d{4,5}(?:-\d{4})?)")
_PO_BOX = re.compile(r"\b(?:P\.?\s?O\.?\s+Box|Postfach|Casilla|Apartado)\s+\d{1,6}")
_POSTCODE_UK = re.compile(r"\b[A-Z]{1,2}\d[A-Z\d]?\s\d[A-BD-HJLNP-UW-Z]{2}\b")
_CITY_STATE = re.compile(rf"\b{_UPPER_WORD}(?:\s{_UPPER_WORD}){{0,2}},\s*(?:{_STATES})\b(?:\s+\d{{5}}(?:-\d{{4}})?)?")
_MAY_BE_STATE = re.compile(rf",\s*(?:{_STATES})\b")
_POSTAL_CITY = re.compile(
    rf"(?<![\w.,/-])(?:[A-Z]{{1,2}}-)?\d{{4,5}}(?:\s[A-Z]{{2}})?\s(?P<city>{_UPPER_WORD})(?:[ -]{_UPPER_WORD})?"
)


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
    town = r"[^\W\d_]+(?:[ -][^\W\d_]+)?"
    city = rf"(?:,\s*\d{{4,5}}(?:\s[A-Z]{{2}})?\s{town}|,\s*[A-Z][^\W\d_]+(?:\s[A-Z][^\W\d_]+)?)?"
    state = rf"(?:,?\s+(?:{_STATES})\b)?(?:\s+\d{{5}}(?:-\d{{4}})?)?"
    flat = r"(?:,?\s+(?:Apt|Suite|Unit|Flat|\#)\.?\s*\w+)?"
    of = r"(?:(?:de|du|des|la|le|les|del|della|di|dei|da|do|dos|las|los)\s+){0,2}"
    capital = r"[A-Z][^\W\d_]+(?:[ -][A-Z][^\W\d_]+)?"
    number = r"\d{1,5}[A-Za-z]?"
    begin_with_number = (
        # 12 Larkspur Court, Apt 4B, Eau Claire, WI 54701
        re.compile(rf"\b{number}\s+(?:[NSEW]\.?\s+)?(?:[A-Z][a-z]+\.?\s+){{1,3}}(?:{after})\b\.?{flat}{city}{state}"),
        # 27 rue des Peupliers, 69003 Lyon
        re.compile(rf"\b{number}(?:\s?(?:bis|ter))?,?\s+(?i:{before})\s+{of}{town}{city}"),
    )
    end_with_number = (
        # Calle de Alcalá 148, 28009 Madrid
        re.compile(rf"\b(?i:{before})\s+{of}{capital},?\s+(?:n[.º°]?\s?)?\d{{1,4}}\b{city}"),
        # Lindenstraße 14, 50674 Köln
        re.compile(rf"\b[A-ZÄÖÜ][^\W\d_]{{2,30}}(?:{ending}|str\.)\s+\d{{1,4}}\s?[a-z]?\b{city}"),
    )
    return begin_with_number, end_with_number


def _addresses(text: str, chunks: list[tuple[int, int]]) -> Iterator[Span]:
    patterns: list[re.Pattern[str]] = [_POSTCODE_UK]
    if _MAY_BE_STATE.search(text):
        patterns.append(_CITY_STATE)
    begin_with_number, end_with_number = _streets()
    words = set(_SMALL_WORD.findall(text.lower()))
    before, ending = _street_words()
    if not before.isdisjoint(words) or any(word.endswith(ending) for word in words):
        patterns += end_with_number
    if not words.isdisjoint(("box", "postfach", "casilla", "apartado")):
        patterns.append(_PO_BOX)
    for start, end in chunks:
        is_number = text[start].isdecimal() and end - start <= _LONGEST_HOUSE_NUMBER
        for pattern in begin_with_number if is_number else ():
            if match := pattern.match(text, start):
                yield "address", *match.span()
    for pattern in patterns:
        yield from (("address", *m.span()) for m in pattern.finditer(text))
    if not words.isdisjoint(("zip", "postal", "postcode", "plz")):
        yield from (("address", *m.span("zip")) for m in _ZIP.finditer(text))
    for match in _POSTAL_CITY.finditer(text):
        if (
            kind_of(match["city"].strip(".")) == WordKind.NAME
            and not match["city"].isupper()
            and not is_measured(text, match.start())
        ):
            yield "address", *match.span()
