"""Every number of a text with its kind.

Sizes, dates, series, table positions, counts and scores are told apart first, so that what is left beside the word
"SUV" or "slice" can be believed.
"""

import re
from dataclasses import dataclass, replace

from pipelines.reports.rules.values import Role, SliceNumber

MAX_SLICE = 3000
"""Above this a number beside "slice" is no slice."""
MAX_PAIR_OF_SLICES = 10
"""Of "images 88/92" both are slices where they lie this close; of "image 88/230" the second is how many there are."""
MAX_SERIES_OF_PAIR = 20
MAX_SPAN_OF_SLICES = 40
"""Of "image 3-241" the first is the series where it is this low and the second this much higher; of "(4/112)" where it
is this low, or a reconstruction's number above the slice's ("(605/44)").
"""
MAX_DIGITS = 8
"""A longer number is an identifier."""
_MONTH = (
    r"(?:jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?|sept?(?:ember)?|oct(?:ober)?"
    r"|nov(?:ember)?|dec(?:ember)?)"
)
_YEAR = r"(?:19|20)\d\d"
DATE = re.compile(
    "|".join(
        (
            # 12/04/2020, 12.04.20, 12-04-2020; not the sizes 12.04.20 cm
            r"\b\d{1,2}[/.\-]\d{1,2}[/.\-](?:\d{4}|\d{2})(?![\d.]*\d|\s*(?:cm|mm))",
            # 2020-04-12, 2020/04
            rf"\b{_YEAR}[/.\-]\d{{1,2}}(?:[/.\-]\d{{1,2}})?\b",
            # 04/2020
            rf"\b\d{{1,2}}/{_YEAR}\b",
            # April 12th, 2020; April 12
            rf"\b{_MONTH}\.?\s+\d{{1,2}}(?:st|nd|rd|th)?(?:\s*,?\s*{_YEAR})?\b(?![.]\d)",
            # 12th of April 2020; 12-Apr-2020
            rf"\b\d{{1,2}}(?:st|nd|rd|th)?[\s-]+(?:of\s+)?{_MONTH}\b\.?(?:[\s-]*,?\s*{_YEAR})?",
            # April 2020
            rf"\b{_MONTH}\.?,?\s+(?:of\s+)?{_YEAR}\b",
            # in April, since 2018
            rf"(?:(?<=\bin )|(?<=\bfrom )|(?<=\bof )|(?<=\blast )|(?<=\bsince )){_MONTH}\b(?!\s+(?:be|have))",
            rf"(?:(?<=\bin )|(?<=\bfrom )|(?<=\bsince )|(?<=\bdated )|(?<=\bversus )|(?<=\bvs )|(?<=\bvs\. )){_YEAR}\b",
        )
    )
)
_SUV = re.compile(
    r"(?<![a-z])(?P<pre>(?:max(?:imum|imal|\.)?|peak|mean|average|avg\.?|minimum|minimal"
    r"|highest)(?:[\s-]+|(?=suv))(?:fdg[\s-]+)?)?(?:(?:s\.?u\.?v\.?|s\s+u\s+v)(?:[\s-]?(?:bw|lbm|bsa))?(?:'?s)?|standard(?:i[sz]ed|isation"
    r"|ization)?[\s-]+uptake[\s-]+values?(?:\s*\(\s*suvs?\s*\))?)(?P<post>(?:[\s_\-,]{0,2}|\s?[(\[]\s?)(?:max(?:imum"
    r"|imal|ima|\.)?|peak|mean|average|avg|min(?:imum)?)(?![a-z])[)\]]?)?(?![a-z])"
)
_DIGIT = re.compile(r"\d")
_LETTERS_BEFORE = re.compile(r"[a-z]+\Z")
_NUMBER = re.compile(r"(?<![\d.,])(?:\d{1,2},\d{1,2}(?![\d,]|\.\d)|\d+(?:\.\d+)?|\.\d+)|(?<=[\d][,.])\d+(?:\.\d+)?")
_GLUED = frozenset(
    [
        "suv",
        "suvs",
        "suvmax",
        "max",
        "maximum",
        "peak",
        "mean",
        "slice",
        "slices",
        "image",
        "images",
        "img",
        "imgs",
        "im",
        "ima",
        "ims",
        "sl",
        "slc",
        "series",
        "se",
        "ser",
        "srs",
        "of",
        "is",
        "was",
        "x",
        "to",
        "and",
        "no",
        "at",
    ]
)
_UNIT = re.compile(
    r"\s*-?\s*(?:cm|mm|millimet|centimet|ml\b|cc\b|cubic|%|per\s?cent|mci|mbq|gbq|kev|minutes?\b|mins?\b|hours?\b"
    r"|hrs?\b|weeks?\b|wks?\b|months?\b|mos?\b|years?\b|yrs?\b|days?\b|y\.?o\b|kgs?\b|lbs?\b|pounds?|mg|mmol|hu\b"
    r"|hounsfield|packs?\b|-?fold|times\b|x\s*\d|by\s+\d|(?:st|nd|rd|th)\b|o'clock|degrees?|gm?\b(?!\s*/\s*(?:ml|cc"
    r"|cm))"
    r"|grams?\b(?!\s*(?:/|per)\s*(?:m|c))|cycles?\b|fractions?\b|gy\b|cgy\b|(?:slices?|images?)\b(?!\s*(?:#|no\b|no\."
    r"|number"
    r"|num|location|level|index|position|:|=|\d|in\b|on\b)))"
)
_LETTER_AFTER = re.compile(r"(?!g\s*/)[a-z]{1,2}(?![a-z])")
_DIMENSION_BEFORE = re.compile(r"\d\s*(?:cm|mm)?\s*(?:x|by)\s*$")
_SLICE_WORD = r"(?<![a-z])(?:slices?|images?|imgs?|im[as]?|slc|sl|axials?|sections?|cuts?)"
_SLICE_FILL = (
    r"[.,]?\s*(?:(?:#s?|nos?\b\.?|numbers?\b|num\b\.?|nr\b\.?|index|location|loc\b\.?|level|position|pos\b\.?"
    r"|:|=|at\b|of\b|is\b|are\b|was\b|-|\(|\[|~)\s*)*$"
)
SLICE_BEFORE = re.compile(_SLICE_WORD + _SLICE_FILL)
_SLICE_HINT = re.compile(r"slice|image|section|\bcuts?\b|img|\bim[as]?\b|\bslc?\b|axial|series|\bse\b|\bser\b")
_POSITION_BEFORE = re.compile(
    r"(?:location|loc\.?|position|pos\.?|level|slice|image)\s*(?:of|is|at|:|=|\()?\s*(?:minus|negative|plus|neg\.?"
    r"|-|\+)\s*$"
)
_TABLE_BEFORE = re.compile(
    r"(?:table|bed|couch|z)[\s-]*(?:position|location|pos\.?|loc\.?)?\s*(?:of|is|at|:|=)?\s*(?:minus|negative|-)?\s*$"
)
_SERIES, _IMAGE = r"(?:series|ser|se|srs)\.?", r"(?:(?:slice|image|img|im)s?|ima)\.?"
_NUMBER_FILL = r"\s*(?:#|no\.?|number|:|=|\s)*"
SERIES_BEFORE = re.compile(rf"(?<![a-z]){_SERIES}\s*(?:(?:#|nos?\b\.?|number|:|=)\s*)*$")
_SERIES_IMAGE_BEFORE, _IMAGE_SERIES_BEFORE = (
    re.compile(rf"(?<![a-z]){first}\s*[/,]\s*{second}{_NUMBER_FILL}$")
    for first, second in ((_SERIES, _IMAGE), (_IMAGE, _SERIES))
)
# "(4/112)", "[605/44; SUVmax 6.1]", "SUVmax 5.6, 4/143.": series and slice without either word. A second number under
# 10 is a score ("Deauville (4/5)"), quarters of an hour behind a colon are a time or the hour of a clock ("10:30").
# Outside of parentheses one up to 31 may be the day of a month.
_BARE_PAIR = re.compile(
    r"(?:(?<=[(\[])\s*(?P<series>\d{1,3})\s*(?:/|:(?!\s*(?:00|15|30|45)\b))\s*(?P<slice>[1-9]\d{1,3})(?=\s*[)\];,])"
    r"|(?:(?<=[,;])|(?<=\bat)|(?<=\bon))\s+(?P<open_series>\d{1,3})/(?P<open_slice>3[2-9]|[4-9]\d|[1-9]\d\d)"
    r"(?=\s*(?:[)\];,]|\.(?!\d)|$)))"
)
_NO_BARE_PAIR_BEFORE = re.compile(
    r"\b(?:suv\w*|max|mean|peak|deauville|scores?|grade|gleason|krenning|nodes?|dated?|of|on|in|since|from)\W*$"
)
_LISTED = r"\d+\s*\([^()]*\)\s*(?:,\s*and|,|and|&)\s*"
_LISTED_SLICES_BEFORE = re.compile(rf"(?<![a-z])(?:slices|images|imgs|ims)\s*(?:{_LISTED})+\Z")
"""Of "images 84 (SUVmax 4.1) and 88 (SUVmax 3.9)" the 88 is a slice too."""
_ENUMERATOR = re.compile(r"\(\d{1,2}\)\s+[a-z]")
_AFTER_SERIES = re.compile(r"\s*(?:[/:;,\-]|,?\s*#)\s*#?\s*$")
_TO_SLICE = re.compile(rf"\s*(?:to|through|thru|-)\s*(?:the\s+)?(?:axial\s+)?{_IMAGE}\s*(?:#|no\.?|number)?\s*")
_AND_SLICE = re.compile(rf"\s*and\s+(?:the\s+)?(?:axial\s+)?(?:{_IMAGE}\s*(?:#|no\.?|number)?\s*)?")
_BETWEEN_BEFORE = re.compile(rf"\bbetween\s+(?:the\s+)?(?:axial\s+)?{_IMAGE}\s*(?:#|no\.?|number)?\s*\Z")
_CHAIN = re.compile(
    r"\s*(?:(?P<total>/|of|out of)|(?P<range>-|to|through|thru|--)|(?P<list>,|and|&|,\s*and|or))\s*(?:#|the\s+)?$"
)
_PLANE_BEFORE = re.compile(
    r"(?<![a-z])(?:coronals?|sagittals?|cor|sag|mip|projection|scout)(?![a-z])(?!.*(?<![a-z])(?:trans)?axial)[^();,]*"
    r"(?:\(\s*[^();,]*)?$"
)
_PLANE_AFTER = re.compile(
    r"\s*\(?\s*(?:(?:of|on|in)\s+)?(?:the\s+)?(?:coronal|sagittal)(?![a-z])(?!\s+(?:slice|image|img|im)\w*\W*\d"
    r"|\s*#?\d)"
)
OTHER_BEFORE = re.compile(
    r"(?:deauville|scores?|grade|levels?|stations?|segments?|type|stage|rads|gleason|category|ribs?|vertebrae?|zones?"
    r"|aged?|dose|glucose|phase|cycles?|figure|fig|table|item|factor|point|lugano|hounsfield|ki-?67|psa|group|version"
    r"|window|score\s+of|counts?|wbc|crp|cea|afp|ldh|ca\s?19-9|ca\s?125|creatinine|thyroglobulin|tsh|bmi|egfr|chromogranin(?:\s+a)?|h(?:a)?emoglobin|attenuation|density|ratio|sul(?:[\s_-]?(?:max|peak|mean))?|suvr|tbr|tlr|mtv|tlg|\+/-|±"
    r"|(?:increas\w+|decreas\w+|risen|rose|fallen|fell|declined)\s+by)\.?\s*(?:of|:|=|is|was|measures|measuring|approximately|-)?\s*$"
)
NOUN_AFTER = re.compile(
    r"\s+(?!on\b|in\b|at\b|ha(?:s|ve|d)\b|show|demonstrat|measur|are\b|each\b|both\b|previous|prior|today|current"
    r"|now\b|from\b|to\b|and\b|compared|versus|vs\b|within|for\b"
    r"|which|with|seen|present\b|respectively|slice|image|img|im\b|series|se\b|units?\b|g/|suv|max|was|were|is\b|of\b|before"
    r"|earlier|or\b|but\b|while|whereas|by\b|as\b|then|this|per\b|up\b|down\b|unchanged|stable|increased|decreased"
    r"|similar|axial|pet|ct\b|\()[a-z]"
)
LABEL_VALUE = re.compile(
    r"[a-z)][^:\d]{0,80}(?:\d[^:]{0,40})?:\s*(?P<number>\d{1,2}\.\d{1,2})\s*[,(\[]\s*(?=[^()]{0,25}?(?:slice|image"
    r"|img|im|sl)s?\b[^a-z0-9]{0,6}\d)"
)
RATIO = re.compile(
    r"\b[a-z]+(?:[\s-]+to[\s-]+|/)(?:normal[\s-]+)?(?:background|liver|blood[\s-]?pool|muscle|spleen|parotid)[\s-]+(?:suv\w*"
    r"[\s-]+)?ratios?\s*(?:of|is|was|:|=)?\s*\d+(?:\.\d+)?"
)


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


def has_suv(text: str) -> bool:
    """Whether a cleaned, lowered text holds an SUV word and a digit, or a value in the manner of a list ("right axilla:
    4.2 (slice 88)").
    """
    return (_SUV.search(text) is not None and _DIGIT.search(text) is not None) or LABEL_VALUE.search(text) is not None


def may_have_slice(text: str) -> bool:
    """False where a cleaned, lowered text surely holds no slice number; cheaper than `find_expressions`."""
    return _SLICE_HINT.search(text) is not None or _BARE_PAIR.search(text) is not None


def suv_words(text: str) -> list[SuvWord]:
    """The words for the SUV in a cleaned, lowered text, in reading order."""
    words: list[SuvWord] = []
    said_peak: list[int] = []
    says_max = False
    for match in _SUV.finditer(text):
        if words and match.start() < words[-1].end:
            continue
        pre, post = (match["pre"] or "").strip(), (match["post"] or "").strip(" _-,([)]")
        if post.startswith(("mean", "average", "avg")) or (not post and pre.startswith(("mean", "average", "avg"))):
            measure = "mean"
        elif post.startswith("min") or (not post and pre.startswith("min")):
            measure = "min"
        elif post == "peak":
            measure = "peak"
        else:
            # "peak SUV" is how many say SUVmax; SUVpeak, the 1 mL mean, is written with the word behind.
            measure = "max" if post or pre else ""
        pair = re.compile(
            r"\s*[/,&]\s*(?:suv\s*)?(?P<second>max|mean|avg|average|peak|sul)(?:max|mean|peak)?(?![a-z])"
        ).match(text, match.end())
        second = pair["second"].replace("average", "mean").replace("avg", "mean") if pair else ""
        words.append(SuvWord(match.start(), pair.end() if pair else match.end(), measure, second))
        if pre.startswith("peak") and not post:
            said_peak.append(len(words) - 1)
        says_max = says_max or "max" in pre or "max" in post
    if says_max:
        # Beside a maximum a peak is another measure.
        words = [replace(w, measure="peak") if i in said_peak else w for i, w in enumerate(words)]
    return words


def classify(text: str) -> tuple[list[Number], list[SliceNumber]]:
    """Every number with its kind, and the slice numbers with the roles that their own words give them."""
    numbers: list[Number] = []
    slices: list[SliceNumber] = []
    previous = ""  # what the last number was: "slice", "series", "series of a pair", "slice of a pair" or ""
    previous_end = 0
    bare = _bare_pairs(text)
    is_enumerated = "(1)" in text and "(2)" in text
    for match in _NUMBER.finditer(text):
        start, end, token = match.start(), match.end(), match[0]
        before, after = text[max(0, start - 70) : start], text[end : end + 70]
        between = text[previous_end:start]
        kind, role, now = "free", Role.CURRENT, ""
        run = _LETTERS_BEFORE.search(before)
        is_integer = "." not in token and "," not in token
        if start in bare:
            kind = bare[start]
            now = kind if kind == "slice" else ""
        elif is_integer and _LISTED_SLICES_BEFORE.search(text, max(0, start - 200), start):
            kind, now = "slice", "slice"
        elif (
            len(token) > MAX_DIGITS
            or (run is not None and run[0] not in _GLUED and not _SUV.fullmatch(run[0]))
            or (is_enumerated and _ENUMERATOR.match(text, start - 1))
        ):
            kind = "other"
        elif _SERIES_IMAGE_BEFORE.search(before):
            kind, now = "other", "series of a pair"
        elif _IMAGE_SERIES_BEFORE.search(before):
            kind, now = "slice", "slice of a pair"
        elif previous == "series of a pair" and re.fullmatch(r"\s*[/:,\-]\s*", between):
            kind, now = "slice", "slice"
        elif previous == "slice of a pair" and re.fullmatch(r"\s*[/:,\-]\s*", between):
            kind = "other"
        elif SERIES_BEFORE.search(before):
            kind, now = "other", "series"
        elif previous == "series" and is_integer and _AFTER_SERIES.fullmatch(between):
            kind, now = "slice", "slice"
        elif _POSITION_BEFORE.search(before) or _TABLE_BEFORE.search(before):
            kind = "slice" if is_integer and re.search(r"(?:slice|image)\s*-\s*$", before) else "other"
            now = "slice" if kind == "slice" else ""
        elif (previous == "slice" and is_integer and _TO_SLICE.fullmatch(between)) or (
            previous == "slice"
            and is_integer
            and _AND_SLICE.fullmatch(between)
            and _BETWEEN_BEFORE.search(text, max(0, slices[-1].start - 40), slices[-1].start)
        ):
            kind, now, role = "slice", "slice", Role.RANGE
            slices[-1] = replace(slices[-1], role=role)
        elif SLICE_BEFORE.search(before):
            if "," in token:
                kind, role = "slice", Role.LIST
                token = token.split(",")[0]
                end = start + len(token)
                after = text[end : end + 70]
                now = "slice"
            elif not is_integer or _UNIT.match(after):
                kind = "other"
            else:
                kind, now = "slice", "slice"
        elif previous == "slice" and is_integer and (chain := _CHAIN.fullmatch(between)) and not _UNIT.match(after):
            if between == "-" and _is_series_and_slice(text, slices[-1], int(token)):
                kind, now = "slice", "slice"
                slices.pop()
            elif chain["total"] and not (chain["total"] == "/" and int(token) - slices[-1].number < MAX_PAIR_OF_SLICES):
                kind = "other"
            elif not NOUN_AFTER.match(after) or chain["range"]:
                kind, now = "slice", "slice"
                # "images 88/89" are two slices, "image 88/230" is one of 230.
                role = Role.RANGE if chain["range"] else Role.LIST
                slices[-1] = replace(slices[-1], role=role)
        elif _UNIT.match(after) or _DIMENSION_BEFORE.search(before) or _LETTER_AFTER.match(after):
            kind = "other"
        if kind == "slice":
            number = int(token)
            if not 0 < number <= MAX_SLICE:
                kind, now = "other", ""
            else:
                own = text[previous_end:start] if slices else before
                if role is Role.CURRENT and (_PLANE_BEFORE.search(own) or _PLANE_AFTER.match(after)):
                    role = Role.OTHER_PLANE
                slices.append(SliceNumber(number, start, end, role))
        numbers.append(Number(token, start, end, kind))
        previous, previous_end = now, end
    return numbers, slices


def _is_series_and_slice(text: str, first: SliceNumber, second: int) -> bool:
    """Whether "image 3-241" is image 241 of series 3: one image, and no span of slices that a lesion could have."""
    if re.search(r"(?:slice|image|img|im)s\W*$", text[: first.start]):
        return False
    return second < first.number or (first.number <= MAX_SERIES_OF_PAIR and second - first.number > MAX_SPAN_OF_SLICES)


def _bare_pairs(text: str) -> dict[int, str]:
    """Kind of the numbers of "(4/112)" by where they start: the first is the series, the second the slice."""
    kinds = {}
    for match in _BARE_PAIR.finditer(text):
        first, second = ("series", "slice") if match["series"] else ("open_series", "open_slice")
        series, number = int(match[first]), int(match[second])
        # "(98/263)" may as well be slice 98 of 263.
        is_series = 0 < series <= MAX_SERIES_OF_PAIR or (series >= 100 and number < series)
        if is_series and _NO_BARE_PAIR_BEFORE.search(text[max(0, match.start() - 20) : match.start()]) is None:
            kinds[match.start(first)] = "other"
            kinds[match.start(second)] = "slice"
    return kinds


def spaces(match: re.Match[str]) -> str:
    """As many spaces as the match is long, so that every position stays."""
    return " " * (match.end() - match.start())
