"""Identifiers in report text: names, numbers of patients and exams, dates, phone numbers, addresses.

Rules, not a model: they need a cue ("Dr.", "MRN", "dated") or a shape that nothing else has, because a masked SUV or
slice would cost a lesion. Kinds follow the HIPAA safe harbor list (45 CFR 164.514(b)(2)); a year alone is none.
A mask has the length and the shape of what it hides (letters become x, digits 0, a month another of as many letters,
a year stays), so that character spans stay those of the report and a date still reads as one.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipelines.tables.identifier_kinds import IDENTIFIER_KINDS


@dataclass(frozen=True)
class Identifier:
    """Characters start..end of a text that identify somebody, and how."""

    kind: str
    start: int
    end: int


_MONTH = (
    r"(?:Jan(?:uary)?|Feb(?:ruary)?|Mar(?:ch)?|Apr(?:il)?|May|June?|July?|Aug(?:ust)?|Sept?(?:ember)?|Oct(?:ober)?"
    r"|Nov(?:ember)?|Dec(?:ember)?)"
)
_YEAR = r"(?:19|20)\d\d"
_DATE_CUE = r"(?:dated|date|on|since|exam|study|scan|PET/CT|CT|MRI|prior|comparison)"
# What measures is never masked: a number of these words, of a size, of vertebrae.
_NO_DATE_BEFORE = re.compile(
    r"(?:\b(?:SUV\w*|slices?|images?|series|im|ser|se|levels?|ribs?|segments?|grade|Deauville|score|stage|ratio)"
    r"\W{0,3}(?:\d+\W{1,3}){0,2}|[\d.])\Z",
    re.IGNORECASE,
)
_NO_DATE_AFTER = re.compile(r"\s*(?:mm|cm|ml|cc|x\s*\d)", re.IGNORECASE)
_DATES = re.compile(
    rf"\b{_YEAR}[-/.](?:0?[1-9]|1[0-2])(?:[-/.](?:0?[1-9]|[12]\d|3[01]))?\b(?![/.\-]\d)"
    rf"|\b(?:0?[1-9]|[12]\d|3[01])[/.\-](?:0?[1-9]|[12]\d|3[01])[/.\-](?:{_YEAR}|\d\d)\b(?![/.\-]?\d)"
    rf"|\b(?:0?[1-9]|1[0-2])/{_YEAR}\b(?![/.\-]\d)"
    rf"|\b(?:0?[1-9]|[12]\d|3[01])[-\s.]{{1,2}}{_MONTH}[-\s.,]{{1,2}}(?:{_YEAR}|\d\d)\b"
    rf"|\b(?:0?[1-9]|[12]\d|3[01])(?:st|nd|rd|th)?\s+(?:of\s+)?{_MONTH}\b(?:\.?,?\s+{_YEAR}\b)?"
    rf"|\b{_MONTH}\.?\s+(?:0?[1-9]|[12]\d|3[01])(?:st|nd|rd|th)?(?:\s*,?\s*{_YEAR})?\b(?![.]\d|\s*(?:mm|cm))"
    rf"|\b{_MONTH}\.?,?\s+(?:of\s+)?{_YEAR}\b",
    re.IGNORECASE,
)
_SHORT_DATES = re.compile(
    rf"(?<![\w]){_DATE_CUE}\s+(?P<date>(?:0?[1-9]|1[0-2])/(?:0?[1-9]|[12]\d|3[01]))\b(?![/.\-]?\d|\s*(?:mm|cm|x\b))",
    re.IGNORECASE,
)
_BARE_DATES = re.compile(rf"(?<![\d.])(?P<date>{_YEAR}(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01]))(?!\d|\.\d)")

_CODE = r"[A-Za-z]{0,5}[-\s]?\d(?:[-\s]?[A-Za-z0-9]){3,19}"
_NUMBERED = {
    "mrn": re.compile(
        rf"\b(?:MRN|M\.R\.N\.?|MR\s?(?:#|no\b\.?|number\b)|medical\s+record(?:\s+(?:no\.?|number|num|id))?"
        rf"|(?:patient|pt|hospital|chart|unit|person|record|health\s+card)\.?\s+(?:id(?:entifier)?|no\.?|number|#)|NHS(?:\s+(?:no\.?|number))?)"
        rf"(?:\s+(?:is|of|id))?[\s:#=.-]{{0,4}}(?P<value>{_CODE})",
        re.IGNORECASE,
    ),
    "accession": re.compile(
        rf"\b(?:accession(?:\s+(?:no\.?|number|num|id))?|acc\s?(?:#|no\.?|num\b|number\b)|(?:exam|study|order|visit"
        rf"|encounter|account|case|requisition)\s+(?:id(?:entifier)?|no\.?|number|#))(?:\s+(?:is|of|id))?[\s:#=.-]{{0,4}}"
        rf"(?P<value>{_CODE})",
        re.IGNORECASE,
    ),
    "ssn": re.compile(r"(?<![\d.\-])(?P<value>\d{3}-\d{2}-\d{4})(?![\d\-])"),
}
_PHONES = re.compile(
    r"(?<![\d.\-/])(?:\+?1[-.\s])?(?:\(\d{3}\)\s?|\d{3}[-.\s])\d{3}[-.]\d{4}(?!\d|[.\-]\d)(?:\s*(?:x|ext\.?|extension)\s*\d{1,6})?"
    r"|(?<![\d.])\+\d{1,3}[-.\s]\(?\d{1,4}\)?(?:[-.\s]\d{2,4}){2,4}(?!\d)",
    re.IGNORECASE,
)
_CALLED = re.compile(
    r"\b(?:phone|telephone|tel|fax|pager|beeper|cell|mobile|call|ext|extension)\b(?:\s+(?:no\.?|number|at))?[\s:.#]{1,3}"
    r"(?P<value>\+?\(?\d[\d()\s./-]{1,18}\d)(?!\d|\.\d)",
    re.IGNORECASE,
)
_EMAILS = re.compile(r"(?<![\w.+-])[\w.+-]+@[\w-]+(?:\.[\w-]+)+", re.ASCII)
_URLS = re.compile(r"\b(?:https?://|www\.)[^\s,;)>\]]+[^\s,;)>\].]", re.IGNORECASE)
_UIDS = re.compile(r"(?<![\d.])\d(?:\.\d+){5,}(?![\d.]*\d)")
_STATES = (
    "AL AK AZ AR CA CO CT DE DC FL GA HI ID IL IN IA KS KY LA ME MD MA MI MN MS MO MT NE NV NH NJ NM NY NC ND OH OK OR "
    "PA RI SC SD TN TX UT VT VA WA WV WI WY"
).replace(" ", "|")
_ADDRESSES = re.compile(
    r"\b\d{1,5}\s+(?:[NSEW]\.?\s+)?(?:[A-Z][a-z]+\.?\s+){1,3}(?:Street|St|Avenue|Ave|Road|Rd|Boulevard|Blvd|Lane|Ln|Drive"
    r"|Court|Ct|Place|Pl|Way|Parkway|Pkwy|Highway|Hwy|Terrace|Circle|Square)\b\.?"
    rf"(?:,?\s+(?:Apt|Suite|Unit|#)\.?\s*\w+)?(?:,\s*[A-Z][a-z]+(?:\s[A-Z][a-z]+)?)?(?:,?\s+(?:{_STATES})\b(?:\s+\d{{5}}(?:-\d{{4}})?)?)?"
    rf"|\b[A-Z][a-z]+(?:\s[A-Z][a-z]+)?,\s*(?:{_STATES})\s+\d{{5}}(?:-\d{{4}})?\b"
    r"|\b[A-Z][A-Za-zäöüß]+(?:straße|strasse|gasse|weg|platz)\s+\d{1,4}\s?[a-z]?\b"
    r"|\bP\.?\s?O\.?\s+Box\s+\d+",
)
_AGES = re.compile(r"\b(?P<value>9\d|1[0-2]\d)(?=[\s-]*(?:y/?o\b|yrs?\b|years?[\s-]*(?:old|of\s+age)))", re.IGNORECASE)

_CAPITAL = r"[A-Z](?:[a-zà-öø-ÿ]+|[A-Z]{1,})(?:[-'’][A-Z]?[a-zA-Zà-öø-ÿ]+)*"
_SURNAME = rf"(?:(?:van|von|der|den|de|la|le|di|da|del|bin|al|el|O['’]|Mc|Mac)[\s-]?){{0,2}}{_CAPITAL}"
_INITIAL = r"[A-Z]\.?"
_WHOLE_NAME = (
    rf"(?:{_SURNAME}(?:,\s*{_CAPITAL}(?:\s+{_INITIAL}(?![\w]))?|(?:\s+{_INITIAL}(?!\w))?(?:\s+{_SURNAME}){{0,2}})"
    rf"|{_INITIAL}\s*(?:{_INITIAL}\s*)?{_SURNAME})"
)
_DEGREE = r"(?:M\.?\s?D\.?|D\.?O\.?|MBBS|FRCR|FRCPC|Ph\.?D\.?|R\.?N\.?|P\.?A\.?(?:-C)?|N\.?P\.?|FACR|FACNM)"
_NAMES = (
    # Titles.
    re.compile(rf"\b(?:Dr|DR|Drs|Mr|Mrs|MRS|Ms|Miss|Prof|PROF|Professor|Doctor)\b\.?\s+(?P<value>{_WHOLE_NAME})"),
    # In capitals MR is an examination and MS a disease; where a sentence begins with one and a period, it is a title.
    re.compile(rf"(?:\A|[\n.:;])\s*M[RS]\.\s+(?P<value>[A-Z]{{2,}}(?:[-'’][A-Z]+)*(?:\s+{_INITIAL}(?!\w))?)"),
    # Degrees.
    re.compile(rf"(?P<value>{_CAPITAL}(?:\s+{_INITIAL})?(?:\s+{_SURNAME}){{1,2}}),?\s+{_DEGREE}(?![\w])"),
    # Who wrote, asked, was told.
    re.compile(
        r"\b(?i:(?:electronically\s+)?(?:signed|dictated|transcribed|reviewed|verified|finali[sz]ed|approved|interpreted|read|reported"
        r"|written|prepared|authored|edited|authenticated|performed|referred|ordered|requested)\s+by|(?:discussed|reviewed|communicated|reported|conveyed|spoken|paged)"
        r"\s+(?:with|to)|(?:referring|ordering|attending|requesting|primary\s+care|reading)\s+(?:physician|provider|doctor|clinician"
        r"|radiologist)|(?:attending|resident|fellow|radiologist|technologist|physician|provider|surgeon|oncologist"
        r"|signed|dictated|reported|transcribed)\s*:|cc\s*:)[\s:]*(?:(?:Dr|Mr|Mrs|Ms|Prof)\.?\s+)?"
        rf"(?P<value>{_WHOLE_NAME})"
    ),
    # The patient.
    re.compile(
        rf"\b(?i:(?:patient(?:'?s)?|pt)(?:\s+name)?\s*[:=]|(?:patient(?:'?s)?|pt)\s+name\s+(?:is\s+)?|name\s*:|patient\s+(?:named|called))"
        rf"\s*(?:(?:Mr|Mrs|Ms|Miss)\.?\s+)?(?P<value>{_WHOLE_NAME})"
    ),
    # As DICOM writes them.
    re.compile(r"(?P<value>\b[A-Z][A-Za-z'-]+\^[A-Za-z'-]+(?:\^[A-Za-z'.-]*){0,3})"),
)
_GIVEN = frozenset(Path(__file__).with_name("given_names.txt").read_text().split())
_PAIR = re.compile(rf"\b(?P<given>[A-Z][a-zà-öø-ÿ]+)\s+(?:{_INITIAL}\s+)?(?P<last>{_SURNAME})")
# As lists of patients write them, in capitals too: "Smith, John", "SMITH, JOHN A".
_TURNED = re.compile(rf"\b(?P<last>{_SURNAME}),\s*(?P<given>[A-Z][a-zA-Zà-öø-ÿ]+)\b(?:\s+{_INITIAL}(?!\w))?")
_SHORTEST_NAME = 3
# Surnames that are words too: alone they are names inside a sentence only, where a word has no capital.
_WORD_NAMES = frozenset(Path(__file__).with_name("word_names.txt").read_text().split())
# Words that stand where a name could: headings, roles, anatomy that begins a sentence, eponyms of medicine.
_NO_NAMES = frozenset(Path(__file__).with_name("no_names.txt").read_text().split())


def scan(text: str, known: Iterable[str] = (), names: Iterable[str] = ()) -> tuple[Identifier, ...]:
    """Identifiers of a text in order, none overlapping another.

    known: ids of the report itself (its exam, its patient); they are found wherever they stand as words of their own.
    names: parts of names that the exam's own images give; they are found wherever they stand with a capital, unless
    they are words of every report.
    """
    found: list[Identifier] = []

    def take(kind: str, start: int, end: int) -> None:
        if start < end:
            found.append(Identifier(kind, start, end))

    for value in sorted({k.strip() for k in known if k and len(k.strip()) >= 4 and any(c.isdigit() for c in k)}):
        if _may_hold(text, value):
            for match in re.finditer(rf"(?<![\w]){re.escape(value)}(?![\w])", text, re.IGNORECASE):
                take("record id", *match.span())
    if any(c.isdigit() for c in text):
        for pattern, kind in ((_UIDS, "uid"), (_PHONES, "phone")):
            for match in pattern.finditer(text):
                take(kind, *match.span())
        for kind, pattern in _NUMBERED.items():
            for match in pattern.finditer(text):
                take(kind, *_code_span(text, *match.span("value")))
        for match in _CALLED.finditer(text):
            if sum(c.isdigit() for c in match["value"]) >= 4:
                take("phone", *match.span("value"))
        for match in _DATES.finditer(text):
            if not _NO_DATE_BEFORE.search(text, max(0, match.start() - 30), match.start()) and not _NO_DATE_AFTER.match(
                text, match.end()
            ):
                take("date", *match.span())
        for pattern in (_SHORT_DATES, _BARE_DATES):
            for match in pattern.finditer(text):
                take("date", *match.span("date"))
        for match in _AGES.finditer(text):
            take("age", *match.span("value"))
    for pattern, kind in ((_EMAILS, "email"), (_URLS, "url"), (_ADDRESSES, "address")):
        for match in pattern.finditer(text):
            take(kind, *match.span())
    for pattern in _NAMES:
        for match in pattern.finditer(text):
            take("name", *_name_span(text, *match.span("value")))
    for match in _PAIR.finditer(text):
        if match["given"] in _GIVEN and not is_no_name(match["last"]):
            take("name", *match.span())
    for match in _TURNED.finditer(text):
        if match["given"].capitalize() in _GIVEN and not is_no_name(match["last"]):
            take("name", *match.span())
    for start, end in _bare_names(text, names):
        take("name", start, end)
    return _apart(found)


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
        is_inside = not in_capitals and re.search(r"[a-z,]\s+\Z", text[: match.start()]) is not None
        if word.lower() not in _WORD_NAMES or is_inside:
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


def mask(text: str, found: Iterable[Identifier]) -> str:
    """The text with every identifier hidden, of the same length: `text[i]` and `mask(text)[i]` are one place."""
    pieces, at = [], 0
    for identifier in sorted(found, key=lambda i: i.start):
        pieces += [text[at : identifier.start], _hidden(text[identifier.start : identifier.end], identifier.kind)]
        at = identifier.end
    masked = "".join([*pieces, text[at:]])
    assert len(masked) == len(text)
    return masked


def clean(text: str, known: Iterable[str] = ()) -> str:
    """The text with all that `scan` finds masked."""
    return mask(text, scan(text, known))


def _apart(found: Iterable[Identifier]) -> tuple[Identifier, ...]:
    """Without overlaps: of two that meet the longer stays, and takes in what the other has beyond it."""
    out: list[Identifier] = []
    for item in sorted(found, key=lambda i: (i.start, -i.end, IDENTIFIER_KINDS.index(i.kind))):
        if out and item.start < out[-1].end:
            last = out[-1]
            longer = last if last.end - last.start >= item.end - item.start else item
            out[-1] = Identifier(longer.kind, last.start, max(last.end, item.end))
        else:
            out.append(item)
    return tuple(out)


def _code_span(text: str, start: int, end: int) -> tuple[int, int]:
    """The part of a number's match that is the number: up to the last word of it that holds a digit."""
    words = list(re.finditer(r"\S+", text[start:end]))
    kept = start
    for n, word in enumerate(words):
        is_prefix = n == 0 and word[0].isalpha() and word[0].isupper()
        if not is_prefix and not any(c.isdigit() for c in word[0]):
            break
        kept = start + word.end()
    code = text[start:kept].rstrip(".,;:")
    # Fewer digits count something: "chart 3", "patient number 5".
    return start, start + (len(code) if sum(c.isdigit() for c in code) >= 4 else 0)


def _name_span(text: str, start: int, end: int) -> tuple[int, int]:
    """The words of a match that can be a name: it ends before the first one that is not, and may be none."""
    last = start
    for word in re.finditer(r"[^\s,]+", text[start:end]):
        if is_no_name(word[0]):
            break
        last = start + word.end()
    kept = text[start:last].rstrip()
    if kept.endswith(".") and len(kept.split()[-1]) > 2:
        kept = kept[:-1]
    return start, start + (len(kept) if sum(c.isalpha() for c in kept) >= 2 else 0)


def is_no_name(word: str) -> bool:
    return re.sub(r"['’]s\Z|\W+\Z", "", word).lower() in _NO_NAMES


_BY_LENGTH: Mapping[int, str] = {
    3: "may",
    4: "june",
    5: "march",
    6: "august",
    7: "january",
    8: "december",
    9: "september",
}


def _hidden(words: str, kind: str) -> str:
    if kind != "date":
        return re.sub(r"\d", "0", re.sub(r"[^\W\d_]", lambda m: "X" if m[0].isupper() else "x", words))
    return re.sub(r"[^\W\d_]+|\d+", lambda m: _hidden_part(m[0]), words)


def _hidden_part(part: str) -> str:
    """A part of a date: a month becomes another one of as many letters, day and month 0, the year stays."""
    if part.isdigit():
        if len(part) == 8:
            return part[:4] + "0000"
        return part if len(part) == 4 else "0" * len(part)
    if part.lower() in ("st", "nd", "rd", "th", "of"):
        return "th" if part.lower() != "of" else part
    other = _BY_LENGTH.get(len(part), "x" * len(part))
    return other.upper() if part.isupper() else other.capitalize() if part[0].isupper() else other
