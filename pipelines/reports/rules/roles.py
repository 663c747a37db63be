"""Whose a value is: this exam's, a prior one's, a reference region's, or one end of a range."""

import re
from dataclasses import dataclass, replace

from pipelines.reports.rules.number_kinds import SERIES_BEFORE, SLICE_BEFORE, Number, SuvWord, spaces
from pipelines.reports.rules.values import Role, SliceNumber, SuvValue

_PRIOR_ADJECTIVE = (
    r"(?!\s*(?:described|seen|noted|identified|demonstrated|known|treated|biopsied|characteri[sz]ed|mentioned|reported"
    r"|visuali[sz]ed|biopsy|resected|resection|surgery|surgical|therapy|treatment|radiation|radiotherapy|irradiated"
    r"|ablat|granulomatous|site|thoracotomy|mastectomy|lobectomy|fracture|infection|non-?avid|enlarged|hypermetabolic"
    r"|fdg|avid|proven|diagnosed|referenced|present|existing|indexed|malignan|cancer|tumou?r|trauma|injection"
    r"|operative))"
)
_CUE_PRIOR = (
    r"(?:previously|priorly|prior|previous|prev|formerly|formally|earlier|baseline|screening|initially|initial|originally|original|before"
    r"|last|past|old|pre-?treatment|preceding|historical(?:ly)?|outside|comparison|nadir|c\d+\s?d\d+)"
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
    rf"|\bin\s+comparison\s+(?:to|with)|\bversus|\bvs\b\.?|\brelative\s+to|\bfrom|\bagainst"
    rf"|\b(?:had|having)\s+been|\bhaving\s+measured|\bused\s+to\s+be)" + _FILL_NARROW
)
_PRIOR_WITH_EXAM_BEFORE = re.compile(rf"(?:\b{_CUE_PRIOR}\b{_PRIOR_ADJECTIVE})" + _FILL)
_PRIOR_SIZE_BEFORE = re.compile(rf"\b{_CUE_PRIOR}\b{_PRIOR_ADJECTIVE}" + _FILL_TO_SIZE)
_WAS_RIGHT_BEFORE = re.compile(r"(?:^|[(,;\[])\s*(?:which\s+|it\s+|and\s+)?(?:was|were|measured|had)" + _FILL_NARROW)
_PRIOR_ANYWHERE = re.compile(rf"\b{_CUE_PRIOR}\b{_PRIOR_ADJECTIVE}|\bon\s+\x00+|\bin\s+\x00+|\bfrom\s+\x00+|\x00+")
_AGO = (
    r"(?:\d+|an?|one|two|three|four|five|six|seven|eight|nine|ten|several|a\s+few)\s+(?:days?|weeks?|months?|years?)\s+"
    r"(?:ago|earlier|prior|previously|before)\b"
)
_PRIOR_RIGHT_AFTER = re.compile(
    rf"\s*[,)]?\s*(?:(?:g/ml|units?)\s+)?(?:(?:previously|priorly|prev|formerly|earlier|initially|originally|before"
    rf"|prior|pre[-\s]?treatment|pre[-\s]?therapy)\b{_PRIOR_ADJECTIVE}(?!(?:\s+[a-z]+){{0,3}}?\s+\d+(?:\.\d+)?\s*(?:x|cm|mm))|(?:on|in|at|of|from"
    r"|during|by)\s+(?:(?:the|a|an|most|recent|his|her|their"
    rf"|patient's|immediate)\s+)*(?:pet\s+|outside\s+)?(?:{_CUE_PRIOR})\b{_PRIOR_ADJECTIVE}"
    r"|(?:before|prior\s+to)\s+(?:(?:the|his|her|any|starting|start\s+of)\s+)*(?:treatment|therapy|chemo\w*|radi\w+|surgery)\b"
    rf"|(?:(?:which|that)\s+was\s+)?(?:(?:obtained|measured|recorded|seen|found|noted|reported)\s+)?{_AGO})"
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
_EXAM = r"exam|examination|study|scan|pet/?\s?ct|pet"
_OF_BEFORE = r"prior|previous|preliminary|preceding|comparison|baseline|last|earlier|outside|initial"
_LEADING_PRIOR_EXAM = re.compile(
    r"^\W*(?:(?:on|in|at|during|by)\s+)?(?:the\s+)?(?:time\s+of\s+)?(?:the\s+|a\s+|most\s+recent\s+|patient's\s+)*"
    r"(?:prior|previous|comparison|baseline|last|earlier|outside|initial)\s+(?:pet\s+|outside\s+)?"
    rf"(?:{_EXAM}|imaging)\b[^.;,]*"
    r"\b(?:had|was|were|measured|demonstrated|showed|revealed|with)\b[^.;,]*$"
)
# "In the preliminary examination a lesion in segment 4a (image 144, SUVmax 7.4) was described": all that follows is
# that exam's, as long as nothing speaks of the present.
_ON_PRIOR_EXAM = re.compile(
    r"(?:|.*[;,])\W*(?:on|in|at|during|by)\s+(?:the\s+|a\s+|his\s+|her\s+|patient's\s+|most\s+recent\s+)*"
    rf"(?:(?:{_OF_BEFORE})\s+(?:pet\s+|outside\s+)?"
    rf"(?:{_EXAM}|imaging)"
    rf"|(?:{_EXAM})\s+(?:(?:performed|done|obtained|made|of|from)\s+)*{_AGO}"
    rf"|(?:{_EXAM})\s+(?:(?:performed|done|obtained|made|of|from|dated|on)\s+)+\x00+"
    r"(?=.*\b(?:had|was|were|measured|showed|demonstrated)\b)(?<=\x00)"
    r"|which\s+(?:occasion|exam|examination|study|scan|time)|that\s+(?:occasion|exam|examination|study|scan|time))(?![a-z])"
    r"(?P<rest>(?:[^.;]|(?<=\bno)\.|\.(?=\d))*)\Z",
    re.DOTALL,
)
# "the node described on the outside PET/CT (slice 44, SUVmax 6.0)"
_ON_PRIOR_BEFORE_PAREN = re.compile(
    r"\b(?:on|in|at|by)\s+(?:(?:the|an?|his|her|their|patient's|most\s+recent)\s+)*"
    r"(?:prior|previous|preceding|comparison|baseline|last|earlier|outside|initial)"
    rf"(?:\s+(?:pet\s+|outside\s+)?(?:{_EXAM}|imaging))?(?:\s+(?:of|from|dated)\b)?[\s\x00]*\Z"
)
_PRIOR_EXAM_SHOWED = re.compile(
    rf"\W*(?:the\s+)?(?:{_OF_BEFORE})\s+(?:pet\s+|outside\s+)?"
    rf"(?:{_EXAM})(?:\s+(?:of|from|dated|on)\s+\x00+)?(?:\s*,[^;,]*\b(?:image|slice)\b[^;,]*,)?"
    r"\s+(?:had\s+)?(?:had|showed|shown|demonstrated|revealed)\b(?P<rest>(?:[^.;]|\.(?=\d))*)\Z"
)
_SENTENCE_END = re.compile(r"(?<!\bno)(?<!\bim)(?<!\bimg)(?<!\bser)(?<!\bse)\.\s|[;\n]")
_PRESENT = re.compile(
    r"\b(?:now|today|today's|current|currently|present|presently|is|are|has|have|shows?|demonstrates?|measures?|but|whereas"
    r"|while|compared|versus|vs)\b"
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
    r"\b(?:(?:has|have|had)\s+(?:\w+\s+){0,4}?(?:resolved|normali[sz]ed|cleared|vanished)|no\s+longer|not\s+(?:currently\s+)?(?:seen|present"
    r"|visuali[sz]ed|identified|evident)"
    r"|(?:complete|interval|metabolic)\s+(?:\w+\s+)?resolution|is\s+(?:now\s+)?resolved|(?:has|have)\s+disappeared"
    r"|is\s+gone|(?:has|have|shows?|with|demonstrat\w+)\s+no\s+(?:\w+\s+)?(?:\w+\s+)?(?:uptake|activity|avidity)"
    r"|there\s+is\s+no\s+(?:residual|remaining|further)\s+(?:\w+\s+)?(?:uptake|activity|avidity)"
    r"|without\s+(?:\w+\s+)?(?:uptake|activity|avidity))\b|[:,;–-]\s*(?:now\s+)?(?:resolved|gone|absent|disappeared)\b"
)
_SEEN_BEFORE = re.compile(r"\b(?:previously|prior|previous|formerly|earlier)\b")
_TREATED_SINCE = re.compile(
    r"\b(?:has|have)\s+since\s+(?:been\s+(?:ablated|resected|removed|excised|embolized|embolised)|resolved|disappeared)\b"
)
_WITHOUT_CHANGE = re.compile(
    r"\b(?:stable|unchanged|similar|increased|decreased|reduced|improved|worse|progressed|higher|lower|down|up)\s*\Z"
)
_RANGE_BEFORE = re.compile(r"\b(?:rang(?:e|es|ed|ing)|var(?:y|ies|ied|ying)|between|anywhere|spanning)\b[^.;]*$")
_RANGE_JOIN = re.compile(
    r"\s*(?:g/ml\s*)?(?:-|to|through|thru|--)\s*(?:suv\s*(?:max)?\s*)?(?:of\s+)?(?:approximately\s+|about\s+)?$"
)
_CHANGE_WORD = re.compile(
    r"\b(?:decreas\w+|increas\w+|chang\w+|declin\w+|reduc\w+|improv\w+|progress\w+|went|gone|drop\w*|fall\w*|fell"
    r"|fallen|rose|risen|rising|down|up|diminish\w+|elevat\w+|lower\w*|resol\w+|regress\w+|worsen\w+|interval"
    r"|previously|prior|less|more|greater|higher|compared|evol\w+|halv\w+|doubl\w+|tripl\w+|grow\w*|grew|slight\w*|intensif\w+|climb\w*|jump\w*|shrunk|shr[aiu]nk\w*|plung\w+|surg(?:ed|ing)|currently|now)\b"
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
class _Around:
    """A value that a word governs, and the text around it that can say whose it is.

    `before` reaches back to the number (SUV or slice) before it, which ends at `value_before` where it is an SUV (else
    the SUV before that does, 0 where there is none); `clause` to the last comma or parenthesis in it;
    `after` reaches to the next number, `own_after` to the end of the value's own clause, `beyond` goes on behind a
    slice that follows the value. `aside` is a parenthesis right behind the value, `outside` what stands before the
    parenthesis that the value is in.
    """

    number: Number
    word: SuvWord | None
    before: str
    value_before: int
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


def _around(text: str, governed: list[tuple[Number, SuvWord | None]], slices: list[SliceNumber], i: int) -> _Around:
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
        value_before=governed[i - 1][0].end if i else 0,
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


def _aside(text: str, number: Number) -> str:
    """What a parenthesis right behind a value says: "4.2 (today)"."""
    match = _ASIDE.match(text, number.end)
    return match["words"] if match is not None else ""


def _outside(text: str, number: Number, left: int) -> str:
    """What stands before the parenthesis that a value is in: "compared to 3.0 cm (slice 85, SUV 8.0)"."""
    opened = text.rfind("(", left, number.start)
    return text[left:opened] if opened > text.rfind(")", left, number.start) else ""


def suv_roles(text: str, governed: list[tuple[Number, SuvWord | None]], slices: list[SliceNumber]) -> list[SuvValue]:
    """The numbers that SUV words govern, each with its role.

    Args:
        governed: numbers with their words, in reading order; the word is null in a list without any.
    """
    if not governed:
        return []
    # "avid as previously with SUV 4.2": the cue compares, and the number is not the prior exam's.
    told = _ADVERB.sub(spaces, text)
    # "has increased from prior (SUV 4.2)": a first value is this exam's, where a later one is what it is compared with.
    first_told = _SINCE_PRIOR.sub(spaces, told)
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


def _role(text: str, governed: list[tuple[Number, SuvWord | None]], at: _Around, i: int) -> Role:
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
    outside = at.outside.rstrip("\x00 ")
    if _ON_PRIOR_BEFORE_PAREN.search(outside):
        return True
    if not at.is_first and any(p.search(outside) for p in (_PRIOR_RIGHT_BEFORE, _PRIOR_WITH_EXAM_BEFORE)):
        return True
    if not at.is_first and _WITHOUT_CHANGE.search(outside) and at.before.rstrip().endswith("("):
        # "SUVmax 4.9, stable (5.0)"
        return True
    if not at.is_first and _PRIOR_SLICE_LEADS.search(text, 0, at.number.start):
        return True
    if at.meets_value and _FROM_SIZE_BEFORE.search(at.before) and _TO_SIZE.fullmatch(at.after):
        return True
    if _has_prior_lead(text, at.number.start, at.value_before):
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


def _is_gone(text: str, number: Number) -> bool:
    """Whether a text tells of a lesion that was there before and is no more, and gives its value in between."""
    before, after = text[: number.start], text[number.end :]
    if _TREATED_SINCE.search(after.split(". ", maxsplit=1)[0]):
        return True
    before = before[max(before.rfind(". "), before.rfind(";")) + 1 :]
    after = after.split(". ", maxsplit=1)[0]
    return _SEEN_BEFORE.search(before) is not None and _GONE_AFTER.search(after) is not None


_MORE_NUMBERS = re.compile(r"(?:\s*+(?:,|;|/|and|&|then|to)*+\s*+\d++(?:\.\d++)?+)++(?!\.)")


def _in_prior_list(text: str, number: Number) -> bool:
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
    begin = max([m.end() for m in _SENTENCE_END.finditer(before, left_limit)], default=left_limit)
    told = _ON_PRIOR_EXAM.match(before, begin) or _PRIOR_EXAM_SHOWED.match(before, begin)
    if told is not None and not _PRESENT.search(told["rest"]):
        return True
    return any(p.match(lead) for p in (_LEADING_PRIOR, _LEADING_PRIOR_EXAM, _LEADING_PRIOR_VERB, _LEADING_PRIOR_DATE))


_FOR_COMPARISON_AFTER = re.compile(
    r"\s*,?\s*(?:used\s+)?(?:for|as(?:\s+an?)?)\s+(?:internal\s+)?(?:comparison|reference)\b"
)
_REGION_RIGHT_BEFORE = re.compile(
    r"(?:[(,;]\s*(?:and\s+)?|\b(?:adjacent\s+to|next\s+to|near|abutting|beside|to|than|with|against"
    r"|and(?=\s+(?:the\s+)?(?:liver|mediastin|mbp|aort)))\s+)(?:the\s+)?"
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


def _next_joins(text: str, governed: list[tuple[Number, SuvWord | None]], i: int) -> bool:
    return (
        i + 1 < len(governed) and _RANGE_JOIN.fullmatch(text[governed[i][0].end : governed[i + 1][0].start]) is not None
    )


def _mark_ranges(text: str, governed: list[tuple[Number, SuvWord | None]], values: list[SuvValue]) -> None:
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


_ON_SLICE = re.compile(r"[^,;()\[\]]*\b(?:on|at|in)\b[^,;()\[\]]*")
_SLICE_LEAD = re.compile(r"(?:axial|transaxial|pet|ct|fused|ac|#|\s|(?:series|se)\s*\d+,?)+$")
_SLICE_CLAUSE_END = re.compile(r"[,;()\[\]]|\.\s|\b(?:compared|versus|vs)\b")
_PRIOR_SLICE_LEADS = re.compile(
    rf"\b{_CUE_PRIOR}\s+(?:slice|image|img|im)\s*#?\s*\d+\s*[:,]?\s*(?:max\w*\s+)?suv[\s_-]*(?:max\w*)?\s*(?:of|is|was|:|=)?\s*\Z"
)
"""Of "(prior slice 130: SUV max 9.1)" the value is the prior exam's too."""
_PRIOR_SLICE_BEFORE = re.compile(
    rf"\b{_CUE_PRIOR}\b{_PRIOR_ADJECTIVE},?(?:\s*(?:exam|study|scan|pet/?ct|pet|seen|located|at|on|the|:|-))*\s*$"
)


def slice_roles(text: str, slices: list[SliceNumber], suvs: list[SuvValue]) -> list[SliceNumber]:
    """The slices, those of a prior exam or of another value told apart from the finding's."""
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
        # "4.2 versus 4.3 on slice 88": the only slice is the finding's, and so are as many as there are findings.
        n_current = sum(v.role is Role.CURRENT for v in suvs)
        for i in bound if len(bound) == n_current else bound[-1:]:
            done[i] = replace(done[i], role=Role.CURRENT)
    return done


def _is_prior_slice(before: str, after: str, meets_value: bool) -> bool:
    word = SLICE_BEFORE.search(before) or SERIES_BEFORE.search(before)
    lead = _SLICE_LEAD.sub(" ", before[: word.start()] if word else before)
    own_after = _SLICE_CLAUSE_END.split(after, maxsplit=1)[0]
    if meets_value and own_after == after:
        own_after = _own_after(after, "", meets_value)
    return _PRIOR_SLICE_BEFORE.search(lead) is not None or _PRIOR_RIGHT_AFTER.match(own_after) is not None
