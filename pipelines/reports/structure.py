"""A finding's sentence as fields.

Region, organ, sub-site, side, change since the prior exam; and its text without slice references.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from pipelines.reports.rules.expressions import find_expressions
from pipelines.reports.rules.number_kinds import may_have_slice, spaces
from pipelines.reports.rules.values import Role, SuvValue
from pipelines.reports.vocabulary.cues import Cues
from pipelines.reports.vocabulary.lexicon import (
    ABDOMEN_PELVIS,
    CHEST,
    HEAD_NECK,
    LATERALITIES,
    MUSCULOSKELETAL,
    WORD,
    Term,
)
from pipelines.reports.vocabulary.text import clean, lower, squeeze
from pipelines.reports.vocabulary.vocabulary import Vocabulary, package_vocabulary


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


@dataclass(frozen=True)
class AnatomyMention:
    """A word or phrase of the lexicon in a text, at `start`..`end` (half-open)."""

    term: Term
    start: int
    end: int
    phrase: str


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
_ENDS_PHRASE = re.compile(r"[.;,:()]")
_ENDS_CLAUSE = re.compile(r"[);\d]")
_REACH_OF_PLACE = 25
"""A value this many characters behind a place is the place's."""
_REACH_OF_BESIDE = 60
"""Characters before a place that can say that the finding lies beside it."""
_REACH_OF_OTHER_SIDE = 70
"""Characters before a side that can say that it is the other one."""
SAME_SUV = 0.1
"""An SUVmax within this part of the prior one is no change: a lesion measured twice in a row differs by more."""
_LIST_MARKER = re.compile(r"^\s*(?:[-*•·]+|\(?\d{1,2}[.)](?!\d)|[a-z][.)])\s+")


def structure(text: str, section: str | None = None, vocabulary: Vocabulary | None = None) -> Fields:
    """Fields of one finding by rules and lexicon.

    Args:
        text: the finding's sentence(s) as they stand in the report.
        section: heading that it stands under; gives the region where the sentence names none.
        vocabulary: by default the package's.
    """
    words = vocabulary or package_vocabulary()
    return _structure(words.read(text).text, section, words.english)


def structure_of_place(organ: str | None, side: str | None) -> Fields:
    """Fields of a place by the lexicon; all null where neither organ nor side is known.

    Args:
        organ: class of a label map ("vertebrae_L3"), or what a reviewer wrote.
        side: left or right, of the body.
    """
    return structure(" ".join(filter(None, (side, organ and organ.replace("_", " ")))))


@lru_cache(maxsize=1024)
def _structure(flat: str, section: str | None, words: Vocabulary) -> Fields:
    return _fields(flat, _main_mention(flat, find_anatomy(flat, words), words), section, words)


def structure_parts(
    text: str, spans: Sequence[tuple[int, int]], section: str | None = None, vocabulary: Vocabulary | None = None
) -> list[Fields]:
    """Fields of each lesion of a sentence that names several, in order.

    Where the lesions share all words ("right axilla and left hilum with SUV 4 and 5, respectively") the places count
    in order. A part that leaves its place to the other words ("left SUVmax 4.1") has theirs.

    Args:
        spans: each lesion's part of the text, half-open.
    """
    words = vocabulary or package_vocabulary()
    if len(set(spans)) == 1:
        return _in_order(text, len(spans), section, words)
    out: list[Fields] = []
    n_placed = 0
    flat = words.read(text).text
    common = _common(flat[: spans[0][1]], words.english)
    change = _change_of_all(flat, spans, words)
    for start, end in spans:
        part = _named_part(flat, start, end, words.cues)
        own = structure(part, section, words)
        if own.laterality == "bilateral":
            # "Bilateral hila, SUVmax 4.6 on the right": of one lesion of several the one side counts.
            sides = {s.name for s in _sides(part, words.english)} - {"bilateral"}
            own = replace(own, laterality=sides.pop() if len(sides) == 1 else own.laterality)
        if own.comparison == "none":
            own = replace(own, comparison=change)
        if own.laterality is None and out and common is not None and own.organ == common.organ:
            own = replace(own, laterality=common.laterality)
        if find_anatomy(part, words.english):
            n_placed += 1
        else:
            own = _with_shared(own, text, structure(text[:end], section, words), section, words, n_placed)
        out.append(own)
    return out


def _change_of_all(flat: str, spans: Sequence[tuple[int, int]], words: Vocabulary) -> str:
    """The change that is said of all lesions of a sentence: "New lesions in L2 ..., T10 ...", "..., both unchanged"."""
    if words.cues["new_lesions"].search(flat):
        return "new"
    of_all = words.cues["of_all"].search(flat)
    if of_all is None:
        return "none"
    is_predicate = flat[of_all.start()] not in ",;("
    if is_predicate and words.cues["finite_verb"].search(flat, 0, of_all.start()):
        return "none"
    return comparison(of_all[0], words)


_LIST_NUMBER = re.compile(r"(?:\d{1,2}[lr]?|[ivx]{1,4})[ab]?\b(?![.,]\d|:\d)")


def _named_part(flat: str, start: int, end: int, cues: Cues) -> str:
    """A lesion's part of a sentence, with the word before the list that it goes on: "7 (SUV 9.0)" behind "stations 4R
    (SUV 7.7) and" is of station 7.
    """
    if _LIST_NUMBER.match(flat, start):
        lists = [m for m in WORD.finditer(flat, 0, start) if _singular(m[0]) in cues.words("numbered_places")]
        if lists and _LIST_NUMBER.match(flat, lists[-1].end() + 1):
            return f"{_singular(lists[-1][0])} {flat[start:end]}"
    return flat[start:end]


def _common(flat: str, words: Vocabulary) -> Fields | None:
    """Fields of what the items of a list have in common ("Nodes of the left neck: level II ..., level III ...")."""
    lead = words.cues["list_lead"].match(flat)
    return _structure(flat[: lead.end()], None, words) if lead is not None else None


def _with_shared(
    own: Fields, text: str, shared: Fields, section: str | None, words: Vocabulary, n_placed: int
) -> Fields:
    """Fields of a part without a place, which is that of the words before it (`shared`), or of all words."""
    shared = shared if shared.organ or shared.subsite else structure(text, section, words)
    # "bilateral" is both lesions' side together, not this one's.
    side = own.laterality or (None if shared.laterality == "bilateral" else shared.laterality)
    if n_placed > 1:
        # Where the others each name their place ("4R ...; 4L ...; 7 ..."), this one's is a name that the lexicon lacks.
        shared, side = replace(shared, subsite=None), own.laterality
    return replace(shared, laterality=side, comparison=own.comparison)


def _in_order(text: str, n: int, section: str | None, words: Vocabulary) -> list[Fields]:
    whole, flat = structure(text, section, words), words.read(text).text
    words = words.english
    generic = words.cues.words("generic_organ")
    named = (p for p in find_anatomy(flat, words) if p.term.region and not _is_beside(flat, p, words.cues))
    places = [p for p in named if p.term.subsite or p.term.organ not in generic]
    detailed = {p.term.organ for p in places if p.term.subsite}
    # Of "pulmonary nodules in the RUL and LLL" the first names them all.
    places = [p for p in places if p.term.subsite or p.term.organ not in detailed]
    if len(places) == n:
        ends = [0, *(p.end for p in places)]
        return [
            replace(
                _fields(flat, place, section, words),
                laterality=laterality(flat[end : place.end], None, words),
            )
            for place, end in zip(places, ends, strict=False)
        ]
    sides = [s for s in _sides(flat, words) if s.name in ("left", "right")]
    if len(sides) == n:
        return [replace(whole, laterality=side.name) for side in sides]
    return [replace(whole, laterality=None if whole.laterality == "bilateral" else whole.laterality) for _ in range(n)]


def _fields(flat: str, place: AnatomyMention | None, section: str | None, words: Vocabulary) -> Fields:
    headed = _of_section(section, words) if section else None
    if place is not None and headed is not None and headed.organ and _is_beside(flat, place, words.cues):
        # Under "Spleen", uptake "above liver" is the spleen's.
        place = None
    organ = region = subsite = None
    if place is not None:
        organ, region, subsite = _as_node_or_bone(flat, place, words.cues)
        if region is None:
            region = next((p.term.region for p in find_anatomy(flat, words) if p.term.region), None)
    if region is None and headed is not None:
        region, organ = headed.region, organ or headed.organ
    side = laterality(flat, place, words)
    if side is None and section:
        sides = sides_of(lower(clean(section)), words)
        side = sides.pop() if len(sides) == 1 else None
    return Fields(region, organ, subsite, side, comparison(flat, words))


def organs_of(flat: str, vocabulary: Vocabulary | None = None) -> set[str | None]:
    """Organs that a cleaned, lowered text names; a pole alone is no organ."""
    words = vocabulary or package_vocabulary()
    parts = words.cues.words("part_of_several_organs")
    return {p.term.organ for p in find_anatomy(flat, words) if p.phrase not in parts}


def names_anatomy(text: str, section: str | None = None, vocabulary: Vocabulary | None = None) -> bool:
    """Whether a finding says where it is: by any word of the lexicon, or by the heading that it stands under."""
    words = vocabulary or package_vocabulary()
    if find_anatomy(words.read(text).text, words.english):
        return True
    return bool(section) and _of_section(section or "", words.english) is not None


def _of_section(section: str, words: Vocabulary) -> Term | None:
    """What a heading names: an organ ("Thyroid"), or a region alone ("CHEST")."""
    places = find_anatomy(lower(clean(section)), words)
    if len(places) == 1 and places[0].term.organ not in words.cues.words("generic_organ"):
        return places[0].term
    region = section_region(section, words)
    return Term(None, region) if region is not None else None


_SECTIONS = {
    HEAD_NECK: "section_head_neck",
    CHEST: "section_chest",
    ABDOMEN_PELVIS: "section_abdomen_pelvis",
    MUSCULOSKELETAL: "section_musculoskeletal",
}
"""Category with a region's headings."""


@lru_cache(maxsize=4)
def _section_names(cues: Cues) -> dict[str, str]:
    return {name: region for region, category in _SECTIONS.items() for name in cues.categories[category].literals}


def section_region(section: str, vocabulary: Vocabulary | None = None) -> str | None:
    """Region of a heading ("HEAD/NECK", "Abdomen and pelvis"), null for headings that name none ("FINDINGS")."""
    names, lowered = _section_names((vocabulary or package_vocabulary()).cues), section.lower()
    for word in re.split(r"[^a-z]+", lowered):
        if word in names:
            return names[word]
    return next((region for name, region in names.items() if " " in name and name in lowered), None)


@lru_cache(maxsize=65_536)
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


def find_anatomy(flat: str, vocabulary: Vocabulary | None = None) -> tuple[AnatomyMention, ...]:
    """Words of the lexicon in a cleaned, lowered text, longest first at each place, in reading order."""
    words = vocabulary or package_vocabulary()
    if words.glossary is None:
        return _find_anatomy(flat, words)
    read = words.read(flat)
    found = _find_anatomy(read.text, words.english)
    return tuple(replace(m, start=a, end=b) for m in found for a, b in [read.original(m.start, m.end)])


@lru_cache(maxsize=1024)
def _find_anatomy(flat: str, vocabulary: Vocabulary) -> tuple[AnatomyMention, ...]:
    hidden = vocabulary.cues["no_place"].sub(spaces, flat)
    words = list(WORD.finditer(hidden))
    names = [w[0] for w in words]
    by_first, max_words = vocabulary.lexicon.by_first_word, vocabulary.lexicon.max_words
    out: list[AnatomyMention] = []
    i = 0
    while i < len(words):
        first = names[i] if names[i] in by_first else _singular(names[i])
        terms = by_first.get(first)
        taken = 1
        if terms is not None:
            for n in range(min(max_words, len(words) - i), 0, -1):
                end = words[i + n - 1].end()
                if n > 1 and _ENDS_PHRASE.search(hidden, words[i].start(), end) is not None:
                    continue
                key = (first, *names[i + 1 : i + n])
                hit = terms.get(key) or terms.get((*key[:-1], _singular(key[-1])))
                if hit is not None:
                    out.append(AnatomyMention(hit[1], words[i].start(), end, hit[0]))
                    taken = n
                    break
        i += taken
    return tuple(out)


def _main_mention(flat: str, places: Sequence[AnatomyMention], words: Vocabulary) -> AnatomyMention | None:
    """The hit that says where the finding is, among all of a text."""
    cues = words.cues
    suv = cues["suv_subject"].search(flat)
    values = find_expressions(flat, words).suvs
    first_value = next((v.start for v in values if v.role is Role.CURRENT), suv.start() if suv else len(flat))
    places = [p for p in places if not _is_of_another_value(flat, p, places, values)]

    def score(place: AnatomyMention) -> float:
        others = [p for p in places if _is_other_organ(p, place)]
        leading = [
            p for p in others if p.start < place.start and not _is_diagnosis(flat, p, [place], first_value, cues)
        ]
        points = 0.0
        if place.term.organ is None or place.term.organ in cues.words("generic_organ"):
            points -= 1.5
        if place.term.organ in cues.words("least_organ"):
            points -= 0.5
        if others and place.phrase in cues.words("part_of_several_organs"):
            points -= 1.5
        if leading and cues["at_before"].search(flat, 0, place.start):
            # "para-aortic node at L2"
            points -= 3
        if place.term.subsite:
            points += 0.5
        if place.start > first_value:
            points -= 2
        if _is_beside(flat, place, cues) or _is_diagnosis(flat, place, others, first_value, cues):
            points -= 3
        if _is_in_clause_before(flat, place, places, first_value, cues):
            points -= 1
        return points - place.start / 1000

    return max(places, key=score, default=None)


def _is_in_clause_before(
    flat: str, place: AnatomyMention, places: Sequence[AnatomyMention], first_value: int, cues: Cues
) -> bool:
    """Whether the value stands in a later clause with a place of its own: "right cord palsy; left cord SUVmax 6"."""
    ends = [m.end() for m in cues["sentence_end"].finditer(flat, place.end, max(place.end, first_value))]
    return bool(ends) and any(
        ends[-1] <= p.start < first_value and p.term.organ == place.term.organ and not _is_beside(flat, p, cues)
        for p in places
    )


def _is_diagnosis(
    flat: str, place: AnatomyMention, others: Sequence[AnatomyMention], first_value: int, cues: Cues
) -> bool:
    """Whether a place is only the organ of a disease whose lesion lies elsewhere."""
    is_followed = any(place.end <= p.start < first_value for p in others)
    is_named = cues["diagnosis_after"].match(flat, place.end) or cues["diagnosis_after"].search(place.phrase)
    return is_followed and is_named is not None


def _is_other_organ(a: AnatomyMention, b: AnatomyMention) -> bool:
    return a.term.organ is not None and a.term.organ != b.term.organ


def _is_of_another_value(
    flat: str, place: AnatomyMention, places: Sequence[AnatomyMention], values: Sequence[SuvValue]
) -> bool:
    """Whether the value right behind a place is a reference's or a mean: "bone marrow SUVmean 2.0" beside the finding's
    SUVmax.
    """
    if not any(v.role is Role.CURRENT for v in values):
        return False
    following = next((v for v in values if place.end <= v.start <= place.end + _REACH_OF_PLACE), None)
    if following is not None and following.role is Role.PRIOR:
        # "The prior left node (SUVmax 5.5) is gone; a right node has SUVmax 3.9": each value has a place of its own.
        current = next((v.start for v in values if v.role is Role.CURRENT and v.start > following.end), 0)
        return any(following.end <= p.start < current and p.term.organ == place.term.organ for p in places)
    if following is None or following.role not in (Role.REFERENCE, Role.OTHER_MEASURE):
        return False
    if any(place.end <= p.start < following.start for p in places):
        return False
    if _ENDS_CLAUSE.search(flat, place.end, following.start):
        return False
    is_first = not any(v.role is Role.CURRENT and v.end <= place.start for v in values)
    return following.role is Role.REFERENCE or not is_first


def _is_beside(flat: str, place: AnatomyMention, cues: Cues) -> bool:
    """Whether a place is only what the finding lies beside or is compared with."""
    return cues["beside"].search(flat[max(0, place.start - _REACH_OF_BESIDE) : place.start]) is not None


def _touches_node(flat: str, place: AnatomyMention, cues: Cues) -> bool:
    """Whether a word for a node stands right before or behind a place."""
    ahead = [m.end() for m in cues["node"].finditer(flat, 0, place.start)]
    behind = cues["node"].search(flat, place.end)
    is_behind = behind is not None and not flat[place.end : behind.start()].strip(" -")
    return is_behind or (bool(ahead) and not flat[ahead[-1] : place.start].strip(" -"))


def _as_node_or_bone(flat: str, place: AnatomyMention, cues: Cues) -> tuple[str | None, str | None, str | None]:
    """Organ, region and sub-site of a hit, where words for a node or a bone give it another meaning."""
    term = place.term
    has_node = cues["node"].search(flat) is not None
    if has_node and term.organ != "lymph node" and _touches_node(flat, place, cues):
        # "mesorectal lymph node", and "lymph node presacral" of other languages
        return "lymph node", term.region, term.subsite or place.phrase
    if place.phrase in ("iliac", "common iliac") and not has_node and cues["bone"].search(flat):
        return "pelvic bone", MUSCULOSKELETAL, "ilium"
    if has_node and term.organ != "lymph node":
        is_hilum = place.phrase.endswith(("hilum", "hilar")) or place.phrase == "porta hepatis"
        if term.organ in cues.words("node_site") or is_hilum or _is_beside(flat, place, cues):
            return "lymph node", term.region, term.subsite or place.phrase
    return term.organ, term.region, term.subsite


# --- side ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Side:
    name: str  # one of LATERALITIES
    start: int


@lru_cache(maxsize=4)
def _side_words(vocabulary: Vocabulary) -> re.Pattern[str]:
    """Words for a side, of the cues and of the lexicon's phrases that imply one, in a group a side."""
    groups = []
    for side in LATERALITIES:
        phrases = map(re.escape, vocabulary.lexicon.phrases_of(side))
        groups.append(f"(?P<{side}>{'|'.join((*phrases, vocabulary.cues.alternatives(f'side_{side}')))})")
    return re.compile(rf"(?<![a-z0-9])(?:{'|'.join(groups)})(?![a-z0-9])")


def _sides(flat: str, words: Vocabulary) -> list[_Side]:
    """The sides that are the finding's own, in reading order."""
    cues = words.cues
    sides: list[_Side] = []
    for match in _side_words(words).finditer(flat):
        before = flat[max(0, match.start() - _REACH_OF_OTHER_SIDE) : match.start()]
        if cues["not_a_side"].match(flat, match.end()) or (cues["other_side"].search(before) and sides):
            continue
        if not cues["compared_side"].search(before):
            sides.append(_Side(str(match.lastgroup), match.start()))
    return sides


def sides_of(flat: str, vocabulary: Vocabulary | None = None) -> set[str]:
    """All sides that a cleaned, lowered text names, whosever they are."""
    return {str(m.lastgroup) for m in _side_words(vocabulary or package_vocabulary()).finditer(flat)}


def laterality(flat: str, place: AnatomyMention | None = None, vocabulary: Vocabulary | None = None) -> str | None:
    """Side of the finding in a cleaned, lowered text.

    Args:
        place: where its organ stands, to choose between two sides that are named.
    """
    words = vocabulary or package_vocabulary()
    sides = _sides(flat, words)
    names = {side.name for side in sides}
    own = {side.name for side in sides if place is not None and place.start <= side.start < place.end}
    if len(own) == 1 and own <= {"left", "right"}:
        # "Nodules bilaterally: RUL 8 mm"
        return own.pop()
    if "bilateral" in names:
        # "Bilateral iliac disease: right common iliac"
        behind = [s.name for s in sides if s.name in ("left", "right")]
        first = next(s.start for s in sides if s.name == "bilateral")
        is_one = len(behind) == 1 and all(s.start >= first for s in sides)
        return behind[0] if is_one else "bilateral"
    if {"left", "right"} <= names:
        if words.cues["both_sides"].search(flat):
            return "bilateral"
        if place is None:
            return sides[0].name
        # "Node in the left neck"; "Lymphknoten rechts", in a language whose sides stand behind.
        return ([s for s in sides if s.start <= place.start] or sides[:1])[-1].name
    return next((side.name for side in sides if side.name != "midline"), "midline" if sides else None)


# --- comparison ------------------------------------------------------------------------------------------------------


def comparison(flat: str, vocabulary: Vocabulary | None = None) -> str:
    """Change since the prior exam in a cleaned, lowered text.

    New, increased, decreased, stable or none. Words count before numbers.
    """
    words = vocabulary or package_vocabulary()
    cues = words.cues
    for match in cues["new"].finditer(flat):
        if not cues["negation_before"].search(flat[: match.start()]):
            return "new"
    found = {name: m for name in ("increased", "decreased", "stable") if (m := cues[name].search(flat))}
    by_numbers = _by_numbers(flat, words)
    if not found:
        return by_numbers or "none"
    # "Stable in size but increased in uptake": the numbers decide where the words differ, or speak of the size.
    if list(found) == ["stable"] and by_numbers and cues["of_size"].match(flat, found["stable"].end()):
        return by_numbers
    if len(found) > 1 and by_numbers in found:
        return by_numbers
    return min((m.start(), name) for name, m in found.items())[1]


def _by_numbers(flat: str, words: Vocabulary) -> str | None:
    values = find_expressions(flat, words).suvs
    current = [v.value for v in values if v.role is Role.CURRENT]
    prior = [v.value for v in values if v.role is Role.PRIOR]
    if len(current) != 1 or not prior:
        return None
    if abs(current[0] - prior[0]) <= SAME_SUV * prior[0] + 1e-9:
        return "stable"
    return "increased" if current[0] > prior[0] else "decreased"


def without_references(text: str, vocabulary: Vocabulary | None = None) -> str:
    """The finding on one line without its slice, series and image references.

    "... mass (slice 26)" gives "... mass".
    """
    return _without_references(text, vocabulary or package_vocabulary())


@lru_cache(maxsize=4096)
def _without_references(text: str, words: Vocabulary) -> str:
    short = _LIST_MARKER.sub("", squeeze(text))
    read = words.in_english(short)
    if not may_have_slice(lower(read.text), words.cues):
        return short.strip()
    ends = [0]
    kept = []
    for start, end in sorted(read.original(*m.span()) for m in _references(read.text, words.cues)):
        kept.append(short[ends[-1] : max(start, ends[-1])])
        ends.append(max(end, ends[-1]))
    short = " ".join([*kept, short[ends[-1] :]])
    for pattern, instead in _LEFT_OVER:
        short = pattern.sub(instead, short)
    return short.strip()


def _references(text: str, cues: Cues) -> Iterator[re.Match[str]]:
    """References to images in a text: sentences and parentheses of nothing else, and phrases."""
    for name in ("image_sentence", "image_parenthesis", "image_phrase"):
        for match in cues[name].finditer(text):
            if name != "image_phrase" or not cues["extent_before"].search(text, 0, match.start()):
                yield match
