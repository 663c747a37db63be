"""Clinical accuracy of a lesion's text, which no count of words says: place, side, change and numbers, field by
field.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache

import numpy as np

from model.evaluation.metrics.pairs import Mean, Pairs
from pipelines.dataset.text_fields import TextFields, fields_of, plain_words
from pipelines.reports import structure as structure_module
from pipelines.reports.structure import find_anatomy
from pipelines.reports.vocabulary.text import clean, lower
from pipelines.settings import ScoreSettings
from pipelines.tables.provenance import code_version

SUV_TOLERANCE = 0.1
"""SUV; what rounding to one digit and the search for the lesion allow."""


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


def _rules() -> str:
    """Version of the code that reads fields out of texts, for signatures."""
    return code_version(structure_module.__name__)[:8]


def accuracy(field: str) -> Callable[[Pairs, ScoreSettings], Mean]:
    """The metric: share of texts whose field equals the reference's; a reference without the field does not count."""
    compare = _COMPARE[field]

    def metric(pairs: Pairs, settings: ScoreSettings) -> Mean:
        return Mean(_compared(compare, pairs.texts, pairs.references), f"petar|{field} accuracy|rules:{_rules()}")

    return metric


def _compared(
    compare: Callable[[TextFields, TextFields], float], texts: Sequence[str], references: Sequence[str]
) -> np.ndarray:
    """Scores of texts; an empty one is wrong wherever its reference says something."""
    each = [compare(fields_of(t), fields_of(r)) for t, r in zip(texts, references, strict=True)]
    return np.array([0.0 if not t and value == value else value for t, value in zip(texts, each)], float)


def generated_numbers(pairs: Pairs, settings: ScoreSettings) -> Mean:
    """Share of texts whose numbers were right as the model wrote them, before measured ones were put in."""
    texts = pairs.generated or pairs.texts
    each = _compared(_same_numbers, texts, pairs.references)
    return Mean(each, f"petar|numbers as generated|rules:{_rules()}")


_PLACE_FIELDS = ("region", "organ", "subsite", "laterality")


def _fit(text: TextFields, reference: TextFields) -> int:
    """How well a text's place fits a reference: one up for every equal field, one down for every contradiction."""
    places = [(getattr(text, name), getattr(reference, name)) for name in _PLACE_FIELDS]
    return sum((1 if a == b else -1) for a, b in places if a is not None and b is not None)


def grounding(pairs: Pairs, settings: ScoreSettings) -> Mean:
    """Whether a text's place fits its own lesion better than the nearest other one of the exam; one half for a tie.

    The nearest is the nearest whose place differs: no text could tell apart two lesions of one place, and lesions
    without such a neighbour do not count. Numbers play no part, for measured ones would give the lesion away.
    """
    return _grounding(pairs, 1, "the nearest other lesion")


def grounding_among_all(pairs: Pairs, settings: ScoreSettings) -> Mean:
    """The same against all other lesions of the exam at once: the text must fit its own better than any of them."""
    return _grounding(pairs, None, "all lesions of the exam")


def _grounding(pairs: Pairs, n_others: int | None, against: str) -> Mean:
    each = []
    references = [fields_of(r) for r in pairs.references]
    for text, own, known in zip(pairs.texts, references, _others(pairs), strict=True):
        fields_of_others = (fields_of(o) for o in known)
        others = [o for o in fields_of_others if any(getattr(o, n) != getattr(own, n) for n in _PLACE_FIELDS)]
        if not others:
            each.append(float("nan"))
            continue
        if not text:
            each.append(0.0)
            continue
        fields = fields_of(text)
        best, fit = max(_fit(fields, o) for o in others[:n_others]), _fit(fields, own)
        each.append(0.5 if fit == best else float(fit > best))
    return Mean(np.array(each, float), f"petar|grounding|place against {against}|rules:{_rules()}")


def _others(pairs: Pairs) -> Sequence[Sequence[str]]:
    """References of the exam's other lesions of every pair: the nearest first where places are known, else as they
    come.
    """
    if pairs.others:
        return pairs.others
    exams: dict[str, list[int]] = {}
    for i, exam in enumerate(pairs.exam_ids):
        exams.setdefault(exam, []).append(i)
    return [[pairs.references[j] for j in exams[exam] if j != i] for i, exam in enumerate(pairs.exam_ids)]


@lru_cache(maxsize=65_536)
def _organs(text: str) -> frozenset[str]:
    """Organs that a text names anywhere, by label or in words."""
    named = {place.term.organ for place in find_anatomy(lower(clean(text)))}
    return frozenset(words for organ in (*named, fields_of(text).organ) if (words := plain_words(organ)))


def hallucinated(pairs: Pairs, settings: ScoreSettings) -> Mean:
    """Share of texts that name an organ which the reference names nowhere: a lesion that nobody reported. Less is
    better.
    """
    # An empty text names nothing, and must not look better for it.
    each = [float(not t or bool(_organs(t) - _organs(r))) for t, r in zip(pairs.texts, pairs.references, strict=True)]
    return Mean(np.array(each, float), f"petar|organs that the reference has not|rules:{_rules()}")
