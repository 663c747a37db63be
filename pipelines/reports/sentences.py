"""A report cut into the units that can be findings, each with its place in the report.

A unit is mostly a sentence or a line of a list. Neighbouring sentences are one unit where the slice and the SUV of one
lesion stand apart; a sentence is several units where `;` parts an SUV and a slice from the next. Whatever the cutting
does, `report[start:end]` is the unit.
"""

import re
from collections import deque
from dataclasses import dataclass, replace
from hashlib import blake2b

from pipelines.reports.rules.expressions import find_expressions
from pipelines.reports.rules.number_kinds import has_suv, may_have_slice
from pipelines.reports.rules.values import Expressions, Role
from pipelines.reports.structure import AnatomyMention, find_anatomy, organs_of, section_region
from pipelines.reports.vocabulary.cues import Cues
from pipelines.reports.vocabulary.language import language_of
from pipelines.reports.vocabulary.lexicon import MUSCULOSKELETAL
from pipelines.reports.vocabulary.text import lower
from pipelines.reports.vocabulary.vocabulary import Vocabulary, package_vocabulary


@dataclass(frozen=True)
class Sentence:
    """A unit of a report that can be a finding.

    `sentence` is the report's text from `start` to `end` (half-open), unchanged. `section` is the last heading before
    it, in English words, with what a list says of all of its items; null before the first. `is_candidate` is true where
    it holds both an SUV value and a slice number; `candidate_reason` says what it holds; `language` is the report's
    (ISO 639-1).
    """

    sentence_id: str
    exam_id: str
    sentence: str
    start: int
    end: int
    section: str | None
    is_candidate: bool
    candidate_reason: str
    language: str | None = "en"


SUV_AND_SLICE = "SUV and slice"
SUV_ONLY = "SUV without slice"
SLICE_ONLY = "slice without SUV"
NEITHER = "no SUV and no slice"
MANY_SUVS = "more SUVs than a sentence names"

MOST_SUVS = 24
"""SUVs of one sentence: a longer list is a table without its lines, and each SUV costs as much as all before it."""

MAX_UNIT_CHARS = 4000
"""A longer unit is no sentence but text without punctuation.

It is cut at the spaces so that no later step meets a megabyte.
"""


_PARENTHESIS = re.compile(r"\([^()\n]{0,160}\)")
_STOP = re.compile(
    r"""[.!?]+(?=[\s)\]"']|$|[A-Z(]|[a-z]{3})   # before a space, a closing mark, or a word without a space
    |(?<!\d)[.!?]+(?=\d{1,2}\.\s[A-Z])          # before the number of a list's next item
    """,
    re.VERBOSE,
)
_LIST_MARK = re.compile(
    r"""(?:[-*•·‣◦▪–>]+|\(?\d{1,2}[.)](?!\d)|\(?[a-zA-Z][.)])\s+(?=\S)  # "- ", "1. ", "(2) ", "a) "
    |[•·‣◦▪]\s*|\d{1,2}[.)](?=[A-Z])                                      # "•Mass", "1.Mass"
    """,
    re.VERBOSE,
)
_INLINE_MARK = re.compile(r"\(?\d{1,2}[.)]\s+(?=[A-Z])")
_DIGIT = re.compile(r"\d")
_LEFT, _RIGHT = re.compile(r"\bleft\b"), re.compile(r"\bright\b")
_ALNUM = re.compile(r"[^\W_]")
_SPACE = re.compile(r"\s*")
_HEADING = re.compile(r"(?P<name>[A-Za-z][A-Za-z/&,\-() ]{1,60}?)(?:\s*:(?=\s|$|[A-Z])|\s+-+(?=\s))")
_CONTINUES = re.compile(r"[a-z(\[),;/=&]|\d|SUV\b|SUVmax|FDG[- ]avid|PET\b|CT\b")
_LAST_WORD = re.compile(r"[A-Za-z][A-Za-z.]*$")
_LETTER_BEFORE = re.compile(r"(?:^|\s)[A-Za-z]$")
_LETTER_OR_POINT_BEFORE = re.compile(r"(?:^|[\s.(])[A-Za-z]$")
_LETTER_AND_POINT = re.compile(r"[A-Za-z]\.")
_WORD_AND_SPACE = re.compile(r"[a-z]{2,}\s")
_INLINE_MARK_BEFORE = re.compile(r"\s*\(?(?:\d{1,2}|[A-Za-z])")
_LINE = re.compile(r"[^\n]*(?:\n|$)")
_REACH = 40
"""Characters before the end of a line, or before a full stop, that can say whether a sentence ends there."""


@dataclass(frozen=True)
class _Piece:
    start: int
    end: int
    section: str | None
    is_item: bool
    block: int


def split_report(exam_id: str, text: str, vocabulary: Vocabulary | None = None) -> list[Sentence]:
    """Units of one report in reading order; empty for an empty report.

    Spans never overlap. What lies between them is space, headings and list marks.

    Args:
        vocabulary: by default the package's.
    """
    language = language_of(text)
    words = (vocabulary or package_vocabulary()).of(language)
    read = words.in_english(text)
    report = _Report(read.text, lower(read.text), words.english)
    seen: dict[str, int] = {}
    out = []
    for piece in _merge(report, _pieces(report)):
        for start, end in _split_semicolons(report, piece.start, piece.end):
            is_candidate, reason = _candidate(report, report.lowered[start:end])
            section = _section_of(report, piece, start)
            start, end = read.original(start, end)
            sentence = text[start:end]
            name = f"{exam_id}:{blake2b(sentence.encode('utf-8', 'surrogatepass'), digest_size=4).hexdigest()}"
            seen[name] = seen.get(name, 0) + 1
            sentence_id = name if seen[name] == 1 else f"{name}#{seen[name]}"
            place = (start, end, section)
            out.append(Sentence(sentence_id, exam_id, sentence, *place, is_candidate, reason, language))
    return out


@dataclass(frozen=True)
class _Report:
    """A report's text, cleaned and the same in lower case, with the words to read it with."""

    flat: str
    lowered: str
    vocabulary: Vocabulary

    @property
    def cues(self) -> Cues:
        return self.vocabulary.cues

    def expressions(self, text: str) -> Expressions:
        return find_expressions(text, self.vocabulary)

    def places(self, text: str) -> tuple[AnatomyMention, ...]:
        return find_anatomy(text, self.vocabulary)


def _candidate(report: _Report, text: str) -> tuple[bool, str]:
    suv, item = _holds(report, text)
    if suv and len(report.expressions(text).suvs) > MOST_SUVS:
        return False, MANY_SUVS
    if suv and item:
        return True, SUV_AND_SLICE
    return False, SUV_ONLY if suv else SLICE_ONLY if item else NEITHER


def _holds(report: _Report, text: str) -> tuple[bool, bool]:
    """Whether a text holds an SUV value, and a slice number, of whatever exam or region."""
    if not _DIGIT.search(text) or not (has_suv(text, report.cues) or may_have_slice(text, report.cues)):
        return False, False
    found = report.expressions(text)
    return bool(found.suvs), bool(found.slices)


# --- lines, headings, sentences --------------------------------------------------------------------------------------
def _pieces(report: _Report) -> list[_Piece]:
    flat = report.flat
    pieces: list[_Piece] = []
    section: str | None = None
    for block, (start, end, is_item) in enumerate(_blocks(report)):
        position = label = start
        while position < end:
            heading = _heading(report, position, end)
            if heading is None:
                break
            label = position
            section, position = heading
            position = _after_space(flat, position, end)
            mark = _LIST_MARK.match(flat, position, end)
            if mark is not None:
                position, is_item = mark.end(), True
        for n, (a, b) in enumerate(_sentences(report, position, end)):
            a = _strip(flat, a, b)[0]
            own = label if n == 0 and label < position else a
            numbered = _INLINE_MARK.match(flat, a, b) if a > position else None
            if numbered is not None:
                a, is_item = numbered.end(), True
            heading = _heading(report, a, b)
            if n > 0 and heading is None and _ends_comparison(report, section, a, b):
                section = None
            if heading is not None:
                section, a = heading
                a = _after_space(flat, a, b)
            if own < a and report.cues["values_alone"].fullmatch(report.lowered, a, b):
                # "Liver: SUVmax 2.7 (image 155).": without its label the text would not say what it is about.
                a = own
            pieces += [_Piece(s, e, section, is_item, block) for s, e in _bounded(flat, a, b)]
            is_item = False
    return pieces


def _after_space(flat: str, start: int, end: int) -> int:
    match = _SPACE.match(flat, start, end)
    return match.end() if match is not None else start


def _bounded(flat: str, start: int, end: int) -> list[tuple[int, int]]:
    start, end = _strip(flat, start, end)
    out = []
    while end - start > MAX_UNIT_CHARS:
        cut = flat.rfind(" ", start + 1, start + MAX_UNIT_CHARS)
        cut = cut if cut > start else start + MAX_UNIT_CHARS
        out.append(_strip(flat, start, cut))
        start, end = _strip(flat, cut, end)
    return [span for span in [*out, (start, end)] if _ALNUM.search(flat, *span)]


def _strip(flat: str, start: int, end: int) -> tuple[int, int]:
    while start < end and flat[start].isspace():
        start += 1
    while end > start and flat[end - 1].isspace():
        end -= 1
    return start, end


def _blocks(report: _Report) -> list[tuple[int, int, bool]]:
    """Runs of lines that belong together, without their list marks: (start, end, whether it is an item of a list)."""
    flat = report.flat
    blocks: list[tuple[int, int, bool]] = []
    previous = (0, 0)
    is_after_blank = True
    for line in _LINE.finditer(flat):
        if line.start() == line.end():
            break
        start, end = _strip(flat, line.start(), line.end())
        if start == end:
            is_after_blank = True
            continue
        mark = _LIST_MARK.match(flat, start, end)
        is_open = not is_after_blank and _ends_open(report, *previous)
        if mark is not None and is_open and flat[start].isdigit():
            mark = None
        goes_on = is_open or (
            _CONTINUES.match(flat, start, end) is not None
            and not flat[previous[0] : previous[1]].endswith((".", ":", "!", "?", ";"))
        )
        if blocks and not is_after_blank and mark is None and goes_on and (is_open or not _heading(report, start, end)):
            blocks[-1] = (blocks[-1][0], end, blocks[-1][2])
        else:
            blocks.append((mark.end() if mark else start, end, mark is not None))
        previous, is_after_blank = (start, end), False
    return blocks


def _ends_open(report: _Report, start: int, end: int) -> bool:
    """Whether a line's last words leave its sentence open."""
    return report.cues["open_end"].search(report.lowered[max(start, end - _REACH) : end]) is not None


def _heading(report: _Report, start: int, end: int) -> tuple[str, int] | None:
    """Name of a heading at a position and where its text begins.

    Labels that are a finding's own place ("Right axilla:") are none.
    """
    match = _HEADING.match(report.flat, start, end)
    if match is None:
        whole = report.flat[start:end].strip()
        if 2 < len(whole) <= 60 and whole.isupper() and _is_heading_name(report, whole) and end - start == len(whole):
            return whole, end
        return None
    name = match["name"].strip()
    return (name, match.end()) if _is_heading_name(report, name) else None


def _ends_comparison(report: _Report, section: str | None, start: int, end: int) -> bool:
    """Whether a sentence behind "Comparison: 03/14/2021." speaks of this exam, so that the heading is not its own."""
    if section is None or not report.cues["heading_comparison"].search(section.lower()):
        return False
    return report.cues["present_tense"].search(report.lowered, start, end) is not None


def _is_heading_name(report: _Report, name: str) -> bool:
    words = [w for w in re.split(r"[^a-z\-]+", name.lower()) if w]
    if not words or len(words) > 7:
        return False
    if report.cues.words("heading_word").issuperset(words):
        return True
    # "CHEST AND UPPER ABDOMEN", but not a finding of a report all in capitals.
    if not name.isupper() or report.cues["no_heading"].search(name.lower()):
        return False
    return section_region(name, report.vocabulary) is not None


def _sentences(report: _Report, start: int, end: int) -> list[tuple[int, int]]:
    flat = report.flat
    out = []
    begin = start
    closing = deque(_closing_parens(flat, start, end))
    for match in _STOP.finditer(flat, start, end):
        if match.end() < begin or not _ends_sentence(report, begin, match, end):
            continue
        while closing and closing[0][1] <= match.start():
            closing.popleft()
        if closing and closing[0][0] < match.start():
            continue
        stop = match.end()
        while stop < end and flat[stop] in ")]\"'":
            stop += 1
        out.append((begin, stop))
        begin = stop
    out.append((begin, end))
    return out


def _closing_parens(flat: str, start: int, end: int) -> list[tuple[int, int]]:
    """Short parentheses that close: a full stop inside one ends no sentence."""
    return [(m.start(), m.end()) for m in _PARENTHESIS.finditer(flat, start, end)]


def _ends_sentence(report: _Report, begin: int, match: re.Match[str], end: int) -> bool:
    if match[0] != ".":
        return True
    flat = report.flat
    before = flat[max(begin, match.start() - _REACH) : match.start()]
    after = flat[match.end() : min(end, match.end() + 20)]
    following = after.lstrip()
    if not following:
        return True
    word = _LAST_WORD.search(before)
    if word is not None:
        told = _word_ends_sentence(report.cues, word[0], before, after)
        if told is not None:
            return told
    elif after[0].islower():
        return _WORD_AND_SPACE.match(after) is not None
    # The mark of a list that runs on in one line: "1. Mass ... 2. Node ...".
    is_mark = _INLINE_MARK_BEFORE.fullmatch(before) is not None and following[0].isupper()
    return not is_mark


def _word_ends_sentence(cues: Cues, word: str, before: str, after: str) -> bool | None:
    """Whether a sentence ends with a word and its full stop; null where the word does not tell.

    Args:
        before: text that ends with the word.
        after: text behind the full stop.
    """
    token, following = word.lower().strip("."), after.lstrip()
    is_glued = after[0].isalpha() or after[0] == "("
    if token in cues.words("abbreviation"):
        if token not in cues.words("abbreviation_before_number"):
            return token == "etc" and following[0].isupper()
        # "No. 3" and "SUV max. 4.2" go on; "... measures 3 cm. There is" does not.
        is_number = following[0].isdigit() or following[0] in "#=:("
        return not is_number and not (following[0].islower() and token not in ("cm", "mm"))
    is_letter = _LETTER_BEFORE.search(before) is not None
    is_initial = len(token) == 1 and word[0].isupper() and following[0].isupper() and len(before.split()) <= 1
    if is_initial and (is_glued or is_letter):
        return False
    if _LETTER_OR_POINT_BEFORE.search(before) and _LETTER_AND_POINT.match(after):
        # Inside "S.U.V." or "e.g.".
        return False
    if "." in word and len(token.replace(".", "")) <= 3 and all(len(p) == 1 for p in token.split(".")):
        return False
    if is_glued and after[0].islower():
        # "muscular.no" is a missing space; "www.site" or "x.jpg" are seldom in a report, and short words are
        # abbreviations.
        return len(token) >= 3 and _WORD_AND_SPACE.match(after) is not None
    return None


# --- merging and splitting -------------------------------------------------------------------------------------------
def _merge(report: _Report, pieces: list[_Piece]) -> list[_Piece]:
    out: list[_Piece] = []
    i = 0
    while i < len(pieces):
        piece = pieces[i]
        last = i
        suv, item = _piece_holds(report, piece)
        while last + 1 < len(pieces) and not (suv and item):
            reach = _reach(report, pieces, i, last, suv, item, leads=last == i and _leads(report, pieces, i, out))
            if reach is None:
                break
            last = reach
            piece = _Piece(pieces[i].start, pieces[last].end, pieces[i].section, pieces[i].is_item, pieces[last].block)
            suv, item = _piece_holds(report, piece)
        if last > i and not (suv and item):
            piece, last = pieces[i], i
            suv, item = _piece_holds(report, piece)
        while last + 1 < len(pieces) and suv and _compares(report, pieces[last], pieces[last + 1]):
            last += 1
            piece = replace(piece, end=pieces[last].end, block=pieces[last].block)
        out.append(piece)
        i = last + 1
    return out


def _piece_holds(report: _Report, piece: _Piece) -> tuple[bool, bool]:
    text = report.lowered[piece.start : piece.end]
    if not any(_holds(report, text)):
        return False, False
    found = report.expressions(text)
    if found.suvs and all(v.role is Role.PRIOR for v in found.suvs):
        return False, False
    # A prior exam's value leaves the finding without one: "Previous SUV max 13.5. Current SUV max 6.9."
    return any(v.role is not Role.PRIOR for v in found.suvs), any(s.role is not Role.PRIOR for s in found.slices)


def _compares(report: _Report, before: _Piece, piece: _Piece) -> bool:
    """Whether a sentence only compares the lesion of the one before with a prior exam: "Previously 9.4."."""
    text = report.lowered[piece.start : piece.end]
    is_apart = piece.section != before.section or piece.is_item or _is_parted(report, before, piece)
    if is_apart or not report.cues["comparison_leads"].match(text):
        return False
    is_current = any(v.role is Role.CURRENT for v in report.expressions(text).suvs)
    return not is_current and not report.places(text)


def _leads(report: _Report, pieces: list[_Piece], index: int, before: list[_Piece]) -> bool:
    """Whether a piece is a slice or an SUV and nothing else ("Series 4, image 88."), and no sentence before it in its
    paragraph can be meant, so that it leads on to what follows.
    """
    piece = pieces[index]
    if not report.cues["values_alone"].fullmatch(report.lowered, piece.start, piece.end):
        return False
    previous = before[-1] if before else None
    if previous is None or previous.block != piece.block or previous.section != piece.section:
        return True
    return all(_piece_holds(report, previous))


def _reach(
    report: _Report, pieces: list[_Piece], first: int, last: int, suv: bool, item: bool, *, leads: bool = False
) -> int | None:
    """Index of the next piece that belongs to the lesion of pieces first..last and brings what it lacks, at most two
    pieces on. Where the first `leads`, what follows names the lesion and need not refer back.
    """
    head = report.lowered[pieces[first].start : pieces[last].end]
    if not (suv or item) and not _begins_finding(report, head):
        return None
    for index in range(last + 1, min(last + 3, len(pieces))):
        piece = pieces[index]
        text = report.lowered[piece.start : piece.end]
        if not _may_belong(report, pieces[first], pieces[index - 1], piece):
            return None
        names_lesion = leads and piece.block == pieces[first].block and report.cues["lesion_mention"].search(text)
        if not names_lesion and not _belongs(report, head, text):
            return None
        has_suv_value, has_slice = _piece_holds(report, piece)
        if not (has_suv_value or has_slice):
            continue
        if not (suv or item):
            # "There is a mass in the left upper lobe. SUV max is 3.1 (slice 78).": the second names no place of its
            # own.
            return None if report.places(text) else index
        is_what_lacks = (has_suv_value and not suv) or (has_slice and not item)
        return index if is_what_lacks and not (has_suv_value and has_slice) else None
    return None


def _may_belong(report: _Report, first: _Piece, before: _Piece, piece: _Piece) -> bool:
    """Whether a piece stands where it can go on about the lesion of the first."""
    text = report.lowered[piece.start : piece.end]
    if piece.section != first.section or report.cues["new_lesion_leads"].match(text):
        return False
    if piece.is_item and not report.cues["values_lead"].match(text):
        return False
    return not _is_parted(report, before, piece)


def _is_parted(report: _Report, before: _Piece, piece: _Piece) -> bool:
    """Whether a blank line stands between two pieces."""
    return report.lowered[before.end : piece.start].count("\n") > 1


def _begins_finding(report: _Report, head: str) -> bool:
    cues = report.cues
    return bool(cues["lesion_mention"].search(head) and report.places(head)) and not cues["denies"].search(head)


def _belongs(report: _Report, head: str, text: str) -> bool:
    """Whether a sentence goes on about the lesion of the one before."""
    cues = report.cues
    subject = cues["reference_subject"]
    if not cues["refers_back"].match(text) or subject.search(text.split("suv")[0]):
        return False
    if subject.search(head.split("suv")[0]) and not cues["lesion_mention"].search(head):
        return False
    mine = {p.term.organ for p in report.places(head)}
    theirs = organs_of(text, report.vocabulary)
    if any(p.term.region == MUSCULOSKELETAL for p in report.places(head)):
        # "sclerotic" and "lytic" are said of any bone.
        theirs -= {"bone"}
    if theirs and not (mine & theirs) and not _speaks_of_it_first(report, text):
        return False
    for side, other in ((_LEFT, _RIGHT), (_RIGHT, _LEFT)):
        if side.search(text) and other.search(head) and not side.search(head):
            return False
    return True


def _speaks_of_it_first(report: _Report, text: str) -> bool:
    """Whether a sentence takes up the lesion and gives its number before it names a place: "The mass is seen on slice
    78 and abuts the pleura.".
    """
    if not report.cues["takes_up_lesion"].match(text) and not report.cues["values_lead"].match(text):
        return False
    first = report.places(text)[0].start
    found = report.expressions(text)
    return min([n.end for n in found.suvs] + [n.end for n in found.slices], default=first + 1) <= first


def _split_semicolons(report: _Report, start: int, end: int) -> list[tuple[int, int]]:
    """A unit cut at each `;` that has an SUV and a slice on both of its sides."""
    text = report.lowered[start:end]
    if ";" not in text or not _complete(report, text):
        return [(start, end)]
    groups: list[tuple[int, int]] = []
    is_complete = False
    begin = 0
    for cut in [*_outside_parentheses(text, ";"), len(text)]:
        if is_complete and _stands_alone(report, text[begin:cut], text[groups[-1][0] : groups[-1][1]]):
            groups.append((begin, cut))
        else:
            first = groups.pop()[0] if groups else 0
            groups.append((first, cut))
            is_complete = is_complete or _complete(report, text[first:cut])
        begin = cut + 1
    spans = [_strip(report.lowered, start + a, start + b) for a, b in groups]
    conjunction = report.cues["and_leads"]
    return [(m.end() if (m := conjunction.match(report.lowered, a, b)) else a, b) for a, b in spans]


def _section_of(report: _Report, piece: _Piece, start: int) -> str | None:
    """The heading of a unit of a piece, with what the piece says before its items of all of them: "Nodes of the left
    neck: level II ...; level V ...".
    """
    lead = report.cues["list_lead"].match(report.lowered, piece.start, start)
    if lead is None or not report.places(lead[0]):
        return piece.section
    common = report.flat[piece.start : lead.end()].strip(" :,")
    return f"{piece.section}, {common}" if piece.section else common


def _outside_parentheses(text: str, mark: str) -> list[int]:
    """Where a mark stands that is in no short parenthesis."""
    inside = [m.span() for m in _PARENTHESIS.finditer(text)]
    return [n for n, c in enumerate(text) if c == mark and not any(a < n < b for a, b in inside)]


def _stands_alone(report: _Report, text: str, before: str) -> bool:
    """Whether what follows a `;` is a finding of its own, and not the same one's value of another exam.

    A lesion that leaves its place to the words before stays with them.
    """
    if not _complete(report, text) or not any(v.role is Role.CURRENT for v in report.expressions(text).suvs):
        return False
    names_lesion = report.cues["lesion_mention"].search(text) is not None
    return bool(report.places(text)) or (names_lesion and not report.places(before))


def _complete(report: _Report, text: str) -> bool:
    found = report.expressions(text)
    return bool(found.suvs) and bool(found.slices)
