"""Every number of a text with its kind.

Sizes, dates, series, table positions, counts and scores are told apart first, so that what is left beside the word
"SUV" or "slice" can be believed.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from pipelines.reports.rules.values import Role, SliceNumber
from pipelines.reports.vocabulary.cues import Cues

MAX_SLICE = 3000
"""Above this a number beside "slice" is no slice."""
MAX_PAIR_OF_SLICES = 10
"""Of "images 88/92" both are slices where they lie this close; of "image 88/230" the second is how many there are."""
MAX_SERIES_OF_PAIR = 20
MAX_SPAN_OF_SLICES = 40
"""Of "image 3-241" the first is the series where it is this low and the second this much higher; of "(4/112)" where it
is this low, or a reconstruction's number above the slice's ("(605/44)").
"""
MIN_TOTAL = 150
"""Of "image 12/299" the second is how many slices there are; a whole-body PET of 1 m in slices of up to 6 mm has more
than these.
"""
MAX_KEY_IMAGE = 20
"""Key images are numbered as they are saved; of "key image 166" the number is the slice's."""
MAX_DIGITS = 8
"""A longer number is an identifier."""
_REACH = 70
"""Characters before and behind a number that can say what it is."""

_DIGIT = re.compile(r"\d")
_LETTERS_BEFORE = re.compile(r"[a-z]+\Z")
_NUMBER = re.compile(
    r"""(?<![\d.,])(?:\d{1,2},\d{1,2}(?![\d,]|\.\d)  # 4,2: a decimal comma
    |\d+(?:\.\d+)?|(?<![a-z])\.\d+)                  # 88, 4.2, .8
    |(?<=[a-z]\.)\d+(?:\.\d+)?                        # img.88
    |(?<=[\d][,.])\d+(?:\.\d+)?                      # the second of 88,92""",
    re.VERBOSE,
)
_LETTER_AFTER = re.compile(r"(?!g\s*/)[a-z]{1,2}(?![a-z])")
_DIMENSION_BEFORE = re.compile(r"\d\s*(?:cm|mm)?\s*(?:x|by)\s*$")
_ENUMERATOR = re.compile(r"\(\d{1,2}\)\s+[a-z]")
_AFTER_SERIES = re.compile(r"\s*(?:[/:;,\-]|,?\s*#)\s*#?\s*$")
_PAIR_JOIN = re.compile(r"\s*[/:,\-]\s*")


@dataclass(frozen=True)
class Number:
    """A number as it is written, and its kind: "slice", "other", or "free" where it can be an SUV."""

    text: str
    start: int
    end: int
    kind: str

    @property
    def is_integer(self) -> bool:
        """Whether it is written without decimals."""
        return "." not in self.text and "," not in self.text

    @property
    def value(self) -> float:
        """The number; a comma counts as the decimal point."""
        return float(self.text.replace(",", "."))


@dataclass(frozen=True)
class SuvWord:
    """A word for the SUV and the measure that it names: "max", "mean", "peak", "min", "sul", or "" where it names none.

    `second` is the measure of the second number, of "SUV max/mean 4.2/2.1".
    """

    start: int
    end: int
    measure: str
    second: str = ""


def has_suv(text: str, cues: Cues) -> bool:
    """Whether a cleaned, lowered text holds an SUV word and a digit, or a value in the manner of a list ("right axilla:
    4.2 (slice 88)").
    """
    has_word = cues["suv"].search(text) is not None and _DIGIT.search(text) is not None
    return has_word or (":" in text and cues["label_value"].search(text) is not None)


def may_have_slice(text: str, cues: Cues) -> bool:
    """False where a cleaned, lowered text surely holds no slice number; cheaper than `find_expressions`."""
    return cues["slice_hint"].search(text) is not None or cues["bare_pair"].search(text) is not None


def suv_words(text: str, cues: Cues) -> list[SuvWord]:
    """The words for the SUV in a cleaned, lowered text, in reading order."""
    words: list[SuvWord] = []
    said_peak: list[int] = []
    says_max = False
    for match in cues["suv"].finditer(text):
        if words and match.start() < words[-1].end:
            continue
        pre, post = (match["pre"] or "").strip(), (match["post"] or "").strip(" _-,([)]")
        pair = cues["second_measure"].match(text, match.end())
        second = pair["second"].replace("average", "mean").replace("avg", "mean") if pair else ""
        words.append(SuvWord(match.start(), pair.end() if pair else match.end(), _measure(pre, post), second))
        if pre.startswith("peak") and not post:
            said_peak.append(len(words) - 1)
        says_max = says_max or "max" in pre or "max" in post
    if says_max:
        # Beside a maximum a peak is another measure.
        words = [replace(w, measure="peak") if i in said_peak else w for i, w in enumerate(words)]
    return words


def _measure(pre: str, post: str) -> str:
    """Measure of the words before and behind "SUV"."""
    said = post or pre
    if said.startswith(("mean", "average", "avg")):
        return "mean"
    if said.startswith("min"):
        return "min"
    if post == "peak":
        return "peak"
    # "peak SUV" is how many say SUVmax; SUVpeak, the 1 mL mean, is written with the word behind.
    return "max" if said else ""


# --- the rules -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Written:
    """A number where it stands, and what can say its kind.

    `last` is what the number before it was: "slice", "series", "series of a pair", "slice of a pair" or "". `between`
    is the text since that one.
    """

    cues: Cues
    text: str
    token: str
    start: int
    end: int
    last: str
    last_slice: SliceNumber | None
    between: str
    bare: Mapping[int, str]
    is_enumerated: bool

    @property
    def before(self) -> str:
        return self.text[max(0, self.start - _REACH) : self.start]

    @property
    def after(self) -> str:
        return self.text[self.end : self.end + _REACH]

    @property
    def is_integer(self) -> bool:
        return "." not in self.token and "," not in self.token

    def says_before(self, category: str, reach: int = _REACH) -> bool:
        return self.cues[category].search(self.text, max(0, self.start - reach), self.start) is not None

    def says_after(self, category: str) -> bool:
        return self.cues[category].match(self.text, self.end) is not None

    def joined_by(self, category: str) -> bool:
        return self.cues[category].fullmatch(self.between) is not None


@dataclass(frozen=True)
class _Meaning:
    """What a number is: its kind, what it is to the number behind it, and its role as a slice.

    `last_too` gives the slice before it the same role; `replaces_last` says that that one was no slice.
    """

    kind: str
    last: str = ""
    role: Role = Role.CURRENT
    last_too: bool = False
    replaces_last: bool = False


_FREE = _Meaning("free")
_OTHER = _Meaning("other")
_SLICE = _Meaning("slice", "slice")
_IN_SPAN = _Meaning("slice", "slice", Role.RANGE, last_too=True)
_IN_LIST = _Meaning("slice", "slice", Role.LIST, last_too=True)


def _is_identifier(n: _Written) -> bool:
    letters = _LETTERS_BEFORE.search(n.text, max(0, n.start - _REACH), n.start)
    is_glued = letters is not None and not _may_touch(letters[0], n.cues)
    return len(n.token) > MAX_DIGITS or is_glued or (n.is_enumerated and bool(_ENUMERATOR.match(n.text, n.start - 1)))


def _may_touch(letters: str, cues: Cues) -> bool:
    """Whether letters may stand right before a number without a blank, as in "SUV4.2"."""
    return letters in cues.words("glued") or cues["suv"].fullmatch(letters) is not None


def _is_second_of(n: _Written, first: str) -> bool:
    return n.last == f"{first} of a pair" and _PAIR_JOIN.fullmatch(n.between) is not None


def _is_position(n: _Written) -> bool:
    return n.says_before("position_before") or n.says_before("table_before")


def _ends_span(n: _Written) -> bool:
    if n.last != "slice" or not n.is_integer or n.last_slice is None:
        return False
    if n.joined_by("to_slice"):
        return True
    first = n.last_slice.start
    return n.joined_by("and_slice") and bool(n.cues["between_slices_before"].search(n.text, max(0, first - 40), first))


def _chained(n: _Written) -> re.Match[str] | None:
    """What joins a whole number without a unit to the slice before it."""
    if n.last != "slice" or not n.is_integer:
        return None
    chain = n.cues["slice_chain"].fullmatch(n.between)
    return chain if chain is not None and not n.says_after("unit_after") else None


def _is_total(n: _Written) -> bool:
    chain = _chained(n)
    if chain is None or not chain["total"] or n.last_slice is None:
        return False
    # "images 88/89" are two slices, "image 88/230" is one of 230.
    is_close = int(n.token) - n.last_slice.number < MAX_PAIR_OF_SLICES
    return not (chain["total"] == "/" and is_close and n.cues["slices_before"].search(n.text[: n.last_slice.start]))


def _is_slice_of_series(n: _Written) -> bool:
    """Whether "image 3-241" is image 241 of series 3: one image, and no span of slices that a lesion could have."""
    first = n.last_slice
    if n.between not in ("-", "/") or _chained(n) is None or first is None:
        return False
    if n.between == "/":
        # "image 4/77": no exam has so few slices.
        return first.number <= MAX_SERIES_OF_PAIR and first.number + MAX_PAIR_OF_SLICES < int(n.token) < MIN_TOTAL
    if n.cues["slices_before"].search(n.text[: first.start]):
        return False
    second = int(n.token)
    return second < first.number or (first.number <= MAX_SERIES_OF_PAIR and second - first.number > MAX_SPAN_OF_SLICES)


def _is_other(n: _Written) -> bool:
    return n.says_after("unit_after") or bool(_DIMENSION_BEFORE.search(n.before) or _LETTER_AFTER.match(n.after))


_RULES: tuple[tuple[Callable[[_Written], object], _Meaning], ...] = (
    # "(4/112)"
    (lambda n: n.bare.get(n.start) == "other", _OTHER),
    (lambda n: n.bare.get(n.start) == "slice", _SLICE),
    # "images 84 (SUVmax 4.1) and 88"
    (lambda n: n.is_integer and n.says_before("listed_slices_before", 200), _SLICE),
    (_is_identifier, _OTHER),
    # "key image 3"
    (lambda n: n.is_integer and int(n.token) <= MAX_KEY_IMAGE and n.says_before("key_image_before"), _OTHER),
    # "series/image 3/47", "image/series 47/3"
    (lambda n: n.says_before("series_image_before"), _Meaning("other", "series of a pair")),
    (lambda n: n.is_integer and n.says_before("image_series_before"), _Meaning("slice", "slice of a pair")),
    (lambda n: n.is_integer and _is_second_of(n, "series"), _SLICE),
    (lambda n: _is_second_of(n, "slice"), _OTHER),
    # "series 3", "series 3, #47"
    (lambda n: n.says_before("series_before"), _Meaning("other", "series")),
    (lambda n: n.last == "series" and n.is_integer and _AFTER_SERIES.fullmatch(n.between), _SLICE),
    # "slice -88"; "slice location -595.14"
    (lambda n: n.is_integer and n.says_before("slice_dash_before"), _SLICE),
    (_is_position, _OTHER),
    # "slices 155-178 with the maximum on 167"
    (lambda n: n.last == "slice" and n.is_integer and n.joined_by("peak_slice_join"), _SLICE),
    # "slice 40 to slice 44"
    (_ends_span, _IN_SPAN),
    # "slices 40,44", "slice 88", "image 4 cm"
    (lambda n: "," in n.token and n.says_before("slice_before"), _Meaning("slice", "slice", Role.LIST)),
    (lambda n: (not n.is_integer or n.says_after("unit_after")) and n.says_before("slice_before"), _OTHER),
    (lambda n: n.says_before("slice_before"), _SLICE),
    # "image 3-241", "image 88/230", "slices 40-44", "images 88 and 92"
    (_is_slice_of_series, _Meaning("slice", "slice", replaces_last=True)),
    (_is_total, _OTHER),
    (lambda n: (chain := _chained(n)) and chain["range"], _IN_SPAN),
    (lambda n: _chained(n) and not n.says_after("noun_after"), _IN_LIST),
    (_chained, _FREE),
    (_is_other, _OTHER),
)
"""The first condition that holds gives a number its meaning; else it is free."""


def classify(text: str, cues: Cues) -> tuple[list[Number], list[SliceNumber]]:
    """Every number with its kind, and the slice numbers with the roles that their own words give them."""
    numbers: list[Number] = []
    slices: list[SliceNumber] = []
    last, last_end = "", 0
    bare = _bare_pairs(text, cues)
    is_enumerated = "(1)" in text and "(2)" in text
    for match in _NUMBER.finditer(text):
        last_slice = slices[-1] if slices else None
        between = text[last_end : match.start()]
        n = _Written(cues, text, match[0], match.start(), match.end(), last, last_slice, between, bare, is_enumerated)
        meaning = next((meaning for holds, meaning in _RULES if holds(n)), _FREE)
        if meaning.kind == "slice":
            first = n.token.split(",")[0]
            n = replace(n, token=first, end=n.start + len(first))
            if meaning.replaces_last:
                slices.pop()
            elif meaning.last_too:
                slices[-1] = replace(slices[-1], role=meaning.role)
            if 0 < int(first) <= MAX_SLICE:
                slices.append(SliceNumber(int(first), n.start, n.end, _slice_role(n, meaning, is_first=not slices)))
            else:
                meaning = _OTHER
        numbers.append(Number(n.token, n.start, n.end, meaning.kind))
        last, last_end = meaning.last, n.end
    return numbers, slices


def _slice_role(n: _Written, meaning: _Meaning, *, is_first: bool) -> Role:
    own = n.before if is_first else n.between
    is_other_plane = n.cues["other_plane_before"].search(own) or n.says_after("other_plane_after")
    return Role.OTHER_PLANE if meaning.role is Role.CURRENT and is_other_plane else meaning.role


def _bare_pairs(text: str, cues: Cues) -> dict[int, str]:
    """Kind of the numbers of "(4/112)" by where they start: the first is the series, the second the slice."""
    kinds = {}
    for match in cues["bare_pair"].finditer(text):
        named = {name: int(value) for name, value in match.groupdict().items() if value is not None}
        series = next((name for name in named if name.startswith("series")), None)
        item = next(name for name in named if name.startswith("slice"))
        is_bare = series in ("series_in", "series_open") and ":" not in match[0]
        if is_bare and cues["no_bare_pair_before"].search(text, max(0, match.start() - 20), match.start()):
            continue
        if series is not None:
            # "(98/263)" may as well be slice 98 of 263.
            if not (0 < named[series] <= MAX_SERIES_OF_PAIR or (named[series] >= 100 and named[item] < named[series])):
                continue
            kinds[match.start(series)] = "other"
        kinds[match.start(item)] = "slice"
    return kinds


def spaces(match: re.Match[str]) -> str:
    """As many spaces as the match is long, so that every position stays."""
    return " " * (match.end() - match.start())
