"""Clinical accuracy of a lesion's text, which no count of words says: place, side, change and numbers, field by
field.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from model.metrics.pairs import Mean, Pairs
from model.metrics.settings import ScoreSettings
from pipelines import samples
from pipelines.reports.structure import VERSION as STRUCTURE_VERSION
from pipelines.reports.structure import find_places, structure
from pipelines.reports.text import clean, lower

SUV_TOLERANCE = 0.1
"""SUV; what rounding to one digit and the search for the lesion allow."""

_SUVMAX = re.compile(
    r"\bSUV(?:bw)?[\s_-]*max\w*\b\D{0,15}(\d+(?:\.\d+)?)|\bmax\w*[\s_-]*SUV\b\D{0,15}(\d+(?:\.\d+)?)", re.I
)
_SUV = re.compile(r"\bSUV(?![\s_-]*(?:mean|peak))\w*\b\D{0,15}(\d+(?:\.\d+)?)", re.I)
_SLICE = re.compile(r"\b(?:slices?|images?)\b\D{0,8}(\d+)", re.I)
_NUMBER = re.compile(r"\d+(?:\.\d+)?")


@dataclass(frozen=True)
class TextFields:
    """What a text says of a lesion; null where it does not say."""

    region: str | None
    organ: str | None
    subsite: str | None
    laterality: str | None
    comparison: str
    suvmax: float | None
    slice: int | None


@lru_cache(maxsize=65_536)
def fields_of(text: str) -> TextFields:
    """Fields of a text: those that it states by label ("Organ: lung."), the others from its words by the report's
    rules.

    A text with labels is read in its findings only, so that a field that it leaves out is not taken from another
    field's label.
    """
    stated = samples.parse(text)
    words = stated.get("findings", "" if stated else text)
    free = structure(words)
    suvmax = stated.get("suvmax") or _first(_SUVMAX, words) or _first(_SUV, words)
    slice_number = stated.get("slice") or _first(_SLICE, words)
    return TextFields(
        _plain(stated.get("region") or free.region),
        _plain(stated.get("organ") or free.organ),
        _plain(stated.get("subsite") or free.subsite),
        _plain(stated.get("laterality") or free.laterality),
        _plain(stated.get("comparison") or free.comparison) or "none",
        _number(suvmax),
        None if (value := _number(slice_number)) is None else round(value),
    )


def _first(pattern: re.Pattern[str], text: str) -> str | None:
    match = pattern.search(text)
    return next((group for group in match.groups() if group), None) if match else None


def _number(words: str | None) -> float | None:
    match = _NUMBER.search(words or "")
    return float(match[0]) if match else None


def _plain(words: str | None) -> str | None:
    return " ".join(words.lower().split()) if words and words.strip() else None


def _equal(name: str) -> Callable[[TextFields, TextFields], float]:
    def compare(text: TextFields, reference: TextFields) -> float:
        expected = getattr(reference, name)
        return float("nan") if expected is None else float(getattr(text, name) == expected)

    return compare


def _same_suvmax(text: TextFields, reference: TextFields) -> float:
    if reference.suvmax is None:
        return float("nan")
    return float(text.suvmax is not None and abs(text.suvmax - reference.suvmax) <= SUV_TOLERANCE + 1e-9)


def _same_numbers(text: TextFields, reference: TextFields) -> float:
    """SUVmax within tolerance and slice equal, as far as the reference gives them."""
    checks = [_same_suvmax(text, reference), _equal("slice")(text, reference)]
    there = [c for c in checks if not np.isnan(c)]
    return float(all(there)) if there else float("nan")


_COMPARE: Mapping[str, Callable[[TextFields, TextFields], float]] = {
    "region": _equal("region"),
    "organ": _equal("organ"),
    "laterality": _equal("laterality"),
    "comparison": _equal("comparison"),
    "numbers": _same_numbers,
}


def accuracy(field: str) -> Callable[[Pairs, ScoreSettings], Mean]:
    """The metric: share of texts whose field equals the reference's; a reference without the field does not count."""
    compare = _COMPARE[field]

    def metric(pairs: Pairs, settings: ScoreSettings) -> Mean:
        each = [compare(fields_of(t), fields_of(r)) for t, r in zip(pairs.texts, pairs.references, strict=True)]
        return Mean(np.array(each, float), f"petar|{field} accuracy|rules:{STRUCTURE_VERSION}")

    return metric


def generated_numbers(pairs: Pairs, settings: ScoreSettings) -> Mean:
    """Share of texts whose numbers were right as the model wrote them, before measured ones were put in."""
    texts = pairs.generated or pairs.texts
    each = [_same_numbers(fields_of(t), fields_of(r)) for t, r in zip(texts, pairs.references, strict=True)]
    return Mean(np.array(each, float), f"petar|numbers as generated|rules:{STRUCTURE_VERSION}")


_PLACE_FIELDS = ("region", "organ", "subsite", "laterality")


def _fit(text: TextFields, reference: TextFields) -> int:
    """How well a text's place fits a reference: one up for every equal field, one down for every contradiction."""
    said = [(getattr(text, name), getattr(reference, name)) for name in _PLACE_FIELDS]
    return sum((1 if a == b else -1) for a, b in said if a is not None and b is not None)


def grounding(pairs: Pairs, settings: ScoreSettings) -> Mean:
    """Whether a text's place fits its own lesion better than every other lesion of the exam; one half for a tie.

    Lesions without another one in the exam whose place differs do not count: no text could tell them apart. Numbers
    play no part, for measured ones would give the lesion away.
    """
    exams: dict[str, list[TextFields]] = {}
    references = [fields_of(r) for r in pairs.references]
    for exam, reference in zip(pairs.exam_ids, references, strict=True):
        exams.setdefault(exam, []).append(reference)
    each = []
    for exam, text, own in zip(pairs.exam_ids, pairs.texts, references, strict=True):
        others = [o for o in exams[exam] if any(getattr(o, n) != getattr(own, n) for n in _PLACE_FIELDS)]
        if not others:
            each.append(float("nan"))
            continue
        fields = fields_of(text)
        best, fit = max(_fit(fields, o) for o in others), _fit(fields, own)
        each.append(0.5 if fit == best else float(fit > best))
    return Mean(np.array(each, float), f"petar|grounding|place among the exam's lesions|rules:{STRUCTURE_VERSION}")


@lru_cache(maxsize=65_536)
def _organs(text: str) -> frozenset[str]:
    """Organs that a text names anywhere, by label or in words."""
    named = {place.term.organ for place in find_places(lower(clean(text)))}
    return frozenset(words for organ in (*named, fields_of(text).organ) if (words := _plain(organ)))


def hallucinated(pairs: Pairs, settings: ScoreSettings) -> Mean:
    """Share of texts that name an organ which the reference names nowhere: a lesion that nobody reported. Less is
    better.
    """
    each = [float(bool(_organs(t) - _organs(r))) for t, r in zip(pairs.texts, pairs.references, strict=True)]
    return Mean(np.array(each, float), f"petar|organs that the reference has not|rules:{STRUCTURE_VERSION}")
