"""A finding's sentence as fields.

Region, organ, sub-site, side, change since the prior exam, and its text without slice references.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache, lru_cache

from pipelines.reports.rules.expressions import find_expressions
from pipelines.reports.rules.values import Role, SuvValue
from pipelines.reports.vocabulary.lexicon import LEXICON_VERSION, MAX_WORDS, SECTION_REGIONS, TERMS, Term
from pipelines.reports.vocabulary.text import clean, lower, squeeze

LOGIC_VERSION = 4

VERSION = f"{LOGIC_VERSION}.{LEXICON_VERSION}"
"""Version of the rules and the lexicon together, for row keys."""


@dataclass(frozen=True)
class Fields:
    """A finding's structured fields. Null where the sentence does not say; `comparison` is "none" where no change is
    stated.

    `laterality` is left, right, bilateral or midline, of the finding itself and never of the side it is compared with.
    It is null for organs whose parts are named left and right without lying on that side (heart chambers, lobes of the
    liver).
    """

    region: str | None
    organ: str | None
    subsite: str | None
    laterality: str | None
    comparison: str
    text: str


@dataclass(frozen=True)
class Place:
    """A word or phrase of the lexicon in a text, at `start`..`end` (half-open)."""

    term: Term
    start: int
    end: int
    phrase: str


_WORD = re.compile(r"[a-z0-9]+(?:'s)?")
_ENDS_PHRASE = re.compile(r"[.;,:()]")
_NODE = re.compile(r"\b(?:lymph\s+nodes?|nodes?|nodal|lns?|adenopathy|lymphadenopathy)\b")
_NODE_SITES = frozenset(
    ("neck", "mediastinum", "retroperitoneum", "pelvis", "peritoneum", "abdominal wall", "chest wall", "vessel",
    "leg", "arm", "clavicle", "submandibular gland",
     "parotid gland", "femur", "pelvic bone", "sternum", "airway", "heart")
)  # fmt: skip
_BONE = re.compile(r"\b(?:bone|bony|osseous|lytic|sclerotic|marrow|skelet\w+|fracture|osteo\w+|wing|crest|cortical)\b")
_GENERIC = frozenset(
    (
        "lymph node",
        "skin",
        "nerve",
        "bone",
        "muscle",
        "soft tissue",
        "joint",
        "extremity",
        "neck",
        "chest wall",
        "abdominal wall",
        "pelvis",
        "back",
        "bone marrow",
        "vessel",
        "leg",
        "arm",
    )
)
_PARTS_OF_SEVERAL = frozenset(("upper pole", "lower pole", "interpolar"))
"""Words of the kidney where no organ is named: the spleen, the thyroid and the testis have poles too."""
_NOT_PLACES = re.compile(
    r"\bblood[\s-]?pool(?:\s+\w+)?|\bportable\b|\bhead/neck\s*:|\bback\s?ground\b|\bback\s+to\b|\bport\s?able\b"
    r"|\bhead\s+to\b|\bon\s+the\s+other\s+hand\b|\bradius\s+of\b|\bin\s+the\s+face\s+of\b"
)
_BESIDE = re.compile(
    r"\b(?:adjacent\s+to|abut\w*|exceed\w*|near|next\s+to|close\s+to|above|below|than|compared\s+(?:to|with)|relative\s+to"
    r"|versus|vs\.?|similar\s+to|anterior\s+to|posterior\s+to|lateral\s+to|medial\s+to|superior\s+to|inferior\s+to"
    r"|deep\s+to|overlying|underlying|invad\w+|involv\w+\s+the\s+adjacent|extending\s+(?:in)?to|consistent\s+with"
    r"|at\s+the\s+level\s+of|to\s+the\s+level\s+of|encas\w+|compress\w+|obstruct\w+"
    r"|suggesting|known|metastatic\s+from|primary|history\s+of|behind|beneath|between|from)\s+(?:\w+[\s-]+){0,3}$"
)
_SIDE = re.compile(
    r"(?<![a-z0-9])(?:(?P<left>left(?:ward)?|lt|lul|lll|lingular?|[0-9]{1,2}l)|(?P<right>right(?:ward)?|rt|rul|rml|rll"
    r"|[0-9]{1,2}r)|(?P<both>bilateral(?:ly)?|both\s+sides|b/l)|(?P<mid>midline|mid-line))(?![a-z0-9])"
)
_OTHER_SIDE = re.compile(
    r"(?:compared\s+(?:to|with)|in\s+comparison\s+(?:to|with)|versus|vs\.?|than|relative\s+to|contra-?lateral"
    r"|contrary\s+to|in\s+contrast\s+to|opposite|as\s+opposed\s+to|unlike|not\s+on|similar\s+to|whereas|while|mirror\w*)[^.;()]{0,45}?$"
)
_COMPARED_SIDE = re.compile(
    r"(?:compared\s+(?:to|with)|than|versus|vs\.?|contra-?lateral|opposite|contrary\s+to|in\s+contrast\s+to|unlike)"
    r"\s+(?:the\s+)?(?:\w+\s+)?$"
)
_BOTH_SIDES = re.compile(r"\b(?:left\s+(?:and|&|/)\s*right|right\s+(?:and|&|/)\s*left)\b")
_NOT_A_SIDE = re.compile(
    r"\s+(?:ventric\w+|atri\w+|heart|hepatic|liver|lobe\s+of\s+(?:the\s+)?liver|portal|bundle|main\s+coronary"
    r"|anterior\s+descending|after|now|behind\s+after)\b"
)
_PRIOR_EXAM = (
    r"(?:(?:the|any|her|his)\s+)?(?:prior|previous|former|earlier|comparison|baseline|last)"
    r"(?:\s+(?:pet(?:/?\s?ct)?|exam\w*|scan|study|imaging))?"
)
_SEEN = (
    r"(?:seen|present|evident|visible|apparent|identified|visuali[sz]ed|appreciated|demonstrated|shown|there|detected"
    r"|described|found)"
)
_NEW = re.compile(
    r"\bnew\b(?!\s+(?:york|zealand|england|baseline))|\bnewly\s+(?:seen|apparent|hypermetabolic|fdg|avid|appear\w*"
    r"|develop\w*|identified|noted|visible|enlarged)|\b(?:interval|interim)\s+(?:development|appearance)|\bde\s+novo\b"
    rf"|\bnot\s+(?:previously\s+{_SEEN}|{_SEEN}\s+(?:(?:on|in|at)\s+(?!this\b|the\s+(?:current|present)\b|ct\b)|previously\b|before\b)"
    rf"|(?:on|in|at)\s+{_PRIOR_EXAM})|\b(?:has|have)\s+(?:newly\s+)?(?:developed|appeared|arisen|emerged|come\s+up\s+since)\b|\bappeared\s+in\s+the\s+interval\b|\bdeveloped\s+since\b"
    rf"|\bfirst\s+(?:seen|noted|visible)\s+(?:today|now|on\s+(?:this|the\s+current))|\bwhich\s+{_PRIOR_EXAM}\s+did\s+not\s+show\b"
    rf"|\b(?:absent|nothing|no\s+(?:(?!change)\w+\s+){{1,3}})\s*(?:here\s+|there\s+|existed\s+)?(?:on|in)\s+{_PRIOR_EXAM}"
    rf"|\babsent\s+(?:on|in|from)\s+the\s+\w+\s+(?:pet|exam\w*|scan|study)|\bpostdates?\s+{_PRIOR_EXAM}"
)
_NO_NEW = re.compile(r"\b(?:no|not|without|nor|neither)\s+(?:\w+\s+){0,2}$")
_STABLE = re.compile(
    r"\bstable\b(?!\s+(?:\w+\s+){0,2}?(?:clips?|cysts?|sutures?|hardware|stents?|catheters?|adenomas?|granulomas?|scar\w*"
    r"|post-?\s?(?:surgical|operative)))|\bunchanged\b|\bunaltered\b|\bno\s+(?:significant\s+|appreciable\s+|interval\s+|substantial\s+"
    r"|definite\s+|overall\s+|meaningful\s+|relevant\s+|real\s+)*change\b"
    r"|\bnot\s+(?:significantly\s+|appreciably\s+|substantially\s+)?changed\b"
    r"|\bwithout\s+(?:significant\s+|interval\s+)*change\b|\bsimilar(?:ly)?\s+(?:\w+\s+){0,4}?(?:prior|previous"
    r"|before|to\s+the\s+last|compared|in\s+size|appear\w*|since)|\bpersistent\s+and\s+unchanged|(?<!than\s)\bas\s+before\b"
    rf"|\b(?:at\s+the\s+(?:same\s+)?level\s+of|the\s+same\s+as\s+(?:on|in))\s+{_PRIOR_EXAM}|\bof\s+the\s+same\s+(?:intensity|avidity|uptake)\b"
)
_OF_SIZE = re.compile(r"\s+in\s+(?:size|extent|dimensions?)\b")
_UPTAKE_NOUN = (
    r"(?:(?:and|in|focal|focally|mild|mildly|diffuse|diffusely|intense|intensely|abnormal|physiologic|symmetric"
    r"|asymmetric|linear|heterogeneous|moderate|metabolic|radiotracer|tracer|fdg|f-?18|glucose|radiopharmaceutical"
    r"|psma|dotatate|fluciclovine|18f|curvilinear|patchy|nonspecific|slightly|nodular|hyper)[\s-]+)*(?:uptake|activity"
    r"|avidity|metabolism|accumulation|fdg|tracer|radiotracer|hypermetabol\w+|radioactivity|density|attenuation"
    r"|sclerosis|signal|conspicuity|foci|focus)"
)
_UP = re.compile(
    rf"\bincreas\w+\b(?!\s+{_UPTAKE_NOUN})|\binterval\s+(?:increase|enlargement|growth|progression|worsening)"
    rf"|\bprogress(?:ed|ion|ive|ing)\b|\bworsen\w+|\benlarg(?:ing)\b|\bgrown\b|\blarger\s+than\b|\bmore\s+(?:avid"
    rf"|intense|hypermetabolic|prominent)\s+(?:than|compared)|\bhigher\s+than\s+(?:on\s+)?(?:the\s+)?(?:prior"
    rf"|previous|before)|\brisen\b"
    rf"|\bincreas\w+\s+[^.;]{{0,50}}(?:compared\s+(?:to|with)\s+(?:the\s+)?(?:prior|previous)|since|previously"
    r"|interval)"
    r"|\bclimb\w+\b|\bhotter\s+than\s+(?:before|on|in)\b|\bmore\s+fdg[\s-]+avid\s+than\s+(?:before|on|in)\b|\b(?:now\s+)?(?:\w+\s+)?(?:larger|bigger)\s+and\s+(?:hotter|more\s+\w+)\b|\bmore\s+(?:conspicuous|active)(?!\s+than\s+(?:the\s+)?(?:liver|blood|background))\b"
    r"|\b(?:faintly|barely)\s+(?:\w+\s+)?in\s+retrospect\b|\bin\s+retrospect\s+(?:faintly|barely)\b"
    r"|\bup\s+from\b|\brose\b|\bgrew\b|\bdoubled\b|\btripled\b"
)
_DOWN = re.compile(
    r"\bdecreas\w+\b(?!\s+(?:attenuation|density))|\binterval\s+(?:decrease|improvement|reduction|regression|response)"
    r"|\bimprov(?:ed|ing|ement)\b|\bregress\w+|\breduced\b|\bsmaller\s+than\b|\bless\s+(?:avid|intense|hypermetabolic"
    r"|prominent|conspicuous)\b|\bdiminish\w+|\bdeclin\w+|\blower\s+than\s+(?:on\s+)?(?:the\s+)?(?:prior|previous"
    r"|before|\d+(?:\.\d+)?\s+(?:\w+\s+)?(?:before|previously|earlier))|\b(?:smaller|less)\s+than\s+before\b|\bless\s+(?:uptake|activity)\s+than\s+(?:before|on|in)\b|\bdown\s+from\b|\bfallen\b|\bfell\b|\bdropped\b|\bhalved\b|\bresolving\b|\b(?:partial|near[\s-]complete)\s+resolution"
)
_REFERENCE_WORDS = (
    r"(?:axial|transaxial|fused|fusion|pet/?ct|pet|ct|ac|nac|coronal|sagittal|series|ser|se|slices?|images?|imgs?|im|sl"
    r"|key)(?![a-z])"
)
_REFERENCE_PAREN = re.compile(
    # Parentheses with nothing but slice, series and image in them, or a bare "(4/112)".
    rf"\s*[(\[](?=[^)\]]*{_REFERENCE_WORDS}|\s*\d{{1,3}}\s*[/:]\s*[1-9]\d{{1,3}}\s*[)\]])\s*"
    rf"(?:(?:see|e\.g\.|for example|{_REFERENCE_WORDS}|numbers?|no\.?|location|on|and|of|to|mip|attenuation|corrected"
    r"|respectively|\d++)(?![a-z])|[#:,;/.\-\s])+[)\]]",
    re.IGNORECASE,
)
_REFERENCE_SENTENCE = re.compile(
    r"(?:(?<=[.!?])\s+|^)(?:(?:it|this|which)\s+is\s+)?(?:(?:best|well)\s+)?(?:see|seen|visible|shown)\s+(?:on|at|in)?\s*"
    rf"(?:(?:the\s+)?(?:{_REFERENCE_WORDS}|number|no\.?|of|[#:,/]|\d++)(?![a-z])\s*)+(?:\.|$)",
    re.IGNORECASE,
)
_REFERENCE_PHRASE = re.compile(
    r",?\s*\b(?:(?<!\bis )(?<!\bare )(?<!\bwas )(?:best\s+)?(?:seen|visible|located|noted|as seen|centered)\s+|see\s+)?"
    r"(?:on|at|in)?\s*\b(?:the\s+)?(?:(?:axial|transaxial|fused|pet/ct|pet|ct|ac)\s+)*"
    r"(?:(?:series|se)\s*[#:]?\s*\d+\s*[,/]?\s*)?(?:slice|image|img|im)s?(?![a-z])\.?\s*(?:location|number|no\.?|#)*\s*[:~=]?\s*\d+"
    r"(?:\s*(?:/|of|out\s+of|,\s*and|,|and|&)\s*\d+(?!\.?\d|\s*(?:cm|mm)))*(?:\s*,?\s*(?:of\s+|in\s+)?(?:series|se)\s*#?\s*\d+)?(?!\d|\s*(?:-|to|through|thru)\s*\d)",
    re.IGNORECASE,
)
# "extends to slice 275" and "spanning images 60-64" say where a lesion ends, and stay.
_TELLS_EXTENT = re.compile(r"\b(?:extend\w*\s+(?:to|from)|spanning|through|between)\s*$", re.IGNORECASE)
_LEFT_OVER: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern), instead)
    for pattern, instead in (
        (r"[(\[{]\s*[,;/]?\s*[)\]}]", ""),
        (r"([(\[])\s*[,;:]\s*", r"\1"),
        (r"\s*[,;/]?\s*([)\]}])", r"\1"),
        (r"\s+([.,;:)\]])", r"\1"),
        (r"[,;:]+(?=[.;])|\.(?=\.\s*$|\.\s)|,(?=,)", ""),
        (r"^[\s.,;:/|&<>)\]-]+", ""),
        (r"\s+(?:and|on|at|in)\s*(?=\.?\s*$)", ""),
        (r"\s*(?:[,;:/|@-]\s*)+(?=\.?\s*$)", ""),
        (r"(?:\s+-){2,}\s", " - "),
        (r"\s{2,}", " "),
    )
)
_ENDS_CLAUSE = re.compile(r"[);\d]")
_REACH_OF_PLACE = 25
"""A value this many characters behind a place is the place's."""
_LIST_MARKER = re.compile(r"^\s*(?:[-*•·]+|\(?\d{1,2}[.)](?!\d)|[a-z][.)])\s+")


def structure(text: str, section: str | None = None) -> Fields:
    """Fields of one finding by rules and lexicon.

    Args:
        text: the finding's sentence(s) as they stand in the report.
        section: heading that it stands under; gives the region where the sentence names none.
    """
    flat = lower(clean(text))
    return _fields(text, flat, _main_place(flat, find_places(flat)), section)


def structure_parts(text: str, spans: Sequence[tuple[int, int]], section: str | None = None) -> list[Fields]:
    """Fields of each lesion of a sentence that names several, in order.

    Where the lesions share all words ("right axilla and left hilum with SUV 4 and 5, respectively") the places count
    in order. A part that leaves its place to the other words ("left SUVmax 4.1") has theirs, and the whole
    sentence for its text.

    Args:
        spans: each lesion's part of the text, half-open.
    """
    if len(set(spans)) == 1:
        return _in_order(text, len(spans), section)
    out = []
    n_placed = 0
    for start, end in spans:
        own = structure(text[start:end], section)
        if find_places(lower(clean(text[start:end]))):
            n_placed += 1
        else:
            own = _with_shared(own, text, end, section, is_one_of_a_list=n_placed > 1)
        out.append(own)
    return out


def _with_shared(own: Fields, text: str, end: int, section: str | None, *, is_one_of_a_list: bool) -> Fields:
    """Fields of a part without a place, which is that of the words before it, or of all words."""
    shared = structure(text[:end], section)
    shared = shared if shared.organ or shared.subsite else structure(text, section)
    # "bilateral" is both lesions' side together, not this one's.
    side = own.laterality or (None if shared.laterality == "bilateral" else shared.laterality)
    if is_one_of_a_list:
        # Where the others each name their place ("4R ...; 4L ...; 7 ..."), this one's is a name that the lexicon lacks.
        shared, side = replace(shared, subsite=None), own.laterality
    return replace(shared, laterality=side, comparison=own.comparison, text=without_references(text))


def _in_order(text: str, n: int, section: str | None) -> list[Fields]:
    flat = lower(clean(text))
    whole = structure(text, section)
    named = (p for p in find_places(flat) if p.term.region and not _is_beside(flat, p))
    places = [p for p in named if p.term.subsite or p.term.organ not in _GENERIC]
    detailed = {p.term.organ for p in places if p.term.subsite}
    # Of "pulmonary nodules in the RUL and LLL" the first names them all.
    places = [p for p in places if p.term.subsite or p.term.organ not in detailed]
    if len(places) == n:
        ends = [0, *(p.end for p in places)]
        return [
            replace(_fields(text, flat, place, section), laterality=laterality(flat[end : place.end]))
            for place, end in zip(places, ends, strict=False)
        ]
    sides = [s for s in _sides(flat) if s.name in ("left", "right")]
    if len(sides) == n:
        return [replace(whole, laterality=side.name) for side in sides]
    return [replace(whole, laterality=None if whole.laterality == "bilateral" else whole.laterality) for _ in range(n)]


def _fields(text: str, flat: str, place: Place | None, section: str | None) -> Fields:
    headed = _of_section(section) if section else None
    if place is not None and headed is not None and headed.organ and _is_beside(flat, place):
        # Under "Spleen", uptake "above liver" is the spleen's.
        place = None
    organ = place.term.organ if place else None
    region = place.term.region if place else None
    subsite = place.term.subsite if place else None
    if place is not None:
        organ, region, subsite = _as_node_or_bone(flat, place, organ, region, subsite)
        if region is None:
            region = next((p.term.region for p in find_places(flat) if p.term.region), None)
    if region is None and headed is not None:
        region, organ = headed.region, organ or headed.organ
    return Fields(region, organ, subsite, laterality(flat, place), comparison(flat), without_references(text))


def _is_hilum(place: Place) -> bool:
    return place.phrase.endswith(("hilum", "hilar")) or place.phrase == "porta hepatis"


def organs_of(flat: str) -> set[str | None]:
    """Organs that a cleaned, lowered text names; a pole alone is no organ."""
    return {p.term.organ for p in find_places(flat) if p.phrase not in _PARTS_OF_SEVERAL}


def names_anatomy(text: str, section: str | None = None) -> bool:
    """Whether a finding says where it is: by any word of the lexicon, or by the heading that it stands under."""
    return bool(find_places(lower(clean(text)))) or (bool(section) and _of_section(section or "") is not None)


def _of_section(section: str) -> Term | None:
    """What a heading names: an organ ("Thyroid"), or a region alone ("CHEST")."""
    places = find_places(lower(clean(section)))
    if len(places) == 1 and places[0].term.organ not in _GENERIC:
        return places[0].term
    region = section_region(section)
    return Term(None, region) if region is not None else None


def section_region(section: str) -> str | None:
    """Region of a heading ("HEAD/NECK", "Abdomen and pelvis"), null for headings that name none ("FINDINGS")."""
    for word in re.split(r"[^a-z]+", section.lower()):
        if word in SECTION_REGIONS:
            return SECTION_REGIONS[word]
    return next((r for phrase, r in SECTION_REGIONS.items() if " " in phrase and phrase in section.lower()), None)


@cache
def _terms_by_first_word() -> dict[str, dict[tuple[str, ...], tuple[str, Term]]]:
    out: dict[str, dict[tuple[str, ...], tuple[str, Term]]] = {}
    for phrase, term in TERMS.items():
        words = tuple(_WORD.findall(phrase))
        out.setdefault(words[0], {})[words] = (phrase, term)
    return out


def _singular(word: str) -> str:
    if word.endswith("ies") and len(word) > 4:
        return word[:-3] + "y"
    if word.endswith(("ses", "xes", "ches")):
        return word[:-2]
    if word.endswith("ae"):
        return word[:-1]
    if word.endswith("s") and not word.endswith(("ss", "us", "is")):
        return word[:-1]
    return word


@lru_cache(maxsize=1024)
def find_places(flat: str) -> tuple[Place, ...]:
    """Words of the lexicon in a cleaned, lowered text, longest first at each place, in reading order."""
    hidden = _NOT_PLACES.sub(lambda m: " " * (m.end() - m.start()), flat)
    words = list(_WORD.finditer(hidden))
    names = [w[0] for w in words]
    by_first = _terms_by_first_word()
    out: list[Place] = []
    i = 0
    while i < len(words):
        first = names[i]
        terms = by_first.get(first) or by_first.get(_singular(first))
        taken = 1
        if terms is not None:
            for n in range(min(MAX_WORDS, len(words) - i), 0, -1):
                end = words[i + n - 1].end()
                if n > 1 and _ENDS_PHRASE.search(hidden, words[i].start(), end) is not None:
                    continue
                key = tuple(names[i : i + n])
                hit = terms.get(key) or terms.get((*key[:-1], _singular(key[-1])))
                if hit is not None:
                    out.append(Place(hit[1], words[i].start(), end, hit[0]))
                    taken = n
                    break
        i += taken
    return tuple(out)


def _main_place(flat: str, places: Sequence[Place]) -> Place | None:
    suv = re.search(r"suv|standard\w*\s+uptake", flat)
    values = find_expressions(flat).suvs
    first_value = next((v.start for v in values if v.role is Role.CURRENT), suv.start() if suv else len(flat))
    places = [p for p in places if not _is_of_another_value(flat, p, places, values)]
    if not places:
        return None

    def score(place: Place) -> float:
        points = 0.0
        if place.term.region is None or place.term.organ in _GENERIC:
            points -= 1.5
        if place.phrase in _PARTS_OF_SEVERAL and any(_is_other_organ(p, place) for p in places):
            points -= 1.5
        if _AT.search(flat, 0, place.start) and any(
            p.start < place.start and _is_other_organ(p, place) for p in places
        ):
            # "para-aortic node at L2"
            points -= 3
        if place.term.subsite:
            points += 0.5
        if place.start > first_value:
            points -= 2
        if _is_beside(flat, place):
            points -= 3
        return points - place.start / 1000

    return max(places, key=score)


_AT = re.compile(r"\bat\s+\Z")


def _is_other_organ(a: Place, b: Place) -> bool:
    return a.term.organ is not None and a.term.organ != b.term.organ


def _is_of_another_value(flat: str, place: Place, places: Sequence[Place], values: Sequence[SuvValue]) -> bool:
    """Whether the value right behind a place is a reference's or a mean: "bone marrow SUVmean 2.0" beside the finding's
    SUVmax.
    """
    if not any(v.role is Role.CURRENT for v in values):
        return False
    following = next((v for v in values if place.end <= v.start <= place.end + _REACH_OF_PLACE), None)
    if following is None or following.role not in (Role.REFERENCE, Role.OTHER_MEASURE):
        return False
    if any(place.end <= p.start < following.start for p in places):
        return False
    if _ENDS_CLAUSE.search(flat, place.end, following.start):
        return False
    is_first = not any(v.role is Role.CURRENT and v.end <= place.start for v in values)
    return following.role is Role.REFERENCE or not is_first


def _is_beside(flat: str, place: Place) -> bool:
    """Whether a place is only what the finding lies beside or is compared with."""
    return _BESIDE.search(flat[max(0, place.start - 60) : place.start]) is not None


def _as_node_or_bone(
    flat: str, place: Place, organ: str | None, region: str | None, subsite: str | None
) -> tuple[str | None, str | None, str | None]:
    has_node = _NODE.search(flat) is not None
    if place.phrase in ("iliac", "common iliac") and not has_node and _BONE.search(flat):
        return "pelvic bone", "musculoskeletal", "ilium"
    beside = _is_beside(flat, place)
    if has_node and organ != "lymph node" and (organ in _NODE_SITES or beside or _is_hilum(place)):
        return "lymph node", region, subsite or place.phrase
    return organ, region, subsite


@dataclass(frozen=True)
class _Side:
    name: str  # "left", "right", "both", "mid"
    start: int


def _sides(flat: str) -> list[_Side]:
    """The sides that are the finding's own, in reading order."""
    sides: list[_Side] = []
    for match in _SIDE.finditer(flat):
        before = flat[max(0, match.start() - 70) : match.start()]
        if _NOT_A_SIDE.match(flat, match.end()) or (_OTHER_SIDE.search(before) and sides):
            continue
        if _COMPARED_SIDE.search(before):
            continue
        sides.append(_Side(next(k for k, v in match.groupdict().items() if v), match.start()))
    return sides


def laterality(flat: str, place: Place | None = None) -> str | None:
    """Side of the finding in a cleaned, lowered text.

    Args:
        place: where its organ stands, to choose between two sides that are named.
    """
    sides = _sides(flat)
    names = {side.name for side in sides}
    if not names:
        return None
    own = {side.name for side in sides if place is not None and place.start <= side.start < place.end}
    if len(own) == 1 and own <= {"left", "right"}:
        # "Nodules bilaterally: RUL 8 mm"
        return own.pop()
    if "both" in names:
        return "bilateral"
    if {"left", "right"} <= names:
        if _BOTH_SIDES.search(flat):
            return "bilateral"
        if place is None:
            return sides[0].name
        ahead = [s for s in sides if s.start <= place.start] or sides
        return ahead[-1].name
    if len(names) == 1:
        return {"left": "left", "right": "right", "mid": "midline"}[names.pop()]
    return next(side.name for side in sides if side.name != "mid")


def comparison(flat: str) -> str:
    """Change since the prior exam in a cleaned, lowered text.

    New, increased, decreased, stable or none. Words count before numbers.
    """
    for match in _NEW.finditer(flat):
        if not _NO_NEW.search(flat[: match.start()]):
            return "new"
    up, down, stable = _UP.search(flat), _DOWN.search(flat), _STABLE.search(flat)
    found = [(m.start(), name) for m, name in ((up, "increased"), (down, "decreased"), (stable, "stable")) if m]
    by_numbers = _by_numbers(flat)
    if found:
        names = {name for _, name in found}
        # "Stable in size but increased in uptake": the numbers decide where the words differ, or speak of the size.
        if names == {"stable"} and by_numbers and _OF_SIZE.match(flat, stable.end() if stable else 0):
            return by_numbers
        return by_numbers if len(names) > 1 and by_numbers in names else min(found)[1]
    return by_numbers or "none"


SAME_SUV = 0.1
"""An SUVmax within this part of the prior one is no change: a lesion measured twice in a row differs by more."""


def _by_numbers(flat: str) -> str | None:
    values = find_expressions(flat).suvs
    current = [v.value for v in values if v.role is Role.CURRENT]
    prior = [v.value for v in values if v.role is Role.PRIOR]
    if len(current) != 1 or not prior:
        return None
    if abs(current[0] - prior[0]) <= SAME_SUV * prior[0] + 1e-9:
        return "stable"
    return "increased" if current[0] > prior[0] else "decreased"


def without_references(text: str) -> str:
    """The finding on one line without its slice, series and image references.

    "... mass (slice 26)" gives "... mass".
    """
    short = _LIST_MARKER.sub("", squeeze(text))
    short = _REFERENCE_SENTENCE.sub("", short)
    short = _REFERENCE_PAREN.sub("", short)
    short = _REFERENCE_PHRASE.sub(lambda m: m[0] if _TELLS_EXTENT.search(m.string[: m.start()]) else " ", short)
    for pattern, instead in _LEFT_OVER:
        short = pattern.sub(instead, short)
    return short.strip()
