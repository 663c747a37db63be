"""What a sentence says by rules alone.

Which SUVmax goes with which slice, how many lesions, and why there is no pair where there is none.
"""

import itertools
import re
from collections.abc import Callable
from dataclasses import dataclass

from pipelines.reports.rules.expressions import find_expressions
from pipelines.reports.rules.roles import LESION_NOUN
from pipelines.reports.rules.values import Expressions, Role, SliceNumber, SuvValue
from pipelines.reports.vocabulary.text import clean, lower
from pipelines.tables.outcomes import Outcome

LOGIC_VERSION = 3


@dataclass(frozen=True)
class Lesion:
    """One lesion of a sentence with its own SUVmax and slice.

    `start` and `end` are its part of the sentence, half-open.
    """

    slice: int
    suvmax: float
    start: int
    end: int


@dataclass(frozen=True)
class Extraction:
    """What the rules make of one sentence.

    `lesions` holds the pairs that can be told apart (empty where none can). `slice` and `suvmax` are the sentence's
    values as far as they are known, also where there is no pair to accept. `reason` is null exactly where `lesions` is
    not empty; `note` says it in words.
    """

    lesions: tuple[Lesion, ...]
    n_lesions: int
    is_current: bool
    slice: int | None
    suvmax: float | None
    reason: Outcome | None
    note: str


_LESIONS_PLURAL = (
    r"(?:nodes|nodules|lesions|foci|masses|metastases|mets|deposits|implants|areas|regions|sites|tumou?rs|opacities"
    r"|lymphadenopathies|vertebrae|ribs|kidneys|adrenals|lungs|tonsils|glands|ureters|plaques|uptakes|hotspots"
    r"|abnormalities)"
)
_SEVERAL = re.compile(
    r"\b(?:two|three|four|five|six|seven|eight|nine|ten|multiple|several|numerous|innumerable|many|few|couple|both"
    r"|various|scattered|bilateral|multifocal|other)\b"
    rf"(?:[\s,/-]+[a-z'/-]+){{0,6}}?[\s-]+{_LESIONS_PLURAL}\b"
)
_INDEX = re.compile(
    r"\b(?:largest|biggest|most|hottest|index|dominant|representative|reference\s+lesion|greatest|highest|brightest"
    r"|for\s+example|for\s+instance|example|e\.?g|including|include[sd]?|such\s+as|one\s+of|one\s+in|one\s+at"
    r"|one\s+with|one\s+being|one\s+on|the\s+one|notabl[ey]|particularly|especially|specifically"
    r"|maximally|max(?:imum)?\s+(?:suv|standard)|with\s+the|conglomerate|maximal|predominant\w*|worst"
    r"|lead(?:ing)?|target|(?:an?|the)\s+(?:left|right|superior|inferior|upper|lower|medial|lateral|anterior|posterior"
    r"|small|large|enlarged|single|specific|new)\b)"
)
_UP_TO_ONE = re.compile(
    r"\b(?:up\s+to|as\s+high\s+as|reaching)\s+(?:an?\s+)?(?:suv[\s_-]*(?:max\w*)?\s*(?:of\s+)?)?\d+(?:\.\d+)?\s*"
    r"(?:[(\[,]\s*(?!(?:axial|transaxial|fused|pet|ct|on|at|series|se|ser|slices?|images?|img|im[as]?|sl|slc)\b)[a-z]"
    r"|(?:in|at|within|of)\s+(?:the\s+|an?\s+)?(?!(?:axial|fused|pet|ct|series|slice|image|im)\b)[a-z])"
)
"""Of several with an SUV "up to 10.4 (L2, slice 161)" one is named."""
_COMPARE_WORD = (
    r"(?:above|than|exceed\w*|below|over|similar\s+to|equal\s+to|compared\s+(?:to|with)|relative\s+to|versus|vs\.?"
    r"|beyond|near|to|with|from)"
)
_TEMPLATE_LEAD = re.compile(
    r"^\W*(?:\w+:\s*)?(?:for\s+(?:reference|comparison)\b|as\s+a\s+reference\b|(?:\w+\s+)?reference\s+(?:region"
    r"|value|uptake|standard|activity|suv\w*)\b|background\b)"
)
_REFERENCE_SUBJECT = re.compile(
    rf"(?<!\w)(?P<compared>{_COMPARE_WORD}\s+(?:the\s+|that\s+of\s+|normal\s+|mediastinal\s+|adjacent\s+"
    rf"|surrounding\s+|background\s+|physiologic\s+|regional\s+|level\s+of\s+)*)?"
    r"(?:blood[\s-]?pool|background|bloodpool|reference\s+(?:liver|region|blood))"
)
_NAMED_REFERENCE = re.compile(
    r"\((?:internal\s+)?reference\)|\b(?:as|for)\s+(?:an?\s+)?(?:\w+\s+)?(?:reference|comparison)\b"
)
_REFERENCE_ORGAN = re.compile(
    r"\b(?:liver|hepatic|spleen|splenic|mediastin\w+|aort\w+|cerebell\w+|muscle|marrow|gluteal)\b"
)
_REGION_FIRST = re.compile(
    r"^\W*(?:the\s+)?(?:(?:normal|reference|uninvolved|right|left|mean|average|max|maximum)\s+)*(?:liver"
    r"|hepatic(?:\s+(?:parenchym\w+|lobe|activity|uptake))?|mediastin\w+|aort\w+|thoracic\s+aorta|aortic\s+arch"
    r"|descending\s+aorta)(?:\s+(?:activity|uptake|mean|average))?\s*[:,(\-]?\s*(?:(?:has|had|is|was|with|shows"
    r"|demonstrates|measures)\s+)?(?:(?:homogen\w+|normal|physiologic\w*)\s+(?:fdg\s+|tracer\s+)?(?:uptake|activity)\s+with\s+)?(?:an?\s+)?(?:max(?:imum)?\s+|mean\s+|average\s+)?(?:suv|standardi[sz]ed\s+uptake)"
)
_NO_LESION = re.compile(
    r"\b(?:no|without)\s+(?:(?:any|focal|discrete|suspicious|hypermetabolic|avid|fdg[\s-]avid|evident|definite)\s+)*(?:lesions?|mass(?:es)?"
    r"|foci|focus|metasta\w+)\b"
)
_EVEN_LIVER = re.compile(
    r"^\W*(?:the\s+)?liver\s+(?:is|shows|demonstrates|appears|has)\s+(?:\w+\s+){0,2}?(?:homogen\w+|normal|unremarkable|uniform)\b"
)
_RESPECTIVELY = re.compile(r"\b(?:respective(?:ly)?|resp\.|in\s+(?:that|this|the\s+same)\s+order)")
_CUT = re.compile(r"\s*(?:;|,?\s*\b(?:and|while|whereas|as\s+well\s+as|along\s+with|plus)\b|\.\s|,|\n)\s*(?:and\s+)?")


def extract(text: str) -> Extraction:
    """The pairs of slice and SUVmax that a sentence gives, or why it gives none.

    Args:
        text: the sentence as it stands in the report. Spans in the result are positions in it.
    """
    flat = lower(clean(text))
    found = find_expressions(flat)
    shown_suv = found.suvs[0].value if found.suvs else None
    shown_slice = _first_slice(found)

    def none(reason: Outcome, note: str, n_lesions: int = 1, is_current: bool = True) -> Extraction:
        return Extraction((), n_lesions, is_current, shown_slice, shown_suv, reason, note)

    if is_template(text):
        return none(Outcome.TEMPLATE, "the sentence reports the uptake of a reference region", 0)
    if not found.suvs:
        return none(Outcome.NO_SUVMAX, "no number goes with an SUV")
    suvs = [v for v in found.suvs if v.role is Role.CURRENT]
    if any(v.role is Role.RANGE for v in found.suvs) and not suvs:
        values = [v.value for v in found.suvs if v.role is Role.RANGE]
        return none(Outcome.SEVERAL_LESIONS, f"the SUV is a range, {values[0]:g} to {values[-1]:g}", 2)
    if not suvs:
        roles = {v.role for v in found.suvs}
        if Role.PRIOR in roles:
            return none(Outcome.NOT_CURRENT, "the SUV is of a prior exam", 1, False)
        if Role.REFERENCE in roles:
            return none(Outcome.TEMPLATE, "the SUV is of a reference region", 0)
        if Role.BOUND in roles:
            return none(Outcome.NO_SUVMAX, "the SUV is a bound, not a value")
        return none(Outcome.NO_SUVMAX, "the SUV is a mean, a peak or a minimum")
    shown_suv = suvs[0].value
    suvs = _without_repetitions(suvs)
    slices = _usable_slices(flat, found, suvs)
    last_of_range = max((v.end for v in found.suvs if v.role is Role.RANGE), default=None)
    first_of_range = min((v.start for v in found.suvs if v.role is Role.RANGE), default=0)
    before_range = [s for s in slices if s.end <= first_of_range]
    if last_of_range is not None and suvs[-1].end <= first_of_range and len(before_range) == len(suvs):
        # "tumour with SUV 17.1 (slice 38), nodes with SUV 6.0 to 12.5": each value before the range has its slice.
        slices = before_range
    elif last_of_range is not None:
        # "nodes with SUV 3 to 9, the hottest in the right axilla with SUV 9 (slice 88)": the range is the others'.
        if len(suvs) > 1 or _INDEX.search(flat, last_of_range, max(last_of_range, suvs[0].start)) is None:
            return none(Outcome.SEVERAL_LESIONS, "one SUV is a value and another is a range", 2)
        slices = [s for s in slices if s.start > last_of_range]
    if not slices:
        return _no_slice(found, none, suvs)
    shown_slice = slices[0].number
    if len(suvs) == 1:
        chosen = _slice_of(flat, suvs[0], slices)
        if chosen is None:
            numbers = ", ".join(str(s.number) for s in slices)
            return none(
                Outcome.SEVERAL_LESIONS, f"one SUV and several slices ({numbers}) that it could go with", len(slices)
            )
        n_lesions = _count(flat)
        return Extraction(
            (Lesion(chosen.number, suvs[0].value, 0, len(text)),),
            n_lesions,
            True,
            chosen.number,
            suvs[0].value,
            None,
            "",
        )
    pairs = _pairs(flat, suvs, slices)
    if pairs is None:
        return none(
            Outcome.SEVERAL_LESIONS,
            f"{len(suvs)} SUVs and {len(slices)} slice{'s' if len(slices) > 1 else ''}, not each SUV with a slice "
            f"of its own",
            len(suvs),
        )
    lesions = _with_spans(text, flat, pairs)
    return Extraction(lesions, len(lesions), True, lesions[0].slice, lesions[0].suvmax, None, "")


def _goes_on_to_a_lesion(flat: str) -> bool:
    """Whether a lesion is named before a value of its own: "With a blood pool SUV of 2.0, the node has SUV 4.2"."""
    last = max((v.start for v in find_expressions(flat).suvs if v.role is Role.CURRENT), default=0)
    return LESION_NOUN.search(flat, 0, last) is not None


def is_template(text: str) -> bool:
    """Whether a sentence only reports the uptake of a reference region ("Background liver ...", "Blood pool SUVmax
    ...").
    """
    flat = lower(clean(text))
    word = re.search(r"suv|standard\w*\s+uptake", flat)
    before = _NO_LESION.sub(" ", flat[: word.start()] if word else flat)
    if _EVEN_LIVER.match(flat) and not LESION_NOUN.search(before):
        return True
    if LESION_NOUN.search(before) or _goes_on_to_a_lesion(flat):
        return False
    if _TEMPLATE_LEAD.match(flat) or (_NAMED_REFERENCE.search(flat) and _REFERENCE_ORGAN.search(before)):
        return True
    subject = _REFERENCE_SUBJECT.search(before) or (word and _REFERENCE_SUBJECT.match(flat, word.end()))
    if subject and not subject["compared"]:
        return True
    return _REGION_FIRST.match(flat) is not None


# --- slices ----------------------------------------------------------------------------------------------------------


def _first_slice(found: Expressions) -> int | None:
    usable = [s for s in found.slices if s.role in (Role.CURRENT, Role.LIST)] or found.slices
    return usable[0].number if usable else None


def _no_slice(found: Expressions, none: Callable[..., Extraction], suvs: list[SuvValue]) -> Extraction:
    roles = [s.role for s in found.slices]
    if Role.RANGE in roles:
        first, *_, last = (s.number for s in found.slices if s.role is Role.RANGE)
        return none(Outcome.NO_SLICE, f"slices {first} to {last} are given, not one")
    if Role.LIST in roles:
        numbers = ", ".join(str(s.number) for s in found.slices if s.role is Role.LIST)
        return none(
            Outcome.SEVERAL_LESIONS,
            f"several slices ({numbers}) for {len(suvs)} SUV{'s' if len(suvs) > 1 else ''}",
            max(2, len(suvs)),
        )
    if Role.OTHER_PLANE in roles:
        return none(Outcome.NO_SLICE, "the slice is of a coronal or sagittal view")
    if Role.PRIOR in roles:
        return none(Outcome.NO_SLICE, "the slice is of a prior exam")
    return none(Outcome.NO_SLICE, "no number goes with a slice")


def _usable_slices(flat: str, found: Expressions, suvs: list[SuvValue]) -> list[SliceNumber]:
    """The current exam's slices, each number once; listed ones only where they are as many as the SUVs."""
    current = [s for s in found.slices if s.role is Role.CURRENT]
    listed = [s for s in found.slices if s.role is Role.LIST]
    if listed:
        together = sorted(current + listed, key=lambda s: s.start)
        if len(suvs) > 1 and len(together) == len(suvs):
            return together
        if not current:
            return []
    others = [v for v in found.suvs if v.role in (Role.PRIOR, Role.REFERENCE)]
    if len(current) > 1 and others:
        # A slice that stands nearer to a prior or reference value than to any current one is that value's.
        mine = [
            s for s in current if min(_distance(flat, v, s) for v in suvs) <= min(_distance(flat, v, s) for v in others)
        ]
        current = mine or current
    if len(suvs) > 1:
        return current
    unique: list[SliceNumber] = []
    for item in current:
        if item.number not in [u.number for u in unique]:
            unique.append(item)
    return unique


def _distance(flat: str, suv: SuvValue, item: SliceNumber) -> float:
    """Characters between an SUV and a slice, more where a clause ends between them."""
    between = flat[suv.end : item.start] if suv.end <= item.start else flat[item.end : suv.start]
    cost = float(len(between)) + 80 * between.count(";") + 5 * between.count(",")
    cost += 60 * len(re.findall(r"[.!?]\s|\n", between)) + 25 * len(
        re.findall(r"\b(?:and|while|whereas|but)\b", between)
    )
    # A closing parenthesis before an opening one means that each number stands in a parenthesis of its own.
    return cost + (10 if re.search(r"\).*\(", between) else 0)


def _slice_of(flat: str, suv: SuvValue, slices: list[SliceNumber]) -> SliceNumber | None:
    if len(slices) == 1:
        return slices[0]
    pet = [s for s in slices if re.search(r"\bpet\b(?!\s*/?\s*ct)[^();,\d]*$", flat[max(0, s.start - 40) : s.start])]
    ct = [
        s
        for s in slices
        if re.search(
            r"(?<!/)(?<!/ )\bct\b[^();,\d]*(?:series\s*\d+\s*,?)?[^();,\d]*$", flat[max(0, s.start - 40) : s.start]
        )
    ]
    if len(pet) == 1 and (len(ct) >= len(slices) - 1 or len(slices) == 2):
        return pet[0]
    if len(ct) == len(slices) - 1:
        return next(s for s in slices if s not in ct)
    ranked = sorted(slices, key=lambda s: _distance(flat, suv, s))
    best, second = (_distance(flat, suv, s) for s in ranked[:2])
    return ranked[0] if second - best >= 12 else None


# --- pairs -----------------------------------------------------------------------------------------------------------


def _without_repetitions(suvs: list[SuvValue]) -> list[SuvValue]:
    """SUVs without one that repeats the value right before it ("SUV max 6.5 ... the SUV of 6.5")."""
    if len({v.value for v in suvs}) == 1:
        return suvs[:1]
    return suvs


def _pairs(flat: str, suvs: list[SuvValue], slices: list[SliceNumber]) -> list[tuple[SuvValue, SliceNumber]] | None:
    if len(slices) > len(suvs):
        kept = []
        left = list(slices)
        for suv in suvs:
            nearest = min(left, key=lambda s: _distance(flat, suv, s))
            kept.append(nearest)
            left.remove(nearest)
        slices = sorted(kept, key=lambda s: s.start)
    if len(slices) != len(suvs):
        return None
    pairs = list(zip(suvs, slices, strict=True))
    if _RESPECTIVELY.search(flat):
        return pairs
    spans = [(min(v.start, s.start), max(v.end, s.end)) for v, s in pairs]
    if any(a[1] > b[0] for a, b in itertools.pairwise(spans)):
        return None
    return pairs


def _with_spans(text: str, flat: str, pairs: list[tuple[SuvValue, SliceNumber]]) -> tuple[Lesion, ...]:
    spans = [(min(v.start, s.start), max(v.end, s.end)) for v, s in pairs]
    if any(a[1] > b[0] for a, b in itertools.pairwise(spans)):
        # "SUVs of 4.2 and 5.1 on slices 88 and 92, respectively": the words cannot be told apart, so each lesion
        # has them all.
        return tuple(Lesion(s.number, v.value, 0, len(text)) for v, s in pairs)
    cuts = [0]
    for a, b in itertools.pairwise(spans):
        cut = _CUT.search(flat, a[1], b[0])
        if cut is not None:
            cuts.append(cut.end())
        else:
            paren = flat.find(")", a[1], b[0])
            cuts.append(paren + 1 if paren >= 0 else a[1])
    cuts.append(len(text))
    lesions = []
    for (suv, item), start, end in zip(pairs, cuts, cuts[1:], strict=False):
        start, end = _trim(text, start, end)
        lesions.append(Lesion(item.number, suv.value, start, end))
    return tuple(lesions)


_TAIL = re.compile(r"[\s,;]*(?:\b(?:and|while|whereas|as well as|along with|plus)\b)?[\s,;]*$", re.IGNORECASE)


def _trim(text: str, start: int, end: int) -> tuple[int, int]:
    while start < end and (text[start].isspace() or text[start] in ",;"):
        start += 1
    match = _TAIL.search(text[start:end])
    if match is not None and match.start() > 0:
        end = start + match.start()
    return start, end


def _count(flat: str) -> int:
    """How many lesions a sentence with one pair names: 2 where it names several and points at none of them."""
    several = _SEVERAL.search(flat)
    if several is None:
        return 1
    # "two lesions: segment 7, SUV 7.7": what follows the colon is one of them.
    is_listed = re.match(r"[^.;:]*:\s*\w", flat[several.end() :]) is not None
    return 1 if is_listed or _INDEX.search(flat) or _UP_TO_ONE.search(flat) else 2
