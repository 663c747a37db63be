"""SUV values and slice numbers as radiologists write them, each with its place in the text and what it refers to.

Every number of a text is given one meaning. Sizes, dates, series, table positions, counts and scores are told apart
first, so that what is left beside the word "SUV" or "slice" can be believed; then each SUV and slice is told to belong
to the current exam, a prior one, a reference region or a range.
"""

import re
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import lru_cache

LOGIC_VERSION = 2


class Role(StrEnum):
    """What an SUV value or a slice number refers to."""

    CURRENT = "current"
    PRIOR = "prior exam"
    REFERENCE = "reference region"
    RANGE = "range"
    LIST = "list"
    BOUND = "bound"
    OTHER_MEASURE = "mean, peak or minimum"
    OTHER_PLANE = "coronal or sagittal"


@dataclass(frozen=True)
class SuvValue:
    """A number that an SUV word governs; `start` and `end` are the number's own place in the text."""

    value: float
    start: int
    end: int
    role: Role


@dataclass(frozen=True)
class SliceNumber:
    """A slice (or image) number; `start` and `end` are the number's own place in the text."""

    number: int
    start: int
    end: int
    role: Role


@dataclass(frozen=True)
class Expressions:
    """All SUV values and slice numbers of a text, in reading order.

    `unclaimed` holds the numbers whose meaning is not known: no SUV, slice, size, date, series or score.
    """

    suvs: tuple[SuvValue, ...]
    slices: tuple[SliceNumber, ...]
    unclaimed: tuple[float, ...] = ()


MAX_SUV = 500.0
"""Above this a number beside "SUV" is a slip (an activity, a slice), not an SUV."""
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
_DATE = re.compile(
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
    r"|highest)(?:[\s-]+|(?=suv))(?:fdg[\s-]+)?)?(?:s\.?u\.?v\.?(?:[\s-]?(?:bw|lbm|bsa))?(?:'?s)?|standard(?:i[sz]ed|isation"
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
_SLICE_WORD = r"(?<![a-z])(?:slices?|images?|imgs?|ims?|slc|sl|axials?)"
_SLICE_FILL = (
    r"[.,]?\s*(?:(?:#s?|nos?\b\.?|numbers?\b|num\b\.?|nr\b\.?|index|location|loc\b\.?|level|position|pos\b\.?"
    r"|:|=|at\b|of\b|is\b|are\b|was\b|-|\(|\[|~)\s*)*$"
)
_SLICE_BEFORE = re.compile(_SLICE_WORD + _SLICE_FILL)
_SLICE_HINT = re.compile(r"slice|image|img|\bims?\b|\bslc?\b|axial|series|\bse\b|\bser\b")
_POSITION_BEFORE = re.compile(
    r"(?:location|loc\.?|position|pos\.?|level|slice|image)\s*(?:of|is|at|:|=|\()?\s*(?:minus|negative|plus|neg\.?"
    r"|-|\+)\s*$"
)
_TABLE_BEFORE = re.compile(
    r"(?:table|bed|couch|z)[\s-]*(?:position|location|pos\.?|loc\.?)?\s*(?:of|is|at|:|=)?\s*(?:minus|negative|-)?\s*$"
)
_SERIES_BEFORE = re.compile(r"(?<![a-z])(?:series|ser|se|srs)\.?\s*(?:(?:#|nos?\b\.?|number|:|=)\s*)*$")
_SERIES_IMAGE_BEFORE = re.compile(
    r"(?<![a-z])(?:series|ser|se|srs)\.?\s*[/,]\s*(?:slice|image|img|im)s?\.?\s*(?:#|no\.?|number|:|=|\s)*$"
)
_IMAGE_SERIES_BEFORE = re.compile(
    r"(?<![a-z])(?:slice|image|img|im)s?\.?\s*[/,]\s*(?:series|ser|se|srs)\.?\s*(?:#|no\.?|number|:|=|\s)*$"
)
# "(4/112)", "[605/44; SUVmax 6.1]": series and slice without either word. A second number under 10 is a score
# ("Deauville (4/5)"), quarters of an hour behind a colon are a time or the hour of a clock ("10:30").
_BARE_PAIR = re.compile(
    r"(?<=[(\[])\s*(?P<series>\d{1,3})\s*(?:/|:(?!\s*(?:00|15|30|45)\b))\s*(?P<slice>[1-9]\d{1,3})(?=\s*[)\];,])"
)
_NO_BARE_PAIR_BEFORE = re.compile(
    r"(?:suv\w*|max|mean|peak|deauville|scores?|grade|gleason|krenning|nodes?|dated?|of|on|in|since|from)\W*$"
)
_LISTED = r"\d+\s*\([^()]*\)\s*(?:,\s*and|,|and|&)\s*"
_LISTED_SLICES_BEFORE = re.compile(rf"(?<![a-z])(?:slices|images|imgs|ims)\s*(?:{_LISTED})+\Z")
"""Of "images 84 (SUVmax 4.1) and 88 (SUVmax 3.9)" the 88 is a slice too."""
_ENUMERATOR = re.compile(r"\(\d{1,2}\)\s+[a-z]")
_AFTER_SERIES = re.compile(r"\s*(?:[/:;,\-]|,?\s*#)\s*#?\s*$")
_TO_SLICE = re.compile(
    r"\s*(?:to|through|thru|-)\s*(?:the\s+)?(?:axial\s+)?(?:slice|image|img|im)s?\.?\s*(?:#|no\.?|number)?\s*"
)
_CHAIN = re.compile(
    r"\s*(?:(?P<total>/|of|out of)|(?P<range>-|to|through|thru|--)|(?P<list>,|and|&|,\s*and|or))\s*(?:#|the\s+)?$"
)
_PLANE_BEFORE = re.compile(
    r"(?<![a-z])(?:coronals?|sagittals?|cor|sag|mip|projection|scout)(?![a-z])(?!.*(?<![a-z])(?:trans)?axial)[^();,]*$"
)
_PLANE_AFTER = re.compile(
    r"\s*\(?\s*(?:(?:of|on|in)\s+)?(?:the\s+)?(?:coronal|sagittal)(?![a-z])(?!\s+(?:slice|image|img|im)\w*\W*\d"
    r"|\s*#?\d)"
)
_OTHER_BEFORE = re.compile(
    r"(?:deauville|scores?|grade|levels?|stations?|segments?|type|stage|rads|gleason|category|ribs?|vertebrae?|zones?"
    r"|aged?|dose|glucose|phase|cycles?|figure|fig|table|item|factor|point|lugano|hounsfield|ki-?67|psa|group|version"
    r"|window|score\s+of|attenuation|density|ratio|sul(?:[\s_-]?(?:max|peak|mean))?|suvr|tbr|tlr|mtv|tlg|\+/-|±"
    r"|(?:increas\w+|decreas\w+|risen|rose|fallen|fell|declined)\s+by)\.?\s*(?:of|:|=|is|was|measures|measuring|approximately|-)?\s*$"
)
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
_NOUN_AFTER = re.compile(
    r"\s+(?!on\b|in\b|at\b|ha(?:s|ve|d)\b|show|demonstrat|measur|are\b|each\b|both\b|previous|prior|today|current"
    r"|now\b|from\b|to\b|and\b|compared|versus|vs\b|within|for\b"
    r"|which|with|seen|respectively|slice|image|img|im\b|series|se\b|units?\b|g/|suv|max|was|were|is\b|of\b|before"
    r"|earlier|or\b|but\b|while|whereas|by\b|as\b|then|this|per\b|up\b|down\b|unchanged|stable|increased|decreased"
    r"|similar|axial|pet|ct\b|\()[a-z]"
)
_OF_SOME = re.compile(r"\s*(?:out\s+)?of\s+(?:the\s+)?\d")
_MORE_TIGHT = re.compile(
    r"[\s,(\[:]*(?:(?:and|to|-|from|was|were|is|previously|previous|prior|priorly|compared|with|versus|vs\.?|now"
    r"|currently|today|down|up|&|/|formerly|earlier|then|had|been|measured|measuring|measures|a|an|the|of|at|value|max"
    r"|maximum|or|only|as|to|increased|decreased|had|presently|baseline|initially|respectively|through|until|against"
    r"|on|in|exam|examination|study|scan|pet|pet/ct|comparison|last|most|recent|currently|whereas|while"
    r"|it)(?![a-z])[\s,(\[:]*)*$"
)
_LABEL_VALUE = re.compile(
    r"[a-z)][^:\d]{0,80}(?:\d[^:]{0,40})?:\s*(?P<number>\d{1,2}\.\d{1,2})\s*[,(\[]\s*(?=[^()]{0,25}?(?:slice|image"
    r"|img|im|sl)s?\b[^a-z0-9]{0,6}\d)"
)

_PRIOR_ADJECTIVE = (
    r"(?!\s*(?:described|seen|noted|identified|demonstrated|known|treated|biopsied|characteri[sz]ed|mentioned|reported"
    r"|visuali[sz]ed|biopsy|resected|resection|surgery|surgical|therapy|treatment|radiation|radiotherapy|irradiated"
    r"|ablat|granulomatous|site|thoracotomy|mastectomy|lobectomy|fracture|infection|non-?avid|enlarged|hypermetabolic"
    r"|fdg|avid|proven|diagnosed|referenced|present|existing|indexed|malignan|cancer|tumou?r|trauma|injection"
    r"|operative))"
)
_CUE_PRIOR = (
    r"(?:previously|priorly|prior|previous|prev|formerly|earlier|baseline|initially|initial|originally|original|before"
    r"|last|past|old|pre-?treatment|preceding|historical(?:ly)?|outside|comparison)"
)
# Words that may stand between a cue ("previously") and its number, without and with words for an exam or a lesion.
_FILL_WORDS = (
    r",|:|=|\(|~|-|of|the|a|an|at|was|were|is|in|on|with|had|has|been|which|that|measure[sd]?|measuring|demonstrat\w+"
    r"|show(?:ed|s|ing|n)?|suvs?|suv[\s_-]?max|max|maximum|maximal|peak|value|values|up|to|approximately|about|around"
    r"|reported|recorded|level|uptake|activity|it|standardi[sz]ed|\d+(?:\.\d+)?\s*(?:x\s*\d+(?:\.\d+)?\s*)*(?:cm|mm)"
)
_FILL_EXAM_WORDS = r"exam|examination|study|scan|pet|pet/ct|pet-ct|imaging|it's|its|this|lesion|mass|node|nodule|same"
_FILL_NARROW = rf"(?:\s*(?:{_FILL_WORDS})(?![a-z]))*\s*$"
# "previously 1.4 cm, with an SUV max of 2.9": the comma ends the aside, so the 2.9 need not be the prior exam's.
_FILL_TO_SIZE = _FILL_NARROW
_FROM_SIZE_BEFORE = re.compile(r"\bfrom\b" + _FILL_TO_SIZE)
_TO_SIZE = re.compile(
    r"\s*[,)]?\s*to\s+\d+(?:\.\d+)?\s*(?:x\s*\d+(?:\.\d+)?\s*)*(?:cm|mm)\s*[,(]?\s*(?:(?:with|and|an?|of)\s+)*"
    r"(?:max\w*\s+)?suv[\s_-]*(?:max\w*)?\s*(?:of|is|:|=)?\s*"
)
_FILL_NARROW = _FILL_NARROW.replace("(?:cm|mm)", r"(?:cm|mm)(?!\s*,)")
_FILL = rf"(?:\s*(?:{_FILL_WORDS}|{_FILL_EXAM_WORDS})(?![a-z]))*\s*$"
_FILL_ALONE = re.compile(_FILL)
# A cue that stands right before the number: "previously 8.8", "(was 6.3)", "compared to an SUV max of 11.2",
# "decreased from 8.8".
_PRIOR_RIGHT_BEFORE = re.compile(
    rf"(?:\b{_CUE_PRIOR}\b{_PRIOR_ADJECTIVE}|\bcompared\s+(?:to|with)|\bas\s+compared\s+(?:to|with)"
    rf"|\bin\s+comparison\s+(?:to|with)|\bversus|\bvs\b\.?|\brelative\s+to|\bfrom"
    rf"|\bhad\s+been|\bused\s+to\s+be)" + _FILL_NARROW
)
_PRIOR_WITH_EXAM_BEFORE = re.compile(rf"(?:\b{_CUE_PRIOR}\b{_PRIOR_ADJECTIVE})" + _FILL)
_PRIOR_SIZE_BEFORE = re.compile(rf"\b{_CUE_PRIOR}\b{_PRIOR_ADJECTIVE}" + _FILL_TO_SIZE)
_WAS_RIGHT_BEFORE = re.compile(r"(?:^|[(,;\[])\s*(?:which\s+|it\s+|and\s+)?(?:was|were|measured|had)" + _FILL_NARROW)
_PRIOR_ANYWHERE = re.compile(rf"\b{_CUE_PRIOR}\b{_PRIOR_ADJECTIVE}|\bon\s+\x00+|\bin\s+\x00+|\bfrom\s+\x00+|\x00+")
_PRIOR_RIGHT_AFTER = re.compile(
    rf"\s*[,)]?\s*(?:(?:g/ml|units?)\s+)?(?:(?:previously|priorly|prev|formerly|earlier|initially|originally|before"
    rf"|prior|pre-?treatment)\b{_PRIOR_ADJECTIVE}(?!(?:\s+[a-z]+){{0,3}}?\s+\d+(?:\.\d+)?\s*(?:x|cm|mm))|(?:on|in|at|of|from"
    r"|during|by)\s+(?:(?:the|a|an|most|recent|his|her|their"
    rf"|patient's|immediate)\s+)*(?:pet\s+|outside\s+)?(?:{_CUE_PRIOR})\b{_PRIOR_ADJECTIVE}|(?:\d+|several|a few|two"
    rf"|three|six)\s+(?:months?|weeks?|years?)\s+(?:ago|earlier|prior))"
)
_DATE_RIGHT_AFTER = re.compile(
    r"\s*[,)]?\s*(?:on|in|at|from|as of|dated|\()?\s*(?:the\s+)?(?:(?:exam|examination|study|scan|pet/?\s?ct"
    r"|pet)\s+)?(?:of|from|dated|on)?\s*\x00"
)
_CURRENT_RIGHT_AFTER = re.compile(
    r"\s*[,)]?\s*(?:now|today|currently|current(?=\s*(?:[,;)]|$))|presently|at present"
    r"|(?:on|in)\s+(?:the\s+)?(?:current|present|today|this)"
    r"|at\s+this\s+time|this\s+(?:exam|time|study))\b"
)
_CURRENT_BEFORE = re.compile(r"\b(?:now|today|currently|current|presently|present(?:ly)?\b(?!\s+in)|today's)\b")
_LEADING_PRIOR = re.compile(
    r"^\W*(?:(?:on|in|at)\s+(?:the\s+|a\s+|most\s+recent\s+)*)?(?:previously|priorly|formerly|initially|originally"
    r"|at baseline|(?:prior|previous|comparison|baseline|last|earlier|outside)(?:\s+(?:exam|examination|study|scan"
    r"|pet/?\s?ct|pet|imaging))?)\s*(?:\x00+)?\s*[,:]\s*"
)
_LEADING_PRIOR_VERB = re.compile(
    rf"^\W*(?:previously|formerly|initially)\b{_PRIOR_ADJECTIVE}[^.;,]*\b(?:had|was|were|measured|demonstrated"
    r"|showed)\b[^.;,]*$"
)
_LEADING_PRIOR_EXAM = re.compile(
    r"^\W*(?:(?:on|in|at|during|by)\s+)?(?:the\s+)?(?:time\s+of\s+)?(?:the\s+|a\s+|most\s+recent\s+|patient's\s+)*"
    r"(?:prior|previous|comparison|baseline|last|earlier|outside|initial)\s+(?:pet\s+|outside\s+)?"
    r"(?:exam|examination|study|scan|pet/?\s?ct|pet|imaging)\b[^.;,]*"
    r"\b(?:had|was|were|measured|demonstrated|showed|revealed|with)\b[^.;,]*$"
)
_LEADING_PRIOR_DATE = re.compile(
    r"^\W*(?:on|in)\s+\x00+,?\s[^.;,]*\b(?:had|was|were|measured|demonstrated|showed)\b[^.;,]*$"
)
_CLAUSE_END = re.compile(r"[,;(\[)\]]|\.\s|\b(?:and|but|versus|vs|compared|while|whereas)\b")
# "Previous SUV max of the node: 13.5": the cue names the SUV itself, whatever stands between it and the number.
_PRIOR_WORD = re.compile(rf"\b{_CUE_PRIOR}\s+(?:(?:exam|study|scan|pet)(?:'s)?\s+)?$")
_ADVERB = re.compile(
    r"\b(?:as|than)\s+(?:on\s+)?(?:previously|before|prior)(?=\s*,?\s*(?:with|at|and|having|showing)\b)"
)
_SINCE_PRIOR = re.compile(
    r"\b(?:from|since|than|compared\s+(?:to|with)|relative\s+to|versus|to|with)\s+(?:(?:the|a|her|his|most|recent)\s+)*"
    r"(?:prior|previous|last|baseline|comparison)(?:\s+(?:exam|examination|study|scan|pet/?\s?ct|pet|ct|imaging))?"
    r"(?=\s*,\s*(?!\d)|\s*[(\[]\s*(?!\d)|\s+(?:with|and|now|currently|at)\b)"
)
_ASIDE = re.compile(r"\s*[(\[](?P<words>[^()\[\]\d]{1,40})[)\]]")
_SLICE_REFERENCE = re.compile(
    r"\s*,?\s*(?:[(\[][^()\[\]\d]{0,40}(?:slice|image|img|im|series|se)\b[^()\[\]]{0,40}[)\]]"
    r"|(?:(?:on|at|in|the|axial|pet|ct)\s+)*(?:slice|image|img|im)\s*#?\s*\d+)"
)
_ARROW = re.compile(r"\s*(?:→|->|=>|-->)\s*$")
_GONE_AFTER = re.compile(
    r"\b(?:(?:has|have|had)\s+(?:\w+\s+){0,2}?resolved|no\s+longer|not\s+(?:currently\s+)?(?:seen|present"
    r"|visuali[sz]ed|identified|evident)"
    r"|(?:complete|interval|metabolic)\s+(?:\w+\s+)?resolution|is\s+(?:now\s+)?resolved|(?:has|have)\s+disappeared"
    r"|is\s+gone|(?:has|have|shows?|with|demonstrat\w+)\s+no\s+(?:\w+\s+)?(?:\w+\s+)?(?:uptake|activity|avidity)"
    r"|there\s+is\s+no\s+(?:residual|remaining|further)\s+(?:\w+\s+)?(?:uptake|activity|avidity)"
    r"|without\s+(?:\w+\s+)?(?:uptake|activity|avidity))\b"
)
_SEEN_BEFORE = re.compile(r"\b(?:previously|prior|previous|formerly|earlier)\b")
_RANGE_BEFORE = re.compile(r"\b(?:rang(?:e|es|ed|ing)|var(?:y|ies|ied|ying)|between|anywhere|spanning)\b[^.;]*$")
_RANGE_JOIN = re.compile(
    r"\s*(?:g/ml\s*)?(?:-|to|through|thru|--)\s*(?:suv\s*(?:max)?\s*)?(?:of\s+)?(?:approximately\s+|about\s+)?$"
)
_CHANGE_WORD = re.compile(
    r"\b(?:decreas\w+|increas\w+|chang\w+|declin\w+|reduc\w+|improv\w+|progress\w+|went|gone|drop\w*|fall\w*|fell"
    r"|fallen|rose|risen|rising|down|up|diminish\w+|elevat\w+|lower\w*|resol\w+|regress\w+|worsen\w+|interval"
    r"|previously|prior|less|more|greater|higher|compared|evol\w+|halv\w+|doubl\w+|tripl\w+|grow\w*|grew|slight\w*|intensif\w+|currently|now)\b"
)
_RATIO = re.compile(
    r"\b[a-z]+(?:[\s-]+to[\s-]+|/)(?:normal[\s-]+)?(?:background|liver|blood[\s-]?pool|muscle|spleen|parotid)[\s-]+(?:suv\w*"
    r"[\s-]+)?ratios?\s*(?:of|is|was|:|=)?\s*\d+(?:\.\d+)?"
)
_BOUND_BEFORE = re.compile(
    r"(?:(?<![-=])[<>≤≥]=?|\b(?:greater|less|more|higher|lower)\s+than|\b(?:exceeding|exceeds|below|above|under|over"
    r"|at least|at most))\s*(?:an?\s+)?(?:suv\s*(?:max)?\s*)?(?:of\s+)?$"
)

_REFERENCE_STRONG = re.compile(
    r"\bblood[\s-]?pool|\bbackground\b|\bback\s?ground\b|\breference\b|\bcontra-?lateral\b|\bopposite\s+side"
    r"|\baort\w*\b(?!\s+(?:graft|wall|aneurysm|stent|dissection|valve|repair|plaque))(?=[^.]*$)|\bmediastin\w+\s+(?:blood|vascular|vessels?|background|activity|uptake|suv)|\bmbp\b"
    r"|\bbp\b|\bunaffected\s+side|\bnormal\s+(?:liver|hepatic|spleen|splenic|muscle|marrow|brain|lung|parenchyma|bone"
    r"|side|tissue|kidney|thyroid|background|physiologic)|\badjacent\s+normal|\bsurrounding\s+(?:normal|liver|hepatic"
    r"|lung|muscle|parenchyma|tissue|marrow|bone)|\b(?:liver|hepatic|splenic|muscle|marrow)\s+(?:background"
    r"|parenchym\w+|reference)"
)
# Beside a value of the lesion, an organ's own uptake is what it is compared with; alone, it is the finding.
_REFERENCE_WEAK = re.compile(r"\b(?:liver|hepatic|splenic|muscle|marrow)\s+(?:activity|uptake|suv|mean)")
_REFERENCE_BEFORE_PAREN = re.compile(
    r"\b(?:blood[\s-]?pool|background|contra-?lateral\s+\w+|(?:reference|normal)\s+\w+|mediastinum|liver"
    r"|hepatic\s+parenchyma)(?:\s+(?:activity|uptake|parenchyma|level|levels))?\s*[(\[][^()\d]*$"
)
_COMPARE = re.compile(
    r"\b(?:compared\s+(?:to|with)|in\s+comparison\s+(?:to|with)|versus|vs\b\.?|relative\s+to|than|above|exceed\w*"
    r"|below|similar\s+to|equal\s+to|reference|for\s+comparison|comparable\s+to|over|twice|times|fold)\b"
)
_COMPARE_REGION = re.compile(
    r"\b(?:compared\s+(?:to|with)|in\s+comparison\s+(?:to|with)|versus|vs\b\.?|relative\s+to|than|above|exceed\w*"
    r"|below|similar\s+to|equal\s+to|reference|for\s+comparison|comparable\s+to|over|while|whereas)"
    r"[^;]{0,40}\b(?:liver|hepatic|spleen|splenic|muscle|musculature|marrow|parenchyma|mediastin\w+|blood|aorta"
    r"|lung|adjacent|normal|opposite|left|right|contralateral|remainder|rest|cerebell\w+|brain|gray|grey|cortex"
    r"|other\s+side)\b"
)
_REFERENCE_RIGHT_AFTER = re.compile(
    r"\s*(?:(?:in|for|of|at|within)\s+)?(?:the\s+)?(?:mediastinal\s+|normal\s+|background\s+"
    r"|adjacent\s+)*(?:blood[\s-]?pool|contra-?lateral|background|opposite|reference|normal|mbp\b|unaffected)"
)
_REFERENCE_REGION_AFTER = re.compile(
    r"\s*(?:in|for|of|at|within|on)\s+(?:the\s+)?(?:\w+\s+)?(?:liver|hepatic|spleen|splenic|muscle|marrow"
    r"|mediastin\w+|aort\w+|left|right|brain|cerebell\w+|opposite|contralateral|other)\b"
)
LESION_NOUN = re.compile(
    r"\b(?:mass(?:es)?|lesions?|nodes?|nodules?|foc(?:us|i|al)|adenopathy|lymphadenopathy|tumou?rs?|deposits?"
    r"|metasta\w+|implants?|thickening|conglomerate|opacit\w+|consolidation|malignan\w+|\w*carcinoma|\w*sarcoma"
    r"|lymphoma|plaque|cancer|fracture|abscess|collection)\b"
)
"""Words for what an SUV can be the uptake of, as against a region that it is compared with."""


@dataclass(frozen=True)
class _Number:
    text: str
    start: int
    end: int
    kind: str  # "free", "slice", "other"

    @property
    def is_integer(self) -> bool:
        return "." not in self.text and "," not in self.text

    @property
    def value(self) -> float:
        return float(self.text.replace(",", "."))


@dataclass(frozen=True)
class _Word:
    start: int
    end: int
    measure: str  # "max", "mean", "peak", "min", "sul" or ""
    second: str = ""  # what the second number is, of "SUV max/mean 4.2/2.1"


def has_suv(text: str) -> bool:
    """Whether a cleaned, lowered text holds an SUV word and a digit, or a value in the manner of a list ("right axilla:
    4.2 (slice 88)").
    """
    return (_SUV.search(text) is not None and _DIGIT.search(text) is not None) or _LABEL_VALUE.search(text) is not None


def may_have_slice(text: str) -> bool:
    """False where a cleaned, lowered text surely holds no slice number; cheaper than `find_expressions`."""
    return _SLICE_HINT.search(text) is not None or _BARE_PAIR.search(text) is not None


@lru_cache(maxsize=1024)
def find_expressions(text: str) -> Expressions:
    """SUV values and slice numbers of a text that `text.clean` and `text.lower` have passed, in reading order.

    Args:
        text: one sentence, or neighbouring sentences of one finding.
    """
    dated = _DATE.sub(lambda m: "\x00" * (m.end() - m.start()), text)
    dated = _RATIO.sub(_spaces, dated)
    words = _suv_words(dated)
    numbers, slices = _classify(dated, words)
    suvs = _suv_values(dated, words, numbers, slices)
    slices = _slice_roles(dated, slices, suvs)
    taken = {v.start for v in suvs}
    unclaimed = tuple(n.value for n in numbers if n.kind == "free" and n.start not in taken)
    return Expressions(tuple(suvs), tuple(slices), unclaimed)


# --- words and numbers -----------------------------------------------------------------------------------------------
def _suv_words(text: str) -> list[_Word]:
    words: list[_Word] = []
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
        words.append(_Word(match.start(), pair.end() if pair else match.end(), measure, second))
    return words


def _classify(text: str, words: list[_Word]) -> tuple[list[_Number], list[SliceNumber]]:
    """Every number with its kind, and the slice numbers with the roles that their own words give them."""
    numbers: list[_Number] = []
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
        elif _SERIES_BEFORE.search(before):
            kind, now = "other", "series"
        elif previous == "series" and is_integer and _AFTER_SERIES.fullmatch(between):
            kind, now = "slice", "slice"
        elif _POSITION_BEFORE.search(before) or _TABLE_BEFORE.search(before):
            kind = "slice" if is_integer and re.search(r"(?:slice|image)\s*-\s*$", before) else "other"
            now = "slice" if kind == "slice" else ""
        elif previous == "slice" and is_integer and _TO_SLICE.fullmatch(between):
            kind, now, role = "slice", "slice", Role.RANGE
            slices[-1] = replace(slices[-1], role=role)
        elif _SLICE_BEFORE.search(before):
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
            elif not _NOUN_AFTER.match(after) or chain["range"]:
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
        numbers.append(_Number(token, start, end, kind))
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
        series, number = int(match["series"]), int(match["slice"])
        # "(98/263)" may as well be slice 98 of 263.
        is_series = 0 < series <= MAX_SERIES_OF_PAIR or (series >= 100 and number < series)
        if is_series and _NO_BARE_PAIR_BEFORE.search(text[max(0, match.start() - 20) : match.start()]) is None:
            kinds[match.start("series")] = "other"
            kinds[match.start("slice")] = "slice"
    return kinds


# --- SUV values ------------------------------------------------------------------------------------------------------


def _suv_values(text: str, words: list[_Word], numbers: list[_Number], slices: list[SliceNumber]) -> list[SuvValue]:
    blanked = _blank(text, [n for n in numbers if n.kind != "free"])
    governed: list[tuple[_Number, _Word | None]] = []
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
            if _OTHER_BEFORE.search(text[max(word.end, number.start - 40) : number.start]):
                continue
            tight = _TIGHT.fullmatch(gap) is not None
            if tight or (
                len(gap.strip()) <= 90
                and (not number.is_integer or (_ENDS_OPEN.search(gap) is not None and not _NOUN_AFTER.match(after)))
            ):
                first = number
                break
        if first is None or _TIGHT.fullmatch(blanked[word.end : first.start]) is None:
            ahead = _number_right_before(text, word, numbers, taken)
            if ahead is not None:
                governed.append((ahead, word))
                taken.add(ahead.start)
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
            if _OTHER_BEFORE.search(text[max(last.end, number.start - 40) : number.start]):
                continue
            if number.is_integer:
                if (
                    not _MORE_TIGHT.fullmatch(gap)
                    or not gap.strip()
                    or _NOUN_AFTER.match(after)
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
        match = _LABEL_VALUE.search(text)
        while match is not None:
            at = match.start("number")
            governed += [(n, None) for n in numbers if n.start == at and n.kind == "free"]
            match = _LABEL_VALUE.search(text, match.end())
    governed.sort(key=lambda g: g[0].start)
    governed = [g for g in governed if 0 < g[0].value <= MAX_SUV]
    return _suv_roles(text, governed, slices)


def _has_tight_value(blanked: str, word: _Word, numbers: list[_Number]) -> bool:
    return any(
        n.kind == "free" and n.start >= word.end and _TIGHT.fullmatch(blanked[word.end : n.start]) for n in numbers
    )


_UP_TO_WORD = re.compile(r"\s*[(\[]?\s*(?:g/ml\s+)?")
_A_BEFORE = re.compile(r"(?:^|[,;:(]|\b(?:an?|with))\s*$")


def _number_right_before(text: str, word: _Word, numbers: list[_Number], taken: set[int]) -> _Number | None:
    for number in numbers:
        is_free = number.kind == "free" and number.end <= word.start and number.start not in taken
        if not is_free or not _UP_TO_WORD.fullmatch(text, number.end, word.start):
            continue
        ahead = text[max(0, number.start - 40) : number.start]
        # "segment 5 SUV max": a whole number before the word is the SUV only after words that lead to one.
        if not _OTHER_BEFORE.search(ahead) and (
            not number.is_integer or _ENDS_OPEN.search(ahead) or _A_BEFORE.search(ahead)
        ):
            return number
    return None


def _blank(text: str, numbers: list[_Number]) -> str:
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


@dataclass(frozen=True)
class _Around:
    """A value that a word governs, and the text around it that can say whose it is.

    `before` reaches back to the number (SUV or slice) before it, `clause` to the last comma or parenthesis in it;
    `after` reaches to the next number, `own_after` to the end of the value's own clause, `beyond` goes on behind a
    slice that follows the value. `aside` is a parenthesis right behind the value, `outside` what stands before the
    parenthesis that the value is in.
    """

    number: _Number
    word: _Word | None
    before: str
    clause: str
    after: str
    own_after: str
    aside: str
    outside: str
    beyond: str
    is_first: bool
    is_first_of_word: bool
    is_only: bool
    is_second_of_pair: bool
    meets_value: bool


def _around(text: str, governed: list[tuple[_Number, _Word | None]], slices: list[SliceNumber], i: int) -> _Around:
    number, word = governed[i]
    spans = [(s.start, s.end) for s in slices] + [(n.start, n.end) for n, _ in governed]
    left = max((e for _, e in spans if e <= number.start), default=0)
    right = min((s for s, _ in spans if s >= number.end), default=len(text))
    before, after = text[left : number.start], text[number.end : right]
    next_value = governed[i + 1][0].start if i + 1 < len(governed) else len(text)
    meets_value = right == next_value and right < len(text)
    ends = r"[,;()\[\]]|\.\s|\b(?:and|but)\b" if left else r"[,;()\[\]]|\.\s"
    # Of "8.0 SUV max on the last exam" what follows the value begins behind the word.
    tail = word.end if word is not None and word.start >= number.end and word.end <= right else number.end
    reference = _SLICE_REFERENCE.match(text, tail)
    beyond = ""
    if reference is not None and reference.end() <= next_value:
        beyond = _own_after(text[reference.end() : next_value], "", next_value < len(text))
    return _Around(
        number=number,
        word=word,
        before=before,
        clause=re.split(ends, before)[-1],
        after=after,
        own_after=_own_after(text[tail:right], before, meets_value),
        aside=_aside(text, number),
        outside=_outside(text, number, governed[i - 1][0].end if i else 0),
        beyond=beyond,
        is_first=i == 0,
        is_first_of_word=i == 0 or governed[i - 1][1] is not word,
        is_only=len(governed) == 1,
        is_second_of_pair=word is not None
        and i > 0
        and governed[i - 1][1] is word
        and text[governed[i - 1][0].end : number.start].strip() == "/",
        meets_value=meets_value,
    )


def _spaces(match: re.Match[str]) -> str:
    return " " * (match.end() - match.start())


def _aside(text: str, number: _Number) -> str:
    """What a parenthesis right behind a value says: "4.2 (today)"."""
    match = _ASIDE.match(text, number.end)
    return match["words"] if match is not None else ""


def _outside(text: str, number: _Number, left: int) -> str:
    """What stands before the parenthesis that a value is in: "compared to 3.0 cm (slice 85, SUV 8.0)"."""
    opened = text.rfind("(", left, number.start)
    return text[left:opened] if opened > text.rfind(")", left, number.start) else ""


def _suv_roles(text: str, governed: list[tuple[_Number, _Word | None]], slices: list[SliceNumber]) -> list[SuvValue]:
    if not governed:
        return []
    # "avid as previously with SUV 4.2": the cue compares, and the number is not the prior exam's.
    told = _ADVERB.sub(_spaces, text)
    # "has increased from prior (SUV 4.2)": a first value is this exam's, where a later one is what it is compared with.
    first_told = _SINCE_PRIOR.sub(_spaces, told)
    values: list[SuvValue] = []
    loose: list[bool] = []
    current_cue: list[bool] = []
    for i in range(len(governed)):
        at = _around(told if i else first_told, governed, slices, i)
        role = _role(told if i else first_told, governed, at, i)
        values.append(SuvValue(at.number.value, at.number.start, at.number.end, role))
        is_now = bool(_CURRENT_RIGHT_AFTER.match(at.own_after) or _CURRENT_RIGHT_AFTER.match(at.aside))
        loose.append(role is Role.CURRENT and not is_now and _may_be_prior(at))
        current_cue.append(
            is_now or bool(_CURRENT_BEFORE.search(at.before) and not _PRIOR_RIGHT_BEFORE.search(at.before))
        )
    _mark_ranges(text, governed, values)
    sure = [v.role is Role.CURRENT and not is_loose for v, is_loose in zip(values, loose, strict=True)]
    if any(sure):
        for i, value in enumerate(values):
            if value.role is Role.CURRENT and loose[i] and not current_cue[i]:
                values[i] = replace(value, role=Role.PRIOR)
    _mark_before_now(values, current_cue, slices)
    if not any(v.role is Role.CURRENT for v in values):
        values = _rescue_reference(text, values)
    return values


def _mark_before_now(values: list[SuvValue], current_cue: list[bool], slices: list[SliceNumber]) -> None:
    """Where one value is "now" and the only slice follows it, the values before it are a prior exam's."""
    current = [i for i, v in enumerate(values) if v.role is Role.CURRENT]
    now = [i for i in current if current_cue[i]]
    usable = [s for s in slices if s.role is Role.CURRENT]
    if len(now) != 1 or len(usable) != 1:
        return
    for i in current:
        if i < now[0]:
            values[i] = replace(values[i], role=Role.PRIOR)


def _role(text: str, governed: list[tuple[_Number, _Word | None]], at: _Around, i: int) -> Role:
    measure = "" if at.word is None else at.word.second if at.is_second_of_pair and at.word.second else at.word.measure
    if measure in ("mean", "peak", "min", "sul") or (not at.is_first and _is_second_in_parentheses(text, at)):
        return Role.OTHER_MEASURE
    if _BOUND_BEFORE.search(at.before) and at.word is not None and not _REFERENCE_STRONG.search(at.before):
        return Role.BOUND
    if _is_reference(at.before, at.after, at.clause, at.own_after, at.is_first) or _is_other_side(text, at):
        return Role.REFERENCE
    if not at.is_first and _VERSUS.fullmatch(at.before) and _COMPARE_REGION.search(text[: governed[0][0].start]):
        # "uptake less than liver (SUVmax 2.9 vs 3.3)"
        return Role.REFERENCE
    if at.is_first and at.meets_value and _REGION_LEADS.fullmatch(at.before) and LESION_NOUN.search(text):
        # "Mean liver SUV 2.4; residual mass SUVmax 5.9"
        return Role.REFERENCE
    if _CURRENT_RIGHT_AFTER.match(at.own_after) or _CURRENT_RIGHT_AFTER.match(at.aside):
        return Role.CURRENT
    if at.is_first and re.search(r"\bfrom\b" + _FILL_NARROW, at.before):
        changes = _CHANGE_WORD.search(text, 0, at.number.start) and not _RANGE_BEFORE.search(at.before)
        if not changes:
            return Role.RANGE if _next_joins(text, governed, i) else Role.CURRENT
    return Role.PRIOR if _is_prior(text, at) else Role.CURRENT


def _is_second_in_parentheses(text: str, at: _Around) -> bool:
    """Whether a value stands alone in parentheses right behind another, as the 2.2 of "SUV 3.6 (2.2)"; whatever it is,
    the first is the finding's.
    """
    return at.before.strip() == "(" and not at.number.is_integer and text.startswith(")", at.number.end)


def _is_prior(text: str, at: _Around) -> bool:
    """Whether the words around a value say for certain that it is a prior exam's."""
    if _PRIOR_RIGHT_BEFORE.search(at.before) or _PRIOR_RIGHT_AFTER.match(at.own_after):
        return True
    if (at.beyond and _PRIOR_RIGHT_AFTER.match(at.beyond)) or (at.aside and _PRIOR_RIGHT_AFTER.match(at.aside)):
        return True
    if at.outside and not at.is_first and _PRIOR_RIGHT_BEFORE.search(at.outside.rstrip("\x00 ")):
        return True
    if at.meets_value and _FROM_SIZE_BEFORE.search(at.before) and _TO_SIZE.fullmatch(at.after):
        return True
    if _has_prior_lead(text, at.number.start, at.number.start - len(at.before)):
        return True
    word = at.word
    leads = word is not None and at.is_first_of_word and at.number.start >= word.end
    if word is not None and leads and _PRIOR_WORD.search(text[max(0, word.start - 40) : word.start]):
        return True
    if (_ARROW.match(at.after) and at.meets_value) or (at.is_only and _is_gone(text, at.number)):
        return True
    return not at.is_first and bool(
        _in_prior_list(text, at.number)
        or _WAS_RIGHT_BEFORE.search(at.before)
        or _PRIOR_WITH_EXAM_BEFORE.search(at.before)
    )


def _may_be_prior(at: _Around) -> bool:
    """Whether a value is a prior exam's where another one is surely this exam's."""
    return bool(
        _PRIOR_ANYWHERE.search(at.clause)
        or _DATE_RIGHT_AFTER.match(at.own_after)
        or (at.beyond and _DATE_RIGHT_AFTER.match(at.beyond))
        or (at.aside and _DATE_RIGHT_AFTER.match(at.aside))
        or _PRIOR_WITH_EXAM_BEFORE.search(at.before)
        or _PRIOR_SIZE_BEFORE.search(at.before)
    )


def _own_after(after: str, before: str, meets_value: bool) -> str:
    """What follows a value and speaks of it: up to the next clause, and without words that lead on to the next value.

    "15 previously, 12 now" gives " previously" for the 15; of "6.5 previously 8.8" the 6.5 gets nothing.
    """
    inside = before.rfind("(") > before.rfind(")")
    skip = re.match(r"\s*\)", after) if inside else None
    begin = skip.end() if skip else 0
    parted = _CLAUSE_END.search(after, begin)
    own = after[: parted.start()] if parted else after
    if meets_value and parted is None:
        cue = re.search(rf"\b(?:{_CUE_PRIOR}|now|currently|today|presently)\b", own)
        if cue is not None and _FILL_ALONE.match(own, cue.end()):
            return own[: cue.start()]
    return own


def _is_gone(text: str, number: _Number) -> bool:
    """Whether a text tells of a lesion that was there before and is no more, and gives its value in between."""
    before, after = text[: number.start], text[number.end :]
    before = before[max(before.rfind(". "), before.rfind(";")) + 1 :]
    after = after.split(". ", maxsplit=1)[0]
    return _SEEN_BEFORE.search(before) is not None and _GONE_AFTER.search(after) is not None


_MORE_NUMBERS = re.compile(r"(?:\s*+(?:,|;|/|and|&|then|to)*+\s*+\d++(?:\.\d++)?+)++(?!\.)")


def _in_prior_list(text: str, number: _Number) -> bool:
    """Whether a value is one of several in a parenthesis that closes with the prior exam: "(13.5, 15.2 on prior
    exams)".
    """
    if text.rfind("(", 0, number.start) <= text.rfind(")", 0, number.start):
        return False
    more = _MORE_NUMBERS.match(text, number.end)
    return more is not None and _PRIOR_RIGHT_AFTER.match(text, more.end()) is not None


def _has_prior_lead(text: str, position: int, left_limit: int) -> bool:
    """Whether the sentence, or what follows a semicolon or opens a parenthesis, begins by naming the prior exam and
    leads to a number.
    """
    before = text[:position]
    cut = max(before.rfind(". "), before.rfind(";"), before.rfind("("), before.rfind("\n"))
    if cut < left_limit - 1 and left_limit > 0:
        return False
    lead = before[cut + 1 :]
    return any(p.match(lead) for p in (_LEADING_PRIOR, _LEADING_PRIOR_EXAM, _LEADING_PRIOR_VERB, _LEADING_PRIOR_DATE))


_FOR_COMPARISON_AFTER = re.compile(
    r"\s*,?\s*(?:used\s+)?(?:for|as(?:\s+an?)?)\s+(?:internal\s+)?(?:comparison|reference)\b"
)
_REGION_RIGHT_BEFORE = re.compile(
    r"(?:[(,;]\s*(?:and\s+)?|\b(?:adjacent\s+to|next\s+to|near|abutting|beside|to|than|with)\s+)(?:the\s+)?"
    r"(?:normal\s+|background\s+|mean\s+|urinary\s+|adjacent\s+|nearby\s+)*"
    r"(?:(?P<usual>liver|hepatic|mediastin\w*|mbp|aort\w*)|spleen|splenic|muscle|marrow|bladder|parotids?|kidneys?"
    r"|brain|cerebell\w+|cortex|myocardi\w+|urine)"
    r"(?:\s+(?:activity|uptake|background|parenchyma|reference|glands?))?\s*[:=]?\s*(?:with\s+)?(?:an?\s+)?"
    r"(?:(?:max\w*\s+)?(?:suv|standardi[sz]ed\s+uptake\s+value)[\s_-]*(?:max\w*|mean)?)?\s*(?:of|is|was|:|=|,)?\s*$"
)
_SLICE_FOLLOWS = re.compile(
    r"\s*[,;]?\s*[(\[]?\s*(?:(?:on|at|in|axial|pet|ct|series\s*\d+,?)\s+)*(?:slice|image|img|im\b)"
)


_VERSUS = re.compile(r"\s*,?\s*(?:vs\.?|versus|compared\s+(?:to|with))\s*")
_REGION_LEADS = re.compile(
    r"\W*(?:(?:the|mean|average|max\w*|normal|reference|background)\s+)*(?:liver|hepatic|spleen|splenic|mbp|aort\w+"
    r"|muscle|marrow)(?:\s+(?:activity|uptake|background|parenchyma|reference))?\s*[:,]?\s*(?:(?:max\w*|mean)\s+)?"
    r"(?:suv[\s_-]*(?:max\w*|mean)?)\s*(?:of|is|was|:|=)?\s*"
)


def _is_reference(before: str, after: str, clause: str, own_after: str, is_first: bool) -> bool:
    if _REFERENCE_RIGHT_AFTER.match(own_after) or _FOR_COMPARISON_AFTER.match(own_after):
        return True
    region = None if is_first else _REGION_RIGHT_BEFORE.search(before)
    # A spleen or a muscle with a slice of its own may be a finding; the liver and the blood pool beside one are not.
    if region is not None and (region["usual"] or not _SLICE_FOLLOWS.match(after)):
        return True
    if _REFERENCE_BEFORE_PAREN.search(before) and _COMPARE.search(before):
        # "... above the blood pool (SUV 1.9)": what stands in the parenthesis is the reference's own.
        return True
    if not is_first and _COMPARE.search(before) and _REFERENCE_REGION_AFTER.match(own_after):
        return True
    strong = list(_REFERENCE_STRONG.finditer(clause)) or ([] if is_first else list(_REFERENCE_WEAK.finditer(clause)))
    if strong and not LESION_NOUN.search(clause[strong[-1].end() :]):
        # "uptake above the blood pool with SUV 6.5": the SUV is the uptake's, so a first value needs a clause about
        # the reference alone.
        return not (is_first and (LESION_NOUN.search(before) or _COMPARE.search(before[: before.rfind(strong[0][0])])))
    compared = None if is_first else _COMPARE_REGION.search(before)
    if compared is None or re.search(r"\bprior|\bprevious", before):
        return False
    # "whereas a right level III node has SUV max of 6.7 on slice 55" is a lesion with a slice of its own.
    return not (LESION_NOUN.search(before, compared.start()) and _SLICE_FOLLOWS.match(after))


_SIDE_RIGHT_BEFORE = re.compile(
    r"[(,;]\s*(?:(?:and|while|whereas|the)\s+)*(?P<side>left|right)\s+(?P<organ>(?:[a-z]+\s+){1,3}?)"
    r"(?:(?:with|has|had|is|at)\s+)?(?:an?\s+)?(?:max\w*\s+)?suv[\s_-]*(?:max\w*)?\s*(?:of|is|was|:|=|,)?\s*$"
)


def _is_other_side(text: str, at: _Around) -> bool:
    """Whether a value is of the same organ on the other side, and no lesion's: "asymmetric uptake in the left vocal
    cord (SUVmax 4.9, image 70), right vocal cord SUVmax 2.1".
    """
    match = _SIDE_RIGHT_BEFORE.search(at.before)
    if (
        at.is_first
        or match is None
        or "asymmetr" not in text
        or LESION_NOUN.search(match["organ"])
        or _SLICE_FOLLOWS.match(at.after)
    ):
        return False
    other = "right" if match["side"] == "left" else "left"
    organ = r"\s+".join(match["organ"].split())
    return re.search(rf"\b{other}\s+{organ}\b", text[: at.number.start - len(at.before)]) is not None


def _next_joins(text: str, governed: list[tuple[_Number, _Word | None]], i: int) -> bool:
    return (
        i + 1 < len(governed) and _RANGE_JOIN.fullmatch(text[governed[i][0].end : governed[i + 1][0].start]) is not None
    )


def _mark_ranges(text: str, governed: list[tuple[_Number, _Word | None]], values: list[SuvValue]) -> None:
    """Turns "2.7 to 3.1", "2.7-3.1" and "between 2.7 and 3.1" into ranges.

    "from 8.8 to 6.5" after a word of change is none.
    """
    for i in range(len(values) - 1):
        joined = text[values[i].end : values[i + 1].start]
        before = text[max(0, values[i].start - 60) : values[i].start]
        is_range = _RANGE_JOIN.fullmatch(joined) is not None and values[i].role is not Role.PRIOR
        if is_range and "to" in joined and values[i].value > values[i + 1].value and values[i + 1].role is Role.CURRENT:
            # No range falls: "less avid (SUVmax 14.1 to 5.0)" is a change.
            values[i] = replace(values[i], role=Role.PRIOR)
            continue
        is_between = (
            re.fullmatch(r"\s*(?:and|to|-)\s*", joined) is not None and _RANGE_BEFORE.search(before) is not None
        )
        if (is_range or is_between) and values[i + 1].role in (Role.CURRENT, Role.RANGE):
            values[i] = replace(values[i], role=Role.RANGE)
            values[i + 1] = replace(values[i + 1], role=Role.RANGE)


def _rescue_reference(text: str, values: list[SuvValue]) -> list[SuvValue]:
    """Where every value seems to be a reference's but a lesion is named before the first, the first is the lesion's."""
    if values[0].role is Role.REFERENCE and len(values) > 1 and LESION_NOUN.search(text[: values[0].start]):
        return [replace(values[0], role=Role.CURRENT), *values[1:]]
    return values


# --- slices ----------------------------------------------------------------------------------------------------------


_ON_SLICE = re.compile(r"[^,;()\[\]]*\b(?:on|at|in)\b[^,;()\[\]]*")
_SLICE_LEAD = re.compile(r"(?:axial|transaxial|pet|ct|fused|ac|#|\s|(?:series|se)\s*\d+,?)+$")
_SLICE_CLAUSE_END = re.compile(r"[,;()\[\]]|\.\s|\b(?:compared|versus|vs)\b")
_PRIOR_SLICE_BEFORE = re.compile(
    rf"\b{_CUE_PRIOR}\b{_PRIOR_ADJECTIVE},?(?:\s*(?:exam|study|scan|pet/?ct|pet|seen|located|at|on|the|:|-))*\s*$"
)


def _slice_roles(text: str, slices: list[SliceNumber], suvs: list[SuvValue]) -> list[SliceNumber]:
    done: list[SliceNumber] = []
    bound: list[int] = []
    for i, item in enumerate(slices):
        left = max([s.end for s in slices[:i]] + [v.end for v in suvs if v.end <= item.start], default=0)
        before = text[left : item.start]
        next_value = min((v.start for v in suvs if v.start >= item.end), default=len(text))
        after = text[item.end : min(next_value, item.end + 60)]
        if item.role is Role.CURRENT and _is_prior_slice(before, after, item.end + len(after) == next_value):
            item = replace(item, role=Role.PRIOR)
        owner = next((v for v in reversed(suvs) if v.end <= item.start), None)
        is_of_another = owner is not None and owner.end == left and owner.role in (Role.PRIOR, Role.REFERENCE)
        if owner is not None and is_of_another and item.role is Role.CURRENT and _ON_SLICE.fullmatch(before):
            # "(previously 8.8 on slice 40)": the slice is that value's. "previously 8.8 (slice 40)" is left open.
            item = replace(item, role=Role.PRIOR)
            if "(" not in text[text.rfind(")", 0, owner.start) + 1 : owner.start]:
                bound.append(i)
        done.append(item)
    if bound and not any(s.role is Role.CURRENT for s in done):
        # "4.2 versus 4.3 on slice 88": the only slice is the finding's.
        done[bound[-1]] = replace(done[bound[-1]], role=Role.CURRENT)
    return done


def _is_prior_slice(before: str, after: str, meets_value: bool) -> bool:
    word = _SLICE_BEFORE.search(before) or _SERIES_BEFORE.search(before)
    lead = _SLICE_LEAD.sub(" ", before[: word.start()] if word else before)
    own_after = _SLICE_CLAUSE_END.split(after, maxsplit=1)[0]
    if meets_value and own_after == after:
        own_after = _own_after(after, "", meets_value)
    return _PRIOR_SLICE_BEFORE.search(lead) is not None or _PRIOR_RIGHT_AFTER.match(own_after) is not None
