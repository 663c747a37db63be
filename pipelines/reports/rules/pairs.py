"""What a sentence says by rules alone.

Which SUVmax goes with which slice, how many lesions, and why there is no lesion where there is none.
"""

import itertools
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from pipelines.reports.rules.expressions import find_expressions
from pipelines.reports.rules.values import Expressions, Role, SliceNumber, SuvValue
from pipelines.reports.vocabulary.cues import Cues
from pipelines.reports.vocabulary.vocabulary import Vocabulary, package_vocabulary
from pipelines.tables.outcomes import Outcome

_REACH = 40
"""Characters before a slice that can say which images it counts."""
_CLEARLY_NEARER = 12
"""Characters by which a slice must be nearer to the SUV than the next one."""
_UNLINKED = 150.0
"""Distance, in characters with the additions of `_distance`, from which an SUV and a slice are rather left alone."""
_MAX_LINKS = 900
"""SUVs times slices of a unit above which it is no sentence, and nothing is linked."""
_SENTENCE_END = re.compile(r"[.!?]\s|\n")
_CLOSES_AND_OPENS = re.compile(r"\).*\(")
_LIST_FOLLOWS = re.compile(r"[^.;:]*:\s*\w")

Link = tuple[SuvValue, SliceNumber | None]


@dataclass(frozen=True)
class Lesion:
    """One lesion of a sentence with its own SUVmax, and its slice where it has one.

    `start` and `end` are its part of the sentence, half-open.
    """

    slice: int | None
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


def extract(text: str, vocabulary: Vocabulary | None = None) -> Extraction:
    """The pairs of slice and SUVmax that a sentence gives, or why it gives none.

    Args:
        text: the sentence as it stands in the report. Spans in the result are positions in it.
        vocabulary: by default the package's.
    """
    words = vocabulary or package_vocabulary()
    if not words.is_read:
        why = f"the rules do not read the language ({words.language})"
        return _Shown(None, None).none(Outcome.OTHER_LANGUAGE, why)
    read = words.read(text)
    found = _extracted(read.text, words.english)
    spans = [read.original(x.start, x.end) for x in found.lesions]
    lesions = tuple(replace(x, start=a, end=b) for x, (a, b) in zip(found.lesions, spans, strict=True))
    return replace(found, lesions=lesions)


def _extracted(flat: str, vocabulary: Vocabulary) -> Extraction:
    text, cues = flat, vocabulary.cues
    found = find_expressions(flat, vocabulary)
    shown = _Shown(_first_slice(found), found.suvs[0].value if found.suvs else None)
    if _is_template(flat, vocabulary):
        return shown.none(Outcome.TEMPLATE, "the sentence reports the uptake of a reference region", 0)
    suvs = [v for v in found.suvs if v.role is Role.CURRENT]
    if not suvs:
        return _no_suv(found, shown)
    shown = replace(shown, suvmax=suvs[0].value)
    slices = _usable_slices(flat, found, suvs, cues)
    suvs = _without_repetitions(suvs, slices)
    ranges = [v for v in found.suvs if v.role is Role.RANGE]
    if ranges:
        beside = _slices_beside_range(flat, ranges, suvs, slices, cues)
        if beside is None:
            return shown.none(Outcome.SEVERAL_LESIONS, "one SUV is a value and another is a range", 2)
        slices = beside
    shown = replace(shown, slice=slices[0].number if slices else None)
    if len(suvs) == 1:
        number = _slice_of(flat, suvs[0], slices, cues) if slices else None
        only = Lesion(number.number if number else None, suvs[0].value, 0, len(text))
        note = "" if number else _why_no_slice(found, slices)
        return Extraction((only,), _count(flat, cues), True, only.slice, only.suvmax, None, note)
    links = _links(flat, suvs, slices, cues)
    if links is None or sum(cues["timed_value"].match(flat, v.end) is not None for v in suvs) > 1:
        n_slices = f"{len(slices)} slice{'s' if len(slices) > 1 else ''}"
        why = f"{len(suvs)} SUVs and {n_slices}, not each SUV with a slice of its own"
        return shown.none(Outcome.SEVERAL_LESIONS, why, len(suvs))
    links = [link for link in links if link[1] is not None or link[0].is_near] or links[:1]
    lesions = _with_spans(text, flat, links, cues)
    return Extraction(lesions, len(lesions), True, lesions[0].slice, lesions[0].suvmax, None, "")


@dataclass(frozen=True)
class _Shown:
    """The values that a sentence without a pair is shown with."""

    slice: int | None
    suvmax: float | None

    def none(self, reason: Outcome, note: str, n_lesions: int = 1, is_current: bool = True) -> Extraction:
        return Extraction((), n_lesions, is_current, self.slice, self.suvmax, reason, note)


def _no_suv(found: Expressions, shown: _Shown) -> Extraction:
    """Why a sentence without an SUV of this exam gives no pair."""
    if not found.suvs:
        return shown.none(Outcome.NO_SUVMAX, "no number goes with an SUV")
    roles = {v.role for v in found.suvs}
    if Role.RANGE in roles:
        values = [v.value for v in found.suvs if v.role is Role.RANGE]
        return shown.none(Outcome.SEVERAL_LESIONS, f"the SUV is a range, {values[0]:g} to {values[-1]:g}", 2)
    if Role.PRIOR in roles:
        return shown.none(Outcome.NOT_CURRENT, "the SUV is of a prior exam", 1, False)
    if Role.REFERENCE in roles:
        return shown.none(Outcome.TEMPLATE, "the SUV is of a reference region", 0)
    if Role.BOUND in roles:
        return shown.none(Outcome.NO_SUVMAX, "the SUV is a bound, not a value")
    return shown.none(Outcome.NO_SUVMAX, "the SUV is a mean, a peak or a minimum")


def _slices_beside_range(
    flat: str, ranges: Sequence[SuvValue], suvs: Sequence[SuvValue], slices: Sequence[SliceNumber], cues: Cues
) -> list[SliceNumber] | None:
    """The slices of the SUVs that are no range, null where the range may be of the same lesions."""
    begin, end = min(v.start for v in ranges), max(v.end for v in ranges)
    before = [s for s in slices if s.end <= begin]
    if suvs[-1].end <= begin and len(before) == len(suvs):
        # "tumour with SUV 17.1 (slice 38), nodes with SUV 6.0 to 12.5": each value before the range has its slice.
        return before
    # "nodes with SUV 3 to 9, the hottest in the right axilla with SUV 9 (slice 88)": the range is the others'.
    if len(suvs) > 1 or cues["index"].search(flat, end, max(end, suvs[0].start)) is None:
        return None
    return [s for s in slices if s.start > end]


def is_template(text: str, vocabulary: Vocabulary | None = None) -> bool:
    """Whether a sentence only reports the uptake of a reference region ("Background liver ...", "Blood pool SUVmax
    ...").
    """
    words = vocabulary or package_vocabulary()
    return _is_template(words.read(text).text, words.english)


def _is_template(flat: str, vocabulary: Vocabulary) -> bool:
    cues = vocabulary.cues
    word = cues["suv_subject"].search(flat)
    before = cues["no_lesion"].sub(" ", flat[: word.start()] if word else flat)
    names_lesion = cues["lesion"].search(before) is not None
    if cues["even_liver"].match(flat) and not names_lesion:
        return True
    # "With a blood pool SUV of 2.0, the node has SUV 4.2": a lesion is named before a value of its own.
    last = max((v.start for v in find_expressions(flat, vocabulary).suvs if v.role is Role.CURRENT), default=0)
    if names_lesion or cues["lesion"].search(flat, 0, last):
        return False
    if cues["template_leads"].match(flat):
        return True
    if cues["named_reference"].search(flat) and cues["reference_organ"].search(before):
        return True
    subject = cues["template_subject"].search(before)
    if subject is None and word is not None:
        subject = cues["template_subject"].match(flat, word.end())
    if subject and not subject["compared"]:
        return True
    return cues["template_organ_leads"].match(flat) is not None


# --- slices ----------------------------------------------------------------------------------------------------------


def _first_slice(found: Expressions) -> int | None:
    usable = [s for s in found.slices if s.role in (Role.CURRENT, Role.LIST)] or found.slices
    return usable[0].number if usable else None


def _why_no_slice(found: Expressions, usable: Sequence[SliceNumber]) -> str:
    """Why no slice goes with the only SUV."""
    roles = {s.role: s for s in found.slices}
    numbers = ", ".join(str(s.number) for s in usable or found.slices)
    if usable or Role.LIST in roles:
        return f"one SUV and several slices ({numbers}) that it could go with"
    if Role.RANGE in roles:
        return f"slices {numbers} are the ends of a span, not one slice"
    if Role.OTHER_PLANE in roles:
        return "the slice is of a coronal or sagittal view"
    return "the slice is of a prior exam" if Role.PRIOR in roles else "no number goes with a slice"


def _usable_slices(flat: str, found: Expressions, suvs: list[SuvValue], cues: Cues) -> list[SliceNumber]:
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
        def nearest(values: Sequence[SuvValue], item: SliceNumber) -> float:
            best = math.inf
            for value in sorted(values, key=lambda v: _gap(v, item)):
                if _gap(value, item) >= best:  # A distance is never less than the gap: none further away is nearer.
                    break
                best = min(best, _distance(flat, value, item, cues))
            return best

        mine = [s for s in current if nearest(suvs, s) <= nearest(others, s)]
        current = mine or current
    if len(suvs) > 1:
        return current
    unique: list[SliceNumber] = []
    for item in current:
        if item.number not in [u.number for u in unique]:
            unique.append(item)
    return unique


def _gap(suv: SuvValue, item: SliceNumber) -> int:
    """Characters between an SUV and a slice."""
    return max(item.start - suv.end, suv.start - item.end, 0)


def _distance(flat: str, suv: SuvValue, item: SliceNumber, cues: Cues) -> float:
    """Characters between an SUV and a slice, more where a clause ends between them."""
    between = flat[suv.end : item.start] if suv.end <= item.start else flat[item.end : suv.start]
    cost = float(len(between)) + 80 * between.count(";") + 5 * between.count(",")
    cost += 60 * len(_SENTENCE_END.findall(between)) + 25 * len(cues["other_lesion_joins"].findall(between))
    # A closing parenthesis before an opening one means that each number stands in a parenthesis of its own.
    return cost + (10 if _CLOSES_AND_OPENS.search(between) else 0)


def _slice_of(flat: str, suv: SuvValue, slices: Sequence[SliceNumber], cues: Cues) -> SliceNumber | None:
    """The slice of the only SUV: the PET's where it is told from the CT's, else the one that is clearly nearest."""
    if len(slices) == 1:
        return slices[0]
    pet, ct = (
        [s for s in slices if cues[name].search(flat[max(0, s.start - _REACH) : s.start])]
        for name in ("pet_before", "ct_before")
    )
    if len(pet) == 1 and (len(ct) >= len(slices) - 1 or len(slices) == 2):
        return pet[0]
    if len(ct) == len(slices) - 1:
        return next(s for s in slices if s not in ct)
    ranked = sorted(slices, key=lambda s: _distance(flat, suv, s, cues))
    best, second = (_distance(flat, suv, s, cues) for s in ranked[:2])
    return ranked[0] if second - best >= _CLEARLY_NEARER else None


# --- links -----------------------------------------------------------------------------------------------------------


def _without_repetitions(suvs: list[SuvValue], slices: Sequence[SliceNumber]) -> list[SuvValue]:
    """SUVs without one that repeats the first ("SUV max 6.5 ... the SUV of 6.5"), unless each has a slice."""
    return suvs[:1] if len({v.value for v in suvs}) == 1 and len(slices) < len(suvs) else suvs


def _links(flat: str, suvs: Sequence[SuvValue], slices: Sequence[SliceNumber], cues: Cues) -> list[Link] | None:
    """Each SUV with its slice, null for one without; null in all where the SUVs cannot be told apart."""
    in_order = cues["respectively"].search(flat) is not None
    if in_order and len(slices) == len(suvs):
        return list(zip(suvs, slices, strict=True))
    if len(suvs) * len(slices) > _MAX_LINKS:
        return None
    shared = _shared_slice(flat, suvs, slices, cues)
    are_listed = any(
        cues["value_list_gap"].fullmatch(flat, a.end, b.start) is not None for a, b in itertools.pairwise(suvs)
    )
    if are_listed and not (in_order and not slices) and not (shared and _counted(flat, cues) == len(suvs)):
        return None
    if shared is not None:
        return [(v, shared) for v in suvs]
    links = _aligned(flat, suvs, slices, cues)
    spans = [_span(link) for link in links]
    return None if any(a[1] > b[0] for a, b in itertools.pairwise(spans)) else links


def _counted(flat: str, cues: Cues) -> int | None:
    """How many lesions a sentence says that it names."""
    told = cues["counted_lesions"].search(flat)
    if told is None:
        return None
    words = cues.categories["number_word"].literals
    count = told["count"]
    return 2 if count == "both" else words.index(count) + 1 if count in words else int(count)


def _shared_slice(flat: str, suvs: Sequence[SuvValue], slices: Sequence[SliceNumber], cues: Cues) -> SliceNumber | None:
    """The only slice where it is that of all SUVs: it stands before all that is found there, or is said to be."""
    if len({s.number for s in slices}) != 1:
        return None
    first = slices[0]
    # "on image 88 a node with SUV 4 and a mass with SUV 5", "two nodules on image 88, SUV 4 and 5"
    is_all = cues["lesion_mention"].search(flat, 0, first.start) is None or _counted(flat, cues) == len(suvs)
    leads = first.end <= suvs[0].start and is_all
    return first if leads or cues["same_slice"].search(flat) else None


def _aligned(flat: str, suvs: Sequence[SuvValue], slices: Sequence[SliceNumber], cues: Cues) -> list[Link]:
    """SUVs and slices linked in their order so that the distances are least; what is far from all stays alone."""
    best: dict[tuple[int, int], tuple[float, tuple[Link, ...]]] = {(0, 0): (0.0, ())}
    for i, j in itertools.product(range(len(suvs) + 1), range(len(slices) + 1)):
        options = [best[0, 0]] if i == j == 0 else []
        if j:
            cost, links = best[i, j - 1]
            options.append((cost + _UNLINKED, links))
        if i:
            cost, links = best[i - 1, j]
            options.append((cost + _UNLINKED, (*links, (suvs[i - 1], None))))
        if i and j:
            cost, links = best[i - 1, j - 1]
            pair = suvs[i - 1], slices[j - 1]
            is_far = len(slices) < len(suvs) and _may_be_others(flat, *pair, suvs, cues)
            options.append((cost + (math.inf if is_far else _distance(flat, *pair, cues)), (*links, pair)))
        best[i, j] = min(options, key=lambda option: option[0])
    return list(best[len(suvs), len(slices)][1])


def _may_be_others(flat: str, suv: SuvValue, item: SliceNumber, suvs: Sequence[SuvValue], cues: Cues) -> bool:
    """Whether a slice behind several SUVs may as well be another one's than `suv`'s, or of all of them."""
    if any(suv.end <= v.start < item.start or item.end <= v.start < suv.start for v in suvs):
        return True
    return suv is not suvs[0] and cues["trails"].fullmatch(flat, suv.end, item.start) is not None


def _span(link: Link) -> tuple[int, int]:
    suv, item = link
    return (suv.start, suv.end) if item is None else (min(suv.start, item.start), max(suv.end, item.end))


def _with_spans(text: str, flat: str, links: Sequence[Link], cues: Cues) -> tuple[Lesion, ...]:
    spans = [_span(link) for link in links]
    if len({item and item.number for _, item in links}) == 1:
        # A slice that they share is in no one's part.
        spans = [(v.start, v.end) for v, _ in links]
    if any(a[1] > b[0] for a, b in itertools.pairwise(spans)):
        # "SUVs of 4.2 and 5.1 on slices 88 and 92, respectively": the words cannot be told apart, so each lesion
        # has them all.
        return tuple(Lesion(s.number if s else None, v.value, 0, len(text)) for v, s in links)
    cuts = [0]
    for a, b in itertools.pairwise(spans):
        begin = _end_of_lesion(flat, a[1], b[0], cues)
        cut = cues["joins_lesions"].search(flat, begin, b[0])
        cuts.append(cut.end() if cut is not None else begin)
    cuts.append(len(text))
    lesions = []
    for (suv, item), start, end in zip(links, cuts, cuts[1:], strict=False):
        start, end = _trim(text, start, end, cues)
        lesions.append(Lesion(item.number if item else None, suv.value, start, end))
    return tuple(lesions)


def _end_of_lesion(flat: str, end: int, limit: int, cues: Cues) -> int:
    """Where a lesion's own words end at the least: behind its prior value and the parenthesis that it stands in."""
    prior = cues["prior_value_follows"].match(flat, end, limit)
    end = prior.end() if prior is not None else end
    closes, opens = flat.find(")", end, limit), flat.find("(", end, limit)
    return closes + 1 if closes >= 0 and (opens < 0 or closes < opens) else end


def _trim(text: str, start: int, end: int, cues: Cues) -> tuple[int, int]:
    while start < end and (text[start].isspace() or text[start] in ",;"):
        start += 1
    match = cues["dangling"].search(text[start:end])
    if match is not None and match.start() > 0:
        end = start + match.start()
    return start, end


def _count(flat: str, cues: Cues) -> int:
    """How many lesions a sentence with one pair names: 2 where it names several and points at none of them."""
    several = cues["several"].search(flat)
    if several is None:
        return 1
    # "two lesions: segment 7, SUV 7.7": what follows the colon is one of them.
    is_listed = _LIST_FOLLOWS.match(flat, several.end()) is not None
    return 1 if is_listed or cues["index"].search(flat) or cues["up_to_one"].search(flat) else 2
