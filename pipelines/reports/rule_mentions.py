"""Mentions of a sentence by rules, lexicon and cues."""

import re
from dataclasses import replace
from functools import lru_cache

from pipelines.reports.mentions import Mention
from pipelines.reports.rules.expressions import find_expressions
from pipelines.reports.rules.pairs import Extraction, extract
from pipelines.reports.rules.values import Role
from pipelines.reports.sentences import NEITHER, Sentence
from pipelines.reports.structure import Fields, find_anatomy, organs_of, structure, structure_parts
from pipelines.reports.vocabulary.vocabulary import Vocabulary
from pipelines.tables.outcomes import Outcome

_DIAMETER = r"((?<![\d.,])(?:\d+(?:[.,]\d+)?|\.\d+))"
_SIZE = re.compile(rf"{_DIAMETER}(?:\s*(?:x|by)\s*{_DIAMETER})?(?:\s*(?:x|by)\s*{_DIAMETER})?\s*(cm|mm)\b")
_CLAUSE_END = re.compile(r";|[.!?]\s|,?\s\b(?:but|whereas|while|however)\b")
_PRIOR_REACH = 25
"""Characters before a size in which a word can say that it is a prior exam's."""


def mentions_of(sentence: Sentence, words: Vocabulary) -> list[Mention]:
    """What a sentence mentions: its lesions with their values and fields, or one mention that says what it speaks of
    instead; none where it names neither a value nor a lesion with its place.

    Args:
        words: of the sentence's language.
    """
    found = _mentions_of(sentence.sentence, sentence.section, sentence.candidate_reason == NEITHER, words)
    return [replace(m, sentence_ids=(sentence.sentence_id,)) for m in found]


@lru_cache(maxsize=4096)
def _mentions_of(text: str, section: str | None, is_without_values: bool, words: Vocabulary) -> tuple[Mention, ...]:
    """Mentions of a text, whichever sentence it is: reports repeat most of what they say of normal organs."""
    read = words.read(text)
    if words.glossary is not None:
        mentions = _mentions_of(read.text, section, is_without_values, words.english)
        return tuple(replace(m, part=read.original(*m.part)) if m.part is not None else m for m in mentions)
    flat = read.text
    if is_without_values:
        return _without_values(flat, section, words)
    found = extract(text, words)
    of_before = bool(section and words.cues["heading_of_before"].fullmatch(section.strip()))
    exam = "prior" if of_before or not found.is_current else "current"
    values = _values(text, found)
    spans = [span for _, _, span in values]
    whole = (0, len(text))
    own = structure_parts(text, spans, section, words) if len(spans) > 1 else []
    fields = own or [structure(text, section, words)]
    count = found.n_lesions if len(values) == 1 and found.n_lesions > 1 else 1
    role = "template" if found.reason is Outcome.TEMPLATE else "lesion"
    out = []
    for (number, suv, span), one in zip(values, fields, strict=True):
        mention = Mention(
            (),
            slice=number,
            suv=suv,
            suv_kind=None if suv is None else "max",
            exam=exam,
            role=role,
            count=count,
            # What names no place of its own would say nothing without the words around it.
            part=span if span != whole and find_anatomy(flat[slice(*span)], words) else None,
            note=_note(found, flat, words),
        )
        out.append(_with_fields(mention, one, flat, span, words))
    return tuple(out)


def _values(text: str, found: Extraction) -> list[tuple[int | None, float | None, tuple[int, int]]]:
    """Slice, SUVmax and part of each lesion of a sentence; of one without a lesion, what it is shown with."""
    if found.lesions:
        return [(x.slice, x.suvmax, (x.start, x.end)) for x in found.lesions]
    return [(found.slice, None if found.reason is Outcome.NO_SUVMAX else found.suvmax, (0, len(text)))]


def _note(found: Extraction, flat: str, words: Vocabulary) -> str | None:
    """Why a value is missing; where the sentence says nothing of an SUV there is nothing to tell."""
    if found.reason is Outcome.NO_SUVMAX and not find_expressions(flat, words).suvs:
        return None
    return found.note or None


def _without_values(flat: str, section: str | None, words: Vocabulary) -> tuple[Mention, ...]:
    """The lesion of a text that names one and its place, and neither an SUV nor a slice."""
    if words.cues["lesion_mention"].search(flat) is None or not find_anatomy(flat, words):
        return ()
    mention = _with_fields(Mention(()), structure(flat, section, words), flat, (0, len(flat)), words)
    if words.cues["denies"].search(flat) and mention.role == "lesion":
        mention = replace(mention, role="negated")
    return (mention,)


def _with_fields(mention: Mention, fields: Fields, flat: str, span: tuple[int, int], words: Vocabulary) -> Mention:
    own = flat[slice(*span)]
    named = words.cues["lesion_mention"].search(own)
    prior = next((v.value for v in find_expressions(own, words).suvs if v.role is Role.PRIOR), None)
    role = mention.role
    at = next((v.start for v in find_expressions(flat, words).suvs if v.value == mention.suv), span[0])
    if role == "lesion" and is_physiologic(flat, span, at, fields.organ, words):
        role = "physiologic"
    if role == "lesion" and _is_named_reference(flat, fields.organ, words):
        role = "reference"
    return replace(
        mention,
        lesion=named[0] if named else None,
        size_cm=size_cm(own, words),
        region=fields.region,
        organ=fields.organ,
        subsite=fields.subsite,
        laterality=fields.laterality,
        comparison=fields.comparison,
        prior_suv=prior,
        certainty="possible" if words.cues["possible"].search(own) else "certain",
        role=role,
    )


def _is_named_reference(flat: str, organ: str | None, words: Vocabulary) -> bool:
    """Whether a sentence gives values of reference organs alone: "Spleen SUVmax 3.5; liver SUVmax 3.8 (reference)"."""
    cues = words.cues
    if organ is None or not cues["named_reference"].search(flat) or not cues["reference_organ"].search(organ):
        return False
    return not (cues["lesion"].search(flat) or cues["lesion_mention"].search(flat))


def size_cm(flat: str, words: Vocabulary) -> float | None:
    """Largest diameter of the first size in a cleaned, lowered text that is not a prior exam's, in cm."""
    for match in _SIZE.finditer(flat):
        before = flat[max(0, match.start() - _PRIOR_REACH) : match.start()]
        prior = [m.end() for m in words.cues["prior_anywhere"].finditer(before)]
        if prior and not words.cues["prior_or_present"].search(before, prior[-1]):
            continue
        largest = max(float(n.replace(",", ".")) for n in match.groups()[:3] if n is not None)
        return largest / 10 if match[4] == "mm" else largest
    return None


_PHYSIOLOGIC_ORGANS = {"bladder", "ureter", "kidney", "brown fat", "heart", "nerve"}
"""Organs with spaces or tissues of physiologic uptake, as the lexicon names them."""


def is_physiologic(flat: str, span: tuple[int, int], at: int, organ: str | None, words: Vocabulary) -> bool:
    """Whether a clause of a mention calls the uptake of its organ normal, or its SUV is that of excreted urine (of the
    bladder, a ureter or a renal pelvis), brown fat or myocardium, without a word for a lesion or for a wall.

    Args:
        flat: the whole sentence, cleaned and lowered.
        span: the mention's part of it.
        at: where its SUV stands; the organs of that clause are the mention's.
        organ: of the mention, where that clause names none. A clause that names other organs does not speak of it.
    """
    ends = [*(m.end() for m in _CLAUSE_END.finditer(flat)), len(flat)]
    clauses = list(zip([0, *ends], ends, strict=False))
    own = next((organs_of(flat[a:b], words) for a, b in clauses if a <= at < b), set()) or {organ}
    for begin, end in clauses:
        clause = flat[begin:end]
        if begin < span[1] and span[0] < end and words.cues["physiologic"].search(clause):
            named = organs_of(clause, words)
            if not named or named & own:
                return True
    part = flat[slice(*span)]
    is_such = own <= _PHYSIOLOGIC_ORGANS or organ in _PHYSIOLOGIC_ORGANS
    if not is_such or words.cues["lesion"].search(part) or words.cues["wall"].search(part):
        return False
    clause = next((flat[a:b] for a, b in clauses if a <= at < b), part)
    # "Bladder: intense activity (SUVmax 45)": the clause leaves its organ to the heading.
    return bool(words.cues["physiologic_space"].search(clause if organs_of(clause, words) else f"{organ} {clause}"))
