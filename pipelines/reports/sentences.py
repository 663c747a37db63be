"""A report cut into the units that can be findings, each with its place in the report.

A unit is mostly a sentence or a line of a list. Neighbouring sentences are one unit where the slice and the SUV of one
lesion stand apart; a sentence is several units where `;` parts an SUV and a slice from the next. Whatever the cutting
does, `report[start:end]` is the unit.
"""

import re
from collections import deque
from dataclasses import dataclass
from hashlib import blake2b

from pipelines.reports import structure
from pipelines.reports.rules import expressions
from pipelines.reports.rules.expressions import find_expressions
from pipelines.reports.rules.number_kinds import has_suv, may_have_slice
from pipelines.reports.rules.values import Expressions, Role
from pipelines.reports.structure import find_places, organs_of, section_region
from pipelines.reports.vocabulary.lexicon import MUSCULOSKELETAL
from pipelines.reports.vocabulary.text import clean, lower

LOGIC_VERSION = f"2.{expressions.LOGIC_VERSION}.{structure.VERSION}"
"""With the versions of what says which sentences belong together."""


@dataclass(frozen=True)
class Sentence:
    """A unit of a report that can be a finding.

    `sentence` is the report's text from `start` to `end` (half-open), unchanged. `section` is the last heading before
    it, null before the first. `is_candidate` is true where it holds both an SUV value and a slice number;
    `candidate_reason` says what it holds.
    """

    sentence_id: str
    exam_id: str
    sentence: str
    start: int
    end: int
    section: str | None
    is_candidate: bool
    candidate_reason: str


SUV_AND_SLICE = "SUV and slice"
SUV_ONLY = "SUV without slice"
SLICE_ONLY = "slice without SUV"
NEITHER = "no SUV and no slice"

MAX_UNIT_CHARS = 4000
"""A longer unit is no sentence but text without punctuation.

It is cut at the spaces so that no later step meets a megabyte.
"""


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_ABBREVIATIONS = _words(
    "e.g eg i.e ie vs cf approx ca etc dr mr mrs ms prof st no nos fig figs vol incl resp max min avg img im ser sl "
    "est dept hx pt tx dx cm mm a.m p.m viz ant post lat med sup inf lt rt div al"
)
_NEED_NUMBER = _words(
    "no nos fig figs img im ser sl max min avg vol cm mm st inf sup med ant post lat lt rt ms hx pt tx dx al"
)
_PARENTHESIS = re.compile(r"\([^()\n]{0,160}\)")
_STOP = re.compile(r"[.!?]+(?=[\s)\]\"']|$|[A-Z(]|[a-z]{3})|(?<!\d)[.!?]+(?=\d{1,2}\.\s[A-Z])")
_LIST_MARK = re.compile(
    r"(?:[-*•·‣◦▪–>]+|\(?\d{1,2}[.)](?!\d)|\(?[a-zA-Z][.)])\s+(?=\S)|[•·‣◦▪]\s*|\d{1,2}[.)](?=[A-Z])"
)
_INLINE_MARK = re.compile(r"\(?\d{1,2}[.)]\s+(?=[A-Z])")
_DIGIT = re.compile(r"\d")
_ALNUM = re.compile(r"[^\W_]")
_SPACE = re.compile(r"\s*")
_HEADING_WORDS = _words(
    "head neck brain chest thorax lungs lung mediastinum hila pleura abdomen pelvis abdominal pelvic "
    "musculoskeletal msk bones bone skeleton skeletal osseous extremities extremity findings finding impression "
    "impressions conclusion conclusions technique comparison indication history clinical procedure protocol "
    "radiopharmaceutical tracer soft tissue tissues and or the liver spleen pancreas gi gu gastrointestinal "
    "genitourinary other others additional miscellaneous ct pet pet-ct pet/ct fdg spine heart vessels vascular "
    "cardiac cardiovascular body upper lower lymph nodes kidneys adrenals bladder bowel report exam examination "
    "information skull base hepatobiliary retroperitoneum peritoneum mesentery reproductive breast breasts axilla "
    "axillae thyroid airways airway cavity limited correlative non-contrast incidental noncontrast unenhanced whole "
    "torso mid-thigh thighs limbs joints organs solid visceral nuclear medicine summary result results opinion "
    "addendum recommendation recommendations assessment wall level/neck aorta skin subcutaneous"
)
_NO_HEADING = re.compile(
    r"[\d.,=]|\b(?:LEFT|RIGHT|SUV\w*|SLICE|IMAGE|LESIONS?|NODES?|MASS(?:ES)?|NODULES?|FOC(?:US|I)|UPTAKE|NO)\b"
)
_HEADING = re.compile(r"(?P<name>[A-Za-z][A-Za-z/&,\-() ]{1,60}?)(?:\s*:(?=\s|$|[A-Z])|\s+-+(?=\s))")
_OPEN_END = re.compile(
    r"(?:\b(?:the|a|an|of|in|on|at|with|and|or|to|from|for|by|is|was|are|were|has|have|shows?|demonstrates?"
    r"|measur\w+|within|which|that|as|than|compared|suv|suvmax|max|slice|image|img|series|left|right"
    r"|approximately|about|level|upper|lower|hypermetabolic|avid|fdg|no|be|been|this|these|its|previously|currently"
    r"|now|up|least|most|intensely|mildly|moderately|standardized|uptake|value)|[,(\[/=&-])\s*$",
    re.IGNORECASE,
)
_CONTINUES = re.compile(r"[a-z(\[),;/=&]|\d|SUV\b|SUVmax|FDG[- ]avid|PET\b|CT\b")
_REFERS_BACK = re.compile(
    r"^\W*(?:sizes?\b|dimensions?\b|(?:please\s+)?(?:see|refer\s+to)\b|an?\s+corresponding\b|an?\s+(?:max\w*\s+)?suv|\d+(?:\.\d+)?\s*(?:x\s*\d|cm\b|mm\b))|^\W*(?:the|this|that|these|those|it|its|they|their|both|same|which|with|on|in|at|seen|located|best"
    r"|corresponding|measur\w+|current\w*|today|now|previous\w*|prior|max\w*|maximal|peak|suv\w*|standard\w*"
    r"|fdg|metabolic|uptake|activity|associated\s+suv|image|images|slice|slices|series|axial|pet|ct|here|and"
    r"|overall|again|average|mean|there\s+is\s+(?:associated|corresponding|intense|mild|moderate|increased)|intense"
    r"|highest|lesion|se|im|img|demonstrates?|shows?|has|is|was)\b"
    r"|^\W*there\s+(?:is|are)\b[^.]*\b(?:within|in|inside|around|beside|adjacent\s+to|next\s+to)\s+(?:it|this|them)\b"
)
_AND = re.compile(r"(?:and|while|whereas)\s+")
_IT = re.compile(
    r"^\W*(?:it|this|that|the\s+(?:\w+[\s-]+){0,2}?(?:mass|lesion|nodule|node|focus|uptake|activity|abnormality"
    r"|finding|tumou?r))\b"
)
_NEW_LESION = re.compile(
    r"^\W*(?:an?\s+)?(?:another|additional|second|third|other|new|separate|adjacent|further|also|next|similarly"
    r"|likewise|elsewhere|no\b|there\s+(?:is|are)\s+(?:an?\s+)?(?:another|additional|second|new))"
)
_ONLY_VALUES = re.compile(r"^\W*(?:max\w*\s+)?(?:suv|slice|image|img|im\b|series|se\b|standard\w*\s+uptake)")
# Possessive, or a long run of digits could be parted in countless ways.
_VALUES_ALONE = re.compile(
    r"\W*+(?:(?:max\w*+|suv|suvmax|standardi[sz]ed|uptake|values?|slices?|images?|imgs?|im|series|ser|se|srs|axial|pet"
    r"|ct|fused|of|is|was|at|on|no|number|current\w*+|previous\w*+|prior|now|today|g/ml|\d++(?:\.\d++)?+)(?![a-z])\W*+)++"
)
_REFERENCE_SUBJECT = re.compile(r"\bblood[\s-]?pool|\bbackground\b|\breference\b")
_LESION = re.compile(
    r"\b(?:mass(?:es)?|lesions?|nodes?|nodules?|foc(?:us|i|al)|lymphadenopathy|adenopathy|tumou?rs?|uptake|activity"
    r"|metasta\w+|thickening|opacit\w+|consolidation|deposits?|hypermetabol\w+|avid)\b"
)


@dataclass(frozen=True)
class _Piece:
    start: int
    end: int
    section: str | None
    is_item: bool
    block: int


def split_report(exam_id: str, text: str) -> list[Sentence]:
    """Units of one report in reading order; empty for an empty report.

    Spans never overlap. What lies between them is space, headings and list marks.
    """
    flat = clean(text)
    lowered = lower(flat)
    pieces = _merge(lowered, _pieces(flat))
    parts: list[tuple[int, int, str | None]] = []
    for piece in pieces:
        parts += [(start, end, piece.section) for start, end in _split_semicolons(lowered, piece.start, piece.end)]
    seen: dict[str, int] = {}
    out = []
    for start, end, section in parts:
        sentence = text[start:end]
        name = f"{exam_id}:{blake2b(sentence.encode('utf-8', 'surrogatepass'), digest_size=4).hexdigest()}"
        seen[name] = seen.get(name, 0) + 1
        sentence_id = name if seen[name] == 1 else f"{name}#{seen[name]}"
        is_candidate, reason = _candidate(lowered[start:end])
        out.append(Sentence(sentence_id, exam_id, sentence, start, end, section, is_candidate, reason))
    return out


def _candidate(lowered: str) -> tuple[bool, str]:
    if not _DIGIT.search(lowered):
        return False, NEITHER
    suv, item = _holds(lowered)
    if suv and item:
        return True, SUV_AND_SLICE
    return False, SUV_ONLY if suv else SLICE_ONLY if item else NEITHER


def _holds(lowered: str) -> tuple[bool, bool]:
    """Whether a text holds an SUV value, and a slice number, of whatever exam or region."""
    may_suv = has_suv(lowered)
    if not may_suv and not may_have_slice(lowered):
        return False, False
    found = find_expressions(lowered)
    return bool(found.suvs), bool(found.slices)


# --- lines, headings, sentences --------------------------------------------------------------------------------------
def _pieces(flat: str) -> list[_Piece]:
    pieces: list[_Piece] = []
    section: str | None = None
    for block, (start, end, is_item) in enumerate(_blocks(flat)):
        position = label = start
        while position < end:
            heading = _heading(flat, position, end)
            if heading is None:
                break
            label = position
            section, position = heading
            position = _SPACE.match(flat, position, end).end()  # type: ignore[union-attr]  # matches always, if only nothing
            mark = _LIST_MARK.match(flat, position, end)
            if mark is not None:
                position, is_item = mark.end(), True
        for n, (a, b) in enumerate(_sentences(flat, position, end)):
            a = _strip(flat, a, b)[0]
            own = label if n == 0 and label < position else a
            numbered = _INLINE_MARK.match(flat, a, b) if a > position else None
            if numbered is not None:
                a, is_item = numbered.end(), True
            heading = _heading(flat, a, b)
            if heading is not None:
                section, a = heading
                a = _SPACE.match(flat, a, b).end()  # type: ignore[union-attr]
            if own < a and _VALUES_ALONE.fullmatch(lower(flat[a:b])):
                # "Liver: SUVmax 2.7 (image 155).": without its label the text would not say what it is about.
                a = own
            pieces += [_Piece(s, e, section, is_item, block) for s, e in _bounded(flat, a, b)]
            is_item = False
    return pieces


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


def _blocks(flat: str) -> list[tuple[int, int, bool]]:
    """Runs of lines that belong together, without their list marks: (start, end, whether it is an item of a list)."""
    blocks: list[tuple[int, int, bool]] = []
    position = 0
    previous_text = ""
    previous_blank = True
    for line in re.finditer(r"[^\n]*(?:\n|$)", flat):
        start, end = _strip(flat, line.start(), line.end())
        if line.start() == line.end():
            break
        position = line.end()
        if start == end:
            previous_blank = True
            continue
        content = flat[start:end]
        mark = _LIST_MARK.match(flat, start, end)
        open_end = _OPEN_END.search(previous_text[-40:]) is not None and not previous_blank
        if mark is not None and open_end and flat[start].isdigit():
            mark = None
        continues = (
            not previous_blank
            and mark is None
            and blocks
            and (
                open_end
                or (_CONTINUES.match(content) is not None and not previous_text.endswith((".", ":", "!", "?", ";")))
            )
            and not (_heading(flat, start, end) is not None and not open_end)
        )
        if continues:
            blocks[-1] = (blocks[-1][0], end, blocks[-1][2])
        else:
            blocks.append((mark.end() if mark else start, end, mark is not None))
        previous_text, previous_blank = content, False
    assert position == len(flat) or not flat[position:].strip()
    return blocks


def _heading(flat: str, start: int, end: int) -> tuple[str, int] | None:
    """Name of a heading at a position and where its text begins.

    Labels that are a finding's own place ("Right axilla:") are none.
    """
    match = _HEADING.match(flat, start, end)
    if match is None:
        whole = flat[start:end].strip()
        if 2 < len(whole) <= 60 and whole.isupper() and _is_heading_name(whole) and end - start == len(whole):
            return whole, end
        return None
    name = match["name"].strip()
    if not _is_heading_name(name):
        return None
    return name, match.end()


def _is_heading_name(name: str) -> bool:
    words = [w for w in re.split(r"[^a-z\-]+", name.lower()) if w]
    if not words or len(words) > 7:
        return False
    if all(w in _HEADING_WORDS for w in words):
        return True
    # "CHEST AND UPPER ABDOMEN", but not a finding of a report all in capitals.
    return name.isupper() and section_region(name) is not None and _NO_HEADING.search(name) is None


def _sentences(flat: str, start: int, end: int) -> list[tuple[int, int]]:
    out = []
    begin = start
    closing = deque(_closing_parens(flat, start, end))
    for match in _STOP.finditer(flat, start, end):
        if match.end() < begin or not _ends_sentence(flat, begin, match, end):
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


def _ends_sentence(flat: str, begin: int, match: re.Match[str], end: int) -> bool:
    if match[0] != ".":
        return True
    before = flat[max(begin, match.start() - 40) : match.start()]
    word = re.search(r"[A-Za-z][A-Za-z.]*$", before)
    after = flat[match.end() : min(end, match.end() + 20)]
    following = after.lstrip()
    if not following:
        return True
    is_glued = after[0].isalpha() or after[0] == "("
    if word is not None:
        token = word[0].lower().strip(".")
        if token in _ABBREVIATIONS:
            if token in _NEED_NUMBER:
                # "No. 3" and "SUV max. 4.2" go on; "... measures 3 cm. There is" does not.
                return not (following[0].isdigit() or following[0] in "#=:(") and not (
                    following[0].islower() and token not in ("cm", "mm")
                )
            return token == "etc" and following[0].isupper()
        if (
            len(token) == 1
            and (is_glued or following[0].islower() or re.search(r"(?:^|\s)[A-Za-z]$", before) is not None)
            and word[0][0].isupper()
            and following[0].isupper()
            and len(before.split()) <= 1
        ):
            return False
        if re.search(r"(?:^|[\s.(])[A-Za-z]$", before) and re.match(r"[A-Za-z]\.", after):
            # Inside "S.U.V." or "e.g.".
            return False
        if "." in word[0] and len(token.replace(".", "")) <= 3 and all(len(p) == 1 for p in token.split(".")):
            return False
        if is_glued and after[0].islower():
            # "muscular.no" is a missing space; "www.site" or "x.jpg" are seldom in a report, and short words are
            # abbreviations.
            return len(token) >= 3 and re.match(r"[a-z]{2,}\s", after) is not None
    elif is_glued and after[0].islower():
        return re.match(r"[a-z]{2,}\s", after) is not None
    # The mark of a list that runs on in one line: "1. Mass ... 2. Node ...".
    is_mark = re.fullmatch(r"\s*\(?(?:\d{1,2}|[A-Za-z])", before) is not None and following[0].isupper()
    return not is_mark


# --- merging and splitting -------------------------------------------------------------------------------------------
def _merge(lowered: str, pieces: list[_Piece]) -> list[_Piece]:
    out: list[_Piece] = []
    i = 0
    while i < len(pieces):
        piece = pieces[i]
        last = i
        suv, item = _piece_holds(lowered, piece)
        while last + 1 < len(pieces) and not (suv and item):
            reach = _reach(lowered, pieces, i, last, suv, item, leads=last == i and _leads(lowered, pieces, i, out))
            if reach is None:
                break
            last = reach
            piece = _Piece(pieces[i].start, pieces[last].end, pieces[i].section, pieces[i].is_item, pieces[last].block)
            suv, item = _piece_holds(lowered, piece)
        if last > i and not (suv and item):
            piece, last = pieces[i], i
        out.append(piece)
        i = last + 1
    return out


def _piece_holds(lowered: str, piece: _Piece) -> tuple[bool, bool]:
    text = lowered[piece.start : piece.end]
    if not _DIGIT.search(text) or not any(_holds(text)):
        return False, False
    found = find_expressions(text)
    # A prior exam's value leaves the finding without one: "Previous SUV max 13.5. Current SUV max 6.9."
    return any(v.role is not Role.PRIOR for v in found.suvs), any(s.role is not Role.PRIOR for s in found.slices)


def _leads(lowered: str, pieces: list[_Piece], index: int, before: list[_Piece]) -> bool:
    """Whether a piece is a slice or an SUV and nothing else ("Series 4, image 88."), and no sentence before it in its
    paragraph can be meant, so that it leads on to what follows.
    """
    piece = pieces[index]
    if not _VALUES_ALONE.fullmatch(lowered, piece.start, piece.end):
        return False
    previous = before[-1] if before else None
    if previous is None or previous.block != piece.block or previous.section != piece.section:
        return True
    return all(_piece_holds(lowered, previous))


def _reach(
    lowered: str, pieces: list[_Piece], first: int, last: int, suv: bool, item: bool, *, leads: bool = False
) -> int | None:
    """Index of the next piece that belongs to the lesion of pieces first..last and brings what it lacks, at most two
    pieces on. Where the first `leads`, what follows names the lesion and need not refer back.
    """
    head = lowered[pieces[first].start : pieces[last].end]
    if not (suv or item) and not _begins_finding(head):
        return None
    for step in (1, 2):
        index = last + step
        if index >= len(pieces):
            return None
        piece = pieces[index]
        text = lowered[piece.start : piece.end]
        if piece.section != pieces[first].section or _NEW_LESION.match(text):
            return None
        if piece.is_item and not _ONLY_VALUES.match(text):
            return None
        if lowered[pieces[index - 1].end : piece.start].count("\n") > 1:
            return None
        names_lesion = leads and piece.block == pieces[first].block and _LESION.search(text) is not None
        if not names_lesion and not _belongs(head, text):
            return None
        has_suv_value, has_slice = _piece_holds(lowered, piece)
        if not (suv or item):
            # "There is a mass in the left upper lobe. SUV max is 3.1 (slice 78).": the second names no place of its
            # own.
            if (has_suv_value or has_slice) and not _own_places(text):
                return index
            if has_suv_value or has_slice:
                return None
            continue
        if has_suv_value and has_slice:
            return None
        if (has_suv_value and not suv) or (has_slice and not item):
            return index
        if has_suv_value or has_slice:
            return None
    return None


def _begins_finding(head: str) -> bool:
    return (
        bool(_LESION.search(head))
        and bool(_own_places(head))
        and not re.search(r"\bno\b|\bwithout\b|\bnot\b|\bunremarkable\b|\bnormal\b", head)
    )


def _own_places(text: str) -> set[str | None]:
    return {p.term.organ for p in find_places(text)}


def _belongs(head: str, text: str) -> bool:
    """Whether a sentence goes on about the lesion of the one before."""
    if not _REFERS_BACK.match(text) or _REFERENCE_SUBJECT.search(text.split("suv")[0]):
        return False
    if _REFERENCE_SUBJECT.search(head.split("suv")[0]) and not _LESION.search(head):
        return False
    mine, theirs = _own_places(head), organs_of(text)
    if any(p.term.region == MUSCULOSKELETAL for p in find_places(head)):
        # "sclerotic" and "lytic" are said of any bone.
        theirs -= {"bone"}
    if theirs and not (mine & theirs) and not _speaks_of_it_first(text):
        return False
    for side, other in (("left", "right"), ("right", "left")):
        if re.search(rf"\b{side}\b", text) and re.search(rf"\b{other}\b", head) and not re.search(rf"\b{side}\b", head):
            return False
    return True


def _speaks_of_it_first(text: str) -> bool:
    """Whether a sentence takes up the lesion and gives its number before it names a place: "The mass is seen on slice
    78 and abuts the pleura.".
    """
    if not _IT.match(text) and not _ONLY_VALUES.match(text):
        return False
    first = find_places(text)[0].start
    found = find_expressions(text)
    return min([n.end for n in found.suvs] + [n.end for n in found.slices], default=first + 1) <= first


def _split_semicolons(lowered: str, start: int, end: int) -> list[tuple[int, int]]:
    """A unit cut at each `;` that has an SUV and a slice on both of its sides."""
    text = lowered[start:end]
    if ";" not in text or not _complete(text):
        return [(start, end)]
    groups: list[tuple[int, int]] = []
    is_complete = False
    begin = 0
    for cut in [*(m.start() for m in re.finditer(";", text)), len(text)]:
        if is_complete and _stands_alone(text[begin:cut], text[groups[-1][0] : groups[-1][1]]):
            groups.append((begin, cut))
        else:
            first = groups.pop()[0] if groups else 0
            groups.append((first, cut))
            is_complete = is_complete or _complete(text[first:cut])
        begin = cut + 1
    spans = [_strip(lowered, start + a, start + b) for a, b in groups]
    return [(m.end() if (m := _AND.match(lowered, a, b)) else a, b) for a, b in spans]


def _stands_alone(text: str, before: str) -> bool:
    """Whether what follows a `;` is a finding of its own, and not the same one's value of another exam.

    A lesion that leaves its place to the words before stays with them.
    """
    if not _complete(text) or not any(v.role is Role.CURRENT for v in find_expressions(text).suvs):
        return False
    return bool(find_places(text)) or (_LESION.search(text) is not None and not find_places(before))


def _complete(text: str) -> bool:
    found: Expressions = find_expressions(text)
    return bool(found.suvs) and bool(found.slices)
